//! What the signals of an event say, and the consent events that come of it.

use jiff::Timestamp;

use crate::audit::payload::{Actor, Payload, Row, Value};
use crate::crypto::mac::{RowId, hash};
use crate::domain::collected::CollectedKind;
use crate::domain::consent::{ConsentEventKind, NoticeShown, Proof, Scope};
use crate::domain::event::{Outcome, Role};
use crate::domain::id::{ConsentEventId, ConsentId, InteractionId, PurposeId};
use crate::domain::legal_basis::LegalBasis;
use crate::domain::policy::{SignalKind, Trust};
use crate::domain::signal::Says;
use crate::gateway::consent::told_as;
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::person::{basis_of, domain_event};
use crate::gateway::{Error, LeafBuilder, Result, rows};
use crate::storage::consents::{NewEvent, NewLine, Relation, StoredEvent};

use super::assemble::Making;
use super::identify::Identified;
use super::people::{Party, Seen};

impl Making<'_> {
    /// Turns what an event's signals say into consent events, where that changes the folded state.
    pub(super) fn apply_signals(&mut self, people: &mut Seen, speaker: &Party, event: &Identified) -> Result<()> {
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
                    let lifts = event.event.kind == CollectedKind::ConsentPreference;
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
        let leaf_event = told_as(act);
        let (line, opened) = match people.line(speaker.id(), purpose, scope) {
            Some(line) => (line, false),
            None => (ConsentId::from_uuid(self.house.source.random_id().map_err(Error::Protection)?), true),
        };
        let entry = self.house.source.entry().map_err(Error::Protection)?;
        let notice = self.shown_notice();
        let is_give = act == ConsentEventKind::Give;
        let mut row = StoredEvent {
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
            mac: [0; 32],
            entry,
        };
        let canonical = rows::consent_event(&row);
        row.mac = speaker.keys.dek.row_mac(rows::CONSENT_EVENT, RowId::from(row.id), &canonical);
        let opened = opened.then(|| NewLine {
            id: line,
            subject: speaker.id(),
            purpose: purpose.clone(),
            channel: None,
            scope,
            created_at: self.at,
            entry,
        });
        let mut named = vec![Row { kind: "consent_event", id: *row.id.as_bytes(), content_hash: hash(&canonical) }];
        named.extend(opened.as_ref().map(rows::line_row));
        let payload = Payload {
            subject: Some(*speaker.id().as_bytes()),
            actor: Some(Actor { kind: "collector", id: Value::from(self.arrival.rules.id.as_str()) }),
            collector: Some(self.arrival.rules.id.as_str().to_owned()),
            purposes: vec![purpose.as_str().to_owned()],
            consent: Some(*line.as_bytes()),
            rows: named,
            policy: Some(policy.hash.0),
            more: rows::line_members(None, scope),
            ..Payload::default()
        };
        let leaf = LeafBuilder::new(&self.house.origin, entry, leaf_event, Outcome::Done)
            .part(&self.house.source, Role::Subject, &speaker.keys.evidence, &payload)?
            .finish()?;
        self.rows.lines.extend(opened);
        if !is_give {
            self.stops.push(Stop {
                kind: StopKind::of(act),
                subject: speaker.id(),
                what: purpose.as_str().to_owned(),
                at: now,
            });
        }
        self.raised.insert(speaker.id());
        people.add(speaker.id(), line, purpose, scope, domain_event(&row));
        self.rows.events.push(NewEvent { event: row, evidence: None });
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
