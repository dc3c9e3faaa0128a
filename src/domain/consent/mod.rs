//! Consent: events on lines, and the state they fold to (GDPR Art. 4(11), 7; `consent` in the docs).
//!
//! Two steps, both pure. [`fold`] finds the event that rules a line; its answer depends on the
//! events alone, so it can be cached. [`Ruling::state`] holds a ruling yes against the clock, the
//! notices and the purpose whenever a decision is made; its answer is never cached.

mod event;

use jiff::{Span, Timestamp, tz::TimeZone};

pub use event::{CLOCK_TOLERANCE, ConsentEvent, ConsentEventKind, NoticeShown, Proof, Transmission, UNSENT_TOLERANCE};

use super::id::{Channel, ConsentId, PurposeId, RecipientId};
use super::legal_basis::LegalBasis;
use super::notice;
use super::policy::Policy;
use super::purpose::{MinimumProof, Purpose};
use super::reason::Reason;

/// Finds the event that rules a line. Total; neither the order nor the repetition of events matters.
///
/// A yes counts from the earlier of its claimed and its recorded time, a no from when it was
/// recorded, and of equal instants the no wins: an offline yes of 09:58 that arrives at 10:05 does
/// not undo a withdrawal of 10:00, and a late withdrawal always bites.
///
/// `basis` is the purpose's basis today. Where objections exist as such (Art. 21(1)) only an
/// `end_objection` ends one; a consent that is given later ends a refusal or a withdrawal. So a
/// purpose moved from consent to legitimate interests re-enables nobody who withdrew.
#[must_use]
pub fn fold(events: &[ConsentEvent], basis: LegalBasis) -> Ruling {
    let latest_give = latest(events, ConsentEventKind::Give);
    let given_from = latest_give.map(ConsentEvent::effective_at);
    let objection_ended = latest(events, ConsentEventKind::EndObjection).map(ConsentEvent::effective_at);

    let mut ruling: Option<(Timestamp, Denial)> = None;
    for event in events {
        let Some(denial) = event.kind.denial() else {
            continue;
        };
        let ended_from = match denial {
            Denial::Objected if objections_outlive_consent(basis) => objection_ended,
            _ => given_from,
        };
        let stands = ended_from.is_none_or(|end| event.recorded_at >= end);
        if stands && ruling.is_none_or(|latest| (event.recorded_at, denial) > latest) {
            ruling = Some((event.recorded_at, denial));
        }
    }
    match (ruling, latest_give) {
        (Some((_, denial)), _) => Ruling::Denied(denial),
        (None, Some(give)) => Ruling::Given(give.given(events)),
        (None, None) => Ruling::Unknown,
    }
}

/// The event of this kind that took effect last. Among equals the later recorded, then the greater
/// id, so that the choice does not depend on the order of the input.
fn latest(events: &[ConsentEvent], kind: ConsentEventKind) -> Option<&ConsentEvent> {
    events
        .iter()
        .filter(|event| event.kind == kind)
        .max_by_key(|event| (event.effective_at(), event.recorded_at, event.id))
}

/// Whether only the end of an objection ends it, for nobody is ever asked for a yes (Art. 21(1)).
const fn objections_outlive_consent(basis: LegalBasis) -> bool {
    matches!(basis, LegalBasis::LegitimateInterests | LegalBasis::PublicTask | LegalBasis::SoftOptIn)
}

impl ConsentEvent {
    /// When it counts from: a yes never from later than it was claimed, a no never from earlier
    /// than it was heard.
    fn effective_at(&self) -> Timestamp {
        match self.kind {
            ConsentEventKind::Give | ConsentEventKind::EndObjection => self.given_at.min(self.recorded_at),
            _ => self.recorded_at,
        }
    }

    /// What this `give` brings along when it rules.
    fn given(&self, events: &[Self]) -> Given {
        // A new `give` replaces the confirmation link of the older one, so whatever was confirmed
        // since this `give` was recorded, was this one.
        let confirmed =
            events.iter().any(|event| event.kind == ConsentEventKind::Confirm && event.recorded_at >= self.recorded_at);
        Given {
            at: self.effective_at(),
            valid_until: self.valid_until,
            proof: self.proof,
            notice: self.notice.clone(),
            confirmed,
            explicit: self.explicit,
        }
    }
}

impl Ruling {
    /// Whether a no rules.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }

    /// Whether a yes rules, valid or not.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// The state at `now`, for the purpose of the line and, if one is in question, a recipient that
    /// the notice consented to must have named. Of several failings the first in the order of the
    /// table in the docs names the state.
    #[must_use]
    pub fn state(
        &self,
        policy: &Policy,
        purpose: &Purpose,
        recipient: NamedRecipient<'_>,
        now: Timestamp,
    ) -> ConsentState {
        match self {
            Self::Unknown => ConsentState::Denied(Reason::NoConsent),
            Self::Denied(denial) => ConsentState::Denied(denial.reason()),
            Self::Given(given) => match given.failing(policy, purpose, recipient, now) {
                Some(reason) => ConsentState::Denied(reason),
                None => ConsentState::Active,
            },
        }
    }
}

impl Given {
    fn failing(
        &self,
        policy: &Policy,
        purpose: &Purpose,
        recipient: NamedRecipient<'_>,
        now: Timestamp,
    ) -> Option<Reason> {
        if self.valid_until.is_some_and(|end| now >= end) {
            return Some(Reason::Expired);
        }
        if let Some(shown) = &self.notice
            && !notice::still_serves(&policy.notices, shown, &purpose.id, recipient, &policy.controller.time_zone, now)
        {
            return Some(Reason::NoticeChanged);
        }
        if purpose.double_opt_in && !self.confirmed {
            return Some(Reason::PendingConfirmation);
        }
        if !self.is_proven(policy, purpose.minimum_proof) {
            return Some(Reason::UnprovenConsent);
        }
        if purpose.explicit && !self.explicit {
            return Some(Reason::Art9NotExplicit);
        }
        None
    }

    /// Whether the controller can demonstrate this consent (Art. 7(1)).
    fn is_proven(&self, policy: &Policy, minimum: MinimumProof) -> bool {
        let enough = match minimum {
            // Named evidence of another system is as good as a banner's word.
            MinimumProof::Signal => self.proof > Proof::None,
            MinimumProof::Act => self.proof == Proof::Act,
        };
        enough
            && match &self.notice {
                // What people were shown elsewhere lies with the evidence; here it must be known.
                None => self.proof == Proof::Imported,
                Some(shown) => policy
                    .notices
                    .get(&(shown.id.clone(), shown.version, shown.language.clone()))
                    .is_some_and(|notice| notice.text_hash == shown.text_hash && self.at >= notice.published_at),
            }
    }
}

impl Purpose {
    /// End of validity of a consent given at this instant: calendar addition in the controller's
    /// zone, last day of the month if needed. `None`: the purpose sets no period.
    #[must_use]
    pub fn valid_until(&self, given_at: Timestamp, time_zone: &TimeZone) -> Option<Timestamp> {
        self.validity.map(|period| later(given_at, period, time_zone))
    }

    /// From when somebody who said no at this instant may be asked again; `None`: no period is set.
    #[must_use]
    pub fn may_ask_again_at(&self, recorded_at: Timestamp, time_zone: &TimeZone) -> Option<Timestamp> {
        self.ask_again_after.map(|period| later(recorded_at, period, time_zone))
    }
}

/// `start` plus a calendar period; the end of time if the calendar ends before it.
fn later(start: Timestamp, period: Span, time_zone: &TimeZone) -> Timestamp {
    start.to_zoned(time_zone.clone()).checked_add(period).map_or(Timestamp::MAX, |end| end.timestamp())
}

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

impl Scope {
    /// The spelling in columns and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Device => "device",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "person" => Some(Self::Person),
            "device" => Some(Self::Device),
            _ => None,
        }
    }
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

/// Which protective event rules. The order is that of strength, weakest first: of two at the same
/// instant the stronger names the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// Invalidated.
    Invalidated,
    /// Refused.
    Refused,
    /// Withdrawn.
    Withdrawn,
    /// Objected.
    Objected,
}

impl Denial {
    /// The reason it gives.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Withdrawn => Reason::Withdrawn,
            Self::Refused => Reason::Refused,
            Self::Objected => Reason::Objected,
            Self::Invalidated => Reason::Invalidated,
        }
    }

    /// The spelling in columns and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.reason().as_str()
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Withdrawn, Self::Refused, Self::Objected, Self::Invalidated]
            .into_iter()
            .find(|denial| denial.as_str() == text)
    }
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

impl ConsentState {
    /// The name of the state in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Denied(Reason::PendingConfirmation) => "pending",
            Self::Denied(Reason::UnprovenConsent | Reason::Art9NotExplicit) => "unproven",
            Self::Denied(Reason::NoConsent) => "unknown",
            Self::Denied(reason) => reason.as_str(),
        }
    }

    /// The consent status of DPV 2.3 (`dpv:`, without prefix).
    #[must_use]
    pub const fn dpv_status(self) -> &'static str {
        match self {
            Self::Active => "ConsentGiven",
            Self::Denied(reason) => match reason {
                Reason::Withdrawn => "ConsentWithdrawn",
                Reason::Refused => "ConsentRefused",
                Reason::Objected => "LegitimateInterestObjected",
                Reason::Invalidated => "ConsentInvalidated",
                Reason::Expired | Reason::NoticeChanged => "ConsentExpired",
                Reason::PendingConfirmation => "ConsentRequested",
                _ => "ConsentUnknown",
            },
        }
    }
}

/// A recipient that a consent must have named; `None` when no recipient is in question.
pub type NamedRecipient<'a> = Option<&'a RecipientId>;

#[cfg(test)]
#[path = "../tests/consent.rs"]
mod tests;
