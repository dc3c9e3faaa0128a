//! To whom data went, under which safeguards, and who still holds a copy (Art. 15(1)(c) and (2)).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::domain::id::{FieldPath, RecipientId};
use crate::domain::policy::EEA;
use crate::domain::recipient::RecipientRole;
use crate::gateway::access::document::list_or;
use crate::storage::Micros;

use super::{Writing, put, put_span};

/// What one recipient received.
#[derive(Default)]
pub(super) struct Received<'a> {
    purposes: BTreeSet<&'a str>,
    fields: BTreeSet<&'a str>,
    at: Vec<Micros>,
    queued: usize,
}

impl Writing<'_> {
    pub(super) fn recipients(&self) -> Value {
        let items = self
            .received()
            .into_iter()
            .map(|(id, received)| {
                let recipient = self.policy.recipients.get(&id);
                let mut item = json!({
                    "name": recipient.map_or(id.as_str(), |recipient| &recipient.name),
                    "country": recipient.map_or("unknown", |recipient| &recipient.country),
                    "role": recipient.map_or("unknown", |recipient| recipient.role.as_str()),
                    "purposes": received.purposes,
                    "fields": received.fields,
                    "count": received.at.len(),
                    "queued": received.queued,
                });
                put_span(&mut item, "first", "last", &received.at);
                item
            })
            .collect();
        list_or(items, "No data about you was handed to anybody, and none is waiting to be.")
    }

    pub(super) fn safeguards(&self) -> Value {
        let items = self
            .received()
            .keys()
            .filter_map(|id| self.policy.recipients.get(id))
            .flat_map(|recipient| {
                std::iter::once(&recipient.country)
                    .chain(&recipient.access_countries)
                    .map(move |country| (recipient, country))
            })
            .filter(|(_, country)| !EEA.contains(&country.as_str()))
            .map(|(recipient, country)| {
                let mut item = json!({
                    "recipient": recipient.name,
                    "country": country,
                    "safeguard": recipient.safeguard.as_ref().map_or("adequacy", |safeguard| safeguard.as_str()),
                });
                if let Some(contract) = &recipient.contract {
                    put(&mut item, "document", Value::from(contract.as_str()));
                }
                if let Some(until) = recipient.listed_until.or(recipient.contract_until) {
                    put(&mut item, "valid_until", Value::from(until.to_string()));
                }
                item
            })
            .collect();
        list_or(items, "No data about you was handed to a recipient outside the European Economic Area.")
    }

    /// Processors that hold a copy and could be asked for it. They are not asked yet.
    pub(super) fn processors(&self) -> Value {
        let items = self
            .received()
            .keys()
            .filter_map(|id| self.policy.recipients.get(id))
            .filter(|recipient| {
                recipient.role == RecipientRole::Processor && recipient.verbs.iter().any(|verb| verb == "access")
            })
            .map(|recipient| json!({ "name": recipient.name, "state": "not_asked" }))
            .collect();
        list_or(
            items,
            "No processor that received your data can be asked for its copy; what it received stands under recipients.",
        )
    }

    pub(super) fn received(&self) -> BTreeMap<RecipientId, Received<'_>> {
        let mut found: BTreeMap<RecipientId, Received<'_>> = BTreeMap::new();
        for disclosure in &self.held.disclosures {
            let entry = found.entry(disclosure.recipient.clone()).or_default();
            entry.purposes.insert(disclosure.purpose.as_str());
            entry.fields.extend(disclosure.fields.iter().map(FieldPath::as_str));
            entry.at.push(disclosure.at);
        }
        for delivery in &self.held.open {
            let entry = found.entry(delivery.recipient.clone()).or_default();
            entry.purposes.insert(delivery.purpose.as_str());
            entry.queued += 1;
        }
        found
    }
}
