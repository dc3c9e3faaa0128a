//! Reading leaves.

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::domain::event::Event;
use crate::domain::id::EntryId;
use crate::storage::backend::on;
use crate::storage::schema::audit_leaf;
use crate::storage::{Connection, Error, Id16, Micros, Result};

use super::LOG;

/// A leaf as it is stored: the bytes, and the columns beside them that queries use.
#[derive(Clone, Debug)]
pub struct StoredLeaf {
    /// Its position.
    pub seq: u64,
    /// Its entry id.
    pub entry: EntryId,
    /// Its time.
    pub time: Micros,
    /// Number of its event.
    pub event: u16,
    /// The encoded leaf.
    pub leaf: Vec<u8>,
    /// Its hash, as stored.
    pub hash: Vec<u8>,
}

/// A page of leaves from `from` on, in order.
///
/// # Errors
/// When the store cannot be read.
pub fn leaves(connection: &mut Connection, from: u64, limit: i64) -> Result<Vec<StoredLeaf>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let rows: Vec<LeafColumns> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(from)))
        .order(audit_leaf::seq)
        .limit(limit)
        .select((audit_leaf::seq, audit_leaf::entry, audit_leaf::time, audit_leaf::event, audit_leaf::leaf, audit_leaf::hash))
        .load(c))?;
    rows.into_iter().map(stored_leaf).collect()
}

/// The leaves of these events, in order, at most `limit`. Reads the whole log: the events have no
/// index.
///
/// # Errors
/// When the store cannot be read.
pub fn leaves_of_events(connection: &mut Connection, events: &[i16], limit: i64) -> Result<Vec<StoredLeaf>> {
    let rows: Vec<LeafColumns> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::event.eq_any(events)))
        .order(audit_leaf::seq)
        .limit(limit)
        .select((audit_leaf::seq, audit_leaf::entry, audit_leaf::time, audit_leaf::event, audit_leaf::leaf, audit_leaf::hash))
        .load(c))?;
    rows.into_iter().map(stored_leaf).collect()
}

/// Position and bytes of the leaves at which one key of the log handed over to the next, in order.
///
/// # Errors
/// When the store cannot be read.
pub fn key_rotations(connection: &mut Connection) -> Result<Vec<(u64, Vec<u8>)>> {
    let rows: Vec<(i64, Vec<u8>)> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG))
        .filter(is_key_rotation())
        .order(audit_leaf::seq)
        .select((audit_leaf::seq, audit_leaf::leaf))
        .load(c))?;
    Ok(rows.into_iter().map(|(seq, leaf)| (u64::try_from(seq).unwrap_or(0), leaf)).collect())
}

/// As a literal, so that the index on rotations is used.
pub(super) fn is_key_rotation() -> SqlLiteral<Bool> {
    sql(&format!("event = {}", Event::LogKeyRotated.number()))
}

/// The leaves of these events from `from` to below `to`, in order.
///
/// # Errors
/// When the store cannot be read.
pub fn leaves_of_events_between(
    connection: &mut Connection,
    events: &[i16],
    from: u64,
    to: u64,
) -> Result<Vec<StoredLeaf>> {
    let [from, to] = [from, to].map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let rows: Vec<LeafColumns> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(from)).and(audit_leaf::seq.lt(to)))
        .filter(audit_leaf::event.eq_any(events))
        .order(audit_leaf::seq)
        .select((audit_leaf::seq, audit_leaf::entry, audit_leaf::time, audit_leaf::event, audit_leaf::leaf, audit_leaf::hash))
        .load(c))?;
    rows.into_iter().map(stored_leaf).collect()
}

/// The leaves from `from` on that name destroyed keys, in order, at most `limit`. They have an index of
/// their own.
///
/// # Errors
/// When the store cannot be read.
pub fn leaves_of_destroyed_keys(connection: &mut Connection, from: u64, limit: i64) -> Result<Vec<StoredLeaf>> {
    // In the very words of the index, or SQLite does not see that it fits.
    let which = || sql::<Bool>("event IN (702, 703, 730, 903)");
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let rows: Vec<LeafColumns> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(from)).and(which()))
        .order(audit_leaf::seq)
        .limit(limit)
        .select((audit_leaf::seq, audit_leaf::entry, audit_leaf::time, audit_leaf::event, audit_leaf::leaf, audit_leaf::hash))
        .load(c))?;
    rows.into_iter().map(stored_leaf).collect()
}

/// The position of the newest leaf of these events. Reads the whole log: the events have no index.
///
/// # Errors
/// When the store cannot be read.
pub fn newest_of_events(connection: &mut Connection, events: &[i16]) -> Result<Option<u64>> {
    let newest: Option<i64> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::event.eq_any(events)))
        .select(diesel::dsl::max(audit_leaf::seq))
        .first(c))?;
    Ok(newest.and_then(|seq| u64::try_from(seq).ok()))
}

/// The leaf with this entry id.
///
/// # Errors
/// When the store cannot be read.
pub fn leaf_of_entry(connection: &mut Connection, entry: EntryId) -> Result<Option<StoredLeaf>> {
    let row: Option<LeafColumns> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::entry.eq(Id16::from(entry)))
        .select((audit_leaf::seq, audit_leaf::entry, audit_leaf::time, audit_leaf::event, audit_leaf::leaf, audit_leaf::hash))
        .first(c)
        .optional())?;
    row.map(stored_leaf).transpose()
}

pub(super) type LeafColumns = (i64, Id16, Micros, i16, Vec<u8>, Vec<u8>);

pub(super) fn stored_leaf((seq, entry, time, event, leaf, hash): LeafColumns) -> Result<StoredLeaf> {
    let malformed = |_| Error::Malformed { table: "audit_leaf" };
    Ok(StoredLeaf {
        seq: u64::try_from(seq).map_err(malformed)?,
        entry: entry.into(),
        time,
        event: u16::try_from(event).map_err(malformed)?,
        leaf,
        hash,
    })
}

/// Position, bytes and stored hash of the first leaf from `from` on, whatever the columns beside it
/// hold.
///
/// # Errors
/// When the store cannot be read.
pub fn bare_leaf(connection: &mut Connection, from: u64) -> Result<Option<(u64, Vec<u8>, Vec<u8>)>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let row: Option<(i64, Vec<u8>, Vec<u8>)> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(from)))
        .order(audit_leaf::seq)
        .select((audit_leaf::seq, audit_leaf::leaf, audit_leaf::hash))
        .first(c)
        .optional())?;
    Ok(row.map(|(seq, leaf, hash)| (u64::try_from(seq).unwrap_or(0), leaf, hash)))
}

/// A page of positions and entry ids from `from` on, in order.
///
/// # Errors
/// When the store cannot be read.
pub fn entries(connection: &mut Connection, from: u64, limit: i64) -> Result<Vec<(u64, EntryId)>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let rows: Vec<(i64, Id16)> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(from)))
        .order(audit_leaf::seq)
        .limit(limit)
        .select((audit_leaf::seq, audit_leaf::entry))
        .load(c))?;
    Ok(rows.into_iter().map(|(seq, entry)| (u64::try_from(seq).unwrap_or(0), entry.into())).collect())
}

/// How many leaves there are by the position of the newest one, whatever the head says.
///
/// # Errors
/// When the store cannot be read.
pub fn stored_size(connection: &mut Connection) -> Result<u64> {
    let newest: Option<i64> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG))
        .select(diesel::dsl::max(audit_leaf::seq))
        .first(c))?;
    Ok(newest.map_or(0, |seq| u64::try_from(seq).unwrap_or(0).saturating_add(1)))
}
