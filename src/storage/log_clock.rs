//! The clock that dates the log, as the committer asks it: the database's on PostgreSQL, which the
//! instances share, the process's on SQLite.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::audit::clock::{Judged, Notice, Reading, Suspension, Watch};

use super::audit_log::{self, LogHead};
use super::{Connection, Error, LeafRow, Micros, Result};

/// What the committer cannot make itself: it has neither a clock nor randomness.
#[derive(Clone)]
pub struct Timekeeper {
    /// The time of a commit; given what the database says, where that counts.
    pub now: Arc<dyn Fn(Option<Micros>) -> Micros + Send + Sync>,
    /// The leaf that tells something about the clock.
    pub leaf: Arc<dyn Fn(Notice) -> Option<LeafRow> + Send + Sync>,
}

/// The clock of one store, watched from batch to batch.
#[derive(Clone)]
pub(super) struct LogClock {
    timekeeper: Timekeeper,
    began: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    kept: Watch,
    /// What holds if the open transaction commits.
    pending: Option<Watch>,
    suspension: Option<Suspension>,
}

/// How a batch is dated.
pub(super) struct Dated {
    pub(super) time: Micros,
    /// The leaf that goes before all others.
    pub(super) notice: Option<LeafRow>,
}

impl LogClock {
    pub(super) fn new(timekeeper: Timekeeper) -> Self {
        Self { timekeeper, began: Instant::now(), state: Arc::default() }
    }

    /// The clock, for what is no leaf.
    pub(super) fn now(&self, database: Option<Micros>) -> Micros {
        (self.timekeeper.now)(database)
    }

    /// Dates a batch.
    ///
    /// # Errors
    /// [`Error::ClockSuspended`] while the clock is not believed.
    pub(super) fn date(&self, head: &LogHead, database: Option<Micros>) -> Result<Dated> {
        let reading = self.reading(database);
        let mut state = self.state();
        let (judged, next) = state.pending.unwrap_or(state.kept).judge(micros(head.last_time), head.epoch, reading);
        match judged {
            Judged::Suspended(why) => {
                state.kept = next;
                state.suspension = Some(why);
                Err(Error::ClockSuspended)
            }
            Judged::Dated { time, notice } => {
                state.pending = Some(next);
                state.suspension = match notice {
                    Some(Notice::Suspended(step)) => Some(Suspension::Ahead(step)),
                    _ => None,
                };
                drop(state);
                let leaf = |notice| (self.timekeeper.leaf)(notice).ok_or(Error::Refused("the leaf of the clock"));
                Ok(Dated { time: time_of(time), notice: notice.map(leaf).transpose()? })
            }
        }
    }

    /// Takes the clock as it stands, whatever was thought of it, from this epoch on.
    pub(super) fn correct(&self, epoch: i64, database: Option<Micros>) -> Micros {
        let reading = self.reading(database);
        let mut state = self.state();
        state.pending = Some(Watch::corrected(epoch, reading));
        state.suspension = None;
        time_of(reading.wall)
    }

    /// Looks whether the clock is believed now, without a batch.
    pub(super) fn look(&self, connection: &mut Connection) -> Result<Option<Suspension>> {
        let Some(head) = audit_log::head(connection)? else { return Ok(None) };
        let reading = self.reading(super::leases::database_clock(connection)?);
        let mut state = self.state();
        let (judged, next) = state.kept.judge(micros(head.last_time), head.epoch, reading);
        state.suspension = match judged {
            Judged::Suspended(why) => {
                state.kept = next;
                Some(why)
            }
            Judged::Dated { .. } => None,
        };
        Ok(state.suspension)
    }

    /// Why the clock was not believed the last time it was asked.
    pub(super) fn suspension(&self) -> Option<Suspension> {
        self.state().suspension
    }

    /// What holds if the open transaction commits, to be put back if a part of it is undone.
    pub(super) fn pending(&self) -> Option<Watch> {
        self.state().pending
    }

    pub(super) fn set_pending(&self, pending: Option<Watch>) {
        self.state().pending = pending;
    }

    /// The transaction was committed.
    pub(super) fn keep(&self) {
        let mut state = self.state();
        if let Some(pending) = state.pending.take() {
            state.kept = pending;
        }
    }

    fn reading(&self, database: Option<Micros>) -> Reading {
        Reading { wall: micros(self.now(database)), elapsed: self.began.elapsed() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Micros) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}

fn time_of(micros: u64) -> Micros {
    Micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
