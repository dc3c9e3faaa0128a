//! What goes back: verdicts, problems, texts and pixels, as values.
//!
//! A public key sees only `accepted` and `rejected`: anything finer would tell whoever copied the
//! key from a web page whether a person objected, was erased or is known (`ecosystem.md` 1.3).

use crate::domain::id::RecipientId;
use crate::domain::policy::{Protocol, Trust};
use crate::domain::reason::Reason;

use super::Form;
use super::json::quoted;
use super::refusal::{Flaw, Refusal};

/// An answer, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Every header but `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Stored, durably.
    Accepted,
    /// Stored before.
    Duplicate,
    /// Refused by policy: a stored decision, not an error.
    Refused(&'a [Reason]),
    /// Not taken.
    Rejected(Flaw),
}

/// One line of the results.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// Position in the request.
    pub index: usize,
    /// The message id as [`super::Parsed`] gave it.
    pub message_id: Option<&'a str>,
    /// What became of it.
    pub verdict: Verdict<'a>,
}

/// For whom an answer is made.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    /// Who can read the collector's key.
    pub trust: Trust,
    /// Its protocol.
    pub protocol: Protocol,
    /// Whether `Accept` names JSON ([`super::request::Request::accepts_json`]).
    pub accepts_json: bool,
}

/// The answer of success: 200, with a verdict for each event. `unsettled` names recipients whose
/// receipt of parcels on the wire was still unknown when the time for waiting was over; only a server key is told.
///
/// The single event of a request that turns out `rejected` is 400, as it would be if it had been
/// refused at once.
#[must_use]
pub fn verdicts(outcomes: &[Outcome<'_>], form: Form, unsettled: &[RecipientId], audience: Audience) -> Reply {
    if let (Form::Single, [Outcome { verdict: Verdict::Rejected(flaw), .. }]) = (form, outcomes) {
        return refused(Refusal::Event(*flaw));
    }
    // `rudder-sdk-python` and its kin want exactly 200, and read nothing.
    if audience.protocol == Protocol::Rudderstack && !audience.accepts_json {
        return Reply::new(200, "text/plain; charset=utf-8", b"ok".to_vec());
    }
    let mut body = String::with_capacity(32 + outcomes.len() * 80);
    body.push_str("{\"success\":true,\"results\":[");
    for (at, outcome) in outcomes.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        line(&mut body, *outcome, audience);
    }
    body.push(']');
    if audience.trust == Trust::Server && !unsettled.is_empty() {
        let names: Vec<String> = unsettled.iter().map(|name| quoted(name.as_str())).collect();
        body.push_str(&format!(",\"unsettled\":[{}]", names.join(",")));
    }
    body.push('}');
    Reply::new(200, "application/json", body.into_bytes())
}

fn line(body: &mut String, outcome: Outcome<'_>, audience: Audience) {
    body.push_str("{\"index\":");
    body.push_str(&outcome.index.to_string());
    if let Some(id) = outcome.message_id {
        body.push_str(",\"messageId\":");
        body.push_str(&quoted(shown(id, audience.protocol)));
    }
    let verdict = match (audience.trust, outcome.verdict) {
        (Trust::Public, Verdict::Duplicate | Verdict::Refused(_)) => Verdict::Accepted,
        (_, verdict) => verdict,
    };
    let name = match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Duplicate => "duplicate",
        Verdict::Refused(_) => "refused",
        Verdict::Rejected(_) => "rejected",
    };
    body.push_str(",\"verdict\":");
    body.push_str(&quoted(name));
    match verdict {
        Verdict::Refused(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(|reason| quoted(reason.as_str())).collect();
            body.push_str(&format!(",\"reasons\":[{}]", reasons.join(",")));
        }
        Verdict::Rejected(flaw) => {
            body.push_str(",\"code\":");
            body.push_str(&quoted(flaw.code()));
        }
        Verdict::Accepted | Verdict::Duplicate => {}
    }
    body.push('}');
}

/// A CloudEvent is known by source and id, but is answered by its id.
fn shown(id: &str, protocol: Protocol) -> &str {
    match protocol {
        Protocol::CloudEvents => id.split_once('\n').map_or(id, |(id, _)| id),
        Protocol::Segment | Protocol::Rudderstack | Protocol::Native => id,
    }
}

/// A refusal of the whole request as a problem (RFC 9457).
#[must_use]
pub fn refused(refusal: Refusal) -> Reply {
    let mut reply = problem(refusal.status(), refusal.code(), &refusal.to_string());
    if refusal == Refusal::Key {
        // Not `Basic`: a browser would ask its user for a name and a password.
        reply.headers.push(("www-authenticate", "Bearer".to_owned()));
    }
    reply
}

/// Why a client should come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// Rate, full queue, low disk, a store that is slow or away: 429, for Segment's clients give up
    /// sooner on 503.
    Busy,
    /// Starting or stopping: 503.
    Stopping,
}

/// An answer that asks the client to send the same again after so many whole seconds; what is out
/// of 1 to 300 is cut, for clients do so too. The spread over clients is the caller's.
#[must_use]
pub fn later(why: Later, seconds: u64) -> Reply {
    let (status, code, title) = match why {
        Later::Busy => (429, "too_many_requests", "too much arrives at once; send this again later"),
        Later::Stopping => (503, "unavailable", "the gateway is starting or stopping; send this again later"),
    };
    let mut reply = problem(status, code, title);
    reply.headers.push(("retry-after", seconds.clamp(1, 300).to_string()));
    reply
}

/// The members of RFC 9457, `code`, and `message`: without the last, a Python client takes a final
/// refusal for a fault of the network and repeats it.
fn problem(status: u16, code: &str, title: &str) -> Reply {
    let title = quoted(title);
    let code = quoted(code);
    let body = format!(r#"{{"type":"about:blank","title":{title},"status":{status},"code":{code},"message":{title}}}"#);
    Reply::new(status, "application/problem+json", body.into_bytes())
}

/// The smallest picture there is: 1×1, transparent.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

/// What a pixel is always answered, whatever became of its event.
#[must_use]
pub fn pixel() -> Reply {
    Reply::new(200, "image/gif", PIXEL.to_vec())
}

impl Reply {
    fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![
                ("content-type", content_type.to_owned()),
                ("cache-control", "no-store".to_owned()),
                ("referrer-policy", "no-referrer".to_owned()),
            ],
            body,
        }
    }

    /// A reply without a body.
    #[must_use]
    pub(super) fn empty(status: u16, headers: Vec<(&'static str, String)>) -> Self {
        let mut reply = Self::new(status, "", Vec::new());
        reply.headers.remove(0);
        reply.headers.extend(headers);
        reply
    }

    /// A JSON document that configures a client and may be cached for five minutes.
    #[must_use]
    pub(super) fn settings(body: String) -> Self {
        let mut reply = Self::new(200, "application/json", body.into_bytes());
        for (name, value) in &mut reply.headers {
            if *name == "cache-control" {
                "max-age=300".clone_into(value);
            }
        }
        reply
    }

    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outcomes: &[Outcome<'_>], trust: Trust, protocol: Protocol, accepts_json: bool) -> String {
        let audience = Audience { trust, protocol, accepts_json };
        let unsettled = [RecipientId::new("mail")];
        let reply = verdicts(outcomes, Form::Batch, &unsettled, audience);
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
        String::from_utf8(reply.body).unwrap()
    }

    #[test]
    fn a_public_key_sees_no_more_than_accepted_and_rejected() {
        let of = |verdict| {
            let outcome = Outcome { index: 0, message_id: Some("n-\"1"), verdict };
            text(&[outcome], Trust::Public, Protocol::Segment, false)
        };
        let accepted = of(Verdict::Accepted);
        assert_eq!(accepted, r#"{"success":true,"results":[{"index":0,"messageId":"n-\"1","verdict":"accepted"}]}"#);
        assert_eq!(of(Verdict::Duplicate), accepted);
        assert_eq!(of(Verdict::Refused(&[Reason::Erased])), accepted);
        assert!(of(Verdict::Rejected(Flaw::EventTooLarge)).contains(r#""rejected","code":"event_too_large""#));
    }

    #[test]
    fn a_server_key_sees_everything() {
        let outcomes = [
            Outcome { index: 0, message_id: None, verdict: Verdict::Refused(&[Reason::Objected, Reason::NoConsent]) },
            Outcome { index: 1, message_id: Some("a\n/s"), verdict: Verdict::Duplicate },
        ];
        let expected = concat!(
            r#"{"success":true,"results":[{"index":0,"verdict":"refused","reasons":["objected","no_consent"]},"#,
            r#"{"index":1,"messageId":"a","verdict":"duplicate"}],"unsettled":["mail"]}"#
        );
        assert_eq!(text(&outcomes, Trust::Server, Protocol::CloudEvents, false), expected);
        assert_eq!(text(&outcomes, Trust::Server, Protocol::Rudderstack, false), "ok");
    }

    #[test]
    fn problems_have_a_message_and_ask_for_no_longer_than_clients_wait() {
        let reply = refused(Refusal::BatchTooLong);
        let body = String::from_utf8(reply.body).unwrap();
        assert!(body.contains(r#""code":"batch_too_long""#) && body.contains(r#""message":"the batch"#));
        assert_eq!(later(Later::Busy, 9_000).header("retry-after"), Some("300"));
        assert_eq!(later(Later::Stopping, 0).status, 503);
        assert_eq!(pixel().body.len(), 43);
    }
}
