//! The ways to the recipients, one lane each: a carrier, a breaker and a budget of its own, so that
//! a recipient that is down slows nobody else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::delivery::breaker::Breaker;
use crate::delivery::budget::{Budget, Meter};
use crate::delivery::file::{FileSink, Rotation};
use crate::delivery::webhook::{Webhook, WebhookSettings};
use crate::delivery::{Carrier, Error};
use crate::domain::id::RecipientId;

/// The most promises claimed at once.
const MOST_CLAIMED: usize = 64;
/// How long the parcels of one claim may take together. What is claimed stands before a withdrawal,
/// whose answer then waits for it.
const CLAIM_TAKES: Duration = Duration::from_millis(500);

/// Where one recipient takes its deliveries.
pub struct RecipientAddress {
    /// Whose address it is.
    pub recipient: RecipientId,
    /// How it is reached.
    pub way: Way,
    /// How much it may be asked to take.
    pub budget: Budget,
}

/// How a recipient is reached.
pub enum Way {
    /// A signed POST.
    Webhook(WebhookSettings),
    /// A folder of NDJSON files.
    File {
        /// The folder in which the recipient's own folder lies.
        directory: PathBuf,
        /// When a file is closed.
        rotation: Rotation,
    },
}

/// The ways to all recipients that have an address. Cheap to clone.
#[derive(Clone, Default)]
pub struct Carriers(Arc<BTreeMap<RecipientId, Arc<Lane>>>);

impl Carriers {
    /// Sets the ways up. Nothing is connected or written yet.
    ///
    /// # Errors
    /// An address, a secret or a folder's name cannot be used.
    pub fn new(addresses: Vec<RecipientAddress>) -> Result<Self, Error> {
        let mut lanes = BTreeMap::new();
        for address in addresses {
            let carrier = match address.way {
                Way::Webhook(settings) => Carrier::Webhook(Box::new(Webhook::new(settings)?)),
                Way::File { directory, rotation } => {
                    Carrier::File(FileSink::new(&directory, &address.recipient, rotation)?)
                }
            };
            lanes.insert(address.recipient.clone(), Arc::new(Lane::new(address.recipient, carrier, address.budget)));
        }
        Ok(Self(Arc::new(lanes)))
    }

    /// The way to a recipient, if it has an address.
    #[must_use]
    pub fn to(&self, recipient: &RecipientId) -> Option<&Arc<Lane>> {
        self.0.get(recipient)
    }

    /// Every way.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.0.values()
    }
}

/// The way to one recipient, with what was learnt on it.
pub struct Lane {
    /// Whose it is.
    pub recipient: RecipientId,
    /// The way itself.
    pub carrier: Carrier,
    /// How much the recipient may be asked to take.
    pub budget: Budget,
    breaker: Mutex<Breaker>,
    meter: Mutex<Meter>,
    pace: Mutex<Pace>,
    is_refusing: AtomicBool,
}

impl Lane {
    fn new(recipient: RecipientId, carrier: Carrier, budget: Budget) -> Self {
        Self {
            recipient,
            carrier,
            budget,
            breaker: Mutex::default(),
            meter: Mutex::default(),
            pace: Mutex::default(),
            is_refusing: AtomicBool::new(false),
        }
    }

    /// Whether the recipient has said no to everything since the last settlement. From the settlement
    /// on its stored state says so.
    pub(super) fn is_refusing(&self) -> bool {
        self.is_refusing.load(Ordering::Relaxed)
    }

    /// Notes that the recipient says no to everything, or that this was settled.
    pub(super) fn note_refusing(&self, is_refusing: bool) {
        self.is_refusing.store(is_refusing, Ordering::Relaxed);
    }

    /// Whether the recipient may be called now.
    pub fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the recipient has been given.
    pub fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many promises to claim at once: as many as the recipient has lately taken in half a
    /// second.
    pub(super) fn claim_size(&self) -> usize {
        let Carrier::Webhook(_) = &self.carrier else { return MOST_CLAIMED };
        let concurrent = usize::try_from(self.budget.concurrent).unwrap_or(usize::MAX).clamp(1, MOST_CLAIMED);
        let average = self.pace.lock().unwrap_or_else(PoisonError::into_inner).average;
        let each = match average {
            Some(average) => {
                usize::try_from(CLAIM_TAKES.as_micros() / average.as_micros().max(1)).unwrap_or(MOST_CLAIMED)
            }
            None => 2,
        };
        concurrent.saturating_mul(each).clamp(concurrent, MOST_CLAIMED)
    }

    /// Notes how long a try took.
    pub(super) fn note_pace(&self, took: Duration) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.average = Some(match pace.average {
            Some(average) => (average * 7 + took) / 8,
            None => took,
        });
    }
}

#[derive(Default)]
struct Pace {
    average: Option<Duration>,
}
