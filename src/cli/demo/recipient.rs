//! A recipient for the tour: checks signatures, remembers what it was sent, answers rights messages.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::delivery::signing::{SigningSecret, signature_header};

/// What the recipients of the tour received.
#[derive(Clone, Default)]
pub(super) struct Received(Arc<Mutex<Vec<Parcel>>>);

/// One message that arrived with a good signature.
#[derive(Clone)]
pub(super) struct Parcel {
    /// The recipient it was for.
    pub(super) recipient: String,
    /// The message.
    pub(super) message: Value,
}

impl Received {
    /// Everything received so far.
    pub(super) fn all(&self) -> Vec<Parcel> {
        self.0.lock().map(|parcels| parcels.clone()).unwrap_or_default()
    }

    fn add(&self, parcel: Parcel) {
        if let Ok(mut parcels) = self.0.lock() {
            parcels.push(parcel);
        }
    }
}

struct Shared {
    secrets: BTreeMap<String, SigningSecret>,
    received: Received,
}

/// Starts the recipients on a free port of this machine; each has a path and a secret of its own.
pub(super) fn start(secrets: BTreeMap<String, SigningSecret>) -> Result<(SocketAddr, Received), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("the recipient of the tour cannot start: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let received = Received::default();
    let shared = web::Data::new(Shared { secrets, received: received.clone() });
    let server =
        HttpServer::new(move || App::new().app_data(shared.clone()).route("/{recipient}", web::post().to(receive)))
            .workers(1)
            .disable_signals()
            .listen(listener)
            .map_err(failed)?
            .run();
    tokio::spawn(server);
    Ok((address, received))
}

async fn receive(request: HttpRequest, body: Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let recipient = request.match_info().get("recipient").unwrap_or_default().to_owned();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(secret) = shared.secrets.get(&recipient) else { return HttpResponse::NotFound().finish() };
    let Ok(seconds) = header("webhook-timestamp").parse() else { return HttpResponse::BadRequest().finish() };
    let Ok(at) = jiff::Timestamp::from_second(seconds) else { return HttpResponse::BadRequest().finish() };
    let expected = signature_header(std::slice::from_ref(secret), header("webhook-id"), at, &body);
    if !header("webhook-signature").split(' ').any(|given| crate::gateway::tokens::same(given, &expected)) {
        return HttpResponse::Unauthorized().finish();
    }
    let Ok(message) = serde_json::from_slice::<Value>(&body) else { return HttpResponse::BadRequest().finish() };
    let answer = answer(&message);
    shared.received.add(Parcel { recipient, message });
    answer.map_or_else(|| HttpResponse::Ok().finish(), |answer| HttpResponse::Ok().json(answer))
}

/// Rights messages are answered with their nonce; records need no answer.
fn answer(message: &Value) -> Option<Value> {
    let data = message.get("data")?;
    let (task, nonce) = (data.get("task")?, data.get("nonce")?);
    Some(json!({ "task": task, "nonce": nonce, "result": "done", "removed": 1 }))
}
