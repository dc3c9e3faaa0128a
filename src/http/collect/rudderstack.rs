//! What RudderStack's protocol has beyond Segment's (`ecosystem.md` 1.7): the source configuration
//! its browser SDK asks for before it sends, merges, and pixels. Its events are read by
//! [`super::segment`].

use jiff::Timestamp;

use crate::domain::collected::RawIdentifier;
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;

use super::event::plain_text;
use super::json::{Value, quoted};
use super::refusal::{Flaw, Refusal};
use super::reply::Reply;
use super::request::Request;
use super::route::Call;
use super::{Parsed, Setting, segment};

/// The answer to `GET /sourceConfig/`. `destinations` stays empty: in device mode the page itself
/// would send to recipients, past the gateway.
///
/// `source` is the collector's id, `updated_at` when the policy took effect.
#[must_use]
pub fn source_config(source: &str, key: &str, updated_at: Timestamp) -> Reply {
    let body = format!(
        concat!(
            r#"{{"source":{{"id":{id},"name":{id},"writeKey":{key},"enabled":true,"#,
            r#""workspaceId":"amanat","destinations":[],"dataplanes":{{}},"#,
            r#""config":{{"statsCollection":{{"errors":{{"enabled":false}},"metrics":{{"enabled":false}}}}}}}},"#,
            r#""updatedAt":{updated_at}}}"#
        ),
        id = quoted(source),
        key = quoted(key),
        updated_at = quoted(&format!("{updated_at:.0}")),
    );
    Reply::settings(body)
}

/// The two identifiers of `mergeProperties: [{type, value}, {type, value}]`.
pub(super) fn merged(stated: Option<Value<'_, '_>>) -> Result<(RawIdentifier, RawIdentifier), Flaw> {
    let mut elements = stated.ok_or(Flaw::Malformed)?.elements();
    let (Some(one), Some(other), None) = (elements.next(), elements.next(), elements.next()) else {
        return Err(Flaw::Malformed);
    };
    let read = |element: Value<'_, '_>, pointer| {
        let kind = element.member("type").and_then(Value::text);
        let kind = kind.and_then(|kind| kind_named(&kind)).ok_or(Flaw::Malformed)?;
        let value = element.member("value").filter(|value| !value.is_blank());
        let text = value.and_then(plain_text).ok_or(Flaw::IdentifierInvalid)?;
        Ok(RawIdentifier { kind, namespace: String::new(), text: Personal::new(text), pointer })
    };
    Ok((read(one, "/mergeProperties/0/value")?, read(other, "/mergeProperties/1/value")?))
}

fn kind_named(name: &str) -> Option<IdentifierKind> {
    Some(match name {
        "email" => IdentifierKind::Email,
        "phone" | "mobile" => IdentifierKind::Phone,
        "user_id" | "userId" => IdentifierKind::UserId,
        "anonymous_id" | "anonymousId" => IdentifierKind::AnonymousId,
        name => {
            let named = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if !named || !(1..=64).contains(&name.len()) {
                return None;
            }
            IdentifierKind::Custom(name.to_owned())
        }
    })
}

/// A pixel: the event stands in the query. Only a collector whose rules say `get` takes it, for a
/// query ends in other people's logs.
pub(super) fn pixel(request: &Request<'_>, call: Call, setting: Setting<'_>) -> Result<Parsed, Refusal> {
    if !setting.rules.get {
        return Err(Refusal::NotFound);
    }
    let mut members = Vec::new();
    let mut properties = Vec::new();
    for (name, value) in request.pairs() {
        let pair = |name: &str| format!("{}:{}", quoted(name), quoted(&value));
        match name.as_ref() {
            "writeKey" => {}
            "userId" | "anonymousId" | "messageId" | "event" | "name" | "category" | "timestamp"
            | "originalTimestamp" | "sentAt" => members.push(pair(&name)),
            name => properties.push(pair(name.strip_prefix("properties.").unwrap_or(name))),
        }
    }
    // Two values of one name end as a duplicate key, which refuses the event.
    members.push(format!("\"properties\":{{{}}}", properties.join(",")));
    let event = format!("{{{}}}", members.join(","));
    segment::single(event.as_bytes(), call, setting)
}
