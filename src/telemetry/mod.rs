//! Diagnostics: one line an event, and figures for monitoring. Evidence is `audit`'s.
//!
//! Two fences keep people out of both (GDPR Art. 5(1)(c), 32): only fields and labels that are
//! named here are written, and what is written is searched for what looks like an e-mail address,
//! a token or a query string, which is replaced. The first fence are the types: `Personal<T>` and
//! the secrets have no way to be printed. This is the second, for the day the first has a hole.
//!
//! A leaf of the house: it uses no other room.

pub mod failpoint;
mod lines;
pub mod metrics;
mod redaction;

use std::io;

use jiff::Timestamp;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use lines::{Form, Lines};
pub use redaction::{is_permitted, redact};

/// Starts diagnostics on standard error and metrics in memory, once per process. Panics are
/// reported by place, without their message, which could quote anything.
///
/// # Errors
/// A level that is no filter, or a second start.
pub fn install(settings: &Settings<'_>) -> Result<metrics::Figures, Error> {
    let filter = filter(settings.level)?;
    let lines = Lines::new(settings.form, settings.clock, io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| Error::AlreadyStarted)?;
    std::panic::set_hook(Box::new(report_panic));
    metrics::install()
}

/// What the operator chose (`[log]`), and the clock.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `info`, or filter directives; a bare level is for the gateway, libraries then only warn.
    pub level: &'a str,
    /// The form of a line.
    pub form: Form,
    /// Tells the time of a line.
    pub clock: fn() -> Timestamp,
}

/// What can go wrong with diagnostics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.level` is neither a level nor filter directives.
    #[error("log.level must be error, warn, info, debug, trace, or filter directives")]
    Level(#[source] tracing_subscriber::filter::ParseError),
    /// Somebody started diagnostics or metrics before.
    #[error("diagnostics have been started already in this process")]
    AlreadyStarted,
    /// The table of metrics is wrong, which a test excludes.
    #[error("the metrics cannot be set up")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    let bare = !level.contains([',', '=', '[']);
    let directives = if bare && level != "off" { format!("warn,amanat={level}") } else { level.to_owned() };
    EnvFilter::builder().parse(directives).map_err(Error::Level)
}

fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, ToString::to_string);
    tracing::error!(place, "a task panicked; its message is withheld");
}

/// An error with its causes, as a field of a line.
#[must_use]
pub const fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    error
}
