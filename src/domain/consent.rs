//! Consent: events on lines, and the state they fold to (GDPR Art. 4(11), 7; `consent` in the docs).

use jiff::Timestamp;

use super::id::{Channel, ConsentEventId, ConsentId, NoticeId, PurposeId, RecipientId};
use super::reason::Reason;

/// A line: one purpose, one channel, one scope of one subject, and its state.
#[derive(Clone, Debug)]
pub struct ConsentLine {
    /// Its id.
    pub id: ConsentId,
    /// The purpose.
    pub purpose: PurposeId,
    /// The channel, if the purpose lists channels.
    pub channel: Option<Channel>,
    /// What it covers.
    pub scope: Scope,
    /// What its events say.
    pub ruling: Ruling,
}

/// What a line covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The person.
    Person,
    /// Only records that came from the device this subject stands for.
    Device,
}

/// The kinds of consent events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsentEventKind {
    /// A notice was shown.
    Ask,
    /// Yes.
    Give,
    /// The yes was confirmed (double opt-in).
    Confirm,
    /// No, never yes.
    Refuse,
    /// No longer (Art. 7(3)).
    Withdraw,
    /// Art. 21.
    Object,
    /// An objection ended.
    EndObjection,
    /// Struck down by an authority or given up by the controller.
    Invalidate,
}

/// What an event rests on, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// Nothing.
    None,
    /// Named evidence of another system.
    Imported,
    /// A banner's or SDK's word.
    Signal,
    /// A first-hand act with a notice token.
    Act,
}

/// One event of the stream. Only ever inserted.
#[derive(Clone, Debug)]
pub struct ConsentEvent {
    /// Its id.
    pub id: ConsentEventId,
    /// What happened.
    pub kind: ConsentEventKind,
    /// What it rests on.
    pub proof: Proof,
    /// The text that was shown.
    pub notice: Option<NoticeShown>,
    /// When it happened, by the collector's claim.
    pub given_at: Timestamp,
    /// When the server recorded it: this alone orders the stream.
    pub recorded_at: Timestamp,
    /// End of validity, fixed when a `give` is recorded.
    pub valid_until: Option<Timestamp>,
    /// Whether the act was explicit (Art. 9(2)(a)).
    pub explicit: bool,
}

/// Which text a person was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeShown {
    /// The notice.
    pub id: NoticeId,
    /// Its version.
    pub version: u32,
    /// BCP 47 tag.
    pub language: String,
    /// SHA-256 of the text.
    pub text_hash: [u8; 32],
}

/// The event that rules a line; expiry and notice are held against it when a decision is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// No event, or only `ask`.
    Unknown,
    /// A protective event rules.
    Denied(Denial),
    /// A `give` rules.
    Given(Given),
}

/// Which protective event rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Withdrawn.
    Withdrawn,
    /// Refused.
    Refused,
    /// Objected.
    Objected,
    /// Invalidated.
    Invalidated,
}

/// What a ruling `give` brings along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// When it takes effect.
    pub at: Timestamp,
    /// End of validity.
    pub valid_until: Option<Timestamp>,
    /// What it rests on.
    pub proof: Proof,
    /// The text consented to.
    pub notice: Option<NoticeShown>,
    /// Whether a double opt-in was confirmed.
    pub confirmed: bool,
    /// Whether the act was explicit.
    pub explicit: bool,
}

/// The state of a line at an instant, as answers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentState {
    /// Go on to fields, recipient, transfer.
    Active,
    /// Denied, and why.
    Denied(Reason),
}

/// A recipient that a consent must have named; `None` when no recipient is in question.
pub type NamedRecipient<'a> = Option<&'a RecipientId>;
