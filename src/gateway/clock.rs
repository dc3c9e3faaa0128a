//! The clock that dates the log: what is told of it, and how an operator says that it is right.

use std::sync::Arc;

use crate::audit::clock::{Notice, Step as ClockStep, Suspension};
use crate::audit::leaf::{Cause, Draft, Fact, Facts};
use crate::audit::payload::Payload;
use crate::domain::event::{Event, Outcome};
use crate::policy::Files;
use crate::storage::{Correction, LeafRow, Micros, Step, Timekeeper, Unit};
use crate::telemetry::metrics as figures;

use super::leaf::amend;
use super::source::Source;
use super::{Error, Gateway, KeyringSource, Result, Settings, policy, set_up};

/// Whether a start believes the clock only where it does not stand before the newest leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    Checked,
    /// The operator says that it is right.
    Given,
}

/// What the committer needs to date leaves.
pub(super) fn timekeeper(source: &Source) -> Timekeeper {
    let (clock, random) = (source.clone(), source.clone());
    Timekeeper {
        now: Arc::new(move |database| clock.of_commit(database.map(Micros::timestamp)).into()),
        leaf: Arc::new(move |notice| leaf_of(&random, notice)),
    }
}

/// The leaf of what happened to the clock. `None` when no randomness comes.
fn leaf_of(source: &Source, notice: Notice) -> Option<LeafRow> {
    let (event, outcome, step) = match notice {
        Notice::Regressed(step) => (Event::ClockRegressed, Outcome::Done, step),
        Notice::Leapt(step) => (Event::ClockLeapt, Outcome::Done, step),
        Notice::Suspended(step) => (Event::ClockLeapt, Outcome::Refused, step),
    };
    tracing::warn!(event = event.as_str(), seconds = seconds(step), "the clock that dates the log made a step");
    let facts = Facts::new(vec![Fact::From(step.before), Fact::Until(step.clock)]);
    let draft = Draft::new(source.entry().ok()?, event, outcome, Vec::new(), facts).ok()?;
    Some(LeafRow { draft, sealed: Vec::new() })
}

/// By how much the clock stands after what was before; negative if before.
fn seconds(step: ClockStep) -> i64 {
    let [before, clock] = [step.before, step.clock].map(|micros| i64::try_from(micros).unwrap_or(i64::MAX));
    clock.saturating_sub(before) / 1_000_000
}

impl Gateway {
    /// Why the clock is not believed, in words, if nothing is written because of it.
    #[must_use]
    pub fn clock_trouble(&self) -> Option<String> {
        self.database.clock_suspension().map(|why| {
            let step = match why {
                Suspension::Behind(step) | Suspension::Ahead(step) => step,
            };
            format!(
                "clock_suspended: the clock is off by {} s and nothing is written; set it right, or run `amanat audit resume --clock`",
                seconds(step)
            )
        })
    }

    /// Looks at the clock although nothing is written, so that it is believed again by itself.
    pub(super) async fn look_at_clock(&self) -> Result<()> {
        let was = self.database.clock_suspension().is_some();
        let is = self.database.look_at_clock().await.map_err(Error::store)?.is_some();
        if was != is {
            match self.clock_trouble() {
                Some(reason) => tracing::error!(reason, "the clock is not believed"),
                None => tracing::info!("the clock is believed again"),
            }
        }
        metrics::gauge!(figures::AUDIT_CLOCK_SUSPENDED).set(if is { 1.0 } else { 0.0 });
        Ok(())
    }
}

/// Opens the house, says in the log that the clock is right from here on, and closes it again. A
/// gateway that runs beside it goes on by itself. Gives the time before and the time from here on.
///
/// # Errors
/// As [`Gateway::open`]; when the leaf cannot be committed.
pub async fn correct(
    settings: Settings,
    keyring: KeyringSource,
    files: Files,
    source: Source,
    reason: &str,
) -> Result<(jiff::Timestamp, jiff::Timestamp)> {
    let house = set_up::open(settings, keyring, files, source, Belief::Given).await?;
    let corrected = house.correct_clock(reason).await;
    house.close();
    corrected
}

impl Gateway {
    async fn correct_clock(&self, reason: &str) -> Result<(jiff::Timestamp, jiff::Timestamp)> {
        let payload = Payload { reason: Some(reason.to_owned()), ..policy::operator() };
        // The times are known only in the commit.
        let none = Correction { before: Micros(0), after: Micros(0), epoch: 0 };
        let leaf = self.installation_leaf(Event::ClockCorrected, Outcome::Done, &payload, facts(none))?;
        let told = Arc::new(std::sync::Mutex::new(none));
        let slot = Arc::clone(&told);
        let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, leaves| {
            let correction = transaction.correct_clock()?;
            amend(leaves, facts(correction))?;
            *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = correction;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map_err(Error::store)?;
        let told = *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok((told.before.timestamp(), told.after.timestamp()))
    }
}

fn facts(correction: Correction) -> Vec<Fact> {
    let [before, after] = [correction.before, correction.after].map(|time| u64::try_from(time.0).unwrap_or(0));
    let cause = if after < before { Cause::ClockBehind } else { Cause::ClockAhead };
    let epoch = u64::try_from(correction.epoch).unwrap_or(0);
    vec![Fact::Cause(cause), Fact::From(before), Fact::Until(after), Fact::Epoch(epoch)]
}
