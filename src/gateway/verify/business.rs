//! The rows of business against the leaves that made them, both ways.
//!
//! Every audited row names the entry of its leaf, so a row whose leaf is not there is found by a
//! look-up. The other way there is no index: the entries that rows name are held in memory, a part of
//! them at a time, and the leaves that must have a row are read past them. Only leaves whose sealed
//! part about the person still exists are asked: with the part the rows may go. What a collected
//! record kept is known to its sealed part alone, so it is asked where parts are opened
//! ([`super::payloads`]).

use crate::audit::finding::{Code, Finding};
use crate::audit::verify::EntryWatch;
use crate::domain::event::Event;
use crate::domain::id::EntryId;
use crate::gateway::{Error, Result};
use crate::storage::audit_log::{self, AuditedTable};
use crate::storage::{Connection, Micros};

use super::payloads::number;

/// Events whose leaf has a row of the same entry for as long as its sealed part exists.
const WITH_ROW: [Event; 5] = [
    Event::ConsentGiven,
    Event::ConsentRefused,
    Event::ConsentWithdrawn,
    Event::ObjectionRaised,
    Event::DisclosureReleased,
];
/// Rows, or positions of the log, in one step.
const PAGE: u32 = 10_000;
/// Leaves without a row that are listed by position.
const LISTED: usize = 100;
/// A row is dated before its leaf; on PostgreSQL by another clock.
const SKEW: i64 = 300_000_000;

/// Whether the leaf of this event is asked for its row here, by its entry.
pub(super) fn has_row(event: Event) -> bool {
    WITH_ROW.contains(&event)
}

/// The comparison, a step at a time, so that whoever runs it can rest in between.
pub(in crate::gateway) struct Business {
    /// Leaves below were pruned, leaves from `to` on came while the rows were read.
    first: u64,
    to: u64,
    stage: Stage,
    partition: u8,
    partitions: u8,
    last_partition: u8,
    entries: Vec<EntryId>,
    findings: Vec<Finding>,
    without_row: u64,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Looks for rows without a leaf in the table of this index.
    Rows(usize),
    /// Gathers the entries that rows of this table name, behind the row of this id.
    Entries(usize, [u8; 16]),
    /// Holds the leaves from here on against them.
    Leaves(u64),
    Done,
}

impl Business {
    /// Compares the rows with the leaves from `first` to below `to`; of the leaves, those of
    /// partition `from` to below `until` of `of`.
    pub(in crate::gateway) const fn new(first: u64, to: u64, (from, until): (u8, u8), of: u8) -> Self {
        Self {
            first,
            to,
            stage: Stage::Rows(0),
            partition: from,
            partitions: of,
            last_partition: until.saturating_sub(1),
            entries: Vec::new(),
            findings: Vec::new(),
            without_row: 0,
        }
    }

    /// Does one step; false when there is none left.
    pub(in crate::gateway) fn step(&mut self, connection: &mut Connection) -> Result<bool> {
        self.stage = match self.stage {
            Stage::Rows(at) => match AuditedTable::ALL.get(at) {
                Some(table) => {
                    self.look_for_leaves(connection, *table)?;
                    Stage::Rows(at + 1)
                }
                None => Stage::Entries(0, [0; 16]),
            },
            Stage::Entries(at, after) => match AuditedTable::WITNESSED.get(at) {
                Some(table) => match self.gather(connection, *table, after)? {
                    Some(last) => Stage::Entries(at, last),
                    None => Stage::Entries(at + 1, [0; 16]),
                },
                None => {
                    self.entries.sort_unstable();
                    Stage::Leaves(self.first)
                }
            },
            Stage::Leaves(from) if from < self.to => {
                let until = from.saturating_add(u64::from(PAGE)).min(self.to);
                self.look_for_rows(connection, from, until)?;
                Stage::Leaves(until)
            }
            Stage::Leaves(_) if self.partition < self.last_partition => {
                self.partition += 1;
                self.entries.clear();
                Stage::Entries(0, [0; 16])
            }
            Stage::Leaves(_) | Stage::Done => Stage::Done,
        };
        Ok(!matches!(self.stage, Stage::Done))
    }

    /// What was found.
    pub(in crate::gateway) fn findings(mut self) -> Vec<Finding> {
        let listed = u64::try_from(LISTED).unwrap_or(u64::MAX);
        if self.without_row > listed {
            let text = format!("{} further leaves have no business row.", self.without_row - listed);
            self.findings.push(Finding::whole(Code::LeafWithoutBusinessRow, text));
        }
        self.findings
    }

    fn look_for_leaves(&mut self, connection: &mut Connection, table: AuditedTable) -> Result<()> {
        // Rows older than the first leaf that is left may belong to one that was pruned.
        let since = if self.first == 0 {
            None
        } else {
            let first = audit_log::leaves(connection, self.first, 1).map_err(Error::store)?;
            first.first().map(|leaf| Micros(leaf.time.0.saturating_add(SKEW)))
        };
        let rows = audit_log::rows_without_leaf(connection, table, since).map_err(Error::store)?;
        if rows > 0 {
            let text = format!("{rows} rows of {} name an entry that has no leaf.", table.as_str());
            self.findings.push(Finding::whole(Code::BusinessRowWithoutLeaf, text));
        }
        Ok(())
    }

    /// Gathers one page of entries and gives the id of its last row.
    fn gather(
        &mut self,
        connection: &mut Connection,
        table: AuditedTable,
        after: [u8; 16],
    ) -> Result<Option<[u8; 16]>> {
        let page = audit_log::entries_of_rows(connection, table, after, i64::from(PAGE)).map_err(Error::store)?;
        let watch = EntryWatch::partition(self.partition, self.partitions);
        self.entries.extend(page.iter().map(|(_, entry)| *entry).filter(|entry| watch.watches(*entry)));
        Ok(page.last().map(|(id, _)| *id))
    }

    fn look_for_rows(&mut self, connection: &mut Connection, from: u64, until: u64) -> Result<()> {
        let events = WITH_ROW.map(number);
        let leaves = audit_log::entries_of_events(connection, &events, from, until).map_err(Error::store)?;
        let watch = EntryWatch::partition(self.partition, self.partitions);
        let mut missing: Vec<(u64, EntryId)> = leaves
            .into_iter()
            .filter(|(_, entry)| watch.watches(*entry) && self.entries.binary_search(entry).is_err())
            .collect();
        let asked: Vec<EntryId> = missing.iter().map(|(_, entry)| *entry).collect();
        let kept = audit_log::entries_with_subject_part(connection, &asked).map_err(Error::store)?;
        missing.retain(|(_, entry)| kept.contains(entry));
        for (seq, _) in missing {
            self.without_row += 1;
            if self.without_row <= u64::try_from(LISTED).unwrap_or(u64::MAX) {
                let text = "The leaf tells of a row that is not there, and its sealed part is.";
                self.findings.push(Finding::at(Code::LeafWithoutBusinessRow, seq, text));
            }
        }
        Ok(())
    }
}
