//! Reading the leaves of a store page by page, with what stands beside them.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::audit::finding::{Code, Finding, Position, Report, Severity};
use crate::audit::leaf::Leaf;
use crate::audit::tree::{Frontier, Hash};
use crate::audit::verify::{EntryWatch, LeafRow, Verifier};
use crate::domain::id::EntryId;
use crate::gateway::checkpoint::columns;
use crate::gateway::{Error, Result};
use crate::storage::Connection;
use crate::storage::audit_log::{self, LogHead, StoredLeaf};

use super::payloads::{Payloads, by_entry};
use super::tiles::{Tiles, WrongTile};

/// Leaves in memory at a time.
const PAGE: i64 = 2_000;
/// Leaves whose sealed parts are in memory at a time; a part has up to 16 KiB.
const SEALED_PAGE: usize = 500;
/// Entries that one pass watches for repetition, 24 bytes each.
const WATCHED: u64 = 1_500_000;

/// A reading of the whole log.
pub(in crate::gateway) struct Reading<'a> {
    connection: &'a mut Connection,
    total: u64,
    partitions: u8,
    first: u64,
    next: u64,
    /// The tree of the stored hashes, for the head.
    stored: Frontier,
    root_at_head: Option<Hash>,
    tiles: Tiles,
    payloads: Option<Payloads>,
    findings: Vec<Finding>,
}

impl<'a> Reading<'a> {
    pub(in crate::gateway) fn new(connection: &'a mut Connection, below: Frontier, total: u64) -> Result<Self> {
        let next = below.size();
        let tiles = Tiles::new(connection, next)?;
        Ok(Self {
            connection,
            total,
            partitions: partitions(total),
            first: next,
            next,
            stored: below,
            root_at_head: None,
            tiles,
            payloads: None,
            findings: Vec::new(),
        })
    }

    /// Also opens what is sealed.
    pub(in crate::gateway) fn opening(self, payloads: Option<Payloads>) -> Self {
        Self { payloads, ..self }
    }

    /// The connection, between two pages.
    pub(in crate::gateway) const fn connection(&mut self) -> &mut Connection {
        self.connection
    }

    /// What was found so far beside what the verifier finds.
    pub(in crate::gateway) fn found(&self) -> &[Finding] {
        &self.findings
    }

    /// Leaves below have been read.
    pub(in crate::gateway) const fn position(&self) -> u64 {
        self.next
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
    ) -> Result<Report> {
        while self.step(&mut verifier, head)? {
            progress(self.next.saturating_sub(self.first), self.total.saturating_sub(self.first));
        }
        for partition in 1..self.partitions {
            self.watch_partition(partition)?;
        }
        Ok(self.conclude(verifier.finish(), head).0)
    }

    /// Feeds the next page of leaves; false at the end of the log.
    pub(in crate::gateway) fn step(&mut self, verifier: &mut Verifier, head: Option<&LogHead>) -> Result<bool> {
        let page = self.page()?;
        let Some(last) = page.last().map(|row| row.seq) else { return Ok(false) };
        for chunk in page.chunks(SEALED_PAGE) {
            self.feed(verifier, chunk, head)?;
        }
        self.next = last.saturating_add(1);
        Ok(true)
    }

    /// Adds to a finished report what the store says beside the leaves: its head and its tiles. Also
    /// gives the tiles that are wrong although every leaf below them is right.
    pub(in crate::gateway) fn conclude(
        mut self,
        mut report: Report,
        head: Option<&LogHead>,
    ) -> (Report, Vec<WrongTile>) {
        if let Some(head) = head {
            // A wrong hash beside a right leaf says nothing against the head.
            let speaks = |finding: &Finding| finding.severity >= Severity::Invalid || is_poisoned_leaf(finding);
            let is_sound = !report.findings.iter().chain(&self.findings).any(speaks);
            if self.stored.size() == head.size {
                self.root_at_head = Some(self.stored.root());
            }
            if report.size < head.size {
                let text = "The head of the log counts leaves that are not there.";
                self.findings.push(Finding::between(Code::LeafMissing, report.size, head.size - 1, text));
            } else if is_sound && head.size > self.first && self.root_at_head != Some(head.root) {
                let text = "The head of the log says another root than its leaves have.";
                self.findings.push(Finding::whole(Code::RootMismatch, text));
            }
        }
        if let Some(payloads) = &self.payloads {
            report.opened += payloads.opened();
            self.findings.extend(payloads.unlisted());
        }
        let wrong = self.tiles.alone(&report);
        report.findings.append(&mut self.findings);
        report.findings.extend(wrong.iter().map(WrongTile::finding));
        report.conclude();
        (report, wrong)
    }

    /// The next leaves. A page in which a column cannot be read is read leaf by leaf, without the
    /// columns.
    fn page(&mut self) -> Result<Vec<Row>> {
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
                self.findings.push(Finding::at(Code::LeafAltered, seq, "A column beside the leaf cannot be read."));
                Ok(vec![Row { seq, leaf, hash, columns: None, entry: None }])
            }
            Err(error) => Err(Error::store(error)),
        }
    }

    fn feed(&mut self, verifier: &mut Verifier, rows: &[Row], head: Option<&LogHead>) -> Result<()> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let stored_parts =
            by_entry(audit_log::parts_between(self.connection, first.seq, last.seq).map_err(Error::store)?);
        let mut sealed: HashMap<EntryId, Vec<(u8, Hash)>> = HashMap::new();
        for part in stored_parts.values().flatten() {
            sealed.entry(part.entry).or_default().push((part.role, Sha256::digest(&part.sealed).into()));
        }
        let mut to_open = Vec::new();
        for row in rows {
            let stored_hash: Option<Hash> = row.hash.as_slice().try_into().ok();
            let parts = row.entry.and_then(|entry| sealed.get(&entry)).map_or(&[][..], Vec::as_slice);
            let hash = verifier.feed(&LeafRow {
                seq: row.seq,
                leaf: &row.leaf,
                stored_hash,
                columns: row.columns,
                sealed: Some(parts),
            });
            self.tiles.take(self.connection, hash)?;
            let Some(stored) = stored_hash else {
                let text = "The hash beside the leaf has another length.";
                self.findings.push(Finding::at(Code::TilePoisoned, row.seq, text));
                continue;
            };
            // What an altered leaf commits to says nothing.
            if self.payloads.is_some() && stored == hash && !parts.is_empty() {
                to_open.extend(Leaf::decode(&row.leaf).ok().map(|leaf| (row.seq, leaf)));
            }
            self.stored.append(&stored);
            if head.is_some_and(|head| head.size == self.stored.size()) {
                self.root_at_head = Some(self.stored.root());
            }
        }
        if let Some(payloads) = &mut self.payloads {
            payloads.take(self.connection, &to_open, &stored_parts)?;
            self.findings.append(&mut payloads.found());
        }
        Ok(())
    }

    /// One more pass over the entries, for those that the first one did not watch.
    fn watch_partition(&mut self, partition: u8) -> Result<()> {
        let mut watch = EntryWatch::partition(partition, self.partitions);
        let mut next = self.first;
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
            self.findings.push(Finding::between(Code::EntryRepeated, first, second, "Two leaves have one entry id."));
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
pub(super) fn is_poisoned_leaf(finding: &Finding) -> bool {
    finding.code == Code::TilePoisoned && matches!(finding.position, Position::Leaf { .. })
}

/// Into how many parts the entries of a log of this size are split to be watched for repetition.
pub(in crate::gateway) fn partitions(total: u64) -> u8 {
    u8::try_from(total / WATCHED + 1).unwrap_or(u8::MAX)
}
