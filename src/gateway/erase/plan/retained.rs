//! What a law obliges to keep of the records of an erased person (Art. 17(3)(b)), sealed anew under a
//! key that holds nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::crypto::envelope::{Dek, Field, RecordPlace, Term};
use crate::crypto::mac::{Owner, RowId};
use crate::crypto::sealed::Sealed;
use crate::domain::id::{FieldPath, PurposeId};
use crate::domain::legal_basis::LegalBasis;
use crate::domain::personal::{Access, Personal};
use crate::domain::policy::Policy;
use crate::domain::retention::{OnErasure, RetentionClass};
use crate::gateway::erase::ledger::Kept;
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::subject_request::OWN_TEXT;
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::records::{self, RetainedRecord, StoredRecord};

use super::Plan;

const TO_RETAIN: Access =
    Access::because("fields that a law obliges to keep are sealed anew under a key that holds only them");

/// Records read at once.
const PAGE: i64 = 500;

impl Gateway {
    pub(super) async fn plan_records(
        &self,
        plan: &mut Plan,
        keys: &PersonKeys,
        fresh: &Dek,
        lock: Option<&PurposeId>,
    ) -> Result<(i64, Vec<RetainedRecord>)> {
        let subject = keys.subject;
        let (mut count, mut retained, mut after) = (0_i64, Vec::new(), None);
        loop {
            let page = self
                .database
                .read(move |c| records::of_subject(c, subject, after, PAGE))
                .await
                .map_err(Error::store)?;
            let Some(last) = page.last() else { return Ok((count, retained)) };
            after = Some(last.id);
            for record in &page {
                count += 1;
                let Some(lock) = lock else { continue };
                if let Some(kept) = self.keep_of(plan, keys, fresh, record, lock)? {
                    retained.push(kept);
                }
            }
        }
    }

    /// What of a record must be kept for the locked purpose, sealed anew; `None`: nothing.
    fn keep_of(
        &self,
        plan: &mut Plan,
        keys: &PersonKeys,
        fresh: &Dek,
        record: &StoredRecord,
        lock: &PurposeId,
    ) -> Result<Option<RetainedRecord>> {
        let policy = Arc::clone(&plan.policy);
        let terms = &policy.terms;
        let collected_at = record.collected_at.timestamp();
        let mut classes: BTreeSet<&str> = BTreeSet::new();
        let sealed = Sealed::parse(record.sealed.clone()).map_err(Error::DataUnreadable)?;
        let place = RecordPlace {
            installation: self.keyholder.installation,
            owner: Owner::from(keys.subject),
            kind: rows::RECORD,
            record: RowId::from(record.id),
        };
        let mut personal: Vec<(Term<'_>, Term<'_>, Personal<String>)> = Vec::new();
        let opener = keys.dek.open(&place, &sealed).map_err(Error::DataUnreadable)?;
        for entry in sealed.entries() {
            let (Some(path), Some(category)) = (terms.field_text(entry.field), terms.category_text(entry.category))
            else {
                continue;
            };
            let Some(class) = kept_class(&policy.policy, path, lock, collected_at, plan.now) else { continue };
            let field = Term { number: entry.field, text: path };
            let value = opener.field(field, category).map_err(Error::DataUnreadable)?;
            personal.push((field, Term { number: entry.category, text: category }, value));
            classes.insert(class.id.as_str());
        }
        let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&record.plain).unwrap_or_default();
        let mut plain: BTreeMap<&str, &RawValue> = BTreeMap::new();
        for (path, value) in &values {
            if let Some(class) = kept_class(&policy.policy, path, lock, collected_at, plan.now) {
                plain.insert(path, value);
                classes.insert(class.id.as_str());
            }
        }
        if classes.is_empty() {
            return Ok(None);
        }
        for id in classes {
            if let Some(class) = policy.policy.retention.get(id) {
                note_kept(&mut plan.written.kept, class, lock, collected_at, &policy.policy);
            }
        }
        let mut fields: Vec<Field<'_>> = personal
            .iter()
            .map(|(field, category, value)| Field {
                field: *field,
                category: *category,
                json: value.reveal(&TO_RETAIN),
            })
            .collect();
        if fields.is_empty() {
            fields.push(Field {
                field: crate::gateway::identifiers::own_term(terms, OWN_TEXT)?,
                category: crate::gateway::identifiers::own_category(terms)?,
                json: "null",
            });
        }
        let sealed = fresh.seal(&place, &fields, &mut |bytes| self.source.fill(bytes)).map_err(Error::Protection)?;
        let plain =
            serde_json::to_string(&plain).map_err(|_| Error::WrongState("a retained record cannot be written"))?;
        Ok(Some(RetainedRecord { id: record.id, plain, sealed, purpose: lock.clone() }))
    }
}

/// The one purpose that data kept by law may still serve: an active one on a legal obligation that
/// some kept field names. Without one nothing is kept, because nothing could lawfully use it.
pub(in crate::gateway::erase) fn locked_purpose(policy: &Policy) -> Option<PurposeId> {
    policy
        .purposes
        .values()
        .filter(|purpose| purpose.active && purpose.basis == LegalBasis::LegalObligation)
        .map(|purpose| purpose.id.clone())
        .find(|purpose| {
            policy.fields.values().any(|field| {
                field.purposes.contains(purpose)
                    && policy
                        .retention
                        .get(&field.retention)
                        .is_some_and(|class| matches!(class.on_erasure, OnErasure::Keep { .. }))
            })
        })
}

/// The class that obliges to keep a field of a record, if its time is not over.
fn kept_class<'a>(
    policy: &'a Policy,
    path: &str,
    lock: &PurposeId,
    collected_at: Timestamp,
    now: Timestamp,
) -> Option<&'a RetentionClass> {
    let field = policy.fields.get(&FieldPath::new(path))?;
    let class = policy.retention.get(&field.retention)?;
    let ended = class.ends_at(collected_at, &policy.controller.time_zone).is_some_and(|end| end <= now);
    (matches!(class.on_erasure, OnErasure::Keep { .. }) && field.purposes.contains(lock) && !ended).then_some(class)
}

fn note_kept(kept: &mut Vec<Kept>, class: &RetentionClass, lock: &PurposeId, collected_at: Timestamp, policy: &Policy) {
    let OnErasure::Keep { ground, law } = &class.on_erasure else { return };
    let zone = &policy.controller.time_zone;
    let until = class.ends_at(collected_at, zone).map(|end| end.to_zoned(zone.clone()).date().to_string());
    match kept.iter_mut().find(|group| group.what == class.id.as_str()) {
        Some(group) => {
            group.rows += 1;
            group.until = group.until.take().max(until);
        }
        None => kept.push(Kept {
            what: class.id.as_str().to_owned(),
            ground: ground.clone(),
            law: law.clone(),
            purpose: lock.as_str().to_owned(),
            until,
            rows: 1,
        }),
    }
}
