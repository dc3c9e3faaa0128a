//! What stands in a bundle, in the order in which it is written.
//!
//! The order and the bytes follow from the stored log alone, so that two exports of one state are
//! the same file. One page of leaves is in memory at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::audit::bundle::{BundlePath, Manifest};
use crate::audit::checkpoint::with_cosignatures;
use crate::audit::leaf::{Fact, Leaf};
use crate::audit::note::VerifierKey;
use crate::audit::proof::OpenedPart;
use crate::audit::tile::{TILE_WIDTH, TileKind, TilePath, tiles_at};
use crate::domain::event::{Event, Role};
use crate::domain::id::EntryId;
use crate::domain::policy::PolicyHash;
use crate::gateway::prove::{entry_bundle, hash_tile};
use crate::gateway::verify::claimed_keys;
use crate::gateway::{Error, Result, hash_of, policy};
use crate::policy::KnownNotices;
use crate::storage::audit_log::{self, LogHead};
use crate::storage::{self, Connection, installation};

use super::Exported;
use super::readme;
use super::writer::BundleWriter;

/// Leaves in memory at a time; a multiple of 256.
const PAGE: u64 = 2_048;
const MICROSECONDS_A_DAY: i64 = 86_400_000_000;
const LEAF_MISSING: storage::Error = storage::Error::DamagedLog("a leaf below the published size is missing");

/// What is wanted of a bundle.
#[derive(Clone, Default)]
pub struct BundleOrder {
    /// The first leaf whose entry is wanted; the oldest that was not pruned if `None`.
    pub from: Option<u64>,
    /// The first leaf behind those that are wanted; the size of the newest checkpoint if `None`.
    pub to: Option<u64>,
    /// Whether sealed parts come along.
    pub sealed: SealedParts,
}

/// Whether a bundle holds sealed parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SealedParts {
    /// Left out: the hashes in the leaves stand for them.
    #[default]
    Left,
    /// As they are stored; nobody opens them without the keys.
    Included,
}

/// What a bundle holds besides the stored log.
#[derive(Default)]
pub(super) struct Besides {
    /// Keys of the log that its stored leaves may no longer name.
    pub(super) keys: Vec<VerifierKey>,
    /// The operator's trust policy, if there is one.
    pub(super) trust: Option<String>,
    /// Parts that are shown.
    pub(super) opened: BTreeMap<(EntryId, Role), OpenedPart>,
}

/// Writes the bundle of a stored log. `progress` is told how many leaves are done and how many there
/// are, each counted once for its hash and once for its entry.
pub(super) fn write(
    connection: &mut Connection,
    order: &BundleOrder,
    besides: &Besides,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported> {
    let head = audit_log::head(connection).map_err(Error::store)?.ok_or(Error::NotFound)?;
    let newest = audit_log::newest_checkpoint(connection).map_err(Error::store)?;
    let (size, note) = newest.ok_or(Error::WrongState("no checkpoint was signed yet"))?;
    let (from, to) = range(order, size, head.minimum_index)?;

    let mut bundle = BundleWriter::create(out, Manifest::new(head.origin.clone(), size, from, to))?;
    bundle.put(&BundlePath::Readme, readme::text(&languages(connection)?).as_bytes())?;
    bundle.put(&BundlePath::Trust, claim(connection, &head, besides)?.as_bytes())?;
    bundle.put(&BundlePath::Checkpoint, cosigned(connection, size, &note)?.as_bytes())?;
    let total = size + (to - from);
    put_hashes(&mut bundle, connection, size, &mut |done| progress(done, total))?;
    let named = put_entries(&mut bundle, connection, order, from, to, &mut |done| progress(size + done, total))?;
    let dated = put_anchors(&mut bundle, connection, size, &named)?;
    put_checkpoints(&mut bundle, connection, size, &named, &dated)?;
    put_policies(&mut bundle, connection, &named)?;
    for ((entry, role), part) in &besides.opened {
        let text = serde_json::to_vec(part).map_err(|_| Error::WrongState("a part cannot be written"))?;
        bundle.put(&BundlePath::Opened(*entry, *role), &text)?;
    }
    Ok(Exported { size, from, to, digest: bundle.finish()? })
}

/// Whether every deletion of sealed parts is counted by a leaf that the newest checkpoint covers;
/// otherwise a bundle would miss parts and not say why.
pub(super) fn is_balanced(connection: &mut Connection) -> Result<bool> {
    let size = audit_log::newest_checkpoint(connection).map_err(Error::store)?.map_or(0, |(size, _)| size);
    let mut next = size;
    loop {
        let page = audit_log::leaves(connection, next, 2_000).map_err(Error::store)?;
        let Some(last) = page.last() else { return Ok(true) };
        next = last.seq.saturating_add(1);
        let counts = |stored: &audit_log::StoredLeaf| {
            Leaf::decode(&stored.leaf).is_ok_and(|leaf| leaf.facts.deleted().is_some())
        };
        if page.iter().any(counts) {
            return Ok(false);
        }
    }
}

/// The entries that are exported: whole files of 256, so that each is a file that the log serves.
fn range(order: &BundleOrder, size: u64, minimum_index: u64) -> Result<(u64, u64)> {
    let to = order.to.unwrap_or(size);
    let from = order.from.unwrap_or_else(|| minimum_index.min(to));
    if from > to {
        return Err(Error::Unacceptable("from is larger than to"));
    }
    if to > size {
        return Err(Error::Unacceptable("to is larger than the published log"));
    }
    if from < minimum_index {
        return Err(Error::Unacceptable("the entries before the oldest one were pruned"));
    }
    Ok((from / TILE_WIDTH * TILE_WIDTH, to.next_multiple_of(TILE_WIDTH).min(size)))
}

/// The controller's languages, as the policy in force says.
fn languages(connection: &mut Connection) -> Result<Vec<String>> {
    let hash = installation::policy(connection).map_err(Error::store)?;
    let files = installation::policy_files(connection, hash).map_err(Error::store)?;
    let policy =
        files.as_deref().and_then(policy::decode).map(|files| crate::policy::load(&files, &KnownNotices::new()));
    Ok(policy.and_then(std::result::Result::ok).map_or_else(Vec::new, |policy| policy.controller.languages))
}

/// A note with the cosignatures of witnesses that came so far.
fn cosigned(connection: &mut Connection, size: u64, note: &str) -> Result<String> {
    let lines = audit_log::cosignatures_of(connection, size).map_err(Error::store)?;
    Ok(with_cosignatures(note, lines.iter().map(|row| row.line.as_str())))
}

/// What the gateway claims: the operator's trust policy, else its own keys and no witness.
fn claim(connection: &mut Connection, head: &LogHead, besides: &Besides) -> Result<String> {
    if let Some(trust) = &besides.trust {
        return Ok(trust.clone());
    }
    let mut keys = claimed_keys(connection, Some(head))?;
    for key in &besides.keys {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    let logs: String = keys.iter().map(|key| format!("log {key}\n")).collect();
    Ok(logs + "quorum none\n")
}

/// The level-0 tiles of the whole log: with them every checkpoint can be computed.
fn put_hashes(
    bundle: &mut BundleWriter,
    connection: &mut Connection,
    size: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    for tile in tiles(TileKind::Hashes(0), 0, size) {
        let first = tile.index * TILE_WIDTH;
        let hashes = hash_tile(connection, 0, first, tile.width).map_err(Error::store)?;
        bundle.put(&BundlePath::Tile(tile), &hashes)?;
        progress(first + u64::from(tile.width));
    }
    Ok(())
}

/// What the entries of a bundle name that comes along.
#[derive(Default)]
struct Named {
    policies: BTreeSet<[u8; 32]>,
    /// Sizes right behind rotations of the key, which must be signed.
    rotated: BTreeSet<u64>,
    /// Sizes right behind prunes.
    pruned: BTreeSet<u64>,
    /// Digests of time-stamps that have arrived.
    dated: BTreeSet<[u8; 32]>,
}

fn put_entries(
    bundle: &mut BundleWriter,
    connection: &mut Connection,
    order: &BundleOrder,
    from: u64,
    to: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Named> {
    let mut named = Named::default();
    let mut first = from;
    while first < to {
        let end = to.min(first + PAGE);
        let count = i64::try_from(end - first).unwrap_or(i64::MAX);
        let leaves = audit_log::leaves(connection, first, count).map_err(Error::store)?;
        let is_whole = leaves.iter().map(|leaf| leaf.seq).eq(first..end);
        if !is_whole {
            return Err(Error::store(LEAF_MISSING));
        }
        for leaf in leaves.iter().filter_map(|stored| Leaf::decode(&stored.leaf).ok()) {
            named.note(&leaf);
        }
        let mut pages = leaves.chunks(256);
        for tile in tiles(TileKind::Entries, first, end) {
            let bytes = entry_bundle(pages.next().unwrap_or_default()).map_err(Error::store)?;
            bundle.put(&BundlePath::Tile(tile), &bytes)?;
        }
        if order.sealed == SealedParts::Included {
            put_sealed(bundle, connection, &leaves)?;
        }
        progress(end - from);
        first = end;
    }
    Ok(named)
}

impl Named {
    fn note(&mut self, leaf: &Leaf) {
        for fact in leaf.facts.as_slice() {
            if let Fact::PolicyHash(hash) = fact {
                self.policies.insert(*hash);
            }
        }
        if leaf.event == Event::LogAnchored {
            let digests = leaf.facts.as_slice().iter().filter_map(|fact| match fact {
                Fact::Digest(digest) => Some(*digest),
                _ => None,
            });
            self.dated.extend(digests);
        }
        match leaf.event {
            Event::LogKeyRotated => self.rotated.insert(leaf.seq + 1),
            Event::LogPruned => self.pruned.insert(leaf.seq + 1),
            _ => false,
        };
    }
}

/// The sealed parts of these leaves, in their order.
fn put_sealed(bundle: &mut BundleWriter, connection: &mut Connection, leaves: &[audit_log::StoredLeaf]) -> Result<()> {
    // Parts are up to 16 KiB each.
    for page in leaves.chunks(256) {
        let entries: Vec<EntryId> = page.iter().map(|leaf| leaf.entry).collect();
        let mut parts: BTreeMap<(EntryId, u8), Vec<u8>> = audit_log::parts_of(connection, &entries)
            .map_err(Error::store)?
            .into_iter()
            .map(|part| ((part.entry, part.role), part.sealed))
            .collect();
        for entry in entries {
            for role in Role::ALL {
                if let Some(sealed) = parts.remove(&(entry, role.number())) {
                    bundle.put(&BundlePath::Sealed(entry, *role), &sealed)?;
                }
            }
        }
    }
    Ok(())
}

/// The replies of authorities that dated the log, one for each size; gives the sizes.
fn put_anchors(
    bundle: &mut BundleWriter,
    connection: &mut Connection,
    size: u64,
    named: &Named,
) -> Result<BTreeSet<u64>> {
    let mut dated = BTreeSet::new();
    let mut sizes = audit_log::anchored_sizes(connection).map_err(Error::store)?;
    sizes.retain(|dated| *dated <= size);
    for size in sizes {
        let of_size = audit_log::anchors_of(connection, size).map_err(Error::store)?;
        let replies: Vec<Vec<u8>> = of_size.into_iter().filter_map(|anchor| anchor.reply).collect();
        // Where several authorities dated one size, one stands for them: one that a leaf tells of.
        let told = replies.iter().find(|reply| named.dated.contains(&hash_of(reply)));
        if let Some(reply) = told.or(replies.first()) {
            bundle.put(&BundlePath::Anchor(size), reply)?;
            dated.insert(size);
        }
    }
    Ok(dated)
}

/// Older checkpoints: the newest of each day, those at rotations, prunes and time-stamps, and the
/// newest that a witness cosigned.
fn put_checkpoints(
    bundle: &mut BundleWriter,
    connection: &mut Connection,
    size: u64,
    named: &Named,
    dated: &BTreeSet<u64>,
) -> Result<()> {
    let mut signed = audit_log::checkpoint_times(connection).map_err(Error::store)?;
    signed.retain(|(older, _)| *older < size);
    let mut wanted: BTreeSet<u64> = signed
        .iter()
        .map(|(size, _)| *size)
        .filter(|size| named.rotated.contains(size) || dated.contains(size))
        .collect();
    let mut of_day = BTreeMap::new();
    for (size, at) in &signed {
        of_day.insert(at.0.div_euclid(MICROSECONDS_A_DAY), *size);
    }
    wanted.extend(of_day.into_values());
    for least in &named.pruned {
        let covering = signed.partition_point(|(size, _)| size < least);
        wanted.extend(signed.get(covering).map(|(size, _)| *size));
    }
    let witnessed = audit_log::cosigned_checkpoints(connection, 1).map_err(Error::store)?;
    wanted.extend(witnessed.into_iter().map(|(older, _)| older).filter(|older| *older < size));
    for (size, note) in audit_log::checkpoint_notes(connection, &wanted).map_err(Error::store)? {
        bundle.put(&BundlePath::CheckpointOf(size), cosigned(connection, size, &note)?.as_bytes())?;
    }
    Ok(())
}

fn put_policies(bundle: &mut BundleWriter, connection: &mut Connection, named: &Named) -> Result<()> {
    for hash in &named.policies {
        let stored = installation::policy_files(connection, PolicyHash(*hash)).map_err(Error::store)?;
        for (path, content) in stored.as_deref().and_then(policy::decode).unwrap_or_default() {
            bundle.put(&BundlePath::Policy(*hash, path), &content)?;
        }
    }
    Ok(())
}

/// The tiles over leaves `from..to`, where `from` is a multiple of 256.
fn tiles(kind: TileKind, from: u64, to: u64) -> impl Iterator<Item = TilePath> {
    let (full, partial) = tiles_at(0, to);
    let whole = (from / TILE_WIDTH..full).map(move |index| TilePath { kind, index, width: 256 });
    whole.chain((partial > 0).then_some(TilePath { kind, index: full, width: partial }))
}
