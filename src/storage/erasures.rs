//! The ledger of erasures.

mod marks;
mod rows;

use diesel::prelude::*;

use crate::domain::id::{EntryId, SubjectId, SubjectRequestId};

use super::backend::on;
use super::schema::erasure;
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result};

pub use marks::{
    LateEventMark, Suppression, any_mark, erased_at, insert_marks, insert_suppressions, is_suppressed,
    lift_suppressions,
};
pub use rows::{ERASABLE, count_rows, delete_disclosures, delete_rows};

/// An entry of the ledger: written before the first destructive act, and the only key of a retry.
#[derive(Clone, Debug)]
pub struct StoredErasure {
    /// The request it answers.
    pub request: SubjectRequestId,
    /// The subjects of the person's profile.
    pub subjects: Vec<SubjectId>,
    /// The last step that is done (1 is E1).
    pub step: i16,
    /// SHA-256 of the plan.
    pub plan_hash: Vec<u8>,
    /// The plan: counts per group, JSON without personal data.
    pub plan: String,
    /// Fingerprints of the destroyed keys, 32 bytes each, once they are destroyed.
    pub fingerprints: Vec<[u8; 32]>,
    /// What was deleted so far: counts per table, JSON.
    pub deleted: String,
    /// The key under which [`sealed`](Self::sealed) lies, destroyed when the request ends.
    pub key: Option<[u8; 16]>,
    /// What the receipt still needs and nobody may read afterwards, sealed.
    pub sealed: Option<Vec<u8>>,
    /// When it began.
    pub started_at: Micros,
    /// When the last row went.
    pub completed_at: Option<Micros>,
    /// When the receipt was handed out first.
    pub handed_out_at: Option<Micros>,
}

/// Writes the ledger entry.
///
/// # Errors
/// When the store cannot be written.
pub fn begin(connection: &mut Connection, row: &StoredErasure, entry: EntryId) -> Result<()> {
    on!(connection, c => diesel::insert_into(erasure::table)
        .values((
            erasure::request.eq(Id16::from(row.request)),
            erasure::subjects.eq(row.subjects.iter().flat_map(|subject| *subject.as_bytes()).collect::<Vec<u8>>()),
            erasure::step.eq(row.step),
            erasure::plan_hash.eq(&row.plan_hash),
            erasure::plan.eq(&row.plan),
            erasure::fingerprints.eq(row.fingerprints.concat()),
            erasure::deleted.eq(&row.deleted),
            erasure::key.eq(row.key.map(Id16)),
            erasure::sealed.eq(row.sealed.as_deref()),
            erasure::started_at.eq(row.started_at),
            erasure::completed_at.eq(row.completed_at),
            erasure::handed_out_at.eq(row.handed_out_at),
            erasure::entry.eq(Id16::from(entry)),
        ))
        .execute(c))?;
    Ok(())
}

/// Notes how far an erasure has come. What is `None` stays as it was.
///
/// # Errors
/// When the store cannot be written.
pub fn advance(
    connection: &mut Connection,
    request: SubjectRequestId,
    step: i16,
    fingerprints: Option<&[[u8; 32]]>,
    deleted: &str,
    completed_at: Option<Micros>,
) -> Result<()> {
    on!(connection, c => diesel::update(erasure::table.find(Id16::from(request)))
        .set((erasure::step.eq(step), erasure::deleted.eq(deleted)))
        .execute(c))?;
    if let Some(fingerprints) = fingerprints {
        on!(connection, c => diesel::update(erasure::table.find(Id16::from(request)))
            .set(erasure::fingerprints.eq(fingerprints.concat()))
            .execute(c))?;
    }
    if let Some(at) = completed_at {
        on!(connection, c => diesel::update(erasure::table.find(Id16::from(request)))
            .set(erasure::completed_at.eq(Some(at)))
            .execute(c))?;
    }
    Ok(())
}

/// Notes the completion: the last step, what was deleted, and the sealed opening of the receipt.
///
/// # Errors
/// When the store cannot be written.
pub fn complete(
    connection: &mut Connection,
    request: SubjectRequestId,
    step: i16,
    deleted: &str,
    sealed: &[u8],
    at: Micros,
) -> Result<()> {
    on!(connection, c => diesel::update(erasure::table.find(Id16::from(request)))
        .set((
            erasure::step.eq(step),
            erasure::deleted.eq(deleted),
            erasure::sealed.eq(Some(sealed)),
            erasure::completed_at.eq(Some(at)),
        ))
        .execute(c))?;
    Ok(())
}

/// Notes that the receipt was handed out; the first time stays.
///
/// # Errors
/// When the store cannot be written.
pub fn note_handed_out(connection: &mut Connection, request: SubjectRequestId, at: Micros) -> Result<()> {
    on!(connection, c => diesel::update(erasure::table.filter(
            erasure::request.eq(Id16::from(request)).and(erasure::handed_out_at.is_null())))
        .set(erasure::handed_out_at.eq(Some(at)))
        .execute(c))?;
    Ok(())
}

/// Erasures whose opening of the receipt is still held though it was handed out before the first
/// instant, or completed before the second.
///
/// # Errors
/// As [`find`].
pub fn receipts_to_forget(
    connection: &mut Connection,
    handed_out_before: Micros,
    completed_before: Micros,
) -> Result<Vec<StoredErasure>> {
    let rows: Vec<Row> = on!(connection, c => erasure::table
        .filter(erasure::sealed.is_not_null()
            .and(erasure::handed_out_at.le(handed_out_before).or(erasure::completed_at.le(completed_before))))
        .select(Row::as_select())
        .load(c))?;
    rows.into_iter().map(stored).collect()
}

/// Forgets what was sealed for the receipt, when it has been handed out.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_sealed(connection: &mut Connection, request: SubjectRequestId) -> Result<()> {
    on!(connection, c => diesel::update(erasure::table.find(Id16::from(request)))
        .set((erasure::sealed.eq(None::<Vec<u8>>), erasure::key.eq(None::<Id16>)))
        .execute(c))?;
    Ok(())
}

/// The ledger entry of a request.
///
/// # Errors
/// When the store cannot be read or the row is malformed.
pub fn find(connection: &mut Connection, request: SubjectRequestId) -> Result<Option<StoredErasure>> {
    let row: Option<Row> =
        on!(connection, c => erasure::table.find(Id16::from(request)).select(Row::as_select()).first(c).optional())?;
    row.map(stored).transpose()
}

/// Erasures whose rows are not all gone yet, oldest first.
///
/// # Errors
/// As [`find`].
pub fn unfinished(connection: &mut Connection) -> Result<Vec<StoredErasure>> {
    let rows: Vec<Row> = on!(connection, c => erasure::table
        .filter(erasure::completed_at.is_null())
        .order(erasure::started_at)
        .select(Row::as_select())
        .load(c))?;
    rows.into_iter().map(stored).collect()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = erasure)]
struct Row {
    request: Id16,
    subjects: Vec<u8>,
    step: i16,
    plan_hash: Vec<u8>,
    plan: String,
    fingerprints: Vec<u8>,
    deleted: String,
    key: Option<Id16>,
    sealed: Option<Vec<u8>>,
    started_at: Micros,
    completed_at: Option<Micros>,
    handed_out_at: Option<Micros>,
}

fn stored(row: Row) -> Result<StoredErasure> {
    let malformed = |_| Error::Malformed { table: "erasure" };
    Ok(StoredErasure {
        request: row.request.into(),
        subjects: row
            .subjects
            .chunks(16)
            .map(|bytes| Ok(SubjectId::from_bytes(bytes.try_into().map_err(malformed)?)))
            .collect::<Result<_>>()?,
        step: row.step,
        plan_hash: row.plan_hash,
        plan: row.plan,
        fingerprints: row
            .fingerprints
            .chunks(32)
            .map(|bytes| bytes.try_into().map_err(malformed))
            .collect::<Result<_>>()?,
        deleted: row.deleted,
        key: row.key.map(|key| key.0),
        sealed: row.sealed,
        started_at: row.started_at,
        completed_at: row.completed_at,
        handed_out_at: row.handed_out_at,
    })
}
