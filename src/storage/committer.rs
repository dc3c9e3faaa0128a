//! Group commit: one writer a process, which runs what waits as one transaction.
//!
//! A durable commit costs about one `fsync`. The writer takes everything that waits (without
//! lingering), runs it, appends the leaves of all of it in order, commits once, and only then
//! answers. A batch that fails is rolled back and runs again with each unit in a savepoint of its
//! own, so that only the faulty unit fails. If it is unknown whether a commit happened, the log is
//! asked: the leaf of the first unit stands there or does not.

mod collected;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::id::SubjectId;
use crate::domain::policy::PolicyHash;

use super::backend::on;
use super::checkpointer::Checkpointer;
use super::log_clock::{Dated, LogClock};
use super::schema::installation;
use super::sql_types::Micros;
use super::unit::{Body, Transaction};
use super::{
    Committed, Connection, Error, LeafRow, Location, Outcome, Result, Step, Unit, audit_log,
    subjects::{self, KnownVersions},
};

/// The most leaves in one batch.
const LEAVES_PER_BATCH: usize = 1_024;
/// How long a commit of unknown outcome is asked for.
const READ_BACK: Duration = Duration::from_secs(30);
/// A write-ahead log above this many bytes is begun anew as soon as little of it is left to copy, and
/// above twice as many in any case.
const WAL_LIMIT: u64 = 192 << 20;

/// The writer touches the pages of every index; readers come for one person and need little.
const WRITER_CACHE: &str = "PRAGMA cache_size = -16384";

/// A unit with the place for its answer.
pub(super) struct Job {
    pub(super) unit: Unit,
    pub(super) answer: oneshot::Sender<Result<Outcome>>,
}

/// What the world may see of the writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of leaves after the newest commit.
    pub size: u64,
}

/// How the writer works.
pub(super) struct Settings {
    pub(super) location: Location,
    pub(super) batch_units: usize,
    pub(super) clock: LogClock,
    /// Called with every batch: units, leaves, seconds.
    pub(super) observe: Arc<dyn Fn(usize, usize, f64) + Send + Sync>,
}

/// Starts the writer's thread. It ends when every sender is gone and the queue is empty.
pub(super) fn start(
    settings: Settings,
    mut connection: Connection,
    jobs: mpsc::Receiver<Job>,
    head: watch::Sender<Head>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let checkpointer = match &settings.location {
        Location::Sqlite(path) => {
            if let Err(error) = connection.execute_script(WRITER_CACHE) {
                tracing::debug!(error = crate::telemetry::cause(&error), "the writer's page cache stays small");
            }
            Some(Checkpointer::start(path)?)
        }
        Location::Postgres { .. } => None,
    };
    let writer = Writer { settings, connection, head, known: KnownVersions::default(), checkpointer, failing: false };
    std::thread::Builder::new().name("committer".to_owned()).spawn(move || writer.run(jobs))
}

struct Writer {
    settings: Settings,
    connection: Connection,
    head: watch::Sender<Head>,
    known: KnownVersions,
    /// On SQLite.
    checkpointer: Option<Checkpointer>,
    failing: bool,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut batch = vec![first];
            let mut leaves = leaf_count(&batch);
            while batch.len() < self.settings.batch_units && leaves < LEAVES_PER_BATCH {
                let Ok(job) = jobs.try_recv() else { break };
                leaves += job.unit.leaves.len();
                batch.push(job);
            }
            self.commit(batch);
            self.keep_log_short();
        }
    }

    /// Runs a batch until each of its units has an answer.
    fn commit(&mut self, mut batch: Vec<Job>) {
        let started = Instant::now();
        let (units, leaves) = (batch.len(), leaf_count(&batch));
        let outcomes = match self.attempt(&mut batch, Isolation::Together) {
            Ok(outcomes) => Ok(outcomes),
            Err(Failure::Lost) => self.read_back(&mut batch),
            // One unit alone cannot have been spoiled by another.
            Err(Failure::Statement(error)) if batch.len() == 1 && !is_conflict(&error) => Err(error),
            Err(Failure::Statement(_)) => self.attempt_until_settled(&mut batch),
        };
        match outcomes {
            Ok(outcomes) => {
                self.failing = false;
                for (job, outcome) in batch.into_iter().zip(outcomes) {
                    // The caller may have gone away; its change stands all the same.
                    drop(job.answer.send(outcome));
                }
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(
                        error = crate::telemetry::cause(&error),
                        "a batch of changes could not be committed"
                    );
                }
                self.failing = true;
                let passing = error.is_passing();
                let mut error = Some(error);
                for job in batch {
                    let answer = error.take().unwrap_or(if passing { Error::Overloaded } else { Error::Unknown });
                    drop(job.answer.send(Err(answer)));
                }
            }
        }
        (self.settings.observe)(units, leaves, started.elapsed().as_secs_f64());
    }

    /// Runs a batch again, each unit in a savepoint of its own; serialisation conflicts up to five
    /// times.
    fn attempt_until_settled(&mut self, batch: &mut [Job]) -> Result<Vec<Result<Outcome>>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(batch, Isolation::Apart) {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failure::Lost) => return self.read_back(batch),
                Err(Failure::Statement(error)) if tries < 5 && is_conflict(&error) => {
                    std::thread::sleep(Duration::from_millis(5 * tries));
                }
                Err(Failure::Statement(error)) => return Err(error),
            }
        }
    }

    fn attempt(
        &mut self,
        batch: &mut [Job],
        isolation: Isolation,
    ) -> std::result::Result<Vec<Result<Outcome>>, Failure> {
        let begin = match &self.connection {
            Connection::Sqlite(_) => "BEGIN IMMEDIATE",
            Connection::Postgres(_) => "BEGIN",
        };
        if let Err(error) = self.connection.execute_script(begin) {
            return Err(self.after_failure(error));
        }
        let ran = match isolation {
            Isolation::Together => self.run_together(batch),
            Isolation::Apart => {
                // A unit must see what the units before it left in the same transaction.
                self.known.forget();
                let ran = self.run_apart(batch);
                self.known.forget();
                ran
            }
        };
        match ran {
            Ok((outcomes, size)) => match self.connection.execute_script("COMMIT") {
                Ok(()) => {
                    self.known.keep();
                    self.settings.clock.keep();
                    if let Some(size) = size {
                        self.head.send_replace(Head { size });
                    }
                    Ok(outcomes)
                }
                Err(error) => {
                    if matches!(self.connection, Connection::Sqlite(_)) {
                        // SQLite says whether it committed: it did not.
                        Err(self.after_failure(error))
                    } else {
                        tracing::warn!(error = crate::telemetry::cause(&error), "the outcome of a commit is unknown");
                        Err(Failure::Lost)
                    }
                }
            },
            Err(error) => Err(self.after_failure(error)),
        }
    }

    /// Rolls back; where even that fails, the connection is replaced.
    fn after_failure(&mut self, error: Error) -> Failure {
        self.known.forget();
        self.settings.clock.set_pending(None);
        if self.connection.execute_script("ROLLBACK").is_err()
            && let Ok(connection) = self.settings.location.connect()
        {
            self.connection = connection;
        }
        Failure::Statement(error)
    }

    fn run_together(&mut self, batch: &mut [Job]) -> Result<(Vec<Result<Outcome>>, Option<u64>)> {
        let mut units: Vec<&mut Unit> = batch.iter_mut().map(|job| &mut job.unit).collect();
        let (verdicts, size) = run(&mut self.connection, &mut units, &mut self.known, &self.settings.clock)?;
        Ok((verdicts.into_iter().map(Ok).collect(), size))
    }

    fn run_apart(&mut self, batch: &mut [Job]) -> Result<(Vec<Result<Outcome>>, Option<u64>)> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut size = None;
        for job in batch {
            self.connection.execute_script("SAVEPOINT unit")?;
            let clock = &self.settings.clock;
            let pending = clock.pending();
            match run(&mut self.connection, &mut [&mut job.unit], &mut KnownVersions::default(), clock) {
                Ok((mut verdicts, grown)) => {
                    self.connection.execute_script("RELEASE SAVEPOINT unit")?;
                    size = grown.or(size);
                    outcomes.push(verdicts.pop().ok_or(Error::Unknown));
                }
                Err(error) if is_conflict(&error) || error.is_passing() => return Err(error),
                Err(error) => {
                    self.connection.execute_script("ROLLBACK TO SAVEPOINT unit; RELEASE SAVEPOINT unit")?;
                    clock.set_pending(pending);
                    // That the clock is not believed is told once, where it is watched.
                    if !matches!(error, Error::ClockSuspended) {
                        tracing::error!(error = crate::telemetry::cause(&error), "one change could not be committed");
                    }
                    outcomes.push(Err(error));
                }
            }
        }
        Ok((outcomes, size))
    }

    /// After a lost connection: asks the log whether the batch stands there, and runs it again if it
    /// does not.
    fn read_back(&mut self, batch: &mut [Job]) -> Result<Vec<Result<Outcome>>> {
        let deadline = Instant::now() + READ_BACK;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
            let Ok(connection) = self.settings.location.connect() else { continue };
            self.connection = connection;
            let Ok(stands) = self.committed_before(batch) else { continue };
            return match stands {
                Some(outcomes) => Ok(outcomes),
                None => match self.attempt(batch, Isolation::Apart) {
                    Ok(outcomes) => Ok(outcomes),
                    Err(Failure::Lost) => Err(Error::Unknown),
                    Err(Failure::Statement(error)) => Err(error),
                },
            };
        }
        Err(Error::Unknown)
    }

    /// The answers of a batch that did commit; `None` if it did not. A batch commits whole, so any
    /// of its leaves tells; units whose leaves do not stand in a batch that did were stale.
    fn committed_before(&mut self, batch: &[Job]) -> Result<Option<Vec<Result<Outcome>>>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut any = false;
        for job in batch {
            let mut leaves = Vec::with_capacity(job.unit.leaves.len());
            let mut time = Micros(0);
            for leaf in &job.unit.leaves {
                if let Some(stored) = audit_log::leaf_of_entry(&mut self.connection, leaf.draft.entry())? {
                    leaves.push((stored.entry, stored.seq));
                    time = stored.time;
                }
            }
            if leaves.is_empty() {
                outcomes.push(Ok(Outcome::Stale));
            } else {
                any = true;
                outcomes.push(Ok(Outcome::Committed(Committed { time, leaves })));
            }
        }
        Ok(any.then_some(outcomes))
    }

    /// Keeps the write-ahead log of SQLite short. Under constant load the checkpointer never copies
    /// all of it, so above the limit the writer copies the rest, waits for the readers and begins the
    /// log anew.
    fn keep_log_short(&mut self) {
        let Some(checkpointer) = &mut self.checkpointer else { return };
        let length = checkpointer.log_length();
        checkpointer.note_length(length);
        let is_long = length > WAL_LIMIT && (length > 2 * WAL_LIMIT || checkpointer.has_caught_up());
        if is_long && let Err(error) = self.connection.execute_script("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!(error = crate::telemetry::cause(&error), "the write-ahead log could not be begun anew now");
        }
    }
}

#[derive(Clone, Copy)]
enum Isolation {
    Together,
    Apart,
}

enum Failure {
    /// Rolled back.
    Statement(Error),
    /// The commit was sent and no answer came.
    Lost,
}

fn leaf_count(batch: &[Job]) -> usize {
    batch.iter().map(|job| job.unit.leaves.len()).sum()
}

fn is_conflict(error: &Error) -> bool {
    use diesel::result::{DatabaseErrorKind, Error as Diesel};
    match error {
        Error::Statement(Diesel::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
        Error::Statement(Diesel::DatabaseError(_, information)) => information.message().contains("deadlock"),
        _ => false,
    }
}

/// Runs units in an open transaction: locks what they rest on, turns away what is stale, makes the
/// changes, inserts what was collected, appends the leaves. Gives each unit's outcome, and the new
/// size of the log if it grew.
fn run(
    connection: &mut Connection,
    units: &mut [&mut Unit],
    known: &mut KnownVersions,
    clock: &LogClock,
) -> Result<(Vec<Outcome>, Option<u64>)> {
    let touched: BTreeSet<SubjectId> =
        units.iter().flat_map(|unit| unit.rests_on.iter().map(|expected| expected.subject)).collect();
    let touched: Vec<SubjectId> = touched.into_iter().collect();
    let versions = subjects::lock(connection, &touched, known)?;
    let policy = policy_in_force(connection)?;
    let mut transaction = Transaction { connection, versions, policy, clock, corrected: None };

    let mut verdicts: Vec<Option<Outcome>> = units.iter().map(|_| None).collect();
    for (unit, verdict) in units.iter_mut().zip(&mut verdicts) {
        if is_stale(unit, &transaction) {
            *verdict = Some(Outcome::Stale);
        } else if let Body::Change(change) = &mut unit.body {
            transaction.connection().execute_script("SAVEPOINT change")?;
            let step = change(&mut transaction, &mut unit.leaves)?;
            if step == Step::Stale {
                transaction.connection().execute_script("ROLLBACK TO SAVEPOINT change")?;
                *verdict = Some(Outcome::Stale);
            }
            transaction.connection().execute_script("RELEASE SAVEPOINT change")?;
        }
    }
    // A change of this batch may have raised a version that a collected unit rests on.
    for (unit, verdict) in units.iter().zip(&mut verdicts) {
        if verdict.is_none() && matches!(unit.body, Body::Collect(_)) && is_stale(unit, &transaction) {
            *verdict = Some(Outcome::Stale);
        }
    }
    collected::insert_collected(&mut transaction, units, &mut verdicts)?;
    known.note(touched, &transaction.versions);
    let Transaction { connection, corrected, .. } = transaction;
    append_leaves(connection, units, verdicts, clock, corrected)
}

fn policy_in_force(connection: &mut Connection) -> Result<PolicyHash> {
    let hash: Vec<u8> = on!(connection, c => installation::table.select(installation::policy).first(c))?;
    Ok(PolicyHash(hash.try_into().map_err(|_| Error::Malformed { table: "installation" })?))
}

fn is_stale(unit: &Unit, transaction: &Transaction<'_>) -> bool {
    unit.policy.is_some_and(|policy| policy != transaction.policy)
        || unit
            .rests_on
            .iter()
            .any(|expected| expected.version.is_some_and(|seen| transaction.version(expected.subject) != Some(seen)))
}

fn append_leaves(
    connection: &mut Connection,
    units: &[&mut Unit],
    verdicts: Vec<Option<Outcome>>,
    clock: &LogClock,
    corrected: Option<Micros>,
) -> Result<(Vec<Outcome>, Option<u64>)> {
    let mut leaves: Vec<&LeafRow> = units
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| verdict.is_none())
        .flat_map(|(unit, _)| unit.leaves.iter())
        .collect();
    if leaves.is_empty() {
        let time = clock.now(None);
        let outcomes = verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or_else(|| Outcome::Committed(Committed { time, leaves: Vec::new() })))
            .collect();
        return Ok((outcomes, None));
    }
    let (head, database_clock) = audit_log::take_head(connection)?;
    let Dated { time, notice } = match corrected {
        Some(time) => Dated { time, notice: None },
        None => clock.date(&head, database_clock)?,
    };
    // What is told about the clock goes before what it dates.
    leaves.splice(0..0, &notice);
    let mut positions =
        audit_log::append(connection, head, time, &leaves)?.into_iter().skip(usize::from(notice.is_some()));
    let mut size = 0;
    let outcomes = units
        .iter()
        .zip(verdicts)
        .map(|(unit, verdict)| {
            verdict.unwrap_or_else(|| {
                let leaves: Vec<_> = unit
                    .leaves
                    .iter()
                    .zip(positions.by_ref())
                    .map(|(leaf, position)| {
                        size = position + 1;
                        (leaf.draft.entry(), position)
                    })
                    .collect();
                Outcome::Committed(Committed { time, leaves })
            })
        })
        .collect();
    Ok((outcomes, Some(size)))
}
