//! Every row of the table of `subject-requests.md` §12.2.

use std::time::Duration;

use crate::delivery::Outcome;
use crate::delivery::rights::{Nonce, RightsCall, RightsOutcome, Verb, outcome_of_reply};
use crate::domain::id::TaskId;

fn call(verb: Verb) -> RightsCall {
    RightsCall {
        task: TaskId::from_bytes([2; 16]),
        verb,
        nonce: Nonce::from_random([9; 32]),
        can_verify: true,
        address_missing: 0,
    }
}

fn reply(call: &RightsCall, members: &str) -> String {
    let body = format!(r#"{{"task":"{}","nonce":"{}",{members}}}"#, call.task, call.nonce.text());
    format!("{:?}", outcome_of_reply(call, 200, None, Some(body.as_bytes())))
}

#[test]
fn results_by_verb() {
    use Verb::{Access, Deliver, Erase, Suppress, VerifyErased};
    let retained = r#""result":"retained","retained":[{"what":"invoices","ground":"17(3)(b)","until":"2034-12-31"}]"#;
    let failed = "Rights(Failed(ResultUnusable))";
    for (verb, members, expected) in [
        (Deliver, r#""result":"done""#, "Rights(Acknowledged)"),
        (Suppress, r#""result":"done""#, "Rights(Acknowledged)"),
        (Access, r#""result":"done","records":[{"a":1}]"#, "Rights(Acknowledged)"),
        (Erase, r#""result":"done","removed":3"#, "Rights(Erased)"),
        (Erase, r#""result":"not_found""#, "Rights(NotFound)"),
        (Erase, r#""result":"absent""#, "Rights(NotFound)"),
        (Suppress, r#""result":"not_found""#, "Rights(NotFound)"),
        (VerifyErased, r#""result":"absent""#, "Rights(Absent)"),
        (VerifyErased, r#""result":"present""#, "Rights(Present)"),
        (VerifyErased, r#""result":"not_found""#, "Rights(CapabilityUnresolved(Unverifiable))"),
        (VerifyErased, r#""result":"done""#, failed),
        (Suppress, r#""result":"absent""#, failed),
        (Suppress, retained, failed),
        (Erase, retained, "Rights(Retained)"),
        (Erase, r#""result":"retained""#, failed),
        (Erase, r#""result":"retained","retained":[{"what":"x","ground":"17(3)(b)"}]"#, failed),
        (Erase, r#""result":"retained","retained":[{"what":"x","until":"2034-12-31"}]"#, failed),
        (Erase, r#""result":"retained","retained":[{"what":"x","ground":"y","until":"for ever"}]"#, failed),
        (Erase, r#""result":"accepted""#, "Rights(Pending(Accepted))"),
        (Erase, r#""result":"rejected""#, "Rights(Failed(Rejected))"),
        (Erase, r#""result":"unsupported""#, "Rights(CapabilityUnresolved(Unsupported))"),
        (Erase, r#""result":"deleted""#, "Rights(Pending(NoResult))"),
        (Access, r#""result":"done","done":false,"cursor":"c2","records":[]"#, "Rights(More)"),
    ] {
        assert_eq!(reply(&call(verb), members), expected, "{verb:?} {members}");
    }
}

#[test]
fn a_recipient_without_the_look_cannot_say_not_found() {
    let mut call = call(Verb::Erase);
    call.can_verify = false;
    assert_eq!(reply(&call, r#""result":"not_found""#), "Rights(CapabilityUnresolved(Unverifiable))");
}

#[test]
fn a_bare_200_and_a_foreign_nonce_wait() {
    let call = call(Verb::Erase);
    let task = call.task;
    let other = Nonce::from_random([8; 32]).text();
    let ours = call.nonce.text();
    for (body, reason) in [
        (String::new(), "NoResult"),
        ("ok".to_owned(), "NoResult"),
        ("{}".to_owned(), "NoResult"),
        (r#"{"result":"done"}"#.to_owned(), "NoResult"),
        (format!(r#"{{"task":"{task}","nonce":"{other}","result":"done"}}"#), "WrongNonce"),
        (format!(r#"{{"task":"{task}","nonce":"","result":"done"}}"#), "WrongNonce"),
        (format!(r#"{{"nonce":"{ours}","result":"done"}}"#), "WrongNonce"),
        (format!(r#"{{"task":"{task}","nonce":"{other}","nonce":"{ours}","result":"done"}}"#), "NoResult"),
    ] {
        let outcome = outcome_of_reply(&call, 200, None, Some(body.as_bytes()));
        assert_eq!(format!("{outcome:?}"), format!("Rights(Pending({reason}))"), "{body}");
    }
    let too_long = outcome_of_reply(&call, 200, None, None);
    assert_eq!(format!("{too_long:?}"), "Rights(Pending(NoResult))");
}

#[test]
fn every_status_has_its_row() {
    let mut call = call(Verb::Erase);
    let asked = Some(Duration::from_secs(7));
    for status in 100..=999u16 {
        let outcome = format!("{:?}", outcome_of_reply(&call, status, asked, Some(b"{}")));
        let retry = format!("Retry {{ after: None, cause: Status({status}) }}");
        let expected = match status {
            200..=299 => "Rights(Pending(NoResult))".to_owned(),
            300..=399 => "Rights(Failed(Redirected))".to_owned(),
            401 | 403 | 407 => format!("Paused {{ cause: Status({status}) }}"),
            404 | 405 | 408 | 425 | 500 | 502 | 504 | 506..=599 => retry,
            409 => "Rights(Pending(Conflict))".to_owned(),
            410 => "Rights(CapabilityUnresolved(Status(410)))".to_owned(),
            429 | 503 => format!("Retry {{ after: Some(7s), cause: Status({status}) }}"),
            _ => format!("Rights(Failed(Status({status})))"),
        };
        assert_eq!(outcome, expected);
    }
    call.address_missing = 3;
    let outcome = format!("{:?}", outcome_of_reply(&call, 404, None, None));
    assert_eq!(outcome, "Rights(CapabilityUnresolved(Status(404)))");
}

proptest::proptest! {
    #[test]
    fn no_bytes_without_our_nonce_end_a_task(body: Vec<u8>, verb in 0usize..5) {
        let verb = [Verb::Deliver, Verb::Suppress, Verb::Erase, Verb::VerifyErased, Verb::Access][verb];
        let outcome = outcome_of_reply(&call(verb), 200, None, Some(&body));
        proptest::prop_assert!(matches!(outcome, Outcome::Rights(RightsOutcome::Pending(_))));
    }
}
