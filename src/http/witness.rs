//! The doors of a witness: one request to cosign, one answer of what was cosigned last.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::{App as Routes, HttpResponse, HttpServer, web};
use jiff::Timestamp;

use crate::witness::{Answer, Error, MAXIMUM_BODY, Refusal, SIZE_TYPE, Witness};

use super::call::receive;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(5);
/// How long requests that were accepted may go on after a stop, in seconds.
const GRACE: u64 = 5;
const TEXT: &str = "text/plain; charset=utf-8";

/// A witness with its clock, shared by all workers.
struct Shared {
    witness: Witness,
    now: fn() -> Timestamp,
}

/// Starts the doors of a witness on a listener. The server ends when its handle is told so.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(witness: Witness, now: fn() -> Timestamp, listener: TcpListener) -> std::io::Result<Server> {
    let shared = web::Data::from(Arc::new(Shared { witness, now }));
    let server = HttpServer::new(move || {
        Routes::new()
            .app_data(shared.clone())
            .route("/add-checkpoint", web::post().to(add_checkpoint))
            .route("/{log}/checkpoint", web::get().to(checkpoint))
    })
    .disable_signals()
    .shutdown_timeout(GRACE)
    .client_request_timeout(Duration::from_secs(5))
    // The store takes one request at a time.
    .workers(1)
    .worker_max_blocking_threads(4)
    .listen(listener)?;
    Ok(server.run())
}

/// `POST /add-checkpoint`.
async fn add_checkpoint(shared: web::Data<Shared>, mut payload: web::Payload) -> HttpResponse {
    let Ok(body) = receive(&mut payload, MAXIMUM_BODY, BODY_TIME).await else {
        return super::unread::hold(answer(Err(Refusal::Malformed)), payload);
    };
    let decided = web::block(move || shared.witness.add_checkpoint(&body, (shared.now)())).await;
    decided.map_or_else(|_| unavailable(None), |decided| decided.map_or_else(|error| unavailable(Some(&error)), answer))
}

/// `GET /<hex SHA-256(origin)>/checkpoint`.
async fn checkpoint(shared: web::Data<Shared>, log: web::Path<String>) -> HttpResponse {
    match web::block(move || shared.witness.checkpoint(&log)).await {
        Ok(Ok(Some(note))) => HttpResponse::Ok().content_type(TEXT).body(note),
        Ok(Ok(None)) => HttpResponse::NotFound().finish(),
        Ok(Err(error)) => unavailable(Some(&error)),
        Err(_) => unavailable(None),
    }
}

/// The table of C2SP tlog-witness.
fn answer(answer: Answer) -> HttpResponse {
    let refused = |status: StatusCode, refusal: Refusal| {
        HttpResponse::build(status).content_type(TEXT).body(format!("{refusal}\n"))
    };
    match answer {
        Ok(lines) => HttpResponse::Ok().content_type(TEXT).body(lines),
        Err(Refusal::Conflict { size }) => HttpResponse::Conflict().content_type(SIZE_TYPE).body(format!("{size}\n")),
        Err(refusal @ Refusal::Malformed) => refused(StatusCode::BAD_REQUEST, refusal),
        Err(refusal @ Refusal::UnknownLog) => refused(StatusCode::NOT_FOUND, refusal),
        Err(refusal @ Refusal::Signature) => refused(StatusCode::FORBIDDEN, refusal),
        Err(refusal @ Refusal::Inconsistent) => refused(StatusCode::UNPROCESSABLE_ENTITY, refusal),
    }
}

fn unavailable(error: Option<&Error>) -> HttpResponse {
    if let Some(error) = error {
        tracing::error!(error = crate::telemetry::cause(error), "a request could not be decided");
    }
    HttpResponse::ServiceUnavailable().finish()
}
