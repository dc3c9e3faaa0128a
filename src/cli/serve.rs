//! `amanat serve`: the gateway, until it is told to stop.

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Loaded;
use crate::gateway::dispatch::Dispatch;
use crate::gateway::housekeeping::{Chores, Housekeeping};
use crate::gateway::rights::RequestDesk;
use crate::gateway::{self, Gateway};
use crate::http::app::{App, AppSettings, Phase};
use crate::http::collect::Limits;
use crate::http::server;
use crate::telemetry;

use super::context::read_policy;
use super::{Context, Failure, recipients};

/// Opens the house and serves until SIGTERM or SIGINT; SIGHUP reads the policy again.
pub(super) async fn run(context: &Context) -> Result<u8, Failure> {
    let loaded = context.load()?;
    let figures = start_telemetry(&loaded)?;
    let listener = TcpListener::bind(loaded.config.server.listen)
        .map_err(|error| Failure::new(format!("server.listen {}: {error}", loaded.config.server.listen)))?;
    let house = context.open(&loaded).await?;
    let serving = Serving::start(house, &loaded, listener, Some(figures)).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(no_signal)?;
    let mut serving = serving;
    loop {
        tokio::select! {
            refusal = &mut serving.publisher => {
                // The log is not the one that was signed: nothing may be written on top of it.
                let failure = ended(refusal);
                serving.abandon().await;
                return Err(failure);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                match read_policy(&loaded.config.policy.directory) {
                    Ok(files) => match serving.app.house.reload_policy(files).await {
                        Ok(true) => tracing::info!("another policy is in force"),
                        Ok(false) => tracing::info!("the policy is unchanged"),
                        Err(error) => tracing::error!(error = crate::telemetry::cause(&error), "the policy was refused; what is in force stays"),
                    },
                    Err(_) => tracing::error!("the policy folder cannot be read; what is in force stays"),
                }
            }
        }
    }
    serving.stop().await?;
    Ok(0)
}

fn no_signal(error: std::io::Error) -> Failure {
    Failure::new(format!("signals cannot be received: {error}"))
}

/// Starts logs and metrics.
pub(super) fn start_telemetry(loaded: &Loaded) -> Result<telemetry::metrics::Figures, Failure> {
    use crate::config::LogFormat;
    let form = match loaded.config.log.format {
        LogFormat::Text => telemetry::Form::Text,
        LogFormat::Json => telemetry::Form::Json,
    };
    #[expect(clippy::disallowed_methods, reason = "diagnostics are dated by the wall clock")]
    let settings = telemetry::Settings { level: &loaded.config.log.level, form, clock: jiff::Timestamp::now };
    telemetry::install(&settings).map_err(|error| Failure::with_exit(3, error.to_string()))
}

/// A gateway that serves, with everything that runs beside the doors.
pub(super) struct Serving {
    pub(super) app: Arc<App>,
    pub(super) address: std::net::SocketAddr,
    handle: actix_web::dev::ServerHandle,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    publisher: tokio::task::JoinHandle<gateway::Result<()>>,
    stop_publisher: watch::Sender<bool>,
    housekeeping: Housekeeping,
    dispatch: Dispatch,
    requests: RequestDesk,
    time_limit: std::time::Duration,
}

/// Why the publisher ended although nobody told it to.
fn ended(publisher: Result<gateway::Result<()>, tokio::task::JoinError>) -> Failure {
    match publisher {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => Failure::new("the publisher of the log ended"),
    }
}

impl Serving {
    /// Begins to serve a house on a listener.
    pub(super) async fn start(
        house: Gateway,
        loaded: &Loaded,
        listener: TcpListener,
        figures: Option<telemetry::metrics::Figures>,
    ) -> Result<Self, Failure> {
        let config = &loaded.config;
        let address = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?;
        let carriers = recipients::carriers(config)?;
        // What a crash interrupted is finished before anybody is served.
        house.resume_erasures().await?;
        house.replay_erasures().await?;
        house.resume_prune().await?;
        let cause = house.start_cause();
        house.note_start(cause).await?;
        let rate = |rate: std::num::NonZeroUsize| {
            NonZeroU32::try_from(u32::try_from(rate.get()).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MAX)
        };
        let app = App::new(
            house,
            AppSettings {
                limits: Limits {
                    body: config.limits.body_decoded.get(),
                    batch: config.limits.batch_events.get(),
                    segment_event: config.limits.event_segment.get(),
                    event: config.limits.event_other.get(),
                    message_id: config.limits.message_id.get(),
                },
                body_time: config.limits.body_time,
                public_key_rate: rate(config.limits.public_key_rate),
                server_key_rate: rate(config.limits.server_key_rate),
                metrics_token: config
                    .metrics
                    .token
                    .as_ref()
                    .map(|token| zeroize::Zeroizing::new(token.reveal().to_owned())),
                figures,
            },
        );
        let workers = config.server.workers.map(std::num::NonZeroUsize::get);
        let server = server::start(Arc::clone(&app), listener, workers, config.server.shutdown_grace)
            .map_err(|error| Failure::new(format!("the server cannot start: {error}")))?;
        let handle = server.handle();
        let server = tokio::spawn(server);
        let (stop_publisher, stopped) = watch::channel(false);
        let publishing = app.house.clone();
        let publisher = tokio::spawn(async move { publishing.run_publisher(stopped).await });
        let chores = Chores {
            copies: config.keys.copies.iter().cloned().collect(),
            scrub_every: config.audit.scrub_every,
            ..Chores::default()
        };
        let housekeeping = app.house.keep_house(chores);
        let dispatch = app.house.dispatch(&carriers);
        let requests = app.house.mind_requests(&carriers);
        app.enter(Phase::Serving);
        tracing::info!(address = %address, "amanat serves");
        Ok(Self {
            app,
            address,
            handle,
            server,
            publisher,
            stop_publisher,
            housekeeping,
            dispatch,
            requests,
            time_limit: config.delivery.time_limit,
        })
    }

    /// Stops in order: no new work, what was accepted is finished, the log says so.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        let Self {
            app, handle, server, publisher, stop_publisher, housekeeping, dispatch, requests, time_limit, ..
        } = self;
        app.enter(Phase::Stopping);
        tracing::info!("amanat stops; what was accepted is finished");
        handle.stop(true).await;
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failure::new(format!("the server ended with {error}"))),
            Err(_) => return Err(Failure::new("the server ended with a panic")),
        }
        requests.stop().await;
        dispatch.stop(time_limit).await;
        housekeeping.stop().await;
        match app.house.note_stop().await {
            // Nothing can be dated; the next start tells of a crash.
            Err(gateway::Error::ClockSuspended) => {
                tracing::warn!("the stop stands not in the log: the clock is not believed")
            }
            noted => noted?,
        }
        // Last, so that the newest checkpoint covers the stop itself.
        stop_publisher.send_replace(true);
        match publisher.await {
            Ok(published) => published?,
            Err(_) => return Err(Failure::new("the publisher of the log ended with a panic")),
        }
        // After a stop in order nothing that was signed is missing from the mirror.
        app.house.finish_mirror().await;
        Ok(())
    }

    /// Ends without another word in the log.
    async fn abandon(self) {
        self.app.enter(Phase::Stopping);
        self.handle.stop(false).await;
        self.dispatch.stop(self.time_limit).await;
        self.housekeeping.stop().await;
    }
}
