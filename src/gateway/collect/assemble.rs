//! Stage 5, store: the rows and leaves of one unit, ready for the committer.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::audit::payload::{Actor, Allowed, Decided as DecidedLine, Payload, Row, Value};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{DeliveryId, EntryId, FieldPath, PurposeId, RecipientId, SubjectId};
use crate::domain::reason::Reason;
use crate::domain::signal::Says;
use crate::gateway::journal::Stop;
use crate::gateway::keyholder::NewPersonKeys;
use crate::gateway::{Error, Gateway, LeafBuilder, Result, rows};
use crate::storage::deliveries::NewDelivery;
use crate::storage::{Collect, Expected, LeafRow, Micros, Unit};

use super::classify::Classified;
use super::decide::{Circumstances, Decided, Ruling, Rulings};
use super::identify::Identified;
use super::people::{Party, Seen};
use super::seal::{Destination, Sealed};
use super::view::{Side, View};
use super::{Arrival, Verdict};

/// What a unit comes to.
pub(super) struct Prepared {
    /// The verdict of each event once the unit is committed.
    pub(super) verdicts: Vec<(usize, Verdict)>,
    /// The work, if anything is to be stored.
    pub(super) assembled: Option<Assembled>,
}

/// A unit with what must happen before and after its commit.
pub(super) struct Assembled {
    pub(super) unit: Unit,
    /// Keys that must be durable first.
    pub(super) new_keys: Vec<NewPersonKeys>,
    /// Stops that must stand in the journal before the answer.
    pub(super) stops: Vec<Stop>,
    /// The marks of the unit's events, in the order in which the committer counts duplicates.
    pub(super) marks: Vec<[u8; 32]>,
    /// Subjects whose remembered view is old once the unit is committed.
    pub(super) changed: Vec<SubjectId>,
}

/// The unit in the making.
pub(super) struct Making<'a> {
    pub(super) house: &'a Gateway,
    pub(super) arrival: &'a Arrival<'a>,
    pub(super) at: Micros,
    pub(super) rows: Collect,
    pub(super) leaves: Vec<LeafRow>,
    pub(super) new_keys: Vec<NewPersonKeys>,
    pub(super) stops: Vec<Stop>,
    /// Subjects about whom something was said that others of their profile must see.
    pub(super) raised: BTreeSet<SubjectId>,
    /// The profile that a link of this unit joins its people to.
    pub(super) joined: Option<SubjectId>,
}

/// Decides and seals the events of a unit and gathers everything its commit needs.
pub(super) fn prepare(house: &Gateway, arrival: &Arrival<'_>, view: &View, events: &[Identified]) -> Result<Prepared> {
    let Some(first) = events.first() else { return Err(Error::Contention) };
    let mut making = Making {
        house,
        arrival,
        at: arrival.received_at.into(),
        rows: Collect { at: Some(arrival.received_at.into()), ..Collect::default() },
        leaves: Vec::new(),
        new_keys: Vec::new(),
        stops: Vec::new(),
        raised: BTreeSet::new(),
        joined: None,
    };
    let owner = making.party(&view.owner, first.owner.is_device(), view.suppressed)?;
    let device = match (&view.device, &first.device) {
        (Some(side), Some(_)) => Some(making.party(side, true, false)?),
        _ => None,
    };
    let link = device.as_ref().and_then(|device| making.link_to_device(&owner, device));
    making.joined = link.as_ref().map(|_| owner.person.subject.profile);
    let speaker = device.as_ref().unwrap_or(&owner);

    // What the events say about consent comes first, so that their own decisions know it.
    let mut people = Seen::new(&owner, device.as_ref(), link.as_ref());
    for event in events {
        making.apply_signals(&mut people, speaker, event)?;
    }

    let entry = house.source.entry().map_err(Error::Protection)?;
    let standing = people.standing(arrival);
    let circumstances = Circumstances {
        policy: &arrival.policy.policy,
        standing: &standing,
        subject: owner.id(),
        device: Some(speaker.id()).filter(|_| speaker.person.subject.device),
        now: arrival.received_at,
    };
    let mut rulings = Rulings::default();
    let mut verdicts = Vec::with_capacity(events.len());
    let mut payload = Payload {
        subject: Some(*owner.id().as_bytes()),
        actor: Some(Actor { kind: "collector", id: Value::from(arrival.rules.id.as_str()) }),
        collector: Some(arrival.rules.id.as_str().to_owned()),
        policy: Some(arrival.policy.policy.hash.0),
        ..Payload::default()
    };
    let mut dropped: BTreeSet<String> = BTreeSet::new();
    let mut decisions = BTreeSet::new();
    let mut refused = BTreeSet::new();
    let had_signals = !making.rows.events.is_empty();
    let unreadable = unreadable(events);
    // Most events of a unit share one ruling.
    let mut noted: Option<Rc<Ruling>> = None;

    for event in events {
        let classified = Classified::new(&arrival.policy.policy, event);
        note_dropped(&mut dropped, &event.event.undeclared);
        let decided = Decided::new(&circumstances, &mut rulings, classified);
        if noted.as_ref().is_none_or(|noted| !Rc::ptr_eq(noted, &decided.ruling)) {
            note_dropped(&mut dropped, &decided.ruling.dropped);
            decisions.extend(decided.ruling.decisions.iter().cloned());
            noted = Some(Rc::clone(&decided.ruling));
        }
        if !decided.is_kept() {
            making.rows.marks.extend(event.mark);
            let signal_only = decided.classified.fields.is_empty() && !event.event.signals.is_empty();
            if signal_only {
                verdicts.push((event.position, Verdict::Accepted));
            } else {
                refused.extend(decided.ruling.reasons.iter().copied());
                verdicts.push((event.position, Verdict::Refused(decided.ruling.reasons.clone())));
            }
            continue;
        }
        let to = Destination { keys: &owner.keys, device: device.as_ref().map(Party::id), entry };
        let Sealed { record } = match Sealed::new(house, arrival, &to, &decided) {
            Ok(sealed) => sealed,
            Err(Error::Protection(crate::crypto::Error::TooLarge | crate::crypto::Error::FieldCount)) => {
                verdicts.push((event.position, Verdict::Rejected(super::Flaw::TooLarge)));
                continue;
            }
            Err(other) => return Err(other),
        };
        making.rows.marks.extend(event.mark);
        let content_hash = rows::record_hash(&(&record).into(), None);
        payload.rows.push(Row { kind: "record", id: *record.id.as_bytes(), content_hash });
        for (recipient, purpose) in decided.promised() {
            let delivery = NewDelivery {
                id: DeliveryId::from_uuid(house.source.ordered_id(arrival.received_at).map_err(Error::Protection)?),
                recipient: recipient.clone(),
                purpose: purpose.clone(),
                subject: owner.id(),
                record: record.id,
                message: house.source.random().map_err(Error::Protection)?,
                created_at: making.at,
                entry,
            };
            payload.rows.push(Row {
                kind: "delivery",
                id: *delivery.id.as_bytes(),
                content_hash: rows::delivery_hash(&delivery),
            });
            making.rows.deliveries.push(delivery);
        }
        making.rows.records.push(record);
        verdicts.push((event.position, Verdict::Accepted));
    }
    note_decisions(&mut payload, dropped, decisions);

    let stored = !making.rows.records.is_empty();
    if !stored && !had_signals {
        if verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::Rejected(_))) {
            return Ok(Prepared { verdicts, assembled: None });
        }
        // Nobody is met, nothing is kept: the refusal itself is what is stored.
        let mut leaves = Vec::new();
        if !refused.is_empty() {
            leaves.push(making.refusal(&owner, payload, entry, &refused)?);
        }
        leaves.extend(making.unreadable_signal(&owner, !owner.is_new, &unreadable)?);
        return Ok(Prepared { verdicts, assembled: Some(making.finish_refused(&owner, leaves)) });
    }

    making.learn_identifiers(view, events, &owner, device.as_ref(), &mut payload, entry)?;
    if let Some(link) = link {
        making.note_link(&link, &owner, device.as_ref(), first)?;
    }
    let leaf = if stored || refused.is_empty() {
        payload.more.push(("met", Value::Bool(owner.is_new)));
        let mark = rows::device_mark(entry, device.as_ref().map(Party::id));
        payload.more.push(("device", Value::from(mark.as_slice())));
        LeafBuilder::new(&house.origin, entry, Event::RecordCollected, Outcome::Done)
            .part(&house.source, Role::Subject, &owner.keys.operation, &payload)?
            .finish()?
    } else {
        // Consent was recorded and the events as such refused: the refusal is a leaf of its own.
        making.refusal(&owner, payload, entry, &refused)?
    };
    making.leaves.push(leaf);
    let unreadable = making.unreadable_signal(&owner, true, &unreadable)?;
    making.leaves.extend(unreadable);
    Ok(Prepared { verdicts, assembled: Some(making.finish(&owner, device.as_ref())) })
}

impl Making<'_> {
    /// A subject of the unit; somebody unmet gets an id and keys of their own.
    fn party(&mut self, side: &Side, device: bool, suppressed: bool) -> Result<Party> {
        if let Some((person, keys)) = side.known() {
            return Ok(Party { person: Arc::clone(person), keys: Arc::clone(keys), is_new: false });
        }
        let (person, new) = self.house.meet(device, suppressed, self.arrival.received_at)?;
        let keys = Arc::clone(&new.keys);
        self.new_keys.push(new);
        Ok(Party { person, keys, is_new: true })
    }

    /// The leaf of a refusal; about nobody, where nobody is known.
    fn refusal(
        &self,
        owner: &Party,
        mut payload: Payload,
        entry: EntryId,
        reasons: &BTreeSet<Reason>,
    ) -> Result<LeafRow> {
        let reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
        payload.reason = Some(reasons.join(" "));
        let builder = LeafBuilder::new(&self.house.origin, entry, Event::RecordRefused, Outcome::Refused);
        if owner.is_new && self.rows.events.is_empty() {
            payload.subject = None;
            let key = self.house.own_audit_key(Event::RecordRefused.class());
            return builder.part(&self.house.source, Role::Installation, key, &payload)?.finish();
        }
        builder.part(&self.house.source, Role::Subject, &owner.keys.operation, &payload)?.finish()
    }

    /// The leaf of signals that nobody can read and that therefore deny; about nobody, where nobody is
    /// known.
    fn unreadable_signal(
        &self,
        owner: &Party,
        is_known: bool,
        purposes: &BTreeSet<PurposeId>,
    ) -> Result<Option<LeafRow>> {
        if purposes.is_empty() {
            return Ok(None);
        }
        let builder = self.house.leaf(Event::SignalRefused, Outcome::Refused)?;
        if !is_known {
            return builder.finish().map(Some);
        }
        let payload = Payload {
            subject: Some(*owner.id().as_bytes()),
            collector: Some(self.arrival.rules.id.as_str().to_owned()),
            purposes: purposes.iter().map(|purpose| purpose.as_str().to_owned()).collect(),
            policy: Some(self.arrival.policy.policy.hash.0),
            ..Payload::default()
        };
        builder.part(&self.house.source, Role::Subject, &owner.keys.evidence, &payload)?.finish().map(Some)
    }

    /// A unit that keeps nothing but the marks of its events.
    fn finish_refused(self, owner: &Party, leaves: Vec<LeafRow>) -> Assembled {
        let rests_on = if owner.is_new { Vec::new() } else { owner.person.rests_on() };
        let marks = self.rows.marks.clone();
        let rows = Collect { at: Some(self.at), marks: self.rows.marks, ..Collect::default() };
        let unit = Unit::collect(rests_on, self.arrival.policy.policy.hash, rows, leaves);
        Assembled { unit, new_keys: Vec::new(), stops: Vec::new(), marks, changed: Vec::new() }
    }

    fn finish(mut self, owner: &Party, device: Option<&Party>) -> Assembled {
        let mut rests_on: Vec<Expected> = Vec::new();
        // Somebody met now has no version that anything could rest on.
        for party in [Some(owner), device].into_iter().flatten().filter(|party| !party.is_new) {
            rests_on.extend(party.person.rests_on());
            // Everybody in a profile sees what one of its members decided.
            if party.person.members.iter().any(|member| self.raised.contains(&member.id)) {
                for member in &party.person.members {
                    if !self.rows.raised.iter().any(|(id, _)| *id == member.id) {
                        self.rows.raised.push((member.id, member.profile));
                    }
                }
            }
        }
        rests_on.sort_unstable_by_key(|expected| expected.subject);
        // Two remembered views may disagree about a member; both are kept, so that the commit turns
        // the unit away.
        rests_on.dedup();
        let changed = self.rows.raised.iter().map(|(id, _)| *id).collect();
        let marks = self.rows.marks.clone();
        let unit = Unit::collect(rests_on, self.arrival.policy.policy.hash, self.rows, self.leaves);
        Assembled { unit, new_keys: self.new_keys, stops: self.stops, marks, changed }
    }
}

/// The purposes of which a signal says something that nobody can read.
fn unreadable(events: &[Identified]) -> BTreeSet<PurposeId> {
    let said = events.iter().flat_map(|event| &event.event.signals).flat_map(|signal| &signal.says);
    said.filter(|(_, says)| *says == Says::Undecodable).map(|(purpose, _)| purpose.clone()).collect()
}

fn note_dropped(dropped: &mut BTreeSet<String>, paths: &[FieldPath]) {
    for path in paths {
        if !dropped.contains(path.as_str()) {
            dropped.insert(path.as_str().to_owned());
        }
    }
}

fn note_decisions(
    payload: &mut Payload,
    dropped: BTreeSet<String>,
    decisions: BTreeSet<(PurposeId, Option<RecipientId>, Option<Reason>)>,
) {
    payload.fields = dropped.into_iter().collect();
    payload.decision = decisions
        .into_iter()
        .map(|(purpose, recipient, reason)| DecidedLine {
            purpose: purpose.as_str().to_owned(),
            recipient: recipient.map_or_else(String::new, |recipient| recipient.as_str().to_owned()),
            allowed: if reason.is_none() { Allowed::Yes } else { Allowed::No },
            reason: reason.map_or("", Reason::as_str).to_owned(),
        })
        .collect();
}
