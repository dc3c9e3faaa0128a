//! What a collector refuses: a whole request, or one event of it. Never with the value that was
//! wrong, for that may be personal.

use super::super::problem::Code;

/// Why one event is `rejected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not JSON, not UTF-8, or a member that the protocol requires is missing or of a wrong type.
    #[error("the event is not well formed")]
    Malformed,
    /// One key stands twice in one object.
    #[error("a JSON key stands twice in one object")]
    DuplicateJsonKey,
    /// Over the size of an event, 64 levels or 2,000 keys.
    #[error("the event is larger or deeper than this collector takes")]
    EventTooLarge,
    /// No identifier is left that can be used.
    #[error("no usable identifier is in the event")]
    IdentifierInvalid,
    /// Every identifier in it is a placeholder that would merge strangers. Found later, by the
    /// normal forms of identifiers.
    #[error("the identifiers in the event are placeholders and name nobody")]
    IdentifierBlocked,
    /// Two users are joined only on the word of a server.
    #[error("joining two users needs a server key")]
    NeedsServerKey,
    /// A CloudEvents header value is not percent-encoded UTF-8.
    #[error(
        "a ce- header is not percent-encoded UTF-8; structured mode (application/cloudevents+json) needs no encoding"
    )]
    CloudeventsAttributeEncoding,
}

impl Flaw {
    /// The code in a verdict, and of the problem where the event stands alone.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Malformed => Code::EventMalformed,
            Self::DuplicateJsonKey => Code::DuplicateJsonKey,
            Self::EventTooLarge => Code::EventTooLarge,
            Self::IdentifierInvalid => Code::IdentifierInvalid,
            Self::IdentifierBlocked => Code::IdentifierBlocked,
            Self::NeedsServerKey => Code::NeedsServerKey,
            Self::CloudeventsAttributeEncoding => Code::CloudeventsAttributeEncoding,
        }
    }
}

/// Why a whole request is refused, before or instead of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not JSON, or no `batch` in a batch.
    #[error("the body is not what this path takes")]
    Malformed,
    /// More events than a batch may hold.
    #[error("the batch holds more events than this collector takes")]
    BatchTooLong,
    /// The only event of the request is flawed.
    #[error("{0}")]
    Event(Flaw),
    /// The key is missing, unknown, disabled, given twice and differently, or of another protocol:
    /// one answer for all, so that nobody learns which.
    #[error("the write key is missing or not valid here")]
    Key,
    /// The page's origin is not among the collector's.
    #[error("this origin may not send to this collector")]
    Origin,
    /// No such path, or one that this collector does not serve.
    #[error("nothing is served at this path")]
    NotFound,
    /// The path exists, the method does not.
    #[error("this method is not served at this path")]
    Method,
    /// Over the cap as received or after decoding.
    #[error("the body is larger than this collector takes")]
    BodyTooLarge,
    /// Two codings, or one that is not gzip, deflate, br or zstd.
    #[error("the content coding is not supported; send gzip, deflate, br or zstd, one at most")]
    Coding,
    /// A media type that CloudEvents does not name here.
    #[error("the media type is not supported; send application/cloudevents+json or ce- headers")]
    MediaType,
}

impl Refusal {
    /// The code of the problem; its status is what makes each client drop or repeat
    /// (`ecosystem.md` 1.2).
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Malformed => Code::MalformedBody,
            Self::BatchTooLong => Code::BatchTooLong,
            Self::Event(flaw) => flaw.code(),
            Self::Key => Code::Unauthenticated,
            Self::Origin => Code::OriginNotAllowed,
            Self::NotFound => Code::NotFound,
            Self::Method => Code::MethodNotAllowed,
            Self::BodyTooLarge => Code::BodyTooLarge,
            Self::Coding | Self::MediaType => Code::UnsupportedMediaType,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.code().status()
    }
}
