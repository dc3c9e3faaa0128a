//! The bytes of a message, in the form its recipient takes (`ecosystem.md` 2.4). Pure.
//!
//! Values are JSON text exactly as they were received and stay so: they are checked to be JSON, never
//! parsed into numbers and written again.

use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::Error;
use crate::domain::id::{FieldPath, InstallationId, PurposeId};

/// The form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFormat {
    /// `type`, `timestamp`, `data`; the id travels in a header (Standard Webhooks 1.0.0).
    Standard,
    /// A structured CloudEvent 1.0.
    CloudEvents,
    /// `id`, `type`, `timestamp`, `data` on one line (NDJSON files).
    Line,
}

impl MessageFormat {
    /// The media type of a body in this form.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Standard => "application/json",
            Self::CloudEvents => "application/cloudevents+json; charset=utf-8",
            Self::Line => "application/x-ndjson",
        }
    }
}

/// The id of a message, made with the promise and the same over all its tries: 26 base32 characters
/// of 16 random bytes. It holds no `.` (the signature's separator) and shows no creation time.
#[must_use]
pub fn message_id(random: [u8; 16]) -> String {
    format!("msg_{}", BASE32_NOPAD.encode(&random).to_ascii_lowercase())
}

/// The permitted fields of one record for one purpose.
pub struct RecordMessage<'a> {
    /// The promise's id.
    pub message_id: &'a str,
    /// When the message was made.
    pub timestamp: Timestamp,
    /// Who sends (CloudEvents' `source`).
    pub installation: InstallationId,
    /// The person's pairwise pseudonym at this recipient, `sub_…`.
    pub subject: &'a str,
    /// What for.
    pub purpose: &'a PurposeId,
    /// Field and its JSON text; `None` for a thin message, whose fields the recipient pulls.
    pub fields: Option<&'a [(&'a FieldPath, &'a str)]>,
    /// When the record was collected.
    pub collected_at: Timestamp,
    /// How long the recipient may keep it, an ISO 8601 duration.
    pub retention: &'a str,
    /// Whether the recipient may not pass it on.
    pub no_onward: bool,
    /// The decision's id, `d_…`.
    pub decision: &'a str,
    /// The policy's hash, `sha256:…`.
    pub policy: &'a str,
    /// What direct marketing by mail must carry besides.
    pub marketing: Option<&'a MarketingDuties<'a>>,
}

/// What a marketing mail must carry (Directive 2002/58/EC Art. 13; GDPR Art. 21(4)).
pub struct MarketingDuties<'a> {
    /// Address of the unsubscribe page; its token holds no personal data.
    pub unsubscribe_url: &'a str,
    /// Value of `List-Unsubscribe`.
    pub list_unsubscribe: &'a str,
    /// Value of `List-Unsubscribe-Post` (RFC 8058).
    pub list_unsubscribe_post: &'a str,
    /// Whether openings and clicks may be recorded.
    pub tracking: bool,
    /// Notices that must stand in the message, `right_to_object_notice`.
    pub must_include: &'a [&'a str],
}

/// Writes an `amanat.record`.
///
/// # Errors
///
/// [`Error::FieldUnreadable`] names the field whose text is not JSON.
pub fn record_body(message: &RecordMessage<'_>, format: MessageFormat) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fields = message.fields.map(raw_fields).transpose()?;
    let data = RecordData { message, fields: fields.as_deref() };
    let envelope = Envelope {
        message_id: message.message_id,
        kind: "amanat.record",
        timestamp: format!("{:.3}", message.timestamp),
        source: Some(message.installation),
        subject: Some(message.subject),
        data: &data,
    };
    let values = message.fields.unwrap_or_default();
    let length: usize = values.iter().map(|(field, text)| field.as_str().len() + text.len() + 8).sum();
    write(&envelope, format, length)
}

/// Writes an `amanat.test`, with which an operator tries a recipient out.
///
/// # Errors
///
/// None that is known; the writer's signature has one.
pub fn test_body(
    message_id: &str,
    timestamp: Timestamp,
    installation: InstallationId,
    format: MessageFormat,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let envelope = Envelope {
        message_id,
        kind: "amanat.test",
        timestamp: format!("{timestamp:.0}"),
        source: Some(installation),
        subject: None,
        data: &Empty {},
    };
    write(&envelope, format, 0)
}

/// What all messages share. `source` and `subject` are CloudEvents' and stand nowhere else.
pub(super) struct Envelope<'a, D> {
    pub(super) message_id: &'a str,
    pub(super) kind: &'static str,
    pub(super) timestamp: String,
    pub(super) source: Option<InstallationId>,
    pub(super) subject: Option<&'a str>,
    pub(super) data: &'a D,
}

/// Writes the message into a buffer that is wiped. `length` is the length of the personal part: the
/// buffer is made large enough at once, because growing would leave a copy behind.
pub(super) fn write<D: Serialize>(
    envelope: &Envelope<'_, D>,
    format: MessageFormat,
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut body = Zeroizing::new(Vec::with_capacity(length.saturating_add(ENVELOPE_LENGTH)));
    serde_json::to_writer(&mut *body, &Formatted { envelope, format }).map_err(Error::Message)?;
    Ok(body)
}

/// Room for everything in a message that is not a value.
const ENVELOPE_LENGTH: usize = 2048;

/// Fields with their values' JSON text, checked.
pub(super) fn raw_fields<'a>(fields: &'a [(&'a FieldPath, &'a str)]) -> Result<Vec<(&'a str, &'a RawValue)>, Error> {
    fields
        .iter()
        .map(|(field, text)| match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => Ok((field.as_str(), value)),
            // The parser's own error quotes nothing, but its position says something of the value.
            Err(_) => Err(Error::FieldUnreadable { field: field.as_str().to_owned() }),
        })
        .collect()
}

struct Formatted<'a, D> {
    envelope: &'a Envelope<'a, D>,
    format: MessageFormat,
}

impl<D: Serialize> Serialize for Formatted<'_, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let envelope = self.envelope;
        let mut map = serializer.serialize_map(None)?;
        match self.format {
            MessageFormat::Standard => {
                map.serialize_entry("type", envelope.kind)?;
                map.serialize_entry("timestamp", &envelope.timestamp)?;
            }
            MessageFormat::Line => {
                map.serialize_entry("id", envelope.message_id)?;
                map.serialize_entry("type", envelope.kind)?;
                map.serialize_entry("timestamp", &envelope.timestamp)?;
            }
            MessageFormat::CloudEvents => {
                map.serialize_entry("specversion", "1.0")?;
                map.serialize_entry("id", envelope.message_id)?;
                if let Some(installation) = envelope.source {
                    map.serialize_entry("source", &format_args!("urn:amanat:{installation}"))?;
                }
                map.serialize_entry("type", envelope.kind)?;
                if let Some(subject) = envelope.subject {
                    map.serialize_entry("subject", subject)?;
                }
                map.serialize_entry("time", &envelope.timestamp)?;
                map.serialize_entry("datacontenttype", "application/json")?;
            }
        }
        map.serialize_entry("data", envelope.data)?;
        map.end()
    }
}

struct RecordData<'a> {
    message: &'a RecordMessage<'a>,
    fields: Option<&'a [(&'a str, &'a RawValue)]>,
}

impl Serialize for RecordData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.message;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("subject", message.subject)?;
        map.serialize_entry("purpose", message.purpose.as_str())?;
        if let Some(fields) = self.fields {
            map.serialize_entry("fields", &Fields(fields))?;
        }
        map.serialize_entry("collected_at", &format_args!("{:.0}", message.collected_at))?;
        map.serialize_entry("retention", message.retention)?;
        map.serialize_entry("no_onward", &message.no_onward)?;
        map.serialize_entry("decision", message.decision)?;
        map.serialize_entry("policy", message.policy)?;
        if let Some(duties) = message.marketing {
            map.serialize_entry("unsubscribe", &Unsubscribe(duties))?;
            map.serialize_entry("tracking", &duties.tracking)?;
            map.serialize_entry("must_include", duties.must_include)?;
        }
        map.end()
    }
}

/// An object whose values are written as they are.
pub(super) struct Fields<'a>(pub(super) &'a [(&'a str, &'a RawValue)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

struct Unsubscribe<'a>(&'a MarketingDuties<'a>);

impl Serialize for Unsubscribe<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("url", self.0.unsubscribe_url)?;
        map.serialize_entry("list_unsubscribe", self.0.list_unsubscribe)?;
        map.serialize_entry("list_unsubscribe_post", self.0.list_unsubscribe_post)?;
        map.end()
    }
}

#[derive(serde::Serialize)]
struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(format: MessageFormat, fields: Option<&[(&FieldPath, &str)]>) -> String {
        let purpose = PurposeId::new("order_handling");
        let message = RecordMessage {
            message_id: "msg_amanat0001",
            timestamp: "2026-11-22T10:34:01.909Z".parse().unwrap(),
            installation: InstallationId::from_bytes([1; 16]),
            subject: "sub_lkvgql45rezsbbpm2dvy2y23aa",
            purpose: &purpose,
            fields,
            collected_at: "2026-11-22T10:33:59.5Z".parse().unwrap(),
            retention: "P2Y",
            no_onward: true,
            decision: "d_1",
            policy: "sha256:00",
            marketing: None,
        };
        let body = record_body(&message, format).unwrap();
        assert!(body.capacity() >= ENVELOPE_LENGTH && body.len() < ENVELOPE_LENGTH);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_record_in_each_form() {
        let email = FieldPath::new("traits.email");
        let fields: &[(&FieldPath, &str)] = &[(&email, "\"a@example.org\"")];
        let data = r#"{"subject":"sub_lkvgql45rezsbbpm2dvy2y23aa","purpose":"order_handling","fields":{"traits.email":"a@example.org"},"collected_at":"2026-11-22T10:33:59Z","retention":"P2Y","no_onward":true,"decision":"d_1","policy":"sha256:00"}"#;
        assert_eq!(
            body(MessageFormat::Standard, Some(fields)),
            format!(r#"{{"type":"amanat.record","timestamp":"2026-11-22T10:34:01.909Z","data":{data}}}"#)
        );
        assert_eq!(
            body(MessageFormat::Line, Some(fields)),
            format!(
                r#"{{"id":"msg_amanat0001","type":"amanat.record","timestamp":"2026-11-22T10:34:01.909Z","data":{data}}}"#
            )
        );
        assert_eq!(
            body(MessageFormat::CloudEvents, Some(fields)),
            format!(
                r#"{{"specversion":"1.0","id":"msg_amanat0001","source":"urn:amanat:01010101-0101-0101-0101-010101010101","type":"amanat.record","subject":"sub_lkvgql45rezsbbpm2dvy2y23aa","time":"2026-11-22T10:34:01.909Z","datacontenttype":"application/json","data":{data}}}"#
            )
        );
    }

    #[test]
    fn a_thin_record_has_no_fields_at_all() {
        assert!(!body(MessageFormat::Standard, None).contains("fields"));
    }

    #[test]
    fn numbers_keep_the_text_they_came_with() {
        let total = FieldPath::new("properties.total");
        let text = body(MessageFormat::Standard, Some(&[(&total, "1.10000000000000000000001")]));
        assert!(text.contains(r#""properties.total":1.10000000000000000000001"#));
    }

    #[test]
    fn a_value_that_is_not_json_names_its_field_and_nothing_more() {
        let field = FieldPath::new("traits.email");
        for text in ["", "canary@example.org", "\"canary", "1,\"injected\":2", "1}"] {
            let fields: &[(&FieldPath, &str)] = &[(&field, text)];
            let Err(error) = raw_fields(fields) else { panic!("accepted") };
            assert!(!format!("{error:?} {error}").contains("canary"));
        }
    }

    #[test]
    fn the_test_message_is_the_vectors_body() {
        let id = InstallationId::from_bytes([0; 16]);
        let body =
            test_body("msg_amanat0001", Timestamp::from_second(1_795_343_641).unwrap(), id, MessageFormat::Standard)
                .unwrap();
        assert_eq!(&**body, br#"{"type":"amanat.test","timestamp":"2026-11-22T10:34:01Z","data":{}}"#);
    }

    #[test]
    fn a_message_id_has_26_characters_and_no_separator() {
        let id = message_id([0xab; 16]);
        assert_eq!(id.len(), 30);
        assert!(id.starts_with("msg_") && !id.contains('.'));
    }
}
