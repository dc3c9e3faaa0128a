//! People who are already stored: real keys, real identifiers, the rows that an event would have
//! made, written a thousand people a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use amanat::domain::id::{EntryId, IdentifierId, SubjectId};
use amanat::domain::identifier::IdentifierKind;
use amanat::domain::personal::Personal;
use amanat::gateway::Gateway;
use amanat::gateway::keyholder::NewPersonKeys;
use amanat::storage::identities::{LinkProof, NewIdentifier};
use amanat::storage::subjects::NewSubject;
use amanat::storage::{Collect, Micros, Outcome, Unit};

const CHUNK: u64 = 1_000;

/// Stores the people 0 to `count`.
pub async fn store(house: &Gateway, count: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (house, next) = (house.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from >= count {
                        return;
                    }
                    store_chunk(&house, from, count.min(from + CHUNK)).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("people");
    }
}

async fn store_chunk(house: &Gateway, from: u64, to: u64) {
    let mut keys = Vec::new();
    let mut rows = Collect { at: Some(house.source.now().into()), ..Collect::default() };
    for number in from..to {
        let (new, subject, identifier) = person(house, number);
        keys.push(new);
        rows.subjects.push(subject);
        rows.identifiers.push(identifier);
    }
    house.keyholder.store_new(keys).await.expect("keys");
    let unit = Unit::collect(Vec::new(), house.policy().policy.hash, rows, Vec::new());
    let outcome = house.database.write(unit).await.expect("rows");
    assert!(matches!(outcome, Outcome::Committed(_)), "people could not be stored: {outcome:?}");
}

pub fn person(house: &Gateway, number: u64) -> (NewPersonKeys, NewSubject, NewIdentifier) {
    let now = house.source.now();
    let at = Micros::from(now);
    let entry: EntryId = house.source.entry().expect("randomness");
    let id = SubjectId::from_uuid(house.source.ordered_id(now).expect("randomness"));
    let new = house.keyholder.make(id, now).expect("keys");
    let text = || Personal::new(format!("person-{number:07}"));
    let secrets = house.keyholder.secrets();
    let value = secrets.index.value(&IdentifierKind::UserId, "", &format!("person-{number:07}"));
    let identifier = IdentifierId::from_uuid(house.source.ordered_id(now).expect("randomness"));
    let sealed =
        house.seal_identifier(&house.policy().terms, &new.keys, identifier, &text(), &text()).expect("sealing");
    let subject = NewSubject { id, profile: id, device: false, suppressed: false, created_at: at, entry };
    let identifier = NewIdentifier {
        id: identifier,
        subject: id,
        kind: "user_id".to_owned(),
        namespace: String::new(),
        sealed,
        proof: LinkProof::Asserted,
        index: vec![(secrets.index.version(), value)],
        added_at: at,
        entry,
    };
    (new, subject, identifier)
}
