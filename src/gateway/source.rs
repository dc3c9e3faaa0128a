//! The house's only clock and only source of randomness and ids.
//!
//! Everything below `gateway` that needs an instant or random bytes is given them, so that it can be
//! tested and replayed. The offset exists for tests that move the clock.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use crate::crypto;
use crate::domain::id::EntryId;

/// Clock, randomness, ids.
#[derive(Clone, Default)]
pub struct Source {
    offset_seconds: Arc<AtomicI64>,
    /// How wrong the clock of commits is.
    error_seconds: Arc<AtomicI64>,
    made: Arc<AtomicU32>,
}

impl Source {
    /// Now, to the microsecond, UTC.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
    pub fn now(&self) -> Timestamp {
        let offset = self.offset_seconds.load(Ordering::Relaxed);
        let now = Timestamp::now();
        let now = if offset == 0 { now } else { now.saturating_add(SignedDuration::from_secs(offset)).unwrap_or(now) };
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// The time of a commit: the process's, or what the database says.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
    pub fn of_commit(&self, database: Option<Timestamp>) -> Timestamp {
        let right = database.unwrap_or_else(Timestamp::now);
        let error = SignedDuration::from_secs(self.error_seconds.load(Ordering::Relaxed));
        right.saturating_add(error).unwrap_or(right)
    }

    /// Makes the clock of commits wrong by so much more, for tests.
    pub fn mislead(&self, seconds: i64) {
        self.error_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Moves this clock, for tests.
    pub fn shift(&self, seconds: i64) {
        self.offset_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Fills `bytes` from the operating system's generator.
    ///
    /// # Errors
    /// [`crypto::Error::EntropyUnavailable`]; there is no other source.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), crypto::Error> {
        DRAWN.with_borrow_mut(|drawn| drawn.give(bytes))
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// As [`Source::fill`].
    pub fn random<const N: usize>(&self) -> Result<[u8; N], crypto::Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// An id that shows its time, for rows inserted in order. Those made one after the other for one
    /// instant are in that order too (RFC 9562 §6.2, method 1): two promises of one request reach
    /// their recipient as they came.
    ///
    /// # Errors
    /// As [`Source::fill`].
    pub fn ordered_id(&self, at: Timestamp) -> Result<Uuid, crypto::Error> {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let mut after_time = self.random::<10>()?;
        let count = self.made.fetch_add(1, Ordering::Relaxed);
        let [_, _, _, last] = count.to_be_bytes();
        // The counter's 26 bits lie around version and variant, which the builder puts in their places.
        let [high, middle, low] = [count >> 22, count >> 14, count >> 8].map(|bits| bits.to_le_bytes()[0]);
        let [a, b, c, d, ..] = &mut after_time;
        (*a, *b, *c, *d) = (high & 0x0f, middle, low & 0x3f, last);
        Ok(uuid::Builder::from_unix_timestamp_millis(millis, &after_time).into_uuid())
    }

    /// A random id, for what is shown to others.
    ///
    /// # Errors
    /// As [`Source::fill`].
    pub fn random_id(&self) -> Result<Uuid, crypto::Error> {
        Ok(uuid::Builder::from_random_bytes(self.random()?).into_uuid())
    }

    /// The id of a leaf to be.
    ///
    /// # Errors
    /// As [`Source::fill`].
    pub fn entry(&self) -> Result<EntryId, crypto::Error> {
        Ok(EntryId::from_bytes(self.random()?))
    }
}

thread_local! {
    static DRAWN: RefCell<Drawn> = RefCell::new(Drawn { bytes: Zeroizing::new([0; DRAWN_BYTES]), left: 0 });
}

/// Bytes drawn with one system call.
const DRAWN_BYTES: usize = 1024;

/// Random bytes drawn ahead, because a system call costs more than sealing a field. Each byte is given
/// once and wiped where it stood; the process never forks.
struct Drawn {
    bytes: Zeroizing<[u8; DRAWN_BYTES]>,
    left: usize,
}

impl Drawn {
    fn give(&mut self, bytes: &mut [u8]) -> Result<(), crypto::Error> {
        if bytes.len() > DRAWN_BYTES {
            return draw(bytes);
        }
        if self.left < bytes.len() {
            self.left = 0;
            draw(self.bytes.as_mut_slice())?;
            self.left = DRAWN_BYTES;
        }
        let rest = self.left - bytes.len();
        let given = self.bytes.get_mut(rest..self.left).ok_or(crypto::Error::EntropyUnavailable)?;
        bytes.copy_from_slice(given);
        given.zeroize();
        self.left = rest;
        Ok(())
    }
}

fn draw(bytes: &mut [u8]) -> Result<(), crypto::Error> {
    getrandom::fill(bytes).map_err(|_| crypto::Error::EntropyUnavailable)
}
