//! From rows to the words and values of `package.json`.

mod copy;
mod history;
mod processing;
mod recipients;
mod rights;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::category::Field;
use crate::domain::id::RecipientId;
use crate::domain::policy::Policy;
use crate::domain::purpose::Translations;
use crate::gateway::subject_request::Contents;
use crate::gateway::{Gateway, Result};
use crate::storage::Micros;
use crate::storage::records::StoredRecord;
use crate::storage::subject_requests::StoredCase;

use super::SCHEMA_NAME;
use super::document::{Document, not_applicable};
use super::gather::Held;

/// What is searched, by its everyday name.
const STORES: [&str; 6] = ["records", "identifiers", "consents", "disclosures", "deliveries", "audit log"];
const NOBODY: &str = "No data about you is stored here.";

/// A record with its values.
struct Opened<'a> {
    record: &'a StoredRecord,
    fields: Vec<(String, Box<RawValue>)>,
}

/// The house, its policy and the language, for everything that is written.
struct Writing<'a> {
    house: &'a Gateway,
    policy: &'a Policy,
    held: &'a Held,
    opened: Vec<Opened<'a>>,
    language: &'a str,
    now: Timestamp,
}

pub(super) fn document(house: &Gateway, case: &StoredCase, contents: &Contents, held: Held) -> Result<Document> {
    let in_force = house.policy();
    let now = held.at.map_or_else(|| house.source.now(), Micros::timestamp);
    let opened = held.records.iter().map(|record| copy::open(house, &held, record)).collect::<Result<Vec<_>>>()?;
    let writing = Writing { house, policy: &in_force.policy, held: &held, opened, language: &case.language, now };
    let purposes = writing.applied();
    Ok(Document {
        meta: writing.meta(case),
        confirmation: writing.confirmation(contents),
        purposes: writing.purposes(&purposes),
        categories: writing.categories(),
        recipients: writing.recipients(),
        retention: writing.retention(),
        rights: writing.rights(&purposes),
        complaint: writing.complaint(),
        source: writing.source(),
        automated_decisions: not_applicable(
            "No purpose applied to you is a decision based solely on automated processing (Art. 22).",
        ),
        safeguards: writing.safeguards(),
        copy: writing.copy(),
        consents: writing.consents(),
        consultations: writing.consultations(),
        requests: writing.requests(),
        processors: writing.processors(),
        withheld: Vec::new(),
    })
}

impl Writing<'_> {
    fn meta(&self, case: &StoredCase) -> Value {
        let controller = &self.policy.controller;
        json!({
            "format": "amanat-access-package/1",
            "schema": format!("{}/schemas/{SCHEMA_NAME}", self.house.settings.public_url),
            "reference": case.reference,
            "language": self.language,
            "made_at": time(self.now),
            "controller": {
                "name": controller.name,
                "address": controller.address,
                "country": controller.country,
                "data_protection_officer": controller.dpo_contact,
            },
            "policy": format!("sha256:{}", data_encoding::HEXLOWER.encode(&self.policy.hash.0)),
        })
    }

    fn confirmation(&self, contents: &Contents) -> Value {
        let kinds: BTreeSet<&str> = contents.identifiers.iter().map(|identifier| identifier.kind.as_str()).collect();
        let marks: Vec<String> = self
            .held
            .suppressed
            .iter()
            .map(|kind| format!("We keep a keyed mark of your {kind} so as not to contact you for direct marketing."))
            .collect();
        json!({
            "processed": !self.held.people.is_empty(),
            "searched": {
                "stores": STORES,
                "recipients": self.received().keys().map(RecipientId::as_str).collect::<Vec<_>>(),
                "archives": [],
            },
            "identifier_kinds": kinds,
            "keyed_marks": marks,
            "snapshot_at": time(self.now),
        })
    }

    fn field(&self, path: &str) -> Option<&Field> {
        self.policy.fields.get(path)
    }

    /// The text in the language of the case, else in the controller's first.
    fn text(&self, texts: &Translations) -> String {
        let first = self.policy.controller.languages.first();
        texts
            .get(self.language)
            .or_else(|| texts.get(first?))
            .or_else(|| texts.values().next())
            .cloned()
            .unwrap_or_default()
    }
}

fn put(item: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = item {
        members.insert(key.to_owned(), value);
    }
}

fn put_span(item: &mut Value, first: &str, last: &str, at: &[Micros]) {
    if let (Some(from), Some(to)) = (at.iter().min(), at.iter().max()) {
        put(item, first, Value::from(time(from.timestamp())));
        put(item, last, Value::from(time(to.timestamp())));
    }
}

fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}
