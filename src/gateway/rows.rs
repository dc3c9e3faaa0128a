//! The canonical content of rows: what leaves hash and MACs cover.
//!
//! One encoding for both: the members in the order of the table, each with its length (u32,
//! big-endian) before it, so that no two rows encode alike.

use crate::audit::payload::{Row, Value};
use crate::crypto::mac::{RecordKind, hash};
use crate::domain::consent::Scope;
use crate::domain::id::{Channel, EntryId, PurposeId, SubjectId};
use crate::storage::Micros;
use crate::storage::consents::{NewLine, StoredEvent, kind_code, proof_code};
use crate::storage::deliveries::{NewDelivery, StoredDelivery};
use crate::storage::identities::{LinkProof, NewIdentifier, StoredIdentifier};
use crate::storage::records::{self, NewRecord};
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

/// What a record holds, as its hash covers it.
pub struct RecordContent<'a> {
    /// Whose it is.
    pub subject: SubjectId,
    /// Who brought it.
    pub collector: &'a str,
    /// What kind of event it was.
    pub kind: &'a str,
    /// When it happened.
    pub occurred_at: Micros,
    /// When it was received.
    pub collected_at: Micros,
    /// The policy it was decided under.
    pub policy: &'a [u8],
    /// The fields that are not personal.
    pub plain: &'a str,
    /// The personal fields, sealed.
    pub sealed: &'a [u8],
}

impl<'a> From<&'a NewRecord> for RecordContent<'a> {
    fn from(row: &'a NewRecord) -> Self {
        Self {
            subject: row.subject,
            collector: row.collector.as_str(),
            kind: row.kind,
            occurred_at: row.occurred_at,
            collected_at: row.collected_at,
            policy: &row.policy.0,
            plain: &row.plain,
            sealed: row.sealed.as_bytes(),
        }
    }
}

impl<'a> From<&'a records::RecordContent> for RecordContent<'a> {
    fn from(row: &'a records::RecordContent) -> Self {
        Self {
            subject: row.record.subject,
            collector: row.record.collector.as_str(),
            kind: &row.record.kind,
            occurred_at: row.record.occurred_at,
            collected_at: row.record.collected_at,
            policy: &row.policy,
            plain: &row.record.plain,
            sealed: &row.record.sealed,
        }
    }
}

/// SHA-256 of a record's canonical content. `device` is `None`: a record outlives the device it came
/// from, so the device has a [mark](device_mark) of its own. Older leaves cover it here.
#[must_use]
pub fn record_hash(row: &RecordContent<'_>, device: Option<SubjectId>) -> [u8; 32] {
    let canonical = Canonical::new()
        .put(row.subject.as_bytes())
        .put(device.as_ref().map_or(&[][..], |device| &device.as_bytes()[..]))
        .put(row.collector.as_bytes())
        .put(row.kind.as_bytes())
        .put(&row.occurred_at.0.to_be_bytes())
        .put(&row.collected_at.0.to_be_bytes())
        .put(row.policy)
        .put(row.plain.as_bytes())
        .put(row.sealed);
    hash(&canonical.0)
}

/// What the leaf of a unit says of the device its records came from: empty if there was none. Bound to
/// the entry, so that the leaves of two people at one device do not show that it is one.
#[must_use]
pub fn device_mark(entry: EntryId, device: Option<SubjectId>) -> Vec<u8> {
    device
        .map_or_else(Vec::new, |device| hash(&Canonical::new().put(entry.as_bytes()).put(device.as_bytes()).0).to_vec())
}

/// SHA-256 of an identifier's canonical content; older leaves cover its blind index value instead.
#[must_use]
pub fn identifier_hash(row: &StoredIdentifier, proof: LinkProof) -> [u8; 32] {
    let canonical = Canonical::new()
        .put(row.subject.as_bytes())
        .put(row.kind.as_bytes())
        .put(row.namespace.as_bytes())
        .put(&row.sealed)
        .put(&proof.code().to_be_bytes())
        .put(&row.added_at.0.to_be_bytes());
    hash(&canonical.0)
}

/// What the leaf of a new identifier says of its row.
#[must_use]
pub fn identifier_row(new: &NewIdentifier) -> Row {
    let stored = StoredIdentifier {
        id: new.id,
        subject: new.subject,
        kind: new.kind.clone(),
        namespace: new.namespace.clone(),
        sealed: new.sealed.as_bytes().to_vec(),
        added_at: new.added_at,
    };
    Row { kind: "identifier", id: *new.id.as_bytes(), content_hash: identifier_hash(&stored, new.proof) }
}

/// SHA-256 of the canonical content of a consent line: what its events are about.
#[must_use]
pub fn line_hash(subject: SubjectId, purpose: &PurposeId, channel: Option<&Channel>, scope: Scope) -> [u8; 32] {
    let canonical = Canonical::new()
        .put(subject.as_bytes())
        .put(purpose.as_str().as_bytes())
        .put(channel.map_or("", Channel::as_str).as_bytes())
        .put(scope.as_str().as_bytes());
    hash(&canonical.0)
}

/// What the leaf of a choice says of the line that it opens.
#[must_use]
pub fn line_row(line: &NewLine) -> Row {
    let content_hash = line_hash(line.subject, &line.purpose, line.channel.as_ref(), line.scope);
    Row { kind: "consent_line", id: *line.id.as_bytes(), content_hash }
}

/// What the leaf of a choice says of the line it was made on: its scope, and its channel if it has one.
#[must_use]
pub fn line_members(channel: Option<&Channel>, scope: Scope) -> Vec<(&'static str, Value)> {
    let mut members = vec![("scope", Value::from(scope.as_str()))];
    members.extend(channel.map(|channel| ("channel", Value::from(channel.as_str()))));
    members
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
pub fn delivery_hash(row: &NewDelivery) -> [u8; 32] {
    let canonical = Canonical::new()
        .put(row.recipient.as_str().as_bytes())
        .put(row.purpose.as_str().as_bytes())
        .put(row.subject.as_bytes())
        .put(row.record.as_bytes())
        .put(&row.message);
    hash(&canonical.0)
}

/// A stored promise as it was made.
#[must_use]
pub fn promised(row: &StoredDelivery) -> NewDelivery {
    NewDelivery {
        id: row.id,
        recipient: row.recipient.clone(),
        purpose: row.purpose.clone(),
        subject: row.subject,
        record: row.record,
        message: row.message,
        created_at: row.created_at,
        entry: EntryId::from_bytes([0; 16]),
    }
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
