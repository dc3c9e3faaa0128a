//! E0: who is erased, what goes, what a law obliges to keep, who is told. Nothing is changed yet but
//! the key store, which gets the keys that the rest will need.

mod retained;
mod tasks;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::crypto::mac::{KeyPurpose, Owner, hash};
use crate::domain::id::{PurposeId, RecipientId, SubjectId, SubjectRequestId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::{Access, Personal};
use crate::domain::subject::SubjectStatus;
use crate::gateway::keyholder::{HOLDER_SUBJECT, PersonKeys};
use crate::gateway::person::Person;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::subject_request::day_after;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::erasures::{LateEventMark, Suppression};
use crate::storage::keys::{self, StoredAuditKey, StoredOwnedKey, StoredSubjectKey};
use crate::storage::records::RetainedRecord;
use crate::storage::subject_requests::{StoredCase, StoredRequest, StoredTask};
use crate::storage::subjects::StoredSubject;
use crate::storage::{Expected, Id16, deliveries, disclosures, erasures, identities};

use super::ledger::WrittenPlan;

pub(super) use retained::locked_purpose;

const TO_MARK: Access =
    Access::because("an erased person's identifiers are turned into keyed marks, which later cannot be done");
const TO_ASK_RECIPIENT: Access =
    Access::because("a recipient that never saw a pseudonym is told whom to erase by the identifiers");

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
    /// A plan for nobody yet.
    pub(super) fn empty(policy: Arc<PolicyInForce>, now: Timestamp) -> Self {
        Self {
            now,
            members: Vec::new(),
            left_out: Vec::new(),
            rests_on: Vec::new(),
            marks: Vec::new(),
            suppressions: Vec::new(),
            recipients: BTreeSet::new(),
            tasks: Vec::new(),
            fingerprints: Vec::new(),
            receipt_key: [0; 16],
            owned_keys: Vec::new(),
            open_deliveries: 0,
            written: WrittenPlan {
                policy: format!("sha256:{}", data_encoding::HEXLOWER.encode(&policy.policy.hash.0)),
                ..WrittenPlan::default()
            },
            policy,
        }
    }

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
            left_out,
            rests_on: people.iter().flat_map(|person| person.rests_on()).collect(),
            receipt_key: self.source.random().map_err(Error::Protection)?,
            ..Plan::empty(Arc::clone(&policy), now)
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

    /// One subject: its marks while its identifiers can still be read, its keys' fingerprints, and
    /// what of its records is retained.
    pub(super) async fn plan_member(
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

/// The fingerprint that a wrapped key carries: its commitment, the last 32 bytes.
pub(super) fn fingerprint(wrapped: &[u8]) -> Option<[u8; 32]> {
    wrapped.last_chunk::<32>().copied()
}
