//! Requests of people for their rights: cases, requests, tasks and access packages.
//!
//! What a person wrote is sealed under the key of its case; the rows here say which right, since when
//! and how far, and name no one.

use diesel::prelude::*;
use jiff::civil::Date;

use crate::domain::id::{CaseId, EntryId, FileId, InstanceId, SubjectId, SubjectRequestId, TaskId};
use crate::domain::subject_request::{Assurance, RequestKind, RequestOutcome, RequestState, Target, TaskOutcome};

use super::backend::on;
use super::schema::{package, subject_case, subject_request, task};
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result};

/// Everything one message of a person asks.
#[derive(Clone)]
pub struct StoredCase {
    /// Its id.
    pub id: CaseId,
    /// What people call it by.
    pub reference: String,
    /// The way it came in.
    pub channel: String,
    /// Who brought it, `service:…` or `operator:…`.
    pub opened_by: String,
    /// BCP 47 tag of the language to answer in.
    pub language: String,
    /// When it reached us.
    pub received_at: Micros,
    /// The local day on which the clock started.
    pub trigger_day: Date,
    /// Id of its key.
    pub key: [u8; 16],
    /// Identifiers, message, scope; sealed under its key.
    pub sealed: Vec<u8>,
}

/// One right of one person, asked for once.
#[derive(Clone, Debug)]
pub struct StoredRequest {
    /// Its id.
    pub id: SubjectRequestId,
    /// Its case.
    pub case: CaseId,
    /// Which right.
    pub kind: RequestKind,
    /// Where it stands.
    pub state: RequestState,
    /// How it ended, if it did.
    pub outcome: Option<RequestOutcome>,
    /// The subject that was matched; `None`: nobody here.
    pub subject: Option<SubjectId>,
    /// How sure we are of the asker.
    pub assurance: Assurance,
    /// Raised by every change.
    pub version: i64,
    /// Our own aim.
    pub target_date: Date,
    /// The due day before rolling.
    pub nominal_due: Date,
    /// The last day of the period.
    pub statutory_due: Date,
    /// When it was opened.
    pub created_at: Micros,
    /// When the person was told.
    pub answered_at: Option<Micros>,
    /// When every task had ended.
    pub closed_at: Option<Micros>,
}

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

/// An access package.
#[derive(Clone)]
pub struct StoredPackage {
    /// Its id, which is the id of its sealed file.
    pub id: FileId,
    /// The request it answers.
    pub request: SubjectRequestId,
    /// Whose it is; `None`: nobody was found.
    pub subject: Option<SubjectId>,
    /// Id of its key.
    pub key: [u8; 16],
    /// SHA-256 of its content.
    pub manifest_hash: [u8; 32],
    /// The sealed file.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub made_at: Micros,
    /// When it goes.
    pub expires_at: Micros,
    /// When it was handed over first.
    pub fetched_at: Option<Micros>,
}

/// How a request moves on.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// The version it rests on.
    pub seen: i64,
    /// Where it goes.
    pub state: RequestState,
    /// How it ended, if it does.
    pub outcome: Option<RequestOutcome>,
    /// When.
    pub at: Micros,
}

/// Opens a case.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_case(connection: &mut Connection, row: &StoredCase, entry: EntryId) -> Result<()> {
    on!(connection, c => diesel::insert_into(subject_case::table)
        .values((
            subject_case::id.eq(Id16::from(row.id)),
            subject_case::reference.eq(&row.reference),
            subject_case::channel.eq(&row.channel),
            subject_case::opened_by.eq(&row.opened_by),
            subject_case::language.eq(&row.language),
            subject_case::received_at.eq(row.received_at),
            subject_case::trigger_day.eq(row.trigger_day.to_string()),
            subject_case::key.eq(Id16(row.key)),
            subject_case::sealed.eq(&row.sealed),
            subject_case::entry.eq(Id16::from(entry)),
        ))
        .execute(c))?;
    Ok(())
}

/// Opens a request.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_request(connection: &mut Connection, row: &StoredRequest, entry: EntryId) -> Result<()> {
    on!(connection, c => diesel::insert_into(subject_request::table)
        .values((
            subject_request::id.eq(Id16::from(row.id)),
            subject_request::subject_case.eq(Id16::from(row.case)),
            subject_request::kind.eq(row.kind.as_str()),
            subject_request::state.eq(row.state.as_str()),
            subject_request::outcome.eq(row.outcome.map(RequestOutcome::as_str)),
            subject_request::subject.eq(row.subject.map(Id16::from)),
            subject_request::assurance.eq(row.assurance.as_str()),
            subject_request::version.eq(row.version),
            subject_request::target_date.eq(row.target_date.to_string()),
            subject_request::nominal_due.eq(row.nominal_due.to_string()),
            subject_request::statutory_due.eq(row.statutory_due.to_string()),
            subject_request::created_at.eq(row.created_at),
            subject_request::answered_at.eq(row.answered_at),
            subject_request::closed_at.eq(row.closed_at),
            subject_request::entry.eq(Id16::from(entry)),
        ))
        .execute(c))?;
    Ok(())
}

/// Moves a request on. False: it is no longer what the change rests on, and nothing happened.
///
/// # Errors
/// When the store cannot be written.
pub fn move_request(connection: &mut Connection, id: SubjectRequestId, to: &Move) -> Result<bool> {
    let row =
        subject_request::table.filter(subject_request::id.eq(Id16::from(id)).and(subject_request::version.eq(to.seen)));
    let moved = on!(connection, c => diesel::update(row)
        .set((
            subject_request::state.eq(to.state.as_str()),
            subject_request::outcome.eq(to.outcome.map(RequestOutcome::as_str)),
            subject_request::version.eq(to.seen.saturating_add(1)),
        ))
        .execute(c))?;
    if moved == 0 {
        return Ok(false);
    }
    let row = subject_request::table.find(Id16::from(id));
    if matches!(to.state, RequestState::Answered | RequestState::Closed) {
        on!(connection, c => diesel::update(row.filter(subject_request::answered_at.is_null()))
            .set(subject_request::answered_at.eq(Some(to.at)))
            .execute(c))?;
    }
    if to.state == RequestState::Closed {
        on!(connection, c => diesel::update(row).set(subject_request::closed_at.eq(Some(to.at))).execute(c))?;
    }
    Ok(true)
}

/// Lets a request forget whose it was.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_subjects(connection: &mut Connection, subjects: &[SubjectId]) -> Result<usize> {
    let keys: Vec<Option<Id16>> = subjects.iter().copied().map(|id| Some(Id16::from(id))).collect();
    Ok(on!(connection, c => diesel::update(subject_request::table.filter(subject_request::subject.eq_any(keys)))
        .set(subject_request::subject.eq(None::<Id16>))
        .execute(c))?)
}

/// The case with this id.
///
/// # Errors
/// When the store cannot be read or the row is malformed.
pub fn case(connection: &mut Connection, id: CaseId) -> Result<Option<StoredCase>> {
    let row: Option<CaseRow> = on!(connection, c => subject_case::table.find(Id16::from(id)).select(CaseRow::as_select()).first(c).optional())?;
    row.map(stored_case).transpose()
}

/// The case with this reference.
///
/// # Errors
/// As [`case`].
pub fn case_by_reference(connection: &mut Connection, reference: &str) -> Result<Option<StoredCase>> {
    let row: Option<CaseRow> = on!(connection, c => subject_case::table
        .filter(subject_case::reference.eq(reference))
        .select(CaseRow::as_select())
        .first(c)
        .optional())?;
    row.map(stored_case).transpose()
}

/// A request.
///
/// # Errors
/// When the store cannot be read or the row is malformed.
pub fn request(connection: &mut Connection, id: SubjectRequestId) -> Result<Option<StoredRequest>> {
    let row: Option<RequestRow> = on!(connection, c => subject_request::table
        .find(Id16::from(id))
        .select(RequestRow::as_select())
        .first(c)
        .optional())?;
    row.map(stored_request).transpose()
}

/// The requests of a case, in the order of their ids.
///
/// # Errors
/// As [`request`].
pub fn requests_of_case(connection: &mut Connection, id: CaseId) -> Result<Vec<StoredRequest>> {
    let rows: Vec<RequestRow> = on!(connection, c => subject_request::table
        .filter(subject_request::subject_case.eq(Id16::from(id)))
        .order(subject_request::id)
        .select(RequestRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored_request).collect()
}

/// The requests of these subjects, oldest first.
///
/// # Errors
/// As [`request`].
pub fn requests_of_subjects(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<StoredRequest>> {
    let keys: Vec<Option<Id16>> = subjects.iter().copied().map(|id| Some(Id16::from(id))).collect();
    let rows: Vec<RequestRow> = on!(connection, c => subject_request::table
        .filter(subject_request::subject.eq_any(keys))
        .order(subject_request::id)
        .select(RequestRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored_request).collect()
}

/// The newest requests, at most `limit`.
///
/// # Errors
/// As [`request`].
pub fn newest(connection: &mut Connection, limit: i64) -> Result<Vec<StoredRequest>> {
    let rows: Vec<RequestRow> = on!(connection, c => subject_request::table
        .order(subject_request::id.desc())
        .limit(limit)
        .select(RequestRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored_request).collect()
}

/// Requests in one of these states, oldest first.
///
/// # Errors
/// As [`request`].
pub fn in_states(connection: &mut Connection, states: &[RequestState], limit: i64) -> Result<Vec<StoredRequest>> {
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let rows: Vec<RequestRow> = on!(connection, c => subject_request::table
        .filter(subject_request::state.eq_any(states))
        .order(subject_request::id)
        .limit(limit)
        .select(RequestRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored_request).collect()
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

/// Stores a package.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_package(connection: &mut Connection, row: &StoredPackage, entry: EntryId) -> Result<()> {
    on!(connection, c => diesel::insert_into(package::table)
        .values((
            package::id.eq(Id16::from(row.id)),
            package::request.eq(Id16::from(row.request)),
            package::subject.eq(row.subject.map(Id16::from)),
            package::key.eq(Id16(row.key)),
            package::manifest_hash.eq(&row.manifest_hash[..]),
            package::sealed.eq(&row.sealed),
            package::made_at.eq(row.made_at),
            package::expires_at.eq(row.expires_at),
            package::fetched_at.eq(row.fetched_at),
            package::entry.eq(Id16::from(entry)),
        ))
        .execute(c))?;
    Ok(())
}

/// The package of a request.
///
/// # Errors
/// When the store cannot be read or the row is malformed.
pub fn package(connection: &mut Connection, request: SubjectRequestId) -> Result<Option<StoredPackage>> {
    let row: Option<PackageRow> = on!(connection, c => package::table
        .filter(package::request.eq(Id16::from(request)))
        .select(PackageRow::as_select())
        .first(c)
        .optional())?;
    row.map(stored_package).transpose()
}

/// Ids of the packages of these subjects, each with the id of its key.
///
/// # Errors
/// When the store cannot be read.
pub fn package_keys_of(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<Id16>> {
    let keys: Vec<Option<Id16>> = subjects.iter().copied().map(|id| Some(Id16::from(id))).collect();
    Ok(on!(connection, c => package::table.filter(package::subject.eq_any(keys)).select(package::key).load(c))?)
}

/// Packages whose time is over: id and id of the key.
///
/// # Errors
/// When the store cannot be read.
pub fn expired_packages(connection: &mut Connection, now: Micros, limit: i64) -> Result<Vec<(FileId, Id16)>> {
    let rows: Vec<(Id16, Id16)> = on!(connection, c => package::table
        .filter(package::expires_at.le(now))
        .select((package::id, package::key))
        .limit(limit)
        .load(c))?;
    Ok(rows.into_iter().map(|(id, key)| (id.into(), key)).collect())
}

/// Deletes a package.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_package(connection: &mut Connection, id: FileId) -> Result<usize> {
    Ok(on!(connection, c => diesel::delete(package::table.find(Id16::from(id))).execute(c))?)
}

/// Notes that a package was handed over; the first time stays.
///
/// # Errors
/// When the store cannot be written.
pub fn note_fetched(connection: &mut Connection, id: FileId, at: Micros) -> Result<()> {
    on!(connection, c => diesel::update(package::table.filter(package::id.eq(Id16::from(id)).and(package::fetched_at.is_null())))
        .set(package::fetched_at.eq(Some(at)))
        .execute(c))?;
    Ok(())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = subject_case)]
struct CaseRow {
    id: Id16,
    reference: String,
    channel: String,
    opened_by: String,
    language: String,
    received_at: Micros,
    trigger_day: String,
    key: Id16,
    sealed: Vec<u8>,
}

fn stored_case(row: CaseRow) -> Result<StoredCase> {
    Ok(StoredCase {
        id: row.id.into(),
        reference: row.reference,
        channel: row.channel,
        opened_by: row.opened_by,
        language: row.language,
        received_at: row.received_at,
        trigger_day: date(&row.trigger_day, "subject_case")?,
        key: row.key.0,
        sealed: row.sealed,
    })
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = subject_request)]
struct RequestRow {
    id: Id16,
    subject_case: Id16,
    kind: String,
    state: String,
    outcome: Option<String>,
    subject: Option<Id16>,
    assurance: String,
    version: i64,
    target_date: String,
    nominal_due: String,
    statutory_due: String,
    created_at: Micros,
    answered_at: Option<Micros>,
    closed_at: Option<Micros>,
}

fn stored_request(row: RequestRow) -> Result<StoredRequest> {
    let malformed = || Error::Malformed { table: "subject_request" };
    Ok(StoredRequest {
        id: row.id.into(),
        case: row.subject_case.into(),
        kind: RequestKind::parse(&row.kind).ok_or_else(malformed)?,
        state: RequestState::parse(&row.state).ok_or_else(malformed)?,
        outcome: row.outcome.as_deref().map(|text| RequestOutcome::parse(text).ok_or_else(malformed)).transpose()?,
        subject: row.subject.map(Into::into),
        assurance: Assurance::parse(&row.assurance).ok_or_else(malformed)?,
        version: row.version,
        target_date: date(&row.target_date, "subject_request")?,
        nominal_due: date(&row.nominal_due, "subject_request")?,
        statutory_due: date(&row.statutory_due, "subject_request")?,
        created_at: row.created_at,
        answered_at: row.answered_at,
        closed_at: row.closed_at,
    })
}

fn date(text: &str, table: &'static str) -> Result<Date> {
    text.parse().map_err(|_| Error::Malformed { table })
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

#[derive(Queryable, Selectable)]
#[diesel(table_name = package)]
struct PackageRow {
    id: Id16,
    request: Id16,
    subject: Option<Id16>,
    key: Id16,
    manifest_hash: Vec<u8>,
    sealed: Vec<u8>,
    made_at: Micros,
    expires_at: Micros,
    fetched_at: Option<Micros>,
}

fn stored_package(row: PackageRow) -> Result<StoredPackage> {
    Ok(StoredPackage {
        id: row.id.into(),
        request: row.request.into(),
        subject: row.subject.map(Into::into),
        key: row.key.0,
        manifest_hash: row.manifest_hash.try_into().map_err(|_| Error::Malformed { table: "package" })?,
        sealed: row.sealed,
        made_at: row.made_at,
        expires_at: row.expires_at,
        fetched_at: row.fetched_at,
    })
}
