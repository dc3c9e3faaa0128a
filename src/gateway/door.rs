//! Refusals to callers who proved nothing. They are counted, and the log is told once a minute and kind:
//! whoever has no credentials must not be able to make it grow.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::audit::leaf::Fact;
use crate::audit::payload::Payload;
use crate::domain::event::{Event, Outcome};
use crate::storage::{LeafRow, Micros, Step, Unit};

use super::{Error, Gateway, Result};

/// The credentials that a caller did not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A write key, at the doors of collectors.
    WriteKey,
    /// An API token, to be exchanged.
    ApiToken,
    /// What the gateway's own API asks for: an access token, or a write key where it takes one.
    Access,
}

impl Credentials {
    const ALL: [Self; 3] = [Self::WriteKey, Self::ApiToken, Self::Access];

    const fn as_str(self) -> &'static str {
        match self {
            Self::WriteKey => "write_key",
            Self::ApiToken => "api_token",
            Self::Access => "access",
        }
    }
}

/// What was refused since the log was told last.
#[derive(Default)]
pub struct DoorRefusals {
    write_key: Tally,
    api_token: Tally,
    access: Tally,
}

impl DoorRefusals {
    const fn of(&self, what: Credentials) -> &Tally {
        match what {
            Credentials::WriteKey => &self.write_key,
            Credentials::ApiToken => &self.api_token,
            Credentials::Access => &self.access,
        }
    }
}

#[derive(Default)]
struct Tally {
    count: AtomicU64,
    /// When the first of them was, in microseconds since 1970 UTC; 0 for none.
    since: AtomicU64,
}

impl Tally {
    fn note(&self, now: u64) {
        let _first = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many, and since when; none are left.
    fn take(&self) -> Option<(u64, u64)> {
        let count = self.count.swap(0, Ordering::Relaxed);
        let since = self.since.swap(0, Ordering::Relaxed);
        (count > 0).then_some((count, since))
    }

    /// Puts back what could not be told.
    fn put_back(&self, (count, since): (u64, u64)) {
        self.since.store(since, Ordering::Relaxed);
        self.count.fetch_add(count, Ordering::Relaxed);
    }
}

impl Gateway {
    /// Counts a refusal to a caller who proved nothing.
    pub fn count_refusal(&self, what: Credentials) {
        self.refusals.of(what).note(micros(self.source.now().into()));
    }

    /// Tells the log how many callers were refused since it was told last: one leaf a kind.
    ///
    /// # Errors
    /// When the leaves cannot be committed; they are told the next time.
    pub async fn tell_refusals(&self) -> Result<()> {
        let until = micros(self.source.now().into());
        let mut taken = Vec::new();
        let mut leaves = Vec::new();
        for what in Credentials::ALL {
            if let Some((count, since)) = self.refusals.of(what).take() {
                taken.push((what, (count, since)));
                leaves.push(self.refusal_leaf(what, count, (since, until)));
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        let told = match leaves.into_iter().collect::<Result<Vec<_>>>() {
            Ok(leaves) => self.database.write(Unit::change(Vec::new(), leaves, |_, _| Ok(Step::Commit))).await,
            Err(error) => return Err(error),
        };
        if told.is_err() {
            taken.into_iter().for_each(|(what, tally)| self.refusals.of(what).put_back(tally));
        }
        told.map(drop).map_err(Error::store)
    }

    fn refusal_leaf(&self, what: Credentials, count: u64, (since, until): (u64, u64)) -> Result<LeafRow> {
        let payload = Payload { reason: Some(what.as_str().to_owned()), ..Payload::default() };
        // A clock that was set back meanwhile gives an empty span, not one that ends before it begins.
        let facts = vec![Fact::Number(count), Fact::From(since), Fact::Until(until.max(since))];
        self.installation_leaf(Event::DoorRefused, Outcome::Refused, &payload, facts)
    }
}

fn micros(time: Micros) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}
