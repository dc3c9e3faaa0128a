//! What was recorded, and lines as they stand, as the caller reads them.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::gateway::consent::{self, LineView, RecordedConsent};
use crate::http::problem::Violation;

/// What was recorded.
#[derive(Serialize, ToSchema)]
pub struct ConsentAnswer {
    /// Shared by all choices of the act.
    pub(super) interaction: String,
    /// One entry per line.
    pub(super) consents: Vec<ConsentState>,
    /// Recipients that may have received a parcel that was on the wire when the answer had waited as
    /// long as it may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unsettled: Vec<String>,
}

/// A line as it stands.
#[derive(Serialize, ToSchema)]
pub struct ConsentState {
    /// The line; absent where a public key may not learn it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The purpose.
    purpose: String,
    /// The channel.
    channel: Option<String>,
    /// `active`, `withdrawn`, `refused`, `objected`, `expired`, `notice_changed`, `pending`,
    /// `unproven`, `invalidated`, `unknown`; `accepted` where a public key may not learn it.
    state: String,
    /// End of validity.
    #[schema(value_type = Option<String>, format = DateTime)]
    valid_until: Option<Timestamp>,
    /// From when somebody who said no may be asked again.
    #[schema(value_type = Option<String>, format = DateTime)]
    may_ask_again_at: Option<Timestamp>,
}

/// Verdicts on an array of interactions.
#[derive(Serialize, ToSchema)]
pub struct ConsentVerdicts {
    /// One per interaction, in order.
    pub(super) results: Vec<ConsentVerdict>,
}

/// The verdict on one interaction.
#[derive(Serialize, ToSchema)]
pub struct ConsentVerdict {
    /// Its place in the array.
    pub(super) index: usize,
    /// `recorded`, `refused` or `rejected`.
    pub(super) verdict: &'static str,
    /// The code, if it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    /// Everything wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub(super) violations: Vec<Violation>,
    /// What was recorded.
    #[serde(flatten)]
    pub(super) recorded: Option<ConsentAnswer>,
}

/// A line with its events.
#[derive(Serialize, ToSchema)]
pub struct ConsentLine {
    /// Its id.
    id: String,
    /// The purpose.
    purpose: String,
    /// The channel.
    channel: Option<String>,
    /// `person` or `device`.
    scope: &'static str,
    /// The state now.
    state: &'static str,
    /// The consent status of DPV 2.3.
    dpv_status: String,
    /// End of validity.
    #[schema(value_type = Option<String>, format = DateTime)]
    valid_until: Option<Timestamp>,
    /// From when the person may be asked again.
    #[schema(value_type = Option<String>, format = DateTime)]
    may_ask_again_at: Option<Timestamp>,
    /// Its events, oldest first.
    events: Vec<ConsentLineEvent>,
    /// As in the answer to a choice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsettled: Vec<String>,
}

/// One event of a line.
#[derive(Serialize, ToSchema)]
pub struct ConsentLineEvent {
    /// Its id.
    id: String,
    /// Shared by all choices of the act.
    interaction: String,
    /// `give`, `refuse`, `withdraw`, `object`, …
    kind: &'static str,
    /// Who acted.
    actor: &'static str,
    /// `act`, `signal`, `imported` or `none`.
    proof: &'static str,
    /// The text that was shown.
    notice: Option<ConsentNotice>,
    /// Content hash of the policy in force.
    policy: String,
    /// When, by the caller's clock.
    #[schema(value_type = String, format = DateTime)]
    given_at: Timestamp,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
    /// End of validity.
    #[schema(value_type = Option<String>, format = DateTime)]
    valid_until: Option<Timestamp>,
    /// Who brought it.
    collector: String,
    /// How it was expressed; empty for signals.
    method: String,
    /// The entry of the audit log.
    entry: String,
    /// Whether the row is as it was written; one that is not permits nothing.
    verified: bool,
}

/// A text that was shown.
#[derive(Serialize, ToSchema)]
pub struct ConsentNotice {
    /// The notice.
    id: String,
    /// Its version.
    version: u32,
    /// BCP 47 tag.
    language: String,
    /// SHA-256 of the text.
    sha256: String,
}

pub(super) fn answer(recorded: consent::Recorded, unsettled: Vec<String>) -> ConsentAnswer {
    let state = |consent: RecordedConsent| ConsentState {
        id: consent.id,
        purpose: consent.purpose,
        channel: consent.channel,
        state: consent.state,
        valid_until: consent.valid_until,
        may_ask_again_at: consent.may_ask_again_at,
    };
    ConsentAnswer {
        interaction: recorded.interaction,
        consents: recorded.consents.into_iter().map(state).collect(),
        unsettled,
    }
}

pub(super) fn view(line: LineView, unsettled: Vec<String>) -> ConsentLine {
    let events = line
        .events
        .into_iter()
        .map(|event| ConsentLineEvent {
            id: event.id,
            interaction: event.interaction,
            kind: event.kind,
            actor: event.actor,
            proof: event.proof,
            notice: event.notice.map(|(id, version, language, sha256)| ConsentNotice { id, version, language, sha256 }),
            policy: event.policy,
            given_at: event.given_at,
            recorded_at: event.recorded_at,
            valid_until: event.valid_until,
            collector: event.collector,
            method: event.method,
            entry: event.entry,
            verified: event.verified,
        })
        .collect();
    ConsentLine {
        id: line.id,
        purpose: line.purpose,
        channel: line.channel,
        scope: line.scope,
        state: line.state,
        dpv_status: format!("dpv:{}", line.dpv_status),
        valid_until: line.valid_until,
        may_ask_again_at: line.may_ask_again_at,
        events,
        unsettled,
    }
}
