//! A record is collected.
//!
//! `Collected → Identified → Classified → Decided → Sealed`: each stage is a type whose only
//! constructor takes the stage before, so a step cannot be left out, and storage takes sealed
//! records only. The unit of work is one person's events of one request, at most 64: its records,
//! the deliveries it promises, what it teaches about the person and its one leaf
//! `record.collected` are committed together, and the collector is answered after that commit.
//!
//! Everything is prepared outside the commit, on a remembered view of the person. The unit carries
//! the versions of what it saw; if one of them changed, the committer turns it away and it is
//! prepared again on a fresh view.
//!
//! Deliberately absent: any store of plaintext, any default that allows.

mod assemble;
mod classify;
mod decide;
mod identify;
mod learn;
mod people;
mod seal;
mod speak;
mod view;

use std::collections::{BTreeMap, HashSet};

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::domain::collected::Collected;
use crate::domain::id::{CollectorId, RecipientId, SubjectId};
use crate::domain::personal::{Access, Personal};
use crate::domain::policy::{CollectorRules, Trust};
use crate::domain::reason::Reason;
use crate::storage::Outcome;

use super::policy::PolicyInForce;
use super::{Error, Gateway, Result};

pub use identify::Flaw;

use assemble::{Assembled, Prepared};
use identify::Identified;

/// The most events in one unit of work.
const EVENTS_PER_UNIT: usize = 64;
/// How often a unit is prepared again when others change the same person meanwhile.
const TRIES: usize = 8;

/// What became of the events of a request.
pub struct Collection {
    /// One verdict per event, in the order they were handed over.
    pub verdicts: Vec<Verdict>,
    /// The message id of each event, for the answer to the sender who gave it.
    pub message_ids: Vec<Option<String>>,
    /// Recipients whose receipt of a parcel was still unknown when a stop had waited for it as long
    /// as it may.
    pub unsettled: Vec<RecipientId>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stored, durably.
    Accepted,
    /// Taken in before.
    Duplicate,
    /// Refused by policy: a stored decision, not an error.
    Refused(Vec<Reason>),
    /// Not taken.
    Rejected(Flaw),
    /// The stores did not answer; the same event should come again.
    Later,
}

/// The request's circumstances, the same for all its events.
pub(super) struct Arrival<'a> {
    policy: &'a PolicyInForce,
    rules: &'a CollectorRules,
    received_at: Timestamp,
    untimed: Untimed,
}

/// When an event happened that does not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untimed {
    /// Now: a client that is alive sent it.
    IsNow,
    /// Nobody knows, so it may be older than any erasure: a row of a file.
    IsOld,
}

impl Gateway {
    /// Takes in the events of one request of a collector.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the policy in force has no such collector; store errors when not a
    /// single event could be stored.
    pub async fn collect(
        &self,
        collector: &CollectorId,
        events: Vec<Collected>,
        received_at: Timestamp,
    ) -> Result<Collection> {
        self.has_room()?;
        self.take_in(collector, events, received_at, Untimed::IsNow).await
    }

    /// As [`Gateway::collect`], where an event without a sure time counts as older than any erasure.
    pub(super) async fn take_in(
        &self,
        collector: &CollectorId,
        events: Vec<Collected>,
        received_at: Timestamp,
        untimed: Untimed,
    ) -> Result<Collection> {
        let policy = self.policy();
        let rules = policy.policy.collectors.get(collector).ok_or(Error::NotFound)?;
        let arrival = Arrival { policy: &policy, rules, received_at, untimed };

        let mut verdicts: Vec<Verdict> = vec![Verdict::Later; events.len()];
        let message_ids = events.iter().map(|event| event.message_id.as_ref().map(echo)).collect();
        let mut identified = Vec::with_capacity(events.len());
        let mut seen = HashSet::new();
        for (position, event) in events.into_iter().enumerate() {
            match Identified::new(self, &arrival, position, event) {
                Ok(event) if event.mark.is_some_and(|mark| !seen.insert(mark)) => {
                    set(&mut verdicts, position, Verdict::Duplicate);
                }
                Ok(event) => identified.push(event),
                Err(flaw) => set(&mut verdicts, position, Verdict::Rejected(flaw)),
            }
        }

        let people = by_person(identified).into_iter().map(|units| self.collect_in_order(&arrival, units));
        let mut failure = None;
        let mut stopped: Vec<SubjectId> = Vec::new();
        for (taken, failed) in join_all(people).await {
            stopped.extend(taken.stopped);
            for (position, verdict) in taken.verdicts {
                set(&mut verdicts, position, verdict);
            }
            failure = failed.or(failure);
        }
        if let Some(error) = failure {
            if verdicts.iter().all(|verdict| *verdict == Verdict::Later) {
                return Err(error);
            }
            tracing::warn!(error = crate::telemetry::cause(&error), "some events of a request could not be stored");
        }
        let unsettled = match rules.trust {
            Trust::Server if !stopped.is_empty() => self.wait_for_the_wire(&stopped).await?,
            _ => Vec::new(),
        };
        Ok(Collection { verdicts, message_ids, unsettled })
    }

    /// Commits the units of one person one after the other, because their events have an order. What
    /// follows a failure is not tried.
    async fn collect_in_order(&self, arrival: &Arrival<'_>, units: Vec<Vec<Identified>>) -> (Taken, Option<Error>) {
        let mut all = Taken::default();
        for unit in units {
            match self.collect_unit(arrival, unit).await {
                Ok(taken) => {
                    all.verdicts.extend(taken.verdicts);
                    all.stopped.extend(taken.stopped);
                }
                Err(error) => return (all, Some(error)),
            }
        }
        (all, None)
    }

    /// Prepares and commits one unit, again where the person changed meanwhile.
    async fn collect_unit(&self, arrival: &Arrival<'_>, mut events: Vec<Identified>) -> Result<Taken> {
        let mut taken = Taken::default();
        for attempt in 0..TRIES {
            let view = self.view(arrival, &events, attempt > 0).await?;
            events = taken.drop_late(events, &view, arrival.untimed);
            if events.is_empty() {
                return Ok(taken);
            }
            let Prepared { verdicts, assembled } = assemble::prepare(self, arrival, &view, &events)?;
            let Some(Assembled { unit, new_keys, stops, marks, changed }) = assembled else {
                taken.verdicts.extend(verdicts);
                return Ok(taken);
            };
            // A key is durable before anything that is sealed under it.
            self.keyholder.store_new(new_keys).await?;
            match self.database.write(unit).await.map_err(Error::store)? {
                Outcome::Committed(_) => {
                    // Versions rise only with consents, links and erasures: a plain record leaves
                    // what is remembered as it is.
                    self.forget(changed);
                    taken.verdicts.extend(verdicts);
                    if !stops.is_empty() {
                        taken.stopped.extend(stops.iter().map(|stop| stop.subject));
                        // The answer waits until the stop stands outside the database too.
                        self.journal.write(stops).await?;
                    }
                    return Ok(taken);
                }
                Outcome::Duplicates(positions) => {
                    let repeated: HashSet<_> = positions.iter().filter_map(|position| marks.get(*position)).collect();
                    events = taken.drop_duplicates(events, &repeated);
                }
                Outcome::Stale | Outcome::IdentifierTaken => {
                    if self.policy().policy.hash != arrival.policy.policy.hash {
                        // Decided under a policy that is no longer in force: the client comes again.
                        return Err(Error::Contention);
                    }
                    self.follow_policy().await?;
                }
            }
            if events.is_empty() {
                return Ok(taken);
            }
        }
        Err(Error::Contention)
    }
}

/// A message id, given back to the sender it came from.
#[must_use]
pub fn echo(message_id: &Personal<String>) -> String {
    const TO_ANSWER: Access = Access::because("the sender is told which of its events a verdict is about");
    message_id.reveal(&TO_ANSWER).clone()
}

/// What became of one unit.
#[derive(Default)]
struct Taken {
    verdicts: Vec<(usize, Verdict)>,
    stopped: Vec<SubjectId>,
}

impl Taken {
    /// Events older than the erasure of the person they name do not bring that person back.
    fn drop_late(&mut self, events: Vec<Identified>, view: &view::View, untimed: Untimed) -> Vec<Identified> {
        let Some(erased_at) = view.erased_at else { return events };
        let is_late = |event: &Identified| {
            event.occurred_at() <= erased_at || (untimed == Untimed::IsOld && !event.event.has_time)
        };
        let (late, rest): (Vec<_>, Vec<_>) = events.into_iter().partition(is_late);
        self.verdicts.extend(late.iter().map(|event| (event.position, Verdict::Refused(vec![Reason::Erased]))));
        rest
    }

    fn drop_duplicates(&mut self, events: Vec<Identified>, repeated: &HashSet<&[u8; 32]>) -> Vec<Identified> {
        let (again, rest): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| event.mark.is_some_and(|mark| repeated.contains(&mark)));
        self.verdicts.extend(again.iter().map(|event| (event.position, Verdict::Duplicate)));
        rest
    }
}

/// The events of each person from one device, in their order, in units of at most 64.
fn by_person(events: Vec<Identified>) -> Vec<Vec<Vec<Identified>>> {
    let mut people: Vec<Vec<Vec<Identified>>> = Vec::new();
    let mut places: BTreeMap<([u8; 16], Option<[u8; 16]>), usize> = BTreeMap::new();
    for event in events {
        let key = (event.owner.value, event.device.as_ref().map(|device| device.value));
        let place = *places.entry(key).or_insert(people.len());
        if place == people.len() {
            people.push(Vec::new());
        }
        let Some(units) = people.get_mut(place) else { continue };
        match units.last_mut() {
            Some(unit) if unit.len() < EVENTS_PER_UNIT => unit.push(event),
            _ => units.push(vec![event]),
        }
    }
    people
}

fn set(verdicts: &mut [Verdict], position: usize, verdict: Verdict) {
    if let Some(slot) = verdicts.get_mut(position) {
        *slot = verdict;
    }
}
