//! The tasks of requests: what is promised to one target, tried, and noted.

use diesel::prelude::*;

use crate::domain::id::{EntryId, InstanceId, SubjectRequestId, TaskId};
use crate::domain::subject_request::{Target, TaskOutcome};
use crate::storage::backend::on;
use crate::storage::schema::task;
use crate::storage::sql_types::{Id16, Micros};
use crate::storage::{Connection, Error, Result};

/// A promise to one target.
#[derive(Clone)]
pub struct StoredTask {
    /// Its id.
    pub id: TaskId,
    /// The request it belongs to.
    pub request: SubjectRequestId,
    /// Whom it is for.
    pub target: Target,
    /// What it asks.
    pub verb: String,
    /// What became of it.
    pub outcome: TaskOutcome,
    /// What the outcome rests on: `read_back`, `signed_statement`, `statement`.
    pub proof: Option<String>,
    /// Tries made.
    pub attempts: u32,
    /// When it is due; `None`: nothing is to be sent.
    pub next_at: Option<Micros>,
    /// 16 random bytes of its message id.
    pub message: [u8; 16],
    /// The nonce of the newest try.
    pub nonce: Option<Vec<u8>>,
    /// The pseudonyms by which the target knows the person, one a line.
    pub pseudonym: Option<String>,
    /// Id of the key under which [`sealed`](Self::sealed) lies.
    pub key: Option<[u8; 16]>,
    /// Identifiers for a target that never saw a pseudonym, sealed under a key of their own.
    pub sealed: Option<Vec<u8>>,
    /// When it ended.
    pub settled_at: Option<Micros>,
}

/// What becomes of a task after a try.
#[derive(Clone, Debug)]
pub struct TaskStep {
    /// The try that says so.
    pub attempt: u32,
    /// The outcome.
    pub outcome: TaskOutcome,
    /// What it rests on.
    pub proof: Option<String>,
    /// Whether the try counts.
    pub counts: bool,
    /// When it is due again; `None`: nothing more is sent.
    pub next_at: Option<Micros>,
    /// When.
    pub at: Micros,
}

/// Makes tasks.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_tasks(connection: &mut Connection, rows: &[StoredTask], entry: EntryId) -> Result<()> {
    for row in rows {
        on!(connection, c => diesel::insert_into(task::table)
            .values((
                task::id.eq(Id16::from(row.id)),
                task::request.eq(Id16::from(row.request)),
                task::target.eq(row.target.spelling()),
                task::verb.eq(&row.verb),
                task::outcome.eq(row.outcome.as_str()),
                task::proof.eq(row.proof.as_deref()),
                task::attempts.eq(i32::try_from(row.attempts).unwrap_or(i32::MAX)),
                task::next_at.eq(row.next_at),
                task::message.eq(Id16(row.message)),
                task::pseudonym.eq(row.pseudonym.as_deref()),
                task::key.eq(row.key.map(Id16)),
                task::sealed.eq(row.sealed.as_deref()),
                task::settled_at.eq(row.settled_at),
                task::entry.eq(Id16::from(entry)),
            ))
            .execute(c))?;
    }
    Ok(())
}

/// The tasks of a request, in the order of their ids.
///
/// # Errors
/// When the store cannot be read or a row is malformed.
pub fn tasks(connection: &mut Connection, request: SubjectRequestId) -> Result<Vec<StoredTask>> {
    let rows: Vec<TaskRow> = on!(connection, c => task::table
        .filter(task::request.eq(Id16::from(request)))
        .order(task::id)
        .select(TaskRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored_task).collect()
}

/// One task.
///
/// # Errors
/// As [`tasks`].
pub fn one_task(connection: &mut Connection, id: TaskId) -> Result<Option<StoredTask>> {
    let row: Option<TaskRow> =
        on!(connection, c => task::table.find(Id16::from(id)).select(TaskRow::as_select()).first(c).optional())?;
    row.map(stored_task).transpose()
}

/// Tasks whose time has come and that nobody is carrying out, oldest first.
///
/// # Errors
/// As [`tasks`].
pub fn due_tasks(connection: &mut Connection, now: Micros, limit: i64) -> Result<Vec<StoredTask>> {
    let rows: Vec<TaskRow> = on!(connection, c => task::table
        .filter(task::next_at.is_not_null()
            .and(task::next_at.le(now))
            .and(task::lease_until.is_null().or(task::lease_until.le(now))))
        .order(task::id)
        .limit(limit)
        .select(TaskRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored_task).collect()
}

/// Claims a task for one try. False: somebody else has it.
///
/// # Errors
/// When the store cannot be written.
pub fn claim_task(
    connection: &mut Connection,
    seen: &StoredTask,
    nonce: &[u8; 32],
    holder: InstanceId,
    now: Micros,
    lease_until: Micros,
) -> Result<bool> {
    let attempts = i32::try_from(seen.attempts).unwrap_or(i32::MAX);
    let claimed = on!(connection, c => diesel::update(task::table.filter(
            task::id.eq(Id16::from(seen.id))
                .and(task::attempts.eq(attempts))
                .and(task::next_at.is_not_null())
                .and(task::lease_until.is_null().or(task::lease_until.le(now)))))
        .set((
            task::attempts.eq(attempts.saturating_add(1)),
            task::nonce.eq(Some(&nonce[..])),
            task::holder.eq(Some(Id16::from(holder))),
            task::lease_until.eq(Some(lease_until)),
        ))
        .execute(c))?;
    Ok(claimed == 1)
}

/// Notes what became of a try. False: the try no longer holds the task.
///
/// # Errors
/// When the store cannot be written.
pub fn settle_task(connection: &mut Connection, id: TaskId, step: &TaskStep) -> Result<bool> {
    let attempt = i32::try_from(step.attempt).unwrap_or(i32::MAX);
    let row = task::table.filter(task::id.eq(Id16::from(id)).and(task::attempts.eq(attempt)));
    let settled = on!(connection, c => diesel::update(row)
        .set((
            task::outcome.eq(step.outcome.as_str()),
            task::proof.eq(step.proof.as_deref()),
            task::attempts.eq(if step.counts { attempt } else { attempt.saturating_sub(1) }),
            task::next_at.eq(step.next_at),
            task::lease_until.eq(None::<Micros>),
            task::settled_at.eq(step.outcome.is_terminal().then_some(step.at)),
        ))
        .execute(c))?;
    if settled == 1 && step.outcome.is_terminal() {
        // The names by which the target knew the person have served.
        on!(connection, c => diesel::update(task::table.find(Id16::from(id)))
            .set((task::pseudonym.eq(None::<String>), task::sealed.eq(None::<Vec<u8>>), task::key.eq(None::<Id16>)))
            .execute(c))?;
    }
    Ok(settled == 1)
}

/// Ends a task of the gateway's own.
///
/// # Errors
/// When the store cannot be written.
pub fn end_own_tasks(
    connection: &mut Connection,
    request: SubjectRequestId,
    target: &Target,
    outcome: TaskOutcome,
    proof: &str,
    at: Micros,
) -> Result<usize> {
    let row = task::table.filter(task::request.eq(Id16::from(request)).and(task::target.eq(target.spelling())));
    Ok(on!(connection, c => diesel::update(row)
        .set((task::outcome.eq(outcome.as_str()), task::proof.eq(Some(proof)), task::settled_at.eq(Some(at))))
        .execute(c))?)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = task)]
struct TaskRow {
    id: Id16,
    request: Id16,
    target: String,
    verb: String,
    outcome: String,
    proof: Option<String>,
    attempts: i32,
    next_at: Option<Micros>,
    message: Id16,
    nonce: Option<Vec<u8>>,
    pseudonym: Option<String>,
    key: Option<Id16>,
    sealed: Option<Vec<u8>>,
    settled_at: Option<Micros>,
}

fn stored_task(row: TaskRow) -> Result<StoredTask> {
    let malformed = || Error::Malformed { table: "task" };
    Ok(StoredTask {
        id: row.id.into(),
        request: row.request.into(),
        target: Target::parse(&row.target).ok_or_else(malformed)?,
        verb: row.verb,
        outcome: TaskOutcome::parse(&row.outcome).ok_or_else(malformed)?,
        proof: row.proof,
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        next_at: row.next_at,
        message: row.message.0,
        nonce: row.nonce,
        pseudonym: row.pseudonym,
        key: row.key.map(|key| key.0),
        sealed: row.sealed,
        settled_at: row.settled_at,
    })
}
