//! Leaves: what one entry of the log says, in bytes that never change.
//!
//! A leaf is a deterministic CBOR map with exactly ten keys. It holds no personal data: details are
//! sealed elsewhere, and the leaf commits to them. Its rules are those of its event
//! ([`crate::domain::event`]); a reader refuses a leaf that breaks one.

mod fact;
mod read;

use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::EntryId;

use super::cbor::{Kind, length, put_bytes, put_head, put_uint};
use super::tree::{Hash, hash_leaf};

pub use fact::{Cause, Counts, Fact, Facts};
pub use read::{Leaf, Refusal, Skeleton};

/// The least bytes a leaf has.
pub const MINIMUM_LENGTH: usize = 64;
/// The most bytes a leaf has.
pub const MAXIMUM_LENGTH: usize = 4_096;
/// `prev` of the first leaf.
pub const NO_PREVIOUS: Hash = [0; 32];

/// Everything in a leaf but its position: `seq`, `prev` and `time` are given when its batch commits.
///
/// A draft that exists obeys the rules of its event, so encoding it cannot fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    entry: EntryId,
    event: Event,
    outcome: Outcome,
    parts: Vec<Part>,
    facts: Facts,
}

/// One sealed part, as its leaf names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whom it belongs to.
    pub role: Role,
    /// Finds it again for whoever has the tag key, and links it to nothing for anyone else.
    pub tag: [u8; 16],
    /// Binds the plaintext, under a key of this entry and role.
    pub commitment: [u8; 32],
    /// SHA-256 of the sealed bytes. Absent for [`Role::Receipt`], which is not kept, and only there.
    pub sealed_hash: Option<Hash>,
}

/// Why a draft cannot be made: a mistake in the code that appends, never in data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The event does not end so.
    #[error("event {} may not have outcome {}", .0.as_str(), .1.as_str())]
    Outcome(Event, Outcome),
    /// A part is missing, foreign to the event, or there twice.
    #[error("event {} does not have exactly these parts", .0.as_str())]
    Parts(Event),
    /// A sealed hash is missing, or a receipt has one.
    #[error("part {} of event {} has a sealed hash where none belongs, or lacks it", .1.as_str(), .0.as_str())]
    SealedHash(Event, Role),
    /// A fact is missing, foreign to the event, or there twice.
    #[error("event {} does not have exactly these facts", .0.as_str())]
    Facts(Event),
    /// The leaf would be longer than [`MAXIMUM_LENGTH`].
    #[error("the leaf of event {} would be longer than {MAXIMUM_LENGTH} bytes", .0.as_str())]
    TooLong(Event),
}

impl Draft {
    /// Makes a draft. Parts and facts may come in any order.
    ///
    /// # Errors
    ///
    /// If outcome, parts or facts are not those of the event, or the leaf would be too long.
    pub fn new(
        entry: EntryId,
        event: Event,
        outcome: Outcome,
        mut parts: Vec<Part>,
        facts: Facts,
    ) -> Result<Self, DraftError> {
        let rule = event.rule();
        if !rule.admits_outcome(outcome) {
            return Err(DraftError::Outcome(event, outcome));
        }
        parts.sort_unstable_by_key(|part| part.role);
        let mut roles = 0_u8;
        for part in &parts {
            let bit = 1 << part.role.number();
            if roles & bit != 0 {
                return Err(DraftError::Parts(event));
            }
            roles |= bit;
            if part.sealed_hash.is_none() != (part.role == Role::Receipt) {
                return Err(DraftError::SealedHash(event, part.role));
            }
        }
        if !rule.admits_parts(roles) {
            return Err(DraftError::Parts(event));
        }
        if facts.has_repeated() || !rule.admits_facts(facts.keys()) {
            return Err(DraftError::Facts(event));
        }
        let draft = Self { entry, event, outcome, parts, facts };
        if draft.longest() > MAXIMUM_LENGTH {
            return Err(DraftError::TooLong(event));
        }
        Ok(draft)
    }

    /// Puts other facts in the place of the present ones: counts that are known only in the commit.
    ///
    /// # Errors
    ///
    /// As [`Draft::new`]; then the draft stays as it was.
    pub fn amend(&mut self, facts: Facts) -> Result<(), DraftError> {
        let amended = Self::new(self.entry, self.event, self.outcome, self.parts.clone(), facts)?;
        *self = amended;
        Ok(())
    }

    /// The entry's id.
    #[must_use]
    pub const fn entry(&self) -> EntryId {
        self.entry
    }

    /// What happened.
    #[must_use]
    pub const fn event(&self) -> Event {
        self.event
    }

    /// How it ended.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The sealed parts, by role.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The facts, by key.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Appends the leaf at position `seq` to `out`. `previous` is the hash of the leaf before,
    /// [`NO_PREVIOUS`] for the first; `time` is in microseconds since 1970 UTC.
    pub fn encode(&self, seq: u64, previous: &Hash, time: u64, out: &mut Vec<u8>) {
        put_head(out, Kind::Map, 10);
        put_uint(out, 0);
        put_uint(out, 1);
        put_uint(out, 1);
        put_uint(out, seq);
        put_uint(out, 2);
        put_bytes(out, previous);
        put_uint(out, 3);
        put_bytes(out, self.entry.as_bytes());
        put_uint(out, 4);
        put_uint(out, time);
        put_uint(out, 5);
        put_uint(out, u64::from(self.event.number()));
        put_uint(out, 6);
        put_uint(out, u64::from(self.outcome.number()));
        put_uint(out, 7);
        put_uint(out, u64::from(self.event.class().number()));
        put_uint(out, 8);
        put_head(out, Kind::Array, length(self.parts.len()));
        for part in &self.parts {
            put_head(out, Kind::Array, 4);
            put_uint(out, u64::from(part.role.number()));
            put_bytes(out, &part.tag);
            put_bytes(out, &part.commitment);
            put_bytes(out, part.sealed_hash.as_ref().map_or(&[], Hash::as_slice));
        }
        put_uint(out, 9);
        self.facts.encode(out);
    }

    /// Length of the leaf at the highest position and time.
    fn longest(&self) -> usize {
        // Only the facts can be long: four parts of at most 88 bytes and the eight other keys stay
        // below 500. Encoding is spared on the hot path, where leaves have no facts.
        if self.facts.is_empty() {
            return 0;
        }
        let mut out = Vec::with_capacity(512);
        self.encode(u64::MAX, &NO_PREVIOUS, u64::MAX, &mut out);
        out.len()
    }
}

/// The hash of a leaf's bytes in the tree (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash_leaf(leaf)
}
