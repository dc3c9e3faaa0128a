//! Stage 5, store: the rows and leaves of one unit, ready for the committer.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::audit::payload::{Actor, Allowed, Decided as DecidedLine, Payload, Row, Value};
use crate::crypto::mac::{RowId, hash};
use crate::domain::consent::{ConsentEvent, ConsentEventKind, NoticeShown, Proof, Scope, fold};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{
    CollectorId, ConsentEventId, ConsentId, DeliveryId, EntryId, IdentifierId, InteractionId, PurposeId, SubjectId,
};
use crate::domain::legal_basis::LegalBasis;
use crate::domain::policy::{SignalKind, Trust};
use crate::domain::signal::Says;
use crate::domain::subject::{Standing, SubjectStatus};
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::keyholder::{NewPersonKeys, PersonKeys};
use crate::gateway::meeting::Handle;
use crate::gateway::person::{Line, Person, basis_of};
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::consents::{NewEvent, NewLine, Relation};
use crate::storage::deliveries::NewDelivery;
use crate::storage::identities::{LinkProof, NewEdge};
use crate::storage::subjects::NewSubject;
use crate::storage::{Collect, Expected, LeafRow, Micros, Unit};

use super::classify::Classified;
use super::decide::{Circumstances, Decided, Rulings};
use super::identify::Identified;
use super::seal::{Destination, Sealed};
use super::view::{Side, View};
use super::{Arrival, Verdict};

/// The most subjects that links may join to one profile.
const PROFILE_LIMIT: usize = 20;

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
    /// Subjects whose remembered view is old afterwards, if more than one or a stop is among them.
    pub(super) touched: Vec<SubjectId>,
}

/// A subject of the unit with everything needed to write about it.
struct Party {
    person: Arc<Person>,
    keys: Arc<PersonKeys>,
    is_new: bool,
}

impl Party {
    fn id(&self) -> SubjectId {
        self.person.subject.id
    }
}

/// The unit in the making.
struct Making<'a> {
    house: &'a Gateway,
    arrival: &'a Arrival<'a>,
    at: Micros,
    rows: Collect,
    leaves: Vec<LeafRow>,
    new_keys: Vec<NewPersonKeys>,
    stops: Vec<Stop>,
    raised: BTreeSet<SubjectId>,
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
    };
    let owner = making.party(&view.owner, first.owner.is_device(), view.suppressed)?;
    let device = match (&view.device, &first.device) {
        (Some(side), Some(_)) => Some(making.party(side, true, false)?),
        _ => None,
    };
    let link = device.as_ref().and_then(|device| making.link_to_device(&owner, device));
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

    for event in events {
        if let Some(mark) = event.mark {
            making.rows.marks.push(mark);
        }
        let classified = Classified::new(&arrival.policy.policy, event);
        dropped.extend(event.event.undeclared.iter().map(|path| path.as_str().to_owned()));
        let decided = Decided::new(&circumstances, &mut rulings, classified);
        dropped.extend(decided.ruling.dropped.iter().map(|path| path.as_str().to_owned()));
        for (purpose, recipient, reason) in &decided.ruling.decisions {
            decisions.insert((purpose.clone(), recipient.clone(), *reason));
        }
        if !decided.is_kept() {
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
                making.rows.marks.pop();
                verdicts.push((event.position, Verdict::Rejected(super::Flaw::TooLarge)));
                continue;
            }
            Err(other) => return Err(other),
        };
        payload.rows.push(Row { kind: "record", id: *record.id.as_bytes(), content_hash: rows::record_hash(&record) });
        for (recipient, purpose) in &decided.ruling.promised {
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
            payload.rows.push(Row { kind: "delivery", id: *delivery.id.as_bytes(), content_hash: rows::delivery_hash(&delivery) });
            making.rows.deliveries.push(delivery);
        }
        making.rows.records.push(record);
        verdicts.push((event.position, Verdict::Accepted));
    }
    note_decisions(&mut payload, dropped, decisions);

    let stored = !making.rows.records.is_empty();
    if !stored && !had_signals {
        // Nobody is met, nothing is kept: the refusal itself is what is stored.
        let leaf = making.refusal(&owner, payload, refused.iter().map(|reason| reason.as_str()).collect())?;
        let unit = Unit::collect(
            if owner.is_new { Vec::new() } else { owner.person.rests_on() },
            arrival.policy.policy.hash,
            Collect { at: Some(making.at), marks: making.rows.marks, ..Collect::default() },
            vec![leaf],
        );
        let assembled = Assembled { unit, new_keys: Vec::new(), stops: Vec::new(), touched: vec![owner.id()] };
        return Ok(Prepared { verdicts, assembled: Some(assembled) });
    }

    making.learn_identifiers(view, events, &owner, device.as_ref(), &mut payload, entry)?;
    if let Some(link) = link {
        making.note_link(&link, &owner, device.as_ref(), first)?;
    }
    if stored {
        payload.more.push(("met", Value::Bool(owner.is_new)));
        let leaf = crate::gateway::LeafBuilder::new(&house.origin, entry, Event::RecordCollected, Outcome::Done)
            .part(&house.source, Role::Subject, &owner.keys.operation, &payload)?
            .finish()?;
        making.leaves.push(leaf);
    } else {
        // Consent was recorded and the events as such refused: the refusal is a leaf of its own.
        let leaf = making.refusal(&owner, payload, refused.iter().map(|reason| reason.as_str()).collect())?;
        making.leaves.push(leaf);
    }
    Ok(Prepared { verdicts, assembled: Some(making.finish(&owner, device.as_ref(), entry)) })
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

    /// The link that an event with a person and a device makes, if it makes one: two people at one
    /// device, a full profile or two user ids make none (`quarantine`).
    fn link_to_device(&self, owner: &Party, device: &Party) -> Option<LinkProof> {
        let joined = owner.person.subject.profile == device.person.subject.profile;
        let full = owner.person.members.len() + device.person.members.len() > PROFILE_LIMIT;
        // A device that already belongs to other people is shared and links nobody from then on.
        let shared = device.person.members.iter().any(|member| !member.device);
        if joined || full || shared {
            return None;
        }
        Some(match self.arrival.rules.trust {
            Trust::Public => LinkProof::Claimed,
            Trust::Server => LinkProof::Asserted,
        })
    }

    /// Turns what an event's signals say into consent events, where that changes the folded state.
    fn apply_signals(&mut self, people: &mut Seen, speaker: &Party, event: &Identified) -> Result<()> {
        let scope = if speaker.person.subject.device { Scope::Device } else { Scope::Person };
        let interaction = InteractionId::from_uuid(self.house.source.random_id().map_err(Error::Protection)?);
        let given_at = event.occurred_at().min(self.arrival.received_at);
        for (purpose, says, kind) in meet(event) {
            let basis = basis_of(&self.arrival.policy.policy, &purpose);
            let current = people.ruling(speaker.id(), &purpose, scope, basis);
            let act = match says {
                Says::Denies => {
                    if current.is_denied() {
                        continue;
                    }
                    let protective =
                        if current.is_given() { ConsentEventKind::Withdraw } else { ConsentEventKind::Refuse };
                    if basis == LegalBasis::LegitimateInterests { ConsentEventKind::Object } else { protective }
                }
                Says::Allows => {
                    let may = self.arrival.rules.grants.contains(&kind)
                        && basis == LegalBasis::Consent
                        && (scope == Scope::Device || self.arrival.rules.trust == Trust::Server);
                    // A yes on an ordinary event never lifts a stored no; only the preference event does.
                    let lifts = event.event.kind == crate::domain::collected::CollectedKind::ConsentPreference;
                    if !may || current.is_given() || (current.is_denied() && !lifts) {
                        continue;
                    }
                    ConsentEventKind::Give
                }
                Says::Omits | Says::Undecodable => continue,
            };
            self.record_consent(people, speaker, &purpose, scope, act, given_at, interaction)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one row, written in one place")]
    fn record_consent(
        &mut self,
        people: &mut Seen,
        speaker: &Party,
        purpose: &PurposeId,
        scope: Scope,
        act: ConsentEventKind,
        given_at: Timestamp,
        interaction: InteractionId,
    ) -> Result<()> {
        let now = self.arrival.received_at;
        let policy = &self.arrival.policy.policy;
        let leaf_event = match act {
            ConsentEventKind::Give => Event::ConsentGiven,
            ConsentEventKind::Withdraw => Event::ConsentWithdrawn,
            ConsentEventKind::Object => Event::ObjectionRaised,
            _ => Event::ConsentRefused,
        };
        let (line, opened) = match people.line(speaker.id(), purpose, scope) {
            Some(line) => (line, false),
            None => (ConsentId::from_uuid(self.house.source.random_id().map_err(Error::Protection)?), true),
        };
        let entry = self.house.source.entry().map_err(Error::Protection)?;
        let notice = self.shown_notice();
        let is_give = act == ConsentEventKind::Give;
        let mut row = NewEvent {
            id: ConsentEventId::from_uuid(self.house.source.ordered_id(now).map_err(Error::Protection)?),
            consent: line,
            subject: speaker.id(),
            interaction,
            kind: act,
            actor: Relation::Collector,
            // Without the notice that people were shown, a yes proves nothing.
            proof: if is_give && notice.is_none() { Proof::None } else { Proof::Signal },
            notice,
            policy: policy.hash,
            given_at: given_at.into(),
            recorded_at: now.into(),
            valid_until: policy
                .purposes
                .get(purpose)
                .filter(|_| is_give)
                .and_then(|purpose| purpose.valid_until(given_at, &policy.controller.time_zone))
                .map(Into::into),
            explicit: false,
            collector: self.arrival.rules.id.clone(),
            method: String::new(),
            evidence: None,
            mac: [0; 32],
            entry,
        };
        let canonical = rows::consent_event(&row);
        row.mac = speaker.keys.dek.row_mac(rows::CONSENT_EVENT, RowId::from(row.id), &canonical);
        let payload = Payload {
            subject: Some(*speaker.id().as_bytes()),
            actor: Some(Actor { kind: "collector", id: Value::from(self.arrival.rules.id.as_str()) }),
            collector: Some(self.arrival.rules.id.as_str().to_owned()),
            purposes: vec![purpose.as_str().to_owned()],
            consent: Some(*line.as_bytes()),
            rows: vec![Row { kind: "consent_event", id: *row.id.as_bytes(), content_hash: hash(&canonical) }],
            policy: Some(policy.hash.0),
            ..Payload::default()
        };
        let leaf = crate::gateway::LeafBuilder::new(&self.house.origin, entry, leaf_event, Outcome::Done)
            .part(&self.house.source, Role::Subject, &speaker.keys.evidence, &payload)?
            .finish()?;
        if opened {
            self.rows.lines.push(NewLine {
                id: line,
                subject: speaker.id(),
                purpose: purpose.clone(),
                channel: None,
                scope,
                created_at: self.at,
                entry,
            });
        }
        if !is_give {
            self.stops.push(Stop { kind: StopKind::of(act), subject: speaker.id(), what: purpose.as_str().to_owned(), at: now });
        }
        self.raised.insert(speaker.id());
        people.add(speaker.id(), line, purpose, scope, crate::gateway::person::domain_event(&row.as_stored()));
        self.rows.events.push(row);
        self.leaves.push(leaf);
        Ok(())
    }

    /// The text that people were shown by the collector's banner, if the policy names it.
    fn shown_notice(&self) -> Option<NoticeShown> {
        let (id, version) = self.arrival.rules.notice.as_ref()?;
        let policy = &self.arrival.policy.policy;
        let language = policy.controller.languages.first()?;
        let notice = policy.notices.get(&(id.clone(), *version, language.clone()))?;
        Some(NoticeShown { id: id.clone(), version: *version, language: language.clone(), text_hash: notice.text_hash })
    }

    /// New identifiers of the unit: those of somebody met now, and further ones of somebody known.
    fn learn_identifiers(
        &mut self,
        view: &View,
        events: &[Identified],
        owner: &Party,
        device: Option<&Party>,
        payload: &mut Payload,
        entry: EntryId,
    ) -> Result<()> {
        let Some(first) = events.first() else { return Ok(()) };
        let mut learnt: BTreeSet<[u8; 16]> = BTreeSet::new();
        if owner.is_new {
            self.add_identifier(&first.owner, owner, entry)?;
            learnt.insert(first.owner.value);
        }
        if let (Some(device), Some(handle)) = (device, &first.device)
            && device.is_new
        {
            self.add_identifier(handle, device, entry)?;
            learnt.insert(handle.value);
        }
        for (event, place, known) in &view.others {
            let Some(handle) = events.get(*event).and_then(|event| event.others.get(*place)) else { continue };
            if known.is_some() || !learnt.insert(handle.value) {
                continue;
            }
            let party = if handle.is_device() { device.unwrap_or(owner) } else { owner };
            // A public key's word adds an identifier only to somebody who exists by the same word.
            if self.arrival.rules.trust == Trust::Public && !party.is_new {
                continue;
            }
            if party.is_new {
                self.add_identifier(handle, party, entry)?;
                continue;
            }
            let entry = self.house.source.entry().map_err(Error::Protection)?;
            let id = self.add_identifier(handle, party, entry)?;
            let added = Payload {
                subject: Some(*party.id().as_bytes()),
                actor: payload.actor.clone(),
                collector: payload.collector.clone(),
                rows: vec![Row { kind: "identifier", id: *id.as_bytes(), content_hash: hash(&handle.value) }],
                ..Payload::default()
            };
            let leaf = crate::gateway::LeafBuilder::new(&self.house.origin, entry, Event::IdentifierAdded, Outcome::Done)
                .part(&self.house.source, Role::Subject, &party.keys.evidence, &added)?
                .finish()?;
            self.leaves.push(leaf);
            // Whoever was suppressed stays so under the new identifier.
            self.raised.insert(party.id());
        }
        for party in [Some(owner), device].into_iter().flatten().filter(|party| party.is_new) {
            self.rows.subjects.push(NewSubject {
                id: party.id(),
                profile: party.id(),
                device: party.person.subject.device,
                suppressed: party.person.subject.suppressed,
                created_at: self.at,
                entry,
            });
        }
        Ok(())
    }

    fn add_identifier(&mut self, handle: &Handle, party: &Party, entry: EntryId) -> Result<IdentifierId> {
        let proof = match self.arrival.rules.trust {
            Trust::Public => LinkProof::Claimed,
            Trust::Server => LinkProof::Asserted,
        };
        let new = self.house.new_identifier(self.arrival.policy, handle, &party.keys, proof, self.arrival.received_at, entry)?;
        let id = new.id;
        self.rows.identifiers.push(new);
        Ok(id)
    }

    /// The rows and leaves of a link: an edge, one profile for all, a leaf for each side.
    fn note_link(&mut self, proof: &LinkProof, owner: &Party, device: Option<&Party>, event: &Identified) -> Result<()> {
        let (Some(device), Some(handle)) = (device, &event.device) else { return Ok(()) };
        let profile = owner.person.subject.profile;
        for member in device.person.members.iter().chain(&owner.person.members) {
            self.rows.raised.push((member.id, profile));
        }
        let mut entries = Vec::new();
        for party in [owner, device] {
            let entry = self.house.source.entry().map_err(Error::Protection)?;
            let payload = Payload {
                subject: Some(*party.id().as_bytes()),
                actor: Some(Actor { kind: "collector", id: Value::from(self.arrival.rules.id.as_str()) }),
                collector: Some(self.arrival.rules.id.as_str().to_owned()),
                reason: Some(if *proof == LinkProof::Claimed { "claimed" } else { "asserted" }.to_owned()),
                ..Payload::default()
            };
            let leaf = crate::gateway::LeafBuilder::new(&self.house.origin, entry, Event::SubjectLinked, Outcome::Done)
                .part(&self.house.source, Role::Subject, &party.keys.evidence, &payload)?
                .finish()?;
            self.leaves.push(leaf);
            entries.push(entry);
        }
        let id = self.house.source.ordered_id(self.arrival.received_at).map_err(Error::Protection)?;
        self.rows.edges.push(NewEdge {
            id: *id.as_bytes(),
            joined: true,
            subject_a: owner.id(),
            subject_b: device.id(),
            index_a: event.owner.value,
            index_b: handle.value,
            kind_a: event.owner.kind.spelling().into_owned(),
            kind_b: handle.kind.spelling().into_owned(),
            proof: *proof,
            collector: CollectorId::new(self.arrival.rules.id.as_str()),
            at: self.at,
            entry: entries.first().copied().ok_or(Error::Contention)?,
        });
        Ok(())
    }

    /// The leaf of a refusal; about nobody, where nobody is known.
    fn refusal(&self, owner: &Party, mut payload: Payload, reasons: Vec<&'static str>) -> Result<LeafRow> {
        payload.reason = Some(reasons.join(" "));
        let builder = self.house.leaf(Event::RecordRefused, Outcome::Refused)?;
        if owner.is_new && self.rows.events.is_empty() {
            payload.subject = None;
            let key = self.house.own_audit_key(Event::RecordRefused.class());
            return builder.part(&self.house.source, Role::Installation, key, &payload)?.finish();
        }
        builder.part(&self.house.source, Role::Subject, &owner.keys.operation, &payload)?.finish()
    }

    fn finish(mut self, owner: &Party, device: Option<&Party>, _entry: EntryId) -> Assembled {
        let mut rests_on: Vec<Expected> = Vec::new();
        let mut touched = vec![owner.id()];
        for party in [Some(owner), device].into_iter().flatten() {
            if !party.is_new {
                rests_on.extend(party.person.rests_on());
            }
            if party.is_new || !self.rows.raised.is_empty() {
                touched.extend(party.person.members.iter().map(|member| member.id));
            }
        }
        rests_on.sort_unstable_by_key(|expected| expected.subject);
        rests_on.dedup_by_key(|expected| expected.subject);
        // Everybody in a profile sees what one of its members decided.
        for party in [Some(owner), device].into_iter().flatten() {
            if !self.raised.is_empty() {
                for member in &party.person.members {
                    if !self.rows.raised.iter().any(|(id, _)| *id == member.id) {
                        self.rows.raised.push((member.id, member.profile));
                    }
                    touched.push(member.id);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        let unit = Unit::collect(rests_on, self.arrival.policy.policy.hash, self.rows, self.leaves);
        Assembled { unit, new_keys: self.new_keys, stops: self.stops, touched }
    }
}

/// The people of a unit as its decisions see them: what is stored, and what the unit itself adds.
struct Seen {
    owner: SubjectId,
    lines: Vec<Line>,
    may_grant: BTreeSet<SubjectId>,
    suppressed: bool,
    status: SubjectStatus,
}

impl Seen {
    fn new(owner: &Party, device: Option<&Party>, link: Option<&LinkProof>) -> Self {
        let mut lines = owner.person.lines.clone();
        let mut may_grant = owner.person.may_grant.clone();
        let mut suppressed = owner.person.members.iter().any(|member| member.suppressed);
        let mut status = worst(&owner.person);
        if let Some(device) = device {
            if device.person.subject.profile != owner.person.subject.profile {
                // Narrowing crosses at once, even where no link is made: the event came from there.
                lines.extend(device.person.lines.iter().cloned());
                suppressed |= device.person.members.iter().any(|member| member.suppressed);
                if worst(&device.person) != SubjectStatus::Active {
                    status = worst(&device.person);
                }
            }
            if link == Some(&LinkProof::Asserted) {
                may_grant.extend(device.person.may_grant.iter().copied());
            }
        }
        Self { owner: owner.id(), lines, may_grant, suppressed, status }
    }

    fn standing(&self, arrival: &Arrival<'_>) -> Standing {
        use crate::domain::consent::ConsentLine;
        use crate::domain::subject::MemberLine;
        let policy = &arrival.policy.policy;
        Standing {
            status: self.status.clone(),
            restrictions: Vec::new(),
            suppressed: self.suppressed,
            lines: self
                .lines
                .iter()
                .map(|line| MemberLine {
                    subject: line.subject,
                    may_grant: line.subject == self.owner || self.may_grant.contains(&line.subject),
                    line: ConsentLine {
                        id: line.id,
                        purpose: line.purpose.clone(),
                        channel: line.channel.clone(),
                        scope: line.scope,
                        ruling: fold(&line.events, basis_of(policy, &line.purpose)),
                    },
                })
                .collect(),
        }
    }

    fn find(&self, subject: SubjectId, purpose: &PurposeId, scope: Scope) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.subject == subject && line.purpose == *purpose && line.channel.is_none() && line.scope == scope)
    }

    fn line(&self, subject: SubjectId, purpose: &PurposeId, scope: Scope) -> Option<ConsentId> {
        self.find(subject, purpose, scope).map(|line| line.id)
    }

    fn ruling(&self, subject: SubjectId, purpose: &PurposeId, scope: Scope, basis: LegalBasis) -> crate::domain::consent::Ruling {
        self.find(subject, purpose, scope)
            .map_or(crate::domain::consent::Ruling::Unknown, |line| fold(&line.events, basis))
    }

    fn add(&mut self, subject: SubjectId, id: ConsentId, purpose: &PurposeId, scope: Scope, event: ConsentEvent) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.id == id) {
            line.events.push(event);
            return;
        }
        self.lines.push(Line { id, subject, purpose: purpose.clone(), channel: None, scope, events: vec![event] });
    }
}

fn worst(person: &Person) -> SubjectStatus {
    person
        .members
        .iter()
        .map(|member| member.status.clone())
        .find(|status| *status != SubjectStatus::Active)
        .unwrap_or(SubjectStatus::Active)
}

/// What an event's signals say of each purpose, most restrictive first: one signal's no wins over
/// another's yes.
fn meet(event: &Identified) -> Vec<(PurposeId, Says, SignalKind)> {
    let mut said: Vec<(PurposeId, Says, SignalKind)> = Vec::new();
    for signal in &event.event.signals {
        for (purpose, says) in &signal.says {
            match said.iter_mut().find(|(known, ..)| known == purpose) {
                Some(slot) if rank(*says) < rank(slot.1) => *slot = (purpose.clone(), *says, signal.kind),
                Some(_) => {}
                None => said.push((purpose.clone(), *says, signal.kind)),
            }
        }
    }
    said
}

const fn rank(says: Says) -> u8 {
    match says {
        Says::Denies => 0,
        Says::Undecodable => 1,
        Says::Omits => 2,
        Says::Allows => 3,
    }
}

fn note_decisions(
    payload: &mut Payload,
    dropped: BTreeSet<String>,
    decisions: BTreeSet<(PurposeId, Option<crate::domain::id::RecipientId>, Option<crate::domain::reason::Reason>)>,
) {
    payload.fields = dropped.into_iter().collect();
    payload.decision = decisions
        .into_iter()
        .map(|(purpose, recipient, reason)| DecidedLine {
            purpose: purpose.as_str().to_owned(),
            recipient: recipient.map_or_else(String::new, |recipient| recipient.as_str().to_owned()),
            allowed: if reason.is_none() { Allowed::Yes } else { Allowed::No },
            reason: reason.map_or("", crate::domain::reason::Reason::as_str).to_owned(),
        })
        .collect();
}
