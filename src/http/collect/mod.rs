//! The collector protocols: bytes and header facts in, [`Collected`] events out, replies as values.
//!
//! Nothing here knows a web framework, a database or a key, so that every protocol is tested with
//! the recorded bytes of real clients and nothing else. What is deliberately absent: redirects,
//! cookies, and any look at `Content-Type` outside CloudEvents (the bytes decide).
//!
//! The order in which a request is looked at is part of the contract and stands at [`parse`].

pub mod body;
pub mod cloudevents;
pub mod cors;
pub mod event;
pub mod handshake;
pub mod json;
pub mod key;
pub mod line;
mod reader;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod route;
pub mod rudderstack;
mod said;
pub mod segment;
pub mod split;
pub mod time;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::category::Field;
use crate::domain::collected::Collected;
use crate::domain::id::FieldPath;
use crate::domain::personal::Personal;
use crate::domain::policy::{CollectorRules, Protocol};
use crate::domain::signal::Signal;
use crate::signal::gpc;

use self::refusal::{Flaw, Refusal};
use self::request::Request;
use self::route::Route;

/// Everything a request says, event by event.
pub struct Parsed {
    /// One outcome for each event, in the order of the request.
    pub items: Vec<Result<Collected, Rejected>>,
    /// Whether the request was a batch, or one event that stood alone.
    pub form: Form,
}

/// What a request held that nobody may read as consent or as a field, for counters and reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Consent ids that the collector's rules do not map.
    pub unmapped_consent_ids: usize,
    /// Names of undeclared fields that were dropped, and in how many events.
    pub undeclared: BTreeMap<FieldPath, usize>,
    /// Rejected events, by code.
    pub rejected: BTreeMap<&'static str, usize>,
}

impl Parsed {
    /// Counts what was left aside.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for item in &self.items {
            match item {
                Ok(event) => {
                    let unmapped = event.signals.iter().map(|signal| signal.unmapped);
                    facts.unmapped_consent_ids += unmapped.sum::<usize>();
                    for name in &event.undeclared {
                        *facts.undeclared.entry(name.clone()).or_default() += 1;
                    }
                }
                Err(rejected) => *facts.rejected.entry(rejected.flaw.code()).or_default() += 1,
            }
        }
        facts
    }
}

/// How events came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One event, the whole body.
    Single,
    /// A list.
    Batch,
}

/// An event that is not taken, and why.
pub struct Rejected {
    /// Its position in the request.
    pub index: usize,
    /// Its message id, if that could be read.
    pub message_id: Option<Personal<String>>,
    /// Why.
    pub flaw: Flaw,
}

/// The bounds of one request (config `limits`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The body, as received and as decoded, in bytes.
    pub body: usize,
    /// Events in a batch.
    pub batch: usize,
    /// One Segment event, in bytes.
    pub segment_event: usize,
    /// One event of any other protocol, in bytes.
    pub event: usize,
    /// A message id, in bytes.
    pub message_id: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 4 << 20, batch: 2_500, segment_event: 32 << 10, event: 256 << 10, message_id: 256 }
    }
}

/// What every adapter needs besides the request.
#[derive(Clone, Copy)]
pub struct Setting<'p> {
    /// What the policy says of the collector.
    pub rules: &'p CollectorRules,
    /// The fields that may be kept.
    pub fields: &'p BTreeMap<FieldPath, Field>,
    /// The bounds.
    pub limits: &'p Limits,
    /// When the request arrived.
    pub received_at: Timestamp,
}

/// Reads a request whose key has been accepted.
///
/// Before this, in this order: [`route::find`] (404) and the method (405); a preflight or handshake
/// is answered; [`key::before_body`] and the look-up of what it found (401); the body up to
/// [`Limits::body`] (413) and [`body::decode`] (415, 413, 400); [`key::with_body`] and its look-up
/// (401); [`Route::serves`] (401); [`cors::admits`] (403).
///
/// # Errors
/// A [`Refusal`] of the whole request: nothing in it is usable. A flaw of the only event of a
/// request refuses the request.
pub fn parse(request: &Request<'_>, route: &Route<'_>, setting: Setting<'_>) -> Result<Parsed, Refusal> {
    if !route.serves(setting.rules.protocol) {
        return Err(Refusal::Key);
    }
    let mut parsed = match route {
        Route::Event(call) => segment::single(request.body, *call, setting)?,
        Route::Batch => segment::batch(request.body, setting)?,
        Route::Merge => segment::single(request.body, route::Call::Merge, setting)?,
        Route::Metrics => Parsed { items: Vec::new(), form: Form::Batch },
        Route::Pixel(call) => rudderstack::pixel(request, *call, setting)?,
        Route::Events => cloudevents::parse(request, setting)?,
        Route::Settings { .. } | Route::SourceConfig => return Err(Refusal::NotFound),
    };
    if let Some(signal) = global_privacy_control(request, setting.rules) {
        for event in parsed.items.iter_mut().flatten() {
            event.signals.push(signal.clone());
        }
    }
    Ok(parsed)
}

fn global_privacy_control(request: &Request<'_>, rules: &CollectorRules) -> Option<Signal> {
    if !gpc::is_on(request.lines("sec-gpc")) {
        return None;
    }
    gpc::signal(&rules.gpc)
}

impl Setting<'_> {
    /// The bound of one event.
    const fn event_limit(&self) -> usize {
        match self.rules.protocol {
            Protocol::Segment => self.limits.segment_event,
            Protocol::Rudderstack | Protocol::CloudEvents | Protocol::Native => self.limits.event,
        }
    }
}

/// The one event of a request that holds no list.
fn single(outcome: Result<Collected, Rejected>) -> Result<Parsed, Refusal> {
    match outcome {
        Ok(event) => Ok(Parsed { items: vec![Ok(event)], form: Form::Single }),
        Err(rejected) => Err(Refusal::Event(rejected.flaw)),
    }
}

#[cfg(test)]
mod tests;
