//! Every recorded request of `tests/fixtures/wire` is taken as its line says.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use serde_json::Value;

use super::super::reply::Reply;
use super::super::{reply, rudderstack, segment};
use super::*;

const SEGMENT: &[&str] = &[
    include_str!("../../../../tests/fixtures/wire/segment.analytics-next-1.84.3.ndjson"),
    include_str!("../../../../tests/fixtures/wire/segment.analytics-next-batch-1.84.3.ndjson"),
    include_str!("../../../../tests/fixtures/wire/segment.analytics-node-3.1.0.ndjson"),
    include_str!("../../../../tests/fixtures/wire/segment.analytics-node-legacy-6.2.0.ndjson"),
    include_str!("../../../../tests/fixtures/wire/segment.analytics-python-2.4.0.ndjson"),
];
const RUDDERSTACK: &[&str] = &[
    include_str!("../../../../tests/fixtures/wire/rudderstack.analytics-js-3.34.1.ndjson"),
    include_str!("../../../../tests/fixtures/wire/rudderstack.rudder-sdk-node-3.0.13.ndjson"),
    include_str!("../../../../tests/fixtures/wire/rudderstack.rudder-sdk-python-2.1.9.ndjson"),
];
const CLOUDEVENTS: &[&str] = &[
    include_str!("../../../../tests/fixtures/wire/cloudevents.cloudevents-js-10.0.0.ndjson"),
    include_str!("../../../../tests/fixtures/wire/cloudevents.cloudevents-python-2.2.0.ndjson"),
    include_str!("../../../../tests/fixtures/wire/cloudevents.composed.ndjson"),
];

#[test]
fn segments_clients_are_understood() {
    // 17 lines: one settings request, five preflights, and 13 events in the rest.
    assert_eq!(replay(SEGMENT, Protocol::Segment), 13);
}

#[test]
fn rudderstacks_clients_are_understood() {
    assert_eq!(replay(RUDDERSTACK, Protocol::Rudderstack), 5);
}

#[test]
fn cloudevents_clients_are_understood() {
    assert_eq!(replay(CLOUDEVENTS, Protocol::CloudEvents), 20);
}

/// Replays every line twice and counts the events; the second time brings nothing new.
fn replay(files: &[&str], protocol: Protocol) -> usize {
    let mut events = 0;
    for file in files {
        let mut stored = BTreeSet::new();
        for line in file.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            events += replay_line(&line, protocol, &mut stored, true);
            replay_line(&line, protocol, &mut stored, false);
        }
    }
    events
}

fn replay_line(line: &Value, protocol: Protocol, stored: &mut BTreeSet<String>, first: bool) -> usize {
    let name = format!("{} step {}", line["sdk"], line["step"]);
    let mut collector = Collector::new(protocol, Trust::Server);
    if line["write_key"] == "WKWKWKWKWKWKWKWKWKWKWKWKWKW" {
        collector.key = "WKWKWKWKWKWKWKWKWKWKWKWKWKW";
    }
    // Header values are characters up to U+00FF, one byte each on the wire.
    let mut headers: Vec<(&str, Vec<u8>)> = line["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let bytes = value.as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap());
            (name.as_str(), bytes.collect())
        })
        .collect();
    if line["write_key"].is_null() {
        headers.push(("authorization", b"Bearer WK".to_vec()));
    }
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let body = match line.get("body_base64") {
        Some(bytes) => BASE64.decode(bytes.as_str().unwrap().as_bytes()).unwrap(),
        None => line["body"].as_str().unwrap().as_bytes().to_vec(),
    };
    let (path, query) = line["path"].as_str().unwrap().split_once('?').unwrap_or((line["path"].as_str().unwrap(), ""));
    let request = Request { method: line["method"].as_str().unwrap(), path, query, headers: &headers, body: &body };
    if let Some(reply) = answered_without_key(&request, &collector) {
        let expected = line["expect"]["status"].as_u64().unwrap_or(if request.method == "OPTIONS" { 204 } else { 200 });
        assert_eq!(u64::from(reply.status), expected, "{name}");
        check_headers(line, &reply, &name);
        return 0;
    }
    let expected = line["expect"]["status"].as_u64().unwrap_or(200);
    match collector.take(&request) {
        Err(refusal) => {
            assert_eq!(u64::from(refusal.status()), expected, "{name}: {refusal}");
            assert_ne!(refusal, Refusal::Key, "{name}");
            0
        }
        Ok(parsed) => {
            assert_eq!(expected, 200, "{name}");
            check_verdicts(line, &parsed, stored, first, &name)
        }
    }
}

fn answered_without_key(request: &Request<'_>, collector: &Collector) -> Option<Reply> {
    let origins = || collector.rules.origins.iter().map(String::as_str);
    if cors::is_preflight(request) {
        let reply = cors::preflight(request, origins());
        assert_eq!(reply.header("access-control-allow-origin"), Some("https://shop.example"));
        return Some(reply);
    }
    if handshake::is_asked(request) {
        let origins = collector.rules.webhook_origins.iter().map(String::as_str);
        return Some(handshake::answer(request, origins, 60_000));
    }
    match route::find(request.path)? {
        route::Route::Settings { key } => {
            assert_eq!(key, collector.key);
            Some(segment::settings(key, "collect.shop.example/v1", "https", &["Analytics"]))
        }
        route::Route::SourceConfig => {
            let key = key::before_body(request).unwrap().unwrap();
            assert_eq!(key.as_str(), collector.key);
            Some(rudderstack::source_config("shop", key.as_str(), received()))
        }
        _ => None,
    }
}

fn check_headers(line: &Value, reply: &Reply, name: &str) {
    for (header, value) in line["expect"]["headers"].as_object().into_iter().flatten() {
        assert_eq!(reply.header(header), value.as_str(), "{name}");
    }
    for header in line["expect"]["absent"].as_array().into_iter().flatten() {
        assert_eq!(reply.header(header.as_str().unwrap()), None, "{name}");
    }
}

fn check_verdicts(line: &Value, parsed: &Parsed, stored: &mut BTreeSet<String>, first: bool, name: &str) -> usize {
    let mut verdicts = Vec::new();
    for item in &parsed.items {
        verdicts.push(match item {
            Err(_) => "rejected",
            Ok(event) => {
                let id = event.message_id.as_ref().map(open).unwrap();
                let mark = format!("{id} {:?}", event.content_hash);
                if stored.insert(mark) { "accepted" } else { "duplicate" }
            }
        });
        if let (Some(subject), Ok(event)) = (line["expect"]["subject"].as_str(), item) {
            assert_eq!(identifiers(event), [("/subject", subject)], "{name}");
        }
    }
    if let Some(expected) = line["expect"]["verdicts"].as_array() {
        if first {
            let expected: Vec<&str> = expected.iter().filter_map(Value::as_str).collect();
            assert_eq!(verdicts, expected, "{name}");
        }
    } else {
        assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict != "rejected"), "{name}");
    }
    assert!(first || !verdicts.contains(&"accepted"), "{name}: sent again");
    parsed.items.iter().flatten().count()
}

#[test]
fn what_browsers_ask_for_first_is_answered_word_for_word() {
    let settings = segment::settings("K\"", "collect.shop.example/v1", "https", &["Advertising", "Analytics"]);
    let value: Value = serde_json::from_slice(&settings.body).unwrap();
    assert_eq!(value["integrations"]["Segment.io"]["apiKey"], "K\"");
    assert_eq!(value["remotePlugins"], serde_json::json!([]));
    assert_eq!(value["consentSettings"]["allCategories"], serde_json::json!(["Advertising", "Analytics"]));
    assert_eq!(settings.header("cache-control"), Some("max-age=300"));
    let source: Value = serde_json::from_slice(&rudderstack::source_config("ID", "KEY", received()).body).unwrap();
    assert_eq!(source["updatedAt"], "2026-11-22T12:00:00Z");
    assert_eq!(source["source"]["destinations"], serde_json::json!([]));
    assert_eq!(source["source"]["config"]["statsCollection"]["metrics"]["enabled"], false);
    assert_eq!(reply::pixel().header("content-type"), Some("image/gif"));
}
