//! The scrub: the whole log is read and hashed again every day, beside the work, by the verifier that
//! strangers use.
//!
//! It costs at most a tenth of a core, remembers where it stands, and one instance does it for all.
//! Damage does not stop the gateway, for people must be able to withdraw: it is told in the log
//! itself (`log.verified`, failed), in the diagnostics, in the metrics and in the status.

mod reading;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::audit::finding::{Code, Finding, Position, Report, Severity};
use crate::audit::leaf::Fact;
use crate::domain::event::{Event, Outcome};
use crate::storage::audit_log::{self, FinishedScrub, ScrubState};
use crate::storage::leases::{self, Lease};
use crate::storage::{self, Step, Unit};
use crate::telemetry::metrics as figures;

use self::reading::{Progress, Read, Whole};
use super::verify::WrongTile;
use super::{Error, Gateway, Result};

const LEASE: &str = "scrub";
/// A killed instance is waited for as long.
const LEASE_LENGTH: Duration = Duration::from_secs(120);
/// How often it is asked whether a scrub is due.
const TICK: Duration = Duration::from_secs(30);
/// Findings that get a line each in the diagnostics.
const LINES: usize = 20;

/// How much of a core a scrub may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A tenth: it rests nine times as long as it works.
    Tenth,
    /// All of it.
    Full,
}

/// What became of a scrub.
#[derive(Debug)]
pub enum Scrub {
    /// The log was read to its end.
    Finished(Box<Report>),
    /// It was told to stop and goes on from here the next time.
    Interrupted {
        /// Leaves below have been read.
        position: u64,
    },
    /// Another instance does it.
    Elsewhere,
}

/// How the scrub stands, for the status of the log.
#[derive(Clone, Debug, Serialize)]
pub struct ScrubStatus {
    /// Leaves that the running scrub has read; absent between two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// When the last one ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Leaves the log had then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What was found wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<u64>,
    /// The first leaf of which something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_fault: Option<u64>,
}

impl From<ScrubState> for ScrubStatus {
    fn from(state: ScrubState) -> Self {
        Self {
            position: state.progress.is_some().then_some(state.position),
            finished: state.last.map(|last| last.at.timestamp()),
            size: state.last.map(|last| last.size),
            faults: state.last.map(|last| last.faults),
            first_fault: state.last.and_then(|last| last.first_fault),
        }
    }
}

impl Gateway {
    /// Reads the log from where the last scrub was interrupted, or from its beginning, to its end, and
    /// appends what came of it. `go_on` is asked after every page, with the position; if it says no,
    /// the scrub remembers where it stands.
    ///
    /// # Errors
    /// When a store cannot be used; whatever is wrong in the log is a finding.
    pub async fn scrub(&self, pace: Pace, go_on: impl FnMut(u64) -> bool + Send + 'static) -> Result<Scrub> {
        let Some(lease) = self.take_lease(LEASE.to_owned(), LEASE_LENGTH).await? else { return Ok(Scrub::Elsewhere) };
        let (house, held, handle) = (self.clone(), lease.clone(), Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            let save = |state: ScrubState| handle.block_on(house.save_scrub(&held, state, None));
            reading::read(&house, pace, go_on, save)
        });
        let ended = match read.await.map_err(|_| Error::Contention)? {
            Ok(Read::ToTheEnd(whole)) => self.finish_scrub(&lease, *whole).await,
            Ok(Read::Until(position)) => Ok(Scrub::Interrupted { position }),
            Ok(Read::LeaseLost) => Ok(Scrub::Elsewhere),
            Err(error) => Err(error),
        };
        self.give_lease_back(lease).await;
        ended
    }

    /// How the scrub stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn scrub_status(&self) -> Result<ScrubStatus> {
        let state = self.database.read(audit_log::scrub_state).await.map_err(Error::store)?;
        Ok(state.into())
    }

    /// Tells what came of it: leaf 109, the diagnostics, the state row. Tiles that are wrong are made
    /// anew, but only over a log in which nothing is wrong: beside altered leaves the old tiles are
    /// what shows where it began.
    async fn finish_scrub(&self, lease: &Lease, whole: Whole) -> Result<Scrub> {
        let Whole { state, report, wrong, head } = whole;
        let tally = Tally::of_progress(state.progress.as_deref()).with(&report.findings);
        tell(&report);
        if tally.faults == 0 {
            self.rebuild_tiles(wrong).await?;
        }
        let outcome = if tally.faults == 0 { Outcome::Done } else { Outcome::Failed };
        let mut leaf =
            self.leaf(Event::LogVerified, outcome)?.fact(Fact::LogSize(head.size)).fact(Fact::Root(head.root));
        if let Some(first) = tally.first {
            leaf = leaf.fact(Fact::Number(first));
        }
        let at = self.source.now().into();
        let last = FinishedScrub { at, size: head.size, faults: tally.faults, first_fault: tally.first };
        let next = ScrubState { round: state.round.saturating_add(1), position: 0, progress: None, last: Some(last) };
        Ok(match self.save_scrub(lease, next, Some(leaf.finish()?)).await? {
            true => Scrub::Finished(Box::new(report)),
            false => Scrub::Elsewhere,
        })
    }

    /// Remembers where the scrub stands and renews the lease. False: another instance took it.
    async fn save_scrub(&self, lease: &Lease, state: ScrubState, leaf: Option<storage::LeafRow>) -> Result<bool> {
        let (lease, now) = (lease.clone(), self.source.now());
        let length = i64::try_from(LEASE_LENGTH.as_micros()).unwrap_or(i64::MAX);
        let unit = Unit::change(Vec::new(), leaf.into_iter().collect(), move |transaction, _| {
            let connection = transaction.connection();
            let held = leases::take(connection, LEASE, lease.holder, now.into(), length)?;
            if held.is_none_or(|held| held.epoch != lease.epoch) {
                return Ok(Step::Stale);
            }
            audit_log::store_scrub(connection, &state)?;
            Ok(Step::Commit)
        });
        let outcome = self.database.write(unit).await.map_err(Error::store)?;
        Ok(matches!(outcome, storage::Outcome::Committed(_)))
    }

    async fn rebuild_tiles(&self, wrong: Vec<WrongTile>) -> Result<()> {
        for tile in wrong {
            let (level, index) = (tile.level, tile.index);
            self.commit_change(move || {
                let hashes = tile.hashes.clone();
                Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                    let replaced = audit_log::replace_tile(transaction.connection(), level, index, &hashes)?;
                    Ok(if replaced { Step::Commit } else { Step::Stale })
                })
            })
            .await?;
            tracing::warn!(
                place = format!("{level}/{index}"),
                "a stored tile of the log was not what it is made of; it was made anew"
            );
        }
        Ok(())
    }
}

/// Faults found so far.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    faults: u64,
    first: Option<u64>,
}

impl Tally {
    fn of_progress(progress: Option<&str>) -> Self {
        progress.and_then(Progress::parse).map_or_else(Self::default, |progress| progress.tally())
    }

    fn with<'a>(mut self, findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        for finding in findings.into_iter().filter(|finding| is_fault(finding)) {
            self.faults += 1;
            let place = match finding.position {
                Position::Leaf { seq } => Some(seq),
                Position::Between { from, .. } => Some(from),
                Position::Whole {} => None,
            };
            self.first = self.first.into_iter().chain(place).min();
        }
        self
    }
}

/// Whether something is wrong or missing. A silence in the past is for a verifier to weigh: it stays in
/// the log for ever and can be mended by nobody.
fn is_fault(finding: &Finding) -> bool {
    finding.severity >= Severity::Incomplete && finding.code != Code::Silence
}

fn tell(report: &Report) {
    let faults: Vec<&Finding> = report.findings.iter().filter(|finding| is_fault(finding)).collect();
    for finding in faults.iter().take(LINES) {
        tracing::error!(
            code = finding.code.as_str(),
            place = ?finding.position,
            "the audit log is damaged; `amanat audit verify` names every fault"
        );
    }
    if faults.len() > LINES {
        tracing::error!(count = faults.len() - LINES, "the audit log is damaged in further places");
    }
}

/// Scrubs whenever it is due, until it is told to stop.
pub(super) async fn daily(house: Gateway, every: Duration, mut stopped: watch::Receiver<bool>) {
    let every = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
    loop {
        if super::housekeeping::pause(&mut stopped, TICK).await {
            return;
        }
        let done = async {
            let state = house.database.read(audit_log::scrub_state).await.map_err(Error::store)?;
            let age = state.last.map(|last| house.source.now().duration_since(last.at.timestamp()));
            if state.progress.is_some() || age.is_none_or(|age| age >= every) {
                let stopped = stopped.clone();
                house.scrub(Pace::Tenth, move |_| !*stopped.borrow()).await?;
            }
            measure(&house).await
        };
        if let Err(error) = done.await {
            tracing::warn!(
                error = crate::telemetry::cause(&error),
                "the log could not be read again; this comes again"
            );
        }
    }
}

async fn measure(house: &Gateway) -> Result<()> {
    let state = house.database.read(audit_log::scrub_state).await.map_err(Error::store)?;
    let Some(last) = state.last else { return Ok(()) };
    let age = house.source.now().duration_since(last.at.timestamp());
    metrics::gauge!(figures::AUDIT_SCRUB_AGE).set(age.as_secs_f64());
    metrics::gauge!(figures::AUDIT_DAMAGED).set(f64::from(u32::try_from(last.faults).unwrap_or(u32::MAX)));
    Ok(())
}
