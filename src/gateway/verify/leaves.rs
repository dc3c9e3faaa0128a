//! Reading the leaves of a store page by page, with what stands beside them.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::audit::finding::{Code, Finding, Position, Report, Severity};
use crate::audit::tile::TILE_WIDTH;
use crate::audit::tree::{Frontier, Hash};
use crate::audit::verify::{EntryWatch, LeafRow, Verifier};
use crate::domain::id::EntryId;
use crate::gateway::checkpoint::columns;
use crate::gateway::{Error, Result};
use crate::storage::Connection;
use crate::storage::audit_log::{self, LogHead, StoredLeaf};

/// Leaves in memory at a time.
const PAGE: i64 = 2_000;
/// Leaves whose sealed parts are in memory at a time; a part has up to 16 KiB.
const SEALED_PAGE: usize = 500;
/// Entries that one pass watches for repetition, 24 bytes each.
const WATCHED: u64 = 1_500_000;

/// A reading of the whole log.
pub(super) struct Reading<'a> {
    connection: &'a mut Connection,
    total: u64,
    partitions: u8,
    next: u64,
    /// The tree of the stored hashes, for the head.
    stored: Frontier,
    tiles: Tiles,
}

impl<'a> Reading<'a> {
    pub(super) fn new(connection: &'a mut Connection, below: Frontier, total: u64) -> Self {
        let next = below.size();
        let partitions = u8::try_from(total / WATCHED + 1).unwrap_or(u8::MAX);
        Self { connection, total, partitions, next, tiles: Tiles::new(next), stored: below }
    }

    /// The entries that the first pass watches.
    pub(super) const fn watch(&self) -> EntryWatch {
        EntryWatch::partition(0, self.partitions)
    }

    /// Feeds every leaf to the verifier and reports.
    pub(super) fn run(
        mut self,
        mut verifier: Verifier,
        head: Option<&LogHead>,
        progress: &mut impl FnMut(u64, u64),
        findings: &mut Vec<Finding>,
    ) -> Result<Report> {
        let from = self.next;
        let mut root_at_head = None;
        loop {
            let page = self.page(findings)?;
            let Some(last) = page.last().map(|row| row.seq) else { break };
            for chunk in page.chunks(SEALED_PAGE) {
                self.feed(&mut verifier, chunk, head, &mut root_at_head, findings)?;
            }
            self.next = last.saturating_add(1);
            progress(self.next.saturating_sub(from), self.total.saturating_sub(from));
        }
        for partition in 1..self.partitions {
            self.watch_partition(partition, from, findings)?;
        }
        let report = verifier.finish();
        findings.extend(self.tiles.findings(&report));
        if let Some(head) = head {
            // A wrong hash beside a right leaf says nothing against the head.
            let speaks = |finding: &Finding| finding.severity >= Severity::Invalid || is_poisoned_leaf(finding);
            let is_sound = !report.findings.iter().chain(&*findings).any(speaks);
            if report.size < head.size {
                let text = "The head of the log counts leaves that are not there.";
                findings.push(Finding::between(Code::LeafMissing, report.size, head.size - 1, text));
            } else if is_sound && head.size > from && root_at_head != Some(head.root) {
                let text = "The head of the log says another root than its leaves have.";
                findings.push(Finding::whole(Code::RootMismatch, text));
            }
        }
        Ok(report)
    }

    /// The next leaves. A page in which a column cannot be read is read leaf by leaf, without the
    /// columns.
    fn page(&mut self, findings: &mut Vec<Finding>) -> Result<Vec<Row>> {
        match audit_log::leaves(self.connection, self.next, PAGE) {
            Ok(leaves) => Ok(leaves.into_iter().map(Row::from).collect()),
            Err(error) if error.is_malformed_row() => {
                match audit_log::leaves(self.connection, self.next, 1) {
                    Ok(leaves) => return Ok(leaves.into_iter().map(Row::from).collect()),
                    Err(error) if error.is_malformed_row() => {}
                    Err(error) => return Err(Error::store(error)),
                }
                let Some((seq, leaf, hash)) = audit_log::bare_leaf(self.connection, self.next).map_err(Error::store)?
                else {
                    return Ok(Vec::new());
                };
                findings.push(Finding::at(Code::LeafAltered, seq, "A column beside the leaf cannot be read."));
                Ok(vec![Row { seq, leaf, hash, columns: None, entry: None }])
            }
            Err(error) => Err(Error::store(error)),
        }
    }

    fn feed(
        &mut self,
        verifier: &mut Verifier,
        rows: &[Row],
        head: Option<&LogHead>,
        root_at_head: &mut Option<Hash>,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let mut sealed: HashMap<EntryId, Vec<(u8, Hash)>> = HashMap::new();
        for (entry, role, bytes) in
            audit_log::parts_between(self.connection, first.seq, last.seq).map_err(Error::store)?
        {
            sealed.entry(entry).or_default().push((role, Sha256::digest(&bytes).into()));
        }
        for row in rows {
            let stored_hash: Option<Hash> = row.hash.as_slice().try_into().ok();
            let parts = row.entry.and_then(|entry| sealed.get(&entry)).map_or(&[][..], Vec::as_slice);
            verifier.feed(&LeafRow {
                seq: row.seq,
                leaf: &row.leaf,
                stored_hash,
                columns: row.columns,
                sealed: Some(parts),
            });
            let Some(hash) = stored_hash else {
                findings.push(Finding::at(Code::TilePoisoned, row.seq, "The hash beside the leaf has another length."));
                continue;
            };
            self.stored.append(&hash);
            if head.is_some_and(|head| head.size == self.stored.size()) {
                *root_at_head = Some(self.stored.root());
            }
            self.tiles.take(self.connection, hash)?;
        }
        Ok(())
    }

    /// One more pass over the entries, for those that the first one did not watch.
    fn watch_partition(&mut self, partition: u8, from: u64, findings: &mut Vec<Finding>) -> Result<()> {
        let mut watch = EntryWatch::partition(partition, self.partitions);
        let mut next = from;
        loop {
            // What the column says was compared with the leaf by the first pass.
            let page = match audit_log::entries(self.connection, next, PAGE * 10) {
                Ok(page) => page,
                Err(error) if error.is_malformed_row() => return Ok(()),
                Err(error) => return Err(Error::store(error)),
            };
            let Some((last, _)) = page.last() else { break };
            next = last.saturating_add(1);
            page.iter().for_each(|(seq, entry)| watch.note(*entry, *seq));
        }
        for (first, second) in watch.repeated() {
            findings.push(Finding::between(Code::EntryRepeated, first, second, "Two leaves have one entry id."));
        }
        Ok(())
    }
}

/// A leaf as it was read.
struct Row {
    seq: u64,
    leaf: Vec<u8>,
    hash: Vec<u8>,
    columns: Option<crate::audit::verify::Columns>,
    entry: Option<EntryId>,
}

impl From<StoredLeaf> for Row {
    fn from(stored: StoredLeaf) -> Self {
        let columns = columns(&stored);
        Self {
            seq: stored.seq,
            leaf: stored.leaf,
            hash: stored.hash,
            columns: Some(columns),
            entry: Some(stored.entry),
        }
    }
}

/// Whether the hash stored beside one leaf is wrong: a cache, as tiles are, and tiles are made of it.
fn is_poisoned_leaf(finding: &Finding) -> bool {
    finding.code == Code::TilePoisoned && matches!(finding.position, Position::Leaf { .. })
}

/// Compares the stored tiles with the hashes they are made of. They are a cache: a wrong one is a
/// warning, and proofs made from it would fail.
struct Tiles {
    /// Per level the hashes of the tile that is not full yet.
    levels: Vec<Vec<Hash>>,
    /// Per level the index of that tile.
    indexes: Vec<u64>,
    /// A log that does not begin with a full tile is not compared.
    is_aligned: bool,
    wrong: Vec<WrongTile>,
}

struct WrongTile {
    level: u8,
    index: u64,
    from: u64,
    to: u64,
}

impl Tiles {
    const fn new(first: u64) -> Self {
        Self { levels: Vec::new(), indexes: Vec::new(), is_aligned: first == 0, wrong: Vec::new() }
    }

    fn take(&mut self, connection: &mut Connection, hash: Hash) -> Result<()> {
        if !self.is_aligned {
            return Ok(());
        }
        let mut hash = hash;
        for level in 0_u8..8 {
            let slot = usize::from(level);
            if self.levels.len() <= slot {
                self.levels.push(Vec::with_capacity(256));
                self.indexes.push(0);
            }
            let (Some(hashes), Some(index)) = (self.levels.get_mut(slot), self.indexes.get_mut(slot)) else { break };
            hashes.push(hash);
            let Some(root) = crate::audit::tile::full_tile_root(hashes) else { break };
            let stored = audit_log::stored_tile(connection, level, *index).map_err(Error::store)?;
            if stored != Some((hashes.concat(), root.to_vec())) {
                let leaves = TILE_WIDTH.saturating_pow(u32::from(level) + 1);
                let from = index.saturating_mul(leaves);
                self.wrong.push(WrongTile { level, index: *index, from, to: from.saturating_add(leaves - 1) });
            }
            hashes.clear();
            *index += 1;
            hash = root;
        }
        Ok(())
    }

    /// The wrong tiles. Behind a leaf that is missing, moved or altered, tiles differ because of it.
    fn findings(&self, report: &Report) -> Vec<Finding> {
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
        let alone = self.wrong.iter().filter(|tile| first_fault.is_none_or(|fault| tile.to < fault));
        alone
            .map(|tile| {
                let text = format!("The stored tile {} of level {} is not what it is made of.", tile.index, tile.level);
                Finding::between(Code::TilePoisoned, tile.from, tile.to, text)
            })
            .collect()
    }
}
