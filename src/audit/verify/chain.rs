//! Order, links and roots: which leaf stands where, and what must have stood there.
//!
//! A leaf is judged when the next one has come, because the next one's `prev` says what its hash
//! was. One doubtful link is held open for one leaf more: if leaf n does not name the hash of leaf
//! n − 1, either n − 1 was altered or the `prev` of n; the link behind n tells which.

mod report;

use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::{NO_PREVIOUS, Refusal, Skeleton, leaf_hash};
use crate::audit::tree::{Frontier, Hash};

use super::{Findings, KnownCheckpoint};

/// What was seen of one leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The hash of its contents; `None` for a leaf that is missing.
    pub(super) hash: Option<Hash>,
    pub(super) stored: Option<Hash>,
    pub(super) skeleton: Option<Skeleton>,
    pub(super) row_seq: u64,
    pub(super) refusal: Option<Refusal>,
    /// Whether its time may lie before that of the leaf before.
    pub(super) may_go_back: bool,
    /// Whether a finding names it already, so that its hash is not believed.
    pub(super) is_suspect: bool,
}

/// A leaf in its place, not judged yet.
#[derive(Clone, Debug)]
struct Held {
    seq: u64,
    seen: Seen,
    /// Other leaves that claim the same position.
    rivals: Vec<Hash>,
    /// The link to the leaf before, if it is in doubt.
    doubt: Option<Doubt>,
}

/// A link that does not hold: leaf n names another hash than leaf n − 1 has.
#[derive(Clone, Debug)]
struct Doubt {
    /// The hash that leaf n − 1 has.
    computed: Hash,
    /// The hash that leaf n says it has.
    claimed: Hash,
    /// The hash leaf n would have if it named `computed`.
    corrected: Option<Hash>,
    /// Whether the stored hash of leaf n − 1 speaks for it.
    is_supported: bool,
}

pub(super) struct Chain {
    frontier: Frontier,
    checkpoints: Vec<KnownCheckpoint>,
    /// The checkpoints below this are judged.
    judged: usize,
    pub(super) matching: Option<u64>,
    pub(super) mismatching: Vec<u64>,
    /// Set when a hash is lost, so that no later root can be computed.
    is_broken: bool,
    held: Option<Held>,
    displaced: Option<Seen>,
    /// Positions that hold a leaf of another position.
    misplaced: Vec<(u64, u64)>,
    next: u64,
    /// How far the source's positions run ahead of the leaves' own.
    shift: u64,
    newest: Option<u64>,
}

impl Chain {
    pub(super) fn new(frontier: Frontier, mut checkpoints: Vec<KnownCheckpoint>) -> Self {
        checkpoints.sort_by_key(|checkpoint| checkpoint.size);
        let next = frontier.size();
        let mut chain = Self {
            frontier,
            checkpoints,
            judged: 0,
            matching: None,
            mismatching: Vec::new(),
            is_broken: false,
            held: None,
            displaced: None,
            misplaced: Vec::new(),
            next,
            shift: 0,
            newest: None,
        };
        // Sizes below a pruned start cannot be computed any more.
        chain.judged = chain.checkpoints.partition_point(|checkpoint| checkpoint.size < next);
        chain.judge_checkpoints();
        chain
    }

    pub(super) const fn size(&self) -> u64 {
        self.next
    }

    /// The tree below the newest leaf, unless something before it is not settled yet.
    pub(super) fn settled(&self) -> Option<&Frontier> {
        let is_calm = self.held.as_ref().is_none_or(|held| {
            held.doubt.is_none() && held.rivals.is_empty() && !held.seen.is_suspect && held.seq == self.frontier.size()
        });
        let is_settled = is_calm && self.displaced.is_none() && self.misplaced.is_empty() && self.shift == 0;
        (is_settled && !self.is_broken).then_some(&self.frontier)
    }

    pub(super) const fn newest(&self) -> Option<u64> {
        self.newest
    }

    pub(super) fn checkpoints(&self) -> &[KnownCheckpoint] {
        &self.checkpoints
    }

    /// Takes the next leaf and says which position it was taken for.
    pub(super) fn feed(&mut self, seen: Seen, bytes: &[u8], findings: &mut Findings) -> u64 {
        if let Some(displaced) = self.displaced.take() {
            self.settle(displaced, &seen, bytes, findings)
        } else {
            self.order(seen, bytes, findings)
        }
    }

    fn order(&mut self, seen: Seen, bytes: &[u8], findings: &mut Findings) -> u64 {
        let by_source = seen.row_seq.wrapping_sub(self.shift);
        let Some(skeleton) = seen.skeleton else {
            // It does not say where it belongs; the source's position must do.
            self.skip_to(by_source, findings);
            return self.accept(Seen { is_suspect: seen.refusal == Some(Refusal::Malformed), ..seen }, bytes, findings);
        };
        if skeleton.seq == self.next || skeleton.seq == by_source && skeleton.seq > self.next {
            self.skip_to(skeleton.seq, findings);
            self.shift = seen.row_seq.wrapping_sub(skeleton.seq);
            return self.accept(seen, bytes, findings);
        }
        self.skip_to(by_source, findings);
        self.displaced = Some(seen);
        self.next
    }

    /// Decides what a displaced leaf means, by the leaf that follows it.
    fn settle(&mut self, displaced: Seen, seen: &Seen, bytes: &[u8], findings: &mut Findings) -> u64 {
        let position = self.next;
        let claimed = displaced.skeleton.map_or(position, |skeleton| skeleton.seq);
        let following = seen.skeleton.map(|skeleton| skeleton.seq);
        if following == Some(position) && claimed == position + 1 {
            let text = "Two neighbouring leaves changed places.";
            findings.push(Finding::between(Code::OrderChanged, position, claimed, text));
            // Whether the stored hashes moved along depends on the source; the links decide.
            self.accept(Seen { stored: None, ..*seen }, bytes, findings);
            self.accept(Seen { stored: None, ..displaced }, &[], findings);
            return position;
        }
        if following == Some(position) {
            self.insert(&displaced, position, claimed, findings);
            return self.order(*seen, bytes, findings);
        }
        if claimed > position && following == Some(claimed + 1) {
            self.skip_to(claimed, findings);
            self.shift = displaced.row_seq.wrapping_sub(claimed);
            self.accept(displaced, &[], findings);
            return self.order(*seen, bytes, findings);
        }
        self.misplace(displaced, position, claimed, findings);
        self.order(*seen, bytes, findings)
    }

    /// A leaf that pushes the others back.
    fn insert(&mut self, seen: &Seen, position: u64, claimed: u64, findings: &mut Findings) {
        let mut at = position;
        if let Some(held) = &mut self.held
            && held.seq == claimed
        {
            // Two leaves claim this position; the next link tells which is the right one.
            at = claimed;
            held.rivals.extend(seen.hash);
        }
        let text = "A leaf stands where none was appended.";
        findings.push(Finding::at(Code::LeafInserted, at, text));
        self.shift = self.shift.wrapping_add(1);
    }

    fn misplace(&mut self, seen: Seen, position: u64, claimed: u64, findings: &mut Findings) {
        self.misplaced.push((position, claimed));
        self.accept(Seen { is_suspect: true, skeleton: None, ..seen }, &[], findings);
    }

    /// Notes that every position below `seq` that has not come is missing.
    fn skip_to(&mut self, seq: u64, findings: &mut Findings) {
        // A position from nowhere is no gap: leaves are counted, not promised.
        if seq <= self.next || i64::try_from(seq).is_err() {
            return;
        }
        let (first, last) = (self.next, seq - 1);
        let text = "Leaves are missing.";
        if first == last {
            findings.push(Finding::at(Code::LeafMissing, first, "A leaf is missing."));
            let missing = Seen {
                hash: None,
                stored: None,
                skeleton: None,
                row_seq: first,
                refusal: None,
                may_go_back: false,
                is_suspect: true,
            };
            self.accept(missing, &[], findings);
        } else {
            findings.push(Finding::between(Code::LeafMissing, first, last, text));
            self.release(None, findings);
            // One lost hash can be had from the next leaf's `prev`; more cannot.
            self.is_broken = true;
            self.next = seq;
        }
    }

    /// Puts a leaf in the next position and judges the one before.
    fn accept(&mut self, seen: Seen, bytes: &[u8], findings: &mut Findings) -> u64 {
        let seq = self.next;
        self.next += 1;
        if let Some(skeleton) = seen.skeleton {
            if self.newest.is_some_and(|newest| skeleton.time < newest) && !seen.may_go_back {
                let text = "The leaf is older than the one before it.";
                findings.push(Finding::at(Code::ClockBackwards, seq, text));
            }
            self.newest = Some(skeleton.time);
        }
        let previous = seen.skeleton.map(|skeleton| skeleton.previous);
        let doubt = match (self.held.is_some(), previous) {
            (true, _) => self.release(previous, findings),
            (false, Some(previous)) if seq == 0 && previous != NO_PREVIOUS => {
                findings.push(Finding::at(Code::LeafAltered, 0, "The first leaf names one before it."));
                None
            }
            (false, _) => None,
        };
        let doubt = doubt.map(|doubt| {
            let corrected = with_previous(bytes, &doubt.claimed, &doubt.computed);
            Doubt { corrected, ..doubt }
        });
        self.held = Some(Held { seq, seen, rivals: Vec::new(), doubt });
        seq
    }

    /// Judges the leaf that is held, by the hash that the next leaf names for it. A link in doubt is
    /// handed back; the hash of the leaf is then still to be appended.
    fn release(&mut self, named: Option<Hash>, findings: &mut Findings) -> Option<Doubt> {
        let mut held = self.held.take()?;
        let seq = held.seq;
        let stored = held.seen.stored;
        let mut altered = |seq: u64| {
            let text = "The leaf is not what it was when it was appended.";
            findings.push(Finding::at(Code::LeafAltered, seq, text));
        };
        let Some(computed) = held.seen.hash else {
            self.append(named.or(stored));
            return None;
        };

        if let Some(doubt) = held.doubt.take() {
            let corrected = doubt.corrected;
            let evidence = [stored, named];
            let speaks_for = |hash: Option<Hash>| hash.is_some() && evidence.contains(&hash);
            let before = seq.saturating_sub(1);
            let (is_right, was_corrected) = if held.seen.is_suspect {
                (false, false)
            } else if speaks_for(corrected) && !speaks_for(Some(computed)) {
                (false, true)
            } else if speaks_for(Some(computed)) {
                (true, false)
            } else if named.is_none() {
                // The end of the log: only a checkpoint can tell.
                let with_corrected =
                    corrected.is_some_and(|corrected| self.leads_to_checkpoint(&[doubt.computed, corrected]));
                (!with_corrected && !doubt.is_supported, with_corrected)
            } else {
                (false, false)
            };
            if is_right {
                altered(before);
                self.append(Some(doubt.claimed));
            } else {
                if !was_corrected && !doubt.is_supported && !held.seen.is_suspect {
                    altered(before);
                }
                if !held.seen.is_suspect {
                    altered(seq);
                }
                self.append(Some(doubt.computed));
                self.append(if was_corrected { corrected } else { named.or(stored).or(Some(computed)) });
                return None;
            }
        }

        if held.seen.is_suspect {
            self.append(named.or(stored));
            return None;
        }
        match (named, stored) {
            (Some(named), _) if named == computed => {
                if stored.is_some_and(|stored| stored != computed) {
                    poisoned(seq, findings);
                }
                self.append(Some(computed));
                None
            }
            (Some(named), _) if held.rivals.contains(&named) => {
                self.append(Some(named));
                None
            }
            (Some(named), Some(stored)) if stored != computed => {
                altered(seq);
                self.append(Some(named));
                None
            }
            (Some(claimed), _) => {
                let is_supported = stored.is_some();
                Some(Doubt { computed, claimed, corrected: None, is_supported })
            }
            (None, Some(stored)) if stored != computed => {
                if self.leads_to_checkpoint(&[computed]) {
                    poisoned(seq, findings);
                    self.append(Some(computed));
                } else {
                    altered(seq);
                    self.append(Some(stored));
                }
                None
            }
            (None, _) => {
                self.append(Some(computed));
                None
            }
        }
    }

    /// Whether these hashes, appended, give the root of a checkpoint of that size.
    fn leads_to_checkpoint(&self, hashes: &[Hash]) -> bool {
        let mut frontier = self.frontier.clone();
        for hash in hashes {
            frontier.append(hash);
        }
        let root = frontier.root();
        !self.is_broken
            && self.checkpoints.iter().any(|checkpoint| checkpoint.size == frontier.size() && checkpoint.root == root)
    }

    fn append(&mut self, hash: Option<Hash>) {
        match hash {
            Some(hash) if !self.is_broken => {
                self.frontier.append(&hash);
                self.judge_checkpoints();
            }
            _ => self.is_broken = true,
        }
    }

    fn judge_checkpoints(&mut self) {
        while let Some(checkpoint) = self.checkpoints.get(self.judged)
            && checkpoint.size == self.frontier.size()
        {
            if checkpoint.root == self.frontier.root() {
                self.matching = Some(checkpoint.size);
            } else {
                self.mismatching.push(checkpoint.size);
            }
            self.judged += 1;
        }
    }

    /// Ends the log.
    pub(super) fn finish(&mut self, findings: &mut Findings) {
        if let Some(displaced) = self.displaced.take() {
            let position = self.next;
            let claimed = displaced.skeleton.map_or(position, |skeleton| skeleton.seq);
            // No leaf follows that would tell; the largest checkpoint says where the log ends.
            let signed = self.checkpoints.last().map_or(0, |checkpoint| checkpoint.size);
            let is_rival = self.held.as_ref().is_some_and(|held| held.seq == claimed);
            if claimed == position + 1 && signed != position + 1 {
                self.skip_to(claimed, findings);
                self.accept(displaced, &[], findings);
            } else if is_rival && signed <= position {
                self.insert(&displaced, position, claimed, findings);
            } else {
                self.misplace(displaced, position, claimed, findings);
            }
        }
        self.release(None, findings);
        self.report_misplaced(findings);
        self.report_checkpoints(findings);
    }
}

fn poisoned(seq: u64, findings: &mut Findings) {
    let text = "The stored hash is wrong while the leaf is right; rebuild the tiles.";
    findings.push(Finding::at(Code::TilePoisoned, seq, text));
}

/// The hash of a leaf with another `prev`. `prev` stands before anything a writer chooses freely, so
/// its first appearance is the field itself.
fn with_previous(leaf: &[u8], claimed: &Hash, computed: &Hash) -> Option<Hash> {
    let start = leaf.windows(claimed.len()).position(|window| window == claimed)?;
    let mut corrected = leaf.to_vec();
    corrected.get_mut(start..start + claimed.len())?.copy_from_slice(computed);
    Some(leaf_hash(&corrected))
}
