//! When a promise that was not taken is tried again (`ecosystem.md` 2.2). Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The latest pause a recipient may ask for with `Retry-After`.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * HOUR);

/// The waits before the 1st, 2nd, … try, at most. Full jitter: the wait is anywhere between nothing
/// and this, so that a thousand promises that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Ten tries in at most about 76 h.
    Delivery,
    /// The same, and one more 7 days later (`subject-requests.md` §12.2).
    Rights,
}

/// What to do after a try that failed for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Timestamp),
    /// The schedule, or the time the data may be kept, is used up.
    Never,
}

impl Schedule {
    /// When the next try is due.
    ///
    /// `tries` is how many have been made and counted, at least one. `asked` is what the recipient
    /// asked for with `Retry-After`; it replaces the schedule's wait but not its end. `random` is
    /// fresh, uniform. `ends_at` is the end of the purpose's retention: what may no longer be kept
    /// may no longer be sent.
    #[must_use]
    pub fn next(
        self,
        tries: u32,
        asked: Option<Duration>,
        random: u32,
        now: Timestamp,
        ends_at: Option<Timestamp>,
    ) -> Next {
        let Some(wait) = self.wait(tries, random) else {
            return Next::Never;
        };
        let wait = asked.map_or(wait, |asked| asked.min(LONGEST_PAUSE));
        let Some(at) = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()) else {
            return Next::Never;
        };
        if ends_at.is_some_and(|end| at >= end) {
            return Next::Never;
        }
        Next::At(at)
    }

    /// The wait before the next try when `tries` have been made; `None` when none is left.
    #[must_use]
    pub fn wait(self, tries: u32, random: u32) -> Option<Duration> {
        let tries = usize::try_from(tries).ok()?;
        match MOST_BEFORE_TRY.get(tries) {
            Some(&seconds) => Some(part(Duration::from_secs(seconds), random)),
            // A last look after a week is a matter of its own and not a crowd: no jitter.
            None if self == Self::Rights && tries == MOST_BEFORE_TRY.len() => Some(Duration::from_secs(7 * 24 * HOUR)),
            None => None,
        }
    }
}

/// The share `random` / 2³² of `most`.
fn part(most: Duration, random: u32) -> Duration {
    let micros = (most.as_micros() * u128::from(random)) >> 32;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const MOST_BEFORE_TRY: [u64; 10] =
    [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn ten_tries_take_about_76_hours_at_most() {
        let most: Duration = (1..10).filter_map(|tries| Schedule::Delivery.wait(tries, u32::MAX)).sum();
        assert!(most > Duration::from_secs(75 * HOUR) && most < Duration::from_secs(76 * HOUR));
        assert_eq!(Schedule::Delivery.wait(10, 0), None);
    }

    #[test]
    fn a_rights_message_has_one_more_try_after_a_week() {
        let week = Duration::from_secs(7 * 24 * HOUR);
        assert_eq!(Schedule::Rights.wait(10, 0), Some(week));
        assert_eq!(Schedule::Rights.wait(11, 0), None);
    }

    proptest! {
        #[test]
        fn every_wait_lies_under_its_step_and_grows_with_the_draw(tries in 0u32..40, a: u32, b: u32) {
            let (low, high) = (a.min(b), a.max(b));
            for schedule in [Schedule::Delivery, Schedule::Rights] {
                match (schedule.wait(tries, low), schedule.wait(tries, high)) {
                    (Some(low), Some(high)) => {
                        prop_assert!(low <= high);
                        prop_assert!(high <= Duration::from_secs(7 * 24 * HOUR));
                    }
                    (None, None) => prop_assert!(tries >= 10),
                    _ => prop_assert!(false, "the draw decides whether there is a try"),
                }
            }
        }

        #[test]
        fn nothing_is_due_after_the_end_of_retention(
            tries in 1u32..12, random: u32, asked in proptest::option::of(0u64..1_000_000), end in 0i64..1_000_000,
        ) {
            let end = Timestamp::from_second(end).unwrap();
            let asked = asked.map(Duration::from_secs);
            if let Next::At(at) = Schedule::Rights.next(tries, asked, random, NOW, Some(end)) {
                prop_assert!(at < end && at >= NOW);
            }
        }

        #[test]
        fn no_recipient_can_ask_for_more_than_a_day(seconds: u64) {
            let next = Schedule::Delivery.next(1, Some(Duration::from_secs(seconds)), 0, NOW, None);
            let latest = NOW + SignedDuration::from_hours(24);
            prop_assert!(matches!(next, Next::At(at) if at <= latest));
        }
    }
}
