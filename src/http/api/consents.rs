//! `/v1/consents`: choices of people, and the lines they stand on.

mod given;
mod shown;

use serde_json::value::RawValue;

use crate::domain::id::{ConsentEventId, ConsentId};
use crate::domain::policy::Trust;
use crate::gateway::consent::{self, Consented, Repeatable};
use crate::http::call::{Answer, Call, Caller};
use crate::http::problem::{Code, Problem};

use super::said;

pub use given::{ActGiven, ActorGiven, Authority, ChoiceGiven, ConsentRequest, NoticeShown};
pub use shown::{
    ConsentAnswer, ConsentLine, ConsentLineEvent, ConsentNotice, ConsentState, ConsentVerdict, ConsentVerdicts,
};

use given::interaction;
use shown::{answer, view};

/// The most interactions in one array.
const INTERACTIONS: usize = 500;
/// The longest `Idempotency-Key`.
const KEY_BYTES: usize = 255;
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

/// `GET /v1/consents/{id}/receipt?of=proof`: a file that proves an event of the line, offline and
/// without the gateway.
#[utoipa::path(get, path = "/v1/consents/{id}/receipt", tag = "consents",
    params(
        ("id" = String, Path, description = "The line"),
        ("of" = String, Query, description = "`proof`: the only form yet"),
        ("event" = Option<String>, Query, description = "An event of the line; the newest if absent"),
    ),
    responses(
        (status = 200, description = "A file of the format `amanat-receipt/1`"),
        (status = 404, description = "No such line or event"),
        (status = 409, description = "No checkpoint covers it yet"),
    ))]
pub(in crate::http) async fn receipt(call: Call) -> Result<Answer, Problem> {
    let caller = caller(&call)?;
    // As for the line itself.
    if caller.trust == Trust::Public {
        return Err(Problem::new(Code::NotFound));
    }
    let id = call.path_id("id", ConsentId::parse)?;
    let event =
        call.query("event").map(|text| ConsentEventId::parse(&text).ok_or(Problem::new(Code::NotFound))).transpose()?;
    if call.query("of").as_deref() != Some("proof") {
        return Err(Problem::new(Code::MalformedRequest).detail("a receipt is asked for with ?of=proof"));
    }
    let text = call.app.house.consent_receipt(&caller, id, event).await?;
    Ok(Answer::bytes("application/json", text.into_bytes()))
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
