//! From rows to the words and values of `package.json`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::crypto::envelope::{RecordPlace, Term};
use crate::crypto::mac::{Owner, RowId};
use crate::crypto::sealed::Sealed;
use crate::domain::category::Field;
use crate::domain::consent::fold;
use crate::domain::id::{FieldPath, PurposeId, RecipientId};
use crate::domain::legal_basis::LegalBasis;
use crate::domain::personal::Access;
use crate::domain::policy::{EEA, Policy};
use crate::domain::purpose::Translations;
use crate::domain::recipient::RecipientRole;
use crate::domain::retention::OnErasure;
use crate::gateway::person::{basis_of, domain_event};
use crate::gateway::subject_request::{Contents, OWN_TEXT};
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::Micros;
use crate::storage::records::StoredRecord;
use crate::storage::subject_requests::StoredCase;

use super::SCHEMA_NAME;
use super::document::{Copy, CopyOrNot, Document, FieldCopy, IdentifierCopy, RecordCopy, list_or, not_applicable};
use super::gather::Held;

const TO_HAND_OVER: Access = Access::because("a person is given a copy of the data about them (Art. 15(3))");

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
    let opened = held.records.iter().map(|record| open(house, &held, record)).collect::<Result<Vec<_>>>()?;
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

    /// The purposes that were applied to this person: of a disclosure, a queued delivery or a consent
    /// choice, and those without consent that a stored field serves.
    fn applied(&self) -> BTreeSet<PurposeId> {
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

    fn purposes(&self, applied: &BTreeSet<PurposeId>) -> Value {
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

    fn categories(&self) -> Value {
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

    fn recipients(&self) -> Value {
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

    fn retention(&self) -> Value {
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

    fn rights(&self, applied: &BTreeSet<PurposeId>) -> Value {
        let on = |wanted: &[LegalBasis]| -> Vec<&str> {
            applied
                .iter()
                .filter_map(|id| self.policy.purposes.get(id))
                .filter(|purpose| wanted.contains(&purpose.basis))
                .map(|purpose| purpose.id.as_str())
                .collect()
        };
        let all: Vec<&str> = applied.iter().map(PurposeId::as_str).collect();
        let how =
            format!("Write to {}, or use the channel through which you asked.", self.policy.controller.dpo_contact);
        let link = self.house.settings.public_url.clone();
        let right = |article: &str, right: &str, purposes: Vec<&str>| json!({ "article": article, "right": right, "purposes": purposes, "how": how, "link": link });
        let objectable: Vec<&str> = applied
            .iter()
            .filter_map(|id| self.policy.purposes.get(id))
            .filter(|purpose| {
                purpose.direct_marketing
                    || matches!(
                        purpose.basis,
                        LegalBasis::LegitimateInterests | LegalBasis::PublicTask | LegalBasis::SoftOptIn
                    )
            })
            .map(|purpose| purpose.id.as_str())
            .collect();
        json!([
            right("7(3)", "withdraw a consent, at any time", on(&[LegalBasis::Consent])),
            right("16", "have wrong data corrected or completed", all.clone()),
            right("17", "have data erased", all.clone()),
            right("18", "have processing restricted", all),
            right(
                "20",
                "receive data you provided, to take elsewhere",
                on(&[LegalBasis::Consent, LegalBasis::Contract])
            ),
            right("21", "object", objectable),
        ])
    }

    fn complaint(&self) -> Value {
        json!({
            "authority": self.policy.controller.authority,
            "authority_of_person": not_applicable("Your country is not known here; you may also turn to the authority where you live or work (Art. 77)."),
            "court": "The courts of the country where the controller has its seat, or of the one where you live (Art. 79).",
        })
    }

    fn source(&self) -> Value {
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

    fn safeguards(&self) -> Value {
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

    fn copy(&self) -> CopyOrNot {
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

    fn consents(&self) -> Value {
        let items = self
            .held
            .lines
            .iter()
            .map(|line| {
                let events: Vec<_> = line.events.iter().map(domain_event).collect();
                let ruling = fold(&events, basis_of(self.policy, &line.purpose));
                let state = self
                    .policy
                    .purposes
                    .get(&line.purpose)
                    .map_or("purpose_unknown", |purpose| ruling.state(self.policy, purpose, None, self.now).as_str());
                let events: Vec<Value> = line
                    .events
                    .iter()
                    .map(|event| {
                        let mut item = json!({
                            "act": event.kind.as_str(),
                            "at": time(event.given_at.timestamp()),
                            "recorded": time(event.recorded_at.timestamp()),
                            "by": event.actor.as_str(),
                            "collector": event.collector.as_str(),
                        });
                        if let Some(notice) = &event.notice {
                            put(&mut item, "text", json!({
                                "notice": notice.id.as_str(),
                                "version": notice.version,
                                "language": notice.language,
                                "sha256": data_encoding::HEXLOWER.encode(&notice.text_hash),
                            }));
                        }
                        if let Some(until) = event.valid_until {
                            put(&mut item, "valid_until", Value::from(time(until.timestamp())));
                        }
                        item
                    })
                    .collect();
                let mut item = json!({ "id": line.id.to_string(), "purpose": line.purpose.as_str(), "state": state, "events": events });
                if let Some(channel) = &line.channel {
                    put(&mut item, "channel", Value::from(channel.as_str()));
                }
                item
            })
            .collect();
        list_or(items, "No choice of yours is recorded.")
    }

    fn consultations(&self) -> Value {
        let items = self
            .held
            .consultations
            .iter()
            .map(|look| {
                let text = |key: &str| look.payload.get(key).and_then(|value| serde_json::to_value(value).ok());
                let mut item = json!({ "at": time(look.at.timestamp()), "event": look.event.as_str() });
                put(
                    &mut item,
                    "role",
                    json!(if look.event.as_str().starts_with("officer") { "officer" } else { "recipient" }),
                );
                for key in ["purposes", "recipient", "fields"] {
                    if let Some(value) = text(key) {
                        put(&mut item, key, value);
                    }
                }
                item
            })
            .collect();
        list_or(items, "Nobody looked at your data so far as the log shows.")
    }

    fn requests(&self) -> Value {
        let items = self
            .held
            .requests
            .iter()
            .map(|(case, request)| {
                let mut item = json!({
                    "reference": case.reference,
                    "kind": request.kind.as_str(),
                    "state": request.state.as_str(),
                    "received": case.trigger_day.to_string(),
                    "due": request.statutory_due.to_string(),
                });
                if let Some(outcome) = request.outcome {
                    put(&mut item, "outcome", Value::from(outcome.as_str()));
                }
                item
            })
            .collect();
        list_or(items, "You have not asked for anything before.")
    }

    /// Processors that hold a copy and could be asked for it. They are not asked yet.
    fn processors(&self) -> Value {
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

    fn received(&self) -> BTreeMap<RecipientId, Received<'_>> {
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

/// What one recipient received.
#[derive(Default)]
struct Received<'a> {
    purposes: BTreeSet<&'a str>,
    fields: BTreeSet<&'a str>,
    at: Vec<Micros>,
    queued: usize,
}

/// Opens every value of a record.
fn open<'a>(house: &Gateway, held: &Held, record: &'a StoredRecord) -> Result<Opened<'a>> {
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
