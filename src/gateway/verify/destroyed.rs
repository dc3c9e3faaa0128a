//! Destroyed keys against the keys that live: a key that came back opens what was to be forgotten.
//!
//! A destroyed key is known by its fingerprint, which leaves name, and tombstones and the memory of the
//! log beside them. A living key shows its fingerprint without being opened, so no root key is needed.
//! A number of fingerprints is in memory at a time, by half of each; where there are more, the living
//! keys are read once more.

use std::collections::HashSet;
use std::path::Path;

use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::{Fact, Leaf};
use crate::crypto::keyring::WrappedKey;
use crate::domain::event::Event;
use crate::gateway::checkpoint::Memory;
use crate::gateway::{Error, Result};
use crate::storage::keys::{self, KeyTable};
use crate::storage::{Connection, Id16, Location, audit_log, erasures};

use super::payloads::number;

/// Events whose leaves name destroyed keys.
const NAMING: [Event; 4] =
    [Event::ErasureCompleted, Event::ErasureReplayed, Event::RetentionExpired, Event::OfficerErased];
/// Positions of the log, or keys, in one step.
const PAGE: u32 = 10_000;
/// Fingerprints in memory at a time, 24 bytes each.
const AT_ONCE: usize = 500_000;
/// Keys that are listed; the others are counted.
const LISTED: usize = 1_000;

/// The comparison, a step at a time, so that whoever runs it can rest in between.
pub(in crate::gateway) struct Destroyed {
    keys: Connection,
    to: u64,
    stage: Stage,
    /// What follows when the living keys were held against what is in memory.
    next: Stage,
    /// Half a fingerprint, and the leaf that names it.
    named: Vec<([u8; 16], Option<u64>)>,
    remembered: Vec<[u8; 32]>,
    told: HashSet<[u8; 32]>,
    findings: Vec<Finding>,
    unlisted: u64,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Gathers what the leaves from here on name.
    Leaves(u64),
    /// Gathers tombstones from this holder on.
    Tombstones(Id16),
    /// Gathers what the memory of the log holds.
    Memory,
    /// Holds the living keys of the table of this index, from this id on, against what was gathered.
    Living(usize, Id16),
    Done,
}

impl Destroyed {
    /// Of the leaves from `first` to below `to`, of the key store, and of the memory in this folder.
    pub(in crate::gateway) fn new(
        connection: &mut Connection,
        keys: &Location,
        (memory, origin): (Option<&Path>, &str),
        first: u64,
        to: u64,
    ) -> Result<Self> {
        let mut remembered = match memory {
            Some(folder) => Memory::of(folder, origin).erased()?,
            None => Vec::new(),
        };
        // The memory is written before the keys go, so what an erasure is about to destroy may live.
        let begun: HashSet<[u8; 32]> = erasures::unfinished(connection)
            .map_err(Error::store)?
            .into_iter()
            .flat_map(|erasure| erasure.fingerprints)
            .collect();
        remembered.retain(|fingerprint| !begun.contains(fingerprint));
        Ok(Self {
            keys: keys.connect_to_read().map_err(Error::keys)?,
            to,
            stage: Stage::Leaves(first),
            next: Stage::Done,
            named: Vec::new(),
            remembered,
            told: HashSet::new(),
            findings: Vec::new(),
            unlisted: 0,
        })
    }

    /// Does one step; false when there is none left.
    pub(in crate::gateway) fn step(&mut self, connection: &mut Connection) -> Result<bool> {
        let none = Id16([0; 16]);
        self.stage = match self.stage {
            Stage::Leaves(from) if from < self.to => {
                let until = from.saturating_add(u64::from(PAGE)).min(self.to);
                self.gather_named(connection, from, until)?;
                self.go_on(Stage::Leaves(until))
            }
            Stage::Leaves(_) => Stage::Tombstones(none),
            Stage::Tombstones(from) => {
                let page = keys::destroyed_keys(&mut self.keys, from, i64::from(PAGE)).map_err(Error::keys)?;
                self.named.extend(page.iter().filter_map(|(_, whole)| Some((half(whole)?, None))));
                match next_page(page.len(), page.last().map(|(holder, _)| *holder), from) {
                    Some(holder) => self.go_on(Stage::Tombstones(holder)),
                    None => self.go_on(Stage::Memory),
                }
            }
            Stage::Memory => {
                let remembered = std::mem::take(&mut self.remembered);
                self.named.extend(remembered.iter().filter_map(|whole| Some((half(whole)?, None))));
                self.hold_then(Stage::Done)
            }
            Stage::Living(at, from) => match KeyTable::ALL.get(at) {
                Some(table) => {
                    let page = keys::living_keys(&mut self.keys, *table, from, i64::from(PAGE)).map_err(Error::keys)?;
                    page.iter().for_each(|(_, wrapped)| self.look_up(wrapped));
                    match next_page(page.len(), page.last().map(|(id, _)| *id), from) {
                        Some(id) => Stage::Living(at, id),
                        None => Stage::Living(at + 1, none),
                    }
                }
                None => {
                    self.named.clear();
                    self.next
                }
            },
            Stage::Done => Stage::Done,
        };
        Ok(!matches!(self.stage, Stage::Done))
    }

    /// What was found.
    pub(in crate::gateway) fn findings(mut self) -> Vec<Finding> {
        if self.unlisted > 0 {
            let text = format!("{} further destroyed keys live.", self.unlisted);
            self.findings.push(Finding::whole(Code::KeyResurrected, text));
        }
        self.findings
    }

    /// Goes on with the next stage, or first holds the living keys against what was gathered.
    fn go_on(&mut self, next: Stage) -> Stage {
        if self.named.len() < AT_ONCE { next } else { self.hold_then(next) }
    }

    fn hold_then(&mut self, next: Stage) -> Stage {
        self.named.sort_unstable_by_key(|(half, seq)| (*half, seq.unwrap_or(u64::MAX)));
        self.next = next;
        if self.named.is_empty() { next } else { Stage::Living(0, Id16([0; 16])) }
    }

    fn gather_named(&mut self, connection: &mut Connection, from: u64, until: u64) -> Result<()> {
        let events = NAMING.map(number);
        let leaves = audit_log::leaves_of_events_between(connection, &events, from, until).map_err(Error::store)?;
        for stored in leaves {
            let Ok(leaf) = Leaf::decode(&stored.leaf) else { continue };
            for fact in leaf.facts.as_slice() {
                if let Fact::Fingerprints(whole) = fact {
                    self.named.extend(whole.iter().filter_map(|whole| Some((half(whole)?, Some(stored.seq)))));
                }
            }
        }
        Ok(())
    }

    fn look_up(&mut self, wrapped: &[u8]) {
        let Ok(fingerprint) = WrappedKey::parse(wrapped).map(|wrapped| wrapped.commitment()) else { return };
        let Some(half) = half(&fingerprint) else { return };
        let at = self.named.partition_point(|(other, _)| *other < half);
        let Some((_, seq)) = self.named.get(at).filter(|(other, _)| *other == half) else { return };
        if self.told.contains(&fingerprint) {
            return;
        }
        if self.told.len() >= LISTED {
            self.unlisted += 1;
            return;
        }
        self.told.insert(fingerprint);
        self.findings.push(match seq {
            Some(seq) => {
                Finding::at(Code::KeyResurrected, *seq, "A key that this leaf says was destroyed is there again.")
            }
            None => Finding::whole(Code::KeyResurrected, "A key that was destroyed is there again."),
        });
    }
}

/// Half of a fingerprint names it among all keys there ever were.
fn half(fingerprint: &[u8]) -> Option<[u8; 16]> {
    fingerprint.first_chunk::<16>().copied()
}

/// Where the page behind this one begins, if this one was full.
fn next_page(rows: usize, last: Option<Id16>, from: Id16) -> Option<Id16> {
    let is_full = u32::try_from(rows).is_ok_and(|rows| rows >= PAGE);
    last.filter(|last| is_full && *last != from)
}
