//! How a line stands, and what a caller is told of it.

use jiff::Timestamp;

use crate::domain::consent::{ConsentState, Ruling, fold};
use crate::domain::id::{Channel, ConsentId};
use crate::domain::policy::{Policy, Trust};
use crate::domain::purpose::Purpose;
use crate::gateway::person::{Line, basis_of};

use super::RecordedConsent;
use super::known::Party;
use super::making::Making;

impl Making<'_> {
    /// What the caller is told of a choice. A public key learns nothing about a person but that the
    /// choice was taken.
    pub(super) fn answer(
        &self,
        id: Option<ConsentId>,
        party: &Party,
        purpose: &Purpose,
        channel: Option<&Channel>,
    ) -> RecordedConsent {
        let hidden = self.caller.trust == Trust::Public && !party.person.subject.device;
        let line = id.filter(|_| !hidden).and_then(|id| self.lines.iter().find(|line| line.id == id));
        let Some(line) = line else {
            return RecordedConsent {
                id: None,
                purpose: purpose.id.as_str().to_owned(),
                channel: channel.map(|channel| channel.as_str().to_owned()),
                state: "accepted".to_owned(),
                valid_until: None,
                may_ask_again_at: None,
            };
        };
        let now = Now::of(&self.policy.policy, line, self.now);
        RecordedConsent {
            id: Some(line.id.to_string()),
            purpose: purpose.id.as_str().to_owned(),
            channel: channel.map(|channel| channel.as_str().to_owned()),
            state: now.state.to_owned(),
            valid_until: now.valid_until,
            may_ask_again_at: now.may_ask_again_at,
        }
    }
}

/// How a line stands at an instant.
pub(super) struct Now {
    pub(super) state: &'static str,
    pub(super) dpv_status: &'static str,
    pub(super) valid_until: Option<Timestamp>,
    pub(super) may_ask_again_at: Option<Timestamp>,
}

impl Now {
    pub(super) fn of(policy: &Policy, line: &Line, now: Timestamp) -> Self {
        let ruling = fold(&line.events, basis_of(policy, &line.purpose));
        let purpose = policy.purposes.get(&line.purpose);
        let state = match (&ruling, purpose) {
            (Ruling::Denied(denial), _) => ConsentState::Denied(denial.reason()),
            (ruling, Some(purpose)) => ruling.state(policy, purpose, None, now),
            (_, None) => ConsentState::Denied(crate::domain::reason::Reason::PurposeUnknown),
        };
        let zone = &policy.controller.time_zone;
        let refused_at = line
            .events
            .iter()
            .filter(|event| ruling.is_denied() && event.kind.denial().is_some())
            .map(|event| event.recorded_at)
            .max();
        Self {
            state: state.as_str(),
            dpv_status: state.dpv_status(),
            valid_until: match &ruling {
                Ruling::Given(given) => given.valid_until,
                _ => None,
            },
            may_ask_again_at: purpose.and_then(|purpose| purpose.may_ask_again_at(refused_at?, zone)),
        }
    }
}
