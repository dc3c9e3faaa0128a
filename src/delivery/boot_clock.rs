//! The clock that counts suspended time, and the deadline of a try.
//!
//! A lease ends by the database's clock. An instance that was frozen (a suspended machine, a stopped
//! process) must not wake up and send what another has taken over, or what the person has withdrawn
//! meanwhile. Wall clocks jump and the monotonic clock stands still in suspension, so a try is timed
//! by the boot clock (`ecosystem.md` 2.1).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// When one try must be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(BootInstant);

impl Deadline {
    /// The deadline of a promise claimed at `claimed` with this limit for the whole try.
    #[must_use]
    pub const fn of_claim(claimed: BootInstant, limit: Duration) -> Self {
        Self(claimed.plus(limit))
    }

    /// What is left; `None` once it is over.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        let left = self.0.since(BootInstant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Runs `work` until the deadline.
    ///
    /// The boot clock is asked *before* each poll: after a freeze the work's next step would
    /// otherwise run first, and that step may be the one that sends.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when the deadline came first; the work is dropped where it stood.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        let mut alarm = pin!(tokio::time::sleep(self.left().unwrap_or(Duration::ZERO)));
        poll_fn(move |context| {
            if self.left().is_none() {
                return Poll::Ready(Err(Elapsed));
            }
            match work.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => alarm.as_mut().poll(context).map(|()| Err(Elapsed)),
            }
        })
        .await
    }
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// An instant of the boot clock: time since the machine started, suspension included. It has no
/// meaning on another machine and is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        const CLOCK: ClockId = ClockId::Boottime;
        // Elsewhere there is no such clock in POSIX; what is left is the monotonic one.
        #[cfg(not(target_os = "linux"))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let time = clock_gettime(CLOCK);
        Self(Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    /// The instant this long after the machine started.
    #[must_use]
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The instant this much later.
    #[must_use]
    pub const fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// The time since `earlier`, zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_whose_deadline_is_over_is_not_polled_even_once() {
        let long_ago = BootInstant::from_start(Duration::ZERO);
        let deadline = Deadline::of_claim(long_ago, Duration::from_nanos(1));
        let mut polled = false;
        let result = deadline.bound(async { polled = true }).await;
        assert_eq!(result, Err(Elapsed));
        assert!(!polled);
    }

    #[tokio::test]
    async fn work_without_end_ends_at_the_deadline() {
        let deadline = Deadline::of_claim(BootInstant::now(), Duration::from_millis(20));
        let result = deadline.bound(std::future::pending::<()>()).await;
        assert_eq!(result, Err(Elapsed));
    }
}
