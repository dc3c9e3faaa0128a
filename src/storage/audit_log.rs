//! The rows of the log: head, leaves, tiles, sealed parts, checkpoints.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, SmallInt, Text};

use crate::audit::tile::TILE_WIDTH;
use crate::audit::tree::{Frontier, Hash, HashSource, hash_node};
use crate::domain::id::EntryId;

use super::backend::{Statement, bulk_insert, on, same};
use super::schema::{audit_checkpoint, audit_leaf, audit_log, audit_sealed, audit_tile};
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Error, LeafRow, Result, Transaction};

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

struct NewLeaf {
    seq: i64,
    entry: EntryId,
    time: Micros,
    event: i16,
    leaf: Vec<u8>,
    hash: Hash,
}

struct NewTile {
    level: i16,
    index: i64,
    hashes: Vec<u8>,
    root: Hash,
}

struct NewPart<'a> {
    entry: EntryId,
    time: Micros,
    part: &'a super::SealedPart,
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

bulk_insert! {
    fn insert_tiles(row: NewTile) into audit_tile {
        log: SmallInt = same(row, LOG),
        level: SmallInt = row.level,
        idx: BigInt = row.index,
        hashes: Binary = row.hashes.as_slice(),
        root: Binary = &row.root[..],
    }
}

bulk_insert! {
    fn insert_parts(row: NewPart<'_>) into audit_sealed {
        entry: Uuid16 = Id16::from(row.entry),
        role: SmallInt = i16::from(row.part.role),
        holder: Uuid16 = row.part.holder,
        class: SmallInt = i16::from(row.part.class),
        time: Instant = row.time,
        sealed: Binary = row.part.sealed.as_slice(),
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
    insert_leaves(connection, &rows.iter().collect::<Vec<_>>())?;
    insert_full_tiles(connection, from, head.size)?;
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
    Ok(positions)
}

/// Writes the tiles that became full when the log grew from `from` to `to` leaves.
fn insert_full_tiles(connection: &mut Connection, from: u64, to: u64) -> Result<()> {
    let (mut from, mut to, mut level) = (from, to, 0_u32);
    while to / TILE_WIDTH > from / TILE_WIDTH {
        let mut tiles = Vec::new();
        for index in from / TILE_WIDTH..to / TILE_WIDTH {
            let hashes = level_hashes(connection, level, index * TILE_WIDTH, TILE_WIDTH)?;
            if hashes.len() != 256 {
                return Err(Error::DamagedLog("leaves are missing below the head"));
            }
            let mut frontier = Frontier::new();
            hashes.iter().for_each(|hash| frontier.append(hash));
            tiles.push(NewTile {
                level: i16::try_from(level).unwrap_or(i16::MAX),
                index: i64::try_from(index).unwrap_or(i64::MAX),
                hashes: hashes.concat(),
                root: frontier.root(),
            });
        }
        insert_tiles(connection, &tiles.iter().collect::<Vec<_>>())?;
        from /= TILE_WIDTH;
        to /= TILE_WIDTH;
        level += 1;
    }
    Ok(())
}

/// Up to `count` hashes of a tile level from `start` on: leaf hashes at level 0, roots of full tiles
/// of the level below otherwise.
///
/// # Errors
/// When the store cannot be read or a hash is malformed.
pub fn level_hashes(connection: &mut Connection, level: u32, start: u64, count: u64) -> Result<Vec<Hash>> {
    let start = i64::try_from(start).unwrap_or(i64::MAX);
    let end = start.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
    let rows: Vec<Vec<u8>> = if level == 0 {
        on!(connection, c => audit_leaf::table
            .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(start)).and(audit_leaf::seq.lt(end)))
            .order(audit_leaf::seq)
            .select(audit_leaf::hash)
            .load(c))?
    } else {
        let below = i16::try_from(level - 1).unwrap_or(i16::MAX);
        on!(connection, c => audit_tile::table
            .filter(audit_tile::log.eq(LOG).and(audit_tile::level.eq(below)).and(audit_tile::idx.ge(start)).and(audit_tile::idx.lt(end)))
            .order(audit_tile::idx)
            .select(audit_tile::root)
            .load(c))?
    };
    rows.into_iter().map(|hash| hash.try_into().map_err(|_| Error::Malformed { table: "audit_leaf" })).collect()
}

/// The hashes of the stored log as a source for proofs.
pub struct StoredHashes<'a>(std::cell::RefCell<&'a mut Connection>);

impl<'a> StoredHashes<'a> {
    /// Reads through this connection.
    #[must_use]
    pub const fn new(connection: &'a mut Connection) -> Self {
        Self(std::cell::RefCell::new(connection))
    }
}

impl HashSource for StoredHashes<'_> {
    type Error = Error;

    fn hash(&self, level: u32, index: u64) -> Result<Hash> {
        // A tree level is a level within a tile level: 8 tree levels a tile.
        let (tile_level, within) = (level / 8, level % 8);
        let width = 1_u64 << within;
        let mut guard = self.0.borrow_mut();
        let mut hashes = level_hashes(&mut guard, tile_level, index * width, width)?;
        if u64::try_from(hashes.len()).unwrap_or(0) != width {
            return Err(Error::DamagedLog("a hash below the head is missing"));
        }
        while hashes.len() > 1 {
            hashes = hashes
                .chunks(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(hash_node(left, right)),
                    _ => None,
                })
                .collect();
        }
        hashes.pop().ok_or(Error::DamagedLog("a hash below the head is missing"))
    }
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

/// A full tile as it is stored: its hashes and its root.
///
/// # Errors
/// When the store cannot be read.
pub fn stored_tile(connection: &mut Connection, level: u8, index: u64) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let place = (LOG, i16::from(level), i64::try_from(index).unwrap_or(i64::MAX));
    Ok(on!(connection, c => audit_tile::table
        .find(place)
        .select((audit_tile::hashes, audit_tile::root))
        .first(c)
        .optional())?)
}

/// Entry, role and bytes of the sealed parts of the leaves at these positions, both ends included.
///
/// # Errors
/// When the store cannot be read.
pub fn parts_between(connection: &mut Connection, from: u64, to: u64) -> Result<Vec<(EntryId, u8, Vec<u8>)>> {
    let (from, to) = (i64::try_from(from).unwrap_or(i64::MAX), i64::try_from(to).unwrap_or(i64::MAX));
    let rows: Vec<(Id16, i16, Vec<u8>)> = on!(connection, c => audit_sealed::table
        .filter(audit_sealed::entry.eq_any(
            audit_leaf::table
                .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.between(from, to)))
                .select(audit_leaf::entry),
        ))
        .select((audit_sealed::entry, audit_sealed::role, audit_sealed::sealed))
        .load(c))?;
    Ok(rows
        .into_iter()
        .map(|(entry, role, sealed)| (entry.into(), u8::try_from(role).unwrap_or(u8::MAX), sealed))
        .collect())
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

/// Size and note of the `newest` newest checkpoints, and of about `others` of those before them,
/// spread over the sizes of the log.
///
/// # Errors
/// When the store cannot be read.
pub fn checkpoint_sample(connection: &mut Connection, newest: i64, others: i64) -> Result<Vec<(u64, String)>> {
    let mut sample: Vec<(u64, String)> =
        checkpoints(connection, newest)?.into_iter().map(|(size, note, _)| (size, note)).collect();
    let Some((oldest, _)) = sample.last() else { return Ok(sample) };
    let oldest = i64::try_from(*oldest).unwrap_or(i64::MAX);
    let before =
        || audit_checkpoint::table.filter(audit_checkpoint::log.eq(LOG).and(audit_checkpoint::size.lt(oldest)));
    let count: i64 = on!(&mut *connection, c => before().count().get_result(c))?;
    let step = count.checked_div(others).unwrap_or(0) + 1;
    let rows: Vec<(i64, String)> = on!(connection, c => before()
        .filter(diesel::dsl::sql::<diesel::sql_types::Bool>(&format!("size % {step} = 0")))
        .order(audit_checkpoint::size.desc())
        .limit(others.saturating_mul(2))
        .select((audit_checkpoint::size, audit_checkpoint::note))
        .load(c))?;
    sample.extend(rows.into_iter().map(|(size, note)| (u64::try_from(size).unwrap_or(0), note)));
    Ok(sample)
}

/// A table of business and how many of its rows name an entry that has no leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithoutLeaf {
    /// The table.
    pub table: &'static str,
    /// The rows.
    pub rows: u64,
}

/// The business rows whose entry has no leaf, by table; tables without one are left out.
///
/// # Errors
/// When the store cannot be read.
pub fn rows_without_leaf(connection: &mut Connection) -> Result<Vec<WithoutLeaf>> {
    use super::schema::{consent_event, consent_line, delivery, disclosure, identifier, record, subject};
    let mut found = Vec::new();
    macro_rules! count {
        ($($table:ident)*) => {$(
            let rows: i64 = on!(&mut *connection, c => $table::table
                .filter(diesel::dsl::sql::<diesel::sql_types::Bool>(concat!(
                    "NOT EXISTS (SELECT 1 FROM audit_leaf WHERE audit_leaf.entry = ", stringify!($table), ".entry)"
                )))
                .count()
                .get_result(c))?;
            if rows > 0 {
                found.push(WithoutLeaf { table: stringify!($table), rows: u64::try_from(rows).unwrap_or(0) });
            }
        )*};
    }
    count!(subject identifier record consent_line consent_event delivery disclosure);
    Ok(found)
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

type LeafColumns = (i64, Id16, Micros, i16, Vec<u8>, Vec<u8>);

fn stored_leaf((seq, entry, time, event, leaf, hash): LeafColumns) -> Result<StoredLeaf> {
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
    let mut counts = [0; 3];
    for (entry, role, class) in rows {
        on!(transaction.connection(), c => diesel::delete(audit_sealed::table.find((entry, role))).execute(c))?;
        if let Some(slot) = usize::try_from(class - 1).ok().and_then(|class| counts.get_mut(class)) {
            *slot += 1;
        }
    }
    Ok(counts)
}

/// Stores a signed checkpoint.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_checkpoint(connection: &mut Connection, size: u64, note: &str, signed_at: Micros) -> Result<()> {
    on!(connection, c => diesel::insert_into(audit_checkpoint::table)
        .values((
            audit_checkpoint::log.eq(LOG),
            audit_checkpoint::size.eq(i64::try_from(size).unwrap_or(i64::MAX)),
            audit_checkpoint::note.eq(note),
            audit_checkpoint::signed_at.eq(signed_at),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// The newest checkpoints, newest first: size, note, and when it was signed.
///
/// # Errors
/// When the store cannot be read.
pub fn checkpoints(connection: &mut Connection, limit: i64) -> Result<Vec<(u64, String, Micros)>> {
    let rows: Vec<(i64, String, Micros)> = on!(connection, c => audit_checkpoint::table
        .filter(audit_checkpoint::log.eq(LOG))
        .order(audit_checkpoint::size.desc())
        .limit(limit)
        .select((audit_checkpoint::size, audit_checkpoint::note, audit_checkpoint::signed_at))
        .load(c))?;
    Ok(rows.into_iter().map(|(size, note, at)| (u64::try_from(size).unwrap_or(0), note, at)).collect())
}

/// The newest checkpoint that covers position `seq`, if one was signed.
///
/// # Errors
/// When the store cannot be read.
pub fn newest_checkpoint(connection: &mut Connection) -> Result<Option<(u64, String)>> {
    Ok(checkpoints(connection, 1)?.pop().map(|(size, note, _)| (size, note)))
}

/// Deletes old checkpoints so that of those signed before `before` only one an hour stays.
///
/// # Errors
/// When the store cannot be written.
pub fn thin_checkpoints(connection: &mut Connection, before: Micros) -> Result<usize> {
    let rows: Vec<(i64, Micros)> = on!(connection, c => audit_checkpoint::table
        .filter(audit_checkpoint::log.eq(LOG).and(audit_checkpoint::signed_at.lt(before)))
        .order(audit_checkpoint::size)
        .select((audit_checkpoint::size, audit_checkpoint::signed_at))
        .load(c))?;
    let mut hours = std::collections::HashSet::new();
    let mut deleted = 0;
    for (size, signed_at) in rows {
        if !hours.insert(signed_at.0 / 3_600_000_000) {
            deleted += on!(connection, c => diesel::delete(audit_checkpoint::table.find((LOG, size))).execute(c))?;
        }
    }
    Ok(deleted)
}
