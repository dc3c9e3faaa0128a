//! The HTTP client of every way out: one try is one request to one checked address. Redirects,
//! proxies, cookies, compression and repeated sending inside the client are all off.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};
use url::Url;

use super::Cause;
use super::guard::{GuardRules, GuardedResolver, Lookup, Refused, Unresolved};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Shorter than the 60 s after which common servers close, so that few tries meet a dead connection.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// A client for one address, whose names lead only where the guard lets them.
pub(super) fn client(url: &Url, guard: Arc<GuardRules>, lookup: Arc<dyn Lookup>) -> ClientBuilder {
    let plain = url.scheme() == "http";
    let resolver = GuardedResolver { plain: plain && !guard.allow_plain, rules: guard, lookup };
    builder(plain).connect_timeout(CONNECT_LIMIT).pool_idle_timeout(IDLE_CONNECTION).dns_resolver(Arc::new(resolver))
}

/// What every client has in common; `plain` if it speaks without TLS only.
pub(super) fn builder(plain: bool) -> ClientBuilder {
    let client = Client::builder()
        .user_agent(concat!("amanat/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only();
    // What goes without TLS must go where no CA certificates are installed (`amanat demo`).
    if plain { client.tls_certs_only([]) } else { client }
}

/// A fault of the connection. The client's own text names the address, so only its kind is kept.
pub(super) fn cause_of(error: &reqwest::Error) -> Cause {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return Cause::Address(*refused);
        }
        if inner.is::<Unresolved>() {
            return Cause::NameUnresolved;
        }
        source = inner.source();
    }
    if error.is_connect() {
        Cause::Connect
    } else if error.is_timeout() {
        Cause::TimeLimit
    } else {
        Cause::Network
    }
}
