//! Settle: what became of each try is written down, with its leaf, in one commit for all of a claim.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::audit::payload::{Payload, Value};
use crate::delivery::schedule::{Next, Schedule};
use crate::delivery::{Cause, Outcome as Answer, ParcelKind};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{EntryId, RecipientId};
use crate::gateway::{Error, Gateway, Result};
use crate::storage::deliveries::{self, RecipientState};
use crate::storage::queue::{self, Settled, Settlement};
use crate::storage::{self, Expected, LeafRow, Micros, Step, Unit};
use crate::telemetry::metrics::DELIVERIES;

use super::carriers::Lane;
use super::claim::{GONE, UNREADABLE, payload_about};
use super::send::{Tried, Try};

/// How long the store is asked again when it does not answer. After that the lease is over and the
/// promise is claimed again: at least once, never lost.
const TRIES: u32 = 40;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

/// Writes down what became of these tries.
pub(super) async fn settle(house: &Gateway, lane: &Lane, tried: &[Tried]) {
    if tried.is_empty() {
        return;
    }
    count(lane, tried);
    for _ in 0..TRIES {
        match settle_once(house, lane, tried).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(error = crate::telemetry::cause(&error), recipient = %lane.recipient, "deliveries could not be settled; trying again");
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
        }
    }
    tracing::error!(recipient = %lane.recipient, "deliveries could not be settled; they will be sent again when their lease is over");
}

async fn settle_once(house: &Gateway, lane: &Lane, tried: &[Tried]) -> Result<()> {
    let all: Vec<&Tried> = tried.iter().collect();
    if write(house, lane, &all).await? {
        return Ok(());
    }
    for one in all {
        // Whoever was erased meanwhile takes promise and leaf along.
        write(house, lane, &[one]).await?;
    }
    Ok(())
}

/// False: one of the people is gone.
async fn write(house: &Gateway, lane: &Lane, tried: &[&Tried]) -> Result<bool> {
    let now = house.source.now();
    let mut leaves = Vec::with_capacity(tried.len());
    let mut settled = Vec::with_capacity(tried.len());
    let mut refusal = None;
    for tried in tried {
        let after = after(house, tried, now)?;
        leaves.push(leaf(house, tried, Event::DeliverySettled, after.outcome, after.reason.as_deref())?);
        if let Settlement::Dead { reason, .. } = &after.settlement {
            leaves.push(leaf(house, tried, Event::DeliveryAbandoned, Outcome::Failed, Some(reason))?);
        }
        settled.push(Settled {
            id: tried.claimed.promise.id,
            attempt: tried.claimed.attempt,
            settlement: after.settlement,
        });
        refusal = refusal.or(after.refusal);
    }
    let refusal = match refusal {
        Some(state) => Some(refused(house, &lane.recipient, state, tried)?),
        None => None,
    };
    if let Some(refusal) = &refusal {
        tracing::error!(recipient = %lane.recipient, reason = refusal.reason, "the recipient refuses deliveries and gets none until a person resumes it");
        leaves.push(refusal.leaf.clone());
    }
    let mut rests_on: Vec<Expected> =
        tried.iter().map(|tried| Expected { subject: tried.claimed.promise.subject, version: None }).collect();
    rests_on.sort_unstable_by_key(|expected| expected.subject);
    rests_on.dedup();
    let people = rests_on.clone();
    let (holder, recipient) = (house.instance, lane.recipient.clone());
    let unit = Unit::change(rests_on, leaves, move |transaction, _| {
        if people.iter().any(|person| transaction.version(person.subject).is_none()) {
            return Ok(Step::Stale);
        }
        let connection = transaction.connection();
        queue::settle(connection, holder, &settled)?;
        if let Some(refusal) = &refusal {
            deliveries::set_recipient_state(
                connection,
                &recipient,
                refusal.state,
                &refusal.reason,
                refusal.at,
                refusal.entry,
            )?;
        }
        Ok(Step::Commit)
    });
    match house.database.write(unit).await.map_err(Error::store)? {
        storage::Outcome::Committed(_) => Ok(true),
        storage::Outcome::Stale | storage::Outcome::Duplicates(_) | storage::Outcome::IdentifierTaken => Ok(false),
    }
}

/// What follows from a try.
struct After {
    settlement: Settlement,
    outcome: Outcome,
    reason: Option<String>,
    /// Set if the recipient gets nothing more for now.
    refusal: Option<RecipientState>,
}

fn after(house: &Gateway, tried: &Tried, now: Timestamp) -> Result<After> {
    let at = Micros::from(now);
    let claimed = &tried.claimed;
    let dead = |reason: String, outcome: Outcome, refusal: Option<RecipientState>| After {
        settlement: Settlement::Dead { at, reason: reason.clone() },
        outcome,
        reason: Some(reason),
        refusal,
    };
    let uncounted = |reason: String, outcome: Outcome, refusal: Option<RecipientState>| After {
        settlement: Settlement::Uncounted { at, reason: reason.clone() },
        outcome,
        reason: Some(reason),
        refusal,
    };
    Ok(match &tried.result {
        Try::Unreadable => dead(UNREADABLE.to_owned(), Outcome::Failed, None),
        Try::Unsent(why) => uncounted(why.as_str().to_owned(), Outcome::Failed, None),
        Try::Made(Answer::Delivered | Answer::Rights(_)) => {
            After { settlement: Settlement::Delivered { at }, outcome: Outcome::Done, reason: None, refusal: None }
        }
        Try::Made(answer @ Answer::Retry { after, cause }) => {
            let outcome = match cause {
                // What was sent may have arrived.
                Cause::TimeLimit | Cause::Network => Outcome::Unknown,
                _ => Outcome::Failed,
            };
            let reason = reason(*cause);
            if !answer.uses_a_try(&ParcelKind::Record) {
                return Ok(uncounted(reason, outcome, None));
            }
            let draw = u32::from_be_bytes(house.source.random().map_err(Error::Protection)?);
            match Schedule::Delivery.next(claimed.attempt, *after, draw, now, claimed.ends_at) {
                Next::At(next) => After {
                    settlement: Settlement::Again { at: next.into(), reason: reason.clone() },
                    outcome,
                    reason: Some(reason),
                    refusal: None,
                },
                Next::Never => dead(reason, outcome, None),
            }
        }
        Try::Made(Answer::Paused { cause }) => {
            uncounted(reason(*cause), Outcome::Refused, Some(RecipientState::Paused))
        }
        Try::Made(Answer::RecipientGone) => dead(GONE.to_owned(), Outcome::Refused, Some(RecipientState::Disabled)),
        Try::Made(Answer::Dead { cause }) => {
            let outcome = match cause {
                Cause::Status(_) | Cause::Redirected => Outcome::Refused,
                _ => Outcome::Failed,
            };
            dead(reason(*cause), outcome, None)
        }
    })
}

/// The code of a cause, with the recipient's status.
fn reason(cause: Cause) -> String {
    match cause {
        Cause::Status(410) => cause.code().to_owned(),
        Cause::Status(status) => format!("{} {status}", cause.code()),
        other => other.code().to_owned(),
    }
}

fn leaf(house: &Gateway, tried: &Tried, event: Event, outcome: Outcome, reason: Option<&str>) -> Result<LeafRow> {
    let claimed = &tried.claimed;
    let payload = Payload {
        reason: reason.map(str::to_owned),
        more: vec![
            ("attempt", Value::Uint(u64::from(claimed.attempt))),
            ("decision", Value::from(claimed.decision.as_bytes().as_slice())),
        ],
        ..payload_about(&claimed.promise)
    };
    house.leaf(event, outcome)?.part(&house.source, Role::Subject, &claimed.keys.evidence, &payload)?.finish()
}

/// A recipient that gets nothing more.
struct Refusal {
    state: RecipientState,
    reason: String,
    at: Micros,
    entry: EntryId,
    leaf: LeafRow,
}

fn refused(house: &Gateway, recipient: &RecipientId, state: RecipientState, tried: &[&Tried]) -> Result<Refusal> {
    let reason = tried
        .iter()
        .find_map(|tried| match &tried.result {
            Try::Made(Answer::Paused { cause }) if state == RecipientState::Paused => Some(reason(*cause)),
            _ => None,
        })
        .unwrap_or_else(|| GONE.to_owned());
    let leaf = super::recipients::state_leaf(house, recipient, state, &reason, "scheduler")?;
    Ok(Refusal { state, reason, at: house.source.now().into(), entry: leaf.draft.entry(), leaf })
}

fn count(lane: &Lane, tried: &[Tried]) {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for tried in tried {
        let outcome = match &tried.result {
            Try::Unreadable => "unreadable",
            Try::Unsent(_) => "unsent",
            Try::Made(Answer::Delivered | Answer::Rights(_)) => "delivered",
            Try::Made(Answer::Retry { .. }) => "retry",
            Try::Made(Answer::Paused { .. }) => "paused",
            Try::Made(Answer::RecipientGone) => "gone",
            Try::Made(Answer::Dead { .. }) => "dead",
        };
        *counts.entry(outcome).or_default() += 1;
    }
    for (outcome, times) in counts {
        ::metrics::counter!(DELIVERIES, "recipient" => lane.recipient.as_str().to_owned(), "outcome" => outcome)
            .increment(times);
    }
}
