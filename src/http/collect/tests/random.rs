//! Any bytes to any path: a listed status or verdicts, and never a panic.

use proptest::prelude::*;

use super::*;

/// The recorded bodies, which mutations start from.
fn bodies() -> Vec<String> {
    let files = [
        include_str!("../../../../tests/fixtures/wire/segment.analytics-next-batch-1.84.3.ndjson"),
        include_str!("../../../../tests/fixtures/wire/segment.analytics-node-3.1.0.ndjson"),
        include_str!("../../../../tests/fixtures/wire/segment.analytics-next-1.84.3.ndjson"),
        include_str!("../../../../tests/fixtures/wire/rudderstack.rudder-sdk-node-3.0.13.ndjson"),
        include_str!("../../../../tests/fixtures/wire/cloudevents.composed.ndjson"),
    ];
    let lines = files.iter().flat_map(|file| file.lines());
    let bodies = lines.filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["body"].as_str().map(str::to_owned)
    });
    bodies.filter(|body| !body.is_empty()).collect()
}

const PATHS: &[(&str, Protocol)] = &[
    ("/v1/batch", Protocol::Segment),
    ("/v1/t", Protocol::Segment),
    ("/v1/a", Protocol::Rudderstack),
    ("/v1/merge", Protocol::Rudderstack),
    ("/v1/events", Protocol::CloudEvents),
];
const TYPES: &[&[u8]] = &[b"application/json", b"application/cloudevents+json", b"application/cloudevents-batch+json"];
const CODINGS: &[&[u8]] = &[b"", b"gzip", b"deflate", b"br", b"zstd"];

fn send(body: &[u8], path: usize, kind: usize, coding: usize) {
    let (path, protocol) = PATHS[path % PATHS.len()];
    let headers = [
        ("content-type", TYPES[kind % TYPES.len()]),
        ("content-encoding", CODINGS[coding % CODINGS.len()]),
        ("ce-specversion", b"1.0"),
    ];
    match Collector::new(protocol, Trust::Public).post_with(path, body, &headers) {
        Ok(parsed) => assert!(parsed.items.len() <= 2_500),
        Err(refusal) => assert!([400, 401, 413, 415].contains(&refusal.status())),
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..512), path: usize, kind: usize, coding: usize) {
        send(&body, path, kind, coding);
    }

    #[test]
    fn mutated_recordings_never_panic(
        at: prop::sample::Index,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
        path: usize,
        kind: usize,
    ) {
        let bodies = bodies();
        let mut body = at.get(&bodies).clone().into_bytes();
        for (place, byte, edit) in edits {
            if body.is_empty() {
                break;
            }
            let place = place.index(body.len());
            match edit {
                0 => body[place] = byte,
                1 => body.truncate(place),
                _ => body.insert(place, b"{}[]\",:\\u0"[usize::from(byte) % 10]),
            }
        }
        send(&body, path, kind, 0);
    }

    #[test]
    fn what_is_taken_is_json_to_everybody(body in "[{}\\[\\]\",:a-c0-2\\\\u ]{0,40}") {
        if let Ok(document) = super::super::json::Document::read(body.as_bytes()) {
            let value: Result<serde_json::Value, _> = serde_json::from_str(&body);
            prop_assert!(value.is_ok(), "{body}");
            prop_assert_eq!(document.root().map(|root| root.raw()), Some(body.trim_matches(' ')));
        }
    }

    #[test]
    fn text_survives_quoting(text in "\\PC*") {
        let quoted = super::super::json::quoted(&text);
        let document = super::super::json::Document::read(quoted.as_bytes());
        if !text.contains('\0') {
            let document = document.unwrap();
            let read = document.root().and_then(|root| root.text().map(|text| text.into_owned()));
            prop_assert_eq!(read, Some(text));
        }
    }
}
