//! The handshake of the CloudEvents webhook specification 1.0: may this sender push here?

use super::reply::Reply;
use super::request::Request;

/// Whether this asks to subscribe the gateway as a webhook: `OPTIONS` like a preflight, but without
/// that one's header.
#[must_use]
pub fn is_asked(request: &Request<'_>) -> bool {
    request.method == "OPTIONS"
        && request.header("webhook-request-origin").is_some()
        && request.header("access-control-request-method").is_none()
}

/// The answer to the handshake of the CloudEvents webhook specification. `origins` are the
/// `webhook_origins` of all collectors of this protocol, for a handshake carries no key;
/// `rate` is how many requests a minute are taken.
///
/// `WebHook-Request-Callback` is never called: it would let strangers send requests from inside.
#[must_use]
pub fn answer<'o>(request: &Request<'_>, origins: impl IntoIterator<Item = &'o str>, rate: u32) -> Reply {
    let allow = ("allow", "POST, OPTIONS".to_owned());
    let asked = request.header("webhook-request-origin").unwrap_or_default();
    let listed = request.lines("webhook-request-origin").count() == 1
        && origins.into_iter().any(|origin| origin.eq_ignore_ascii_case(asked));
    if !listed {
        return Reply::empty(405, vec![allow]);
    }
    let wanted = request.header("webhook-request-rate").and_then(|text| text.parse::<u32>().ok());
    let rate = wanted.filter(|wanted| *wanted > 0).map_or(rate, |wanted| wanted.min(rate));
    Reply::empty(
        200,
        vec![allow, ("webhook-allowed-origin", asked.to_owned()), ("webhook-allowed-rate", rate.to_string())],
    )
}
