//! The full tiles of the log, and its hashes as a source for proofs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, SmallInt};

use crate::audit::tile::{TILE_WIDTH, full_tile_root};
use crate::audit::tree::{Frontier, Hash, HashSource, hash_node};
use crate::storage::backend::{bulk_insert, on, same};
use crate::storage::schema::{audit_leaf, audit_tile};
use crate::storage::{Connection, Error, Result};

use super::LOG;

/// The hashes of the stored log as a source for proofs.
pub struct StoredHashes<'a> {
    connection: RefCell<&'a mut Connection>,
    /// The tiles read so far, by level and index, `None` where one is not full; absent if tiles are not
    /// read.
    tiles: Option<RefCell<BTreeMap<(u32, u64), Option<Vec<Hash>>>>>,
}

impl<'a> StoredHashes<'a> {
    /// Reads leaf hashes beside their leaves, and above them the roots of full tiles.
    #[must_use]
    pub const fn new(connection: &'a mut Connection) -> Self {
        Self { connection: RefCell::new(connection), tiles: None }
    }

    /// Reads whole tiles where they are full: one row where there would be up to 255. They are a
    /// cache, so what comes of them must be held against a signed root. For one proof.
    #[must_use]
    pub const fn of_tiles(connection: &'a mut Connection) -> Self {
        Self { connection: RefCell::new(connection), tiles: Some(RefCell::new(BTreeMap::new())) }
    }

    /// `width` hashes of a tile level from `start` on.
    fn row(&self, level: u32, start: u64, width: u64) -> Result<Vec<Hash>> {
        let mut connection = self.connection.borrow_mut();
        let from_tile = match &self.tiles {
            Some(tiles) => hashes_of_tile(&mut connection, &mut tiles.borrow_mut(), level, start, width)?,
            None => None,
        };
        match from_tile {
            Some(hashes) => Ok(hashes),
            None => level_hashes(&mut connection, level, start, width),
        }
    }
}

/// Hashes out of a full tile; nothing where it is not full.
fn hashes_of_tile(
    connection: &mut Connection,
    tiles: &mut BTreeMap<(u32, u64), Option<Vec<Hash>>>,
    level: u32,
    start: u64,
    width: u64,
) -> Result<Option<Vec<Hash>>> {
    let place = (level, start / TILE_WIDTH);
    let tile = match tiles.entry(place) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(free) => {
            let stored = stored_tile(connection, u8::try_from(level).unwrap_or(u8::MAX), place.1)?;
            free.insert(stored.map(|(hashes, _)| hashes.as_chunks::<32>().0.to_vec()))
        }
    };
    let [first, count] = [start % TILE_WIDTH, width].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    let within = |hashes: &Vec<Hash>| hashes.get(first..first.saturating_add(count)).map(<[Hash]>::to_vec);
    Ok(tile.as_ref().and_then(within))
}

impl HashSource for StoredHashes<'_> {
    type Error = Error;

    fn hash(&self, level: u32, index: u64) -> Result<Hash> {
        // A tree level is a level within a tile level: 8 tree levels a tile.
        let (tile_level, within) = (level / 8, level % 8);
        let width = 1_u64 << within;
        let mut hashes = self.row(tile_level, index * width, width)?;
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
    if level == 0
        && i64::try_from(rows.len()).is_ok_and(|rows| rows < end - start)
        && let Some(hashes) = hashes_of_full_tiles(connection, start, end)?
    {
        return Ok(hashes);
    }
    rows.into_iter().map(|hash| hash.try_into().map_err(|_| Error::Malformed { table: "audit_leaf" })).collect()
}

/// Leaf hashes out of full tiles, which stay when their leaves are pruned; nothing where one is not
/// full.
fn hashes_of_full_tiles(connection: &mut Connection, start: i64, end: i64) -> Result<Option<Vec<Hash>>> {
    let width = i64::try_from(TILE_WIDTH).unwrap_or(i64::MAX);
    let (first, last) = (start / width, (end - 1) / width);
    let tiles: Vec<Vec<u8>> = on!(connection, c => audit_tile::table
        .filter(audit_tile::log.eq(LOG).and(audit_tile::level.eq(0)).and(audit_tile::idx.between(first, last)))
        .order(audit_tile::idx)
        .select(audit_tile::hashes)
        .load(c))?;
    if i64::try_from(tiles.len()).ok() != Some(last - first + 1) {
        return Ok(None);
    }
    let bytes = tiles.concat();
    let (hashes, _) = bytes.as_chunks::<32>();
    let [skipped, wanted] = [start - first * width, end - start].map(|count| usize::try_from(count).unwrap_or(0));
    Ok(hashes.get(skipped..skipped.saturating_add(wanted)).map(<[Hash]>::to_vec))
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

/// Writes a full tile anew in the place of one that is wrong or gone: it is a cache. False: these are
/// not the hashes of a full tile.
///
/// # Errors
/// When the store cannot be written.
pub fn replace_tile(connection: &mut Connection, level: u8, index: u64, hashes: &[Hash]) -> Result<bool> {
    let Some(root) = full_tile_root(hashes) else { return Ok(false) };
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    let level = i16::from(level);
    on!(&mut *connection, c => diesel::delete(audit_tile::table.find((LOG, level, index))).execute(c))?;
    insert_tiles(connection, &[&NewTile { level, index, hashes: hashes.concat(), root }])?;
    Ok(true)
}

struct NewTile {
    level: i16,
    index: i64,
    hashes: Vec<u8>,
    root: Hash,
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

/// Writes the tiles that became full when the log grew from `from` to `to` leaves.
pub(super) fn insert_full_tiles(connection: &mut Connection, from: u64, to: u64) -> Result<()> {
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
