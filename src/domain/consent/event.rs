//! What is recorded about consent: kinds of events, what they rest on, which text was shown.

use jiff::{SignedDuration, Timestamp};

use crate::domain::id::{ConsentEventId, NoticeId};
use crate::domain::legal_basis::LegalBasis;

use super::Denial;

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

impl ConsentEventKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Ask,
        Self::Give,
        Self::Confirm,
        Self::Refuse,
        Self::Withdraw,
        Self::Object,
        Self::EndObjection,
        Self::Invalidate,
    ];

    /// The spelling in requests, columns and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Give => "give",
            Self::Confirm => "confirm",
            Self::Refuse => "refuse",
            Self::Withdraw => "withdraw",
            Self::Object => "object",
            Self::EndObjection => "end_objection",
            Self::Invalidate => "invalidate",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The kind to record for a purpose of this basis: words do not matter. A no against legitimate
    /// interests is an objection, an objection against a consent is a withdrawal.
    #[must_use]
    pub const fn on(self, basis: LegalBasis) -> Self {
        match (self, basis) {
            (Self::Object, LegalBasis::Consent) => Self::Withdraw,
            (
                Self::Withdraw | Self::Refuse,
                LegalBasis::LegitimateInterests | LegalBasis::PublicTask | LegalBasis::SoftOptIn,
            ) => Self::Object,
            _ => self,
        }
    }

    /// What a protective kind denies with; `None` for the others.
    #[must_use]
    pub const fn denial(self) -> Option<Denial> {
        match self {
            Self::Refuse => Some(Denial::Refused),
            Self::Withdraw => Some(Denial::Withdrawn),
            Self::Object => Some(Denial::Objected),
            Self::Invalidate => Some(Denial::Invalidated),
            Self::Ask | Self::Give | Self::Confirm | Self::EndObjection => None,
        }
    }
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

impl Proof {
    /// Every proof, weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Imported, Self::Signal, Self::Act];

    /// The spelling in columns and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Imported => "imported",
            Self::Signal => "signal",
            Self::Act => "act",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proof| proof.as_str() == text)
    }
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

/// How far ahead of the server's clock a claimed time may be.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// How old a claimed time may be unless the act says that it was made offline.
pub const UNSENT_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// How an act reached the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmission {
    /// As it happened.
    Online,
    /// Kept on a device and sent later; the act says so.
    Offline,
}

impl Proof {
    /// What is left of a proof once the claimed time is held against the recorded one (Art. 7(1)):
    /// a yes dated ahead, or back without a reason, proves nothing. Asked once, when a `give` is
    /// recorded.
    #[must_use]
    pub fn weighed(self, given_at: Timestamp, recorded_at: Timestamp, transmission: Transmission) -> Self {
        let lag = recorded_at.duration_since(given_at);
        let too_old = transmission == Transmission::Online && lag > UNSENT_TOLERANCE;
        if too_old || lag < -CLOCK_TOLERANCE { Self::None } else { self }
    }
}
