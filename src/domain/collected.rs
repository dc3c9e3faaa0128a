//! What a protocol adapter hands over: the first form of every record.

use jiff::Timestamp;
use uuid::Uuid;

use super::id::{FieldPath, PurposeId, RecipientId};
use super::identifier::IdentifierKind;
use super::personal::Personal;
use super::signal::Signal;

/// One event as it came in, protocol forgotten. Everything that may be personal is wrapped.
pub struct Collected {
    /// What it is.
    pub kind: CollectedKind,
    /// Position in the request, for the verdict.
    pub index: usize,
    /// The protocol's own message id, if it has one.
    pub message_id: Option<Personal<String>>,
    /// SHA-256 of the event without transport members (`sentAt`, `_metadata`, `writeKey`): the
    /// content part of the duplicate key.
    pub content_hash: [u8; 32],
    /// When it happened, already corrected for the client's clock and bounded by reception.
    pub occurred_at: Timestamp,
    /// Whether the protocol gave a time at all.
    pub has_time: bool,
    /// The identifiers it names, in the spelling they came in.
    pub identifiers: Vec<RawIdentifier>,
    /// An older identifier that the sender says is the same person (`alias`, `merge`).
    pub previous: Option<RawIdentifier>,
    /// Every leaf value: path as in `fields.toml`, and the JSON text exactly as received.
    pub values: Vec<(FieldPath, Personal<String>)>,
    /// Paths that the policy does not declare: their values were dropped, their names are reported.
    /// At most 64, and a part that may itself be personal reads `*`.
    pub undeclared: Vec<FieldPath>,
    /// What the event and its request say about consent.
    pub signals: Vec<Signal>,
    /// Recipients the sender excludes or selects.
    pub narrowing: Narrowing,
    /// Purposes it may serve at most (`consentpurposes`); `None`: all.
    pub purposes: Option<Vec<PurposeId>>,
    /// A consent record it refers to (`consentrecord`).
    pub consent_record: Option<Uuid>,
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectedKind {
    /// Facts about a person.
    Identify,
    /// Something a person did.
    Track,
    /// A page viewed.
    Page,
    /// A screen viewed.
    Screen,
    /// Membership in a group.
    Group,
    /// Two identifiers of one person.
    Alias,
    /// A consent choice and nothing else.
    ConsentPreference,
    /// Any other record.
    Record,
}

impl CollectedKind {
    /// The spelling in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Track => "track",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
            Self::ConsentPreference => "consent_preference",
            Self::Record => "record",
        }
    }
}

/// An identifier before it is normalised.
pub struct RawIdentifier {
    /// Its kind.
    pub kind: IdentifierKind,
    /// Its namespace; empty where none is named.
    pub namespace: String,
    /// The text as received.
    pub text: Personal<String>,
    /// JSON pointer to it, for a verdict.
    pub pointer: &'static str,
}

/// Which recipients the sender leaves in. It narrows and never widens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// If set, only these.
    pub only: Option<Vec<RecipientId>>,
    /// Never these.
    pub except: Vec<RecipientId>,
}

impl Narrowing {
    /// Whether the sender leaves this recipient in.
    #[must_use]
    pub fn admits(&self, recipient: &RecipientId) -> bool {
        !self.except.contains(recipient) && self.only.as_ref().is_none_or(|only| only.contains(recipient))
    }
}
