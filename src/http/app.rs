//! What every handler shares: the house, the limits, whether the gateway serves.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::id::TokenId;
use crate::domain::policy::Trust;
use crate::gateway::Gateway;
use crate::telemetry::metrics::Figures;

use super::collect::Limits;

/// Shared by all workers.
pub struct App {
    /// The house.
    pub house: Gateway,
    /// The bounds of a collector's request.
    pub limits: Limits,
    /// How long a body may take to arrive.
    pub body_time: std::time::Duration,
    /// The largest body of the gateway's own API, in bytes.
    pub api_body: usize,
    /// Where collectors' clients are told to send: host (and port), and scheme.
    pub public_host: String,
    /// `https` or `http`.
    pub public_scheme: String,
    /// Who bears this may read `/metrics` from elsewhere.
    pub metrics_token: Option<zeroize::Zeroizing<String>>,
    /// The figures of this process.
    pub figures: Option<Figures>,
    /// Handshakes are told this rate, requests a minute.
    pub handshake_rate: u32,
    phase: AtomicU8,
    public_rate: DefaultKeyedRateLimiter<TokenId>,
    server_rate: DefaultKeyedRateLimiter<TokenId>,
}

/// Whether the gateway serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet.
    Starting,
    /// It serves.
    Serving,
    /// No longer: what was accepted is finished, nothing new is taken.
    Stopping,
}

/// What an [`App`] is made of.
pub struct AppSettings {
    /// The bounds of a collector's request.
    pub limits: Limits,
    /// How long a body may take to arrive.
    pub body_time: std::time::Duration,
    /// Requests a second with one public key.
    pub public_key_rate: NonZeroU32,
    /// Requests a second with one server key.
    pub server_key_rate: NonZeroU32,
    /// Who bears this may read `/metrics` from elsewhere.
    pub metrics_token: Option<zeroize::Zeroizing<String>>,
    /// The figures of this process.
    pub figures: Option<Figures>,
}

impl App {
    /// Shares a house among the workers.
    #[must_use]
    pub fn new(house: Gateway, settings: AppSettings) -> Arc<Self> {
        let public_url = house.settings.public_url.clone();
        let (scheme, host) = public_url.split_once("://").unwrap_or(("http", &public_url));
        Arc::new(Self {
            limits: settings.limits,
            body_time: settings.body_time,
            api_body: 1 << 20,
            public_host: host.to_owned(),
            public_scheme: scheme.to_owned(),
            metrics_token: settings.metrics_token,
            figures: settings.figures,
            handshake_rate: settings.server_key_rate.get().saturating_mul(60),
            phase: AtomicU8::new(0),
            public_rate: RateLimiter::keyed(Quota::per_second(settings.public_key_rate)),
            server_rate: RateLimiter::keyed(Quota::per_second(settings.server_key_rate)),
            house,
        })
    }

    /// Whether the gateway serves now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    /// Enters a phase. There is no way back.
    pub fn enter(&self, phase: Phase) {
        let code = match phase {
            Phase::Starting => 0,
            Phase::Serving => 1,
            Phase::Stopping => 2,
        };
        self.phase.fetch_max(code, Ordering::AcqRel);
    }

    /// Whether a key may make one more request now.
    #[must_use]
    pub fn admits(&self, key: TokenId, trust: Trust) -> bool {
        let limiter = match trust {
            Trust::Public => &self.public_rate,
            Trust::Server => &self.server_rate,
        };
        limiter.check_key(&key).is_ok()
    }
}
