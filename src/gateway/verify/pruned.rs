//! Whether what is not shown any more was pruned as the log and its policy say.

use jiff::Timestamp;

use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::Leaf;
use crate::audit::tile::TILE_WIDTH;
use crate::audit::tree::Frontier;
use crate::audit::verify::Pruned;
use crate::domain::event::Event;
use crate::domain::id::RetentionClassId;
use crate::domain::policy::{Policy, PolicyHash};
use crate::gateway::prune::LEAVES;
use crate::gateway::{Error, Result};
use crate::policy::{Files, KnownNotices};
use crate::storage::audit_log::{self, LogHead};
use crate::storage::{Connection, Micros, installation};

/// Prunes that are looked at; each takes at least a tile of leaves.
const MOST: i64 = 100_000;

/// Holds the minimum index against the leaves that declare it. `below` is the tree of the pruned
/// leaves.
pub(super) fn judge(connection: &mut Connection, head: &LogHead, below: &Frontier) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if head.minimum_index == 0 {
        return Ok(findings);
    }
    let event = i16::try_from(Event::LogPruned.number()).unwrap_or(i16::MAX);
    let leaves = audit_log::leaves_of_events(connection, &[event], MOST).map_err(Error::store)?;
    let prunes: Vec<Pruned> = leaves
        .iter()
        .filter(|leaf| leaf.seq >= head.minimum_index)
        .filter_map(|leaf| Pruned::of(&Leaf::decode(&leaf.leaf).ok()?))
        .collect();
    let is_declared = |prune: &Pruned| prune.below == head.minimum_index && prune.root == below.root();
    if !prunes.iter().any(is_declared) {
        let text =
            format!("Leaves below {} are not shown, and no leaf says that they were pruned.", head.minimum_index);
        findings.push(Finding::between(Code::PruneBeyondPolicy, 0, head.minimum_index - 1, text));
    }
    for prune in prunes {
        let policy = policy(connection, PolicyHash(prune.policy))?;
        findings.extend(judge_one(&prune, policy.as_ref()));
    }
    Ok(findings)
}

/// Holds one prune against the policy that it names, if it is there.
pub(super) fn judge_one(prune: &Pruned, policy: Option<&Policy>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !prune.below.is_multiple_of(TILE_WIDTH) || prune.below.saturating_add(TILE_WIDTH) > prune.seq {
        let text = "The log was pruned further than it may be.";
        findings.push(Finding::at(Code::PruneBeyondPolicy, prune.seq, text));
    }
    let [newest, at] = [prune.newest, prune.time].map(time);
    let is_old = policy.is_some_and(|policy| {
        let kept = policy.retention.get(&RetentionClassId::new(LEAVES));
        kept.is_some_and(|kept| kept.is_over(newest, at, &policy.controller.time_zone))
    });
    if !is_old {
        let text = "Leaves were pruned that are younger than the policy of that time keeps them.";
        findings.push(Finding::at(Code::PruneBeyondPolicy, prune.seq, text));
    }
    findings
}

/// Whether sealed parts of pruned leaves still lie in the store.
pub(super) fn left(connection: &mut Connection, head: &LogHead) -> Result<Option<Finding>> {
    if head.minimum_index == 0 {
        return Ok(None);
    }
    let parts = audit_log::parts_below(connection, head.minimum_index).map_err(Error::store)?;
    let text = format!("{parts} sealed parts of pruned leaves exist.");
    Ok((parts > 0).then(|| Finding::whole(Code::FalseErasure, text)))
}

/// A policy that was in force once; `None` if it is not there or cannot be read.
pub(super) fn policy(connection: &mut Connection, hash: PolicyHash) -> Result<Option<Policy>> {
    let files = installation::policy_files(connection, hash).map_err(Error::store)?;
    Ok(files.as_deref().and_then(crate::gateway::policy::decode).and_then(|files| read(&files, hash)))
}

/// The policy in these files, if it is the one of this hash.
pub(super) fn read(files: &Files, hash: PolicyHash) -> Option<Policy> {
    crate::policy::load(files, &KnownNotices::new()).ok().filter(|policy| policy.hash == hash)
}

fn time(micros: u64) -> Timestamp {
    Micros(i64::try_from(micros).unwrap_or(i64::MAX)).timestamp()
}
