//! What a unit teaches about its people: identifiers, and that two of them are one person.

use std::collections::BTreeSet;

use crate::audit::payload::{Actor, Payload, Row, Value};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{CollectorId, EntryId};
use crate::domain::policy::Trust;
use crate::gateway::meeting::Handle;
use crate::gateway::{Error, LeafBuilder, Result, rows};
use crate::storage::identities::{LinkProof, NewEdge};
use crate::storage::subjects::NewSubject;

use super::assemble::Making;
use super::identify::Identified;
use super::people::Party;
use super::view::View;

/// The most subjects that links may join to one profile.
const PROFILE_LIMIT: usize = 20;

impl Making<'_> {
    /// The link that an event with a person and a device makes, if it makes one: two people at one
    /// device, a full profile or two user ids make none (`quarantine`).
    pub(super) fn link_to_device(&self, owner: &Party, device: &Party) -> Option<LinkProof> {
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

    /// New identifiers of the unit: those of somebody met now, and further ones of somebody known.
    pub(super) fn learn_identifiers(
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
            let row = self.add_identifier(&first.owner, owner, entry)?;
            payload.rows.push(row);
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
                let row = self.add_identifier(handle, party, entry)?;
                // What belongs to the device goes with the device, and this part stays.
                if party.id() == owner.id() {
                    payload.rows.push(row);
                }
                continue;
            }
            let entry = self.house.source.entry().map_err(Error::Protection)?;
            let row = self.add_identifier(handle, party, entry)?;
            let added = Payload {
                subject: Some(*party.id().as_bytes()),
                actor: payload.actor.clone(),
                collector: payload.collector.clone(),
                rows: vec![row],
                ..Payload::default()
            };
            let leaf = LeafBuilder::new(&self.house.origin, entry, Event::IdentifierAdded, Outcome::Done)
                .part(&self.house.source, Role::Subject, &party.keys.evidence, &added)?
                .finish()?;
            self.leaves.push(leaf);
            // Whoever was suppressed stays so under the new identifier.
            self.raised.insert(party.id());
        }
        for party in [Some(owner), device].into_iter().flatten().filter(|party| party.is_new) {
            self.rows.subjects.push(NewSubject {
                id: party.id(),
                profile: self.joined.unwrap_or(party.id()),
                device: party.person.subject.device,
                suppressed: party.person.subject.suppressed,
                created_at: self.at,
                entry,
            });
        }
        Ok(())
    }

    fn add_identifier(&mut self, handle: &Handle, party: &Party, entry: EntryId) -> Result<Row> {
        let proof = match self.arrival.rules.trust {
            Trust::Public => LinkProof::Claimed,
            Trust::Server => LinkProof::Asserted,
        };
        let new = self.house.new_identifier(
            self.arrival.policy,
            handle,
            &party.keys,
            proof,
            self.arrival.received_at,
            entry,
        )?;
        let row = rows::identifier_row(&new);
        self.rows.identifiers.push(new);
        Ok(row)
    }

    /// The rows and leaves of a link: an edge, one profile for all, a leaf for each side.
    pub(super) fn note_link(
        &mut self,
        proof: &LinkProof,
        owner: &Party,
        device: Option<&Party>,
        event: &Identified,
    ) -> Result<()> {
        let (Some(device), Some(handle)) = (device, &event.device) else { return Ok(()) };
        let profile = owner.person.subject.profile;
        // Somebody met now is inserted into that profile.
        for party in [device, owner].into_iter().filter(|party| !party.is_new) {
            self.rows.raised.extend(party.person.members.iter().map(|member| (member.id, profile)));
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
            let leaf = LeafBuilder::new(&self.house.origin, entry, Event::SubjectLinked, Outcome::Done)
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
}
