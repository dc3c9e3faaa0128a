//! The stored tiles against the hashes they are made of.

use crate::audit::finding::{Code, Finding, Position, Report, Severity};
use crate::audit::tile::{TILE_WIDTH, full_tile_root};
use crate::audit::tree::Hash;
use crate::gateway::{Error, Result};
use crate::storage::Connection;
use crate::storage::audit_log;

use super::leaves::is_poisoned_leaf;

/// Levels of tiles that a log of 2^63 leaves can have.
const LEVELS: u8 = 8;
/// Wrong tiles that are remembered, with 8 KiB each; more are found the next time.
const REMEMBERED: usize = 1_000;

/// Compares the stored tiles with the hashes they are made of. They are a cache: a wrong one is a
/// warning, and proofs made from it would fail.
pub(super) struct Tiles {
    /// Per level the index of the tile that is not full yet, and the hashes it has so far.
    levels: Vec<(u64, Vec<Hash>)>,
    /// False where the hashes before the first leaf are not there to begin with.
    is_aligned: bool,
    wrong: Vec<WrongTile>,
}

/// A tile that is not what it is made of, and what it must be.
pub(in crate::gateway) struct WrongTile {
    pub(in crate::gateway) level: u8,
    pub(in crate::gateway) index: u64,
    pub(in crate::gateway) hashes: Vec<Hash>,
}

impl Tiles {
    /// Begins at leaf `first`. What stands before it in half-full tiles is taken from the store.
    pub(super) fn new(connection: &mut Connection, first: u64) -> Result<Self> {
        let mut tiles = Self { levels: Vec::new(), is_aligned: true, wrong: Vec::new() };
        let mut before = first;
        for level in 0..LEVELS {
            let (index, count) = (before / TILE_WIDTH, before % TILE_WIDTH);
            let start = before - count;
            let hashes = audit_log::level_hashes(connection, u32::from(level), start, count).map_err(Error::store)?;
            tiles.is_aligned &= u64::try_from(hashes.len()) == Ok(count);
            tiles.levels.push((index, hashes));
            before = index;
        }
        Ok(tiles)
    }

    /// Takes the hash of the next leaf.
    pub(super) fn take(&mut self, connection: &mut Connection, hash: Hash) -> Result<()> {
        if !self.is_aligned {
            return Ok(());
        }
        let mut hash = hash;
        for (level, (index, hashes)) in (0..LEVELS).zip(&mut self.levels) {
            hashes.push(hash);
            let Some(root) = full_tile_root(hashes) else { break };
            let stored = audit_log::stored_tile(connection, level, *index).map_err(Error::store)?;
            if stored != Some((hashes.concat(), root.to_vec())) && self.wrong.len() < REMEMBERED {
                self.wrong.push(WrongTile { level, index: *index, hashes: hashes.clone() });
            }
            hashes.clear();
            *index += 1;
            hash = root;
        }
        Ok(())
    }

    /// The wrong tiles. Behind a leaf that is missing, moved or altered, tiles differ because of it.
    pub(super) fn alone(self, report: &Report) -> Vec<WrongTile> {
        let first_fault = report
            .findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Invalid || is_poisoned_leaf(finding))
            .filter_map(|finding| match finding.position {
                Position::Leaf { seq } => Some(seq),
                Position::Between { from, .. } => Some(from),
                Position::Whole {} => None,
            })
            .min();
        self.wrong.into_iter().filter(|tile| first_fault.is_none_or(|fault| tile.leaves().1 < fault)).collect()
    }
}

impl WrongTile {
    /// The first and the last leaf below it.
    fn leaves(&self) -> (u64, u64) {
        let leaves = TILE_WIDTH.saturating_pow(u32::from(self.level) + 1);
        let from = self.index.saturating_mul(leaves);
        (from, from.saturating_add(leaves - 1))
    }

    pub(super) fn finding(&self) -> Finding {
        let (from, to) = self.leaves();
        let text = format!("The stored tile {} of level {} is not what it is made of.", self.index, self.level);
        Finding::between(Code::TilePoisoned, from, to, text)
    }
}
