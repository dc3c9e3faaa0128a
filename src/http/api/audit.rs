//! The audit log for those who check it: the public face in tlog-tiles form, and the entries for
//! officers.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::event::{Event, Outcome, Role, Standing};
use crate::domain::id::EntryId;
use crate::gateway::prove::{ENTRIES_AT_MOST, Wanted};
use crate::gateway::tokens::Scope;
use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

const DEFAULT_LIMIT: u16 = 100;

/// `GET /log/checkpoint`: the newest signed checkpoint.
#[utoipa::path(get, path = "/log/checkpoint", tag = "log",
    responses((status = 200, description = "The newest checkpoint, a C2SP signed note", content_type = "text/plain", body = String), (status = 404, description = "None was signed yet")))]
pub(in crate::http) async fn checkpoint(call: Call) -> Result<Answer, Problem> {
    let published = call.app.house.published().ok_or(Problem::new(Code::NotFound))?;
    let answer = Answer::bytes("text/plain; charset=utf-8", published.note.clone().into_bytes());
    Ok(answer.header("cache-control", "max-age=1"))
}

/// `GET /log/tile/…`: hash tiles for anyone. Entry bundles show the rhythm of the house, so to
/// anyone without the scope they do not exist.
#[utoipa::path(get, path = "/log/tile/{path}", tag = "log",
    params(("path" = String, Path, description = "C2SP tlog-tiles: `<level>/<index>[.p/<width>]`, or `entries/<index>[.p/<width>]` with the scope `audit:read` unless entries are public")),
    responses((status = 200, description = "Hashes of 32 bytes each, or entries each with its length in two bytes", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "No such tile, not published yet, pruned, or not for the caller")))]
pub(in crate::http) async fn tile(call: Call) -> Result<Answer, Problem> {
    let path = format!("tile/{}", call.path("path"));
    let is_entries = path.starts_with("tile/entries/");
    if is_entries && !may_read_entries(&call) {
        return Err(Problem::new(Code::NotFound));
    }
    let bytes = call.app.house.tile(&path).await?;
    let answer = Answer::bytes("application/octet-stream", bytes);
    // Entries that only some may read are for the cache of whoever read them.
    let kept_by = if is_entries && !call.app.house.settings.public_entries { "private, " } else { "" };
    Ok(answer.header("cache-control", format!("{kept_by}max-age=31536000, immutable")))
}

fn may_read_entries(call: &Call) -> bool {
    if call.app.house.settings.public_entries {
        return true;
    }
    let token = call
        .header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token
        .and_then(|(_, token)| call.app.house.service_of(token.trim()))
        .is_some_and(|service| service.may(Scope::AuditRead))
}

/// A page of entries.
#[derive(Serialize)]
struct Page {
    entries: Vec<Value>,
    /// What to give as `after` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Value>,
}

/// `GET /v1/audit/entries?after=&limit=`.
#[utoipa::path(get, path = "/v1/audit/entries", tag = "log",
    params(("after" = Option<u64>, Query, description = "The position behind which the page begins"), ("limit" = Option<u16>, Query, description = "Entries at most, 1 to 1,000; 100 if not given")),
    responses((status = 200, description = "`entries`, and `next` to give as `after` for the page behind"), (status = 401, description = "No token of a service"), (status = 422, description = "A parameter is no number in its bounds")))]
pub(in crate::http) async fn entries(call: Call) -> Result<Answer, Problem> {
    let after = number(&call, "after")?;
    let limit = match number(&call, "limit")? {
        None => DEFAULT_LIMIT,
        Some(limit) => {
            u16::try_from(limit).ok().filter(|limit| (1..=ENTRIES_AT_MOST).contains(limit)).ok_or_else(|| {
                Problem::new(Code::InvalidContent).detail(format!("limit is a number from 1 to {ENTRIES_AT_MOST}"))
            })?
        }
    };
    let entries = call.app.house.entries(after, limit).await?;
    let is_full = entries.len() == usize::from(limit);
    let next = entries.last().filter(|_| is_full).and_then(|entry| entry.get("seq").cloned());
    Answer::json(&Page { entries, next })
}

/// `GET /v1/audit/entries/{entry}`: by position, or by entry id in hexadecimal digits.
#[utoipa::path(get, path = "/v1/audit/entries/{entry}", tag = "log",
    params(("entry" = String, Path, description = "Its position, or its id in 32 hexadecimal digits")),
    responses((status = 200, description = "The entry: what it says, its leaf in base64 and the hash of it"), (status = 404, description = "No such entry")))]
pub(in crate::http) async fn entry(call: Call) -> Result<Answer, Problem> {
    let wanted = call.path_id("entry", wanted)?;
    Answer::json(&call.app.house.entry(wanted).await?)
}

/// `GET /v1/audit/entries/{entry}/proof`: a `.tlog-proof`, checkable without this gateway.
#[utoipa::path(get, path = "/v1/audit/entries/{entry}/proof", tag = "log",
    params(("entry" = String, Path, description = "Its position, or its id in 32 hexadecimal digits")),
    responses((status = 200, description = "A C2SP tlog-proof with the leaf in it", content_type = "text/plain", body = String), (status = 404, description = "No such entry"), (status = 409, description = "No checkpoint covers it yet")))]
pub(in crate::http) async fn proof(call: Call) -> Result<Answer, Problem> {
    let wanted = call.path_id("entry", wanted)?;
    let proof = call.app.house.prove_entry(wanted).await?;
    let name = format!("attachment; filename=\"{}.tlog-proof\"", proof.index);
    let answer = Answer::bytes("text/plain; charset=utf-8", proof.to_string().into_bytes());
    Ok(answer.header("content-disposition", name))
}

/// `GET /v1/audit/consistency?from=&to=`.
#[utoipa::path(get, path = "/v1/audit/consistency", tag = "log",
    params(("from" = u64, Query, description = "The older size"), ("to" = u64, Query, description = "The newer size")),
    responses((status = 200, description = "`from`, `to` and the `hashes` in base64 (RFC 9162 §2.1.4)"), (status = 422, description = "No sizes of the published log in this order")))]
pub(in crate::http) async fn consistency(call: Call) -> Result<Answer, Problem> {
    let missing = || Problem::new(Code::InvalidContent).detail("from and to are sizes of the log");
    let from = number(&call, "from")?.ok_or_else(missing)?;
    let to = number(&call, "to")?.ok_or_else(missing)?;
    Answer::json(&call.app.house.prove_consistency(from, to).await?)
}

/// `GET /v1/audit/status`.
#[utoipa::path(get, path = "/v1/audit/status", tag = "log", responses((status = 200, description = "How the log stands")))]
pub(in crate::http) async fn status(call: Call) -> Result<Answer, Problem> {
    Answer::json(&call.app.house.log_status().await?)
}

/// `GET /v1/audit/events`: the closed list of events.
#[utoipa::path(get, path = "/v1/audit/events", tag = "log", responses((status = 200, description = "The closed list of events")))]
pub(in crate::http) async fn events(_call: Call) -> Result<Answer, Problem> {
    let roles = |set: u8| -> Vec<&str> {
        Role::ALL.iter().filter(|role| set & (1 << role.number()) != 0).map(|role| role.as_str()).collect()
    };
    let facts = |set: u32| -> Vec<u32> { (0..u32::BITS).filter(|fact| set >> fact & 1 == 1).collect() };
    let event = |event: &Event| {
        let rule = event.rule();
        let outcomes = Outcome::ALL.iter().filter(|outcome| rule.admits_outcome(**outcome));
        json!({
            "code": event.number(),
            "event": event.as_str(),
            "class": rule.class.as_str(),
            "parts": roles(rule.parts_required),
            "optional_parts": roles(rule.parts_allowed & !rule.parts_required),
            "outcomes": outcomes.map(|outcome| outcome.as_str()).collect::<Vec<_>>(),
            "facts": facts(rule.facts_required),
            "optional_facts": facts(rule.facts_allowed & !rule.facts_required),
            "ocsf": {"class_uid": rule.ocsf_class, "activity_id": rule.ocsf_activity},
            "raised": rule.standing == Standing::Raised,
        })
    };
    Answer::json(&json!({"events": Event::ALL.iter().map(event).collect::<Vec<_>>()}))
}

/// A position, or an entry id: 32 hexadecimal digits are never a position, which has at most 19.
fn wanted(text: &str) -> Option<Wanted> {
    if text.len() == 32 {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        return Some(Wanted::Entry(EntryId::from_bytes(bytes.try_into().ok()?)));
    }
    decimal(text).map(Wanted::Position)
}

fn number(call: &Call, name: &'static str) -> Result<Option<u64>, Problem> {
    let Some(text) = call.query(name) else { return Ok(None) };
    let wrong = || Problem::new(Code::InvalidContent).detail(format!("{name} is a number"));
    decimal(&text).map(Some).ok_or_else(wrong)
}

/// A decimal number without sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
