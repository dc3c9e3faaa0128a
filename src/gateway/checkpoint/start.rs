//! Before anything is served: the stored log is held against what was signed and what this instance
//! remembers, and its newest leaves are hashed again.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::audit::checkpoint;
use crate::audit::finding::{Finding, Position, Severity};
use crate::audit::leaf::{Cause, Leaf, leaf_hash};
use crate::audit::tile::TILE_WIDTH;
use crate::audit::tree::{self, Frontier, Hash, HashSource};
use crate::audit::verify::{Columns, KnownCheckpoint, LeafRow, Start, Verifier};
use crate::domain::event::{Event, Outcome};
use crate::gateway::clock::Belief;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::audit_log::{self, LogHead, StoredHashes, StoredLeaf};
use crate::storage::keys::{self, LastSigned};
use crate::storage::{self, Connection, Micros};

use super::memory::Memory;
use super::{LogRefusal, Published, damage};

/// Leaves at the right edge that are hashed again at every start.
const EDGE: u64 = 4_096;
/// How far the newest leaf may lie ahead of the clock.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// How far the clock may lie ahead of a newest leaf after which it was not believed.
const CLOCK_LEAP: SignedDuration = SignedDuration::from_hours(24);

impl Gateway {
    /// Holds the stored log against what this installation signed and remembers.
    ///
    /// # Errors
    /// [`Error::LogRefused`] when the log is behind, apart or damaged, or the clock stands before its
    /// newest leaf; the text names both sizes and the way out.
    pub(in crate::gateway) async fn check_log(&self, clock: Belief) -> Result<()> {
        self.look_at_log_keys().await?;
        let signed = self.keyholder.store().read(keys::last_signed).await.map_err(Error::keys)?;
        let memory = Memory::of(&self.settings.memory, &self.origin);
        let remembered = self.remembered_note(&memory)?;
        let known = [("this installation signed", &signed), ("the checkpoint memory holds", &remembered)]
            .into_iter()
            .filter_map(|(who, note)| note.clone().map(|note| (who, note)))
            .collect();

        let found = self.database.read(move |connection| inspect(connection, &known)).await.or_else(damage)?;
        let edge = found.map_err(Error::from)?;
        if clock == Belief::Checked {
            self.check_clock(&edge)?;
        }

        // The key store may be ahead of the memory after a crash between the two; a memory that is
        // missing altogether is news for the log.
        let newest = [&signed, &remembered].into_iter().flatten().max_by_key(|note| note.size);
        if let Some(newest) = newest.filter(|newest| remembered.as_ref().is_none_or(|old| old.size < newest.size)) {
            // A gateway that runs beside this command may have remembered a newer one meanwhile.
            if memory.read()? == remembered.as_ref().map(|old| old.note.clone()) {
                memory.write(&newest.note)?;
            }
        }
        let is_rebuilt = remembered.is_none() && signed.is_some();
        if is_rebuilt {
            tracing::warn!(file = %memory.path().display(), "the checkpoint memory was missing and was rebuilt from the key store");
        }
        let cause = if is_rebuilt { Cause::MemoryRebuilt } else { edge.cause };
        self.log.start.get_or_init(|| cause);
        if let Some(stored) = edge.newest_checkpoint {
            let is_ours = checkpoint::open(stored.note.as_bytes(), Some(&self.origin), &self.own_verifiers()?, &[])
                .is_ok_and(|verified| verified.checkpoint.size == stored.size);
            if !is_ours {
                let what = format!("the stored checkpoint of {} leaves is not signed by this log", stored.size);
                return Err(LogRefusal::damaged(&what).into());
            }
            self.take_published(Arc::new(stored));
        }
        Ok(())
    }

    /// The note in the memory, its signature checked.
    fn remembered_note(&self, memory: &Memory) -> Result<Option<LastSigned>> {
        let Some(note) = memory.read()? else { return Ok(None) };
        match checkpoint::open(note.as_bytes(), Some(&self.origin), &self.own_verifiers()?, &[]) {
            Ok(verified) => {
                Ok(Some(LastSigned { size: verified.checkpoint.size, root: verified.checkpoint.root, note }))
            }
            Err(error) => Err(Error::LogRefused {
                exit: 40,
                what: format!(
                    "damaged: {} is not a checkpoint of this log ({error}); look at it before you remove it: it is rebuilt from the key store",
                    memory.path().display()
                ),
            }),
        }
    }

    fn check_clock(&self, edge: &Edge) -> Result<()> {
        let head = &edge.head;
        let ahead = self.source.of_commit(None).duration_since(head.last_time.timestamp());
        if edge.is_clock_doubted && ahead > CLOCK_LEAP {
            return Err(Error::LogRefused {
                exit: 1,
                what: format!(
                    "clock_ahead: the clock leapt before the gateway ended, and stands {} s after the newest of {} leaves; set it right, then run `amanat audit resume --clock`",
                    ahead.as_secs(),
                    head.size
                ),
            });
        }
        let behind = head.last_time.timestamp().duration_since(self.source.of_commit(None));
        if head.size > 0 && behind > CLOCK_TOLERANCE {
            return Err(Error::LogRefused {
                exit: 1,
                what: format!(
                    "clock_behind: the newest of {} leaves is {} s ahead of the clock; set the clock right, wait, or run `amanat audit resume --clock`",
                    head.size,
                    behind.as_secs()
                ),
            });
        }
        Ok(())
    }
}

/// What was found at the right edge.
struct Edge {
    head: LogHead,
    cause: Cause,
    /// Whether nothing was written any more because the clock had leapt.
    is_clock_doubted: bool,
    newest_checkpoint: Option<Published>,
}

fn inspect(
    connection: &mut Connection,
    known: &Vec<(&'static str, LastSigned)>,
) -> storage::Result<std::result::Result<Edge, LogRefusal>> {
    let head = audit_log::head(connection)?.ok_or(storage::Error::DamagedLog("the head is missing"))?;
    let stored = audit_log::stored_size(connection)?;
    for (who, signed) in known {
        let held = head.size.min(stored);
        if signed.size > held {
            return Ok(Err(LogRefusal::rollback(who, signed.size, held)));
        }
        let root = tree::root(signed.size, &StoredHashes::new(connection))?;
        if root != signed.root {
            return Ok(Err(LogRefusal::fork(who, signed.size, &signed.root, head.size, &root)));
        }
    }
    // Other instances may append meanwhile, so more leaves than the head said are no fault.
    if stored < head.size {
        return Ok(Err(LogRefusal::damaged(&format!("the head says {} leaves, there are {stored}", head.size))));
    }
    let (cause, leapt) = match rehash_edge(connection, &head)? {
        Ok(told) => told,
        Err(what) => return Ok(Err(LogRefusal::damaged(&what))),
    };
    let newest_checkpoint = audit_log::newest_checkpoint(connection)?.map(|(size, note)| Published { size, note });
    // Whatever was written with another time was written by a clock that was believed again.
    let is_clock_doubted = leapt == Some(head.last_time);
    Ok(Ok(Edge { head, cause, is_clock_doubted, newest_checkpoint }))
}

/// Hashes the newest leaves again and compares them with the head, with the columns beside them and
/// with the tiles over them. Gives why the process starts, and when the clock leapt last and was not
/// believed: the leaves tell that too.
fn rehash_edge(
    connection: &mut Connection,
    head: &LogHead,
) -> storage::Result<std::result::Result<(Cause, Option<Micros>), String>> {
    let from = (head.size.saturating_sub(EDGE) / TILE_WIDTH * TILE_WIDTH).max(head.minimum_index);
    let frontier = frontier_at(connection, from)?;
    let mut verifier = Verifier::new(Start {
        origin: Some(head.origin.clone()),
        frontier,
        checkpoints: vec![KnownCheckpoint { size: head.size, root: head.root, signed_by: Vec::new() }],
        ..Start::default()
    });
    let mut hashes = Vec::new();
    let mut cause = if from == 0 { Cause::Planned } else { Cause::Crash };
    let mut last_time = None;
    let mut leapt = None;
    for leaf in edge_leaves(connection, from, head.size)? {
        feed(&mut verifier, &leaf);
        hashes.push(leaf_hash(&leaf.leaf));
        last_time = Some(leaf.time);
        if leaf.event == Event::GatewayStarted.number() {
            cause = Cause::Crash;
        } else if leaf.event == Event::GatewayStopped.number() {
            cause = Cause::Planned;
        } else if leaf.event == Event::ClockLeapt.number()
            && Leaf::decode(&leaf.leaf).is_ok_and(|leaf| leaf.outcome == Outcome::Refused)
        {
            leapt = Some(leaf.time);
        }
    }
    let report = verifier.finish();
    let fault = report.findings.iter().find(|finding| finding.severity >= Severity::Invalid);
    if let Some(finding) = fault {
        return Ok(Err(describe(finding)));
    }
    if head.size == 0 {
        return Ok(Ok((cause, leapt)));
    }
    if hashes.last() != Some(&head.last_hash) || last_time != Some(head.last_time) {
        return Ok(Err(format!("leaf {} is not the newest one that the head names", head.size - 1)));
    }
    if head.root_of_frontier() != head.root || tree::root(head.size, &StoredHashes::new(connection))? != head.root {
        return Ok(Err(format!("the root over {} leaves is not the one the head says", head.size)));
    }
    if let Some(index) = wrong_tile(connection, from, &hashes)? {
        return Ok(Err(format!(
            "the stored hashes of leaves {} to {} are wrong",
            index * TILE_WIDTH,
            index * TILE_WIDTH + TILE_WIDTH - 1
        )));
    }
    Ok(Ok((cause, leapt)))
}

/// The first full tile over these leaf hashes that is missing or holds others.
fn wrong_tile(connection: &mut Connection, from: u64, hashes: &[Hash]) -> storage::Result<Option<u64>> {
    // After a prune the edge may begin within a tile.
    let within = from.next_multiple_of(TILE_WIDTH) - from;
    let Some(hashes) = usize::try_from(within).ok().and_then(|within| hashes.get(within..)) else { return Ok(None) };
    let (tiles, _) = hashes.as_chunks::<256>();
    for (index, tile) in (from.div_ceil(TILE_WIDTH)..).zip(tiles) {
        let mut frontier = Frontier::new();
        tile.iter().for_each(|hash| frontier.append(hash));
        let right = (tile.as_flattened().to_vec(), frontier.root().to_vec());
        if audit_log::stored_tile(connection, 0, index)? != Some(right) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn edge_leaves(connection: &mut Connection, from: u64, to: u64) -> storage::Result<Vec<StoredLeaf>> {
    let count = i64::try_from(to - from).unwrap_or(i64::MAX);
    let mut leaves = audit_log::leaves(connection, from, count)?;
    leaves.retain(|leaf| leaf.seq < to);
    Ok(leaves)
}

/// The frontier of the first `size` leaves, from the stored hashes.
pub(in crate::gateway) fn frontier_at(connection: &mut Connection, size: u64) -> storage::Result<Frontier> {
    let source = StoredHashes::new(connection);
    let mut bytes = Vec::new();
    let mut start = 0_u64;
    for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
        bytes.extend_from_slice(&source.hash(level, start >> level)?);
        start += 1 << level;
    }
    Frontier::from_bytes(size, &bytes).map_err(|_| storage::Error::DamagedLog("the hashes below the edge do not fit"))
}

/// Hands a stored leaf to a verifier, with everything that stands beside it.
fn feed(verifier: &mut Verifier, leaf: &StoredLeaf) {
    verifier.feed(&LeafRow {
        seq: leaf.seq,
        leaf: &leaf.leaf,
        stored_hash: leaf.hash.as_slice().try_into().ok(),
        columns: Some(columns(leaf)),
        sealed: None,
    });
}

/// The columns beside a stored leaf.
pub(in crate::gateway) fn columns(leaf: &StoredLeaf) -> Columns {
    // A time before 1970 is none of ours; as the largest number it differs from what the leaf says.
    Columns { entry: leaf.entry, time: u64::try_from(leaf.time.0).unwrap_or(u64::MAX), event: leaf.event }
}

fn describe(finding: &Finding) -> String {
    let place = match finding.position {
        Position::Leaf { seq } => format!(" at {seq}"),
        Position::Between { from, to } => format!(" from {from} to {to}"),
        Position::Whole {} => String::new(),
    };
    format!("{}{place}: {}", finding.code.as_str(), finding.text.trim_end_matches('.'))
}
