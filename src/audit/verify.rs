//! Judging a whole log: feed its leaves in order, get a report.
//!
//! The verifier hashes every leaf again and believes no stored hash. It does not stop at the first
//! finding: where something is wrong it works out, from stored hashes, from the `prev` of later
//! leaves and from checkpoints, what must have stood there, and goes on.
//!
//! Memory: constant, plus 24 bytes for each leaf in the entry partition under watch
//! ([`EntryWatch`]).

mod chain;
mod entries;
mod pause;
mod sense;

use super::checkpoint::Verified;
use super::finding::{Code, Finding, Position, Report};
use super::leaf::{Fact, Leaf, Refusal, Skeleton, leaf_hash};
use super::note::VerifierKey;
use super::receipt::refusal_finding;
use super::tree::{Frontier, Hash};
use crate::domain::event::Event;
use crate::domain::id::EntryId;

use chain::{Chain, Seen};
pub use entries::EntryWatch;
pub use pause::{Paused, Story};
use sense::Sense;

/// Findings of one kind beyond this many are counted and not listed.
const MAXIMUM_FINDINGS: usize = 10_000;

/// One leaf as its source holds it.
#[derive(Clone, Copy, Debug)]
pub struct LeafRow<'a> {
    /// The position the source gives it: the column `seq`, or the place in a bundle.
    pub seq: u64,
    /// The bytes of the leaf.
    pub leaf: &'a [u8],
    /// The hash stored beside it or in the level-0 tile, if there is one. It is compared, never
    /// believed.
    pub stored_hash: Option<Hash>,
    /// The other columns beside the leaf, if the source is a database.
    pub columns: Option<Columns>,
    /// Role and SHA-256 of each sealed row of this entry that exists; `None`: not looked at.
    pub sealed: Option<&'a [(u8, Hash)]>,
}

/// Columns that repeat what the leaf says, for queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The entry.
    pub entry: EntryId,
    /// The time, in microseconds since 1970 UTC.
    pub time: u64,
    /// The event.
    pub event: u16,
}

/// A checkpoint whose signatures were checked already ([`super::checkpoint::open`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCheckpoint {
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The log's keys that signed it. Empty: not judged against the rotations of the log.
    pub signed_by: Vec<VerifierKey>,
}

impl KnownCheckpoint {
    /// What a checkpoint whose signatures hold says.
    #[must_use]
    pub fn of(verified: &Verified) -> Self {
        Self { size: verified.checkpoint.size, root: verified.checkpoint.root, signed_by: verified.signed_by.clone() }
    }
}

/// A time-stamp that a leaf says has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dated {
    /// The size it dates.
    pub size: u64,
    /// SHA-256 of the authority's reply.
    pub digest: Hash,
}

/// What a leaf 103 says: that the leaves before a position are shown no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The position of the leaf that says it.
    pub seq: u64,
    /// Its time, in microseconds since 1970 UTC.
    pub time: u64,
    /// Content hash of the policy in force.
    pub policy: Hash,
    /// The first leaf that stays.
    pub below: u64,
    /// The root of those that went.
    pub root: Hash,
    /// The time of the newest of them, in microseconds since 1970 UTC.
    pub newest: u64,
}

impl Pruned {
    /// What a leaf 103 says; nothing of any other.
    #[must_use]
    pub fn of(leaf: &Leaf) -> Option<Self> {
        if leaf.event != Event::LogPruned {
            return None;
        }
        let (mut policy, mut below, mut root, mut newest) = (None, None, None, None);
        for fact in leaf.facts.as_slice() {
            match fact {
                Fact::PolicyHash(hash) => policy = Some(*hash),
                Fact::Number(number) => below = Some(*number),
                Fact::Root(hash) => root = Some(*hash),
                Fact::Until(time) => newest = Some(*time),
                _ => {}
            }
        }
        Some(Self { seq: leaf.seq, time: leaf.time, policy: policy?, below: below?, root: root?, newest: newest? })
    }
}

/// What a verification starts from.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The log that is expected, if the verifier knows.
    pub origin: Option<String>,
    /// The tree below the first leaf that will be fed; empty, unless leaves were pruned.
    pub frontier: Frontier,
    /// Every checkpoint that is known, in any order.
    pub checkpoints: Vec<KnownCheckpoint>,
    /// Which entries are watched for repetition; by default all.
    pub entries: EntryWatch,
}

/// A verification under way.
pub struct Verifier {
    chain: Chain,
    sense: Sense,
    entries: EntryWatch,
    findings: Findings,
    pruned: u64,
    checked: u64,
    /// Leaves below were judged before a pause; the newest of them is fed again for its link only.
    judged_to: u64,
}

/// Findings, bounded.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    unlisted: u64,
}

impl Findings {
    fn push(&mut self, finding: Finding) {
        if self.list.len() < MAXIMUM_FINDINGS {
            self.list.push(finding);
        } else {
            self.unlisted += 1;
        }
    }
}

impl Verifier {
    /// Starts a verification.
    #[must_use]
    pub fn new(start: Start) -> Self {
        let pruned = start.frontier.size();
        Self {
            chain: Chain::new(start.frontier, start.checkpoints),
            sense: Sense::new(start.origin, pruned),
            entries: start.entries,
            findings: Findings::default(),
            pruned,
            checked: 0,
            judged_to: pruned,
        }
    }

    /// Takes the next leaf, in the order of the source, and gives the hash it has.
    pub fn feed(&mut self, row: &LeafRow<'_>) -> Hash {
        let hash = leaf_hash(row.leaf);
        let decoded = Leaf::decode(row.leaf);
        let (skeleton, refusal) = match &decoded {
            Ok(leaf) => (Some(skeleton_of(leaf)), None),
            Err(Refusal::UnknownVersion) => (None, Some(Refusal::UnknownVersion)),
            Err(refusal) => (Skeleton::read(row.leaf), Some(*refusal)),
        };
        let seen = Seen {
            hash: Some(hash),
            stored: row.stored_hash,
            skeleton,
            row_seq: row.seq,
            refusal,
            may_go_back: decoded.as_ref().is_ok_and(sense::corrects_clock),
            is_suspect: false,
        };
        let seq = self.chain.feed(seen, row.leaf, &mut self.findings);
        if seq < self.judged_to {
            return hash;
        }
        self.checked += 1;
        if let Some(refusal) = refusal {
            self.findings.push(refusal_finding(refusal, seq));
        }
        if let Some(skeleton) = skeleton {
            self.entries.note(skeleton.entry, seq);
        }
        if let Ok(leaf) = &decoded {
            self.check_columns(leaf, row.columns, seq);
            self.sense.feed(seq, leaf, row.sealed, &mut self.findings);
        }
        hash
    }

    /// Takes the next leaf by its hash alone: a leaf that this source does not show. Roots are
    /// computed with it; its contents are not checked, and deletions are not balanced any more.
    pub fn pass_over(&mut self, seq: u64, hash: Hash) {
        self.sense.pass_over();
        let seen = Seen {
            hash: Some(hash),
            stored: Some(hash),
            skeleton: None,
            row_seq: seq,
            refusal: None,
            may_go_back: false,
            is_suspect: false,
        };
        self.chain.feed(seen, &[], &mut self.findings);
    }

    fn check_columns(&mut self, leaf: &Leaf, columns: Option<Columns>, seq: u64) {
        let said = Columns { entry: leaf.entry, time: leaf.time, event: leaf.event.number() };
        if columns.is_some_and(|columns| columns != said) {
            let text = "The columns beside the leaf say something else than the leaf.";
            self.findings.push(Finding::at(Code::LeafAltered, seq, text));
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn found(&self) -> &[Finding] {
        &self.findings.list
    }

    /// As [`Verifier::finish`], for a source whose sealed rows went while it was read: the rows are
    /// balanced by how many there are of each class (operation, evidence, system) as of the last leaf
    /// fed, not by which were seen.
    #[must_use]
    pub fn finish_with_rows(mut self, rows: [u64; 3]) -> Report {
        // What a leaf names that cannot be read is not known, so nothing can be balanced.
        let is_unread = |finding: &Finding| {
            matches!(finding.code, Code::Malformed | Code::LeafMissing | Code::UnknownVersion | Code::UnknownEvent)
        };
        if self.findings.list.iter().any(is_unread) {
            self.sense.forgo_balance();
        } else {
            self.sense.count_rows(rows, &mut self.findings);
        }
        self.finish()
    }

    /// Ends the log and reports. Attestation (quorum, age) is the caller's to add; see
    /// [`super::finding::Report::conclude`].
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.chain.finish(&mut self.findings);
        self.sense.finish(&self.chain, &mut self.findings);
        for (first, second) in self.entries.repeated() {
            let text = "Two leaves have one entry id.";
            self.findings.push(Finding::between(Code::EntryRepeated, first, second, text));
        }
        let mut report = Report::new();
        report.origin = self.sense.origin();
        report.size = self.chain.size();
        report.checked = self.checked;
        report.erased = self.sense.erased();
        report.pruned = self.pruned;
        report.newest = self.chain.newest();
        report.dated = self.sense.dated();
        report.prunes = self.sense.prunes();
        report.findings = without_consequences(self.findings.list);
        if self.findings.unlisted > 0 {
            let text = format!("{} further findings are not listed.", self.findings.unlisted);
            report.findings.push(Finding::whole(Code::Malformed, text));
        }
        report.conclude();
        report
    }
}

fn skeleton_of(leaf: &Leaf) -> Skeleton {
    Skeleton { seq: leaf.seq, previous: leaf.previous, entry: leaf.entry, time: leaf.time }
}

/// Drops findings that only follow from a leaf that was altered: the time of an altered leaf makes
/// the sound leaf behind it look too early.
fn without_consequences(mut findings: Vec<Finding>) -> Vec<Finding> {
    let altered: std::collections::BTreeSet<u64> = findings
        .iter()
        .filter(|finding| matches!(finding.code, Code::LeafAltered | Code::Malformed))
        .filter_map(|finding| match finding.position {
            Position::Leaf { seq } => Some(seq),
            _ => None,
        })
        .collect();
    let follows = |position: Position| match position {
        Position::Leaf { seq } => {
            altered.contains(&seq) || seq.checked_sub(1).is_some_and(|seq| altered.contains(&seq))
        }
        Position::Between { from, to } => altered.contains(&from) || altered.contains(&to),
        Position::Whole {} => false,
    };
    // Leaf 0 says how long a silence may be.
    let opening_altered = altered.contains(&0);
    findings.retain(|finding| match finding.code {
        Code::ClockBackwards => !follows(finding.position),
        Code::Silence => !opening_altered && !follows(finding.position),
        _ => true,
    });
    // A downgrade within the log rests on silences.
    let is_silent = findings.iter().any(|finding| finding.code == Code::Silence);
    findings.retain(|finding| finding.code != Code::Downgrade || is_silent);
    findings
}
