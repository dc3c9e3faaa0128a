//! The sealed parts of leaves: written with their leaf, read by entry or by holder, deleted by an
//! erasure.

use diesel::prelude::*;
use diesel::sql_types::{Binary, SmallInt};

use crate::domain::id::EntryId;
use crate::storage::backend::{bulk_insert, on};
use crate::storage::schema::{audit_leaf, audit_sealed};
use crate::storage::sql_types::{Id16, Instant, Micros, Uuid16};
use crate::storage::{Connection, Result, SealedPart, Transaction};

use super::LOG;
use super::leaves::{LeafColumns, StoredLeaf, stored_leaf};

/// A sealed part as it is stored.
#[derive(Clone, Debug)]
pub struct StoredPart {
    /// The entry it belongs to.
    pub entry: EntryId,
    /// Its role.
    pub role: u8,
    /// Id of the audit key it is sealed under.
    pub holder: Id16,
    /// Class of the event.
    pub class: u8,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

pub(super) struct NewPart<'a> {
    pub(super) entry: EntryId,
    pub(super) time: Micros,
    pub(super) part: &'a SealedPart,
}

bulk_insert! {
    pub(super) fn insert_parts(row: NewPart<'_>) into audit_sealed {
        entry: Uuid16 = Id16::from(row.entry),
        role: SmallInt = i16::from(row.part.role),
        holder: Uuid16 = row.part.holder,
        class: SmallInt = i16::from(row.part.class),
        time: Instant = row.time,
        sealed: Binary = row.part.sealed.as_slice(),
    }
}

/// The sealed parts of these entries.
///
/// # Errors
/// When the store cannot be read.
pub fn parts_of(connection: &mut Connection, entries: &[EntryId]) -> Result<Vec<StoredPart>> {
    let mut parts = Vec::new();
    for chunk in entries.chunks(500) {
        let keys: Vec<Id16> = chunk.iter().copied().map(Id16::from).collect();
        let rows: Vec<PartColumns> = on!(connection, c => audit_sealed::table
            .filter(audit_sealed::entry.eq_any(keys))
            .order((audit_sealed::entry, audit_sealed::role))
            .select((audit_sealed::entry, audit_sealed::role, audit_sealed::holder, audit_sealed::class, audit_sealed::sealed))
            .load(c))?;
        parts.extend(rows.into_iter().map(stored_part));
    }
    Ok(parts)
}

/// The sealed parts under these audit keys, oldest first: what the log says about one holder.
///
/// # Errors
/// When the store cannot be read.
pub fn parts_of_holders(connection: &mut Connection, holders: &[Id16], limit: i64) -> Result<Vec<StoredPart>> {
    let rows: Vec<PartColumns> = on!(connection, c => audit_sealed::table
        .filter(audit_sealed::holder.eq_any(holders))
        .order(audit_sealed::time)
        .limit(limit)
        .select((audit_sealed::entry, audit_sealed::role, audit_sealed::holder, audit_sealed::class, audit_sealed::sealed))
        .load(c))?;
    Ok(rows.into_iter().map(stored_part).collect())
}

type PartColumns = (Id16, i16, Id16, i16, Vec<u8>);

fn stored_part((entry, role, holder, class, sealed): PartColumns) -> StoredPart {
    StoredPart {
        entry: entry.into(),
        role: u8::try_from(role).unwrap_or(u8::MAX),
        holder,
        class: u8::try_from(class).unwrap_or(u8::MAX),
        sealed,
    }
}

/// The sealed parts of the leaves at these positions, both ends included.
///
/// # Errors
/// When the store cannot be read.
pub fn parts_between(connection: &mut Connection, from: u64, to: u64) -> Result<Vec<StoredPart>> {
    let (from, to) = (i64::try_from(from).unwrap_or(i64::MAX), i64::try_from(to).unwrap_or(i64::MAX));
    let rows: Vec<PartColumns> = on!(connection, c => audit_sealed::table
        .filter(audit_sealed::entry.eq_any(
            audit_leaf::table
                .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.between(from, to)))
                .select(audit_leaf::entry),
        ))
        .select((audit_sealed::entry, audit_sealed::role, audit_sealed::holder, audit_sealed::class, audit_sealed::sealed))
        .load(c))?;
    Ok(rows.into_iter().map(stored_part).collect())
}

/// The subject parts under these audit keys of leaves that tell one of these events, oldest first,
/// each with its leaf.
///
/// # Errors
/// When the store cannot be read.
pub fn parts_about(
    connection: &mut Connection,
    holders: &[Id16],
    events: &[u16],
) -> Result<Vec<(StoredLeaf, StoredPart)>> {
    let events: Vec<i16> = events.iter().filter_map(|event| i16::try_from(*event).ok()).collect();
    let rows: Vec<(LeafColumns, PartColumns)> = on!(connection, c => audit_sealed::table
        .inner_join(audit_leaf::table.on(audit_leaf::entry.eq(audit_sealed::entry)))
        .filter(audit_sealed::holder.eq_any(holders).and(audit_sealed::role.eq(1_i16)).and(audit_leaf::event.eq_any(events)))
        .order(audit_leaf::seq)
        .select((
            (audit_leaf::seq, audit_leaf::entry, audit_leaf::time, audit_leaf::event, audit_leaf::leaf, audit_leaf::hash),
            (audit_sealed::entry, audit_sealed::role, audit_sealed::holder, audit_sealed::class, audit_sealed::sealed),
        ))
        .load(c))?;
    rows.into_iter().map(|(leaf, part)| Ok((stored_leaf(leaf)?, stored_part(part)))).collect()
}

/// How many sealed parts there are, by class (operation, evidence, system).
///
/// # Errors
/// When the store cannot be read.
pub fn part_counts(connection: &mut Connection) -> Result<[u64; 3]> {
    let rows: Vec<(i16, i64)> = on!(connection, c => audit_sealed::table
        .group_by(audit_sealed::class)
        .select((audit_sealed::class, diesel::dsl::count_star()))
        .load(c))?;
    let mut counts = [0; 3];
    for (class, count) in rows {
        if let Some(slot) = usize::try_from(class - 1).ok().and_then(|class| counts.get_mut(class)) {
            *slot = u64::try_from(count).unwrap_or(0);
        }
    }
    Ok(counts)
}

/// How many sealed parts lie under these audit keys.
///
/// # Errors
/// When the store cannot be read.
pub fn count_parts_of(connection: &mut Connection, holders: &[Id16]) -> Result<i64> {
    Ok(on!(connection, c => audit_sealed::table.filter(audit_sealed::holder.eq_any(holders)).count().get_result(c))?)
}

/// Deletes sealed parts under these audit keys, at most `limit`, and counts them by class. Only in a
/// commit whose leaf carries the counts.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_parts(transaction: &mut Transaction<'_>, holders: &[Id16], limit: i64) -> Result<[u64; 3]> {
    let connection = transaction.connection();
    let rows: Vec<(Id16, i16, i16)> = on!(connection, c => audit_sealed::table
        .filter(audit_sealed::holder.eq_any(holders))
        .select((audit_sealed::entry, audit_sealed::role, audit_sealed::class))
        .limit(limit)
        .load(c))?;
    delete_rows(connection, rows)
}

/// Deletes sealed parts of this class of events that are dated before `before`, the oldest first, at
/// most `limit`, and counts them by class. Only in a commit whose leaf carries the counts.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_parts_before(
    transaction: &mut Transaction<'_>,
    class: u8,
    before: Micros,
    limit: i64,
) -> Result<[u64; 3]> {
    let connection = transaction.connection();
    let rows: Vec<(Id16, i16, i16)> = on!(connection, c => audit_sealed::table
        .filter(audit_sealed::class.eq(i16::from(class)).and(audit_sealed::time.lt(before)))
        .select((audit_sealed::entry, audit_sealed::role, audit_sealed::class))
        .order(audit_sealed::time)
        .limit(limit)
        .load(c))?;
    delete_rows(connection, rows)
}

/// Deletes sealed parts of system events of leaves below `below`, at most `limit`, and counts them by
/// class. Only in a commit whose leaf carries the counts.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_system_parts_below(transaction: &mut Transaction<'_>, below: u64, limit: i64) -> Result<[u64; 3]> {
    let connection = transaction.connection();
    let below = i64::try_from(below).unwrap_or(i64::MAX);
    let rows: Vec<(Id16, i16, i16)> = on!(connection, c => audit_sealed::table
        .inner_join(audit_leaf::table.on(audit_leaf::entry.eq(audit_sealed::entry)))
        .filter(audit_sealed::class.eq(3_i16).and(audit_leaf::log.eq(LOG)).and(audit_leaf::seq.lt(below)))
        .select((audit_sealed::entry, audit_sealed::role, audit_sealed::class))
        .order(audit_sealed::time)
        .limit(limit)
        .load(c))?;
    delete_rows(connection, rows)
}

/// Another instance may delete the same rows at the same time, so what went is counted, not what was
/// seen.
fn delete_rows(connection: &mut Connection, rows: Vec<(Id16, i16, i16)>) -> Result<[u64; 3]> {
    let mut counts = [0; 3];
    for (entry, role, class) in rows {
        let gone = on!(&mut *connection, c => diesel::delete(audit_sealed::table.find((entry, role))).execute(c))?;
        if let Some(slot) = usize::try_from(class - 1).ok().and_then(|class| counts.get_mut(class)) {
            *slot += u64::try_from(gone).unwrap_or(0);
        }
    }
    Ok(counts)
}

/// Entry and class of the sealed parts of the leaves at these positions, both ends included.
///
/// # Errors
/// When the store cannot be read.
pub fn part_classes_between(connection: &mut Connection, from: u64, to: u64) -> Result<Vec<(EntryId, u8)>> {
    let (from, to) = (i64::try_from(from).unwrap_or(i64::MAX), i64::try_from(to).unwrap_or(i64::MAX));
    let rows: Vec<(Id16, i16)> = on!(connection, c => audit_sealed::table
        .inner_join(audit_leaf::table.on(audit_leaf::entry.eq(audit_sealed::entry)))
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.between(from, to)))
        .select((audit_sealed::entry, audit_sealed::class))
        .load(c))?;
    Ok(rows.into_iter().map(|(entry, class)| (entry.into(), u8::try_from(class).unwrap_or(u8::MAX))).collect())
}

/// How many sealed parts belong to no leaf from `first` on.
///
/// # Errors
/// When the store cannot be read.
pub fn parts_below(connection: &mut Connection, first: u64) -> Result<u64> {
    let first = i64::try_from(first).unwrap_or(i64::MAX);
    let leaf = audit_leaf::table.filter(audit_leaf::entry.eq(audit_sealed::entry).and(audit_leaf::seq.ge(first)));
    let rows: i64 = on!(connection, c => audit_sealed::table
        .filter(diesel::dsl::not(diesel::dsl::exists(leaf)))
        .count()
        .get_result(c))?;
    Ok(u64::try_from(rows).unwrap_or(0))
}
