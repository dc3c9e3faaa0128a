//! `POST /v1/token`: an API token becomes an access token of five minutes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

/// What the access token should be for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Scopes, separated by spaces; all that the API token has if none are named.
    #[schema(example = "decisions disclosures")]
    scope: Option<String>,
}

/// An access token (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
pub struct TokenAnswer {
    /// The token, for `Authorization: Bearer`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// How long it is good, in seconds.
    expires_in: i64,
    /// What it may do.
    scope: String,
}

/// `POST /v1/token`, with the API token as `Authorization: Bearer`.
#[utoipa::path(post, path = "/v1/token", tag = "tokens", request_body = TokenRequest,
    responses((status = 200, description = "An access token", body = TokenAnswer), (status = 401, description = "Not acceptable")))]
pub(in crate::http) async fn exchange(call: Call) -> Result<Answer, Problem> {
    let unauthenticated = || Problem::new(Code::Unauthenticated);
    let text = call.credentials().ok_or_else(unauthenticated)?;
    let body: TokenRequest = if call.body.is_empty() { TokenRequest::default() } else { call.json()? };
    let (access_token, scope) = call.app.house.exchange(&text, body.scope.as_deref())?.ok_or_else(unauthenticated)?;
    Answer::json(&TokenAnswer {
        access_token,
        token_type: "Bearer",
        expires_in: crate::gateway::tokens::ACCESS_SECONDS,
        scope,
    })
}
