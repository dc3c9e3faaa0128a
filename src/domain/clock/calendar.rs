//! Working days: weekends and the public holidays of the Member State where the controller acts.
//! Regional holidays do not count, because the earlier date is the safe error.
//!
//! The rules stand here until `policies/reference/holidays.toml` brings them with the policy.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

/// A calendar of working days.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Month and day of holidays that never move.
    fixed: &'static [(i8, i8)],
    /// Days from Easter Sunday (Gregorian).
    easter: &'static [i64],
    /// Whether this is England and Wales, whose bank holidays move.
    moving: bool,
    known: bool,
}

/// What a calendar knows of the years in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Its holidays.
    Full,
    /// Nothing: only weekends count as days off.
    WeekendsOnly,
}

impl Calendar {
    /// The calendar with this id (`DE`, `FR`, `GB-EAW`). Any other knows weekends only, and its dates
    /// are flagged.
    #[must_use]
    pub fn of(id: &str) -> Self {
        match id {
            "DE" => Self::fixed_and_easter(&[(1, 1), (5, 1), (10, 3), (12, 25), (12, 26)], &[-2, 1, 39, 50]),
            "FR" => Self::fixed_and_easter(
                &[(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)],
                &[1, 39, 50],
            ),
            "GB-EAW" => Self { fixed: &[], easter: &[-2, 1], moving: true, known: true },
            _ => Self { fixed: &[], easter: &[], moving: false, known: false },
        }
    }

    const fn fixed_and_easter(fixed: &'static [(i8, i8)], easter: &'static [i64]) -> Self {
        Self { fixed, easter, moving: false, known: true }
    }

    /// What is known of the years from one day to another.
    #[must_use]
    pub const fn coverage(&self, _from: Date, _to: Date) -> Coverage {
        if self.known { Coverage::Full } else { Coverage::WeekendsOnly }
    }

    /// Whether people work on this day.
    #[must_use]
    pub fn is_working_day(&self, date: Date) -> bool {
        !is_weekend(date) && !self.holidays(date.year()).contains(&date)
    }

    /// This day, or the next one on which people work.
    #[must_use]
    pub fn working_day_from(&self, date: Date) -> Date {
        let mut day = date;
        while !self.is_working_day(day) {
            let Ok(next) = day.tomorrow() else { return day };
            day = next;
        }
        day
    }

    /// The `count`th working day after this day.
    #[must_use]
    pub fn working_days_after(&self, date: Date, count: u16) -> Date {
        let mut day = date;
        for _ in 0..count {
            let Ok(next) = day.tomorrow() else { return day };
            day = self.working_day_from(next);
        }
        day
    }

    fn holidays(&self, year: i16) -> BTreeSet<Date> {
        let mut days: BTreeSet<Date> =
            self.fixed.iter().filter_map(|&(month, day)| Date::new(year, month, day).ok()).collect();
        if let Some(easter) = easter(year) {
            days.extend(self.easter.iter().filter_map(|&offset| easter.checked_add(offset.days()).ok()));
        }
        if self.moving {
            for (month, day) in [(1, 1), (12, 25), (12, 26)] {
                if let Ok(date) = Date::new(year, month, day) {
                    let moved = next_free(date, &days);
                    days.insert(moved);
                }
            }
            let monday = |month: i8, nth: i8| {
                Date::new(year, month, 1).and_then(|first| first.nth_weekday_of_month(nth, Weekday::Monday))
            };
            days.extend([monday(5, 1), monday(5, -1), monday(8, -1)].into_iter().flatten());
        }
        days
    }
}

fn is_weekend(date: Date) -> bool {
    matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday)
}

/// This day, or the next one that is neither on a weekend nor a holiday already.
fn next_free(date: Date, taken: &BTreeSet<Date>) -> Date {
    let mut day = date;
    while is_weekend(day) || taken.contains(&day) {
        let Ok(next) = day.tomorrow() else { return day };
        day = next;
    }
    day
}

/// Easter Sunday of a year (Gregorian computus, Meeus/Jones/Butcher).
fn easter(year: i16) -> Option<Date> {
    let year_number = i32::from(year);
    let (golden, century, of_century) = (year_number % 19, year_number / 100, year_number % 100);
    let moon = (19 * golden + century - century / 4 - (century - (century + 8) / 25 + 1) / 3 + 15) % 30;
    let weekday = (32 + 2 * (century % 4) + 2 * (of_century / 4) - moon - of_century % 4) % 7;
    let correction = (golden + 11 * moon + 22 * weekday) / 451;
    let sum = moon + weekday - 7 * correction + 114;
    Date::new(year, i8::try_from(sum / 31).ok()?, i8::try_from(sum % 31 + 1).ok()?).ok()
}
