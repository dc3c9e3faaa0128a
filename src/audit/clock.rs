//! Which time a batch of leaves is given, and when the clock is not believed.
//!
//! Leaves never go back in time. A clock that stands a little before the newest leaf is clamped, one
//! that stands far before it, or that leapt far ahead of the time that passed, is not believed: a
//! wrong time far ahead would clamp the log for as long. All times are microseconds since 1970 UTC.

use std::time::Duration;

/// A step back beyond this is told.
const TOLD: u64 = 2_000_000;
/// A step beyond this, back or ahead, is more than a correction.
pub const TOLERANCE: u64 = 300_000_000;
/// A leap ahead beyond this is not believed.
const UNBELIEVABLE: u64 = 86_400_000_000;

/// What two clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The clock that dates leaves.
    pub wall: u64,
    /// Time that passed since some fixed moment of this process, by a clock that nobody sets.
    pub elapsed: Duration,
}

/// What the log is told about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It went back.
    Regressed(Step),
    /// It leapt ahead, as after a pause of the machine.
    Leapt(Step),
    /// It leapt ahead unbelievably; nothing more is written.
    Suspended(Step),
}

/// From the time before to what the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The time before: of the newest leaf, or the time expected.
    pub before: u64,
    /// What the clock says.
    pub clock: u64,
}

/// Why the clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// It stands before the newest leaf.
    Behind(Step),
    /// It stands far after what it should.
    Ahead(Step),
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It gets this time, and the log is told this first.
    Dated {
        /// The time of every leaf of the batch.
        time: u64,
        /// The leaf before them.
        notice: Option<Notice>,
    },
    /// Nothing is written.
    Suspended(Suspension),
}

/// What is remembered of the clock from batch to batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// The newest reading that was believed.
    believed: Option<Reading>,
    epoch: i64,
    is_regressed: bool,
    is_behind: bool,
    is_ahead: bool,
}

impl Watch {
    /// What is known after the clock was corrected to this reading, in this epoch.
    #[must_use]
    pub const fn corrected(epoch: i64, reading: Reading) -> Self {
        Self { believed: Some(reading), epoch, is_regressed: false, is_behind: false, is_ahead: false }
    }

    /// Judges a reading against the time of the newest leaf and the epoch of the log, and gives what
    /// is to be remembered if the batch commits. A raised epoch means that the clock was corrected.
    #[must_use]
    pub fn judge(&self, newest: u64, epoch: i64, reading: Reading) -> (Judged, Self) {
        let mut next = if self.epoch == epoch { *self } else { Self { epoch, ..Self::default() } };
        let Reading { wall, elapsed } = reading;
        let behind = newest.saturating_sub(wall);
        // Once it is not believed it has to catch up wholly.
        next.is_behind = behind > TOLERANCE || next.is_behind && behind > 0;
        if next.is_behind {
            return (Judged::Suspended(Suspension::Behind(Step { before: newest, clock: wall })), next);
        }
        let mut notice = None;
        if let Some(believed) = next.believed {
            let passed = u64::try_from(elapsed.saturating_sub(believed.elapsed).as_micros()).unwrap_or(u64::MAX);
            let expected = believed.wall.saturating_add(passed);
            let ahead = wall.saturating_sub(expected);
            let step = Step { before: expected, clock: wall };
            if next.is_ahead && ahead > TOLERANCE {
                return (Judged::Suspended(Suspension::Ahead(step)), next);
            }
            if ahead > UNBELIEVABLE {
                next.is_ahead = true;
                let time = expected.max(newest);
                return (Judged::Dated { time, notice: Some(Notice::Suspended(step)) }, next);
            }
            if ahead > TOLERANCE {
                notice = Some(Notice::Leapt(step));
            }
        }
        if behind > TOLD && !next.is_regressed {
            notice = Some(Notice::Regressed(Step { before: newest, clock: wall }));
        }
        next.is_regressed = behind > TOLD || next.is_regressed && behind > 0;
        next.is_ahead = false;
        next.believed = Some(reading);
        (Judged::Dated { time: wall.max(newest), notice }, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const HOUR: u64 = 3_600 * SECOND;
    const START: u64 = 1_767_225_600_000_000;

    /// A clock that says START + `wall` when `elapsed` seconds have passed.
    fn reading(wall: i64, elapsed: u64) -> Reading {
        Reading { wall: START.saturating_add_signed(wall), elapsed: Duration::from_secs(elapsed) }
    }

    fn dated(judged: Judged) -> (u64, Option<Notice>) {
        match judged {
            Judged::Dated { time, notice } => (time - START, notice),
            Judged::Suspended(why) => panic!("suspended: {why:?}"),
        }
    }

    #[test]
    fn a_small_step_back_is_clamped_and_a_larger_one_told_once() {
        let newest = START + 100 * SECOND;
        let (judged, watch) = Watch::default().judge(newest, 0, reading(98_500_000, 100));
        assert_eq!(dated(judged), (100 * SECOND, None));
        let (judged, watch) = watch.judge(newest, 0, reading(90_000_000, 101));
        let step = Step { before: newest, clock: START + 90 * SECOND };
        assert_eq!(dated(judged), (100 * SECOND, Some(Notice::Regressed(step))));
        let (judged, watch) = watch.judge(newest, 0, reading(91_000_000, 102));
        assert_eq!(dated(judged), (100 * SECOND, None), "told once");
        let (judged, watch) = watch.judge(newest, 0, reading(101_000_000, 112));
        assert_eq!(dated(judged), (101 * SECOND, None));
        let (judged, _) = watch.judge(START + 101 * SECOND, 0, reading(50_000_000, 113));
        assert!(dated(judged).1.is_some(), "it went back again");
    }

    #[test]
    fn far_behind_nothing_is_written_until_it_caught_up() {
        let newest = START + HOUR;
        let (judged, watch) = Watch::default().judge(newest, 0, reading(0, 0));
        assert!(matches!(judged, Judged::Suspended(Suspension::Behind(_))));
        let (judged, watch) = watch.judge(newest, 0, reading(3_599_000_000, 10));
        assert!(matches!(judged, Judged::Suspended(_)), "nearly is not wholly");
        let (judged, _) = watch.judge(newest, 1, reading(3_599_000_000, 10));
        assert_eq!(dated(judged).0, HOUR, "a raised epoch is a correction");
        let (judged, _) = watch.judge(newest, 0, reading(3_601_000_000, 12));
        assert_eq!(dated(judged), (3_601 * SECOND, None));
    }

    #[test]
    fn a_leap_ahead_is_told_and_an_unbelievable_one_suspends() {
        let (_, watch) = Watch::default().judge(START, 0, reading(0, 0));
        let hour = i64::try_from(HOUR).unwrap();
        let (judged, _) = watch.judge(START, 0, reading(hour, 1));
        assert!(matches!(dated(judged), (time, Some(Notice::Leapt(_))) if time == HOUR));
        let (judged, _) = watch.judge(START, 0, reading(hour, 3_600));
        assert_eq!(dated(judged), (HOUR, None), "so much time has passed");
        let (judged, watch) = watch.judge(START, 0, reading(17_520 * hour, 10));
        assert!(matches!(dated(judged), (time, Some(Notice::Suspended(_))) if time == 10 * SECOND));
        let (judged, watch) = watch.judge(START, 0, reading(17_520 * hour, 11));
        assert!(matches!(judged, Judged::Suspended(Suspension::Ahead(_))));
        let (judged, _) = watch.judge(START + 10 * SECOND, 0, reading(20_000_000, 20));
        assert_eq!(dated(judged), (20 * SECOND, None), "it agrees with the time that passed again");
    }
}
