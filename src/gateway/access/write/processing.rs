//! Why data is processed, which data, and until when (Art. 15(1)(a), (b) and (d)).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::domain::id::PurposeId;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::retention::OnErasure;
use crate::gateway::access::document::list_or;
use crate::storage::Micros;

use super::{NOBODY, Opened, Writing, put, put_span, time};

impl Writing<'_> {
    /// The purposes that were applied to this person: of a disclosure, a queued delivery or a consent
    /// choice, and those without consent that a stored field serves.
    pub(super) fn applied(&self) -> BTreeSet<PurposeId> {
        let mut applied: BTreeSet<PurposeId> =
            self.held.disclosures.iter().map(|disclosure| disclosure.purpose.clone()).collect();
        applied.extend(self.held.open.iter().map(|delivery| delivery.purpose.clone()));
        applied.extend(self.held.lines.iter().map(|line| line.purpose.clone()));
        for (path, _) in self.opened.iter().flat_map(|record| &record.fields) {
            let Some(field) = self.field(path) else { continue };
            applied.extend(
                field
                    .purposes
                    .iter()
                    .filter(|purpose| {
                        self.policy
                            .purposes
                            .get(*purpose)
                            .is_some_and(|purpose| purpose.active && purpose.basis != LegalBasis::Consent)
                    })
                    .cloned(),
            );
        }
        applied
    }

    pub(super) fn purposes(&self, applied: &BTreeSet<PurposeId>) -> Value {
        let items = applied
            .iter()
            .filter_map(|id| {
                let purpose = self.policy.purposes.get(id)?;
                let serving: Vec<&Opened<'_>> = self
                    .opened
                    .iter()
                    .filter(|record| {
                        record
                            .fields
                            .iter()
                            .any(|(path, _)| self.field(path).is_some_and(|field| field.purposes.contains(id)))
                    })
                    .collect();
                let uses: Vec<Micros> = serving
                    .iter()
                    .map(|record| record.record.collected_at)
                    .chain(
                        self.held
                            .disclosures
                            .iter()
                            .filter(|disclosure| disclosure.purpose == *id)
                            .map(|disclosure| disclosure.at),
                    )
                    .collect();
                let mut item = json!({
                    "id": id.as_str(),
                    "title": self.text(&purpose.title),
                    "text": self.text(&purpose.description),
                    "legal_basis": purpose.basis.as_str(),
                    "records": serving.len(),
                });
                put_span(&mut item, "first_use", "last_use", &uses);
                if purpose.basis == LegalBasis::Consent {
                    put(&mut item, "consent", Value::Array(self.texts_consented(id)));
                }
                Some(item)
            })
            .collect();
        list_or(items, NOBODY)
    }

    fn texts_consented(&self, purpose: &PurposeId) -> Vec<Value> {
        self.held
            .lines
            .iter()
            .filter(|line| line.purpose == *purpose)
            .flat_map(|line| &line.events)
            .map(|event| {
                let mut item = json!({ "act": event.kind.as_str(), "at": time(event.given_at.timestamp()) });
                if let Some(notice) = &event.notice {
                    put(
                        &mut item,
                        "text",
                        json!({ "notice": notice.id.as_str(), "version": notice.version, "language": notice.language }),
                    );
                }
                item
            })
            .collect()
    }

    pub(super) fn categories(&self) -> Value {
        let mut found: BTreeMap<&str, (BTreeSet<&str>, bool, usize)> = BTreeMap::new();
        for record in &self.opened {
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            for (path, _) in &record.fields {
                let Some(field) = self.field(path) else { continue };
                let (paths, special, records) = found.entry(field.category.as_str()).or_default();
                paths.insert(field.path.as_str());
                *special |= field.special;
                if seen.insert(field.category.as_str()) {
                    *records += 1;
                }
            }
        }
        let items = found
            .into_iter()
            .map(|(category, (fields, special, records))| {
                json!({
                    "label": words(category),
                    "term": format!("https://w3id.org/dpv/pd#{category}"),
                    "fields": fields,
                    "special": special,
                    "records": records,
                })
            })
            .collect();
        list_or(items, NOBODY)
    }

    pub(super) fn retention(&self) -> Value {
        let mut found: BTreeMap<(&str, &str), (BTreeSet<&str>, Vec<Micros>)> = BTreeMap::new();
        for record in &self.opened {
            for (path, _) in &record.fields {
                let Some(field) = self.field(path) else { continue };
                let (purposes, collected) =
                    found.entry((field.category.as_str(), field.retention.as_str())).or_default();
                purposes.extend(field.purposes.iter().map(PurposeId::as_str));
                collected.push(record.record.collected_at);
            }
        }
        let zone = &self.policy.controller.time_zone;
        let items = found
            .into_iter()
            .filter_map(|((category, class), (purposes, collected))| {
                let class = self.policy.retention.get(class)?;
                let mut item = json!({
                    "category": words(category),
                    "purposes": purposes,
                    "class": class.id.as_str(),
                    "period": class.period.to_string(),
                    "starts": class.starts.as_str(),
                    "then": "erased",
                    "on_erasure": match &class.on_erasure {
                        OnErasure::Erase => json!({ "kept": false }),
                        OnErasure::Keep { ground, law } => json!({ "kept": true, "ground": ground, "law": law }),
                    },
                });
                let ends: Vec<Timestamp> =
                    collected.iter().filter_map(|at| class.ends_at(at.timestamp(), zone)).collect();
                match (ends.iter().min(), ends.iter().max()) {
                    (Some(first), Some(last)) => {
                        put(&mut item, "first_end", Value::from(day(*first, zone)));
                        put(&mut item, "last_end", Value::from(day(*last, zone)));
                    }
                    _ => {
                        put(&mut item, "criterion", json!(format!("{} after {}", class.period, class.starts.as_str())))
                    }
                }
                if let Some(law) = &class.legal_source {
                    put(&mut item, "law", Value::from(law.as_str()));
                }
                Some(item)
            })
            .collect();
        list_or(items, NOBODY)
    }
}

fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).date().to_string()
}

/// `EmailAddress` as `Email address`.
fn words(term: &str) -> String {
    let mut text = String::with_capacity(term.len() + 4);
    for letter in term.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
            text.extend(letter.to_lowercase());
        } else {
            text.push(letter);
        }
    }
    text
}
