//! How much one recipient may be asked to take (`ecosystem.md` 2.2). Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::boot_clock::BootInstant;

/// The limits of one recipient.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Parcels on the wire at once.
    pub concurrent: u32,
    /// Parcels begun within any second; `None`: no limit.
    pub per_second: Option<u32>,
    /// Parcels begun on one day; `None`: no limit.
    pub per_day: Option<u64>,
    /// The zone in which the vendor's day begins.
    pub zone: TimeZone,
}

impl Default for Budget {
    fn default() -> Self {
        Self { concurrent: 4, per_second: None, per_day: None, zone: TimeZone::UTC }
    }
}

/// What one recipient has been given so far. Only [`Meter::day`] outlives the process.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    on_the_wire: u32,
    last_second: VecDeque<BootInstant>,
    day: Option<DayCount>,
}

/// How many parcels were begun on a day of the vendor's zone; the caller stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayCount {
    /// The day.
    pub day: Date,
    /// Parcels begun.
    pub used: u64,
}

/// The answer of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// One place was taken; [`Meter::give_back`] it when the try is over.
    Taken,
    /// All places are in use; ask again when one is given back.
    Busy,
    /// This second's share is used up; ask again after this time.
    Wait(Duration),
    /// This day's share is used up; ask again then.
    Until(Timestamp),
}

impl Meter {
    /// A meter that goes on from a stored count.
    #[must_use]
    pub fn resumed(day: DayCount) -> Self {
        Self { day: Some(day), ..Self::default() }
    }

    /// Takes a place if every limit allows it; otherwise takes nothing.
    pub fn take(&mut self, budget: &Budget, boot: BootInstant, now: Timestamp) -> Room {
        let today = now.to_zoned(budget.zone.clone()).date();
        let used = self.day.filter(|count| count.day == today).map_or(0, |count| count.used);
        if budget.per_day.is_some_and(|most| used >= most) {
            return Room::Until(start_of_next_day(budget, today, now));
        }
        if self.on_the_wire >= budget.concurrent {
            return Room::Busy;
        }
        while self.last_second.front().is_some_and(|begun| boot.since(*begun) >= SECOND) {
            self.last_second.pop_front();
        }
        if let Some(most) = budget.per_second {
            let begun = u32::try_from(self.last_second.len()).unwrap_or(u32::MAX);
            if begun >= most {
                let oldest = self.last_second.front().copied().unwrap_or(boot);
                return Room::Wait(oldest.plus(SECOND).since(boot));
            }
            self.last_second.push_back(boot);
        }
        self.on_the_wire += 1;
        self.day = Some(DayCount { day: today, used: used.saturating_add(1) });
        Room::Taken
    }

    /// Gives a place back when its try is over, whatever became of it.
    pub const fn give_back(&mut self) {
        self.on_the_wire = self.on_the_wire.saturating_sub(1);
    }

    /// The count of the day, to be stored.
    #[must_use]
    pub const fn day(&self) -> Option<DayCount> {
        self.day
    }
}

fn start_of_next_day(budget: &Budget, today: Date, now: Timestamp) -> Timestamp {
    today.tomorrow().and_then(|day| day.to_zoned(budget.zone.clone())).map_or(now, |zoned| zoned.timestamp())
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn boot(millis: u64) -> BootInstant {
        BootInstant::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn four_at_once_unless_said_otherwise() {
        let (budget, mut meter) = (Budget::default(), Meter::default());
        for _ in 0..4 {
            assert_eq!(meter.take(&budget, boot(0), Timestamp::UNIX_EPOCH), Room::Taken);
        }
        assert_eq!(meter.take(&budget, boot(0), Timestamp::UNIX_EPOCH), Room::Busy);
        meter.give_back();
        assert_eq!(meter.take(&budget, boot(0), Timestamp::UNIX_EPOCH), Room::Taken);
    }

    #[test]
    fn the_day_is_the_vendors_and_its_count_survives_a_restart() {
        let budget = Budget { per_day: Some(2), zone: TimeZone::fixed(jiff::tz::offset(2)), ..Budget::default() };
        let evening: Timestamp = "2026-11-22T21:59:00Z".parse().unwrap();
        let mut meter = Meter::default();
        assert_eq!(meter.take(&budget, boot(0), evening), Room::Taken);
        let mut meter = Meter::resumed(meter.day().unwrap());
        assert_eq!(meter.take(&budget, boot(0), evening), Room::Taken);
        let midnight: Timestamp = "2026-11-22T22:00:00Z".parse().unwrap();
        assert_eq!(meter.take(&budget, boot(0), evening), Room::Until(midnight));
        assert_eq!(meter.take(&budget, boot(0), midnight), Room::Taken);
    }

    proptest! {
        #[test]
        fn no_second_holds_more_than_its_share(steps in proptest::collection::vec(0u64..400, 1..300), most in 1u32..6) {
            let budget = Budget { concurrent: u32::MAX, per_second: Some(most), ..Budget::default() };
            let (mut meter, mut now, mut begun) = (Meter::default(), 0, Vec::new());
            for step in steps {
                now += step;
                match meter.take(&budget, boot(now), Timestamp::UNIX_EPOCH) {
                    Room::Taken => begun.push(now),
                    Room::Wait(wait) => prop_assert!(!wait.is_zero() && wait <= SECOND),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            for start in &begun {
                let within = begun.iter().filter(|time| (*start..*start + 1_000).contains(*time)).count();
                prop_assert!(within <= usize::try_from(most).unwrap());
            }
        }
    }
}
