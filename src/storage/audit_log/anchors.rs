//! Time-stamps on checkpoints: asked for, arrived, overdue.

use std::collections::BTreeSet;

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::schema::{audit_anchor, audit_leaf};
use crate::storage::{Connection, Micros, Result};

use super::LOG;

/// A time-stamp on a checkpoint, asked of one authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnchor {
    /// The size of the checkpoint.
    pub size: u64,
    /// The authority, by the operator's name for it.
    pub authority: String,
    /// When it was asked first.
    pub asked_at: Micros,
    /// Its reply; `None` while there is none.
    pub reply: Option<Vec<u8>>,
    /// When the reply arrived.
    pub made_at: Option<Micros>,
    /// Whether the log was told that no reply came for a day.
    pub is_overdue: bool,
}

/// The anchors on a size, by authority.
///
/// # Errors
/// When the store cannot be read.
pub fn anchors_of(connection: &mut Connection, size: u64) -> Result<Vec<StoredAnchor>> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let rows: Vec<Columns> = on!(connection, c => audit_anchor::table
        .filter(audit_anchor::log.eq(LOG).and(audit_anchor::size.eq(size)))
        .order(audit_anchor::kind)
        .select(COLUMNS)
        .load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}

/// The sizes that authorities were asked to date.
///
/// # Errors
/// When the store cannot be read.
pub fn anchored_sizes(connection: &mut Connection) -> Result<BTreeSet<u64>> {
    let rows: Vec<i64> = on!(connection, c => audit_anchor::table
        .filter(audit_anchor::log.eq(LOG))
        .select(audit_anchor::size)
        .load(c))?;
    Ok(rows.into_iter().filter_map(|size| u64::try_from(size).ok()).collect())
}

/// The anchor of an authority on the largest size, replied to or not.
///
/// # Errors
/// When the store cannot be read.
pub fn newest_anchor(connection: &mut Connection, authority: &str) -> Result<Option<StoredAnchor>> {
    let row: Option<Columns> = on!(connection, c => audit_anchor::table
        .filter(audit_anchor::log.eq(LOG).and(audit_anchor::kind.eq(authority)))
        .order(audit_anchor::size.desc())
        .select(COLUMNS)
        .first(c)
        .optional())?;
    Ok(row.map(stored))
}

/// The size that an authority dated last, and when its reply arrived.
///
/// # Errors
/// When the store cannot be read.
pub fn last_reply(connection: &mut Connection, authority: &str) -> Result<Option<(u64, Micros)>> {
    let row: Option<(i64, Micros)> = on!(connection, c => audit_anchor::table
        .filter(audit_anchor::log.eq(LOG).and(audit_anchor::kind.eq(authority)).and(audit_anchor::made_at.is_not_null()))
        .order(audit_anchor::size.desc())
        .select((audit_anchor::size, audit_anchor::made_at.assume_not_null()))
        .first(c)
        .optional())?;
    Ok(row.map(|(size, at)| (u64::try_from(size).unwrap_or(0), at)))
}

/// The first leaf of one of these events at or after `from`. Reads everything behind `from`: events
/// have no index.
///
/// # Errors
/// When the store cannot be read.
pub fn first_of_events(connection: &mut Connection, events: &[i16], from: u64) -> Result<Option<u64>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let found: Option<i64> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(from)).and(audit_leaf::event.eq_any(events)))
        .select(diesel::dsl::min(audit_leaf::seq))
        .first(c))?;
    Ok(found.and_then(|seq| u64::try_from(seq).ok()))
}

/// Notes that an authority is asked; nothing if it was asked for this size already.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_anchor(connection: &mut Connection, size: u64, authority: &str, asked_at: Micros) -> Result<()> {
    on!(connection, c => diesel::insert_into(audit_anchor::table)
        .values((
            audit_anchor::log.eq(LOG),
            audit_anchor::size.eq(i64::try_from(size).unwrap_or(i64::MAX)),
            audit_anchor::kind.eq(authority),
            audit_anchor::asked_at.eq(asked_at),
            audit_anchor::overdue.eq(0_i16),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Keeps a reply. False if there is one already.
///
/// # Errors
/// When the store cannot be written.
pub fn keep_reply(
    connection: &mut Connection,
    size: u64,
    authority: &str,
    reply: &[u8],
    made_at: Micros,
) -> Result<bool> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let kept = on!(connection, c => diesel::update(audit_anchor::table.find((LOG, size, authority)))
        .filter(audit_anchor::reply.is_null())
        .set((audit_anchor::reply.eq(Some(reply)), audit_anchor::made_at.eq(Some(made_at))))
        .execute(c))?;
    Ok(kept == 1)
}

/// Notes that the log is told of a missing reply. False if it was told already, or the reply is there.
///
/// # Errors
/// When the store cannot be written.
pub fn note_overdue(connection: &mut Connection, size: u64, authority: &str) -> Result<bool> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let noted = on!(connection, c => diesel::update(audit_anchor::table.find((LOG, size, authority)))
        .filter(audit_anchor::reply.is_null().and(audit_anchor::overdue.eq(0_i16)))
        .set(audit_anchor::overdue.eq(1_i16))
        .execute(c))?;
    Ok(noted == 1)
}

/// Forgets what was asked of authorities that are not asked any more and never replied.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_unasked(connection: &mut Connection, asked: &[String]) -> Result<usize> {
    Ok(on!(connection, c => diesel::delete(audit_anchor::table)
        .filter(audit_anchor::log.eq(LOG).and(audit_anchor::reply.is_null()).and(audit_anchor::kind.ne_all(asked.to_vec())))
        .execute(c))?)
}

type Columns = (i64, String, Micros, Option<Vec<u8>>, Option<Micros>, i16);

const COLUMNS: (
    audit_anchor::size,
    audit_anchor::kind,
    audit_anchor::asked_at,
    audit_anchor::reply,
    audit_anchor::made_at,
    audit_anchor::overdue,
) = (
    audit_anchor::size,
    audit_anchor::kind,
    audit_anchor::asked_at,
    audit_anchor::reply,
    audit_anchor::made_at,
    audit_anchor::overdue,
);

fn stored((size, authority, asked_at, reply, made_at, overdue): Columns) -> StoredAnchor {
    let size = u64::try_from(size).unwrap_or(0);
    StoredAnchor { size, authority, asked_at, reply, made_at, is_overdue: overdue != 0 }
}
