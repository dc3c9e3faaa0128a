//! `/v1/consents`: choices of people, and the lines they stand on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::id::ConsentId;
use crate::domain::personal::Personal;
use crate::domain::policy::Trust;
use crate::gateway::consent::{
    self, Act, Action, Actor, Choice, Consented, Interaction, LineView, NoticeGiven, RecordedConsent, Repeatable,
};
use crate::http::call::{Answer, Call, Caller};
use crate::http::problem::{Code, Problem, Violation};

use super::said::{self, Identifier};

/// The most interactions in one array.
const INTERACTIONS: usize = 500;
/// The most choices in one interaction.
const CHOICES: usize = 100;
/// The longest `Idempotency-Key`.
const KEY_BYTES: usize = 255;
/// The longest text of the evidence, in bytes.
const EVIDENCE_BYTES: usize = 1_024;

/// All the choices made in one act.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// Who chose.
    identifiers: Vec<Identifier>,
    /// Who acts for whom; nobody named: the person.
    #[serde(default)]
    actor: ActorGiven,
    /// What was shown.
    notice: Option<NoticeShown>,
    /// The choices.
    choices: Vec<ChoiceGiven>,
    /// How they were made; a no needs none of it.
    #[serde(default)]
    act: ActGiven,
}

/// Who acts.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActorGiven {
    /// `self`, `guardian` or `agent`.
    relation: Option<String>,
    /// How a guardian or agent was verified.
    method: Option<String>,
    /// Reference of the proof.
    reference: Option<String>,
    /// What an agent's mandate covers.
    authority: Option<Authority>,
}

/// What an agent's mandate covers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// `give` if it covers a yes.
    scope: String,
}

/// What was shown: the snapshot token, or the text by name and hash.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoticeShown {
    /// The token that `GET /v1/policy/notices/{id}` gave with the text.
    snapshot: Option<String>,
    /// The notice.
    id: Option<String>,
    /// Its version.
    version: Option<u32>,
    /// BCP 47 tag.
    language: Option<String>,
    /// SHA-256 of the text, hexadecimal.
    sha256: Option<String>,
}

/// One choice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceGiven {
    /// The purpose; `*` in a no stands for all.
    #[schema(example = "newsletter")]
    purpose: String,
    /// The channel.
    channel: Option<String>,
    /// `give`, `refuse`, `withdraw` or `object`.
    #[schema(example = "give")]
    action: String,
}

/// How choices were made.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActGiven {
    /// `click`, `typed`, `signed`, `spoken_recorded`, `device_setting` or `two_step`.
    method: Option<String>,
    /// `unset` or `set`.
    control_before: Option<String>,
    /// Whether it was bundled with terms or another matter.
    bundled: Option<bool>,
    /// Whether a no was offered as plainly.
    refusal_offered: Option<bool>,
    /// When, RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    given_at: Option<Timestamp>,
    /// Whether it was kept on a device and sent later.
    #[serde(default)]
    offline: bool,
    /// The person's stated age in years.
    age_statement: Option<u8>,
    /// Which form, in which version; sealed.
    interface: Option<String>,
    /// The client; sealed.
    user_agent: Option<String>,
    /// The network address, cut to /24 or /48; sealed.
    address: Option<String>,
}

/// What was recorded.
#[derive(Serialize, ToSchema)]
pub struct ConsentAnswer {
    /// Shared by all choices of the act.
    interaction: String,
    /// One entry per line.
    consents: Vec<ConsentState>,
    /// Recipients that may have received a parcel that was on the wire when the answer had waited as
    /// long as it may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsettled: Vec<String>,
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
    results: Vec<ConsentVerdict>,
}

/// The verdict on one interaction.
#[derive(Serialize, ToSchema)]
pub struct ConsentVerdict {
    /// Its place in the array.
    index: usize,
    /// `recorded`, `refused` or `rejected`.
    verdict: &'static str,
    /// The code, if it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// Everything wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    violations: Vec<Violation>,
    /// What was recorded.
    #[serde(flatten)]
    recorded: Option<ConsentAnswer>,
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

/// `POST /v1/consents`: records choices, one act or an array of them.
#[utoipa::path(post, path = "/v1/consents", tag = "consents", request_body = ConsentRequest,
    responses(
        (status = 201, description = "Recorded", body = ConsentAnswer),
        (status = 202, description = "Recorded; a parcel may still be on the wire", body = ConsentAnswer),
        (status = 200, description = "Verdicts on an array", body = ConsentVerdicts),
        (status = 422, description = "Refused; nothing is recorded but the refusal"),
    ))]
pub(in crate::http) async fn record(call: Call) -> Result<Answer, Problem> {
    let caller = caller(&call)?;
    let key = idempotency_key(&call)?;
    if call.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return record_all(&call, &caller, key.as_deref()).await;
    }
    let interaction = interaction(call.json()?)?;
    let repeatable = key.map(|key| Repeatable { key, body_hash: call.body_hash() });
    match call.app.house.consent(&caller, &interaction, repeatable.as_ref()).await? {
        Consented::Recorded { recorded, unsettled } => {
            let answer = answer(recorded, unsettled.iter().map(|id| id.as_str().to_owned()).collect());
            let status = if answer.unsettled.is_empty() { 201 } else { 202 };
            Answer::json_with(status, &answer)
        }
        Consented::Refused(violations) => Err(said::refused(&violations, "")),
        Consented::KeyReused => Err(Problem::new(Code::IdempotencyMismatch)),
    }
}

async fn record_all(call: &Call, caller: &consent::Caller, key: Option<&str>) -> Result<Answer, Problem> {
    let items: Vec<Box<RawValue>> = call.json()?;
    if items.len() > INTERACTIONS {
        return Err(
            Problem::new(Code::BatchTooLong).detail(format!("an array holds at most {INTERACTIONS} interactions"))
        );
    }
    let mut results = Vec::with_capacity(items.len());
    for (item, index) in items.iter().zip(0_usize..) {
        let refused = |verdict, problem: &Problem, violations| ConsentVerdict {
            index,
            verdict,
            code: Some(problem.code().as_str()),
            violations,
            recorded: None,
        };
        let read =
            serde_json::from_str(item.get()).map_err(|_| Problem::new(Code::MalformedBody)).and_then(interaction);
        let interaction = match read {
            Ok(interaction) => interaction,
            Err(problem) => {
                results.push(refused("rejected", &problem, Vec::new()));
                continue;
            }
        };
        let repeatable = key.map(|key| Repeatable {
            key: format!("{key}/{index}"),
            body_hash: crate::http::call::hash_of(item.get().as_bytes()),
        });
        results.push(match call.app.house.consent(caller, &interaction, repeatable.as_ref()).await? {
            Consented::Recorded { recorded, unsettled } => ConsentVerdict {
                index,
                verdict: "recorded",
                code: None,
                violations: Vec::new(),
                recorded: Some(answer(recorded, unsettled.iter().map(|id| id.as_str().to_owned()).collect())),
            },
            Consented::Refused(violations) => {
                let problem = said::refused(&violations, "");
                let listed = problem.listed().to_vec();
                refused("refused", &problem, listed)
            }
            Consented::KeyReused => refused("rejected", &Problem::new(Code::IdempotencyMismatch), Vec::new()),
        });
    }
    Answer::json(&ConsentVerdicts { results })
}

/// `GET /v1/consents/{id}`: one line, its state now and its events.
#[utoipa::path(get, path = "/v1/consents/{id}", tag = "consents", params(("id" = String, Path, description = "The line")),
    responses((status = 200, description = "The line", body = ConsentLine), (status = 404, description = "No such line")))]
pub(in crate::http) async fn show(call: Call) -> Result<Answer, Problem> {
    // A public key stands in a web page: what it may know of a line it was told when it wrote it.
    if caller(&call)?.trust == Trust::Public {
        return Err(Problem::new(Code::NotFound));
    }
    let id = call.path_id("id", ConsentId::parse)?;
    let line = call.app.house.consent_line(id).await?;
    Answer::json(&view(line, Vec::new()))
}

/// `POST /v1/consents/{id}/withdraw`: ends a consent by its id alone; twice is the same.
#[utoipa::path(post, path = "/v1/consents/{id}/withdraw", tag = "consents", params(("id" = String, Path, description = "The line")),
    responses(
        (status = 200, description = "Withdrawn, now or before", body = ConsentLine),
        (status = 202, description = "Withdrawn; a parcel may still be on the wire", body = ConsentLine),
    ))]
pub(in crate::http) async fn withdraw(call: Call) -> Result<Answer, Problem> {
    let caller = caller(&call)?;
    let id = call.path_id("id", ConsentId::parse)?;
    let withdrawn = call.app.house.withdraw_line(&caller, id).await?;
    if caller.trust == Trust::Public {
        return Answer::json(&serde_json::json!({ "id": id.to_string(), "state": "accepted" }));
    }
    let unsettled: Vec<String> = withdrawn.unsettled.iter().map(|id| id.as_str().to_owned()).collect();
    let status = if unsettled.is_empty() { 200 } else { 202 };
    Answer::json_with(status, &view(withdrawn.line, unsettled))
}

fn caller(call: &Call) -> Result<consent::Caller, Problem> {
    match &call.caller {
        Caller::Collector(collector, _) => {
            call.app.house.consent_collector(collector).ok_or(Problem::new(Code::Unauthenticated))
        }
        Caller::Service(service) => Ok(call.app.house.consent_service(service)),
        Caller::Nobody => Err(Problem::new(Code::Unauthenticated)),
    }
}

pub(super) fn idempotency_key(call: &Call) -> Result<Option<String>, Problem> {
    let Some(key) = call.header("idempotency-key") else { return Ok(None) };
    if key.is_empty() || key.len() > KEY_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(
            Problem::new(Code::MalformedRequest).detail("Idempotency-Key is 1 to 255 printable ASCII characters")
        );
    }
    Ok(Some(key.to_owned()))
}

fn interaction(body: ConsentRequest) -> Result<Interaction, Problem> {
    let invalid = |detail: &'static str| Problem::new(Code::InvalidContent).detail(detail);
    if body.choices.is_empty() || body.choices.len() > CHOICES {
        return Err(invalid("choices holds 1 to 100 choices"));
    }
    let choices = body
        .choices
        .into_iter()
        .zip(0_usize..)
        .map(|(choice, at)| {
            let action = Action::parse(&choice.action).ok_or_else(|| {
                let wrong = Violation {
                    code: Code::InvalidContent.as_str(),
                    pointer: format!("/choices/{at}/action"),
                    detail: "give, refuse, withdraw or object".into(),
                };
                Problem::new(Code::InvalidContent).violations(vec![wrong])
            })?;
            Ok(Choice { purpose: choice.purpose, channel: choice.channel, action })
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    let notice = match body.notice {
        None => None,
        Some(NoticeShown { snapshot: Some(token), id: None, version: None, language: None, sha256: None }) => {
            Some(NoticeGiven::Snapshot(token))
        }
        Some(NoticeShown {
            snapshot: None,
            id: Some(id),
            version: Some(version),
            language: Some(language),
            sha256: Some(sha256),
        }) => Some(NoticeGiven::Named { id, version, language, sha256 }),
        Some(_) => return Err(invalid("notice is {snapshot} or {id, version, language, sha256}")),
    };
    let sealed = |text: Option<String>| -> Result<Option<Personal<String>>, Problem> {
        match text {
            Some(text) if text.len() > EVIDENCE_BYTES => {
                Err(invalid("interface, user_agent, address and reference hold at most 1024 bytes"))
            }
            text => Ok(text.map(Personal::new)),
        }
    };
    Ok(Interaction {
        identifiers: said::identifiers(body.identifiers)?,
        actor: Actor {
            relation: body.actor.relation,
            method: body.actor.method,
            authority: body.actor.authority.map(|authority| authority.scope),
            reference: sealed(body.actor.reference)?,
        },
        notice,
        choices,
        act: Act {
            method: body.act.method,
            control_before: body.act.control_before,
            bundled: body.act.bundled,
            refusal_offered: body.act.refusal_offered,
            given_at: body.act.given_at,
            offline: body.act.offline,
            age: body.act.age_statement,
            interface: sealed(body.act.interface)?,
            user_agent: sealed(body.act.user_agent)?,
            address: sealed(body.act.address)?,
        },
    })
}

fn answer(recorded: consent::Recorded, unsettled: Vec<String>) -> ConsentAnswer {
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

fn view(line: LineView, unsettled: Vec<String>) -> ConsentLine {
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
