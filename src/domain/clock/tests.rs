//! The vectors that a second implementation made, and properties (Law: section 2).

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/statutory_clock.json")).unwrap()
}

fn date(value: &Value, key: &str) -> Date {
    value[key].as_str().unwrap().parse().unwrap()
}

fn trigger(vector: &Value) -> Date {
    let received = vector["received"].as_str().unwrap();
    let zone = vector["time_zone"].as_str().map_or(TimeZone::UTC, |zone| TimeZone::get(zone).unwrap());
    received.parse::<Timestamp>().map_or_else(|_| received.parse().unwrap(), |at| trigger_day(at, &zone))
}

fn calendar(vector: &Value) -> Calendar {
    Calendar::of(vector["calendar"].as_str().unwrap_or("none"))
}

#[test]
fn every_golden_vector_of_requests_matches() {
    for vector in vectors()["requests"].as_array().unwrap() {
        let day = trigger(vector);
        let due = deadlines(&Profile::gdpr(), day, &[], Some(day), &calendar(vector));
        let name = &vector["name"];
        assert_eq!(day, date(vector, "trigger_day"), "{name}");
        assert_eq!(due.nominal_due, date(vector, "nominal_due"), "{name}");
        assert_eq!(due.statutory_due, date(vector, "statutory_due"), "{name}");
        assert_eq!(due.extended_due, Some(date(vector, "extended_due")), "{name}");
    }
}

#[test]
fn every_golden_vector_of_pauses_matches() {
    for vector in vectors()["pauses"].as_array().unwrap() {
        let profile = if vector["profile"] == "uk" { Profile::uk() } else { Profile::gdpr() };
        let question = Question {
            kind: QuestionKind::Identity,
            asked: date(vector, "asked"),
            obtained: Some(date(vector, "obtained")),
        };
        let day = trigger(vector);
        let due = deadlines(&profile, day, &[question], Some(day), &calendar(vector));
        let name = &vector["name"];
        assert_eq!(u64::from(due.paused_days), vector["pause_days"].as_u64().unwrap(), "{name}");
        assert_eq!(due.pause_not_counted, !vector["pause_counted"].as_bool().unwrap(), "{name}");
        assert_eq!(due.nominal_due, date(vector, "nominal_due"), "{name}");
        assert_eq!(due.statutory_due, date(vector, "statutory_due"), "{name}");
        if vector.get("extended_due").is_some() {
            assert_eq!(due.extended_due, Some(date(vector, "extended_due")), "{name}");
        }
    }
}

#[test]
fn every_golden_vector_of_hours_matches() {
    for vector in vectors()["hours"].as_array().unwrap() {
        let at = |key: &str| vector[key].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert_eq!(breach_deadline(at("aware"), 72), Some(at("deadline_utc")), "{}", vector["name"]);
    }
}

#[test]
fn other_profiles_count_as_their_law_says() {
    let by = |answer: Span, extended: Option<Span>, count| Profile { answer, extended, pause: PauseRule::None, count };
    for vector in vectors()["other_profiles"].as_array().unwrap() {
        let profile = match vector["name"].as_str().unwrap() {
            "ccpa-access" => by(45.days(), Some(90.days()), Count::Calendar),
            "ccpa-opt-out" => by(15.days(), None, Count::WorkingDays),
            "pdpl-access" => by(30.days(), Some(60.days()), Count::Calendar),
            "uk-complaint-acknowledgement" => by(30.days(), None, Count::FirstDayCounts),
            other => panic!("a profile nobody counted: {other}"),
        };
        let day = trigger(vector);
        let due = deadlines(&profile, day, &[], Some(day), &Calendar::of("none"));
        assert_eq!(due.statutory_due, date(vector, "due"), "{}", vector["name"]);
        if vector.get("extended_due").is_some() {
            assert_eq!(due.extended_due, Some(date(vector, "extended_due")), "{}", vector["name"]);
        }
    }
}

#[test]
fn an_unknown_calendar_is_flagged() {
    let due = deadlines(&Profile::gdpr(), Date::constant(2026, 6, 10), &[], None, &Calendar::of("XX"));
    assert!(due.calendar_incomplete);
}

fn any_day() -> impl Strategy<Value = Date> {
    (2018_i16..2060, 1_i8..=12, 1_i8..=28).prop_map(|(year, month, day)| Date::constant(year, month, day))
}

proptest! {
    #[test]
    fn a_later_receipt_is_never_due_earlier(day in any_day(), after in 0_i64..60) {
        let calendar = Calendar::of("DE");
        let due = |day| deadlines(&Profile::gdpr(), day, &[], Some(day), &calendar);
        let (first, second) = (due(day), due(day.saturating_add(after.days())));
        prop_assert!(first.statutory_due <= second.statutory_due);
        prop_assert!(first.statutory_due >= first.nominal_due);
        prop_assert!(calendar.is_working_day(first.statutory_due));
        prop_assert!(first.extended_due.unwrap() > first.statutory_due);
        let mut between = first.nominal_due;
        while between < first.statutory_due {
            prop_assert!(!calendar.is_working_day(between));
            between = between.tomorrow().unwrap();
        }
    }

    #[test]
    fn a_pause_split_in_two_changes_nothing_and_never_shortens(day in any_day(), length in 1_i64..20, cut in 0_i64..20) {
        let calendar = Calendar::of("DE");
        let cut = day.saturating_add(cut.min(length).days());
        let end = day.saturating_add(length.days());
        let ask = |asked, obtained| Question { kind: QuestionKind::Identity, asked, obtained: Some(obtained) };
        let none = deadlines(&Profile::gdpr(), day, &[], None, &calendar);
        let whole = deadlines(&Profile::gdpr(), day, &[ask(day, end)], None, &calendar);
        prop_assert!(whole.statutory_due >= none.statutory_due);
        // Only questions asked promptly earn anything, so only such a cut can be compared.
        if cut <= calendar.working_days_after(day, PROMPT_DAYS) {
            let split = deadlines(&Profile::gdpr(), day, &[ask(day, cut), ask(cut, end)], None, &calendar);
            prop_assert_eq!(split.statutory_due, whole.statutory_due);
        }
    }
}
