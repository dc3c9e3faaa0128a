//! Records: what was collected, sealed.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable, Text};

use crate::crypto::sealed::Sealed;
use crate::domain::id::{CollectorId, EntryId, PurposeId, RecordId, SubjectId};
use crate::domain::policy::PolicyHash;

use super::backend::{bulk_insert, on};
use super::schema::record;
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Result};

/// A record on its way in. Its personal fields exist only in sealed form.
pub struct NewRecord {
    /// Its id.
    pub id: RecordId,
    /// Whose it is.
    pub subject: SubjectId,
    /// The device it came from, if that is a subject of its own.
    pub device: Option<SubjectId>,
    /// Who brought it.
    pub collector: CollectorId,
    /// What kind of event it was.
    pub kind: &'static str,
    /// When it happened.
    pub occurred_at: Micros,
    /// When it was received.
    pub collected_at: Micros,
    /// The policy it was decided under.
    pub policy: PolicyHash,
    /// The fields that are not personal: a JSON object of path and value.
    pub plain: String,
    /// The personal fields. There is no other way to store them.
    pub sealed: Sealed,
    /// The leaf that made it.
    pub entry: EntryId,
}

/// A record as it is stored.
#[derive(Clone)]
pub struct StoredRecord {
    /// Its id.
    pub id: RecordId,
    /// Whose it is.
    pub subject: SubjectId,
    /// The device it came from, if that is a subject of its own.
    pub device: Option<SubjectId>,
    /// Who brought it.
    pub collector: CollectorId,
    /// What kind of event it was.
    pub kind: String,
    /// When it happened.
    pub occurred_at: Micros,
    /// When it was received.
    pub collected_at: Micros,
    /// The fields that are not personal: a JSON object of path and value.
    pub plain: String,
    /// The personal fields: a sealed record.
    pub sealed: Vec<u8>,
}

bulk_insert! {
    /// Inserts records.
    pub(super) fn insert(row: NewRecord) into record {
        id: Uuid16 = Id16::from(row.id),
        subject: Uuid16 = Id16::from(row.subject),
        device: Nullable<Uuid16> = row.device.map(Id16::from),
        collector: Text = row.collector.as_str(),
        kind: Text = row.kind,
        occurred_at: Instant = row.occurred_at,
        collected_at: Instant = row.collected_at,
        policy: Binary = &row.policy.0[..],
        plain: Text = row.plain.as_str(),
        sealed: Binary = row.sealed.as_bytes(),
        entry: Uuid16 = Id16::from(row.entry),
    }
}

type Row = (Id16, Id16, Option<Id16>, String, String, Micros, Micros, String, Vec<u8>);

fn stored(row: Row) -> StoredRecord {
    let (id, subject, device, collector, kind, occurred_at, collected_at, plain, sealed) = row;
    StoredRecord {
        id: id.into(),
        subject: subject.into(),
        device: device.map(Into::into),
        collector: CollectorId::new(&collector),
        kind,
        occurred_at,
        collected_at,
        plain,
        sealed,
    }
}

macro_rules! columns {
    () => {
        (
            record::id,
            record::subject,
            record::device,
            record::collector,
            record::kind,
            record::occurred_at,
            record::collected_at,
            record::plain,
            record::sealed,
        )
    };
}

/// The records with these ids, those that exist, in no order.
///
/// # Errors
/// When the store cannot be read.
pub fn by_ids(connection: &mut Connection, ids: &[RecordId]) -> Result<Vec<StoredRecord>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let keys: Vec<Id16> = chunk.iter().copied().map(Id16::from).collect();
        let rows: Vec<Row> = on!(connection, c => record::table
            .filter(record::id.eq_any(keys))
            .select(columns!())
            .load(c))?;
        found.extend(rows.into_iter().map(stored));
    }
    Ok(found)
}

/// A record with what a leaf's hash of it covers besides.
pub struct RecordContent {
    /// The record.
    pub record: StoredRecord,
    /// The policy it was decided under.
    pub policy: Vec<u8>,
}

/// The contents of the records with these ids, those that exist, in no order.
///
/// # Errors
/// When the store cannot be read.
pub fn contents(connection: &mut Connection, ids: &[Id16]) -> Result<Vec<RecordContent>> {
    let rows: Vec<(Row, Vec<u8>)> = on!(connection, c => record::table
        .filter(record::id.eq_any(ids))
        .select((columns!(), record::policy))
        .load(c))?;
    Ok(rows.into_iter().map(|(row, policy)| RecordContent { record: stored(row), policy }).collect())
}

/// A page of the records of one subject, oldest first: those after `after`, at most `limit`.
///
/// # Errors
/// When the store cannot be read.
pub fn of_subject(
    connection: &mut Connection,
    subject: SubjectId,
    after: Option<RecordId>,
    limit: i64,
) -> Result<Vec<StoredRecord>> {
    let after = Id16::from(after.unwrap_or(RecordId::from_bytes([0; 16])));
    let rows: Vec<Row> = on!(connection, c => record::table
        .filter(record::subject.eq(Id16::from(subject)).and(record::id.gt(after)))
        .order(record::id)
        .limit(limit)
        .select(columns!())
        .load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}

/// Replaces a record by what an erasure keeps of it for one purpose (Art. 17(3)). False: it is gone.
///
/// # Errors
/// When the store cannot be written.
pub fn retain(connection: &mut Connection, row: &RetainedRecord) -> Result<bool> {
    let replaced = on!(connection, c => diesel::update(record::table.find(Id16::from(row.id)))
        .set((
            record::plain.eq(&row.plain),
            record::sealed.eq(row.sealed.as_bytes()),
            record::device.eq(None::<Id16>),
            record::retained.eq(Some(row.purpose.as_str())),
        ))
        .execute(c))?;
    Ok(replaced == 1)
}

/// What an erasure keeps of a record.
#[derive(Clone)]
pub struct RetainedRecord {
    /// The record.
    pub id: RecordId,
    /// The fields kept that are not personal.
    pub plain: String,
    /// The personal fields kept, under a fresh version of the key.
    pub sealed: Sealed,
    /// The purpose they are kept for.
    pub purpose: PurposeId,
}

/// How many records a subject has.
///
/// # Errors
/// When the store cannot be read.
pub fn count(connection: &mut Connection, subject: SubjectId) -> Result<i64> {
    Ok(on!(connection, c => record::table.filter(record::subject.eq(Id16::from(subject))).count().get_result(c))?)
}

/// Later than any event can have happened.
const END_OF_TIME: Micros = Micros(253_402_300_799_000_000);

/// A page of the records of these subjects, newest event first: those before `before`, at most
/// `limit`.
///
/// # Errors
/// When the store cannot be read.
pub fn newest(
    connection: &mut Connection,
    subjects: &[SubjectId],
    before: Option<(Micros, RecordId)>,
    limit: i64,
) -> Result<Vec<StoredRecord>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let (at, id) = before.unwrap_or((END_OF_TIME, RecordId::from_bytes([0; 16])));
    let rows: Vec<Row> = on!(connection, c => record::table
        .filter(record::subject.eq_any(keys))
        .filter(record::occurred_at.lt(at).or(record::occurred_at.eq(at).and(record::id.lt(Id16::from(id)))))
        .order((record::occurred_at.desc(), record::id.desc()))
        .limit(limit)
        .select(columns!())
        .load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}
