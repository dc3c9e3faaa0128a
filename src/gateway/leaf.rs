//! Making leaves: seal the payload of each part, commit to it, draft the leaf.

use crate::audit::leaf::{Draft, Fact, Facts, Part};
use crate::audit::payload::Payload;
use crate::crypto::audit_seal::AuditKey;
use crate::crypto::mac::audit::AuditPlace;
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::EntryId;
use crate::storage::{self, Id16, LeafRow, SealedPart};

use super::source::Source;
use super::{Error, Result};

/// An audit key with the id under which the key store holds it.
pub struct HeldAuditKey {
    /// Its id.
    pub id: Id16,
    /// The key.
    pub key: AuditKey,
}

/// Puts facts into the only leaf of a change that are known in its commit alone.
pub(super) fn amend(leaves: &mut [LeafRow], facts: Vec<Fact>) -> storage::Result<()> {
    let [leaf] = leaves else { return Err(storage::Error::Refused("a change with these facts has one leaf")) };
    let refused = storage::Error::Refused("the leaf cannot hold these facts");
    leaf.draft.amend(Facts::new(facts)).map_err(|_| refused)
}

/// A leaf in the making.
pub struct LeafBuilder<'a> {
    origin: &'a str,
    entry: EntryId,
    event: Event,
    outcome: Outcome,
    parts: Vec<Part>,
    facts: Vec<Fact>,
    sealed: Vec<SealedPart>,
}

impl<'a> LeafBuilder<'a> {
    /// Begins the leaf of an event in the log of this origin.
    #[must_use]
    pub const fn new(origin: &'a str, entry: EntryId, event: Event, outcome: Outcome) -> Self {
        Self { origin, entry, event, outcome, parts: Vec::new(), facts: Vec::new(), sealed: Vec::new() }
    }

    /// Adds a part, sealed under the key of its holder.
    ///
    /// # Errors
    /// [`Error::Protection`] when the payload is too large or no randomness comes.
    pub fn part(mut self, source: &Source, role: Role, key: &HeldAuditKey, payload: &Payload) -> Result<Self> {
        let place = AuditPlace {
            role: role.number(),
            entry: self.entry,
            event: self.event.number(),
            class: self.event.class().number(),
            origin: self.origin,
        };
        let nonce = source.random().map_err(Error::Protection)?;
        let sealed = key.key.seal(&place, &payload.encode(), &nonce).map_err(Error::Protection)?;
        self.parts.push(Part {
            role,
            tag: sealed.tag,
            commitment: sealed.commitment,
            sealed_hash: Some(sealed.sealed_hash),
        });
        self.sealed.push(SealedPart {
            role: role.number(),
            holder: key.id,
            class: self.event.class().number(),
            sealed: sealed.sealed,
        });
        Ok(self)
    }

    /// Adds a part that is given to a person and not kept.
    #[must_use]
    pub fn receipt_part(mut self, tag: [u8; 16], commitment: [u8; 32]) -> Self {
        self.parts.push(Part { role: Role::Receipt, tag, commitment, sealed_hash: None });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }

    /// The finished leaf.
    ///
    /// # Errors
    /// [`Error::Leaf`] when parts, facts or outcome are not those of the event.
    pub fn finish(self) -> Result<LeafRow> {
        let draft = Draft::new(self.entry, self.event, self.outcome, self.parts, Facts::new(self.facts))
            .map_err(Error::Leaf)?;
        Ok(LeafRow { draft, sealed: self.sealed })
    }
}
