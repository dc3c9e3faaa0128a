//! The ledger of erasures, the marks that outlive them, and the deletion of rows.

use diesel::prelude::*;

use crate::domain::id::{EntryId, SubjectId, SubjectRequestId};

use super::backend::on;
use super::schema::{
    consent_event, consent_line, delivery, disclosure, erasure, idempotency, identifier, identifier_index,
    identity_edge, late_event, package, pseudonym, record, suppression,
};
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result, Transaction};

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

/// Every table with data of a person, and what an erasure does about it. A test compares this
/// register with both catalogues: a table with a subject or sealed column that stands neither here
/// nor among the exemptions fails.
pub const ERASABLE: &[&str] = &[
    "record",
    "identifier",
    "identifier_index",
    "identity_edge",
    "consent_line",
    "consent_event",
    "delivery",
    "pseudonym",
    "idempotency",
    "package",
    "subject",
    "audit_sealed",
    "disclosure",
    "subject_case",
    "subject_request",
    "task",
    "erasure",
];

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

/// A keyed mark of an erased person's identifier: an event older than the erasure is recognised.
#[derive(Clone, Debug)]
pub struct LateEventMark {
    /// The keyed value.
    pub value: [u8; 32],
    /// When the person was erased.
    pub erased_at: Micros,
    /// Version of the suppression secret.
    pub secret_version: u32,
}

/// A keyed entry of the suppression list.
#[derive(Clone, Debug)]
pub struct Suppression {
    /// The keyed value.
    pub value: [u8; 32],
    /// `direct_marketing` or a purpose.
    pub scope: String,
    /// Spelling of the identifier's kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Version of the secret it was made with.
    pub base_version: u32,
    /// Version of the secret that covers it now.
    pub top_version: u32,
    /// Day it was made, `YYYY-MM-DD`.
    pub day: String,
    /// Why.
    pub reason: String,
    /// Day of review.
    pub review: String,
}

/// Writes marks; one that stands keeps the later instant.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_marks(connection: &mut Connection, marks: &[LateEventMark]) -> Result<()> {
    for mark in marks {
        on!(connection, c => diesel::delete(late_event::table.find(&mark.value[..])).execute(c))?;
        on!(connection, c => diesel::insert_into(late_event::table)
            .values((
                late_event::value.eq(&mark.value[..]),
                late_event::erased_at.eq(mark.erased_at),
                late_event::secret_version.eq(i32::try_from(mark.secret_version).unwrap_or(i32::MAX)),
            ))
            .execute(c))?;
    }
    Ok(())
}

/// When the person behind one of these marks was erased, if any was.
///
/// # Errors
/// When the store cannot be read.
pub fn erased_at(connection: &mut Connection, values: &[[u8; 32]]) -> Result<Option<Micros>> {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    Ok(on!(connection, c => late_event::table
        .filter(late_event::value.eq_any(values))
        .select(diesel::dsl::max(late_event::erased_at))
        .first(c))?)
}

/// Whether the store holds any mark of an erased person at all.
///
/// # Errors
/// When the store cannot be read.
pub fn any_mark(connection: &mut Connection) -> Result<bool> {
    let found: Option<Vec<u8>> = on!(connection, c => late_event::table.select(late_event::value).first(c).optional())?;
    Ok(found.is_some())
}

/// Adds entries to the suppression list; one that stands stays.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_suppressions(connection: &mut Connection, entries: &[Suppression]) -> Result<()> {
    for entry in entries {
        on!(connection, c => diesel::insert_into(suppression::table)
            .values((
                suppression::value.eq(&entry.value[..]),
                suppression::scope.eq(&entry.scope),
                suppression::kind.eq(&entry.kind),
                suppression::namespace.eq(&entry.namespace),
                suppression::base_version.eq(i32::try_from(entry.base_version).unwrap_or(i32::MAX)),
                suppression::top_version.eq(i32::try_from(entry.top_version).unwrap_or(i32::MAX)),
                suppression::normaliser.eq(1_i32),
                suppression::day.eq(&entry.day),
                suppression::reason.eq(&entry.reason),
                suppression::review.eq(&entry.review),
            ))
            .on_conflict_do_nothing()
            .execute(c))?;
    }
    Ok(())
}

/// Whether one of these keyed values is on the list for this scope.
///
/// # Errors
/// When the store cannot be read.
pub fn is_suppressed(connection: &mut Connection, values: &[[u8; 32]], scope: &str) -> Result<bool> {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    let found: Option<Vec<u8>> = on!(connection, c => suppression::table
        .filter(suppression::value.eq_any(values).and(suppression::scope.eq(scope)))
        .select(suppression::value)
        .first(c)
        .optional())?;
    Ok(found.is_some())
}

/// Takes values off the list for a scope: a newer consent of the person ends it.
///
/// # Errors
/// When the store cannot be written.
pub fn lift_suppressions(connection: &mut Connection, values: &[[u8; 32]], scope: &str) -> Result<usize> {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    Ok(
        on!(connection, c => diesel::delete(suppression::table.filter(suppression::value.eq_any(values).and(suppression::scope.eq(scope)))).execute(c))?,
    )
}

macro_rules! delete_some {
    ($connection:expr, $subjects:expr, $limit:expr, $table:ident . $subject:ident, $key:ident) => {{
        let keys: Vec<Id16> =
            on!($connection, c => $table::table.filter($table::$subject.eq_any($subjects)).select($table::$key).limit($limit).load(c))?;
        on!($connection, c => diesel::delete($table::table.filter($table::$key.eq_any(keys))).execute(c))?
    }};
}

/// Deletes up to about `limit` rows of these subjects, table after table, and says how many went from
/// which. When nothing is left the answer is empty. The state rows, the sealed parts of the log and
/// the ledger of disclosures are not touched here.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_rows(
    transaction: &mut Transaction<'_>,
    subjects: &[SubjectId],
    limit: i64,
) -> Result<Vec<(&'static str, usize)>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let connection = transaction.connection();
    let mut deleted = Vec::new();
    let mut left = limit;
    macro_rules! step {
        ($name:literal, $delete:expr) => {
            if left > 0 {
                let rows = $delete;
                if rows > 0 {
                    deleted.push(($name, rows));
                    left = left.saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX));
                }
            }
        };
    }
    step!("delivery", delete_some!(connection, &keys, left, delivery.subject, id));
    step!("record", {
        // What the law obliges to keep was replaced before and stays.
        let rows: Vec<Id16> = on!(connection, c => record::table
            .filter(record::subject.eq_any(&keys).and(record::retained.is_null()))
            .select(record::id)
            .limit(left)
            .load(c))?;
        on!(connection, c => diesel::delete(record::table.filter(record::id.eq_any(rows))).execute(c))?
    });
    step!("consent_event", delete_some!(connection, &keys, left, consent_event.subject, id));
    step!("consent_line", delete_some!(connection, &keys, left, consent_line.subject, id));
    step!("identity_edge", delete_some!(connection, &keys, left, identity_edge.subject_a, id));
    step!("identity_edge", delete_some!(connection, &keys, left, identity_edge.subject_b, id));
    if left > 0 {
        let rows = delete_some!(connection, &keys, left, identifier.subject, id);
        if rows > 0 {
            deleted.push(("identifier", rows));
        }
    }
    let rows = on!(connection, c => diesel::delete(identifier_index::table.filter(identifier_index::subject.eq_any(&keys))).execute(c))?;
    if rows > 0 {
        deleted.push(("identifier_index", rows));
    }
    let rows =
        on!(connection, c => diesel::delete(pseudonym::table.filter(pseudonym::subject.eq_any(&keys))).execute(c))?;
    if rows > 0 {
        deleted.push(("pseudonym", rows));
    }
    let rows = on!(connection, c => diesel::delete(idempotency::table.filter(idempotency::subject.eq_any(nullable(&keys)))).execute(c))?;
    if rows > 0 {
        deleted.push(("idempotency", rows));
    }
    let packages: Vec<Id16> = on!(connection, c => package::table.filter(package::subject.eq_any(nullable(&keys))).select(package::id).load(c))?;
    let rows = on!(connection, c => diesel::delete(package::table.filter(package::id.eq_any(&packages))).execute(c))?;
    if rows > 0 {
        deleted.push(("package", rows));
    }
    // A record that came from an erased device but belongs to somebody else forgets the device.
    on!(connection, c => diesel::update(record::table.filter(record::device.eq_any(nullable(&keys))))
        .set(record::device.eq(None::<Id16>))
        .execute(c))?;
    Ok(deleted)
}

fn nullable(keys: &[Id16]) -> Vec<Option<Id16>> {
    keys.iter().copied().map(Some).collect()
}

/// Rows that an erasure of these subjects would delete, per table; also what must be zero afterwards.
///
/// # Errors
/// When the store cannot be read.
pub fn count_rows(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<(&'static str, i64)>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    macro_rules! count {
        ($name:literal, $table:ident . $column:ident) => {
            ($name, on!(connection, c => $table::table.filter($table::$column.eq_any(&keys)).count().get_result::<i64>(c))?)
        };
    }
    Ok(vec![
        (
            "record",
            on!(connection, c => record::table
            .filter(record::subject.eq_any(&keys).and(record::retained.is_null()))
            .count()
            .get_result::<i64>(c))?,
        ),
        count!("identifier", identifier.subject),
        count!("identifier_index", identifier_index.subject),
        count!("consent_line", consent_line.subject),
        count!("consent_event", consent_event.subject),
        count!("delivery", delivery.subject),
        count!("pseudonym", pseudonym.subject),
        (
            "identity_edge",
            on!(connection, c => identity_edge::table
            .filter(identity_edge::subject_a.eq_any(&keys).or(identity_edge::subject_b.eq_any(&keys)))
            .count()
            .get_result::<i64>(c))?,
        ),
        (
            "idempotency",
            on!(connection, c => idempotency::table
            .filter(idempotency::subject.eq_any(nullable(&keys)))
            .count()
            .get_result::<i64>(c))?,
        ),
        (
            "package",
            on!(connection, c => package::table
            .filter(package::subject.eq_any(nullable(&keys)))
            .count()
            .get_result::<i64>(c))?,
        ),
    ])
}

/// Replaces the detailed ledger of disclosures of erased subjects by nothing, once their requests are
/// closed.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_disclosures(connection: &mut Connection, subjects: &[SubjectId]) -> Result<usize> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    Ok(on!(connection, c => diesel::delete(disclosure::table.filter(disclosure::subject.eq_any(keys))).execute(c))?)
}
