//! Requests of people for their rights: cases, requests, tasks and access packages.
//!
//! What a person wrote is sealed under the key of its case; the rows here say which right, since when
//! and how far, and name no one.

mod packages;
mod tasks;

use diesel::prelude::*;
use jiff::civil::Date;

use crate::domain::id::{CaseId, EntryId, SubjectId, SubjectRequestId};
use crate::domain::subject_request::{Assurance, RequestKind, RequestOutcome, RequestState};

use super::backend::on;
use super::schema::{subject_case, subject_request};
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result};

pub use packages::{
    StoredPackage, delete_package, expired_packages, insert_package, note_fetched, package, package_keys_of,
};
pub use tasks::{
    StoredTask, TaskStep, claim_task, due_tasks, end_own_tasks, insert_tasks, one_task, settle_task, tasks,
};

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

/// The entry of the leaf that tells of a request's arrival.
///
/// # Errors
/// When the store cannot be read.
pub fn entry_of_request(connection: &mut Connection, id: SubjectRequestId) -> Result<Option<EntryId>> {
    let entry: Option<Id16> = on!(connection, c => subject_request::table
        .find(Id16::from(id))
        .select(subject_request::entry)
        .first(c)
        .optional())?;
    Ok(entry.map(Into::into))
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
