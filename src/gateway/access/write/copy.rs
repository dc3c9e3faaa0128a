//! The copy of the data itself, and where it came from (Art. 15(1)(g) and (3)).

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::crypto::envelope::{RecordPlace, Term};
use crate::crypto::mac::{Owner, RowId};
use crate::crypto::sealed::Sealed;
use crate::domain::personal::Access;
use crate::gateway::access::document::{
    Copy, CopyOrNot, FieldCopy, IdentifierCopy, RecordCopy, list_or, not_applicable,
};
use crate::gateway::access::gather::Held;
use crate::gateway::subject_request::OWN_TEXT;
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::Micros;
use crate::storage::records::StoredRecord;

use super::{NOBODY, Opened, Writing, put_span, time};

const TO_HAND_OVER: Access = Access::because("a person is given a copy of the data about them (Art. 15(3))");

impl Writing<'_> {
    pub(super) fn copy(&self) -> CopyOrNot {
        if self.held.people.is_empty() {
            return CopyOrNot::Not(not_applicable(NOBODY));
        }
        let identifiers = self
            .held
            .identifiers
            .iter()
            .map(|identifier| IdentifierCopy {
                kind: identifier.kind.clone(),
                namespace: identifier.namespace.clone(),
                value: identifier.value.reveal(&TO_HAND_OVER).clone(),
                since: time(identifier.added_at.timestamp()),
            })
            .collect();
        let records = self
            .opened
            .iter()
            .map(|opened| RecordCopy {
                id: opened.record.id.to_string(),
                kind: opened.record.kind.clone(),
                happened: time(opened.record.occurred_at.timestamp()),
                collected: time(opened.record.collected_at.timestamp()),
                collector: opened.record.collector.as_str().to_owned(),
                state: if self.held.open.iter().any(|delivery| delivery.record == opened.record.id) {
                    "queued"
                } else {
                    "live"
                },
                fields: opened.fields.iter().map(|(path, value)| self.field_copy(path, value)).collect(),
            })
            .collect();
        CopyOrNot::Copy(Copy { identifiers, records })
    }

    fn field_copy(&self, path: &str, value: &RawValue) -> FieldCopy {
        let field = self.field(path);
        let code: Option<String> = serde_json::from_str(value.get()).ok();
        let meaning = field.and_then(|field| {
            let code = code.as_deref()?;
            field.code_meanings.iter().find(|(known, _)| known == code).map(|(_, meaning)| self.text(meaning))
        });
        FieldCopy {
            path: path.to_owned(),
            description: field.map_or_else(
                || "A field that is no longer collected.".to_owned(),
                |field| self.text(&field.description),
            ),
            category: field.map_or("unknown", |field| field.category.as_str()).to_owned(),
            origin: field.map_or("observed", |field| field.origin.as_str()),
            value: value.to_owned(),
            meaning,
        }
    }

    pub(super) fn source(&self) -> Value {
        let mut found: BTreeMap<&str, Vec<Micros>> = BTreeMap::new();
        for record in &self.held.records {
            found.entry(record.collector.as_str()).or_default().push(record.collected_at);
        }
        let items = found
            .into_iter()
            .map(|(collector, at)| {
                let rules = self.policy.collectors.get(collector);
                let mut item = json!({
                    "collector": collector,
                    "from": rules.and_then(|rules| rules.source.as_deref()).unwrap_or("you, while you used our service"),
                    "records": at.len(),
                });
                put_span(&mut item, "first_seen", "last_seen", &at);
                item
            })
            .collect();
        list_or(items, NOBODY)
    }
}

/// Opens every value of a record.
pub(super) fn open<'a>(house: &Gateway, held: &Held, record: &'a StoredRecord) -> Result<Opened<'a>> {
    let in_force = house.policy();
    let terms = &in_force.terms;
    let keys = held.people.iter().find(|keys| keys.subject == record.subject).ok_or(Error::MissingKey)?;
    let place = RecordPlace {
        installation: house.keyholder.installation,
        owner: Owner::from(record.subject),
        kind: rows::RECORD,
        record: RowId::from(record.id),
    };
    let sealed = Sealed::parse(record.sealed.clone()).map_err(Error::DataUnreadable)?;
    let opener = keys.dek.open(&place, &sealed).map_err(Error::DataUnreadable)?;
    let not_json = |_| Error::DataUnreadable(crate::crypto::Error::NotJson);
    let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
    for entry in sealed.entries() {
        let (Some(path), Some(category)) = (terms.field_text(entry.field), terms.category_text(entry.category)) else {
            return Err(Error::DataUnreadable(crate::crypto::Error::Corrupted));
        };
        if path == OWN_TEXT {
            continue;
        }
        let value = opener.field(Term { number: entry.field, text: path }, category).map_err(Error::DataUnreadable)?;
        fields.push((path.to_owned(), RawValue::from_string(value.reveal(&TO_HAND_OVER).clone()).map_err(not_json)?));
    }
    let plain: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&record.plain).map_err(not_json)?;
    fields.extend(plain);
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(Opened { record, fields })
}
