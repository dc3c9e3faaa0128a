//! A claim in the making: what becomes of each promise, and the one commit of it all.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::audit::leaf::Fact;
use crate::audit::payload::{Allowed, Decided as DecidedLine, Payload, Row, Value};
use crate::delivery::boot_clock::Deadline;
use crate::domain::decision::{Decision, Question, decide};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{DisclosureId, FieldPath, RecipientId, SubjectId};
use crate::domain::policy::{EEA, Policy};
use crate::domain::reason::Reason;
use crate::domain::recipient::Recipient;
use crate::gateway::dispatch::view::{Keys, View};
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Error, Gateway, LeafBuilder, Result, rows};
use crate::storage::deliveries::{Pseudonym, RecipientState, StoredDelivery};
use crate::storage::disclosures::Disclosure;
use crate::storage::queue::{self, End};
use crate::storage::{Expected, LeafRow, Micros, Step, Unit, deliveries, disclosures, leases};
use crate::telemetry::metrics::KEY_FAILURES;

use super::{Circumstances, Claimed, Content, GONE, UNREADABLE, payload_about};

pub(super) struct Prepared {
    pub(super) unit: Unit,
    pub(super) claimed: Vec<Claimed>,
    /// Promises that were refused: the strongest reason of each.
    pub(super) reasons: Vec<(StoredDelivery, Reason)>,
}

/// A claim in the making.
pub(super) struct Making<'a> {
    house: &'a Gateway,
    circumstances: &'a Circumstances,
    policy: Arc<PolicyInForce>,
    at: Micros,
    recipient: RecipientId,
    rests_on: Vec<Expected>,
    leaves: Vec<LeafRow>,
    claimed: Vec<Claimed>,
    ended: Vec<(StoredDelivery, End, String)>,
    disclosed: Vec<Disclosure>,
    pseudonyms: Vec<Pseudonym>,
    reasons: Vec<(StoredDelivery, Reason)>,
    lost: u64,
}

impl<'a> Making<'a> {
    pub(super) fn new(house: &'a Gateway, circumstances: &'a Circumstances) -> Self {
        Self {
            house,
            circumstances,
            policy: house.policy(),
            at: circumstances.now.into(),
            recipient: circumstances.recipient.clone(),
            rests_on: Vec::new(),
            leaves: Vec::new(),
            claimed: Vec::new(),
            ended: Vec::new(),
            disclosed: Vec::new(),
            pseudonyms: Vec::new(),
            reasons: Vec::new(),
            lost: 0,
        }
    }

    /// What becomes of one promise.
    pub(super) fn rule(&mut self, view: &View, promise: StoredDelivery) -> Result<()> {
        let Some(person) = view.person(promise.subject) else {
            // The erasure that took the person left the leaf of it.
            self.ended.push((promise, End::Dropped, Reason::Erased.as_str().to_owned()));
            return Ok(());
        };
        let keys = match view.keys(promise.subject) {
            Keys::Held(keys) => keys,
            Keys::Destroyed => {
                self.rests_on.extend(person.rests_on());
                self.ended.push((promise, End::Dropped, Reason::Erased.as_str().to_owned()));
                return Ok(());
            }
            Keys::Lost => {
                tracing::error!(delivery = %promise.id, "the keys of somebody who was not erased are gone; a delivery about them is given up");
                ::metrics::counter!(KEY_FAILURES, "kind" => "missing").increment(1);
                self.rests_on.extend(person.rests_on());
                self.lost += 1;
                self.ended.push((promise, End::Dead, UNREADABLE.to_owned()));
                return Ok(());
            }
        };
        if self.circumstances.state == RecipientState::Disabled {
            return self.give_up(&keys, promise, Event::DeliveryAbandoned, Outcome::Failed, End::Dead, GONE);
        }
        let Some(record) = view.record(promise.record) else {
            let reason = Reason::RetentionExpired.as_str();
            return self.give_up(&keys, promise, Event::DeliveryCancelled, Outcome::Done, End::Dropped, reason);
        };
        let Some(content) = Content::new(record) else {
            tracing::error!(delivery = %promise.id, "a stored record is malformed; the delivery is given up");
            ::metrics::counter!(KEY_FAILURES, "kind" => "record").increment(1);
            return self.give_up(&keys, promise, Event::DeliveryAbandoned, Outcome::Failed, End::Dead, UNREADABLE);
        };
        let (standing, rests_on) = view.standing(&self.policy.policy, person, record);
        self.rests_on.extend(rests_on);
        let recipient = self.policy.policy.recipients.get(&promise.recipient).cloned();
        let asked: Vec<FieldPath> = recipient
            .as_ref()
            .and_then(|recipient| recipient.purposes.get(&promise.purpose))
            .map(|fields| fields.iter().filter(|path| content.has(&self.policy, path)).cloned().collect())
            .unwrap_or_default();
        let question = Question {
            subject: promise.subject,
            purpose: &promise.purpose,
            channel: None,
            recipient: Some(&promise.recipient),
            fields: &asked,
            device: record.device.or(Some(promise.subject).filter(|_| person.subject.device)),
            // What the record itself said narrowed what was promised at all.
            signals: &[],
            collected_at: Some(record.collected_at.timestamp()),
        };
        let decision = decide(&self.policy.policy, &standing, &question, self.circumstances.now);
        match (decision.permits(), recipient) {
            (true, Some(recipient)) => self.release(view, &recipient, keys, promise, content, decision),
            _ => self.refuse(&keys, promise, asked, &decision),
        }
    }

    /// The second decision said yes.
    fn release(
        &mut self,
        view: &View,
        recipient: &Recipient,
        keys: Arc<PersonKeys>,
        promise: StoredDelivery,
        content: Content,
        decision: Decision,
    ) -> Result<()> {
        let entry = self.house.source.entry().map_err(Error::Protection)?;
        let attempt = promise.attempts.saturating_add(1);
        let pseudonym = keys.dek.pseudonym(promise.subject, recipient.pseudonym_version, &recipient.id);
        let safeguard = safeguard(recipient);
        let mut payload = self.payload(&promise);
        payload.decision = vec![decided(&decision)];
        payload.fields = decision.allowed.iter().map(|path| path.as_str().to_owned()).collect();
        payload.policy = Some(self.policy.policy.hash.0);
        payload.more = vec![("attempt", Value::Uint(u64::from(attempt))), ("safeguard", Value::from(safeguard))];
        if !view.is_in_ledger(promise.id) {
            let mut fields = decision.allowed.clone();
            fields.sort_unstable();
            let id = self.house.source.ordered_id(self.circumstances.now).map_err(Error::Protection)?;
            let disclosure = Disclosure {
                id: DisclosureId::from_uuid(id),
                subject: promise.subject,
                recipient: promise.recipient.clone(),
                purpose: promise.purpose.clone(),
                fields,
                safeguard: safeguard.to_owned(),
                record: Some(promise.record),
                delivery: Some(promise.id),
                at: self.at,
                entry,
            };
            let content_hash = rows::disclosure_hash(&disclosure);
            payload.rows.push(Row { kind: "disclosure", id: *disclosure.id.as_bytes(), content_hash });
            self.disclosed.push(disclosure);
        }
        let leaf = LeafBuilder::new(&self.house.origin, entry, Event::DeliveryReleased, Outcome::Done)
            .part(&self.house.source, Role::Subject, &keys.evidence, &payload)?
            .finish()?;
        self.leaves.push(leaf);
        self.pseudonyms.push(Pseudonym {
            recipient: promise.recipient.clone(),
            value: pseudonym.clone(),
            subject: promise.subject,
            version: recipient.pseudonym_version,
        });
        let ends_at = ends_at(&self.policy.policy, &decision.allowed, content.record.collected_at.timestamp());
        self.claimed.push(Claimed {
            attempt,
            content,
            keys,
            policy: Arc::clone(&self.policy),
            allowed: decision.allowed,
            pseudonym,
            decision: entry,
            ends_at,
            deadline: Deadline::of_claim(self.circumstances.began, self.house.settings.delivery_time_limit),
            promise,
        });
        Ok(())
    }

    /// The second decision said no.
    fn refuse(
        &mut self,
        keys: &PersonKeys,
        promise: StoredDelivery,
        asked: Vec<FieldPath>,
        decision: &Decision,
    ) -> Result<()> {
        let strongest = decision.strongest().unwrap_or(Reason::FieldNotAllowed);
        let mut reasons: Vec<Reason> = decision.reasons.clone();
        reasons.extend(decision.denied.iter().flat_map(|(_, reasons)| reasons.iter().copied()));
        reasons.sort_unstable();
        reasons.dedup();
        let mut payload = self.payload(&promise);
        payload.decision = vec![decided(decision)];
        payload.fields = asked.iter().map(|path| path.as_str().to_owned()).collect();
        payload.policy = Some(self.policy.policy.hash.0);
        payload.reason = Some(reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" "));
        self.leaf(keys, Event::DeliveryRefused, Outcome::Refused, &payload)?;
        self.reasons.push((promise.clone(), strongest));
        self.ended.push((promise, End::Dropped, strongest.as_str().to_owned()));
        Ok(())
    }

    /// No decision is needed for it to end.
    fn give_up(
        &mut self,
        keys: &PersonKeys,
        promise: StoredDelivery,
        event: Event,
        outcome: Outcome,
        end: End,
        reason: &str,
    ) -> Result<()> {
        let payload = Payload { reason: Some(reason.to_owned()), ..self.payload(&promise) };
        self.leaf(keys, event, outcome, &payload)?;
        self.ended.push((promise, end, reason.to_owned()));
        Ok(())
    }

    fn leaf(&mut self, keys: &PersonKeys, event: Event, outcome: Outcome, payload: &Payload) -> Result<()> {
        let leaf = self
            .house
            .leaf(event, outcome)?
            .part(&self.house.source, Role::Subject, &keys.evidence, payload)?
            .finish()?;
        self.leaves.push(leaf);
        Ok(())
    }

    fn payload(&self, promise: &StoredDelivery) -> Payload {
        payload_about(promise)
    }

    pub(super) fn finish(mut self) -> Result<Prepared> {
        if self.lost > 0 {
            let payload = Payload { reason: Some("missing_key".to_owned()), ..Payload::default() };
            let leaf = self.house.installation_leaf(
                Event::DataUnreadable,
                Outcome::Failed,
                &payload,
                vec![Fact::Number(self.lost)],
            )?;
            self.leaves.push(leaf);
        }
        // Two remembered views may differ about one member; then both versions stay, and the commit
        // turns the claim away.
        self.rests_on.sort_unstable_by_key(|expected| (expected.subject, expected.version));
        self.rests_on.dedup();
        let lease_length = SignedDuration::try_from(self.house.settings.delivery_lease).unwrap_or(SignedDuration::MAX);
        let lease_until = Micros::from(self.circumstances.now.checked_add(lease_length).unwrap_or(Timestamp::MAX));
        let (lease, holder, at) = (self.circumstances.lease.clone(), self.house.instance, self.at);
        let seen: Vec<StoredDelivery> = self.claimed.iter().map(|claimed| claimed.promise.clone()).collect();
        let (ended, disclosed, pseudonyms) = (self.ended, self.disclosed, self.pseudonyms);
        let ended_people: Vec<SubjectId> = ended.iter().map(|(promise, ..)| promise.subject).collect();
        let recipient = self.recipient;
        let unit = Unit::change(self.rests_on, self.leaves, move |transaction, _| {
            let connection = transaction.connection();
            if !leases::is_held(connection, &lease)? || !queue::claim(connection, &seen, holder, lease_until)? {
                return Ok(Step::Stale);
            }
            for (promise, end, reason) in &ended {
                if !queue::end(connection, promise, *end, reason, at)? {
                    return Ok(Step::Stale);
                }
            }
            queue::call_next(connection, &recipient, &ended_people, at)?;
            disclosures::insert_rows(connection, &disclosed.iter().collect::<Vec<_>>())?;
            deliveries::remember_pseudonyms(connection, &pseudonyms)?;
            Ok(Step::Commit)
        })
        .under(self.policy.policy.hash);
        Ok(Prepared { unit, claimed: self.claimed, reasons: self.reasons })
    }
}

fn decided(decision: &Decision) -> DecidedLine {
    DecidedLine {
        purpose: decision.purpose.as_str().to_owned(),
        recipient: decision.recipient.as_ref().map_or_else(String::new, |recipient| recipient.as_str().to_owned()),
        allowed: if decision.permits() { Allowed::Yes } else { Allowed::No },
        reason: decision.strongest().map_or("", Reason::as_str).to_owned(),
    }
}

/// The safeguard that a transfer to this recipient relies on (Chapter V); empty within the EEA.
fn safeguard(recipient: &Recipient) -> &'static str {
    if recipient.countries().all(|country| EEA.contains(&country)) {
        return "";
    }
    recipient.safeguard.as_ref().map_or("adequacy", |safeguard| safeguard.as_str())
}

/// When the last of these fields may no longer be kept; `None`: the end of one of them is not known.
fn ends_at(policy: &Policy, fields: &[FieldPath], collected_at: Timestamp) -> Option<Timestamp> {
    let mut last = None;
    for path in fields {
        let class = policy.fields.get(path).and_then(|field| policy.retention.get(&field.retention))?;
        last = last.max(Some(class.ends_at(collected_at, &policy.controller.time_zone)?));
    }
    last
}
