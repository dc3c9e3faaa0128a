//! The collectors' doors: from an HTTP request to `collect::parse`, the use-case, and back.
//!
//! The order of checks is part of the protocols: path and method, preflight and handshake, the key
//! where it stands before the body, the body within its bounds, the key in the body, the origin.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::domain::policy::{CollectorRules, Protocol, Trust};
use crate::gateway::collect::{Collection, Flaw as Unusable, Verdict as Taken, echo};
use crate::gateway::policy::PolicyInForce;
use crate::gateway::tokens::Collector;
use crate::gateway::{self};

use super::app::{App, Phase};
use super::call::{problem_response, receive};
use super::collect::refusal::{Flaw, Refusal};
use super::collect::reply::{self, Audience, Later, Outcome, Reply, Verdict};
use super::collect::request::Request;
use super::collect::route::{self, Route};
use super::collect::{self, Setting, body, cors, handshake, key, rudderstack, segment};
use super::problem::{Code, Door, Problem};
use super::routes;

/// Everything that is not in the table of the API: a collector's path, or nothing.
pub(super) async fn serve(request: HttpRequest, payload: Payload, app: web::Data<App>) -> HttpResponse {
    let app = app.into_inner();
    let path = request.path().to_owned();
    let Some(route) = route::find(&path) else {
        let methods = routes::methods_of(&path);
        let problem = if methods.is_empty() {
            Problem::new(Code::NotFound)
        } else {
            Problem::new(Code::MethodNotAllowed).detail(format!("this path takes {}", methods.join(", ")))
        };
        return problem_response(&problem, Door::Api);
    };
    let headers: Vec<(String, Vec<u8>)> =
        request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let lines: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let head = Request {
        method: request.method().as_str(),
        path: &path,
        query: request.query_string(),
        headers: &lines,
        body: &[],
    };
    let policy = app.house.policy();
    let mut answer = answer(&app, &policy, head, &route, payload).await;
    if matches!(route, Route::Pixel(_)) {
        answer = reply::pixel();
    }
    let granted = cors::granted(&head, origins(&policy));
    response(answer, granted)
}

async fn answer(
    app: &Arc<App>,
    policy: &Arc<PolicyInForce>,
    head: Request<'_>,
    route: &Route<'_>,
    payload: Payload,
) -> Reply {
    if head.method == "OPTIONS" {
        if cors::is_preflight(&head) {
            return cors::preflight(&head, origins(policy));
        }
        if matches!(route, Route::Events) {
            let webhooks =
                policy.policy.collectors.values().flat_map(|rules| rules.webhook_origins.iter().map(String::as_str));
            return handshake::answer(&head, webhooks, app.handshake_rate);
        }
    }
    if head.method != route.method() {
        return reply::refused(Refusal::Method);
    }
    match route {
        Route::Metrics => return reply::verdicts(&[], collect::Form::Batch, &[], QUIET),
        Route::Settings { key } => return settings(app, policy, key),
        _ => {}
    }
    if app.phase() != Phase::Serving {
        return reply::later(Later::Stopping, spread(5));
    }
    match take(app, policy, head, route, payload).await {
        Ok(reply) => reply,
        Err(Stopped::Refused(refusal)) => reply::refused(refusal),
        Err(Stopped::Busy(seconds)) => reply::later(Later::Busy, spread(seconds)),
        Err(Stopped::Failed(problem)) => as_reply(&problem),
    }
}

/// Why a request is not taken.
enum Stopped {
    Refused(Refusal),
    Busy(u64),
    Failed(Problem),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn take(
    app: &Arc<App>,
    policy: &Arc<PolicyInForce>,
    head: Request<'_>,
    route: &Route<'_>,
    payload: Payload,
) -> Result<Reply, Stopped> {
    let before = key::before_body(&head)?;
    let known_before = match &before {
        Some(given) => Some(look_up(app, policy, given.as_str())?),
        None => None,
    };
    if let Some((collector, rules)) = &known_before
        && !app.admits(collector.token, rules.trust)
    {
        return Err(Stopped::Busy(1));
    }
    if matches!(route, Route::SourceConfig) {
        let (collector, _) = known_before.ok_or(Refusal::Key)?;
        let given = before.ok_or(Refusal::Key)?;
        return Ok(rudderstack::source_config(collector.id.as_str(), given.as_str(), app.house.source.now()));
    }
    let received = receive(payload, app.limits.body, app.body_time).await.map_err(Stopped::Failed)?;
    let received_at = app.house.source.now();
    let decoded = body::decode(&received, head.lines("content-encoding"), app.limits.body)?;
    let (collector, rules) = match known_before {
        // A key in the body besides must be the same.
        Some(known) => {
            key::with_body(before, &decoded)?;
            known
        }
        None => {
            let given = key::with_body(None, &decoded)?;
            let (collector, rules) = look_up(app, policy, given.as_str())?;
            if !app.admits(collector.token, rules.trust) {
                return Err(Stopped::Busy(1));
            }
            (collector, rules)
        }
    };
    if !route.serves(rules.protocol) {
        return Err(Refusal::Key.into());
    }
    cors::admits(&head, &rules.origins)?;
    let request = Request { body: &decoded, ..head };
    let setting = Setting { rules, fields: &policy.policy.fields, limits: &app.limits, received_at };
    let parsed = collect::parse(&request, route, setting)?;

    let count = parsed.items.len();
    let mut places = Vec::with_capacity(count);
    let mut events = Vec::with_capacity(count);
    let mut rejected = Vec::new();
    for (place, item) in parsed.items.into_iter().enumerate() {
        match item {
            Ok(event) => {
                places.push(place);
                events.push(event);
            }
            Err(item) => rejected.push((place, item.message_id.as_ref().map(echo), item.flaw)),
        }
    }
    let collection = if events.is_empty() {
        Collection { verdicts: Vec::new(), message_ids: Vec::new(), unsettled: Vec::new() }
    } else {
        app.house.collect(&collector.id, events, received_at).await.map_err(stopped)?
    };
    if collection.verdicts.contains(&Taken::Later) {
        // Some are stored and some are not: the client sends all again, and the stored ones are
        // then duplicates.
        return Err(Stopped::Busy(2));
    }
    let mut outcomes: Vec<Outcome<'_>> = Vec::with_capacity(count);
    for ((place, verdict), message_id) in places.iter().zip(&collection.verdicts).zip(&collection.message_ids) {
        let verdict = match verdict {
            Taken::Accepted | Taken::Later => Verdict::Accepted,
            Taken::Duplicate => Verdict::Duplicate,
            Taken::Refused(reasons) => Verdict::Refused(reasons),
            Taken::Rejected(flaw) => Verdict::Rejected(match flaw {
                Unusable::IdentifierInvalid => Flaw::IdentifierInvalid,
                Unusable::IdentifierBlocked => Flaw::IdentifierBlocked,
                Unusable::NeedsServerKey => Flaw::NeedsServerKey,
                Unusable::TooLarge => Flaw::EventTooLarge,
            }),
        };
        outcomes.push(Outcome { index: *place, message_id: message_id.as_deref(), verdict });
    }
    for (place, message_id, flaw) in &rejected {
        outcomes.push(Outcome { index: *place, message_id: message_id.as_deref(), verdict: Verdict::Rejected(*flaw) });
    }
    outcomes.sort_by_key(|outcome| outcome.index);
    let audience = Audience { trust: rules.trust, protocol: rules.protocol, accepts_json: head.accepts_json() };
    Ok(reply::verdicts(&outcomes, parsed.form, &collection.unsettled, audience))
}

/// The collector of a write key and its rules; unknown, disabled and removed keys are all the same.
fn look_up<'p>(app: &App, policy: &'p PolicyInForce, given: &str) -> Result<(Collector, &'p CollectorRules), Refusal> {
    let collector = app.house.collector_of(given).ok_or(Refusal::Key)?;
    let rules = policy.policy.collectors.get(&collector.id).ok_or(Refusal::Key)?;
    Ok((collector, rules))
}

/// What Segment's browser SDK asks before it sends anything.
fn settings(app: &App, policy: &PolicyInForce, given: &str) -> Reply {
    let Ok((_, rules)) = look_up(app, policy, given) else { return reply::refused(Refusal::NotFound) };
    let categories: Vec<&str> = rules.categories.keys().map(String::as_str).collect();
    segment::settings(given, &app.public_host, &app.public_scheme, &categories)
}

fn origins(policy: &PolicyInForce) -> impl Iterator<Item = &str> {
    policy.policy.collectors.values().flat_map(|rules| rules.origins.iter().map(String::as_str))
}

fn stopped(error: gateway::Error) -> Stopped {
    match error {
        gateway::Error::StoreUnavailable(_) | gateway::Error::KeysUnavailable(_) | gateway::Error::Contention => {
            tracing::warn!(
                error = crate::telemetry::cause(&error),
                "events could not be stored; their sender is asked to come again"
            );
            Stopped::Busy(5)
        }
        gateway::Error::NotFound => Stopped::Refused(Refusal::Key),
        other => Stopped::Failed(Problem::from(other)),
    }
}

/// Seconds, spread over ± 20 % so that clients do not come back all at once.
fn spread(seconds: u64) -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(7, Ordering::Relaxed) % 41;
    (seconds.saturating_mul(80 + turn) / 100).max(1)
}

fn as_reply(problem: &Problem) -> Reply {
    let answer = problem.answer(Door::Collector);
    Reply { status: answer.status, headers: answer.headers, body: answer.body }
}

const QUIET: Audience = Audience { trust: Trust::Public, protocol: Protocol::Segment, accepts_json: true };

fn response(reply: Reply, more: Vec<(&'static str, String)>) -> HttpResponse {
    let mut response =
        HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in reply.headers.into_iter().chain(more) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.insert_header((name, value));
        }
    }
    response.body(reply.body)
}
