//! Leaves that are brought back into a restored log, and the mark that a restore is under way.

use diesel::prelude::*;

use crate::audit::tree::Hash;
use crate::domain::id::EntryId;
use crate::storage::backend::on;
use crate::storage::schema::{audit_restore, audit_sealed};
use crate::storage::{Connection, Error, Id16, Micros, Result, Transaction};

use super::{LOG, NewLeaf, grow, take_head};

/// The log as it was put back, before anything was brought to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreState {
    /// Number of its leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Time of the newest of them.
    pub time: Micros,
}

/// A leaf that is brought back, as it was.
#[derive(Clone, Debug)]
pub struct LostLeaf {
    /// Its entry id.
    pub entry: EntryId,
    /// Its time.
    pub time: Micros,
    /// Number of its event.
    pub event: u16,
    /// The encoded leaf.
    pub leaf: Vec<u8>,
    /// Its hash.
    pub hash: Hash,
}

/// The restore that is under way, if one is.
///
/// # Errors
/// When the store cannot be read.
pub fn restore_state(connection: &mut Connection) -> Result<Option<RestoreState>> {
    let row: Option<(i64, Vec<u8>, Micros)> = on!(connection, c => audit_restore::table
        .find(LOG)
        .select((audit_restore::size, audit_restore::root, audit_restore::time))
        .first(c)
        .optional())?;
    row.map(|(size, root, time)| {
        let malformed = || Error::Malformed { table: "audit_restore" };
        Ok(RestoreState {
            size: u64::try_from(size).map_err(|_| malformed())?,
            root: root.try_into().map_err(|_| malformed())?,
            time,
        })
    })
    .transpose()
}

/// Marks that a restore is under way. A mark that stands stays: it tells where the first try began.
///
/// # Errors
/// When the store cannot be written.
pub fn begin_restore(transaction: &mut Transaction<'_>, state: &RestoreState) -> Result<()> {
    on!(transaction.connection(), c => diesel::insert_into(audit_restore::table)
        .values((
            audit_restore::log.eq(LOG),
            audit_restore::size.eq(i64::try_from(state.size).unwrap_or(i64::MAX)),
            audit_restore::root.eq(&state.root[..]),
            audit_restore::time.eq(state.time),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Takes the mark away. Only in the commit of the leaf that tells of the restore.
///
/// # Errors
/// When the store cannot be written.
pub fn end_restore(transaction: &mut Transaction<'_>) -> Result<()> {
    on!(transaction.connection(), c => diesel::delete(audit_restore::table.find(LOG)).execute(c))?;
    Ok(())
}

/// Appends leaves that were lost, from position `from` on, as they were. Whoever calls this has proven
/// that they lead to what was signed.
///
/// # Errors
/// [`Error::Refused`] if the log does not end at `from`; when the store cannot be written.
pub fn bring_back(transaction: &mut Transaction<'_>, from: u64, leaves: &[LostLeaf]) -> Result<()> {
    let connection = transaction.connection();
    let (mut head, _) = take_head(connection)?;
    if head.size != from {
        return Err(Error::Refused("the log grew while it was restored"));
    }
    let Some(time) = leaves.last().map(|leaf| leaf.time) else { return Ok(()) };
    let mut rows = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        rows.push(NewLeaf {
            seq: i64::try_from(head.size).map_err(|_| Error::DamagedLog("the log is full"))?,
            entry: leaf.entry,
            time: leaf.time,
            event: i16::try_from(leaf.event).map_err(|_| Error::Malformed { table: "audit_leaf" })?,
            leaf: leaf.leaf.clone(),
            hash: leaf.hash,
        });
        head.frontier.append(&leaf.hash);
        head.last_hash = leaf.hash;
        head.size += 1;
    }
    grow(connection, &head, from, time, &rows)
}

/// Ids of the audit keys that sealed parts lie under, in order, behind `after`, at most `limit`.
///
/// # Errors
/// When the store cannot be read.
pub fn holders(connection: &mut Connection, after: Id16, limit: i64) -> Result<Vec<Id16>> {
    Ok(on!(connection, c => audit_sealed::table
        .filter(audit_sealed::holder.gt(after))
        .select(audit_sealed::holder)
        .distinct()
        .order(audit_sealed::holder)
        .limit(limit)
        .load(c))?)
}
