//! People met by their choices.

use crate::audit::payload::Payload;
use crate::domain::event::Event;
use crate::domain::identifier::IdentifierKind;
use crate::domain::policy::Trust;
use crate::gateway::{Error, Result, rows};
use crate::storage::identities::LinkProof;
use crate::storage::subjects::NewSubject;

use super::making::Making;

impl Making<'_> {
    /// The rows of people met, and of identifiers learnt about somebody known.
    pub(super) fn meet_people(&mut self) -> Result<()> {
        let known = self.known;
        let proof = match self.caller.trust {
            Trust::Public => LinkProof::Claimed,
            Trust::Server => LinkProof::Asserted,
        };
        for (handle, _) in known.handles.iter().filter(|(_, found)| found.is_none()) {
            let is_browser = handle.kind == IdentifierKind::AnonymousId && known.browser.is_some();
            let party = match &known.browser {
                Some(browser) if is_browser => browser,
                // A device that is named beside a person is not the person's identifier.
                _ if handle.is_device() && !known.owner.person.subject.device => continue,
                _ => &known.owner,
            };
            if !self.made.entries.contains_key(&party.id()) {
                continue;
            }
            if let (Some(_), Some(entry)) = (&party.new, self.made.entries.get(&party.id()).copied()) {
                self.made.rows.identifiers.push(self.house.new_identifier(
                    self.policy,
                    handle,
                    &party.keys,
                    proof,
                    self.now,
                    entry,
                )?);
            } else if self.caller.trust == Trust::Server {
                let entry = self.house.source.entry().map_err(Error::Protection)?;
                let new = self.house.new_identifier(self.policy, handle, &party.keys, proof, self.now, entry)?;
                let payload = Payload { rows: vec![rows::identifier_row(&new)], ..self.payload(party) };
                self.leave(party, entry, Event::IdentifierAdded, &payload)?;
                self.made.rows.identifiers.push(new);
            }
        }
        for party in known.parties().filter(|party| party.new.is_some()) {
            let Some(entry) = self.made.entries.get(&party.id()).copied() else { continue };
            self.made.rows.subjects.push(NewSubject {
                id: party.id(),
                profile: party.id(),
                device: party.person.subject.device,
                suppressed: self.made.suppressed.get(&party.id()).copied().unwrap_or(party.person.subject.suppressed),
                created_at: self.now.into(),
                entry,
            });
        }
        Ok(())
    }
}
