//! How to hand one parcel to one recipient, and what its answer means.
//!
//! This room knows nothing of our storage: it neither claims a promise nor settles one. It is told
//! what to send and until when, and says what became of it as data ([`Outcome`]); `gateway::dispatch`
//! decides before the call and writes the outcome after it. Retrying is not control flow here: nothing
//! in this room loops over a recipient.
//!
//! Deliberately absent: redirects, proxies, cookies, any reading of the environment, and the reply's
//! body of a delivery, which is thrown away unread because a recipient's error page may hold the very
//! data that was sent to it.

pub mod authority;
pub mod boot_clock;
pub mod breaker;
pub mod budget;
mod client;
pub mod file;
mod folder;
pub mod guard;
pub mod message;
mod network;
mod reply;
pub mod rights;
pub mod schedule;
pub mod signing;
#[cfg(test)]
mod tests;
pub mod webhook;
pub mod witness;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::domain::id::RecipientId;

use boot_clock::Deadline;
use file::FileSink;
use guard::Refused;
use message::MessageFormat;
use rights::{RightsCall, RightsOutcome};
use webhook::Webhook;

/// The way to one recipient.
pub enum Carrier {
    /// Standard Webhooks 1.0.0 over HTTPS.
    Webhook(Box<Webhook>),
    /// A folder of NDJSON files.
    File(FileSink),
}

impl Carrier {
    /// The form in which this recipient's messages must be written.
    #[must_use]
    pub fn format(&self) -> MessageFormat {
        match self {
            Self::Webhook(webhook) => webhook.format(),
            Self::File(_) => MessageFormat::Line,
        }
    }

    /// Makes one try to hand the parcel over and says what became of it. It never fails otherwise:
    /// every fault is an outcome.
    ///
    /// `now` is the wall clock of this try (it is signed, and dates the file); `deadline` is when
    /// the try ends by the boot clock, counted from the claim.
    pub async fn hand_over(&self, parcel: &Parcel, now: Timestamp, deadline: Deadline) -> Outcome {
        match self {
            Self::Webhook(webhook) => webhook.hand_over(parcel, now, deadline).await,
            Self::File(sink) => sink.hand_over(parcel, now, deadline).await,
        }
    }
}

/// One message for one recipient, ready to be sent. It has no `Debug`: its body is personal data in
/// the clear.
#[derive(Clone)]
pub struct Parcel {
    /// The stable id, the same over all tries (see [`message::message_id`]).
    pub message_id: String,
    /// Whom it is for.
    pub recipient: RecipientId,
    /// The bytes as they are signed and sent, wiped when the parcel is dropped.
    pub body: Zeroizing<Vec<u8>>,
    /// What it asks of the recipient.
    pub kind: ParcelKind,
}

/// What a parcel asks of its recipient.
#[derive(Clone)]
pub enum ParcelKind {
    /// Nothing but to take it.
    Record,
    /// To carry out a person's right and to answer with a result.
    Rights(RightsCall),
}

/// What became of one try.
#[derive(Debug)]
pub enum Outcome {
    /// The recipient confirmed: `delivered`.
    Delivered,
    /// `due` again, after the time the recipient asked for or else by the schedule.
    Retry {
        /// What `Retry-After` asked for, at most 24 h.
        after: Option<Duration>,
        /// Why.
        cause: Cause,
    },
    /// The recipient refuses our credentials. It is paused until a person resumes it; the promise
    /// stays `due`.
    Paused {
        /// Why.
        cause: Cause,
    },
    /// 410: the recipient is disabled and its promises are `dead`.
    RecipientGone,
    /// Never again, unless a person replays it.
    Dead {
        /// Why.
        cause: Cause,
    },
    /// The answer to a rights message.
    Rights(RightsOutcome),
}

impl Outcome {
    /// What this outcome tells the recipient's breaker. A refusal is an answer: a recipient that
    /// says 400 is well.
    #[must_use]
    pub const fn health(&self) -> breaker::Health {
        match self {
            Self::Delivered | Self::RecipientGone | Self::Dead { .. } | Self::Rights(_) => breaker::Health::Well,
            Self::Retry { .. } | Self::Paused { .. } => breaker::Health::Failing,
        }
    }

    /// Whether the try counts against the schedule. A rights message that was asked to come later
    /// does not (`Retry-After` obeyed is no attempt), nor does anything while a recipient is paused.
    #[must_use]
    pub const fn uses_a_try(&self, kind: &ParcelKind) -> bool {
        !matches!((self, kind), (Self::Paused { .. }, _) | (Self::Retry { after: Some(_), .. }, ParcelKind::Rights(_)))
    }
}

/// Why a parcel was not taken, in our own words. It never holds what the recipient wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The guard refused the address.
    Address(Refused),
    /// The name has no address now.
    NameUnresolved,
    /// No connection, or no TLS session, could be made.
    Connect,
    /// The connection broke, or what came back is not HTTP.
    Network,
    /// The time for the whole try was over.
    TimeLimit,
    /// The head of the reply is longer than 16 KiB. (One of more than 100 lines or 400 KiB is given
    /// up by the client while it reads: [`Cause::Network`].)
    HeadTooLarge,
    /// The body of the reply is longer than its kind may be.
    BodyTooLarge,
    /// 3xx; redirects are never followed.
    Redirected,
    /// The HTTP status.
    Status(u16),
    /// The folder cannot be written to, or another process writes to it.
    Folder,
    /// The disk is full.
    DiskFull,
    /// The body is not one JSON object.
    BodyUnusable,
    /// The answer names a result that does not fit the verb, or a retained item without ground or
    /// end.
    ResultUnusable,
    /// The recipient refused to carry the verb out.
    Rejected,
    /// The recipient does not know the verb.
    Unsupported,
    /// The recipient found nobody and cannot be asked to look again.
    Unverifiable,
}

impl Cause {
    /// The spelling in leaves, dead letters and metrics, without the status.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Address(_) => "address_refused",
            Self::NameUnresolved => "name_unresolved",
            Self::Connect => "connect",
            Self::Network => "network",
            Self::TimeLimit => "time_limit",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Redirected => "redirected",
            Self::Status(410) => "recipient_gone",
            Self::Status(_) => "status",
            Self::Folder => "folder",
            Self::DiskFull => "disk_full",
            Self::BodyUnusable => "body_unusable",
            Self::ResultUnusable => "result_unusable",
            Self::Rejected => "rejected",
            Self::Unsupported => "unsupported",
            Self::Unverifiable => "unverifiable",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(refused) => write!(f, "the address was refused: {refused}"),
            Self::NameUnresolved => f.write_str("the recipient's name has no address"),
            Self::Connect => f.write_str("no connection to the recipient"),
            Self::Network => f.write_str("the connection broke or the reply was not HTTP"),
            Self::TimeLimit => f.write_str("the time for one try was over"),
            Self::HeadTooLarge => f.write_str("the head of the reply is too large"),
            Self::BodyTooLarge => f.write_str("the body of the reply is too large"),
            Self::Redirected => f.write_str("the recipient answered with a redirect, which is never followed"),
            Self::Status(status) => write!(f, "the recipient answered {status}"),
            Self::Folder => f.write_str("the recipient's folder cannot be written to"),
            Self::DiskFull => f.write_str("the disk of the recipient's folder is full"),
            Self::BodyUnusable => f.write_str("the message is not one JSON object"),
            Self::ResultUnusable => f.write_str("the recipient's result does not fit the request"),
            Self::Rejected => f.write_str("the recipient refused the request"),
            Self::Unsupported => f.write_str("the recipient does not know the request"),
            Self::Unverifiable => f.write_str("the recipient found nobody and cannot be asked to look again"),
        }
    }
}

/// Why a recipient or a message could not be prepared. No variant holds a secret or a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configured address is not a URL.
    #[error("the recipient's address is not a URL")]
    AddressUnreadable(#[source] url::ParseError),
    /// The guard refuses the configured address.
    #[error("the recipient's address is refused")]
    AddressRefused(#[source] Refused),
    /// A network of `allow_networks` is not `address/prefix`.
    #[error("an allowed network is not written as address/prefix")]
    NetworkUnreadable,
    /// A signing secret is not `whsec_` and base64 of 24 to 64 bytes.
    #[error("a signing secret must be `whsec_` followed by the base64 of 24 to 64 bytes")]
    SecretUnreadable,
    /// A webhook without a signing secret.
    #[error("the recipient has no signing secret; set one, so that it can tell our messages from others'")]
    SecretMissing,
    /// The HTTP client could not be set up.
    #[error("the HTTP client could not be set up; are CA certificates installed?")]
    Client(#[source] reqwest::Error),
    /// A field's stored text is not JSON.
    #[error("the value of field `{field}` is not JSON text")]
    FieldUnreadable {
        /// The field's name.
        field: String,
    },
    /// A message could not be written as JSON.
    #[error("a message could not be written as JSON")]
    Message(#[source] serde_json::Error),
    /// A recipient's id cannot name a folder.
    #[error("the id of a file recipient must be 1 to 64 letters, digits, `_` or `-`")]
    RecipientName,
}
