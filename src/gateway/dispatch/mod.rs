//! A promise is kept.
//!
//! `claim → decide again → open just the permitted fields → hand over → settle → leaf`, one worker
//! for each recipient, so that one that is down slows nobody else. A promise is `sending`, in the
//! ledger of disclosures and in the log *before* a connection is opened (`claim`), and its decision
//! is the one that stood at that commit: a withdrawal either is seen by the claim or sees the
//! `sending` row and waits for it (`gateway::barrier`). Opened fields live from the message to the
//! end of its try and nowhere else (`open`, `send`). Retrying is data: a try that failed leaves the
//! promise due at another time (`settle`).
//!
//! Deliberately absent: any send without a claim of its own, any field that the decision did not
//! name, any order between people.

mod carriers;
mod claim;
mod open;
mod recipients;
mod send;
mod settle;
mod view;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::delivery::Carrier;
use crate::domain::id::RecipientId;
use crate::telemetry::metrics::{DELIVERY_PROMISES, DELIVERY_UNADDRESSED};

pub use carriers::{Carriers, Lane, RecipientAddress, Way};
pub use recipients::RecipientStates;

use super::{Gateway, Result};
use worker::Worker;

/// How often files are closed that are due, and the figures of the queues read.
const TEND: Duration = Duration::from_secs(15);

/// Deliveries that are running.
pub struct Dispatch {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts to keep promises: a worker for each recipient that has an address. Promises to others
    /// stay due.
    #[must_use]
    pub fn dispatch(&self, carriers: &Carriers) -> Dispatch {
        let (stop, told) = watch::channel(false);
        let mut tasks: Vec<JoinHandle<()>> = carriers
            .all()
            .map(|lane| tokio::spawn(Worker::new(self.clone(), lane.clone(), told.clone()).run()))
            .collect();
        tasks.push(tokio::spawn(tend(self.clone(), carriers.clone(), told)));
        Dispatch { stop, tasks }
    }
}

impl Dispatch {
    /// Claims nothing more, waits for what is on the wire (at most the time of one try) and settles
    /// it. What was not settled by then is taken up again when its lease is over.
    pub async fn stop(self, limit: Duration) {
        self.stop.send_replace(true);
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = futures_util::future::join_all(self.tasks);
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(
                "deliveries on the wire did not end in time; they are taken up again when their lease is over"
            );
            for task in aborts {
                task.abort();
            }
        }
    }
}

/// Closes files that are due, keeps the figures of the queues, and says once of each recipient of
/// the policy that it has no address.
async fn tend(house: Gateway, carriers: Carriers, mut stop: watch::Receiver<bool>) {
    let mut known = Known::default();
    while !*stop.borrow() {
        if let Err(error) = tend_once(&house, &carriers, &mut known).await {
            tracing::debug!(error = crate::telemetry::cause(&error), "the figures of the queues could not be read");
        }
        tokio::select! {
            () = tokio::time::sleep(TEND) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn tend_once(house: &Gateway, carriers: &Carriers, known: &mut Known) -> Result<()> {
    for lane in carriers.all() {
        if let Carrier::File(sink) = &lane.carrier
            && let Err(cause) = sink.close_if_due(house.source.now()).await
        {
            tracing::warn!(recipient = %lane.recipient, cause = cause.code(), "a recipient's file could not be closed");
        }
    }
    let policy = house.policy();
    let unaddressed: Vec<&RecipientId> =
        policy.policy.recipients.keys().filter(|id| carriers.to(id).is_none()).collect();
    ::metrics::gauge!(DELIVERY_UNADDRESSED).set(f64::from(u32::try_from(unaddressed.len()).unwrap_or(u32::MAX)));
    for recipient in unaddressed {
        if known.unaddressed.insert(recipient.clone()) {
            tracing::warn!(%recipient, "the policy has a recipient without an address in the configuration; what it is promised stays due");
        }
    }
    // A queue that became empty is not among the rows any more, and its figure must say so.
    let mut queues: BTreeMap<Queue, i64> =
        std::mem::take(&mut known.queues).into_iter().map(|queue| (queue, 0)).collect();
    for (recipient, state, count) in house.unsettled_deliveries().await? {
        queues.insert((recipient, state.as_str()), count);
    }
    for ((recipient, state), count) in &queues {
        let count = f64::from(u32::try_from(*count).unwrap_or(u32::MAX));
        ::metrics::gauge!(DELIVERY_PROMISES, "recipient" => recipient.as_str().to_owned(), "state" => *state)
            .set(count);
    }
    known.queues = queues.into_keys().collect();
    Ok(())
}

/// A recipient and a state of promises.
type Queue = (RecipientId, &'static str);

/// What was said before.
#[derive(Default)]
struct Known {
    unaddressed: BTreeSet<RecipientId>,
    queues: BTreeSet<Queue>,
}
