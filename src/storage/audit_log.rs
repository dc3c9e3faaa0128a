//! The rows of the log: its head, and how it grows by leaves, tiles and sealed parts.

mod anchors;
mod business;
mod checkpoints;
mod cosignatures;
mod leaves;
mod parts;
mod prune;
mod restore;
mod scrub;
mod tiles;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, SmallInt, Text};

use crate::audit::tree::{Frontier, Hash};
use crate::domain::id::EntryId;

use super::backend::{Statement, bulk_insert, on, same};
use super::schema::{audit_leaf, audit_log};
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Error, LeafRow, Result};

pub use anchors::{
    StoredAnchor, anchored_sizes, anchors_of, first_of_events, forget_unasked, insert_anchor, keep_reply, last_reply,
    newest_anchor, note_overdue,
};
pub use business::{AuditedTable, entries_of_events, entries_of_rows, entries_with_subject_part, rows_without_leaf};
pub use checkpoints::{
    checkpoint_notes, checkpoint_sample, checkpoint_times, checkpoints, insert_checkpoint, newest_checkpoint,
    thin_checkpoints,
};
pub use cosignatures::{
    StoredCosignature, Witnessing, cosignatures_of, cosigned_checkpoints, forget_cosignatures, keep_cosignatures,
    newest_cosignature, set_witnessing, witnessing,
};
pub use leaves::{
    StoredLeaf, bare_leaf, entries, key_rotations, leaf_of_entry, leaves, leaves_of_destroyed_keys, leaves_of_events,
    leaves_of_events_between, newest_of_events, stored_size,
};
pub use parts::{
    StoredPart, count_parts_of, delete_parts, delete_parts_before, delete_system_parts_below, part_classes_between,
    part_counts, parts_about, parts_below, parts_between, parts_of, parts_of_holders,
};
pub use prune::{begin_deletion, delete_leaves, deletion, raise_minimum_index};
pub use restore::{LostLeaf, RestoreState, begin_restore, bring_back, end_restore, holders, restore_state};
pub use scrub::{FinishedScrub, ScrubState, scrub_state, store_scrub};
pub use tiles::{StoredHashes, level_hashes, replace_tile, stored_tile};

use parts::{NewPart, insert_parts};
use tiles::insert_full_tiles;

/// The number of the installation's first log; a successor exists only after a loss.
pub const LOG: i16 = 1;

/// The head of the log.
#[derive(Clone, Debug)]
pub struct LogHead {
    /// The origin line of its checkpoints.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root over all leaves.
    pub root: Hash,
    /// Hash of the newest leaf.
    pub last_hash: Hash,
    /// Time of the newest leaf.
    pub last_time: Micros,
    /// Raised at restore, key rotation and clock correction.
    pub epoch: i64,
    /// Leaves below have been pruned.
    pub minimum_index: u64,
    pub(super) frontier: Frontier,
}

impl LogHead {
    /// The root that the stored frontier gives; it must be [`LogHead::root`].
    #[must_use]
    pub fn root_of_frontier(&self) -> Hash {
        self.frontier.root()
    }
}

struct NewLeaf {
    seq: i64,
    entry: EntryId,
    time: Micros,
    event: i16,
    leaf: Vec<u8>,
    hash: Hash,
}

bulk_insert! {
    fn insert_leaves(row: NewLeaf) into audit_leaf {
        log: SmallInt = same(row, LOG),
        seq: BigInt = row.seq,
        entry: Uuid16 = Id16::from(row.entry),
        time: Instant = row.time,
        event: SmallInt = row.event,
        leaf: Binary = row.leaf.as_slice(),
        hash: Binary = &row.hash[..],
    }
}

/// Opens the log with its first head. Leaf 0 follows through the committer.
pub(super) fn open(connection: &mut Connection, origin: &str) -> Result<()> {
    on!(connection, c => diesel::insert_into(audit_log::table)
        .values((
            audit_log::log.eq(LOG),
            audit_log::origin.eq(origin),
            audit_log::size.eq(0_i64),
            audit_log::root.eq(&crate::audit::tree::empty_root()[..]),
            audit_log::frontier.eq(&[][..]),
            audit_log::last_hash.eq(&crate::audit::leaf::NO_PREVIOUS[..]),
            audit_log::last_time.eq(Micros(0)),
            audit_log::epoch.eq(0_i64),
            audit_log::minimum_index.eq(0_i64),
            audit_log::closed.eq(0_i16),
        ))
        .execute(c))?;
    Ok(())
}

type HeadRow = (String, i64, Vec<u8>, Vec<u8>, Vec<u8>, Micros, i64, i64);

macro_rules! head_columns {
    () => {
        (
            audit_log::origin,
            audit_log::size,
            audit_log::root,
            audit_log::frontier,
            audit_log::last_hash,
            audit_log::last_time,
            audit_log::epoch,
            audit_log::minimum_index,
        )
    };
}

fn stored_head(row: HeadRow) -> Result<LogHead> {
    let (origin, size, root, frontier, last_hash, last_time, epoch, minimum_index) = row;
    let malformed = |_| Error::Malformed { table: "audit_log" };
    let size = u64::try_from(size).map_err(|_| Error::Malformed { table: "audit_log" })?;
    Ok(LogHead {
        origin,
        size,
        root: root.try_into().map_err(malformed)?,
        last_hash: last_hash.try_into().map_err(malformed)?,
        last_time,
        epoch,
        minimum_index: u64::try_from(minimum_index).map_err(|_| Error::Malformed { table: "audit_log" })?,
        frontier: Frontier::from_bytes(size, &frontier)
            .map_err(|_| Error::DamagedLog("the stored frontier does not fit the size"))?,
    })
}

/// The head of the log, if it was opened.
///
/// # Errors
/// When the store cannot be read.
pub fn head(connection: &mut Connection) -> Result<Option<LogHead>> {
    let row: Option<HeadRow> =
        on!(connection, c => audit_log::table.find(LOG).select(head_columns!()).first(c).optional())?;
    row.map(stored_head).transpose()
}

/// Takes the head for this transaction: the last lock of a batch, held from here to its commit.
pub(super) fn take_head(connection: &mut Connection) -> Result<(LogHead, Option<Micros>)> {
    match connection {
        Connection::Sqlite(c) => {
            let row: HeadRow = audit_log::table.find(LOG).select(head_columns!()).first(c)?;
            Ok((stored_head(row)?, None))
        }
        Connection::Postgres(c) => {
            // The database's clock: the instances share it.
            let (row, clock): (HeadRow, Micros) = Statement::<
                LogHead,
                _,
                ((Text, BigInt, Binary, Binary, Binary, Instant, BigInt, BigInt), Instant),
            >::new(
                "SELECT origin, size, root, frontier, last_hash, last_time, epoch, minimum_index, clock_timestamp() \
                 FROM audit_log WHERE log = ",
                IntoSql::into_sql::<SmallInt>(LOG),
                " FOR UPDATE",
            )
            .get_result(c)?;
            Ok((stored_head(row)?, Some(clock)))
        }
    }
}

/// Begins the next epoch: whoever knows the one before looks again.
pub(super) fn raise_epoch(connection: &mut Connection) -> Result<()> {
    on!(connection, c => diesel::update(audit_log::table.find(LOG))
        .set(audit_log::epoch.eq(audit_log::epoch + 1))
        .execute(c))?;
    Ok(())
}

/// Appends leaves in order and moves the head. Gives the position of each.
pub(super) fn append(
    connection: &mut Connection,
    mut head: LogHead,
    time: Micros,
    leaves: &[&LeafRow],
) -> Result<Vec<u64>> {
    let from = head.size;
    let stamp = u64::try_from(time.0).map_err(|_| Error::DamagedLog("the clock stands before 1970"))?;
    let mut rows = Vec::with_capacity(leaves.len());
    let mut positions = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        let mut bytes = Vec::with_capacity(256);
        leaf.draft.encode(head.size, &head.last_hash, stamp, &mut bytes);
        let hash = crate::audit::leaf::leaf_hash(&bytes);
        rows.push(NewLeaf {
            seq: i64::try_from(head.size).map_err(|_| Error::DamagedLog("the log is full"))?,
            entry: leaf.draft.entry(),
            time,
            event: i16::try_from(leaf.draft.event().number()).map_err(|_| Error::Malformed { table: "audit_leaf" })?,
            leaf: bytes,
            hash,
        });
        positions.push(head.size);
        head.frontier.append(&hash);
        head.last_hash = hash;
        head.size += 1;
    }
    let parts: Vec<NewPart<'_>> = leaves
        .iter()
        .flat_map(|leaf| leaf.sealed.iter().map(|part| NewPart { entry: leaf.draft.entry(), time, part }))
        .collect();
    insert_parts(connection, &parts.iter().collect::<Vec<_>>())?;
    grow(connection, &head, from, time, &rows)?;
    Ok(positions)
}

/// Inserts leaves and the tiles that they fill, and moves the head from `from` leaves to where it now
/// stands.
fn grow(connection: &mut Connection, head: &LogHead, from: u64, time: Micros, rows: &[NewLeaf]) -> Result<()> {
    insert_leaves(connection, &rows.iter().collect::<Vec<_>>())?;
    insert_full_tiles(connection, from, head.size)?;
    crate::telemetry::failpoint::reached("append.inserted");
    let root = head.frontier.root();
    let values = (
        IntoSql::into_sql::<BigInt>(i64::try_from(head.size).unwrap_or(i64::MAX)),
        IntoSql::into_sql::<Binary>(&root[..]),
        IntoSql::into_sql::<Binary>(head.frontier.to_bytes()),
        IntoSql::into_sql::<Binary>(&head.last_hash[..]),
        IntoSql::into_sql::<Instant>(time),
        IntoSql::into_sql::<SmallInt>(LOG),
        IntoSql::into_sql::<BigInt>(i64::try_from(from).unwrap_or(i64::MAX)),
        IntoSql::into_sql::<BigInt>(head.epoch),
    );
    let update = Statement::<audit_log::table, _>::new(
        "UPDATE audit_log SET size = given.column1, root = given.column2, frontier = given.column3, \
         last_hash = given.column4, last_time = given.column5 FROM (VALUES (",
        values,
        ")) AS given WHERE log = given.column6 AND size = given.column7 AND epoch = given.column8",
    );
    let moved = on!(connection, c => update.execute(c))?;
    if moved != 1 {
        return Err(Error::DamagedLog("the head moved under the writer"));
    }
    Ok(())
}
