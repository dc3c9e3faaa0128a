//! Rights messages: what a recipient is asked when a person withdraws, objects, restricts or is
//! erased, and what its answer means (GDPR Art. 19; `subject-requests.md` §12.1–12.2). Pure.
//!
//! A recipient's word is taken only as a *result* that repeats our nonce. A bare 200, an empty page
//! or "not found" never ends a task: the first waits, the last is asked again with the verb that
//! looks for the person.

mod answer;
mod body;

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use super::Cause;
use crate::domain::id::{FieldPath, InstallationId, PurposeId, TaskId};
use crate::domain::personal::Personal;

pub use answer::{outcome_of_reply, outcome_of_result, read_result};
pub use body::rights_body;

/// What a recipient is asked to do. Each recipient declares the verbs it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Take corrected values.
    Deliver,
    /// Stop using the data, or (with `on: false`) go on.
    Suppress,
    /// Erase the person.
    Erase,
    /// Look whether the person is still there.
    VerifyErased,
    /// Send what is held.
    Access,
}

/// What happened to the person; it gives the message its type and its verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsEvent {
    /// Art. 7(3).
    ConsentWithdrawn,
    /// Art. 17, or the end of retention.
    Erased,
    /// Art. 18(1).
    Restricted,
    /// Art. 18(3).
    Unrestricted,
    /// Art. 21.
    Objected,
    /// Art. 16.
    Rectified,
    /// After an erasure: is the person still there?
    VerifyErased,
    /// Art. 15, a processor's copy.
    Access,
}

/// Why, as the recipient is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsCause {
    /// Art. 7(3).
    Withdrawal,
    /// Art. 21.
    Objection,
    /// Art. 18.
    Restriction,
    /// Art. 16.
    Rectification,
    /// Art. 17.
    Erasure,
    /// The purpose's retention is over.
    Retention,
    /// Art. 15.
    Access,
}

/// The secret of one attempt: whoever answers for the recipient has read the message. New for each
/// attempt, used once.
#[derive(Clone)]
pub struct Nonce([u8; 32]);

/// The part of a rights message that its answer is judged by.
#[derive(Clone)]
pub struct RightsCall {
    /// The task.
    pub task: TaskId,
    /// What is asked.
    pub verb: Verb,
    /// This attempt's nonce.
    pub nonce: Nonce,
    /// Whether the recipient can be asked to look again.
    pub can_verify: bool,
    /// How often in a row the address answered 404 or 405 before this attempt.
    pub address_missing: u32,
}

/// A rights message before it is written.
pub struct RightsMessage<'a> {
    /// The message's id.
    pub message_id: &'a str,
    /// When it was made.
    pub timestamp: Timestamp,
    /// Who sends (CloudEvents' `source`).
    pub installation: InstallationId,
    /// What happened.
    pub event: RightsEvent,
    /// Why.
    pub cause: RightsCause,
    /// The task.
    pub task: TaskId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// This attempt's nonce.
    pub nonce: &'a Nonce,
    /// Kind and value of everything by which the recipient may know the person: its own pseudonym,
    /// and what it was given before.
    pub identifiers: &'a [(&'a str, &'a str)],
    /// The purposes concerned; `None`: all.
    pub purposes: Option<&'a [PurposeId]>,
    /// Corrected values, field and JSON text ([`RightsEvent::Rectified`]).
    pub fields: Option<&'a [(&'a FieldPath, &'a str)]>,
    /// Where the recipient's last answer broke off.
    pub cursor: Option<&'a str>,
    /// When the answer is due.
    pub answer_by: Timestamp,
}

/// A recipient's result, in the reply or later at `/v1/tasks/{task}/acknowledgements`. Its texts are
/// the recipient's and may name the person, so it has no `Debug`.
#[derive(Clone)]
pub struct RightsResult {
    /// What it says it did.
    pub result: ResultKind,
    /// How many records it removed.
    pub removed: Option<u64>,
    /// What it kept.
    pub retained: Vec<Retained>,
    /// Its remarks.
    pub messages: Vec<String>,
    /// Where to go on.
    pub cursor: Option<String>,
    /// Whether this was all.
    pub done: bool,
    /// What it holds ([`Verb::Access`]): a JSON array's text.
    pub records: Option<std::sync::Arc<Personal<String>>>,
}

/// The closed list of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    /// Carried out.
    Done,
    /// The result will come to the acknowledgements' address.
    Accepted,
    /// Nobody by these identifiers.
    NotFound,
    /// Kept, with a ground and an end.
    Retained,
    /// Looked for and not there.
    Absent,
    /// Looked for and still there.
    Present,
    /// It does not know the verb.
    Unsupported,
    /// It will not.
    Rejected,
}

/// Something a recipient keeps after an erasure.
#[derive(Clone, PartialEq, Eq)]
pub struct Retained {
    /// What, in its words.
    pub what: String,
    /// The ground, `17(3)(b)`.
    pub ground: String,
    /// Its end: an RFC 3339 date or time, as written.
    pub until: String,
}

/// What an answer does to the task.
#[derive(Clone)]
pub enum RightsOutcome {
    /// Confirmed with our nonce (verbs other than erase): `acknowledged`.
    Acknowledged(Box<RightsResult>),
    /// `erase` was carried out. Not terminal: the next step is `verify_erased`, where the recipient
    /// knows it.
    Erased(Box<RightsResult>),
    /// Nobody was found. Never done: the next step is `verify_erased` with every identifier.
    NotFound,
    /// Absence was read back: `verified_erased` after an erasure that found somebody, otherwise
    /// `verified_no_data`; after the last planned look.
    Absent,
    /// The person is still there: the erasure is reopened, and there is an alarm.
    Present,
    /// `retained_with_ground`.
    Retained(Box<RightsResult>),
    /// There is more: store the progress and call again with its cursor (1,000 pages at most).
    More(Box<RightsResult>),
    /// `pending`: ask again, or wait for the acknowledgement until `answer_by`.
    Pending(PendingReason),
    /// `capability_unresolved`: an officer finds evidence or proposes a waiver.
    CapabilityUnresolved {
        /// Why.
        cause: Cause,
    },
    /// `failed`: an officer task.
    Failed {
        /// Why.
        cause: Cause,
    },
}

/// Why a task still waits after a success of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingReason {
    /// The recipient will answer later.
    Accepted,
    /// There was no result in the reply, or none that can be read.
    NoResult,
    /// A result for another task or with another nonce; counted, and not believed.
    WrongNonce,
    /// 409: it is busy with the same task.
    Conflict,
    /// Written to the recipient's folder; the recipient acknowledges when it has acted.
    Written,
}

impl Nonce {
    /// The nonce with these fresh random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its text in messages: base64url without padding.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Whether the text is this nonce, compared in constant time.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|bytes| bool::from(bytes.as_slice().ct_eq(self.0.as_slice())))
    }
}

impl Verb {
    /// The spelling in policies and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Suppress => "suppress",
            Self::Erase => "erase",
            Self::VerifyErased => "verify_erased",
            Self::Access => "access",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "deliver" => Self::Deliver,
            "suppress" => Self::Suppress,
            "erase" => Self::Erase,
            "verify_erased" => Self::VerifyErased,
            "access" => Self::Access,
            _ => return None,
        })
    }
}

impl RightsEvent {
    /// The message's type.
    #[must_use]
    pub const fn message_type(self) -> &'static str {
        match self {
            Self::ConsentWithdrawn => "amanat.consent.withdrawn",
            Self::Erased => "amanat.subject.erased",
            Self::Restricted => "amanat.subject.restricted",
            Self::Unrestricted => "amanat.subject.unrestricted",
            Self::Objected => "amanat.subject.objected",
            Self::Rectified => "amanat.subject.rectified",
            Self::VerifyErased => "amanat.subject.verify_erased",
            Self::Access => "amanat.subject.access",
        }
    }

    /// The verb it asks for.
    #[must_use]
    pub const fn verb(self) -> Verb {
        match self {
            Self::ConsentWithdrawn | Self::Restricted | Self::Unrestricted | Self::Objected => Verb::Suppress,
            Self::Erased => Verb::Erase,
            Self::Rectified => Verb::Deliver,
            Self::VerifyErased => Verb::VerifyErased,
            Self::Access => Verb::Access,
        }
    }
}

impl RightsCause {
    /// The spelling in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawal => "withdrawal",
            Self::Objection => "objection",
            Self::Restriction => "restriction",
            Self::Rectification => "rectification",
            Self::Erasure => "erasure",
            Self::Retention => "retention",
            Self::Access => "access",
        }
    }
}

impl fmt::Debug for RightsOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged(_) => f.write_str("Acknowledged"),
            Self::Erased(_) => f.write_str("Erased"),
            Self::NotFound => f.write_str("NotFound"),
            Self::Absent => f.write_str("Absent"),
            Self::Present => f.write_str("Present"),
            Self::Retained(_) => f.write_str("Retained"),
            Self::More(_) => f.write_str("More"),
            Self::Pending(reason) => write!(f, "Pending({reason:?})"),
            Self::CapabilityUnresolved { cause } => write!(f, "CapabilityUnresolved({cause:?})"),
            Self::Failed { cause } => write!(f, "Failed({cause:?})"),
        }
    }
}
