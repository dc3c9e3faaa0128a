//! The bytes of a rights message.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{RightsEvent, RightsMessage};
use crate::delivery::Error;
use crate::delivery::message::{Envelope, Fields, MessageFormat, raw_fields, write};
use crate::domain::id::PurposeId;

/// Writes a rights message.
///
/// # Errors
///
/// [`Error::FieldUnreadable`] names a corrected field whose text is not JSON.
pub fn rights_body(message: &RightsMessage<'_>, format: MessageFormat) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fields = message.fields.map(raw_fields).transpose()?;
    let envelope = Envelope {
        message_id: message.message_id,
        kind: message.event.message_type(),
        timestamp: format!("{:.3}", message.timestamp),
        source: Some(message.installation),
        // A person may be known to the recipient by several identifiers, or by none that is a
        // pseudonym: they stand in the data alone.
        subject: None,
        data: &Data { message, fields: fields.as_deref() },
    };
    let identifiers: usize = message
        .identifiers
        .iter()
        // Escaping makes a character six at most.
        .map(|(kind, value)| kind.len() + 6 * value.len() + 32)
        .sum();
    let values: usize =
        message.fields.unwrap_or_default().iter().map(|(field, text)| field.as_str().len() + text.len() + 8).sum();
    write(&envelope, format, identifiers + values)
}

struct Data<'a> {
    message: &'a RightsMessage<'a>,
    fields: Option<&'a [(&'a str, &'a RawValue)]>,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.message;
        let purposes: Option<Vec<&str>> =
            message.purposes.map(|purposes| purposes.iter().map(PurposeId::as_str).collect());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("verb", message.event.verb().as_str())?;
        map.serialize_entry("task", &format_args!("{}", message.task))?;
        map.serialize_entry("attempt", &message.attempt)?;
        map.serialize_entry("nonce", &message.nonce.text())?;
        map.serialize_entry("cause", message.cause.as_str())?;
        if let Some(on) = suppression(message.event) {
            map.serialize_entry("on", &on)?;
        }
        map.serialize_entry("identifiers", &Identifiers(message.identifiers))?;
        map.serialize_entry("purposes", &purposes)?;
        if let Some(fields) = self.fields {
            map.serialize_entry("fields", &Fields(fields))?;
        }
        map.serialize_entry("cursor", &message.cursor)?;
        map.serialize_entry("answer_by", &format_args!("{:.0}", message.answer_by))?;
        map.end()
    }
}

/// Whether a suppression begins or ends; `None` where nothing is suppressed.
const fn suppression(event: RightsEvent) -> Option<bool> {
    match event {
        RightsEvent::ConsentWithdrawn | RightsEvent::Restricted | RightsEvent::Objected => Some(true),
        RightsEvent::Unrestricted => Some(false),
        RightsEvent::Erased | RightsEvent::Rectified | RightsEvent::VerifyErased | RightsEvent::Access => None,
    }
}

struct Identifiers<'a>(&'a [(&'a str, &'a str)]);

impl Serialize for Identifiers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|&(kind, value)| Identifier { kind, value }))
    }
}

#[derive(serde::Serialize)]
struct Identifier<'a> {
    kind: &'a str,
    value: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::rights::{Nonce, RightsCause};
    use crate::domain::id::{InstallationId, TaskId};

    fn text(event: RightsEvent, cause: RightsCause, format: MessageFormat) -> String {
        let nonce = Nonce::from_random([0xff; 32]);
        let message = RightsMessage {
            message_id: "msg_1",
            timestamp: "2026-11-22T10:34:01Z".parse().unwrap(),
            installation: InstallationId::from_bytes([1; 16]),
            event,
            cause,
            task: TaskId::from_bytes([2; 16]),
            attempt: 2,
            nonce: &nonce,
            identifiers: &[("pairwise", "sub_x")],
            purposes: None,
            fields: None,
            cursor: None,
            answer_by: "2026-12-22T10:34:01Z".parse().unwrap(),
        };
        String::from_utf8(rights_body(&message, format).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn an_erasure_is_written_as_on_the_design_page() {
        let nonce = "_".repeat(42) + "8";
        let data = format!(
            r#"{{"verb":"erase","task":"02020202-0202-0202-0202-020202020202","attempt":2,"nonce":"{nonce}","cause":"erasure","identifiers":[{{"kind":"pairwise","value":"sub_x"}}],"purposes":null,"cursor":null,"answer_by":"2026-12-22T10:34:01Z"}}"#
        );
        assert_eq!(
            text(RightsEvent::Erased, RightsCause::Erasure, MessageFormat::Standard),
            format!(r#"{{"type":"amanat.subject.erased","timestamp":"2026-11-22T10:34:01.000Z","data":{data}}}"#)
        );
        assert_eq!(
            text(RightsEvent::Erased, RightsCause::Erasure, MessageFormat::Line),
            format!(
                r#"{{"id":"msg_1","type":"amanat.subject.erased","timestamp":"2026-11-22T10:34:01.000Z","data":{data}}}"#
            )
        );
    }

    #[test]
    fn a_restriction_turns_suppression_on_and_its_lifting_turns_it_off() {
        let on = text(RightsEvent::Restricted, RightsCause::Restriction, MessageFormat::Standard);
        assert!(on.contains(r#""verb":"suppress""#) && on.contains(r#""on":true"#));
        let off = text(RightsEvent::Unrestricted, RightsCause::Restriction, MessageFormat::Standard);
        assert!(off.contains(r#""verb":"suppress""#) && off.contains(r#""on":false"#));
    }
}
