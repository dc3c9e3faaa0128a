//! The canonical content of rows: what leaves hash and MACs cover.
//!
//! One encoding for both: the members in the order of the table, each with its length (u32,
//! big-endian) before it, so that no two rows encode alike.

use crate::crypto::mac::{RecordKind, hash};
use crate::storage::consents::{StoredEvent, kind_code, proof_code};
use crate::storage::records::NewRecord;
use crate::storage::tokens::StoredToken;

/// Kind of a sealed record of collected fields.
pub const RECORD: RecordKind = RecordKind::new("record");
/// Kind of a sealed identifier.
pub const IDENTIFIER: RecordKind = RecordKind::new("identifier");
/// Kind of a consent event.
pub const CONSENT_EVENT: RecordKind = RecordKind::new("consent_event");
/// Kind of the contents of a case.
pub const CASE: RecordKind = RecordKind::new("case");
/// Kind of what a task holds.
pub const TASK: RecordKind = RecordKind::new("task");
/// Kind of an access package.
pub const ACCESS_PACKAGE: RecordKind = RecordKind::new("access-package");
/// Kind of what an erasure keeps for its receipt.
pub const ERASURE: RecordKind = RecordKind::new("erasure");

struct Canonical(Vec<u8>);

impl Canonical {
    fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }
}

/// SHA-256 of a record's canonical content.
#[must_use]
pub fn record_hash(row: &NewRecord) -> [u8; 32] {
    let canonical = Canonical::new()
        .put(row.subject.as_bytes())
        .put(row.device.as_ref().map_or(&[][..], |device| &device.as_bytes()[..]))
        .put(row.collector.as_str().as_bytes())
        .put(row.kind.as_bytes())
        .put(&row.occurred_at.0.to_be_bytes())
        .put(&row.collected_at.0.to_be_bytes())
        .put(&row.policy.0)
        .put(row.plain.as_bytes())
        .put(row.sealed.as_bytes());
    hash(&canonical.0)
}

/// The canonical content of a consent event, as its MAC and its leaf cover it.
#[must_use]
pub fn consent_event(row: &StoredEvent) -> Vec<u8> {
    let mut canonical = Canonical::new()
        .put(row.consent.as_bytes())
        .put(row.subject.as_bytes())
        .put(row.interaction.as_bytes())
        .put(&kind_code(row.kind).to_be_bytes())
        .put(&row.actor.code().to_be_bytes())
        .put(&proof_code(row.proof).to_be_bytes());
    canonical = match &row.notice {
        Some(notice) => canonical
            .put(notice.id.as_str().as_bytes())
            .put(&notice.version.to_be_bytes())
            .put(notice.language.as_bytes())
            .put(&notice.text_hash),
        None => canonical.put(&[]).put(&[]).put(&[]).put(&[]),
    };
    canonical
        .put(&row.policy.0)
        .put(&row.given_at.0.to_be_bytes())
        .put(&row.recorded_at.0.to_be_bytes())
        .put(&row.valid_until.map_or([0; 8], |until| until.0.to_be_bytes()))
        .put(&[u8::from(row.explicit)])
        .put(row.collector.as_str().as_bytes())
        .put(row.method.as_bytes())
        .put(row.entry.as_bytes())
        .0
}

/// The canonical content of a token's row, as its MAC covers it.
#[must_use]
pub fn token(row: &StoredToken) -> Vec<u8> {
    Canonical::new()
        .put(&row.hash)
        .put(&row.kind.code().to_be_bytes())
        .put(row.scopes.join(" ").as_bytes())
        .put(row.collector.as_ref().map_or(&[][..], |id| id.as_str().as_bytes()))
        .put(row.recipient.as_ref().map_or(&[][..], |id| id.as_str().as_bytes()))
        .put(&row.expires_at.map_or([0; 8], |at| at.0.to_be_bytes()))
        .0
}

/// SHA-256 of a promise's canonical content.
#[must_use]
pub fn delivery_hash(row: &crate::storage::deliveries::NewDelivery) -> [u8; 32] {
    let canonical = Canonical::new()
        .put(row.recipient.as_str().as_bytes())
        .put(row.purpose.as_str().as_bytes())
        .put(row.subject.as_bytes())
        .put(row.record.as_bytes())
        .put(&row.message);
    hash(&canonical.0)
}

/// SHA-256 of the canonical content of an entry in the ledger of disclosures.
#[must_use]
pub fn disclosure_hash(row: &crate::storage::disclosures::Disclosure) -> [u8; 32] {
    let mut canonical = Canonical::new()
        .put(row.subject.as_bytes())
        .put(row.recipient.as_str().as_bytes())
        .put(row.purpose.as_str().as_bytes())
        .put(row.safeguard.as_bytes())
        .put(row.record.as_ref().map_or(&[][..], |id| &id.as_bytes()[..]))
        .put(row.delivery.as_ref().map_or(&[][..], |id| &id.as_bytes()[..]))
        .put(&row.at.0.to_be_bytes());
    for field in &row.fields {
        canonical = canonical.put(field.as_str().as_bytes());
    }
    hash(&canonical.0)
}
