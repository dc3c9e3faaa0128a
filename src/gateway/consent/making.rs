//! The unit of an interaction in the making: one choice on one line becomes a row and a leaf.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::audit::payload::{Actor as PayloadActor, Notice as PayloadNotice, Payload, Row, Value};
use crate::crypto::envelope::{Field, RecordPlace};
use crate::crypto::mac::{Owner, RowId, hash};
use crate::domain::consent::{ConsentEventKind, Proof, Ruling, Scope, fold};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{Channel, ConsentEventId, ConsentId, EntryId, InteractionId, PurposeId, SubjectId};
use crate::domain::personal::Access;
use crate::gateway::identifiers::{json_text, own_category, own_term};
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::person::{Line, basis_of, domain_event};
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Error, Gateway, LeafBuilder, Result, rows};
use crate::storage::consents::{NewEvent, NewLine, Relation, StoredEvent};
use crate::storage::{Collect, LeafRow};

use super::check::{is_explicit, is_method};
use super::known::{Known, Party, protective};
use super::notice::Shown;
use super::{Action, Caller, Interaction, told_as};

const TO_SEAL: Access = Access::because("the evidence of a consent is sealed under its person's key (Art. 7(1))");

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

impl<'a> Making<'a> {
    #[expect(clippy::too_many_arguments, reason = "the circumstances of one unit")]
    pub(super) fn new(
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
    pub(super) fn apply(
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
        let mut row = StoredEvent {
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
            mac: [0; 32],
            entry,
        };
        let canonical = rows::consent_event(&row);
        row.mac = party.keys.dek.row_mac(rows::CONSENT_EVENT, RowId::from(row.id), &canonical);
        let opened = found.is_none().then(|| NewLine {
            id: line,
            subject: party.id(),
            purpose: purpose.clone(),
            channel: channel.cloned(),
            scope,
            created_at: self.now.into(),
            entry,
        });
        let mut named = vec![Row { kind: "consent_event", id: *row.id.as_bytes(), content_hash: hash(&canonical) }];
        named.extend(opened.as_ref().map(rows::line_row));
        let payload = Payload {
            purposes: vec![purpose.as_str().to_owned()],
            consent: Some(*line.as_bytes()),
            rows: named,
            more: rows::line_members(channel, scope),
            notice: row.notice.as_ref().map(|notice| PayloadNotice {
                id: notice.id.as_str().to_owned(),
                version: notice.version,
                language: notice.language.clone(),
                text_hash: notice.text_hash,
            }),
            ..self.payload(party)
        };
        self.leave(party, entry, told_as(kind), &payload)?;
        if let Some(opened) = opened {
            self.made.rows.lines.push(opened);
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
            known.events.push(domain_event(&row));
        }
        if !is_give {
            self.made.stops.push(Stop {
                kind: StopKind::of(kind),
                subject: party.id(),
                what: purpose.as_str().to_owned(),
                at: self.now,
            });
        }
        let evidence = self.evidence(party, id)?;
        self.made.rows.events.push(NewEvent { event: row, evidence });
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
    interaction.act.method.as_deref().filter(|method| is_method(method)).unwrap_or_default().to_owned()
}

pub(super) fn actor(caller: &Caller) -> PayloadActor {
    let kind = if caller.id.as_str().starts_with("token:") { "service" } else { "collector" };
    PayloadActor { kind, id: Value::from(caller.id.as_str()) }
}
