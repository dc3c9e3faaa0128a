//! Behaviour of the room, against the vectors of `tests/vectors/audit.json` and against attacks.

#![expect(clippy::as_conversions, reason = "tests turn small indexes into positions")]

mod attacks;
mod made_by_others;
mod mutations;
mod oracles;
mod properties;
mod story;
mod trust;
mod vectors;
mod witness;

use crate::audit::leaf::{Draft, Fact, Facts, NO_PREVIOUS, Part, leaf_hash};
use crate::audit::tree::{Frontier, Hash};
use crate::audit::verify::KnownCheckpoint;
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::EntryId;

/// 2026-01-01, in microseconds.
const START: u64 = 1_767_225_600_000_000;

/// A log with the hashes that a source stores beside its leaves.
#[derive(Clone, Default)]
struct Log {
    leaves: Vec<Vec<u8>>,
    stored: Vec<Hash>,
    frontier: Frontier,
}

fn entry(number: u64) -> EntryId {
    let hash = leaf_hash(&number.to_be_bytes());
    EntryId::from_bytes(*hash.first_chunk().unwrap())
}

fn part(role: Role, seed: u64) -> Part {
    let hash = leaf_hash(&seed.to_le_bytes());
    Part {
        role,
        tag: *hash.last_chunk().unwrap(),
        commitment: hash,
        sealed_hash: (role != Role::Receipt).then(|| leaf_hash(&hash)),
    }
}

impl Log {
    /// A log of this many leaves, one a second, one part each.
    fn of(size: u64) -> Self {
        let mut log = Self::default();
        for seq in 0..size {
            log.push(&ordinary(seq), START + seq * 1_000_000);
        }
        log
    }

    fn push(&mut self, draft: &Draft, time: u64) {
        let previous = self.stored.last().copied().unwrap_or(NO_PREVIOUS);
        let mut leaf = Vec::new();
        draft.encode(self.frontier.size(), &previous, time, &mut leaf);
        let hash = leaf_hash(&leaf);
        self.frontier.append(&hash);
        self.leaves.push(leaf);
        self.stored.push(hash);
    }

    fn checkpoint(&self) -> KnownCheckpoint {
        KnownCheckpoint { size: self.frontier.size(), root: self.frontier.root(), signed_by: Vec::new() }
    }
}

fn opening() -> Draft {
    let facts = Facts::new(vec![
        Fact::PolicyHash([7; 32]),
        Fact::Verifier([1; 33]),
        Fact::Origin("gw.example/log".to_owned()),
        Fact::HeartbeatSeconds(3_600),
    ]);
    Draft::new(entry(0), Event::LogOpened, Outcome::Done, Vec::new(), facts).unwrap()
}

fn ordinary(seq: u64) -> Draft {
    if seq == 0 {
        return opening();
    }
    let parts = vec![part(Role::Subject, seq)];
    Draft::new(entry(seq), Event::RecordCollected, Outcome::Done, parts, Facts::none()).unwrap()
}
