//! E0: who is erased, what goes, what a law obliges to keep, who is told. Nothing is changed yet but
//! the key store, which gets the keys that the rest will need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::crypto::envelope::{Dek, Field, RecordPlace, Term};
use crate::crypto::mac::{KeyPurpose, Owner, RowId, hash};
use crate::crypto::sealed::Sealed;
use crate::domain::id::{FieldPath, PurposeId, RecipientId, SubjectId, SubjectRequestId, TaskId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::personal::{Access, Personal};
use crate::domain::policy::Policy;
use crate::domain::retention::{OnErasure, RetentionClass};
use crate::domain::subject::SubjectStatus;
use crate::domain::subject_request::{Target, TaskOutcome};
use crate::gateway::keyholder::{HOLDER_SUBJECT, PersonKeys};
use crate::gateway::person::Person;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::subject_request::{OWN_TEXT, day_after};
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::erasures::{LateEventMark, Suppression};
use crate::storage::keys::{self, StoredAuditKey, StoredOwnedKey, StoredSubjectKey};
use crate::storage::records::{RetainedRecord, StoredRecord};
use crate::storage::subject_requests::{StoredCase, StoredRequest, StoredTask};
use crate::storage::subjects::StoredSubject;
use crate::storage::{Expected, Id16, Micros, deliveries, disclosures, erasures, identities, records};

use super::ledger::{Kept, WrittenPlan};

const TO_MARK: Access =
    Access::because("an erased person's identifiers are turned into keyed marks, which later cannot be done");
const TO_RETAIN: Access =
    Access::because("fields that a law obliges to keep are sealed anew under a key that holds only them");
const TO_ASK_RECIPIENT: Access =
    Access::because("a recipient that never saw a pseudonym is told whom to erase by the identifiers");

/// Records read at once.
const PAGE: i64 = 500;
/// The scope of the suppression entries that an erasure makes.
const DIRECT_MARKETING: &str = "direct_marketing";
/// Years after which a suppression entry is looked at again.
const REVIEW_YEARS: i32 = 3;

/// What E0 comes to.
pub(super) enum Planned {
    /// This is to be done.
    Erase(Box<Plan>),
    /// Nobody here is named by the request.
    Nobody,
    /// An older request is erasing the same person.
    AlreadyErasing,
}

/// The plan of one erasure.
pub(super) struct Plan {
    pub(super) now: Timestamp,
    pub(super) members: Vec<Member>,
    /// Members of the profile that are not erased.
    pub(super) left_out: Vec<SubjectId>,
    /// Everything the plan rests on: all members of the profiles.
    pub(super) rests_on: Vec<Expected>,
    pub(super) marks: Vec<LateEventMark>,
    pub(super) suppressions: Vec<Suppression>,
    pub(super) recipients: BTreeSet<RecipientId>,
    pub(super) tasks: Vec<StoredTask>,
    pub(super) fingerprints: Vec<[u8; 32]>,
    /// Id of the key that seals the opening of the receipt.
    pub(super) receipt_key: [u8; 16],
    pub(super) owned_keys: Vec<StoredOwnedKey>,
    /// Promises that are dropped.
    pub(super) open_deliveries: usize,
    pub(super) written: WrittenPlan,
    pub(super) policy: Arc<PolicyInForce>,
}

/// One subject that is erased.
pub(super) struct Member {
    pub(super) subject: StoredSubject,
    pub(super) keys: Arc<PersonKeys>,
    pub(super) records: i64,
    pub(super) identifiers: usize,
    pub(super) retained: Vec<RetainedRecord>,
    pub(super) new_key: Option<StoredSubjectKey>,
}

impl Plan {
    /// Every subject whose remembered state is old afterwards.
    pub(super) fn everybody(&self) -> Vec<SubjectId> {
        self.rests_on.iter().map(|expected| expected.subject).collect()
    }

    pub(super) fn subjects(&self) -> Vec<SubjectId> {
        self.members.iter().map(|member| member.subject.id).collect()
    }

    /// SHA-256 of the written plan.
    pub(super) fn hash(&self) -> Result<[u8; 32]> {
        Ok(hash(self.written.to_text()?.as_bytes()))
    }
}

impl Gateway {
    /// E0.
    pub(super) async fn plan_erasure(&self, case: &StoredCase, request: &StoredRequest) -> Result<Planned> {
        let contents = self.contents(case).await?;
        let mut people: Vec<Arc<Person>> = Vec::new();
        for subject in self.subjects_named(&contents).await? {
            let Some(person) = self.person_now(subject).await? else { continue };
            if people.iter().all(|known| known.members.iter().all(|member| member.id != subject)) {
                people.push(person);
            }
        }
        if people.is_empty() {
            return Ok(Planned::Nobody);
        }
        if people.iter().flat_map(|person| &person.members).any(|member| member.status != SubjectStatus::Active) {
            return Ok(Planned::AlreadyErasing);
        }
        let policy = self.policy();
        let now = self.source.now();
        let (taken, left_out) = chosen(&people);
        let ids: Vec<SubjectId> = taken.iter().map(|subject| subject.id).collect();

        let mut plan = Plan {
            now,
            members: Vec::with_capacity(taken.len()),
            left_out,
            rests_on: people.iter().flat_map(|person| person.rests_on()).collect(),
            marks: Vec::new(),
            suppressions: Vec::new(),
            recipients: BTreeSet::new(),
            tasks: Vec::new(),
            fingerprints: Vec::new(),
            receipt_key: self.source.random().map_err(Error::Protection)?,
            owned_keys: Vec::new(),
            open_deliveries: 0,
            written: WrittenPlan {
                policy: format!("sha256:{}", data_encoding::HEXLOWER.encode(&policy.policy.hash.0)),
                ..WrittenPlan::default()
            },
            policy: Arc::clone(&policy),
        };
        let mut named: Vec<(IdentifierKind, Zeroizing<String>)> = Vec::new();
        let lock = locked_purpose(&policy.policy);
        for subject in taken {
            let member = self.plan_member(&mut plan, subject, lock.as_ref(), &mut named).await?;
            plan.members.push(member);
        }
        self.plan_counts(&mut plan, &ids).await?;
        self.plan_receipt_key(&mut plan, request.id)?;
        self.plan_tasks(&mut plan, request.id, &ids, &named).await?;
        Ok(Planned::Erase(Box::new(plan)))
    }

    /// Makes the keys of a plan durable. If the erasure never begins they are swept.
    pub(super) async fn store_planned_keys(&self, plan: &Plan) -> Result<()> {
        let subject_keys: Vec<StoredSubjectKey> =
            plan.members.iter().filter_map(|member| member.new_key.clone()).collect();
        let owned = plan.owned_keys.clone();
        self.keyholder
            .store()
            .write(move |connection| {
                keys::insert_subject_keys(connection, &subject_keys)?;
                keys::insert_owned_keys(connection, &owned)
            })
            .await
            .map_err(Error::keys)
    }

    /// A task of the gateway's own.
    pub(in crate::gateway) fn own_task(
        &self,
        request: SubjectRequestId,
        target: &Target,
        verb: &str,
        now: Timestamp,
    ) -> Result<StoredTask> {
        Ok(StoredTask {
            id: TaskId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?),
            request,
            target: target.clone(),
            verb: verb.to_owned(),
            outcome: TaskOutcome::Pending,
            proof: None,
            attempts: 0,
            next_at: None,
            message: self.source.random().map_err(Error::Protection)?,
            nonce: None,
            pseudonym: None,
            key: None,
            sealed: None,
            settled_at: None,
        })
    }

    /// One subject: its marks while its identifiers can still be read, its keys' fingerprints, and
    /// what of its records is retained.
    async fn plan_member(
        &self,
        plan: &mut Plan,
        subject: StoredSubject,
        lock: Option<&PurposeId>,
        named: &mut Vec<(IdentifierKind, Zeroizing<String>)>,
    ) -> Result<Member> {
        let id = subject.id;
        let keys = self.keyholder.people(vec![(id, subject.key_version)]).await?.pop().ok_or(Error::MissingKey)?;
        let identifiers = self.database.read(move |c| identities::of_subject(c, id)).await.map_err(Error::store)?;
        for stored in &identifiers {
            let Some(kind) = IdentifierKind::parse(&stored.kind) else { continue };
            let (canonical, _) = self.open_identifier(&plan.policy.terms, &keys, stored)?;
            self.mark(plan, &kind, &stored.namespace, &canonical)?;
            named.push((kind, Zeroizing::new(canonical.reveal(&TO_ASK_RECIPIENT).clone())));
        }
        let (deks, audit): (Vec<StoredSubjectKey>, Vec<StoredAuditKey>) = self
            .keyholder
            .store()
            .read(move |c| {
                Ok((keys::subject_keys(c, &[Id16::from(id)])?, keys::audit_keys_of(c, HOLDER_SUBJECT, Id16::from(id))?))
            })
            .await
            .map_err(Error::keys)?;
        plan.fingerprints.extend(
            deks.iter()
                .map(|key| key.wrapped.as_slice())
                .chain(audit.iter().map(|key| key.wrapped.as_slice()))
                .filter_map(fingerprint),
        );
        plan.written.holders.extend(audit.iter().map(|key| data_encoding::HEXLOWER.encode(&key.id.0)));

        let next = deks.iter().map(|key| key.version).max().unwrap_or(subject.key_version).saturating_add(1);
        let (dek, row) = self.keyholder.make_version(id, next, plan.now)?;
        let (records, retained) = self.plan_records(plan, &keys, &dek, lock).await?;
        let new_key = (!retained.is_empty()).then_some(row);
        if new_key.is_some() {
            plan.written.keep.push((id.to_string(), next));
        }
        Ok(Member { subject, keys, records, identifiers: identifiers.len(), retained, new_key })
    }

    /// A mark against late events for every identifier; an entry of the suppression list for those by
    /// which a person can be contacted.
    fn mark(
        &self,
        plan: &mut Plan,
        kind: &IdentifierKind,
        namespace: &str,
        canonical: &Personal<String>,
    ) -> Result<()> {
        let secrets = self.keyholder.secrets();
        let version = secrets.suppressions.newest().ok_or(Error::MissingKey)?;
        let text = canonical.reveal(&TO_MARK);
        let value = secrets.suppressions.late_event(version, kind, namespace, text).map_err(Error::Protection)?;
        if plan.marks.iter().any(|mark| mark.value == value) {
            return Ok(());
        }
        plan.marks.push(LateEventMark { value, erased_at: plan.now.into(), secret_version: version });
        plan.written.marks += 1;
        if !matches!(
            kind,
            IdentifierKind::Email | IdentifierKind::Phone | IdentifierKind::Social | IdentifierKind::PushToken
        ) {
            return Ok(());
        }
        let value = secrets.suppressions.entry(version, version, kind, namespace, text).map_err(Error::Protection)?;
        let zone = &plan.policy.policy.controller.time_zone;
        let day = day_after(plan.now, 0, zone);
        plan.written.suppressions.push(data_encoding::HEXLOWER.encode(&value));
        plan.suppressions.push(Suppression {
            value,
            scope: DIRECT_MARKETING.to_owned(),
            kind: kind.spelling().into_owned(),
            namespace: namespace.to_owned(),
            base_version: version,
            top_version: version,
            day: day.to_string(),
            reason: "erasure".to_owned(),
            review: day.saturating_add(jiff::Span::new().years(REVIEW_YEARS)).to_string(),
        });
        Ok(())
    }

    async fn plan_records(
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

    async fn plan_counts(&self, plan: &mut Plan, ids: &[SubjectId]) -> Result<()> {
        let ids = ids.to_vec();
        let (counts, open, disclosed) = self
            .database
            .read(move |c| {
                Ok((
                    erasures::count_rows(c, &ids)?,
                    deliveries::open_of_subjects(c, &ids)?,
                    disclosures::of_subjects(c, &ids)?,
                ))
            })
            .await
            .map_err(Error::store)?;
        for (table, rows) in counts {
            *plan.written.rows.entry(table.to_owned()).or_default() += u64::try_from(rows).unwrap_or(0);
        }
        plan.recipients = disclosed.into_iter().map(|disclosure| disclosure.recipient).collect();
        // A parcel on the wire is as good as received.
        for delivery in open {
            match delivery.state {
                deliveries::DeliveryState::Sending => {
                    plan.recipients.insert(delivery.recipient);
                }
                _ => plan.open_deliveries += 1,
            }
        }
        plan.written.recipients = plan.recipients.iter().map(|recipient| recipient.as_str().to_owned()).collect();
        plan.written.left_out = u64::try_from(plan.left_out.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn plan_receipt_key(&self, plan: &mut Plan, request: SubjectRequestId) -> Result<()> {
        let (_, row) =
            self.keyholder.make_owned(plan.receipt_key, KeyPurpose::Document, Owner::from(request), plan.now)?;
        plan.owned_keys.push(row);
        Ok(())
    }

    /// One task for the gateway, one for each retained group, and for each recipient that received
    /// the person's data one a verb (Art. 19).
    async fn plan_tasks(
        &self,
        plan: &mut Plan,
        request: SubjectRequestId,
        ids: &[SubjectId],
        named: &[(IdentifierKind, Zeroizing<String>)],
    ) -> Result<()> {
        let now = plan.now;
        plan.tasks.push(self.own_task(request, &Target::Gateway("erase".to_owned()), "erase", now)?);
        for kept in &plan.written.kept {
            plan.tasks.push(self.own_task(
                request,
                &Target::Gateway(format!("retained:{}", kept.ground)),
                "erase",
                now,
            )?);
        }
        let ids = ids.to_vec();
        let pseudonyms = self.database.read(move |c| deliveries::pseudonyms_of(c, &ids)).await.map_err(Error::store)?;
        for recipient in plan.recipients.clone() {
            let verbs = plan
                .policy
                .policy
                .recipients
                .get(&recipient)
                .map(|recipient| recipient.verbs.clone())
                .unwrap_or_default();
            let known: Vec<&str> =
                pseudonyms.iter().filter(|(known, ..)| *known == recipient).map(|(.., value)| value.as_str()).collect();
            for verb in ["suppress", "erase"] {
                let can = verbs.iter().any(|declared| declared == verb);
                if !can && verb == "suppress" {
                    continue;
                }
                // Ids of one millisecond have no order; stopping comes before erasing.
                let later = jiff::SignedDuration::from_millis(i64::try_from(plan.tasks.len()).unwrap_or(0));
                let at = now.checked_add(later).unwrap_or(now);
                let mut task = self.own_task(request, &Target::Recipient(recipient.clone()), verb, at)?;
                if !can {
                    // Never silence: somebody has to find another way to tell this recipient.
                    task.outcome = TaskOutcome::CapabilityUnresolved;
                    task.proof = Some("no_verb".to_owned());
                } else if known.is_empty() {
                    self.seal_names(plan, &mut task, named)?;
                    task.next_at = Some(Micros::from(now));
                } else {
                    task.pseudonym = Some(known.join("\n"));
                    task.next_at = Some(Micros::from(now));
                }
                plan.tasks.push(task);
            }
        }
        Ok(())
    }

    /// Seals the identifiers for a recipient that never saw a pseudonym, under a key of the task.
    fn seal_names(
        &self,
        plan: &mut Plan,
        task: &mut StoredTask,
        named: &[(IdentifierKind, Zeroizing<String>)],
    ) -> Result<()> {
        let id = self.source.random().map_err(Error::Protection)?;
        let owner = Owner::from(task.id);
        let (key, row) = self.keyholder.make_owned(id, KeyPurpose::Task, owner, plan.now)?;
        let names: Vec<(String, &str)> =
            named.iter().map(|(kind, value)| (kind.spelling().into_owned(), value.as_str())).collect();
        let json =
            Zeroizing::new(serde_json::to_string(&names).map_err(|_| Error::WrongState("a task cannot be written"))?);
        let sealed = self.seal_own(&key, owner, rows::TASK, RowId::from(task.id), &json)?;
        task.key = Some(id);
        task.sealed = Some(sealed.into_bytes());
        plan.owned_keys.push(row);
        Ok(())
    }
}

/// The members that are erased, and those that are left out. Members whose link somebody of trust
/// made or proved go; a device whose link is only claimed goes too, unless other people are linked to
/// the same devices: then it is shared, and erasing it would take from them.
fn chosen(people: &[Arc<Person>]) -> (Vec<StoredSubject>, Vec<SubjectId>) {
    let (mut taken, mut left_out): (Vec<StoredSubject>, Vec<SubjectId>) = (Vec::new(), Vec::new());
    let believed: BTreeSet<SubjectId> = people.iter().flat_map(|person| person.may_grant.iter().copied()).collect();
    for person in people {
        let alone = person.members.iter().all(|member| member.device || believed.contains(&member.id));
        for member in &person.members {
            if taken.iter().any(|known| known.id == member.id) || left_out.contains(&member.id) {
                continue;
            }
            if believed.contains(&member.id) || (member.device && alone) {
                taken.push(member.clone());
            } else {
                left_out.push(member.id);
            }
        }
    }
    (taken, left_out)
}

/// The one purpose that data kept by law may still serve: an active one on a legal obligation that
/// some kept field names. Without one nothing is kept, because nothing could lawfully use it.
fn locked_purpose(policy: &Policy) -> Option<PurposeId> {
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

/// The fingerprint that a wrapped key carries: its commitment, the last 32 bytes.
pub(super) fn fingerprint(wrapped: &[u8]) -> Option<[u8; 32]> {
    wrapped.last_chunk::<32>().copied()
}
