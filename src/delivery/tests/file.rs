//! The folder, through crashes, full files and second writers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::delivery::boot_clock::BootInstant;
use crate::delivery::boot_clock::Deadline;
use crate::delivery::file::{FileSink, Rotation};
use crate::delivery::rights::{Nonce, RightsCall, Verb};
use crate::delivery::{Cause, Error, Outcome, Parcel, ParcelKind};
use crate::domain::id::RecipientId;
use crate::domain::id::TaskId;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn soon() -> Deadline {
    Deadline::of_claim(BootInstant::now(), Duration::from_secs(10))
}

fn sink(dir: &Path, rotation: Rotation) -> FileSink {
    FileSink::new(dir, &RecipientId::new("warehouse"), rotation).unwrap()
}

fn parcel(id: &str, at: &str) -> Parcel {
    let body = format!(r#"{{"id":"{id}","type":"amanat.record","timestamp":"{at}","data":{{}}}}"#);
    Parcel {
        message_id: id.to_owned(),
        recipient: RecipientId::new("warehouse"),
        body: Zeroizing::new(body.into_bytes()),
        kind: ParcelKind::Record,
    }
}

async fn deliver(sink: &FileSink, id: &str, at: &str) {
    let outcome = sink.hand_over(&parcel(id, at), time(at), soon()).await;
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
}

/// File names, sorted, with the ids in each.
fn files(dir: &Path) -> Vec<(String, Vec<String>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("warehouse"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != ".lock")
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let ids = text.lines().map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value["id"].as_str().unwrap().to_owned()
            });
            (entry.file_name().into_string().unwrap(), ids.collect())
        })
        .collect();
    files.sort();
    files
}

fn named(name: &str, ids: &[&str]) -> (String, Vec<String>) {
    (name.to_owned(), ids.iter().map(|id| (*id).to_owned()).collect())
}

const PART: &str = "current.ndjson.part";

#[tokio::test]
async fn lines_are_private_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    deliver(&sink(dir.path(), Rotation::default()), "a", "2026-11-22T10:00:00Z").await;
    deliver(&sink(dir.path(), Rotation::default()), "b", "2026-11-22T10:10:00Z").await;
    assert_eq!(files(dir.path()), [named(PART, &["a", "b"])]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("warehouse").join(PART)), 0o600);
    assert_eq!(mode(&dir.path().join("warehouse")), 0o700);
}

#[tokio::test]
async fn a_file_is_closed_after_an_hour_also_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    deliver(&sink(dir.path(), Rotation::default()), "a", "2026-11-22T10:00:00Z").await;
    let next_run = sink(dir.path(), Rotation::default());
    next_run.close_if_due(time("2026-11-22T10:59:59Z")).await.unwrap();
    assert_eq!(files(dir.path()), [named(PART, &["a"])]);
    deliver(&next_run, "b", "2026-11-22T11:00:00Z").await;
    assert_eq!(files(dir.path()), [named(PART, &["b"]), named("warehouse-20261122T100000Z-0001.ndjson", &["a"])]);
}

#[tokio::test]
async fn no_file_spans_midnight_and_a_quiet_one_is_closed_without_a_parcel() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), Rotation::default());
    deliver(&sink, "a", "2026-11-22T23:59:59Z").await;
    sink.close_if_due(time("2026-11-23T00:00:00Z")).await.unwrap();
    assert_eq!(files(dir.path()), [named("warehouse-20261122T235959Z-0001.ndjson", &["a"])]);
    sink.close_if_due(time("2026-11-24T00:00:00Z")).await.unwrap();
    assert_eq!(files(dir.path()).len(), 1, "an empty file is not handed out");
}

#[tokio::test]
async fn a_full_file_is_closed_and_no_name_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let rotation = Rotation { bytes: 160, ..Rotation::default() };
    for id in ["a", "b", "c", "d"] {
        deliver(&sink(dir.path(), rotation), id, "2026-11-22T10:00:00Z").await;
    }
    assert_eq!(
        files(dir.path()),
        [named(PART, &["c", "d"]), named("warehouse-20261122T100000Z-0001.ndjson", &["a", "b"]),]
    );
    for id in ["e", "f", "g"] {
        deliver(&sink(dir.path(), rotation), id, "2026-11-22T10:00:00Z").await;
    }
    let ids: Vec<String> = files(dir.path()).into_iter().flat_map(|(_, ids)| ids).collect();
    assert_eq!(ids.len(), 7);
    assert_eq!(files(dir.path()).len(), 4);
}

#[tokio::test]
async fn wherever_a_crash_tore_the_file_only_whole_lines_remain() {
    let dir = tempfile::tempdir().unwrap();
    let first = sink(dir.path(), Rotation::default());
    let parcels = ["a", "b", "c"].map(|id| parcel(id, "2026-11-22T10:00:00Z"));
    first.hand_over_many(&parcels, time("2026-11-22T10:00:00Z"), soon()).await;
    drop(first);
    let path = dir.path().join("warehouse").join(PART);
    let whole = std::fs::read(&path).unwrap();
    let line = whole.len() / 3;
    for length in 0..=whole.len() {
        for zeros in [0, 7] {
            let mut torn = whole[..length].to_vec();
            torn.resize(length + zeros, 0);
            std::fs::write(&path, torn).unwrap();
            deliver(&sink(dir.path(), Rotation::default()), "z", "2026-11-22T10:00:01Z").await;
            let mut expected = ["a", "b", "c"][..length / line].to_vec();
            expected.push("z");
            assert_eq!(files(dir.path()), [named(PART, &expected)], "{length} and {zeros} zeros");
        }
    }
}

#[tokio::test]
async fn a_batch_is_one_write_and_one_bad_body_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), Rotation::default());
    let at = "2026-11-22T10:00:00Z";
    let mut bad = parcel("b", at);
    bad.body = Zeroizing::new(b"{\"id\":\"b\"}\n{\"id\":\"injected\"}".to_vec());
    let mut broken_lines = parcel("c", at);
    broken_lines.body = Zeroizing::new(b"{\"id\":\"c\",\r\n\"timestamp\":\"\"}".to_vec());
    let outcomes = sink.hand_over_many(&[parcel("a", at), bad, broken_lines], time(at), soon()).await;
    assert_eq!(format!("{outcomes:?}"), "[Delivered, Dead { cause: BodyUnusable }, Delivered]");
    assert_eq!(files(dir.path()), [named(PART, &["a", "c"])]);
}

#[tokio::test]
async fn a_tombstone_is_written_and_waits_for_the_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let mut tombstone = parcel("t", "2026-11-22T10:00:00Z");
    tombstone.kind = ParcelKind::Rights(RightsCall {
        task: TaskId::from_bytes([1; 16]),
        verb: Verb::Erase,
        nonce: Nonce::from_random([1; 32]),
        can_verify: false,
        address_missing: 0,
    });
    let outcome =
        sink(dir.path(), Rotation::default()).hand_over(&tombstone, time("2026-11-22T10:00:00Z"), soon()).await;
    assert_eq!(format!("{outcome:?}"), "Rights(Pending(Written))");
    assert_eq!(files(dir.path()), [named(PART, &["t"])]);
}

#[tokio::test]
async fn a_second_writer_a_late_one_and_a_missing_folder_wait() {
    let dir = tempfile::tempdir().unwrap();
    let at = "2026-11-22T10:00:00Z";
    let retry = |cause| format!("Retry {{ after: None, cause: {cause} }}");
    let first = sink(dir.path(), Rotation::default());
    deliver(&first, "a", at).await;
    let second = sink(dir.path(), Rotation::default());
    let outcome = second.hand_over(&parcel("b", at), time(at), soon()).await;
    assert_eq!(format!("{outcome:?}"), retry("Folder"));

    let over = Deadline::of_claim(BootInstant::from_start(Duration::ZERO), Duration::from_nanos(1));
    let outcome = first.hand_over(&parcel("b", at), time(at), over).await;
    assert_eq!(format!("{outcome:?}"), retry("TimeLimit"));
    assert_eq!(files(dir.path()), [named(PART, &["a"])]);

    let in_the_way = dir.path().join("file");
    std::fs::write(&in_the_way, b"").unwrap();
    let outcome = sink(&in_the_way, Rotation::default()).hand_over(&parcel("b", at), time(at), soon()).await;
    assert_eq!(format!("{outcome:?}"), retry("Folder"));
}

#[tokio::test]
async fn a_link_in_the_place_of_the_file_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    std::fs::write(&target, b"keep").unwrap();
    std::fs::create_dir(dir.path().join("warehouse")).unwrap();
    std::os::unix::fs::symlink(&target, dir.path().join("warehouse").join(PART)).unwrap();
    let at = "2026-11-22T10:00:00Z";
    let outcome = sink(dir.path(), Rotation::default()).hand_over(&parcel("a", at), time(at), soon()).await;
    assert!(matches!(outcome, Outcome::Retry { cause: Cause::Folder, .. }));
    assert_eq!(std::fs::read(&target).unwrap(), b"keep");
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    for name in ["", "..", "../x", "a/b", ".hidden", "a b", "a\0"] {
        let sink = FileSink::new(Path::new("x"), &RecipientId::new(name), Rotation::default());
        assert!(matches!(sink, Err(Error::RecipientName)), "{name:?}");
    }
}

#[tokio::test]
async fn a_file_removed_under_us_confirms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = "2026-11-22T10:00:00Z";
    let sink = sink(dir.path(), Rotation::default());
    deliver(&sink, "a", at).await;
    std::fs::remove_file(dir.path().join("warehouse").join(PART)).unwrap();
    let outcome = sink.hand_over(&parcel("b", at), time(at), soon()).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    deliver(&sink, "b", at).await;
    assert_eq!(files(dir.path()), [named(PART, &["b"])]);
}
