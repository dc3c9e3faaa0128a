//! What a client may rely on when something goes wrong.

use serde_json::{Value, json};

use super::*;

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn a_problem_has_the_members_of_the_standard_and_ours() {
    let violation =
        Violation { code: "preselected", pointer: "/act/control_before".to_owned(), detail: Cow::Borrowed("") };
    let answer =
        Problem::new(Code::Preselected).detail("Only `unset` passes.").violations(vec![violation]).answer(Door::Api);
    assert_eq!(answer.status, 422);
    assert_eq!(
        body(&answer),
        json!({
            "type": "urn:amanat:problem:preselected", "title": "The choice was preselected", "status": 422,
            "detail": "Only `unset` passes.", "code": "preselected",
            "violations": [{"code": "preselected", "pointer": "/act/control_before"}],
        })
    );
    assert!(answer.headers.contains(&("content-type", "application/problem+json".to_owned())));
}

#[test]
fn a_collector_is_told_to_come_again_with_429_and_reads_a_message() {
    let problem = Problem::new(Code::StoreUnavailable).retry_after(Duration::from_millis(1_200));
    assert_eq!(problem.answer(Door::Api).status, 503);
    let answer = problem.answer(Door::Collector);
    assert_eq!(answer.status, 429);
    assert_eq!(body(&answer)["status"], 429);
    assert_eq!(body(&answer)["message"], Code::StoreUnavailable.title());
    assert!(answer.headers.contains(&("retry-after", "2".to_owned())));
    assert_eq!(Problem::new(Code::Stopping).answer(Door::Collector).status, 503);
    for code in Code::ALL {
        // SDKs take these for success, for a redirect or for something to send again.
        let status = code.status_at(Door::Collector);
        assert!(!matches!(status, 200..400 | 408), "{}", code.as_str());
    }
}

#[test]
fn a_passing_trouble_always_says_when_to_come_again_and_never_too_late() {
    for code in Code::ALL.iter().filter(|code| matches!(code.status(), 429 | 503)) {
        let headers = Problem::new(*code).answer(Door::Api).headers;
        assert!(headers.iter().any(|(name, _)| *name == "retry-after"));
    }
    let long = Problem::new(Code::Overloaded).retry_after(Duration::from_secs(86_400));
    assert!(long.answer(Door::Api).headers.contains(&("retry-after", "300".to_owned())));
    let none = Problem::new(Code::Overloaded).retry_after(Duration::ZERO);
    assert!(none.answer(Door::Api).headers.contains(&("retry-after", "1".to_owned())));
}

#[test]
fn every_code_is_spelled_once_and_documented() {
    let page = documentation();
    let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for name in &names {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
        assert!(name.chars().all(|symbol| symbol.is_ascii_lowercase() || symbol.is_ascii_digit() || symbol == '_'));
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
}
