//! Claim and decide again: promises become `sending`, or end, in one commit with the ledger of
//! disclosures and their leaves, before a connection is opened.
//!
//! The commit rests on the version of every person it decided about and on the policy. A withdrawal
//! that commits first turns it away; one that commits later sees the `sending` rows and waits for
//! them. Where one busy person makes the whole claim old, each promise is claimed by itself.

mod making;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::audit::payload::{Actor, Payload, Row, Value};
use crate::crypto::sealed::Sealed;
use crate::delivery::boot_clock::{BootInstant, Deadline};
use crate::domain::id::{EntryId, FieldPath, RecipientId};
use crate::domain::reason::Reason;
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage;
use crate::storage::deliveries::{RecipientState, StoredDelivery};
use crate::storage::leases::Lease;
use crate::storage::records::StoredRecord;
use crate::telemetry::metrics::DECISIONS;

use super::view::{Memory, View};
use making::{Making, Prepared};

/// How often a promise is decided again when others change the same person meanwhile.
const TRIES: usize = 4;

/// Why a promise ends whose keys or record cannot be opened.
pub(super) const UNREADABLE: &str = "data_unreadable";
/// Why a promise ends whose recipient is gone.
pub(super) const GONE: &str = "recipient_gone";

/// A promise that was claimed: it is `sending`, decided for this try, in the ledger and in the log.
/// Only the commit of a claim makes one.
pub(super) struct Claimed {
    pub(super) promise: StoredDelivery,
    /// The number of this try.
    pub(super) attempt: u32,
    pub(super) content: Content,
    pub(super) keys: Arc<PersonKeys>,
    pub(super) policy: Arc<PolicyInForce>,
    /// The fields the recipient may have, and no others.
    pub(super) allowed: Vec<FieldPath>,
    pub(super) pseudonym: String,
    /// The leaf of the release, by which the recipient can name the decision.
    pub(super) decision: EntryId,
    /// When nothing of it may be kept any longer, if that is known.
    pub(super) ends_at: Option<Timestamp>,
    pub(super) deadline: Deadline,
}

/// A stored record, taken apart and still sealed.
pub(super) struct Content {
    pub(super) record: StoredRecord,
    pub(super) sealed: Sealed,
    /// Fields that are not personal, with their JSON text.
    pub(super) plain: BTreeMap<String, Box<RawValue>>,
}

impl Content {
    /// `None`: it is not what we stored.
    fn new(record: &StoredRecord) -> Option<Self> {
        Some(Self {
            sealed: Sealed::parse(record.sealed.clone()).ok()?,
            plain: serde_json::from_str(&record.plain).ok()?,
            record: record.clone(),
        })
    }

    fn has(&self, policy: &PolicyInForce, path: &FieldPath) -> bool {
        let number = policy.terms.field(path.as_str());
        number.is_some_and(|number| self.sealed.entry(number).is_some()) || self.plain.contains_key(path.as_str())
    }
}

/// The circumstances of one claim.
#[derive(Clone)]
pub(super) struct Circumstances {
    pub(super) recipient: RecipientId,
    pub(super) lease: Lease,
    pub(super) state: RecipientState,
    /// When the claim began: the try is over a time limit after that.
    pub(super) began: BootInstant,
    pub(super) now: Timestamp,
}

/// Claims these promises. Fewer come back than were asked for: some are refused and end here, some
/// belong to somebody else.
pub(super) async fn claim(
    house: &Gateway,
    promises: Vec<StoredDelivery>,
    circumstances: Circumstances,
) -> Result<Vec<Claimed>> {
    if let Some(claimed) = attempt(house, promises.clone(), circumstances.clone(), Memory::Used).await? {
        return Ok(claimed);
    }
    house.follow_policy().await?;
    let alone = promises.into_iter().map(|promise| claim_alone(house, promise, circumstances.clone()));
    let mut claimed = Vec::new();
    for one in join_all(alone).await {
        claimed.extend(one?);
    }
    Ok(claimed)
}

/// One promise on a fresh view. After a few tries it is left for the next turn.
async fn claim_alone(house: &Gateway, promise: StoredDelivery, circumstances: Circumstances) -> Result<Vec<Claimed>> {
    for _ in 0..TRIES {
        if let Some(claimed) = attempt(house, vec![promise.clone()], circumstances.clone(), Memory::Passed).await? {
            return Ok(claimed);
        }
    }
    Ok(Vec::new())
}

/// Decides and commits once. `None`: what it rested on has changed.
async fn attempt(
    house: &Gateway,
    promises: Vec<StoredDelivery>,
    circumstances: Circumstances,
    memory: Memory,
) -> Result<Option<Vec<Claimed>>> {
    let at_work = house.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        let view = View::read(&at_work, &promises, memory)?;
        let mut making = Making::new(&at_work, &circumstances);
        for promise in promises {
            making.rule(&view, promise)?;
        }
        making.finish()
    })
    .await
    .map_err(|_| Error::Contention)??;
    let Prepared { unit, claimed, reasons } = prepared;
    match house.database.write(unit).await.map_err(Error::store)? {
        storage::Outcome::Committed(_) => {
            count(&claimed, &reasons);
            Ok(Some(claimed))
        }
        storage::Outcome::Stale | storage::Outcome::Duplicates(_) | storage::Outcome::IdentifierTaken => Ok(None),
    }
}

/// What a leaf about a promise says in any case.
pub(super) fn payload_about(promise: &StoredDelivery) -> Payload {
    Payload {
        subject: Some(*promise.subject.as_bytes()),
        actor: Some(Actor { kind: "scheduler", id: Value::from("dispatch") }),
        rows: vec![Row {
            kind: "delivery",
            id: *promise.id.as_bytes(),
            content_hash: rows::delivery_hash(&rows::promised(promise)),
        }],
        purposes: vec![promise.purpose.as_str().to_owned()],
        recipient: Some(promise.recipient.as_str().to_owned()),
        ..Payload::default()
    }
}

fn count(claimed: &[Claimed], refused: &[(StoredDelivery, Reason)]) {
    let mut counts: BTreeMap<(&str, &str, &'static str), u64> = BTreeMap::new();
    for Claimed { promise, .. } in claimed {
        *counts.entry((promise.purpose.as_str(), promise.recipient.as_str(), "allowed")).or_default() += 1;
    }
    for (promise, reason) in refused {
        *counts.entry((promise.purpose.as_str(), promise.recipient.as_str(), reason.as_str())).or_default() += 1;
    }
    for ((purpose, recipient, reason), times) in counts {
        ::metrics::counter!(DECISIONS, "purpose" => purpose.to_owned(), "recipient" => recipient.to_owned(), "reason" => reason)
            .increment(times);
    }
}
