//! 27: the write-ahead log of SQLite cut at any byte, as a disk may leave it behind that lost what came last.

use std::path::Path;
use std::time::{Duration, Instant};

use amanat::gateway::verify::verify;
use amanat::storage::Location;
use serde_json::{Value, json};

use crate::harness::process::Installed;
use crate::harness::store::Store;
use crate::harness::wire::Sent;
use crate::log::of_database;

/// Events that are sent one after the other, each in a commit of its own.
const EVENTS: usize = 25;
/// Bytes of the header of a WAL, and of a frame in it (SQLite file format §4.1, §4.2).
const HEADER: usize = 32;
const FRAME: usize = 24;

/// What a copy holds whose log was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    leaves: i64,
    records: i64,
}

#[test]
fn a_write_ahead_log_cut_anywhere_keeps_whole_commits() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let url = |name: &str| format!("sqlite:{}", path(name).display());
    let mut house = Installed::new(folder.path(), &url("amanat.db"), &url("keys.db"));
    let key = house.key("shop-server");
    house.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    for number in 0..EVENTS {
        let event = json!({"type": "track", "event": "E", "userId": format!("user-{}", number % 3), "messageId": format!("m-{number}"), "properties": {"order_id": "1"}});
        let sent = Sent::post("/v1/track", event.to_string()).key(&key).header("content-type", "application/json");
        let answer = runtime.block_on(sent.to(&house.url));
        let said: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
        assert_eq!(answer.status, 200, "{said}");
    }
    house.kill();

    let (database, log) =
        (std::fs::read(path("amanat.db")).expect("file"), std::fs::read(path("amanat.db-wal")).expect("WAL"));
    let commits = commits(&log);
    assert!(commits.len() > EVENTS, "{} commits in {} bytes", commits.len(), log.len());
    let cut = |length: usize| {
        let copy = tempfile::tempdir().expect("folder");
        let place = copy.path().join("amanat.db");
        std::fs::write(&place, &database).expect("copied");
        std::fs::write(copy.path().join("amanat.db-wal"), &log[..length]).expect("copied");
        let held = held(&place);
        (copy, held)
    };
    // Each whole commit: dense, in order, each record with its leaf; what was answered before it is there.
    let last = &commits[commits.len() - EVENTS..];
    let mut whole = Vec::new();
    for end in last {
        let (copy, held) = cut(*end);
        is_whole(&copy.path().join("amanat.db"));
        assert!(
            whole.last().is_none_or(
                |(_, before): &(usize, Held)| held.records >= before.records && held.leaves >= before.leaves
            )
        );
        whole.push((*end, held));
    }
    let (_, all) = whole.last().expect("commits");
    assert_eq!(all.records, i64::try_from(EVENTS).expect("number"), "everything that was answered is there");
    // Whatever follows behind a commit and is not whole is not there.
    let begun = Instant::now();
    let long = std::env::var_os("AMANAT_TEST_LONG").is_some();
    let from = last[last.len() - 4];
    let step = if long { 1 } else { (log.len() - from) / 60 };
    let near = last.iter().flat_map(|end| [end - 1, end + 1, end + FRAME, end + FRAME + 1]);
    let mut tried = 0;
    for length in (from..log.len()).step_by(step.max(1)).chain(near.filter(|length| *length <= log.len())) {
        let kept = whole.iter().rev().find(|(end, _)| *end <= length);
        let Some((_, expected)) = kept else { continue };
        assert_eq!(cut(length).1, *expected, "cut at byte {length} of {}", log.len());
        tried += 1;
        if long && begun.elapsed() > Duration::from_secs(1_800) {
            println!("stopped after half an hour at byte {length}");
            break;
        }
    }
    println!("{tried} cuts of {} bytes in {} commits", log.len(), commits.len());
}

/// Where the commits of a WAL end: a frame says the size of the database behind it if it is the last of a commit.
fn commits(log: &[u8]) -> Vec<usize> {
    let number = |at: usize| u32::from_be_bytes(*log[at..].first_chunk().expect("four bytes"));
    let page = usize::try_from(number(8)).expect("page size");
    let salt = &log[16..24];
    let frames = (HEADER..).step_by(FRAME + page).take_while(|at| at + FRAME + page <= log.len());
    // Frames of an earlier round have another salt.
    let frames = frames.take_while(|at| &log[at + 8..at + 16] == salt);
    frames.filter(|at| number(at + 4) != 0).map(|at| at + FRAME + page).collect()
}

fn held(database: &Path) -> Held {
    let mut store = Store::open(&Location::Sqlite(database.to_path_buf()));
    let leaves = store.count("audit_leaf");
    assert_eq!(store.number("SELECT max(seq) + 1 FROM audit_leaf"), leaves, "dense");
    assert_eq!(store.number("SELECT size FROM audit_log"), leaves, "the head counts them");
    let records = store.count("record");
    let told = store.number("SELECT count(*) FROM audit_leaf WHERE event = 200");
    assert_eq!(told, records, "each record has its leaf, each leaf its record");
    Held { leaves, records }
}

fn is_whole(database: &Path) {
    let mut store = Store::open(&Location::Sqlite(database.to_path_buf()));
    assert_eq!(store.column("SELECT integrity_check AS value FROM pragma_integrity_check"), ["ok"]);
    drop(store);
    let verification = of_database(Location::Sqlite(database.to_path_buf()));
    let report = verify(&verification, |_, _| {}).expect("readable");
    assert!(report.exit <= 10, "{report:?}");
}
