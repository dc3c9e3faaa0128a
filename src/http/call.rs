//! One call of the gateway's own API: who calls, with what, and how the answer leaves.

use std::future::Future;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::policy::Trust;
use crate::gateway::door::Credentials;
use crate::gateway::tokens::{Collector, Scope, Service};

use super::app::{App, Phase};
use super::problem::{Code, Door, Problem};
use super::routes::Permission;
use super::unread;

/// A call whose caller was accepted and whose body has arrived.
pub struct Call {
    /// The gateway.
    pub app: Arc<App>,
    /// Who calls.
    pub caller: Caller,
    /// The body.
    pub body: Bytes,
    request: HttpRequest,
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody known.
    Nobody,
    /// A service with a token.
    Service(Service),
    /// A collector with a write key.
    Collector(Collector, Trust),
}

/// An answer.
pub struct Answer {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// 200 with JSON.
    ///
    /// # Errors
    /// [`Code::Internal`] if the value has no JSON form.
    pub fn json(value: &impl Serialize) -> Result<Self, Problem> {
        Self::json_with(200, value)
    }

    /// JSON with another status.
    ///
    /// # Errors
    /// As [`Answer::json`].
    pub fn json_with(status: u16, value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(|_| Problem::new(Code::Internal))?;
        Ok(Self { status, content_type: "application/json", headers: Vec::new(), body })
    }

    /// Bytes of another type.
    #[must_use]
    pub const fn bytes(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), body }
    }

    /// The same with a further header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with another status.
    #[must_use]
    pub const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

impl Call {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`Code::MalformedBody`], naming line and column, never the content.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let text = std::str::from_utf8(&self.body)
            .map_err(|_| Problem::new(Code::MalformedBody).detail("the body is not UTF-8"))?;
        serde_json::from_str(text).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            let what = match error.classify() {
                serde_json::error::Category::Eof => "the JSON ends too early at",
                serde_json::error::Category::Syntax => "this is not JSON at",
                _ => "the JSON is not of the shape that this path takes at",
            };
            Problem::new(Code::MalformedBody).detail(format!("{what} {place}"))
        })
    }

    /// SHA-256 of the body, by which a repeated call is told from another one.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        hash_of(&self.body)
    }

    /// A part of the path.
    #[must_use]
    pub fn path(&self, name: &str) -> &str {
        self.request.match_info().get(name).unwrap_or_default()
    }

    /// An id in the path.
    ///
    /// # Errors
    /// [`Code::NotFound`]: what is no id names nothing.
    pub fn path_id<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
        parse(self.path(name)).ok_or(Problem::new(Code::NotFound))
    }

    /// A value of the query. Personal data never stands there.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.request.query_string().as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// A header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The key or token that was given, where the path is open to anyone and a known caller gets more.
    #[must_use]
    pub fn credentials(&self) -> Option<String> {
        write_key(&self.request).or_else(|| bearer(&self.request).map(str::to_owned))
    }

    /// The service that calls.
    ///
    /// # Errors
    /// [`Code::ForbiddenScope`] for a collector: the table admits it, the handler does not.
    pub fn service(&self) -> Result<&Service, Problem> {
        match &self.caller {
            Caller::Service(service) => Ok(service),
            Caller::Nobody | Caller::Collector(..) => Err(Problem::new(Code::ForbiddenScope)),
        }
    }
}

/// The door of the gateway's own API: checks who calls, takes the body in, runs the handler, lets
/// the answer out.
pub(super) async fn door<F, Fut>(
    request: HttpRequest,
    payload: Payload,
    app: web::Data<App>,
    permission: Permission,
    handler: F,
) -> HttpResponse
where
    F: FnOnce(Call) -> Fut,
    Fut: Future<Output = Result<Answer, Problem>>,
{
    let app = app.into_inner();
    let id = request_id();
    // Pages call what collectors may call and what is open to anyone.
    let readable = match permission {
        Permission::Anyone | Permission::CollectorOr(_) => readable_by(&request, &app),
        _ => Vec::new(),
    };
    let mut payload = payload;
    let done = enter(&request, &mut payload, Arc::clone(&app), permission, handler).await;
    let mut response = match done {
        Ok(answer) => {
            let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK));
            response.insert_header(("content-type", answer.content_type));
            if !answer.headers.iter().any(|(name, _)| *name == "cache-control") {
                response.insert_header(("cache-control", "no-store"));
            }
            for (name, value) in answer.headers {
                response.insert_header((name, value));
            }
            response.body(answer.body)
        }
        Err(problem) => {
            if problem.code() == Code::Unauthenticated {
                app.house.count_refusal(match permission {
                    Permission::Token => Credentials::ApiToken,
                    _ => Credentials::Access,
                });
            }
            problem_response(&problem, Door::Api)
        }
    };
    for (name, value) in readable {
        use actix_web::http::header::{HeaderName, HeaderValue};
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    mark(&mut response, &id);
    unread::hold(response, payload)
}

/// The headers by which the page that asks may read the answer: its origin, if a collector lists it.
fn readable_by(request: &HttpRequest, app: &App) -> Vec<(&'static str, String)> {
    let mut headers = vec![("vary", "Origin".to_owned())];
    let policy = app.house.policy();
    if let Some(origin) = origin(request)
        && policy.policy.collectors.values().any(|rules| rules.origins.iter().any(|listed| listed == origin))
    {
        headers.push(("access-control-allow-origin", origin.to_owned()));
    }
    headers
}

fn origin(request: &HttpRequest) -> Option<&str> {
    request.headers().get("origin").map(|value| value.to_str().unwrap_or("null"))
}

async fn enter<F, Fut>(
    request: &HttpRequest,
    payload: &mut Payload,
    app: Arc<App>,
    permission: Permission,
    handler: F,
) -> Result<Answer, Problem>
where
    F: FnOnce(Call) -> Fut,
    Fut: Future<Output = Result<Answer, Problem>>,
{
    let caller = admit(request, &app, permission)?;
    if permission != Permission::Anyone && app.phase() == Phase::Stopping {
        return Err(Problem::new(Code::Stopping));
    }
    let body = receive(payload, app.api_body, app.body_time).await?;
    handler(Call { app, caller, body, request: request.clone() }).await
}

/// Who calls, if they may.
fn admit(request: &HttpRequest, app: &App, permission: Permission) -> Result<Caller, Problem> {
    let unauthenticated = || Problem::new(Code::Unauthenticated);
    let scoped = |text: &str, scope: Scope| {
        let service = app.house.service_of(text).ok_or_else(unauthenticated)?;
        if service.may(scope) { Ok(Caller::Service(service)) } else { Err(Problem::new(Code::ForbiddenScope)) }
    };
    match permission {
        Permission::Anyone => Ok(Caller::Nobody),
        Permission::Token => bearer(request).map(|_| Caller::Nobody).ok_or_else(unauthenticated),
        Permission::Service(scope) => scoped(bearer(request).ok_or_else(unauthenticated)?, scope),
        Permission::CollectorOr(scope) => {
            let text = write_key(request).or_else(|| bearer(request).map(str::to_owned)).ok_or_else(unauthenticated)?;
            let Some(collector) = app.house.collector_of(&text) else { return scoped(&text, scope) };
            let policy = app.house.policy();
            let rules = policy.policy.collectors.get(&collector.id).ok_or_else(unauthenticated)?;
            let trust = rules.trust;
            // A filter and not authentication, as at the collectors' doors.
            if origin(request).is_some_and(|origin| !rules.origins.iter().any(|listed| listed == origin)) {
                return Err(Problem::new(Code::OriginNotAllowed));
            }
            if !app.admits(collector.token, trust) {
                return Err(Problem::new(Code::RateLimited));
            }
            Ok(Caller::Collector(collector, trust))
        }
        Permission::Metrics => {
            let local = request.peer_addr().is_some_and(|peer| peer.ip().is_loopback());
            let known = app
                .metrics_token
                .as_ref()
                .is_some_and(|token| bearer(request).is_some_and(|given| crate::gateway::tokens::same(token, given)));
            if known || (local && app.metrics_token.is_none()) {
                Ok(Caller::Nobody)
            } else {
                Err(Problem::new(Code::NotFound))
            }
        }
    }
}

/// SHA-256 of a body or a part of it.
#[must_use]
pub(super) fn hash_of(bytes: &[u8]) -> [u8; 32] {
    crate::gateway::hash_of(bytes)
}

/// The token of an `Authorization: Bearer` header.
#[must_use]
pub fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// A write key given as collectors give it, besides `Bearer`.
fn write_key(request: &HttpRequest) -> Option<String> {
    if let Some(key) = request.headers().get("x-write-key") {
        return key.to_str().ok().map(str::to_owned);
    }
    let value = request.headers().get("authorization")?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = data_encoding::BASE64.decode(encoded.trim().as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    Some(text.strip_suffix(':').unwrap_or(&text).to_owned())
}

/// Takes a body in, up to a size and within a time.
///
/// # Errors
/// [`Code::BodyTooLarge`]; [`Code::MalformedBody`] when it is cut off or too slow.
pub(super) async fn receive(payload: &mut Payload, most: usize, time: std::time::Duration) -> Result<Bytes, Problem> {
    let all = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Code::MalformedBody).detail("the body was cut off"))?;
            if body.len() + chunk.len() > most {
                return Err(Problem::new(Code::BodyTooLarge));
            }
            if body.is_empty() && chunk.len() >= most / 2 {
                body.reserve(most);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(time, all)
        .await
        .map_err(|_| Problem::new(Code::MalformedBody).detail("the body took too long to arrive"))?
}

/// A problem as a response.
pub(super) fn problem_response(problem: &Problem, at: Door) -> HttpResponse {
    let answer = problem.answer(at);
    let mut response =
        HttpResponse::build(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in answer.headers {
        response.insert_header((name, value));
    }
    response.body(answer.body)
}

/// A number for the request, so that a caller's question finds the line in the log.
fn request_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn mark(response: &mut HttpResponse, id: &str) {
    use actix_web::http::header::{HeaderName, HeaderValue};
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
}
