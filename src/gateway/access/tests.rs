//! An access package against its schema, with values exactly as they came. (Law: Art. 15, 12(1).)

use serde_json::Value;

use crate::domain::subject_request::{RequestKind, RequestOutcome, RequestState};
use crate::gateway::Error;
use crate::gateway::erase::tests as person;
use crate::gateway::source::Source;
use crate::gateway::subject_request::Opener;

/// What of JSON Schema 2020-12 the schema uses, and nothing else: an unknown keyword fails the test.
fn violations(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else { panic!("{at}: a schema is an object") };
    let mut fail = |what: &str| found.push(format!("{at}: {what}"));
    let mut deeper: Vec<(Value, Value, String)> = Vec::new();
    for (keyword, rule) in rules {
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "$defs" | "format" => {}
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                deeper.push((root["$defs"][name].clone(), value.clone(), at.to_owned()));
            }
            "type" => {
                let fits = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    other => panic!("unknown type {other}"),
                };
                if !fits {
                    fail(&format!("is not of type {rule}"));
                }
            }
            "const" if value != rule => fail("is another constant"),
            "enum" if !rule.as_array().unwrap().contains(value) => fail(&format!("{value} is none of the choices")),
            "const" | "enum" => {}
            "minLength" => {
                if value.as_str().is_some_and(|text| u64::try_from(text.len()).unwrap() < rule.as_u64().unwrap()) {
                    fail("is too short");
                }
            }
            "minimum" => {
                if value.as_i64().is_some_and(|number| number < rule.as_i64().unwrap()) {
                    fail("is too small");
                }
            }
            "minItems" => {
                if value.as_array().is_some_and(|items| u64::try_from(items.len()).unwrap() < rule.as_u64().unwrap()) {
                    fail("has too few items");
                }
            }
            "pattern" => {
                let starts = rule.as_str().unwrap().trim_start_matches('^').split(['[', '$']).next().unwrap();
                if !value.as_str().is_some_and(|text| text.starts_with(starts)) {
                    fail("does not fit the pattern");
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.as_object().is_some_and(|members| !members.contains_key(name.as_str().unwrap())) {
                        fail(&format!("lacks {name}"));
                    }
                }
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(name) {
                        deeper.push((rule.clone(), member.clone(), format!("{at}/{name}")));
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(rule, &Value::Bool(false));
                for name in value.as_object().into_iter().flat_map(|members| members.keys()) {
                    if rules.get("properties").is_none_or(|known| known.get(name).is_none()) {
                        fail(&format!("holds {name}, which is not declared"));
                    }
                }
            }
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    deeper.push((rule.clone(), item.clone(), format!("{at}/{place}")));
                }
            }
            "oneOf" => {
                let mut all = Vec::new();
                let fitting = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|choice| {
                        let mut own = Vec::new();
                        violations(root, choice, value, at, &mut own);
                        all.extend(own.clone());
                        own.is_empty()
                    })
                    .count();
                if fitting != 1 {
                    fail(&format!("fits {fitting} of the choices: {all:?}"));
                }
            }
            other => panic!("{at}: the test does not know {other}"),
        }
    }
    for (schema, value, at) in deeper {
        violations(root, &schema, &value, &at, found);
    }
}

fn assert_valid(package: &Value) {
    let schema: Value = serde_json::from_str(super::SCHEMA).unwrap();
    let mut found = Vec::new();
    violations(&schema, &schema, package, "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_holds_everything_and_fits_its_schema() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let house = person::open(folder.path(), &source).await;
    person::meet(&house, Some(person::ORDER)).await;
    let case = house.open_case(person::asked(&[RequestKind::Access]), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();
    let id = case.requests[0].id;
    let (_, request) = house.request(id).await.unwrap();
    assert_eq!((request.state, request.outcome), (RequestState::Closed, Some(RequestOutcome::Fulfilled)));

    let text = house.fetch_package(id, Opener::Operator).await.unwrap();
    let package: Value = serde_json::from_slice(&text).unwrap();
    assert_valid(&package);
    assert_eq!(package["confirmation"]["processed"], true);
    let recipients = package["recipients"].as_array().unwrap();
    let letterbox = recipients.iter().find(|recipient| recipient["name"] == "Letterbox Mailversand GmbH").unwrap();
    assert_eq!((letterbox["country"].as_str(), letterbox["count"].as_u64()), (Some("AT"), Some(1)));
    assert!(recipients.iter().any(|recipient| recipient["queued"].as_u64() > Some(0)), "queued ones stand there too");
    assert_eq!(package["copy"]["records"].as_array().unwrap().len(), 2);
    let raw = String::from_utf8(text.to_vec()).unwrap();
    for value in [person::EMAIL, person::NAME, person::ORDER] {
        assert!(raw.contains(value), "{value} is held and must be in the copy");
    }
    assert!(package["purposes"].as_array().unwrap().iter().any(|purpose| purpose["id"] == "bookkeeping"));
    assert!(
        package["retention"]
            .as_array()
            .unwrap()
            .iter()
            .any(|class| class["class"] == "order_records" && class["last_end"].is_string())
    );
    assert_eq!(
        person::holding(folder.path(), &person::canaries()),
        Vec::<std::path::PathBuf>::new(),
        "at rest it is sealed"
    );

    source.shift(31 * 24 * 3600);
    assert!(matches!(house.fetch_package(id, Opener::Operator).await, Err(Error::NotFound)));
    assert_eq!(house.forget_packages().await.unwrap(), 1);
    house.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_here_is_answered_with_what_was_searched() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let house = person::open(folder.path(), &source).await;
    let case = house.open_case(person::asked(&[RequestKind::Access]), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();
    let id = case.requests[0].id;
    let package: Value = serde_json::from_slice(&house.fetch_package(id, Opener::Operator).await.unwrap()).unwrap();
    assert_valid(&package);
    assert_eq!(package["confirmation"]["processed"], false);
    assert_eq!(package["copy"]["not_applicable"], true);
    let (_, request) = house.request(id).await.unwrap();
    assert_eq!(request.outcome, Some(RequestOutcome::NoData));
    house.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_of_the_same_case_waits_for_the_package() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let house = person::open(folder.path(), &source).await;
    let subject = person::meet(&house, None).await;
    let both = [RequestKind::Access, RequestKind::Erasure];
    let case = house.open_case(person::asked(&both), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();
    let (access, erasure) = (case.requests[0].id, case.requests[1].id);
    assert_eq!(house.request(erasure).await.unwrap().1.state, RequestState::Scheduled);
    house.fetch_package(access, Opener::Operator).await.unwrap();
    house.run_due_requests().await.unwrap();
    for _ in 0..200 {
        if house.request(erasure).await.unwrap().1.state == RequestState::Answered {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(house.person_now(subject).await.unwrap().is_none());
    assert!(
        matches!(house.fetch_package(access, Opener::Operator).await, Err(Error::NotFound)),
        "the package goes with the person"
    );
}
