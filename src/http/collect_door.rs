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
use crate::gateway::door::Credentials;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::tokens::Collector;
use crate::gateway::{self};

use super::app::{App, Phase};
use super::call::{problem_response, receive};
use super::collect::refusal::{Flaw, Refusal};
use super::collect::reply::{self, Audience, Outcome, Reply, Verdict};
use super::collect::request::Request;
use super::collect::route::{self, Route};
use super::collect::{self, Setting, body, cors, handshake, key, rudderstack, segment};
use super::problem::{Code, Door, Problem};
use super::{routes, unread};

/// Everything that is not in the table of the API: a collector's path, or nothing.
pub(super) async fn serve(request: HttpRequest, payload: Payload, app: web::Data<App>) -> HttpResponse {
    let app = app.into_inner();
    let path = request.path();
    if request.method() == actix_web::http::Method::OPTIONS && routes::is_open_to_pages(path) {
        return preflight(&request, &app, path);
    }
    let Some(route) = route::find(path) else {
        let methods = routes::methods_of(path);
        let problem = if methods.is_empty() {
            Problem::new(Code::NotFound)
        } else {
            Problem::new(Code::MethodNotAllowed).detail(format!("this path takes {}", methods.join(", ")))
        };
        return problem_response(&problem, Door::Api);
    };
    let lines: Vec<(&str, &[u8])> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let head =
        Request { method: request.method().as_str(), path, query: request.query_string(), headers: &lines, body: &[] };
    let policy = app.house.policy();
    let mut payload = payload;
    let mut answer = answer(&app, &policy, head, &route, &mut payload).await;
    if matches!(route, Route::Pixel(_)) {
        answer = reply::pixel();
    }
    let granted = cors::granted(&head, origins(&policy));
    unread::hold(response(answer, granted), payload)
}

/// What a browser asks before a page of a collector calls the API.
fn preflight(request: &HttpRequest, app: &App, path: &str) -> HttpResponse {
    let headers: Vec<(&str, &[u8])> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let head = Request { method: "OPTIONS", path, query: "", headers: &headers, body: &[] };
    let policy = app.house.policy();
    let mut reply = cors::preflight(&head, origins(&policy));
    for (name, value) in &mut reply.headers {
        if *name == "access-control-allow-headers" {
            value.push_str(", idempotency-key");
        }
    }
    response(reply, Vec::new())
}

async fn answer(
    app: &Arc<App>,
    policy: &Arc<PolicyInForce>,
    head: Request<'_>,
    route: &Route<'_>,
    payload: &mut Payload,
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
        let methods = if route.method() == "GET" { "GET, OPTIONS" } else { "POST, OPTIONS" };
        return reply::problem(&Problem::new(Code::MethodNotAllowed).allow(methods));
    }
    match route {
        Route::Metrics => return reply::verdicts(&[], collect::Form::Batch, &[], QUIET),
        Route::Settings { key } => return settings(app, policy, key),
        _ => {}
    }
    if app.phase() != Phase::Serving {
        return reply::later(if app.phase() == Phase::Starting { Code::Starting } else { Code::Stopping }, spread(5));
    }
    match take(app, policy, head, route, payload).await {
        Ok(reply) => reply,
        Err(Stopped::Refused(refusal)) => {
            if refusal.code() == Code::Unauthenticated {
                app.house.count_refusal(Credentials::WriteKey);
            }
            reply::refused(refusal)
        }
        Err(Stopped::Later(why, seconds)) => reply::later(why, spread(seconds)),
        Err(Stopped::Failed(problem)) => reply::problem(&problem),
    }
}

/// Why a request is not taken.
enum Stopped {
    Refused(Refusal),
    /// The same request should come again after so many seconds.
    Later(Code, u64),
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
    payload: &mut Payload,
) -> Result<Reply, Stopped> {
    let before = key::before_body(&head)?;
    let known_before = match &before {
        Some(given) => Some(look_up(app, policy, given.as_str())?),
        None => None,
    };
    if let Some((collector, rules)) = &known_before
        && !app.admits(collector.token, rules.trust)
    {
        return Err(Stopped::Later(Code::RateLimited, 1));
    }
    if matches!(route, Route::SourceConfig) {
        let (collector, _) = known_before.ok_or(Refusal::Key)?;
        let given = before.ok_or(Refusal::Key)?;
        return Ok(rudderstack::source_config(collector.id.as_str(), given.as_str(), app.house.source.now()));
    }
    // A body that does not come in time is one to send again: 408 and 400 would be final for SDKs.
    let received =
        tokio::time::timeout(app.body_time, receive(payload, app.limits.body, app.body_time.saturating_mul(2)))
            .await
            .map_err(|_| Stopped::Later(Code::Overloaded, 1))?
            .map_err(Stopped::Failed)?;
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
                return Err(Stopped::Later(Code::RateLimited, 1));
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
        return Err(Stopped::Later(Code::Overloaded, 2));
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
        gateway::Error::StoreUnavailable(_)
        | gateway::Error::KeysUnavailable(_)
        | gateway::Error::ClockSuspended
        | gateway::Error::Contention => {
            let why = match &error {
                gateway::Error::StoreUnavailable(_) => Code::StoreUnavailable,
                gateway::Error::KeysUnavailable(_) => Code::KeysUnavailable,
                gateway::Error::ClockSuspended => Code::ClockSuspended,
                _ => Code::Overloaded,
            };
            tracing::warn!(
                error = crate::telemetry::cause(&error),
                "events could not be stored; their sender is asked to come again"
            );
            Stopped::Later(why, 5)
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
