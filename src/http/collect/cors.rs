//! Which pages may send (`ecosystem.md` 1.4). A filter and not authentication: whatever is not a
//! browser writes any origin it likes.

use std::collections::BTreeSet;

use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Request;

/// The headers that clients send and a page must be allowed to.
const HEADERS: &str = "authorization, content-type, anonymousid, sentat, sp-anonymous, x-write-key, \
                       x-ip-policy, x-enable-debug, x-retry-count";

/// Whether this is a preflight. A webhook handshake is `OPTIONS` too, but without this header.
#[must_use]
pub fn is_preflight(request: &Request<'_>) -> bool {
    request.method == "OPTIONS" && request.header("access-control-request-method").is_some()
}

/// The answer to a preflight, which carries no key: `origins` are those of all collectors together.
/// The real request is checked again by [`admits`].
#[must_use]
pub fn preflight<'o>(request: &Request<'_>, origins: impl IntoIterator<Item = &'o str>) -> Reply {
    let mut headers = granted(request, origins);
    if headers.len() > 1 {
        let asked = request.header("access-control-request-headers").unwrap_or_default();
        let events: BTreeSet<String> = asked
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| is_event_header(name))
            .take(64)
            .collect();
        let mut allowed = HEADERS.to_owned();
        for name in events {
            allowed.push_str(", ");
            allowed.push_str(&name);
        }
        headers.push(("access-control-allow-methods", "GET, POST, OPTIONS".to_owned()));
        headers.push(("access-control-max-age", "3600".to_owned()));
        headers.push(("access-control-allow-headers", allowed));
    }
    Reply::empty(204, headers)
}

/// The headers that every reply to a collector path needs, errors too, or the page cannot read it:
/// `Vary` always, the origin itself if it is listed, never `*`.
#[must_use]
pub fn granted<'o>(request: &Request<'_>, origins: impl IntoIterator<Item = &'o str>) -> Vec<(&'static str, String)> {
    let mut headers = vec![("vary", "Origin".to_owned())];
    if let Some(origin) = origin(request)
        && origins.into_iter().any(|listed| listed == origin)
    {
        headers.push(("access-control-allow-origin", origin.to_owned()));
        headers.push(("access-control-allow-credentials", "true".to_owned()));
    }
    headers
}

/// Whether the real request may come from where it says. Servers name no origin and are let in.
///
/// # Errors
/// [`Refusal::Origin`] if an origin is named that the collector does not list, `null` among them,
/// or two are named.
pub fn admits(request: &Request<'_>, origins: &[String]) -> Result<(), Refusal> {
    if request.lines("origin").next().is_none() {
        return Ok(());
    }
    match origin(request) {
        Some(origin) if origins.iter().any(|listed| listed == origin) => Ok(()),
        _ => Err(Refusal::Origin),
    }
}

/// The one origin that is named; `null` stands for pages that hide theirs and is never listed.
fn origin<'a>(request: &Request<'a>) -> Option<&'a str> {
    if request.lines("origin").count() != 1 {
        return None;
    }
    request.header("origin").filter(|origin| *origin != "null")
}

fn is_event_header(name: &str) -> bool {
    name.strip_prefix("ce-").is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "https://shop.example";

    fn options<'a>(headers: &'a [(&'a str, &'a [u8])]) -> Request<'a> {
        Request { method: "OPTIONS", path: "/v1/t", query: "", headers, body: b"" }
    }

    #[test]
    fn a_listed_origin_is_named_and_nothing_else_ever() {
        let asked = [
            ("origin", SHOP.as_bytes()),
            ("access-control-request-method", b"POST"),
            ("access-control-request-headers", b"CE-Id, x-secret, ce-\"x"),
        ];
        let reply = preflight(&options(&asked), [SHOP]);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, Some(SHOP)));
        assert!(reply.header("access-control-allow-headers").unwrap().ends_with("x-retry-count, ce-id"));
        let reply = preflight(&options(&asked), ["https://other.example"]);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, None));
        assert_eq!(reply.header("vary"), Some("Origin"));
    }

    #[test]
    fn null_and_two_origins_are_not_let_in() {
        let listed = [SHOP.to_owned(), "null".to_owned()];
        let ok = |headers: &[(&str, &[u8])]| admits(&options(headers), &listed).is_ok();
        assert!(ok(&[]) && ok(&[("origin", SHOP.as_bytes())]));
        assert!(!ok(&[("origin", b"null")]));
        assert!(!ok(&[("origin", b"https://evil.example")]));
        assert!(!ok(&[("origin", SHOP.as_bytes()), ("origin", b"https://evil.example")]));
    }
}
