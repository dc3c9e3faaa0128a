//! Pruning: leaves that are older than the policy keeps them are shown no more, and their rows may be
//! deleted. Hash tiles stay, so what is left is proved as before.
//!
//! What goes is hashed again first: a log whose oldest leaves are not what was signed is not pruned,
//! or the damage would go with them.

use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::audit::leaf::{Counts, Fact, Leaf, leaf_hash};
use crate::audit::tile::TILE_WIDTH;
use crate::audit::tree::{self, Frontier, Hash};
use crate::domain::event::{Class, Event, Outcome, Role};
use crate::domain::id::RetentionClassId;
use crate::domain::policy::PolicyHash;
use crate::domain::retention::RetentionClass;
use crate::storage::audit_log::{self, StoredHashes, StoredLeaf};
use crate::storage::{self, Connection, Step, Unit};

use super::checkpoint::{columns, frontier_at};
use super::{Error, Gateway, Result};

/// The class of `retention.toml` that says how long leaves are kept.
pub(super) const LEAVES: &str = "audit_leaves";
/// Leaves read at a time.
const PAGE: i64 = 2_000;
/// Rows deleted in one commit: other work waits no longer than for so many.
const ROWS: i64 = 2_000;

/// What may be pruned now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunePlan {
    /// Leaves below were pruned before.
    pub from: u64,
    /// Leaves below may be pruned; `from` if none may.
    pub below: u64,
    /// Their sealed parts that no pruned leaf counts as deleted.
    pub parts: Counts,
    /// The time of the newest of them, in microseconds since 1970 UTC.
    pub newest: u64,
    /// The root of the log at size `below`.
    root: Hash,
    policy: PolicyHash,
}

/// What becomes of the rows of pruned leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// They stay and are not shown.
    Kept,
    /// They are deleted.
    Deleted,
}

impl Gateway {
    /// Works out which leaves may be pruned: older than the policy keeps them, whole tiles, no sealed
    /// part about a person below, at least 256 leaves left, and everything covered by a published
    /// checkpoint. `before` asks for no more than the leaves below it.
    ///
    /// # Errors
    /// [`Error::LogRefused`] when the leaves are not those that were hashed into the log.
    pub async fn plan_prune(&self, before: Option<u64>) -> Result<PrunePlan> {
        let policy = self.policy();
        let zone = policy.policy.controller.time_zone.clone();
        let kept = policy.policy.retention.get(&RetentionClassId::new(LEAVES)).cloned();
        let kept = kept.ok_or(Error::WrongState("the policy does not say how long leaves are kept"))?;
        let published = self.publish_once().await?.map_or(0, |published| published.size);
        let limit = before.unwrap_or(u64::MAX).min(published.saturating_sub(TILE_WIDTH));
        let (now, hash) = (self.source.now(), policy.policy.hash);
        let planned = self
            .database
            .read(move |connection| plan(connection, limit, &Age { kept, now, zone }, hash))
            .await
            .map_err(Error::store)?;
        planned.ok_or_else(|| Error::LogRefused {
            exit: 40,
            what: "damaged: the oldest leaves are not those that the log was made of; `amanat audit verify` names every fault".to_owned(),
        })
    }

    /// Prunes as planned: what is sealed for the installation goes counted, then the log says from
    /// where on it is shown, then the rows go if they are to.
    ///
    /// # Errors
    /// [`Error::Contention`] when the log was pruned otherwise meanwhile.
    pub async fn prune(&self, plan: &PrunePlan, rows: Rows) -> Result<()> {
        let (from, below) = (plan.from, plan.below);
        if below > from {
            self.delete_counted(move |transaction| audit_log::delete_system_parts_below(transaction, below, ROWS))
                .await?;
            let leaf = self
                .leaf(Event::LogPruned, Outcome::Done)?
                .fact(Fact::PolicyHash(plan.policy.0))
                .fact(Fact::Deleted(plan.parts))
                .fact(Fact::Number(below))
                .fact(Fact::Root(plan.root))
                .fact(Fact::Until(plan.newest))
                .finish()?;
            let policy = plan.policy;
            self.commit_change(move || {
                Unit::change(Vec::new(), vec![leaf.clone()], move |transaction, _| {
                    let left = audit_log::part_classes_between(transaction.connection(), from, below - 1)?;
                    if !left.is_empty() || !audit_log::raise_minimum_index(transaction, from, below)? {
                        return Ok(Step::Stale);
                    }
                    if rows == Rows::Deleted {
                        audit_log::begin_deletion(transaction, below)?;
                    }
                    Ok(Step::Commit)
                })
                .under(policy)
            })
            .await?;
        } else if rows == Rows::Deleted && from > 0 {
            self.commit_change(move || {
                Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                    audit_log::begin_deletion(transaction, from)?;
                    Ok(Step::Commit)
                })
            })
            .await?;
        }
        self.resume_prune().await
    }

    /// Finishes deleting the rows of pruned leaves, if that was begun. Safe to run twice.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn resume_prune(&self) -> Result<()> {
        while let Some(until) = self.database.read(audit_log::deletion).await.map_err(Error::store)? {
            let began = Instant::now();
            self.commit_change(move || {
                Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                    audit_log::delete_leaves(transaction, until, ROWS)?;
                    Ok(Step::Commit)
                })
            })
            .await?;
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(())
    }
}

/// How old a leaf must be.
struct Age {
    kept: RetentionClass,
    now: Timestamp,
    zone: TimeZone,
}

/// Goes through the oldest leaves as far as they may go. `None`: they are not what the log was made of.
fn plan(connection: &mut Connection, limit: u64, age: &Age, policy: PolicyHash) -> storage::Result<Option<PrunePlan>> {
    let head = audit_log::head(connection)?.ok_or(storage::Error::DamagedLog("the head is missing"))?;
    let from = head.minimum_index;
    let limit = limit.min(head.size.saturating_sub(TILE_WIDTH)) / TILE_WIDTH * TILE_WIDTH;
    let mut walk = Walk { frontier: frontier_at(connection, from)?, parts: [0; 3], newest: 0 };
    let mut plan =
        PrunePlan { from, below: from, parts: Counts::default(), newest: 0, root: walk.frontier.root(), policy };
    'pages: while walk.frontier.size() < limit {
        let first = walk.frontier.size();
        let page = audit_log::leaves(connection, first, PAGE)?;
        let Some(last) = page.last().map(|leaf| leaf.seq) else { break };
        let personal: std::collections::HashSet<_> = audit_log::part_classes_between(connection, first, last)?
            .into_iter()
            .filter(|(_, class)| *class != Class::System.number())
            .map(|(entry, _)| entry)
            .collect();
        for leaf in page.iter().take_while(|leaf| leaf.seq < limit) {
            let is_old = age.kept.is_over(leaf.time.timestamp(), age.now, &age.zone);
            if !is_old || personal.contains(&leaf.entry) {
                break 'pages;
            }
            if !walk.take(leaf) {
                return Ok(None);
            }
            // Here leaves may count parts whose leaves were pruned before, while the prune that counted those in turn
            // stands further on: the log cannot be cut between the two.
            if walk.frontier.size().is_multiple_of(TILE_WIDTH)
                && let Some(parts) = walk.counts()
            {
                plan.below = walk.frontier.size();
                plan = PrunePlan { parts, newest: walk.newest, root: walk.frontier.root(), ..plan };
            }
        }
    }
    let stored = tree::root(plan.below, &StoredHashes::new(connection))?;
    Ok((stored == plan.root).then_some(plan))
}

/// What was learnt of the leaves so far.
struct Walk {
    frontier: Frontier,
    /// Sealed parts that leaves name less those that leaves count as deleted, by class.
    parts: [i64; 3],
    newest: u64,
}

impl Walk {
    /// False: the leaf does not stand where it should, or cannot be read.
    fn take(&mut self, stored: &StoredLeaf) -> bool {
        let Ok(leaf) = Leaf::decode(&stored.leaf) else { return false };
        // Its age was judged by the column beside it.
        let said = columns(stored);
        if leaf.seq != self.frontier.size()
            || stored.seq != leaf.seq
            || said.time != leaf.time
            || said.entry != leaf.entry
        {
            return false;
        }
        self.frontier.append(&leaf_hash(&stored.leaf));
        self.newest = self.newest.max(leaf.time);
        let class = usize::from(leaf.event.class().number()).saturating_sub(1);
        if let Some(slot) = self.parts.get_mut(class) {
            let kept = leaf.parts.iter().filter(|part| part.role != Role::Receipt).count();
            *slot = slot.saturating_add(i64::try_from(kept).unwrap_or(i64::MAX));
        }
        let sign = if leaf.event == Event::LogPruned { 1 } else { -1 };
        let told: [u64; 3] = leaf.facts.deleted().unwrap_or_default().into();
        for (slot, told) in self.parts.iter_mut().zip(told) {
            *slot = slot.saturating_add(i64::try_from(told).unwrap_or(i64::MAX).saturating_mul(sign));
        }
        true
    }

    /// The parts that a leaf behind these counts, or will.
    fn counts(&self) -> Option<Counts> {
        let [operation, evidence, system] = self.parts.map(|count| u64::try_from(count).ok());
        Some(Counts { operation: operation?, evidence: evidence?, system: system? })
    }
}
