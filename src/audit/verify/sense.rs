//! Whether the log makes sense as a story: how it begins, who may sign it, what was deleted, and
//! where it fell silent.

use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::{Fact, Leaf};
use crate::audit::log_keys::{LogKeys, ValidKey};
use crate::audit::tree::Hash;
use crate::domain::event::{Class, Event, Role};

use super::chain::Chain;
use super::{Dated, Findings, Pruned, Story};

const MICROSECONDS: u64 = 1_000_000;
/// Time-stamps that are remembered at most, 40 bytes each: three a day for a hundred years.
const MAXIMUM_DATED: usize = 110_000;
/// Prunes that are remembered at most, 100 bytes each: one a day for as long.
const MAXIMUM_PRUNES: usize = 40_000;

/// Whether the leaf is the one event whose time may lie before the leaf before.
pub(super) fn corrects_clock(leaf: &Leaf) -> bool {
    leaf.event == Event::ClockCorrected
}

pub(super) struct Sense {
    expected_origin: Option<String>,
    said_origin: Option<String>,
    first: u64,
    heartbeat: Option<u64>,
    heartbeats: u64,
    silences: u64,
    last: Option<(u64, u64, Event)>,
    closed: Option<u64>,
    /// The time-stamps that leaves tell of.
    dated: Vec<Dated>,
    prunes: Vec<Pruned>,
    keys: LogKeys,
    /// Sealed parts that leaves name, those that are gone, and those that leaves count as deleted, by
    /// class.
    named: [u64; 3],
    gone: [u64; 3],
    counted: [u64; 3],
    last_gone: [Option<u64>; 3],
    is_sealed_checked: bool,
    /// Whether every leaf from the first on was seen.
    is_whole: bool,
}

impl Sense {
    pub(super) fn new(expected_origin: Option<String>, first: u64) -> Self {
        Self {
            expected_origin,
            said_origin: None,
            first,
            heartbeat: None,
            heartbeats: 0,
            silences: 0,
            last: None,
            closed: None,
            dated: Vec::new(),
            prunes: Vec::new(),
            keys: LogKeys::default(),
            named: [0; 3],
            gone: [0; 3],
            counted: [0; 3],
            last_gone: [None; 3],
            is_sealed_checked: false,
            is_whole: true,
        }
    }

    /// What was told so far.
    pub(super) fn story(&self) -> Story {
        let hex = |key: &ValidKey| (data_encoding::HEXLOWER.encode(&key.typed), key.from, key.to);
        Story {
            first: self.first,
            origin: self.said_origin.clone(),
            heartbeat: self.heartbeat,
            heartbeats: self.heartbeats,
            silences: self.silences,
            last: self.last.map(|(seq, time, event)| (seq, time, event.number())),
            closed: self.closed,
            keys: self.keys.as_slice().iter().map(hex).collect(),
            named: self.named,
            gone: self.gone,
            counted: self.counted,
            last_gone: self.last_gone,
            is_sealed_checked: self.is_sealed_checked,
            ..Story::default()
        }
    }

    /// Goes on from what was told before.
    pub(super) fn retold(expected_origin: Option<String>, story: Story) -> Self {
        let key = |(hex, from, to): (String, u64, u64)| {
            let typed = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()?;
            Some(ValidKey { typed, from, to })
        };
        Self {
            expected_origin,
            said_origin: story.origin,
            first: story.first,
            heartbeat: story.heartbeat,
            heartbeats: story.heartbeats,
            silences: story.silences,
            last: story.last.and_then(|(seq, time, event)| Some((seq, time, Event::from_number(event)?))),
            closed: story.closed,
            // Time-stamps and prunes are judged by those who read the log in one go.
            dated: Vec::new(),
            prunes: Vec::new(),
            keys: story.keys.into_iter().filter_map(key).collect(),
            named: story.named,
            gone: story.gone,
            counted: story.counted,
            last_gone: story.last_gone,
            is_sealed_checked: story.is_sealed_checked,
            // Only a range of a bundle passes leaves over, and nobody interrupts that.
            is_whole: true,
        }
    }

    pub(super) fn origin(&self) -> Option<String> {
        self.said_origin.clone().or_else(|| self.expected_origin.clone())
    }

    pub(super) fn erased(&self) -> u64 {
        self.gone.iter().sum()
    }

    /// Forgets what only holds between neighbours: a leaf follows that is not seen.
    pub(super) const fn pass_over(&mut self) {
        self.is_whole = false;
        self.last = None;
    }

    pub(super) fn feed(&mut self, position: u64, leaf: &Leaf, sealed: Option<&[(u8, Hash)]>, findings: &mut Findings) {
        // A leaf out of its place is told as that.
        if leaf.seq == position && (leaf.seq == 0) != (leaf.event == Event::LogOpened) {
            let text = "A log opens with log.opened, once.";
            findings.push(Finding::at(Code::Malformed, leaf.seq, text));
        }
        if let Some(closed) = self.closed.take() {
            let text = "Leaves follow after the log was closed.";
            findings.push(Finding::between(Code::LeafInserted, closed, leaf.seq, text));
        }
        self.keys.hear(leaf);
        match leaf.event {
            Event::LogOpened => self.open(leaf, findings),
            Event::LogHeartbeat => self.heartbeats += 1,
            Event::LogAnchored => self.date(leaf),
            Event::LogPruned if self.prunes.len() < MAXIMUM_PRUNES => self.prunes.extend(Pruned::of(leaf)),
            Event::LogClosed => self.closed = Some(leaf.seq),
            Event::LogSucceeded => {
                let lost = leaf.facts.number().unwrap_or(0);
                if lost > 0 {
                    let text = format!("The log before this one lost {lost} leaves.");
                    findings.push(Finding::at(Code::SucceededWithLoss, leaf.seq, text));
                }
            }
            _ => {}
        }
        self.listen(leaf, findings);
        if let Some(sealed) = sealed {
            self.is_sealed_checked = true;
            self.balance(leaf, sealed, findings);
        }
    }

    fn date(&mut self, leaf: &Leaf) {
        let (mut said, mut kept) = (None, None);
        for fact in leaf.facts.as_slice() {
            match fact {
                Fact::LogSize(size) => said = Some(*size),
                Fact::Digest(digest) => kept = Some(*digest),
                _ => {}
            }
        }
        if let (Some(size), Some(digest)) = (said, kept)
            && self.dated.len() < MAXIMUM_DATED
        {
            self.dated.push(Dated { size, digest });
        }
    }

    /// The time-stamps that leaves say have arrived.
    pub(super) fn dated(&mut self) -> Vec<Dated> {
        std::mem::take(&mut self.dated)
    }

    /// The leaves that say that others were pruned.
    pub(super) fn prunes(&mut self) -> Vec<Pruned> {
        std::mem::take(&mut self.prunes)
    }

    fn open(&mut self, leaf: &Leaf, findings: &mut Findings) {
        for fact in leaf.facts.as_slice() {
            match fact {
                Fact::Origin(origin) => {
                    if self.expected_origin.as_ref().is_some_and(|expected| expected != origin) {
                        let text = "The log is another one than expected.";
                        findings.push(Finding::at(Code::OriginMismatch, leaf.seq, text));
                    }
                    self.said_origin = Some(origin.clone());
                }
                Fact::HeartbeatSeconds(seconds) => {
                    self.heartbeat = Some(seconds.saturating_mul(MICROSECONDS));
                }
                _ => {}
            }
        }
    }

    /// A silence of more than two heartbeats needs a stop before it or a start behind it.
    fn listen(&mut self, leaf: &Leaf, findings: &mut Findings) {
        if let (Some((seq, time, event)), Some(interval)) = (self.last, self.heartbeat) {
            let explained = event == Event::GatewayStopped || leaf.event == Event::GatewayStarted;
            if leaf.time.saturating_sub(time) > interval.saturating_mul(2) && !explained {
                self.silences += 1;
                let text = "Nothing was appended for more than two heartbeats, and nothing says why.";
                findings.push(Finding::between(Code::Silence, seq, leaf.seq, text));
            }
        }
        self.last = Some((leaf.seq, leaf.time, leaf.event));
    }

    /// Sealed rows are deleted only in a commit whose leaf counts them, so per class: parts in
    /// leaves and pruned parts equal rows that exist and rows counted as deleted.
    fn balance(&mut self, leaf: &Leaf, sealed: &[(u8, Hash)], findings: &mut Findings) {
        for part in &leaf.parts {
            if part.role == Role::Receipt {
                continue;
            }
            if let Some(named) = of_class(&mut self.named, leaf.event.class()) {
                *named += 1;
            }
            let row = sealed.iter().find(|(role, _)| *role == part.role.number());
            match row {
                Some((_, hash)) if Some(*hash) == part.sealed_hash => {}
                Some(_) => {
                    let text = "A sealed part is not the one its leaf names.";
                    findings.push(Finding::at(Code::SealedAltered, leaf.seq, text));
                }
                None => {
                    if let Some(gone) = of_class(&mut self.gone, leaf.event.class()) {
                        *gone += 1;
                    }
                    if let Some(last) = of_class(&mut self.last_gone, leaf.event.class()) {
                        *last = Some(leaf.seq);
                    }
                }
            }
        }
        let foreign = sealed.iter().any(|(role, _)| leaf.parts.iter().all(|part| part.role.number() != *role));
        if foreign {
            let text = "A sealed row belongs to no part of its leaf.";
            findings.push(Finding::at(Code::SealedAltered, leaf.seq, text));
        }
        let Some(counts) = leaf.facts.deleted() else {
            return;
        };
        let counts = [counts.operation, counts.evidence, counts.system];
        if leaf.event == Event::LogPruned {
            // Their leaves went, and the leaves that count them stay.
            for ((named, gone), count) in self.named.iter_mut().zip(&mut self.gone).zip(counts) {
                if self.first > 0 {
                    *named = named.saturating_add(count);
                    *gone = gone.saturating_add(count);
                }
            }
            return;
        }
        for (counted, count) in self.counted.iter_mut().zip(counts) {
            *counted = counted.saturating_add(count);
        }
    }

    /// Leaves the sealed rows unbalanced.
    pub(super) const fn forgo_balance(&mut self) {
        self.is_sealed_checked = false;
    }

    /// Takes the number of rows that there are in place of what was seen leaf by leaf.
    pub(super) fn count_rows(&mut self, rows: [u64; 3], findings: &mut Findings) {
        for (((gone, named), rows), class) in self.gone.iter_mut().zip(self.named).zip(rows).zip(Class::ALL) {
            if rows > named {
                let class = class.as_str();
                let text = format!("There are {rows} sealed parts of class {class}, and leaves name {named}.");
                findings.push(Finding::whole(Code::FalseErasure, text));
            }
            *gone = named.saturating_sub(rows);
        }
    }

    pub(super) fn finish(&mut self, chain: &Chain, findings: &mut Findings) {
        if self.silences > 0 && self.heartbeats == 0 {
            let text = "Leaf 0 announces heartbeats, and there are none.";
            findings.push(Finding::whole(Code::Downgrade, text));
        }
        self.judge_keys(chain, findings);
        if !self.is_sealed_checked || !self.is_whole {
            return;
        }
        let sums = self.gone.iter().zip(self.counted).zip(self.last_gone).zip(Class::ALL);
        for (((gone, counted), last), class) in sums {
            let class = class.as_str();
            if *gone > counted {
                let missing = gone - counted;
                let text = format!("{missing} sealed parts of class {class} are gone uncounted.");
                let finding = match last {
                    Some(seq) => Finding::between(Code::SealedMissing, self.first, seq, text),
                    None => Finding::whole(Code::SealedMissing, text),
                };
                findings.push(finding);
            } else if *gone < counted {
                let living = counted - gone;
                let text = format!("{living} sealed parts of class {class} are counted as deleted and exist.");
                findings.push(Finding::whole(Code::FalseErasure, text));
            }
        }
    }

    fn judge_keys(&self, chain: &Chain, findings: &mut Findings) {
        // Without leaf 0 it is not known which key the log began with.
        if self.keys.is_empty() || self.first > 0 {
            return;
        }
        for checkpoint in chain.checkpoints() {
            for key in &checkpoint.signed_by {
                if !self.keys.may_sign(&key.typed(), checkpoint.size) {
                    let text = "A key signed a size that it is not valid for.";
                    findings.push(Finding::at(Code::KeyNotValidHere, checkpoint.size, text));
                }
            }
        }
    }
}

fn of_class<T>(values: &mut [T; 3], class: Class) -> Option<&mut T> {
    values.get_mut(usize::from(class.number()).saturating_sub(1))
}
