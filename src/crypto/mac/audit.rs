//! Tags and commitments of the parts of audit leaves: what can be checked without any cipher.
//!
//! `audit` uses this to recompute a commitment from an opened part; sealing and opening parts is
//! `crypto::audit_seal`.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Context, derive, equal, mac};
use crate::crypto::key::{KEY_LENGTH, Key};
use crate::domain::id::EntryId;

/// Where a part of a leaf belongs. `seq` is not part of it: sealing happens before the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPlace<'a> {
    /// 1 subject, 2 officer, 3 installation, 4 receipt.
    pub role: u8,
    /// The leaf's random id.
    pub entry: EntryId,
    /// Number of the event.
    pub event: u16,
    /// Retention class of the event.
    pub class: u8,
    /// Origin of the log.
    pub origin: &'a str,
}

/// `K_commit` of one entry and role. It may be shown with an opened part: it opens nothing else.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct CommitmentKey(Key);

impl CommitmentKey {
    /// Derives the key of one part from the audit key of its holder.
    #[must_use]
    pub fn derive(audit_key: &Key, role: u8, entry: EntryId) -> Self {
        Self(derive(audit_key, &Context::AuditCommitmentKey { role, entry }))
    }

    /// The key shown in an opened part.
    #[must_use]
    pub fn from_shown(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(Key::filled(|key| *key = bytes))
    }

    /// The bytes to show in an opened part.
    #[must_use]
    pub fn to_shown(&self) -> [u8; KEY_LENGTH] {
        *self.0.bytes()
    }

    /// The commitment to a plaintext (payload with its padding) in its place.
    #[must_use]
    pub fn commitment(&self, place: &AuditPlace<'_>, plaintext: &[u8]) -> [u8; 32] {
        mac(&self.0, &Context::AuditCommitment { place: *place, plaintext })
    }

    /// Whether a leaf's commitment is the one of this plaintext.
    #[must_use]
    pub fn commits(&self, place: &AuditPlace<'_>, plaintext: &[u8], commitment: &[u8; 32]) -> bool {
        equal(&self.commitment(place, plaintext), commitment)
    }
}

/// `K_tag` of one audit key: whoever has it finds all leaves of that person.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TagKey(Key);

impl TagKey {
    /// Derives the tag key of an audit key.
    #[must_use]
    pub fn derive(audit_key: &Key) -> Self {
        Self(derive(audit_key, &Context::AuditTagKey))
    }

    /// The key shown in a bundle.
    #[must_use]
    pub fn from_shown(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(Key::filled(|key| *key = bytes))
    }

    /// The bytes to show to the person the leaves are about.
    #[must_use]
    pub fn to_shown(&self) -> [u8; KEY_LENGTH] {
        *self.0.bytes()
    }

    /// The tag of one part: the first 16 bytes of the MAC.
    #[must_use]
    pub fn tag(&self, role: u8, entry: EntryId) -> [u8; 16] {
        super::first_sixteen(&mac(&self.0, &Context::AuditTag { role, entry }))
    }
}
