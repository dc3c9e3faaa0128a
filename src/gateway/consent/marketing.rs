//! The suppression list: an objection to direct marketing puts everybody's identifiers on it, a newer
//! yes of the person takes them off (GDPR Art. 21(2)–(3); `cryptography.md` §7).

use jiff::SignedDuration;

use crate::audit::payload::{Payload, Value};
use crate::domain::consent::{CLOCK_TOLERANCE, ConsentEventKind, Proof};
use crate::domain::event::Event;
use crate::domain::policy::Trust;
use crate::domain::purpose::Purpose;
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::{Error, Result};
use crate::storage::consents::Relation;

use super::known::Party;
use super::making::{Making, relation};
use super::record::MARKETING;

impl Making<'_> {
    /// An objection to direct marketing outlives the data: every identifier goes on the list.
    pub(super) fn suppress(&mut self) -> Result<()> {
        let parties = std::iter::once(&self.known.owner).chain(&self.known.others);
        for party in parties {
            if self.made.suppressed.contains_key(&party.id())
                || party.person.members.iter().all(|member| member.suppressed)
            {
                continue;
            }
            let entry = self.house.source.entry().map_err(Error::Protection)?;
            self.made.entries.entry(party.id()).or_insert(entry);
            let payload = Payload {
                reason: Some("objection".to_owned()),
                more: vec![("scope", Value::from(MARKETING))],
                ..self.payload(party)
            };
            self.leave(party, entry, Event::SuppressionAdded, &payload)?;
            self.made.suppressed.extend(party.person.members.iter().map(|member| (member.id, true)));
            let subject = party.id();
            let at = self.now;
            self.made.stops.extend(self.known.marks.iter().map(|mark| Stop {
                kind: StopKind::Suppression,
                subject,
                what: data_encoding::HEXLOWER.encode(&mark.value),
                at,
            }));
        }
        Ok(())
    }

    /// A consent that the person gave after an entry of the list ends it (`cryptography.md` §7). It
    /// must be proven, made just now, and by the person: an entry knows its day only, so that a yes
    /// which was kept on a device cannot be told from one before the objection.
    pub(super) fn lift(&mut self, party: &Party, purpose: &Purpose) -> Result<()> {
        let suppressed = party.person.members.iter().any(|member| member.suppressed);
        let age = self.now.duration_since(self.known.given_at);
        let is_live = !self.interaction.act.offline && age >= SignedDuration::ZERO && age <= CLOCK_TOLERANCE;
        let objected_at = party
            .person
            .lines
            .iter()
            .flat_map(|line| &line.events)
            .filter(|event| matches!(event.kind, ConsentEventKind::Object | ConsentEventKind::Withdraw))
            .map(|event| event.recorded_at)
            .max();
        let is_newer = objected_at.is_none_or(|at| at < self.known.given_at);
        let by_person = relation(self.interaction) == Relation::Myself && self.caller.trust == Trust::Server;
        let may =
            suppressed && purpose.direct_marketing && self.proof > Proof::None && is_live && is_newer && by_person;
        if !may || self.made.suppressed.contains_key(&party.id()) {
            return Ok(());
        }
        let entry = self.house.source.entry().map_err(Error::Protection)?;
        let payload = Payload {
            purposes: vec![purpose.id.as_str().to_owned()],
            more: vec![("scope", Value::from(MARKETING))],
            ..self.payload(party)
        };
        self.leave(party, entry, Event::SuppressionLifted, &payload)?;
        self.made.suppressed.extend(party.person.members.iter().map(|member| (member.id, false)));
        Ok(())
    }
}
