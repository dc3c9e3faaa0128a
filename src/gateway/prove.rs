//! Proofs and the public face of the log: what anyone can check without believing this gateway.
//!
//! Nothing here is given out for a size that no published checkpoint covers: a stranger could not
//! check it, and the log could still be cut back behind it.

use std::time::Duration;

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::checkpoint::{Checkpoint, with_cosignatures};
use crate::audit::log_keys::verifier_key;
use crate::audit::note::VerifierKey;
use crate::audit::proof::LogProof;
use crate::audit::tile::{TILE_WIDTH, TileKind, TilePath, put_entry};
use crate::audit::tree;
use crate::domain::id::EntryId;
use crate::storage::audit_log::{self, StoredHashes, StoredLeaf};
use crate::storage::{self, Connection, Location};

use super::anchor::AnchorStanding;
use super::checkpoint::{LogRefusal, Published, log_keys};
use super::rendering::{LeafBytes, Rendered, rendered};
use super::scrub::ScrubStatus;
use super::witness::WitnessStanding;
use super::{Error, Gateway, Result};

/// Entries in one answer at most.
pub const ENTRIES_AT_MOST: u16 = 1_000;

/// When to ask again for a proof that no checkpoint covers yet.
const PENDING: Duration = Duration::from_secs(1);

/// Names an entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// By its position.
    Position(u64),
    /// By its entry id.
    Entry(EntryId),
}

/// That the tree of `to` leaves extends that of `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsistencyProof {
    /// The older size.
    pub from: u64,
    /// The newer size.
    pub to: u64,
    /// The hashes, in base64, in the order of RFC 9162 §2.1.4.
    pub hashes: Vec<String>,
}

/// How the log stands.
#[derive(Clone, Debug, Serialize)]
pub struct LogStatus {
    /// The log.
    pub origin: String,
    /// Leaves appended.
    pub size: u64,
    /// Leaves below have been pruned.
    pub minimum_index: u64,
    /// When the newest leaf was appended.
    pub newest: jiff::Timestamp,
    /// Leaves that the published checkpoint covers.
    pub published: Option<u64>,
    /// The verifier key of the log, for trust policies.
    pub verifier: String,
    /// What each witness of the trust policy cosigned last.
    pub witnesses: Vec<WitnessStanding>,
    /// Since when no quorum of them signs, once the log told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwitnessed_since: Option<jiff::Timestamp>,
    /// Why nothing is signed or written any more, if that is so.
    pub refused: Option<String>,
    /// Why the clock is not believed and nothing is written, if that is so.
    pub clock: Option<String>,
    /// How the time-stamps of each authority stand.
    pub anchors: Vec<AnchorStanding>,
    /// How the daily re-reading of the log stands.
    pub scrub: ScrubStatus,
}

impl Gateway {
    /// Proves an entry in the newest published checkpoint: a `.tlog-proof` with the leaf in it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Pruned`]; [`Error::Pending`] while no checkpoint covers the entry.
    pub async fn prove_entry(&self, wanted: Wanted) -> Result<LogProof> {
        let published = self.published();
        self.database
            .read(move |connection| Ok(inclusion(connection, published.as_deref(), wanted)))
            .await
            .map_err(Error::store)?
    }

    /// Proves that one published size extends another.
    ///
    /// # Errors
    /// [`Error::Unacceptable`] if `from` is above `to` or `to` above the published size.
    pub async fn prove_consistency(&self, from: u64, to: u64) -> Result<ConsistencyProof> {
        let published = self.published();
        self.database
            .read(move |connection| Ok(consistency(connection, published.as_deref(), from, to)))
            .await
            .map_err(Error::store)?
    }

    /// The bytes of a tile, by its path behind the prefix of the log, `tile/0/000` or
    /// `tile/entries/x001/234.p/17`.
    ///
    /// # Errors
    /// [`Error::NotFound`] for any other spelling, for what no published checkpoint covers, and for
    /// entries that were pruned.
    pub async fn tile(&self, path: &str) -> Result<Vec<u8>> {
        let tile = TilePath::parse(path).ok_or(Error::NotFound)?;
        let published = self.published().map_or(0, |published| published.size);
        if tile.least_size().is_none_or(|least| least > published) {
            return Err(Error::NotFound);
        }
        self.database
            .read(move |connection| tile_bytes(connection, &tile))
            .await
            .map_err(Error::store)?
            .ok_or(Error::NotFound)
    }

    /// The entries behind position `after`, at most `limit`, rendered.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn entries(&self, after: Option<u64>, limit: u16) -> Result<Vec<Value>> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        let published = self.published();
        let origin = self.origin.clone();
        self.database
            .read(move |connection| {
                let from = from.max(audit_log::head(connection)?.map_or(0, |head| head.minimum_index));
                let leaves = audit_log::leaves(connection, from, i64::from(limit.min(ENTRIES_AT_MOST)))?;
                shown(connection, leaves, &origin, published.as_deref())
            })
            .await
            .map_err(Error::store)
    }

    /// One entry, rendered.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn entry(&self, wanted: Wanted) -> Result<Value> {
        let published = self.published();
        let origin = self.origin.clone();
        self.database
            .read(move |connection| {
                let leaf = match find(connection, wanted)?.leaf() {
                    Ok(leaf) => leaf,
                    Err(error) => return Ok(Err(error)),
                };
                Ok(shown(connection, vec![leaf], &origin, published.as_deref())?.pop().ok_or(Error::NotFound))
            })
            .await
            .map_err(Error::store)?
    }

    /// How the log stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn log_status(&self) -> Result<LogStatus> {
        let head = self.database.read(audit_log::head).await.map_err(Error::store)?.ok_or(Error::NotFound)?;
        let (witnesses, unwitnessed_since) = self.witness_standing().await?;
        Ok(LogStatus {
            witnesses,
            unwitnessed_since,
            origin: head.origin.clone(),
            size: head.size,
            minimum_index: head.minimum_index,
            newest: head.last_time.timestamp(),
            published: self.published().map(|published| published.size),
            verifier: self.log_verifier()?.to_string(),
            refused: self.log_refusal().map(|LogRefusal { what, .. }| what),
            clock: self.clock_trouble(),
            anchors: self.anchor_standing().await?,
            scrub: self.scrub_status().await?,
        })
    }
}

/// A stored log that is only looked at: proofs need no keys and no running gateway.
pub struct StoredLog(Connection);

impl StoredLog {
    /// Opens it so that it cannot be written.
    ///
    /// # Errors
    /// When it does not exist or cannot be reached.
    pub fn open(location: &Location) -> Result<Self> {
        location.connect_to_read().map(Self).map_err(Error::store)
    }

    pub(super) const fn connection(&mut self) -> &mut Connection {
        &mut self.0
    }

    /// The newest stored checkpoint, with its cosignatures.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn checkpoint(&mut self) -> Result<Option<Published>> {
        let newest = audit_log::newest_checkpoint(&mut self.0).map_err(Error::store)?;
        let Some((size, note)) = newest else { return Ok(None) };
        let lines = audit_log::cosignatures_of(&mut self.0, size).map_err(Error::store)?;
        let note = with_cosignatures(&note, lines.iter().map(|row| row.line.as_str()));
        Ok(Some(Published { size, note }))
    }

    /// The verifier key of the log, as its first leaf or its newest rotation names it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no first leaf; when the store cannot be read.
    pub fn verifier(&mut self) -> Result<VerifierKey> {
        let head = audit_log::head(&mut self.0).map_err(Error::store)?.ok_or(Error::NotFound)?;
        let keys = log_keys(&mut self.0).map_err(Error::store)?;
        keys.newest().and_then(|typed| verifier_key(&head.origin, typed)).ok_or(Error::NotFound)
    }

    /// As [`Gateway::prove_entry`], in the newest stored checkpoint.
    ///
    /// # Errors
    /// As there.
    pub fn prove_entry(&mut self, wanted: Wanted) -> Result<LogProof> {
        let published = self.checkpoint()?;
        inclusion(&mut self.0, published.as_ref(), wanted)
    }

    /// As [`Gateway::prove_consistency`].
    ///
    /// # Errors
    /// As there.
    pub fn prove_consistency(&mut self, from: u64, to: u64) -> Result<ConsistencyProof> {
        let published = self.checkpoint()?;
        consistency(&mut self.0, published.as_ref(), from, to)
    }
}

fn inclusion(connection: &mut Connection, published: Option<&Published>, wanted: Wanted) -> Result<LogProof> {
    let leaf = find(connection, wanted).map_err(Error::store)?.leaf()?;
    let Some(published) = published.filter(|published| leaf.seq < published.size) else {
        return Err(Error::Pending { wait: PENDING });
    };
    let (index, size) = (leaf.seq, published.size);
    let mut hashes = tree::inclusion_proof(index, size, &StoredHashes::of_tiles(connection)).map_err(Error::store)?;
    let root = Checkpoint::of_note(published.note.as_bytes()).ok();
    let holds = root.is_some_and(|said| {
        tree::verify_inclusion(index, size, &tree::hash_leaf(&leaf.leaf), &hashes, &said.root).is_ok()
    });
    if !holds {
        // A tile is wrong, or the log: the hashes beside the leaves are what a verifier judges.
        hashes = tree::inclusion_proof(index, size, &StoredHashes::new(connection)).map_err(Error::store)?;
    }
    Ok(LogProof { leaf: Some(leaf.leaf), index: leaf.seq, hashes, checkpoint: published.note.clone() })
}

fn consistency(
    connection: &mut Connection,
    published: Option<&Published>,
    from: u64,
    to: u64,
) -> Result<ConsistencyProof> {
    if from > to {
        return Err(Error::Unacceptable("from is larger than to"));
    }
    if published.is_none_or(|published| to > published.size) {
        return Err(Error::Unacceptable("to is larger than the published log"));
    }
    let hashes = tree::consistency_proof(from, to, &StoredHashes::new(connection)).map_err(Error::store)?;
    Ok(ConsistencyProof { from, to, hashes: hashes.iter().map(|hash| BASE64.encode(hash)).collect() })
}

/// What became of an entry that is wanted.
pub(super) enum Found {
    Leaf(Box<StoredLeaf>),
    Pruned,
    Nothing,
}

impl Found {
    pub(super) fn leaf(self) -> Result<StoredLeaf> {
        match self {
            Self::Leaf(leaf) => Ok(*leaf),
            Self::Pruned => Err(Error::Pruned),
            Self::Nothing => Err(Error::NotFound),
        }
    }
}

pub(super) fn find(connection: &mut Connection, wanted: Wanted) -> storage::Result<Found> {
    let minimum = audit_log::head(connection)?.map_or(0, |head| head.minimum_index);
    if matches!(wanted, Wanted::Position(seq) if seq < minimum) {
        return Ok(Found::Pruned);
    }
    let leaf = match wanted {
        Wanted::Position(seq) => audit_log::leaves(connection, seq, 1)?.pop().filter(|leaf| leaf.seq == seq),
        Wanted::Entry(entry) => audit_log::leaf_of_entry(connection, entry)?,
    };
    Ok(match leaf {
        Some(leaf) if leaf.seq < minimum => Found::Pruned,
        Some(leaf) => Found::Leaf(Box::new(leaf)),
        None => Found::Nothing,
    })
}

/// The bytes of a tile, or nothing if it holds entries that were pruned.
pub(super) fn tile_bytes(connection: &mut Connection, tile: &TilePath) -> storage::Result<Option<Vec<u8>>> {
    let first = tile.index.saturating_mul(TILE_WIDTH);
    match tile.kind {
        TileKind::Hashes(level) => hash_tile(connection, level, first, tile.width).map(Some),
        TileKind::Entries => entry_tile(connection, first, tile.width),
    }
}

/// The hashes of a tile. Those of leaves that were pruned stand in the stored tile alone.
pub(super) fn hash_tile(connection: &mut Connection, level: u8, first: u64, width: u16) -> storage::Result<Vec<u8>> {
    let hashes = audit_log::level_hashes(connection, u32::from(level), first, u64::from(width))?;
    if hashes.len() == usize::from(width) {
        return Ok(hashes.concat());
    }
    let stored = audit_log::stored_tile(connection, level, first / TILE_WIDTH)?;
    let kept = stored.and_then(|(hashes, _)| Some(hashes.get(..usize::from(width) * 32)?.to_vec()));
    kept.ok_or(storage::Error::DamagedLog("a hash below the published size is missing"))
}

/// The entries of a tile, or nothing if one of its leaves was pruned.
fn entry_tile(connection: &mut Connection, first: u64, width: u16) -> storage::Result<Option<Vec<u8>>> {
    if audit_log::head(connection)?.is_some_and(|head| first < head.minimum_index) {
        return Ok(None);
    }
    let leaves = audit_log::leaves(connection, first, i64::from(width))?;
    if !leaves.iter().map(|leaf| leaf.seq).eq(first..first.saturating_add(u64::from(width))) {
        return Err(storage::Error::DamagedLog("a leaf below the published size is missing"));
    }
    entry_bundle(&leaves).map(Some)
}

/// Leaves as an entry bundle.
pub(super) fn entry_bundle(leaves: &[StoredLeaf]) -> storage::Result<Vec<u8>> {
    let mut bundle = Vec::new();
    for leaf in leaves {
        put_entry(&mut bundle, &leaf.leaf).map_err(|_| storage::Error::DamagedLog("a leaf is too long for the log"))?;
    }
    Ok(bundle)
}

/// Leaves as officers see them: rendered, with the bytes that were hashed, and whether a checkpoint
/// covers them.
fn shown(
    connection: &mut Connection,
    leaves: Vec<StoredLeaf>,
    origin: &str,
    published: Option<&Published>,
) -> storage::Result<Vec<Value>> {
    let covered = published.map_or(0, |published| published.size);
    let render = |rendered: Rendered| {
        let standing = if rendered.stored.seq < covered { "proved" } else { "claimed" };
        let mut members = rendered.json(origin, LeafBytes::Included);
        members.insert("standing".to_owned(), json!(standing));
        Value::Object(members)
    };
    Ok(rendered(connection, leaves)?.into_iter().map(render).collect())
}
