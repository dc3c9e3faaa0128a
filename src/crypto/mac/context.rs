//! The closed list of labels and, for each, its components: the table of `cryptography.md` §3.

use super::audit::AuditPlace;
use super::component::{KeyPurpose, Owner, RecordKind, RowId};
use crate::domain::id::{EntryId, FileId, InstallationId, SubjectId};

/// One label with exactly its components.
///
/// A label never changes its meaning; a new meaning gets `/v2` and a variant of its own.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the fields are the components the table names; each type says the rest")]
pub enum Context<'a> {
    /// Recognises the KEK of a key store.
    KekCommitment,
    /// The AES key of a KEK that wraps.
    WrapKey,
    /// Place of a KEK that a key service seals.
    Kek { installation: InstallationId, kek_version: u32 },
    /// Place of a wrapped key.
    Wrap {
        installation: InstallationId,
        purpose: KeyPurpose,
        /// `None`: a service secret.
        owner: Option<Owner>,
        version: u32,
        kek_version: u32,
        commitment: &'a [u8; 32],
    },
    /// Commitment and fingerprint of a wrapped key.
    KeyCommitment,
    /// AES key of one record.
    RecordKey { kind: RecordKind, record: RowId },
    /// Commitment of one record.
    RecordCommitment { kind: RecordKind, record: RowId },
    /// Place of one field.
    Field {
        installation: InstallationId,
        owner: Owner,
        kind: RecordKind,
        record: RowId,
        field: &'a str,
        category: &'a str,
        version: u32,
        commitment: &'a [u8; 32],
    },
    /// Key of one sealed file.
    FileKey { file: FileId },
    /// Place of one sealed file.
    File { installation: InstallationId, owner: Owner, kind: RecordKind, version: u32, file: FileId },
    /// Place of a backup part.
    Backup { installation: InstallationId, purpose: KeyPurpose, backup: FileId },
    /// A person's name for one recipient.
    Pseudonym { subject: SubjectId, version: u32, recipient: &'a str },
    /// MAC of a state row that allows something.
    RowMac { kind: RecordKind, record: RowId, row: &'a [u8] },
    /// Key that seals one part of a leaf.
    AuditSealKey { role: u8, entry: EntryId },
    /// Key that commits to one part of a leaf.
    AuditCommitmentKey { role: u8, entry: EntryId },
    /// Key of all tags of one audit key.
    AuditTagKey,
    /// Place of a sealed part.
    AuditSeal { place: AuditPlace<'a> },
    /// Tag of a part.
    AuditTag { role: u8, entry: EntryId },
    /// Commitment of a part.
    AuditCommitment { place: AuditPlace<'a>, plaintext: &'a [u8] },
    /// Key of one index: kind and namespace.
    BlindIndexKey { kind: &'a str, namespace: &'a str },
    /// Index value.
    BlindIndex { value: &'a [u8] },
    /// Key of suppression entries of one kind and namespace.
    SuppressionKey { kind: &'a str, namespace: &'a str },
    /// Suppression entry.
    Suppression { value: &'a [u8] },
    /// Key that wraps older suppression entries once more.
    SuppressionLayerKey,
    /// Re-keyed suppression entry.
    SuppressionLayer { entry: &'a [u8; 32] },
    /// Key of late-event marks of one kind and namespace.
    LateEventKey { kind: &'a str, namespace: &'a str },
    /// Late-event mark.
    LateEvent { value: &'a [u8] },
    /// Key of stored token hashes.
    TokenKey,
    /// Stored hash of a token text.
    Token { text: &'a [u8] },
    /// MAC of a token's row.
    TokenRow { record: RowId, row: &'a [u8] },
    /// Stored hash of a one-time code.
    OneTimeCode { challenge: RowId, code: &'a [u8] },
    /// Stored hash of a recovery code.
    RecoveryCode { officer: RowId, code: &'a [u8] },
    /// Key of duplicate marks.
    DuplicateKey,
    /// Mark of an event already seen. Collector and caller share one component, so the
    /// collector's length stands before it.
    Duplicate { collector: &'a str, caller: &'a str, value: &'a [u8] },
    /// Chain of the journal.
    Journal { before: &'a [u8; 32], line: &'a [u8] },
}

impl Context<'_> {
    /// The label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::KekCommitment => "amanat/kek-commitment/v1",
            Self::WrapKey => "amanat/wrap-key/v1",
            Self::Kek { .. } => "amanat/kek/v1",
            Self::Wrap { .. } => "amanat/wrap/v1",
            Self::KeyCommitment => "amanat/key-commitment/v1",
            Self::RecordKey { .. } => "amanat/record-key/v1",
            Self::RecordCommitment { .. } => "amanat/record-commitment/v1",
            Self::Field { .. } => "amanat/field/v1",
            Self::FileKey { .. } => "amanat/file-key/v1",
            Self::File { .. } => "amanat/file/v1",
            Self::Backup { .. } => "amanat/backup/v1",
            Self::Pseudonym { .. } => "amanat/pseudonym/v1",
            Self::RowMac { .. } => "amanat/row-mac/v1",
            Self::AuditSealKey { .. } => "amanat/audit-seal-key/v1",
            Self::AuditCommitmentKey { .. } => "amanat/audit-commitment-key/v1",
            Self::AuditTagKey => "amanat/audit-tag-key/v1",
            Self::AuditSeal { .. } => "amanat/audit-seal/v1",
            Self::AuditTag { .. } => "amanat/audit-tag/v1",
            Self::AuditCommitment { .. } => "amanat/audit-commitment/v1",
            Self::BlindIndexKey { .. } => "amanat/blind-index-key/v1",
            Self::BlindIndex { .. } => "amanat/blind-index/v1",
            Self::SuppressionKey { .. } => "amanat/suppression-key/v1",
            Self::Suppression { .. } => "amanat/suppression/v1",
            Self::SuppressionLayerKey => "amanat/suppression-layer-key/v1",
            Self::SuppressionLayer { .. } => "amanat/suppression-layer/v1",
            Self::LateEventKey { .. } => "amanat/late-event-key/v1",
            Self::LateEvent { .. } => "amanat/late-event/v1",
            Self::TokenKey => "amanat/token-key/v1",
            Self::Token { .. } => "amanat/token/v1",
            Self::TokenRow { .. } => "amanat/token-row/v1",
            Self::OneTimeCode { .. } => "amanat/one-time-code/v1",
            Self::RecoveryCode { .. } => "amanat/recovery-code/v1",
            Self::DuplicateKey => "amanat/duplicate-key/v1",
            Self::Duplicate { .. } => "amanat/duplicate/v1",
            Self::Journal { .. } => "amanat/journal/v1",
        }
    }

    /// `C(label, …)` as bytes: an AAD, or the context of a sealed file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        self.encode(&mut |part| bytes.extend_from_slice(part));
        bytes
    }

    /// Writes `C(label, …)` piece by piece.
    pub(super) fn encode(&self, write: &mut dyn FnMut(&[u8])) {
        write(self.label().as_bytes());
        write(&[0]);
        let mut put = |tag: Tag, bytes: &[u8]| {
            write(&[tag.byte()]);
            write(&length(bytes).to_be_bytes());
            write(bytes);
        };
        match *self {
            Self::KekCommitment
            | Self::WrapKey
            | Self::KeyCommitment
            | Self::AuditTagKey
            | Self::SuppressionLayerKey
            | Self::TokenKey
            | Self::DuplicateKey => {}
            Self::Kek { installation, kek_version } => {
                put(Tag::Installation, installation.as_bytes());
                put(Tag::KekVersion, &kek_version.to_be_bytes());
            }
            Self::Wrap { installation, purpose, owner, version, kek_version, commitment } => {
                put(Tag::Installation, installation.as_bytes());
                put(Tag::Purpose, purpose.as_str().as_bytes());
                put(Tag::Subject, owner.as_ref().map_or(&[], |owner| owner.as_bytes().as_slice()));
                put(Tag::Version, &version.to_be_bytes());
                put(Tag::KekVersion, &kek_version.to_be_bytes());
                put(Tag::Format, &[FORMAT]);
                put(Tag::Commitment, commitment);
            }
            Self::RecordKey { kind, record } | Self::RecordCommitment { kind, record } => {
                put(Tag::Kind, kind.as_str().as_bytes());
                put(Tag::Record, record.as_bytes());
            }
            Self::Field { installation, owner, kind, record, field, category, version, commitment } => {
                put(Tag::Installation, installation.as_bytes());
                put(Tag::Subject, owner.as_bytes());
                put(Tag::Kind, kind.as_str().as_bytes());
                put(Tag::Record, record.as_bytes());
                put(Tag::Field, field.as_bytes());
                put(Tag::Category, category.as_bytes());
                put(Tag::Version, &version.to_be_bytes());
                put(Tag::Format, &[FORMAT]);
                put(Tag::Commitment, commitment);
            }
            Self::FileKey { file } => put(Tag::File, file.as_bytes()),
            Self::File { installation, owner, kind, version, file } => {
                put(Tag::Installation, installation.as_bytes());
                put(Tag::Subject, owner.as_bytes());
                put(Tag::Kind, kind.as_str().as_bytes());
                put(Tag::Version, &version.to_be_bytes());
                put(Tag::Format, &[FORMAT]);
                put(Tag::File, file.as_bytes());
            }
            Self::Backup { installation, purpose, backup } => {
                put(Tag::Installation, installation.as_bytes());
                put(Tag::Purpose, purpose.as_str().as_bytes());
                put(Tag::Format, &[FORMAT]);
                put(Tag::File, backup.as_bytes());
            }
            Self::Pseudonym { subject, version, recipient } => {
                put(Tag::Subject, subject.as_bytes());
                put(Tag::Version, &version.to_be_bytes());
                put(Tag::Recipient, recipient.as_bytes());
            }
            Self::RowMac { kind, record, row } => {
                put(Tag::Kind, kind.as_str().as_bytes());
                put(Tag::Record, record.as_bytes());
                put(Tag::Value, row);
            }
            Self::AuditSealKey { role, entry }
            | Self::AuditCommitmentKey { role, entry }
            | Self::AuditTag { role, entry } => {
                put(Tag::Kind, &[role]);
                put(Tag::Record, entry.as_bytes());
            }
            Self::AuditSeal { place } => put_place(&place, &mut put),
            Self::AuditCommitment { place, plaintext } => {
                put_place(&place, &mut put);
                put(Tag::Value, plaintext);
            }
            Self::BlindIndexKey { kind, namespace }
            | Self::SuppressionKey { kind, namespace }
            | Self::LateEventKey { kind, namespace } => {
                put(Tag::IdentifierKind, kind.as_bytes());
                put(Tag::Namespace, namespace.as_bytes());
            }
            Self::BlindIndex { value } | Self::Suppression { value } | Self::LateEvent { value } => {
                put(Tag::Value, value);
            }
            Self::SuppressionLayer { entry } => put(Tag::Value, entry),
            Self::Token { text } => put(Tag::Value, text),
            Self::TokenRow { record, row } => {
                put(Tag::Record, record.as_bytes());
                put(Tag::Value, row);
            }
            Self::OneTimeCode { challenge: row, code } | Self::RecoveryCode { officer: row, code } => {
                put(Tag::Record, row.as_bytes());
                put(Tag::Value, code);
            }
            Self::Duplicate { collector, caller, value } => {
                let mut both = Vec::with_capacity(4 + collector.len() + caller.len());
                both.extend_from_slice(&length(collector.as_bytes()).to_be_bytes());
                both.extend_from_slice(collector.as_bytes());
                both.extend_from_slice(caller.as_bytes());
                put(Tag::Namespace, &both);
                put(Tag::Value, value);
            }
            Self::Journal { before, line } => {
                put(Tag::Commitment, before);
                put(Tag::Value, line);
            }
        }
    }
}

/// The place of an audit part; here tags 04–07 and 0e have the log's own meanings.
fn put_place(place: &AuditPlace<'_>, put: &mut dyn FnMut(Tag, &[u8])) {
    put(Tag::Kind, &[place.role]);
    put(Tag::Record, place.entry.as_bytes());
    put(Tag::Field, &place.event.to_be_bytes());
    put(Tag::Category, &[place.class]);
    put(Tag::Namespace, place.origin.as_bytes());
}

/// Format version of everything written today.
const FORMAT: u8 = 1;

/// Lengths are limited to 1 MiB long before they come here, so saturation cannot be reached.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The tags of components; the order of the variants is the order on the wire.
#[derive(Clone, Copy)]
enum Tag {
    Installation,
    Purpose,
    Subject,
    Kind,
    Record,
    Field,
    Category,
    Version,
    KekVersion,
    Format,
    Commitment,
    Recipient,
    IdentifierKind,
    Namespace,
    Value,
    File,
}

impl Tag {
    const fn byte(self) -> u8 {
        match self {
            Self::Installation => 0x01,
            Self::Purpose => 0x02,
            Self::Subject => 0x03,
            Self::Kind => 0x04,
            Self::Record => 0x05,
            Self::Field => 0x06,
            Self::Category => 0x07,
            Self::Version => 0x08,
            Self::KekVersion => 0x09,
            Self::Format => 0x0a,
            Self::Commitment => 0x0b,
            Self::Recipient => 0x0c,
            Self::IdentifierKind => 0x0d,
            Self::Namespace => 0x0e,
            Self::Value => 0x0f,
            Self::File => 0x11,
        }
    }
}
