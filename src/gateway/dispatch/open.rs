//! Open just the permitted fields and write the message.

use crate::crypto::envelope::{RecordPlace, Term};
use crate::crypto::mac::{Owner, RowId};
use crate::delivery::message::{MessageFormat, RecordMessage, message_id, record_body};
use crate::delivery::{Parcel, ParcelKind};
use crate::domain::id::{EntryId, FieldPath};
use crate::domain::personal::{Access, Personal};
use crate::domain::policy::Policy;
use crate::gateway::{Error, Gateway, Result, rows};
use jiff::Timestamp;

use super::claim::Claimed;

const TO_SEND: Access = Access::because("a recipient gets the fields that it may have by a decision made for this try");

/// Writes the message of a claimed promise.
///
/// # Errors
/// [`Error::DataUnreadable`] when a field cannot be opened; then nothing of it may be sent.
pub(super) fn parcel(house: &Gateway, claimed: &Claimed, format: MessageFormat, now: Timestamp) -> Result<Parcel> {
    let promise = &claimed.promise;
    let policy = &claimed.policy.policy;
    let recipient = policy.recipients.get(&promise.recipient);
    let values = if recipient.is_some_and(|recipient| recipient.thin) { None } else { Some(open(house, claimed)?) };
    let fields: Option<Vec<(&FieldPath, &str)>> = values
        .as_ref()
        .map(|values| values.iter().map(|(path, value)| (*path, value.reveal(&TO_SEND).as_str())).collect());
    let message_id = message_id(promise.message);
    let body = record_body(
        &RecordMessage {
            message_id: &message_id,
            timestamp: now,
            installation: house.keyholder.installation,
            subject: &claimed.pseudonym,
            purpose: &promise.purpose,
            fields: fields.as_deref(),
            collected_at: claimed.content.record.collected_at.timestamp(),
            retention: &retention(policy, &claimed.allowed, claimed.content.record.collected_at.timestamp()),
            no_onward: true,
            decision: &decision_text(claimed.decision),
            policy: &format!("sha256:{}", data_encoding::HEXLOWER.encode(&policy.hash.0)),
            marketing: None,
        },
        format,
    )
    .map_err(|_| Error::DataUnreadable(crate::crypto::Error::NotJson))?;
    Ok(Parcel { message_id, recipient: promise.recipient.clone(), body, kind: ParcelKind::Record })
}

/// Opens the allowed fields and no other.
fn open<'a>(house: &Gateway, claimed: &'a Claimed) -> Result<Vec<(&'a FieldPath, Personal<String>)>> {
    let content = &claimed.content;
    let terms = &claimed.policy.terms;
    let place = RecordPlace {
        installation: house.keyholder.installation,
        owner: Owner::from(content.record.subject),
        kind: rows::RECORD,
        record: RowId::from(content.record.id),
    };
    let opener = claimed.keys.dek.open(&place, &content.sealed).map_err(Error::DataUnreadable)?;
    let mut opened = Vec::with_capacity(claimed.allowed.len());
    for path in &claimed.allowed {
        let sealed = terms.field(path.as_str()).and_then(|number| content.sealed.entry(number));
        let value = match sealed {
            Some(entry) => {
                let missing = Error::DataUnreadable(crate::crypto::Error::MissingField(entry.category));
                let category = terms.category_text(entry.category).ok_or(missing)?;
                opener
                    .field(Term { number: entry.field, text: path.as_str() }, category)
                    .map_err(Error::DataUnreadable)?
            }
            None => match content.plain.get(path.as_str()) {
                Some(value) => Personal::new(value.get().to_owned()),
                None => continue,
            },
        };
        opened.push((path, value));
    }
    Ok(opened)
}

/// How long the recipient may keep what it gets: the shortest period of the fields, ISO 8601.
pub(crate) fn retention(policy: &Policy, fields: &[FieldPath], collected_at: Timestamp) -> String {
    fields
        .iter()
        .filter_map(|path| policy.retention.get(&policy.fields.get(path)?.retention))
        .min_by_key(|class| {
            // Periods of calendar units compare only from a day on.
            collected_at
                .to_zoned(policy.controller.time_zone.clone())
                .checked_add(class.period)
                .map_or(Timestamp::MAX, |end| end.timestamp())
        })
        .map_or_else(|| "PT0S".to_owned(), |class| class.period.to_string())
}

/// A decision's name for recipients and services: that of its leaf.
pub(crate) fn decision_text(entry: EntryId) -> String {
    format!("d_{}", data_encoding::BASE32_NOPAD.encode(entry.as_bytes()).to_ascii_lowercase())
}
