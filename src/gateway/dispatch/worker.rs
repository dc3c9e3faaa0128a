//! The worker of one recipient: it turns while there is something to send, and rests until a commit
//! wakes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::delivery::boot_clock::BootInstant;
use crate::delivery::breaker::Permit;
use crate::domain::id::DeliveryId;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::deliveries::{self, RecipientState};
use crate::storage::leases::Lease;
use crate::storage::queue::{self, Position, Stretch};
use crate::storage::{Head, Micros, Step, Unit};

use super::carriers::Lane;
use super::claim::{Circumstances, Claimed, claim};
use super::send::{Tried, hand_over};
use super::settle::settle;

/// How long a worker rests when nothing wakes it: promises come due by time, and on PostgreSQL other
/// instances make some too.
const POLL: Duration = Duration::from_millis(500);
/// Commits that follow each other closely wake a resting worker once.
const GATHER: Duration = Duration::from_millis(10);
/// How long a worker waits before it asks a store or a lease again that it did not get.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The worker of one recipient.
pub(super) struct Worker {
    house: Gateway,
    lane: Arc<Lane>,
    stop: watch::Receiver<bool>,
    head: watch::Receiver<Head>,
    lease: Option<(Lease, Instant)>,
    /// Where the sweep over what is due stands, and whether it found anything yet.
    sweep: Option<Position>,
    is_fruitful: bool,
    /// Whether the last turn failed, so that one fault is one line in the log.
    is_failing: bool,
}

/// What a look at the queue came to.
enum Found {
    /// These were claimed, under this permit of the breaker.
    Claimed(Vec<Claimed>, Permit),
    /// Nothing for now.
    Nothing(Rest),
}

/// How long to rest.
enum Rest {
    /// Not at all: the sweep goes on.
    None,
    /// Until a commit, at most this long.
    UntilWoken(Duration),
    /// This long, whatever is committed.
    For(Duration),
}

impl Worker {
    pub(super) fn new(house: Gateway, lane: Arc<Lane>, stop: watch::Receiver<bool>) -> Self {
        let head = house.database.head();
        Self { house, lane, stop, head, lease: None, sweep: None, is_fruitful: false, is_failing: false }
    }

    /// Works until it is told to stop. What is on the wire then is waited for and settled; what was
    /// claimed and not sent yet is due again.
    pub(super) async fn run(mut self) {
        let mut tried = Vec::new();
        while !*self.stop.borrow() {
            let rest;
            (tried, rest) = self.turn(tried).await;
            match rest {
                Rest::None => tokio::task::yield_now().await,
                Rest::UntilWoken(most) if tried.is_empty() => self.rest_until_woken(most).await,
                Rest::For(time) if tried.is_empty() => self.rest(time).await,
                Rest::UntilWoken(_) | Rest::For(_) => {}
            }
        }
        settle(&self.house, &self.lane, &tried).await;
        self.give_lease_back().await;
    }

    /// One turn. What was tried is settled while the next are claimed, so that both stand in one
    /// commit.
    async fn turn(&mut self, tried: Vec<Tried>) -> (Vec<Tried>, Rest) {
        let (house, lane, stop) = (self.house.clone(), Arc::clone(&self.lane), self.stop.clone());
        if lane.is_refusing() {
            // Nothing more is claimed before the refusal stands in the store.
            settle(&house, &lane, &tried).await;
            lane.note_refusing(false);
            return (Vec::new(), Rest::None);
        }
        let ((), found) = tokio::join!(settle(&house, &lane, &tried), self.look());
        let found = match found {
            Ok(found) => {
                self.is_failing = false;
                found
            }
            Err(error) => {
                if !self.is_failing {
                    tracing::warn!(error = crate::telemetry::cause(&error), recipient = %lane.recipient, "deliveries could not be claimed; trying again");
                }
                self.is_failing = true;
                Found::Nothing(Rest::For(ASK_AGAIN))
            }
        };
        match found {
            Found::Claimed(claimed, permit) => (hand_over(&house, &lane, claimed, permit, &stop).await, Rest::None),
            Found::Nothing(rest) => (Vec::new(), rest),
        }
    }

    /// Looks at the queue and claims what may go.
    async fn look(&mut self) -> Result<Found> {
        let Some(lease) = self.lease().await? else { return Ok(Found::Nothing(Rest::For(ASK_AGAIN))) };
        // Whatever is committed from here on wakes the worker again.
        self.head.borrow_and_update();
        let began = BootInstant::now();
        let now = self.house.source.now();
        let (recipient, from, limit) = (self.lane.recipient.clone(), self.sweep, self.lane.claim_size());
        let (state, stretch) = self
            .house
            .database
            .read(move |connection| {
                let states = deliveries::recipient_states(connection)?;
                let state = states
                    .into_iter()
                    .find(|(id, ..)| *id == recipient)
                    .map_or(RecipientState::Open, |(_, state, _)| state);
                if state == RecipientState::Paused {
                    return Ok((state, Stretch::default()));
                }
                Ok((state, queue::stretch(connection, &recipient, now.into(), from, limit)?))
            })
            .await
            .map_err(Error::store)?;
        if state == RecipientState::Paused {
            self.sweep = None;
            return Ok(Found::Nothing(Rest::For(ASK_AGAIN)));
        }
        let Stretch { mut heads, held_up, next } = stretch;
        if !held_up.is_empty() {
            self.hold_up(held_up).await?;
        }
        let permit = if heads.is_empty() { Permit::Send } else { self.lane.breaker().ask(BootInstant::now()) };
        match permit {
            Permit::Wait(wait) if state != RecipientState::Disabled => {
                return Ok(Found::Nothing(Rest::For(wait.min(ASK_AGAIN))));
            }
            Permit::Probe => {
                // The others are met by the next sweep.
                heads.truncate(1);
            }
            Permit::Send | Permit::Wait(_) => {}
        }
        self.is_fruitful |= !heads.is_empty();
        self.sweep = next;
        let rest = match (next, self.is_fruitful) {
            (Some(_), _) | (None, true) => Rest::None,
            (None, false) => Rest::UntilWoken(POLL),
        };
        if next.is_none() {
            self.is_fruitful = false;
        }
        if heads.is_empty() {
            return Ok(Found::Nothing(rest));
        }
        let recipient = self.lane.recipient.clone();
        let claimed = claim(&self.house, heads, Circumstances { recipient, lease, state, began, now }).await?;
        if claimed.is_empty() {
            return Ok(Found::Nothing(rest));
        }
        Ok(Found::Claimed(claimed, permit))
    }

    /// Sets promises aside that wait behind others, so that not every sweep meets them.
    async fn hold_up(&self, held_up: BTreeMap<Micros, Vec<DeliveryId>>) -> Result<()> {
        self.house
            .commit_change(move || {
                let held_up = held_up.clone();
                Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                    queue::hold_up(transaction.connection(), &held_up)?;
                    Ok(Step::Commit)
                })
            })
            .await?;
        Ok(())
    }

    /// The lease on this recipient's queue, taken or renewed when half of it is over. `None`: another
    /// instance has it.
    async fn lease(&mut self) -> Result<Option<Lease>> {
        let length = self.house.settings.delivery_lease;
        if let Some((lease, renewed)) = &self.lease
            && renewed.elapsed() < length / 2
        {
            return Ok(Some(lease.clone()));
        }
        let asked = Instant::now();
        let lease = self.house.take_lease(format!("dispatch:{}", self.lane.recipient), length).await?;
        self.lease = lease.clone().map(|lease| (lease, asked));
        Ok(lease)
    }

    async fn give_lease_back(&mut self) {
        if let Some((lease, _)) = self.lease.take() {
            self.house.give_lease_back(lease).await;
        }
    }

    async fn rest_until_woken(&mut self, most: Duration) {
        tokio::select! {
            changed = self.head.changed() => {
                if changed.is_err() {
                    // The store is closing and the word to stop is on its way.
                    self.rest(ASK_AGAIN).await;
                } else {
                    tokio::time::sleep(GATHER).await;
                }
            }
            () = tokio::time::sleep(most) => {}
            _ = self.stop.changed() => {}
        }
    }

    async fn rest(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = self.stop.changed() => {}
        }
    }
}
