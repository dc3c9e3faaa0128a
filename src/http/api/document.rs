//! What the API says of itself.

use crate::http::call::{Answer, Call};
use crate::http::openapi;
use crate::http::problem::{self, Code, Problem};

/// `GET /openapi.json`.
pub(in crate::http) async fn openapi(_call: Call) -> Result<Answer, Problem> {
    let document = openapi::json().map_err(|_| Problem::new(Code::Internal))?;
    Ok(Answer::bytes("application/json", document.into_bytes()).header("cache-control", "max-age=300"))
}

/// `GET /docs/problems`: the table of public error codes.
pub(in crate::http) async fn problems(_call: Call) -> Result<Answer, Problem> {
    Ok(Answer::bytes("text/markdown; charset=utf-8", problem::documentation().into_bytes())
        .header("cache-control", "max-age=300"))
}
