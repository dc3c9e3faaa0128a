//! What is known about the promises of a claim: their people, keys and records, in one visit of each
//! store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::crypto;
use crate::domain::id::{DeliveryId, RecordId, SubjectId};
use crate::domain::policy::Policy;
use crate::domain::subject::Standing;
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::person::Person;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::deliveries::StoredDelivery;
use crate::storage::records::{self, StoredRecord};
use crate::storage::{Expected, disclosures};

/// Whether what this process remembers of people may be used. Nothing false comes of it: the claim's
/// commit turns away what rests on an old version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// It may.
    Used,
    /// Everybody is read now.
    Passed,
}

/// What is known about the promises of a claim.
pub(super) struct View {
    people: HashMap<SubjectId, Arc<Person>>,
    keys: HashMap<SubjectId, Keys>,
    records: HashMap<RecordId, StoredRecord>,
    in_ledger: Vec<DeliveryId>,
}

/// The keys of a person.
#[derive(Clone)]
pub(super) enum Keys {
    /// They are here.
    Held(Arc<PersonKeys>),
    /// They were destroyed.
    Destroyed,
    /// They are gone, and nobody destroyed them.
    Lost,
}

impl View {
    /// Reads it. Blocks.
    pub(super) fn read(house: &Gateway, promises: &[StoredDelivery], memory: Memory) -> Result<Self> {
        let mut data = house.database.reader().map_err(Error::store)?;
        let ids: Vec<RecordId> = promises.iter().map(|promise| promise.record).collect();
        let records: HashMap<RecordId, StoredRecord> = records::by_ids(&mut data, &ids)
            .map_err(Error::store)?
            .into_iter()
            .map(|record| (record.id, record))
            .collect();
        let promised: Vec<DeliveryId> = promises.iter().map(|promise| promise.id).collect();
        let in_ledger = disclosures::of_deliveries(&mut data, &promised).map_err(Error::store)?;

        let mut wanted: Vec<SubjectId> = promises.iter().map(|promise| promise.subject).collect();
        wanted.extend(records.values().filter_map(|record| record.device));
        wanted.sort_unstable();
        wanted.dedup();
        let mut people = HashMap::with_capacity(wanted.len());
        if memory == Memory::Used {
            wanted.retain(|id| match house.people.get(id) {
                Some(person) => people.insert(*id, person).is_some(),
                None => true,
            });
        }
        let mut store = house.keyholder.store().reader().map_err(Error::keys)?;
        for person in Person::read_many(&mut data, &mut store, &house.keyholder, &wanted)? {
            let person = Arc::new(person);
            house.people.insert(person.subject.id, Arc::clone(&person));
            people.insert(person.subject.id, person);
        }
        let mut keys = HashMap::with_capacity(people.len());
        for person in promises.iter().filter_map(|promise| people.get(&promise.subject)) {
            let id = person.subject.id;
            let held = match house.keyholder.person_blocking(&mut store, id, person.subject.key_version) {
                Ok(held) => Keys::Held(held),
                Err(Error::NotFound) => Keys::Destroyed,
                Err(Error::MissingKey | Error::DataUnreadable(crypto::Error::UnknownVersion(_))) => Keys::Lost,
                Err(other) => return Err(other),
            };
            keys.insert(id, held);
        }
        Ok(Self { people, keys, records, in_ledger })
    }

    pub(super) fn person(&self, id: SubjectId) -> Option<&Arc<Person>> {
        self.people.get(&id)
    }

    pub(super) fn keys(&self, id: SubjectId) -> Keys {
        self.keys.get(&id).cloned().unwrap_or(Keys::Destroyed)
    }

    pub(super) fn record(&self, id: RecordId) -> Option<&StoredRecord> {
        self.records.get(&id)
    }

    /// Whether the promise was released before, so that the ledger knows of it.
    pub(super) fn is_in_ledger(&self, id: DeliveryId) -> bool {
        self.in_ledger.contains(&id)
    }

    /// What a decision about a record needs to know: the person's state, and that of the device the
    /// record came from. Narrowing crosses from a device even where no link joins the two.
    pub(super) fn standing(
        &self,
        policy: &Policy,
        person: &Person,
        record: &StoredRecord,
    ) -> (Standing, Vec<Expected>) {
        let mut standing = person.standing(policy);
        let mut rests_on = person.rests_on();
        let device = record.device.filter(|device| person.members.iter().all(|member| member.id != *device));
        if let Some(device) = device.and_then(|device| self.people.get(&device)) {
            let mut of_device = device.standing(policy);
            for line in &mut of_device.lines {
                line.may_grant = false;
            }
            standing.lines.extend(of_device.lines);
            standing.suppressed |= of_device.suppressed;
            rests_on.extend(device.rests_on());
        }
        (standing, rests_on)
    }
}
