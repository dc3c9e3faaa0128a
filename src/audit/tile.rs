//! Tiles (C2SP tlog-tiles): the tree in files of 256 hashes, and the leaves in bundles of 256.

use super::tree::{Hash, HashSource, hash_node};

/// Hashes in a full tile, leaves in a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// The tree levels one tile spans.
const TILE_HEIGHT: u32 = 8;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes at this tile level; hash i at level l is the root of full tile i at level l − 1.
    Hashes(u8),
    /// Leaves, each with its length before it.
    Entries,
}

/// Names one tile. `Display` gives the path behind the prefix of the log,
/// `tile/0/x001/x234/067.p/112`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    /// What it holds.
    pub kind: TileKind,
    /// Its index within its level.
    pub index: u64,
    /// Hashes or leaves in it, 1 to 256.
    pub width: u16,
}

/// Bytes are not an entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry bundle is malformed")]
pub struct MalformedBundle;

impl TilePath {
    /// Reads a path behind the prefix, `tile/…`. `None` for anything but the one right spelling.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(small_decimal(level).filter(|level| *level < 64)?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, u16::from(small_decimal(width).filter(|width| *width > 0)?)),
            None => (rest, 256),
        };
        Some(Self { kind, index: parse_index(index)?, width })
    }

    /// Whether it holds 256.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == 256
    }

    /// The size the log must have reached for this tile to exist in this width; `None` if no log
    /// can be so large.
    #[must_use]
    pub fn least_size(&self) -> Option<u64> {
        let level = match self.kind {
            TileKind::Hashes(level) => u32::from(level),
            TileKind::Entries => 0,
        };
        let hashes = self.index.checked_mul(TILE_WIDTH)?.checked_add(u64::from(self.width))?;
        hashes.checked_mul(1_u64.checked_shl(level.checked_mul(TILE_HEIGHT)?)?)
    }
}

impl std::fmt::Display for TilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        // Groups of three digits, all but the last with `x` before them.
        let digits = self.index.to_string();
        let groups = digits.len().div_ceil(3);
        let padded = format!("{digits:0>width$}", width = groups * 3);
        let (groups, _) = padded.as_bytes().as_chunks::<3>();
        for (position, group) in groups.iter().enumerate() {
            if position + 1 < groups.len() {
                f.write_str("x")?;
            }
            for digit in group {
                write!(f, "{}", char::from(*digit))?;
            }
            if position + 1 < groups.len() {
                f.write_str("/")?;
            }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

fn small_decimal(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    if plain && shortest { text.parse().ok() } else { None }
}

fn parse_index(text: &str) -> Option<u64> {
    let mut index = 0_u64;
    let mut ended = false;
    for (position, group) in text.split('/').enumerate() {
        if ended {
            return None;
        }
        let digits = match group.strip_prefix('x') {
            Some(digits) => digits,
            None => {
                ended = true;
                group
            }
        };
        // A leading group of zeros would be a second spelling.
        let spare = position == 0 && !ended && digits == "000";
        if digits.len() != 3 || spare || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
    }
    if ended { Some(index) } else { None }
}

/// The tiles of hashes that a tree of `size` leaves has at one level: how many full ones, and the
/// width of the partial one behind them (0: none). At level l: ⌊size / 256^l⌋ hashes.
#[must_use]
pub fn tiles_at(level: u8, size: u64) -> (u64, u16) {
    let hashes = size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0);
    let [.., partial] = hashes.to_be_bytes();
    (hashes / TILE_WIDTH, u16::from(partial))
}

/// The root over the hashes of a full tile; `None` if there are not 256.
#[must_use]
pub fn full_tile_root(hashes: &[Hash]) -> Option<Hash> {
    if hashes.len() == 256 { subtree_root(hashes) } else { None }
}

/// The root over a power of two of hashes.
fn subtree_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| hash_node(left, right)).collect();
    }
    row.first().copied()
}

/// Reads rows of the level-0 hashes and of the roots of full tiles, as storage keeps them.
pub trait TileRows {
    /// Why hashes cannot be had.
    type Error;

    /// `count` hashes at tile level `level` from position `first` on: leaf hashes at level 0, roots
    /// of full tiles of the level below elsewhere. The range never leaves one tile.
    ///
    /// # Errors
    ///
    /// If one of them is not there.
    fn hashes(&self, level: u8, first: u64, count: u16) -> Result<Vec<Hash>, Self::Error>;
}

/// Makes a [`HashSource`] of tiles: proofs then read at most one tile for each of their hashes.
pub struct Tiled<'a, R>(pub &'a R);

/// Why a hash cannot be had from tiles.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TiledError<E: std::error::Error + 'static> {
    /// The rows could not be read.
    #[error("reading hashes of tiles")]
    Rows(#[source] E),
    /// The rows were fewer than asked for.
    #[error("a tile has fewer hashes than the size of the log promises")]
    Short,
}

impl<R: TileRows> HashSource for Tiled<'_, R>
where
    R::Error: std::error::Error + 'static,
{
    type Error = TiledError<R::Error>;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let within = level % TILE_HEIGHT;
        let tile_level = u8::try_from(level / TILE_HEIGHT).map_err(|_| TiledError::Short)?;
        let count = 1_u16 << within;
        let first = index.checked_mul(u64::from(count)).ok_or(TiledError::Short)?;
        let hashes = self.0.hashes(tile_level, first, count).map_err(TiledError::Rows)?;
        if hashes.len() != usize::from(count) {
            return Err(TiledError::Short);
        }
        subtree_root(&hashes).ok_or(TiledError::Short)
    }
}

/// Appends one leaf to an entry bundle: its length in two bytes, then the leaf.
///
/// # Errors
///
/// If the leaf is longer than 65,535 bytes; no leaf of ours is.
pub fn put_entry(bundle: &mut Vec<u8>, leaf: &[u8]) -> Result<(), MalformedBundle> {
    let length = u16::try_from(leaf.len()).map_err(|_| MalformedBundle)?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(leaf);
    Ok(())
}

/// Reads the leaves of an entry bundle, at most 256.
///
/// # Errors
///
/// If a length leads past the end, or there are more than 256.
pub fn read_entries(bundle: &[u8]) -> Result<Vec<&[u8]>, MalformedBundle> {
    let mut leaves = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or(MalformedBundle)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (leaf, after) = after.split_at_checked(length).ok_or(MalformedBundle)?;
        leaves.push(leaf);
        rest = after;
        if leaves.len() > 256 {
            return Err(MalformedBundle);
        }
    }
    Ok(leaves)
}
