//! For whoever runs the gateway.

use serde::Serialize;

use crate::gateway::housekeeping::Room;
use crate::http::app::Phase;
use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

/// `GET /healthz`: the process lives.
pub(in crate::http) async fn healthz(_call: Call) -> Result<Answer, Problem> {
    Ok(Answer::bytes("text/plain; charset=utf-8", b"ok\n".to_vec()))
}

/// `GET /readyz`: whether traffic should come here. It turns red before work must be refused.
pub(in crate::http) async fn readyz(call: Call) -> Result<Answer, Problem> {
    let mut reasons = Vec::new();
    match call.app.phase() {
        Phase::Starting => reasons.push("starting".to_owned()),
        Phase::Serving => {}
        Phase::Stopping => reasons.push("stopping".to_owned()),
    }
    match call.app.house.room() {
        Room::Enough => {}
        Room::Little(why) | Room::None(why) => reasons.push(why.to_owned()),
    }
    if call.app.house.log_refusal().is_some() {
        reasons.push("the audit log is not the one that was signed".to_owned());
    }
    if let Some(why) = call.app.house.clock_trouble() {
        reasons.push(why);
    }
    if !call.app.house.stores_answer().await {
        reasons.push("the data store does not answer".to_owned());
    }
    let ready = reasons.is_empty();
    Answer::json_with(if ready { 200 } else { 503 }, &Readiness { ready, reasons })
}

/// `GET /metrics`: Prometheus.
pub(in crate::http) async fn metrics(call: Call) -> Result<Answer, Problem> {
    let figures = call.app.figures.as_ref().ok_or(Problem::new(Code::NotFound))?;
    Ok(Answer::bytes("text/plain; version=0.0.4; charset=utf-8", figures.render().into_bytes()))
}
