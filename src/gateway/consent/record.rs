//! From a checked interaction to rows, leaves and one unit of work.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::audit::payload::{Actor as PayloadActor, Notice as PayloadNotice, Payload, Row, Value};
use crate::crypto::envelope::{Field, RecordPlace};
use crate::crypto::mac::{Owner, RowId, hash};
use crate::domain::consent::{ConsentEventKind, Proof, Ruling, Scope, Transmission, fold};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{Channel, ConsentEventId, ConsentId, EntryId, InteractionId, PurposeId, SubjectId};
use crate::domain::personal::Access;
use crate::domain::policy::Trust;
use crate::domain::purpose::Purpose;
use crate::gateway::identifiers::{json_text, own_category, own_term};
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::keyholder::NewPersonKeys;
use crate::gateway::person::{Line, basis_of, domain_event};
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Error, Gateway, LeafBuilder, Result, rows};
use crate::storage::consents::{NewEvent, NewLine, Relation};
use crate::storage::idempotency::{self, KeptAnswer};
use crate::storage::{Collect, Expected, LeafRow, Step, Unit, erasures, subjects};

use super::check::{Code, Violation, is_explicit};
use super::known::{Known, Party, named, objects_to_marketing, protective};
use super::notice::Shown;
use super::{Action, Caller, Choice, Interaction, Recorded};

const TO_SEAL: Access = Access::because("the evidence of a consent is sealed under its person's key (Art. 7(1))");

/// The scope of suppression that an objection to direct marketing makes (Art. 21(3)).
pub(super) const MARKETING: &str = "direct_marketing";

/// What a unit comes to.
pub(super) struct Prepared {
    pub(super) unit: Box<dyn FnOnce(Option<KeptAnswer>) -> Unit + Send>,
    pub(super) new_keys: Vec<NewPersonKeys>,
    pub(super) stops: Vec<Stop>,
    pub(super) touched: Vec<SubjectId>,
    pub(super) recorded: Recorded,
    pub(super) subject: SubjectId,
}

/// The unit in the making.
pub(super) struct Making<'a> {
    pub(super) house: &'a Gateway,
    pub(super) policy: &'a PolicyInForce,
    pub(super) caller: &'a Caller,
    pub(super) interaction: &'a Interaction,
    pub(super) shown: Option<&'a Shown>,
    pub(super) known: &'a Known,
    pub(super) now: Timestamp,
    pub(super) id: InteractionId,
    pub(super) proof: Proof,
    /// The lines as they stand with what was made so far.
    pub(super) lines: Vec<Line>,
    pub(super) made: Made,
}

/// What an interaction leaves behind.
pub(super) struct Made {
    pub(super) rows: Collect,
    pub(super) leaves: Vec<LeafRow>,
    pub(super) stops: Vec<Stop>,
    /// The first leaf about each subject that got one.
    pub(super) entries: BTreeMap<SubjectId, EntryId>,
    /// Subjects whose suppression changes.
    pub(super) suppressed: BTreeMap<SubjectId, bool>,
}

/// Gathers everything the commit of an interaction needs.
pub(super) fn prepare(
    house: &Gateway,
    policy: &PolicyInForce,
    caller: &Caller,
    interaction: &Interaction,
    shown: &std::result::Result<Option<Shown>, Code>,
    known: Known,
    now: Timestamp,
) -> Result<Prepared> {
    let shown = shown.as_ref().ok().and_then(Option::as_ref);
    let binds =
        if caller.trust == Trust::Public { known.browser.as_ref().unwrap_or(&known.owner) } else { &known.owner };
    let subject = binds.id();
    let proof = proof(caller, interaction, shown, &known, subject, now);
    let mut making = Making::new(house, policy, caller, interaction, shown, &known, proof, now)?;
    let mut consents = Vec::new();
    for choice in &interaction.choices {
        for purpose in named(&policy.policy, choice) {
            for channel in channels(purpose, choice) {
                if choice.action == Action::Give {
                    let line = making.apply(binds, &purpose.id, channel.as_ref(), choice.action)?;
                    consents.push(making.answer(line, binds, purpose, channel.as_ref()));
                    making.lift(binds, purpose)?;
                    continue;
                }
                let line = making.apply(&known.owner, &purpose.id, channel.as_ref(), choice.action)?;
                consents.push(making.answer(line, &known.owner, purpose, channel.as_ref()));
                for other in &known.others {
                    making.apply(other, &purpose.id, channel.as_ref(), choice.action)?;
                }
            }
            if choice.action != Action::Give && objects_to_marketing(choice.action, purpose) {
                making.suppress()?;
            }
        }
    }
    making.meet_people()?;
    let recorded = Recorded { interaction: making.id.to_string(), consents, stops: Vec::new() };
    let made = making.made;
    Ok(gather(known, made, recorded, subject, now))
}

/// Records one no on one line, whatever it was opened by.
pub(super) fn prepare_withdrawal(
    house: &Gateway,
    policy: &PolicyInForce,
    caller: &Caller,
    interaction: &Interaction,
    known: Known,
    line: &Line,
    now: Timestamp,
) -> Result<Prepared> {
    let mut making = Making::new(house, policy, caller, interaction, None, &known, Proof::Signal, now)?;
    making.apply(&known.owner, &line.purpose, line.channel.as_ref(), Action::Withdraw)?;
    let purpose = policy.policy.purposes.get(&line.purpose);
    if purpose.is_some_and(|purpose| objects_to_marketing(Action::Withdraw, purpose)) {
        making.suppress()?;
    }
    let recorded = Recorded { interaction: making.id.to_string(), consents: Vec::new(), stops: Vec::new() };
    let made = making.made;
    let subject = known.owner.id();
    Ok(gather(known, made, recorded, subject, now))
}

/// The unit of what was made, with what must happen before and after it.
fn gather(mut known: Known, made: Made, recorded: Recorded, subject: SubjectId, now: Timestamp) -> Prepared {
    let Made { rows, leaves, stops, suppressed, entries } = made;
    let known_parties: Vec<&Party> = known.parties().filter(|party| party.new.is_none()).collect();
    let mut rests_on: Vec<Expected> = known_parties.iter().flat_map(|party| party.person.rests_on()).collect();
    rests_on.sort_unstable_by_key(|expected| expected.subject);
    rests_on.dedup_by_key(|expected| expected.subject);
    let changed = |party: &&&Party| entries.contains_key(&party.id());
    let raised: BTreeSet<SubjectId> = known_parties
        .iter()
        .filter(changed)
        .flat_map(|party| party.person.members.iter().map(|member| member.id))
        .collect();
    let touched = known.parties().flat_map(|party| party.person.members.iter().map(|member| member.id)).collect();
    let marks = std::mem::take(&mut known.marks);
    let spend = known.token.filter(|(_, spent)| spent.is_none()).map(|(mark, _)| KeptAnswer {
        mark,
        body_hash: [0; 32],
        subject: Some(subject),
        status: 0,
        answer: String::new(),
        at: now.into(),
    });
    let new_keys = [Some(&mut known.owner), known.browser.as_mut()]
        .into_iter()
        .flatten()
        .filter(|party| entries.contains_key(&party.id()))
        .filter_map(|party| party.new.take())
        .collect();

    let unit = move |kept: Option<KeptAnswer>| {
        Unit::change(rests_on, leaves, move |transaction, _| {
            for keep in [&kept, &spend].into_iter().flatten() {
                if !idempotency::insert(transaction.connection(), keep)? {
                    return Ok(Step::Stale);
                }
            }
            if !transaction.insert_people(&rows)? {
                return Ok(Step::Stale);
            }
            if suppressed.values().any(|on| *on) {
                erasures::insert_suppressions(transaction.connection(), &marks)?;
            }
            if suppressed.values().any(|on| !on) {
                let values: Vec<[u8; 32]> = marks.iter().map(|mark| mark.value).collect();
                erasures::lift_suppressions(transaction.connection(), &values, MARKETING)?;
            }
            for member in &raised {
                match suppressed.get(member) {
                    Some(on) => subjects::set_suppressed(transaction, *member, *on)?,
                    None => subjects::raise(transaction, *member).map(drop)?,
                }
            }
            Ok(Step::Commit)
        })
    };
    Prepared { unit: Box::new(unit), new_keys, stops, touched, recorded, subject }
}

/// The lines that a choice speaks of. A no without a channel covers all of them.
fn channels(purpose: &Purpose, choice: &Choice) -> Vec<Option<Channel>> {
    match &choice.channel {
        Some(channel) => vec![Some(Channel::new(channel))],
        None if purpose.channels.is_empty() => vec![None],
        None => purpose.channels.iter().cloned().map(Some).collect(),
    }
}

/// What a yes of this act rests on. The text named by a server is that server's word, as a banner's
/// is; a page's word without a token proves nothing, nor does a yes dated ahead, back, or before the
/// text was handed out, nor a token that proved somebody else's.
fn proof(
    caller: &Caller,
    interaction: &Interaction,
    shown: Option<&Shown>,
    known: &Known,
    subject: SubjectId,
    now: Timestamp,
) -> Proof {
    let proof = match (shown, caller.trust) {
        (Some(Shown { token: Some((_, issued_at)), .. }), _) => {
            let spent = known.token.and_then(|(_, spent)| spent).is_some_and(|spent| spent != subject);
            if spent || known.given_at.as_second() < issued_at.as_second() { Proof::None } else { Proof::Act }
        }
        (Some(_), Trust::Server) => Proof::Signal,
        _ => Proof::None,
    };
    let transmission = if interaction.act.offline { Transmission::Offline } else { Transmission::Online };
    proof.weighed(known.given_at, now, transmission)
}

impl<'a> Making<'a> {
    #[expect(clippy::too_many_arguments, reason = "the circumstances of one unit")]
    fn new(
        house: &'a Gateway,
        policy: &'a PolicyInForce,
        caller: &'a Caller,
        interaction: &'a Interaction,
        shown: Option<&'a Shown>,
        known: &'a Known,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Self> {
        Ok(Self {
            house,
            policy,
            caller,
            interaction,
            shown,
            known,
            now,
            id: InteractionId::from_uuid(house.source.random_id().map_err(Error::Protection)?),
            proof,
            lines: known.parties().flat_map(|party| party.person.lines.iter().cloned()).collect(),
            made: Made {
                rows: Collect { at: Some(now.into()), ..Collect::default() },
                leaves: Vec::new(),
                stops: Vec::new(),
                entries: BTreeMap::new(),
                suppressed: BTreeMap::new(),
            },
        })
    }

    /// Records one choice on one line of one subject, where it changes anything. Gives the line.
    fn apply(
        &mut self,
        party: &Party,
        purpose: &PurposeId,
        channel: Option<&Channel>,
        action: Action,
    ) -> Result<Option<ConsentId>> {
        let scope = scope_of(party);
        let current = self.ruling(party.id(), purpose, channel, scope);
        let kind = match action {
            // Who takes back a yes withdraws it, whatever the word.
            Action::Refuse if current.is_given() => ConsentEventKind::Withdraw,
            action => protective(action),
        }
        .on(basis_of(&self.policy.policy, purpose));
        if let (Ruling::Denied(stands), Some(denial)) = (&current, kind.denial())
            && *stands >= denial
        {
            return Ok(self.line(party.id(), purpose, channel, scope).map(|line| line.id));
        }
        self.record(party, purpose, channel, scope, kind).map(Some)
    }

    fn record(
        &mut self,
        party: &Party,
        purpose: &PurposeId,
        channel: Option<&Channel>,
        scope: Scope,
        kind: ConsentEventKind,
    ) -> Result<ConsentId> {
        let is_give = kind == ConsentEventKind::Give;
        let entry = self.house.source.entry().map_err(Error::Protection)?;
        self.made.entries.entry(party.id()).or_insert(entry);
        let found = self.line(party.id(), purpose, channel, scope).map(|line| line.id);
        let line = match found {
            Some(line) => line,
            None => ConsentId::from_uuid(self.house.source.random_id().map_err(Error::Protection)?),
        };
        let policy = &self.policy.policy;
        let id = ConsentEventId::from_uuid(self.house.source.ordered_id(self.now).map_err(Error::Protection)?);
        let from = self.known.given_at.min(self.now);
        let mut row = NewEvent {
            id,
            consent: line,
            subject: party.id(),
            interaction: self.id,
            kind,
            actor: relation(self.interaction),
            proof: if is_give { self.proof } else { self.proof.max(Proof::Signal) },
            notice: self.shown.map(|shown| shown.notice.clone()),
            policy: policy.hash,
            given_at: self.known.given_at.into(),
            recorded_at: self.now.into(),
            valid_until: policy
                .purposes
                .get(purpose)
                .filter(|_| is_give)
                .and_then(|purpose| purpose.valid_until(from, &policy.controller.time_zone))
                .map(Into::into),
            explicit: is_explicit(self.interaction.act.method.as_deref()),
            collector: self.caller.id.clone(),
            method: known_method(self.interaction),
            evidence: self.evidence(party, id)?,
            mac: [0; 32],
            entry,
        };
        let canonical = rows::consent_event(&row);
        row.mac = party.keys.dek.row_mac(rows::CONSENT_EVENT, RowId::from(row.id), &canonical);
        let payload = Payload {
            purposes: vec![purpose.as_str().to_owned()],
            consent: Some(*line.as_bytes()),
            rows: vec![Row { kind: "consent_event", id: *row.id.as_bytes(), content_hash: hash(&canonical) }],
            notice: row.notice.as_ref().map(|notice| PayloadNotice {
                id: notice.id.as_str().to_owned(),
                version: notice.version,
                language: notice.language.clone(),
                text_hash: notice.text_hash,
            }),
            ..self.payload(party)
        };
        let event = match kind {
            ConsentEventKind::Give => Event::ConsentGiven,
            ConsentEventKind::Withdraw => Event::ConsentWithdrawn,
            ConsentEventKind::Object => Event::ObjectionRaised,
            _ => Event::ConsentRefused,
        };
        self.leave(party, entry, event, &payload)?;
        if found.is_none() {
            self.made.rows.lines.push(NewLine {
                id: line,
                subject: party.id(),
                purpose: purpose.clone(),
                channel: channel.cloned(),
                scope,
                created_at: self.now.into(),
                entry,
            });
            self.lines.push(Line {
                id: line,
                subject: party.id(),
                purpose: purpose.clone(),
                channel: channel.cloned(),
                scope,
                events: Vec::new(),
            });
        }
        if let Some(known) = self.lines.iter_mut().find(|known| known.id == line) {
            known.events.push(domain_event(&row.as_stored()));
        }
        if !is_give {
            self.made.stops.push(Stop {
                kind: StopKind::of(kind),
                subject: party.id(),
                what: purpose.as_str().to_owned(),
                at: self.now,
            });
        }
        self.made.rows.events.push(row);
        Ok(line)
    }

    /// What the act left as evidence, sealed; `None`: nothing was brought.
    fn evidence(&self, party: &Party, event: ConsentEventId) -> Result<Option<Vec<u8>>> {
        let (act, actor) = (&self.interaction.act, &self.interaction.actor);
        let mut json = zeroize::Zeroizing::new(String::new());
        let parts = [
            ("interface", &act.interface),
            ("user_agent", &act.user_agent),
            ("address", &act.address),
            ("actor_reference", &actor.reference),
        ];
        for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            let before = if json.is_empty() { '{' } else { ',' };
            json.push(before);
            json.push_str(&json_text(name));
            json.push(':');
            json.push_str(&zeroize::Zeroizing::new(json_text(value.reveal(&TO_SEAL))));
        }
        if json.is_empty() {
            return Ok(None);
        }
        json.push('}');
        let place = RecordPlace {
            installation: self.house.keyholder.installation,
            owner: Owner::from(party.id()),
            kind: rows::CONSENT_EVENT,
            record: RowId::from(event),
        };
        let terms = &self.policy.terms;
        let field = Field { field: own_term(terms, "own.evidence")?, category: own_category(terms)?, json: &json };
        let sealed = party
            .keys
            .dek
            .seal(&place, &[field], &mut |bytes| self.house.source.fill(bytes))
            .map_err(Error::Protection)?;
        Ok(Some(sealed.into_bytes()))
    }

    pub(super) fn payload(&self, party: &Party) -> Payload {
        Payload {
            subject: Some(*party.id().as_bytes()),
            actor: Some(actor(self.caller)),
            collector: Some(self.caller.id.as_str().to_owned()),
            policy: Some(self.policy.policy.hash.0),
            ..Payload::default()
        }
    }

    pub(super) fn leave(&mut self, party: &Party, entry: EntryId, event: Event, payload: &Payload) -> Result<()> {
        let leaf = LeafBuilder::new(&self.house.origin, entry, event, Outcome::Done)
            .part(&self.house.source, Role::Subject, &party.keys.evidence, payload)?
            .finish()?;
        self.made.leaves.push(leaf);
        Ok(())
    }

    fn line(&self, subject: SubjectId, purpose: &PurposeId, channel: Option<&Channel>, scope: Scope) -> Option<&Line> {
        self.lines.iter().find(|line| {
            line.subject == subject
                && line.purpose == *purpose
                && line.channel.as_ref() == channel
                && line.scope == scope
        })
    }

    fn ruling(&self, subject: SubjectId, purpose: &PurposeId, channel: Option<&Channel>, scope: Scope) -> Ruling {
        self.line(subject, purpose, channel, scope)
            .map_or(Ruling::Unknown, |line| fold(&line.events, basis_of(&self.policy.policy, purpose)))
    }
}

fn scope_of(party: &Party) -> Scope {
    if party.person.subject.device { Scope::Device } else { Scope::Person }
}

pub(super) fn relation(interaction: &Interaction) -> Relation {
    match interaction.actor.relation.as_deref() {
        Some("guardian") => Relation::Guardian,
        Some("agent") => Relation::Agent,
        _ => Relation::Myself,
    }
}

/// The method, if it is one that we know: free text of a caller is not kept.
fn known_method(interaction: &Interaction) -> String {
    interaction.act.method.as_deref().filter(|method| super::check::is_method(method)).unwrap_or_default().to_owned()
}

fn actor(caller: &Caller) -> PayloadActor {
    let kind = if caller.id.as_str().starts_with("token:") { "service" } else { "collector" };
    PayloadActor { kind, id: Value::from(caller.id.as_str()) }
}

/// The leaf of a refused interaction: who brought it, for what, and every code. Nobody is named, for
/// nothing was recorded about anybody.
pub(super) fn refusal(
    house: &Gateway,
    policy: &PolicyInForce,
    caller: &Caller,
    interaction: &Interaction,
    violations: &[Violation],
) -> Result<LeafRow> {
    let mut codes: Vec<&str> = violations.iter().map(|violation| violation.code.as_str()).collect();
    codes.dedup();
    let mut purposes: Vec<String> = interaction
        .choices
        .iter()
        .filter(|choice| policy.policy.purposes.contains_key(choice.purpose.as_str()))
        .map(|choice| choice.purpose.clone())
        .collect();
    purposes.sort_unstable();
    purposes.dedup();
    let payload = Payload {
        actor: Some(actor(caller)),
        collector: Some(caller.id.as_str().to_owned()),
        purposes,
        policy: Some(policy.policy.hash.0),
        reason: Some(codes.join(" ")),
        ..Payload::default()
    };
    house.installation_leaf(Event::ConsentRejected, Outcome::Refused, &payload, Vec::new())
}
