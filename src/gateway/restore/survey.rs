//! What was signed, what is stored, and the leaves in between: read and proven, nothing written.

use std::collections::BTreeMap;
use std::path::Path;

use crate::audit::checkpoint::{self, Checkpoint};
use crate::audit::leaf::{Leaf, leaf_hash};
use crate::audit::log_keys::{LogKeys, verifier_key};
use crate::audit::note::{Note, VerifierKey};
use crate::audit::tile::{TILE_WIDTH, TileKind, TilePath, read_entries};
use crate::audit::tree::{self, Frontier, Hash};
use crate::domain::event::{Event, Role};
use crate::gateway::checkpoint::{LogRefusal, Memory, frontier_at, log_keys};
use crate::gateway::mirror::Folder;
use crate::gateway::{Error, Result};
use crate::storage::audit_log::{self, LogHead, LostLeaf, RestoreState, StoredHashes};
use crate::storage::keys::LastSigned;
use crate::storage::{Connection, Micros};

use super::{Lost, Restored};

/// Something that was signed.
pub(super) struct Claim {
    /// Who says so, as a sentence begins.
    who: &'static str,
    checkpoint: Checkpoint,
    note: String,
}

impl Claim {
    /// What the key store, the memory and the mirror say was signed. Signatures are checked when it is
    /// known which keys the log had.
    pub(super) fn all(origin: &str, signed: Option<LastSigned>, memory: &Path, mirror: &Path) -> Result<Vec<Self>> {
        let mirrored = Folder::new(mirror)
            .checkpoint()?
            .ok_or(Error::Unacceptable("the folder holds no mirror of a log: it has no checkpoint"))?;
        let notes = [
            ("this installation signed", signed.map(|signed| signed.note)),
            ("the checkpoint memory holds", Memory::of(memory, origin).read()?),
            ("the mirror holds", Some(mirrored)),
        ];
        let mut claims = Vec::new();
        for (who, note) in notes {
            let Some(note) = note else { continue };
            let read = Note::parse(note.as_bytes()).and_then(|note| Checkpoint::parse(note.text));
            match read {
                Ok(checkpoint) if checkpoint.origin == origin => claims.push(Self { who, checkpoint, note }),
                Ok(_) => return Err(damaged(&format!("{who} a checkpoint of another log"))),
                Err(_) => return Err(damaged(&format!("{who} no checkpoint"))),
            }
        }
        Ok(claims)
    }
}

/// What a restore has to do.
pub(super) struct Survey {
    /// The log as it is stored.
    pub(super) before: RestoreState,
    /// The largest size that was signed.
    pub(super) target: Checkpoint,
    /// Its note.
    pub(super) note: String,
    /// The hashes of the missing leaves, in order.
    pub(super) hashes: Vec<Hash>,
    /// Size and note of the checkpoints that the store lacks at which one key handed over to the next.
    pub(super) handovers: Vec<(u64, String)>,
    /// The roots right behind the rotations among the missing leaves.
    rotated: Vec<(u64, Hash)>,
    events: BTreeMap<u16, Lost>,
}

impl Survey {
    /// Proves that the stored log and the leaves in the mirror give every root that was signed.
    pub(super) fn of(
        connection: &mut Connection,
        head: LogHead,
        claims: &[Claim],
        mirror: &Folder<'_>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let newest = claims.iter().max_by_key(|claim| claim.checkpoint.size).ok_or(Error::NotFound)?;
        let target = newest.checkpoint.clone();
        let mut survey = Self {
            before: RestoreState { size: head.size, root: head.root, time: head.last_time },
            target,
            note: newest.note.clone(),
            hashes: Vec::new(),
            handovers: Vec::new(),
            rotated: Vec::new(),
            events: BTreeMap::new(),
        };
        let mirrored = claims.iter().find(|claim| claim.who == "the mirror holds");
        let mirrored = mirrored.map_or(0, |claim| claim.checkpoint.size);
        let to = survey.target.size;
        if to > head.size && mirrored < to {
            return Err(Error::LogRefused {
                exit: 30,
                what: format!(
                    "rollback: {} a log of {to} leaves, the mirror holds {mirrored} and the data store {}; bring a newer copy of the data or of the mirror",
                    newest.who, head.size
                ),
            });
        }
        for claim in claims.iter().filter(|claim| claim.checkpoint.size <= head.size) {
            let size = claim.checkpoint.size;
            let root = tree::root(size, &StoredHashes::new(connection)).map_err(Error::store)?;
            claim.holds(&root, head.size)?;
        }
        let mut keys = log_keys(connection).map_err(Error::store)?;
        let mut follow =
            Follow { frontier: frontier_at(connection, head.size).map_err(Error::store)?, last: head.last_hash };
        if follow.frontier.root() != head.root {
            return Err(damaged("the head of the stored log does not follow from its leaves"));
        }
        while follow.frontier.size() < to {
            survey.read_tile(mirror, &mut follow, claims, &mut keys, &head)?;
            progress(follow.frontier.size() - head.size, to - head.size);
        }
        let signers: Vec<VerifierKey> = keys.all().filter_map(|typed| verifier_key(&head.origin, typed)).collect();
        for claim in claims {
            let opened = checkpoint::open(claim.note.as_bytes(), Some(&head.origin), &signers, &[]);
            opened.map_err(|error| damaged(&format!("{} a checkpoint that is not believed: {error}", claim.who)))?;
        }
        for size in keys.handovers().filter(|size| *size <= to) {
            survey.find_handover(connection, mirror, size, (&head, &signers))?;
        }
        Ok(survey)
    }

    /// Takes from the mirror the checkpoint of this size, at which one key handed over to the next, if the
    /// store does not have it. A mirror that lacks it costs those who know the old key alone their way.
    fn find_handover(
        &mut self,
        connection: &mut Connection,
        mirror: &Folder<'_>,
        size: u64,
        (head, signers): (&LogHead, &[VerifierKey]),
    ) -> Result<()> {
        if !audit_log::checkpoint_notes(connection, &[size].into()).map_err(Error::store)?.is_empty() {
            return Ok(());
        }
        let Some(note) = mirror.handover(size)? else { return Ok(()) };
        let root = match self.rotated.iter().find(|(rotated, _)| *rotated == size) {
            Some((_, root)) => *root,
            None => tree::root(size, &StoredHashes::new(connection)).map_err(Error::store)?,
        };
        let opened = checkpoint::open(note.as_bytes(), Some(&head.origin), signers, &[]);
        if !opened.is_ok_and(|opened| (opened.checkpoint.size, opened.checkpoint.root) == (size, root)) {
            return Err(damaged(&format!("the mirror: checkpoints/{size} is not the one of that size")));
        }
        self.handovers.push((size, note));
        Ok(())
    }

    /// Reads the leaves of one tile that are missing.
    fn read_tile(
        &mut self,
        mirror: &Folder<'_>,
        follow: &mut Follow,
        claims: &[Claim],
        keys: &mut LogKeys,
        head: &LogHead,
    ) -> Result<()> {
        let first = follow.frontier.size();
        let leaves = tile_of_leaves(mirror, first, self.target.size)?;
        let hashes = hashes_of_tile(mirror, first, self.target.size)?;
        for (place, bytes) in leaves.iter().enumerate() {
            let seq = first + u64::try_from(place).unwrap_or(u64::MAX);
            let leaf = Leaf::decode(bytes).map_err(|error| damaged(&format!("the mirror at entry {seq}: {error}")))?;
            let hash = leaf_hash(bytes);
            if hashes.as_ref().is_some_and(|hashes| hashes.get(place) != Some(&hash)) {
                return Err(damaged(&format!(
                    "the mirror at entry {seq}: the entry has not the hash that stands beside it"
                )));
            }
            if seq == head.size && leaf.previous != follow.last {
                return Err(apart(seq, head.size));
            }
            if leaf.seq != seq || leaf.previous != follow.last {
                return Err(damaged(&format!("the mirror at entry {seq}: the entry does not follow the one before")));
            }
            self.note(&leaf);
            keys.hear(&leaf);
            follow.frontier.append(&hash);
            follow.last = hash;
            self.hashes.push(hash);
            if leaf.event == Event::LogKeyRotated {
                self.rotated.push((seq + 1, follow.frontier.root()));
            }
            for claim in claims.iter().filter(|claim| claim.checkpoint.size == seq + 1) {
                claim.holds(&follow.frontier.root(), head.size)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, leaf: &Leaf) {
        let lost = self.events.entry(leaf.event.number()).or_default();
        lost.count += 1;
        // With the sealed part went the rows that the leaf speaks of.
        if leaf.parts.iter().any(|part| part.role != Role::Receipt) {
            lost.rows_lost += 1;
        }
    }

    /// What is known before anything is done.
    pub(super) fn told(&self) -> Restored {
        let leaves = self.events.iter().filter_map(|(event, lost)| Some((Event::from_number(*event)?.as_str(), *lost)));
        Restored {
            from: self.before.size,
            to: self.target.size.max(self.before.size),
            leaves: leaves.collect(),
            ..Restored::default()
        }
    }
}

/// Where reading stands.
struct Follow {
    frontier: Frontier,
    last: Hash,
}

impl Claim {
    fn holds(&self, root: &Hash, stored: u64) -> Result<()> {
        if self.checkpoint.root == *root {
            return Ok(());
        }
        Err(LogRefusal::fork(self.who, self.checkpoint.size, &self.checkpoint.root, stored, root).into())
    }
}

/// Reads leaves of the mirror again, tile by tile, and gives those that have the wanted hashes, at least
/// one.
pub(super) fn read_again(mirror: &Folder<'_>, from: u64, wanted: &[Hash], tiles: usize) -> Result<Vec<LostLeaf>> {
    let to = from + u64::try_from(wanted.len()).unwrap_or(0);
    let mut wanted = wanted.iter();
    let mut leaves = Vec::new();
    let mut at = from;
    for _ in 0..tiles {
        for bytes in tile_of_leaves(mirror, at, to)? {
            let changed = || damaged("the mirror was changed while it was read");
            let leaf = Leaf::decode(&bytes).map_err(|_| changed())?;
            let hash = leaf_hash(&bytes);
            if wanted.next() != Some(&hash) {
                return Err(changed());
            }
            let time = Micros(i64::try_from(leaf.time).map_err(|_| changed())?);
            leaves.push(LostLeaf { entry: leaf.entry, time, event: leaf.event.number(), leaf: bytes, hash });
            at += 1;
        }
        if at >= to {
            break;
        }
    }
    Ok(leaves)
}

/// The leaves of a mirror from `first` to the end of its tile, and below `to`.
fn tile_of_leaves(mirror: &Folder<'_>, first: u64, to: u64) -> Result<Vec<Vec<u8>>> {
    let tile = edge(TileKind::Entries, first, to);
    let missing = || Error::LogRefused {
        exit: 30,
        what: format!("the mirror lacks {tile}; the entries from {first} on cannot be brought back from it"),
    };
    let bytes = mirror.tile(&tile)?.ok_or_else(missing)?;
    let leaves = read_entries(&bytes).map_err(|_| damaged(&format!("the mirror: {tile} is no bundle of entries")))?;
    let skipped = usize::try_from(first % TILE_WIDTH).unwrap_or(usize::MAX);
    let leaves: Vec<Vec<u8>> =
        leaves.iter().take(usize::from(tile.width)).skip(skipped).map(|leaf| leaf.to_vec()).collect();
    if leaves.len() + skipped != usize::from(tile.width) {
        return Err(damaged(&format!("the mirror: {tile} does not hold {} entries", tile.width)));
    }
    Ok(leaves)
}

/// The hashes beside those leaves, if the mirror has them: they show where a leaf was changed.
fn hashes_of_tile(mirror: &Folder<'_>, first: u64, to: u64) -> Result<Option<Vec<Hash>>> {
    let Some(bytes) = mirror.tile(&edge(TileKind::Hashes(0), first, to))? else { return Ok(None) };
    let (hashes, _) = bytes.as_chunks::<32>();
    Ok(hashes.get(usize::try_from(first % TILE_WIDTH).unwrap_or(usize::MAX)..).map(<[Hash]>::to_vec))
}

/// The tile in which `first` lies, as wide as a log of `to` leaves has it.
fn edge(kind: TileKind, first: u64, to: u64) -> TilePath {
    let index = first / TILE_WIDTH;
    let width = (to - index * TILE_WIDTH).min(TILE_WIDTH);
    TilePath { kind, index, width: u16::try_from(width).unwrap_or(u16::MAX) }
}

fn damaged(what: &str) -> Error {
    Error::LogRefused { exit: 40, what: format!("damaged: {what}; nothing was changed") }
}

fn apart(seq: u64, stored: u64) -> Error {
    Error::LogRefused {
        exit: 30,
        what: format!(
            "fork: entry {seq} of the mirror does not follow the {stored} leaves of the data store: it went on by itself after the copy was put back; put the copy back as it was; nothing was changed"
        ),
    }
}
