//! Hand over: parcels go out, a few at a time, each within what is left of its claim's time.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::watch;

use crate::delivery::boot_clock::{BootInstant, Deadline};
use crate::delivery::breaker::Permit;
use crate::delivery::budget::Room;
use crate::delivery::file::FileSink;
use crate::delivery::{Carrier, Outcome, Parcel};
use crate::gateway::Gateway;
use crate::telemetry::metrics::{DELIVERY_BREAKER, DELIVERY_SECONDS, KEY_FAILURES};

use super::carriers::Lane;
use super::claim::Claimed;
use super::open::parcel;

/// A promise whose try is over.
pub(super) struct Tried {
    pub(super) claimed: Claimed,
    pub(super) result: Try,
}

/// How a try ended.
pub(super) enum Try {
    /// The recipient, or the way to it, gave an answer.
    Made(Outcome),
    /// Nothing was sent.
    Unsent(Unsent),
    /// What was promised cannot be opened.
    Unreadable,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The time of the claim was over before its turn came.
    TimeLimit,
    /// The breaker opened meanwhile.
    BreakerOpen,
    /// The recipient's budget is used up.
    Budget,
    /// The recipient said no to everything meanwhile.
    Refusing,
    /// This process stops.
    Stopping,
}

impl Unsent {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TimeLimit => "time_limit",
            Self::BreakerOpen => "breaker_open",
            Self::Budget => "budget",
            Self::Refusing => "refusing",
            Self::Stopping => "stopping",
        }
    }
}

/// Sends what was claimed under this permit of the breaker.
pub(super) async fn hand_over(
    house: &Gateway,
    lane: &Lane,
    claimed: Vec<Claimed>,
    permit: Permit,
    stop: &watch::Receiver<bool>,
) -> Vec<Tried> {
    let tried = match &lane.carrier {
        Carrier::File(sink) => write_all(house, lane, sink, claimed, permit).await,
        Carrier::Webhook(_) => {
            let at_once = usize::try_from(lane.budget.concurrent).unwrap_or(usize::MAX).max(1);
            stream::iter(claimed)
                .map(|claimed| async move {
                    let result = send(house, lane, &claimed, permit, stop).await;
                    Tried { claimed, result }
                })
                .buffer_unordered(at_once)
                .collect()
                .await
        }
    };
    let is_open = lane.breaker().is_open();
    ::metrics::gauge!(DELIVERY_BREAKER, "recipient" => lane.recipient.as_str().to_owned()).set(if is_open {
        1.0
    } else {
        0.0
    });
    tried
}

/// Sends one parcel.
async fn send(house: &Gateway, lane: &Lane, claimed: &Claimed, permit: Permit, stop: &watch::Receiver<bool>) -> Try {
    if *stop.borrow() {
        return Try::Unsent(Unsent::Stopping);
    }
    if lane.is_refusing() {
        return Try::Unsent(Unsent::Refusing);
    }
    if permit == Permit::Send && lane.breaker().is_open() {
        return Try::Unsent(Unsent::BreakerOpen);
    }
    if let Some(unsent) = wait_for_room(house, lane, claimed.deadline).await {
        return Try::Unsent(unsent);
    }
    let Some(parcel) = readable(house, lane, claimed) else {
        lane.meter().give_back();
        return Try::Unreadable;
    };
    let began = Instant::now();
    let outcome = lane.carrier.hand_over(&parcel, house.source.now(), claimed.deadline).await;
    lane.meter().give_back();
    note(lane, began, 1);
    if matches!(outcome, Outcome::Paused { .. } | Outcome::RecipientGone) {
        lane.note_refusing(true);
    }
    lane.breaker().settle(permit, outcome.health(), BootInstant::now());
    Try::Made(outcome)
}

/// Waits until the recipient's budget has room. A place that was taken must be given back.
async fn wait_for_room(house: &Gateway, lane: &Lane, deadline: Deadline) -> Option<Unsent> {
    loop {
        // What has less than half of its time left would be cut off by us, not by the recipient.
        match deadline.left() {
            Some(left) if left >= house.settings.delivery_time_limit / 2 => {}
            _ => return Some(Unsent::TimeLimit),
        }
        let room = lane.meter().take(&lane.budget, BootInstant::now(), house.source.now());
        match room {
            Room::Taken => return None,
            Room::Busy => tokio::time::sleep(Duration::from_millis(5)).await,
            Room::Wait(wait) => tokio::time::sleep(wait).await,
            Room::Until(_) => return Some(Unsent::Budget),
        }
    }
}

/// Writes the lines of a whole claim with one `fsync`.
async fn write_all(house: &Gateway, lane: &Lane, sink: &FileSink, claimed: Vec<Claimed>, permit: Permit) -> Vec<Tried> {
    let Some(deadline) = claimed.first().map(|claimed| claimed.deadline) else { return Vec::new() };
    let mut parcels: Vec<Parcel> = Vec::with_capacity(claimed.len());
    let mut tried = Vec::with_capacity(claimed.len());
    let mut sent = Vec::with_capacity(claimed.len());
    for claimed in claimed {
        match readable(house, lane, &claimed) {
            Some(parcel) => {
                parcels.push(parcel);
                sent.push(claimed);
            }
            None => tried.push(Tried { claimed, result: Try::Unreadable }),
        }
    }
    let began = Instant::now();
    let outcomes = sink.hand_over_many(&parcels, house.source.now(), deadline).await;
    note(lane, began, parcels.len());
    if let Some(first) = outcomes.first() {
        lane.breaker().settle(permit, first.health(), BootInstant::now());
    }
    tried
        .extend(sent.into_iter().zip(outcomes).map(|(claimed, outcome)| Tried { claimed, result: Try::Made(outcome) }));
    tried
}

fn readable(house: &Gateway, lane: &Lane, claimed: &Claimed) -> Option<Parcel> {
    match parcel(house, claimed, lane.carrier.format(), house.source.now()) {
        Ok(parcel) => Some(parcel),
        Err(error) => {
            tracing::error!(delivery = %claimed.promise.id, error = crate::telemetry::cause(&error), "a stored record cannot be opened; the delivery is given up");
            ::metrics::counter!(KEY_FAILURES, "kind" => "record").increment(1);
            None
        }
    }
}

fn note(lane: &Lane, began: Instant, parcels: usize) {
    let took = began.elapsed();
    lane.note_pace(took);
    if parcels > 0 {
        ::metrics::histogram!(DELIVERY_SECONDS, "recipient" => lane.recipient.as_str().to_owned())
            .record(took.as_secs_f64());
    }
}
