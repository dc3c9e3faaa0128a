//! The statutory clock: when an answer is due (GDPR Art. 12(3)–(4); Reg. 1182/71 Art. 3; C-171/03).
//!
//! Values in, values out: there is no `now` in here. A period counts from the local day on which the
//! request reached any official channel, that day not counted, and ends with the last moment of the
//! due day in the controller's zone. A month is a calendar month; the number 30 has no place here.

mod calendar;
#[cfg(test)]
mod tests;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan};

pub use calendar::{Calendar, Coverage};

/// The answer period of a legal regime.
#[derive(Clone, Debug)]
pub struct Profile {
    /// From the trigger day to the due day.
    pub answer: Span,
    /// From the trigger day to the extended due day, if there is an extension.
    pub extended: Option<Span>,
    /// How questions to the person move the date.
    pub pause: PauseRule,
    /// How days are counted.
    pub count: Count,
}

/// How questions to the person move the date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseRule {
    /// GDPR: the days from asking to obtaining, if asked within three working days.
    Days,
    /// UK GDPR Art. 12A: both days included.
    InclusiveDays,
    /// No question moves it.
    None,
}

/// How the days of a period are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Calendar time; a due day that is no working day moves to the next one.
    RolledCalendar,
    /// Calendar time as it comes.
    Calendar,
    /// Working days only.
    WorkingDays,
    /// Calendar time, and the first day counts.
    FirstDayCounts,
}

/// Something the person was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What was asked.
    pub kind: QuestionKind,
    /// Local day of asking.
    pub asked: Date,
    /// Local day on which the answer was obtained; `None`: still open.
    pub obtained: Option<Date>,
}

/// What a person can be asked before their request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionKind {
    /// Who they are (Art. 12(6)).
    Identity,
    /// What exactly they mean (Recital 63).
    Specification,
    /// Whether a representative may act; it earns no pause.
    Mandate,
}

/// The dates of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// A week before the nominal date, our own aim.
    pub target_date: Date,
    /// Before it is moved to a working day.
    pub nominal_due: Date,
    /// The last day of the period.
    pub statutory_due: Date,
    /// The last day after an extension.
    pub extended_due: Option<Date>,
    /// Days added for questions.
    pub paused_days: u16,
    /// A question is open: the date is what an answer today would give.
    pub paused: bool,
    /// A question came too late to earn a pause.
    pub pause_not_counted: bool,
    /// The calendar knows no holidays for a year in question; only weekends counted.
    pub calendar_incomplete: bool,
}

/// Days before the nominal date by which we aim to have answered.
const TARGET_DAYS: i64 = 7;
/// Working days within which a question must be asked to earn a pause (our rule).
const PROMPT_DAYS: u16 = 3;

/// The dates of a case received on `trigger_day`. `extended_on` is the day on which the person was
/// told of an extension.
#[must_use]
pub fn deadlines(
    profile: &Profile,
    trigger_day: Date,
    questions: &[Question],
    extended_on: Option<Date>,
    calendar: &Calendar,
) -> Deadlines {
    let pauses = Pauses::of(profile, trigger_day, questions, calendar);
    let days = i64::from(pauses.days).days();
    let nominal_due = later(end(profile, trigger_day, profile.answer, calendar), days);
    let extended_nominal = profile
        .extended
        .filter(|_| extended_on.is_some())
        .map(|span| later(end(profile, trigger_day, span, calendar), days));
    let roll = |date| if profile.count == Count::RolledCalendar { calendar.working_day_from(date) } else { date };
    let statutory_due = roll(nominal_due);
    let extended_due = extended_nominal.map(roll);
    let last = extended_due.unwrap_or(statutory_due);
    Deadlines {
        target_date: later(nominal_due, -TARGET_DAYS.days()),
        nominal_due,
        statutory_due,
        extended_due,
        paused_days: pauses.days,
        paused: pauses.open,
        pause_not_counted: pauses.not_counted,
        calendar_incomplete: calendar.coverage(trigger_day, last) == Coverage::WeekendsOnly,
    }
}

impl Profile {
    /// One month, three in all with an extension (Art. 12(3)).
    #[must_use]
    pub fn gdpr() -> Self {
        Self { answer: 1.month(), extended: Some(3.months()), pause: PauseRule::Days, count: Count::RolledCalendar }
    }

    /// The same months, with pauses of Art. 12A UK GDPR.
    #[must_use]
    pub fn uk() -> Self {
        Self { pause: PauseRule::InclusiveDays, ..Self::gdpr() }
    }
}

/// The local day on which a request that arrived at `received_at` starts the clock.
#[must_use]
pub fn trigger_day(received_at: Timestamp, zone: &TimeZone) -> Date {
    received_at.to_zoned(zone.clone()).date()
}

/// The first instant after a due day; from here on an answer is late.
#[must_use]
pub fn overdue_from(due: Date, zone: &TimeZone) -> Option<Timestamp> {
    due.tomorrow().ok()?.to_zoned(zone.clone()).ok().map(|start| start.timestamp())
}

/// The instant by which a breach must be notified: elapsed hours, which no change of the clocks, no
/// weekend and no holiday moves (Art. 33(1)).
#[must_use]
pub fn breach_deadline(aware: Timestamp, hours: i64) -> Option<Timestamp> {
    aware.checked_add(SignedDuration::from_hours(hours)).ok()
}

/// Where the period ends, before pauses and rolling.
fn end(profile: &Profile, trigger_day: Date, span: Span, calendar: &Calendar) -> Date {
    match profile.count {
        Count::RolledCalendar | Count::Calendar => later(trigger_day, span),
        Count::FirstDayCounts => later(trigger_day, span).yesterday().unwrap_or(trigger_day),
        Count::WorkingDays => calendar.working_days_after(trigger_day, u16::try_from(span.get_days()).unwrap_or(0)),
    }
}

/// Calendar addition; beyond the calendar the last day stands.
fn later(date: Date, span: Span) -> Date {
    date.saturating_add(span)
}

#[derive(Default)]
struct Pauses {
    days: u16,
    open: bool,
    not_counted: bool,
}

impl Pauses {
    fn of(profile: &Profile, trigger_day: Date, questions: &[Question], calendar: &Calendar) -> Self {
        let mut pauses = Self::default();
        if profile.pause == PauseRule::None {
            return pauses;
        }
        let prompt = calendar.working_days_after(trigger_day, PROMPT_DAYS);
        let mut counted: Vec<(Date, Date)> = Vec::new();
        for question in questions.iter().filter(|question| question.kind != QuestionKind::Mandate) {
            let Some(obtained) = question.obtained else {
                pauses.open = true;
                continue;
            };
            if question.asked > prompt && profile.pause == PauseRule::Days {
                pauses.not_counted = true;
            } else if obtained >= question.asked {
                counted.push((question.asked, obtained));
            }
        }
        counted.sort_unstable();
        // Overlapping pauses count once.
        let mut reached: Option<Date> = None;
        for (asked, obtained) in counted {
            let from = reached.map_or(asked, |reached| reached.max(asked));
            let inclusive =
                i64::from(profile.pause == PauseRule::InclusiveDays && reached.is_none_or(|reached| reached < asked));
            if obtained > from || (obtained == from && inclusive == 1) {
                let days = days_between(from, obtained) + inclusive;
                pauses.days = pauses.days.saturating_add(u16::try_from(days).unwrap_or(0));
            }
            reached = Some(reached.map_or(obtained, |reached| reached.max(obtained)));
        }
        pauses
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    from.duration_until(to).as_hours() / 24
}
