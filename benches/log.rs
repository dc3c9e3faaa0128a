//! What the audit log costs, and what checking it costs.
//!
//! ```text
//! cargo bench --bench log                  a million entries: three minutes
//! cargo bench --bench log -- --quick       a hundred thousand
//! ```
//!
//! The cost is a ratio of one run: the same units of work (20 events of one person: records, promises,
//! marks), sealed and written to disk by 128 callers at once, with the leaf that tells them and
//! without it.

#![expect(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench stops at the first surprise and prints what it measured"
)]

#[path = "load/people.rs"]
mod people;
#[expect(dead_code, reason = "shared with the tests, which also crash the server")]
#[path = "../tests/it/harness/postgres.rs"]
mod postgres;
#[expect(dead_code, reason = "shared with the load bench, which serves")]
#[path = "load/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amanat::audit::payload::{Payload, Row};
use amanat::crypto::envelope::{Field, RecordPlace, Term};
use amanat::crypto::mac::{Owner, RecordKind, RowId};
use amanat::domain::event::{Event, Outcome, Role};
use amanat::domain::id::{CollectorId, DeliveryId, PurposeId, RecipientId, RecordId};
use amanat::gateway::keyholder::PersonKeys;
use amanat::gateway::prove::Wanted;
use amanat::gateway::scrub::{Pace, Scrub};
use amanat::gateway::source::Source;
use amanat::gateway::verify::{PartOpener, Verification, verify};
use amanat::gateway::{Gateway, KeyringSource, Settings};
use amanat::storage::deliveries::NewDelivery;
use amanat::storage::records::NewRecord;
use amanat::storage::{Collect, Micros, Step, Unit};

/// People whose events are written.
const PEOPLE: u64 = 2_000;
/// Events of one unit.
const EVENTS: usize = 20;
/// Callers at once.
const CALLERS: usize = 128;
/// How long each side is measured, and how often in turn.
const TURN: Duration = Duration::from_secs(4);
const TURNS: usize = 4;

fn main() {
    let entries = if std::env::args().any(|argument| argument == "--quick") { 100_000 } else { 1_000_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        cost().await;
        checking(entries).await;
        opening(entries / 10).await;
    });
}

async fn open(folder: &std::path::Path) -> Gateway {
    let url = |name: &str| format!("sqlite:{}", folder.join(name).display());
    Gateway::open(
        server::settings(folder, &url("amanat.db"), &url("keys.db")).large(),
        KeyringSource::File { path: folder.join("root.key"), managed: true },
        server::policy(),
        Source::default(),
    )
    .await
    .expect("the gateway opens")
}

/// The settings of a gateway under load.
trait Large {
    fn large(self) -> Self;
}

impl Large for Settings {
    fn large(self) -> Self {
        Self { batch_units: 256, queue: 4_096, ..self }
    }
}

/// Throughput with the log and without.
async fn cost() {
    let folder = tempfile::tempdir().expect("folder");
    let house = open(folder.path()).await;
    let people = Arc::new(meet(&house).await);
    let mut rates = [0.0; 2];
    for turn in 0..2 * TURNS {
        // Neither side always comes first: the store grows.
        let with_log = matches!(turn % 4, 0 | 3);
        let units = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (house, people, units) = (house.clone(), Arc::clone(&people), Arc::clone(&units));
                tokio::spawn(async move {
                    let mut next = caller;
                    while began.elapsed() < TURN {
                        let unit = work(&house, &people[next % people.len()], with_log);
                        house.database.write(unit).await.expect("written");
                        units.fetch_add(1, Ordering::Relaxed);
                        next += CALLERS;
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("a caller");
        }
        rates[usize::from(!with_log)] += units.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    }
    let [with, without] = rates.map(|rate| rate / TURNS as f64 * EVENTS as f64);
    println!(
        "the log costs {:.1} % of the throughput: {with:.0} events/s with it, {without:.0} without",
        100.0 * (1.0 - with / without)
    );
    house.close();
}

async fn meet(house: &Gateway) -> Vec<Arc<PersonKeys>> {
    let mut keys = Vec::new();
    let mut rows = Collect { at: Some(house.source.now().into()), ..Collect::default() };
    let mut new = Vec::new();
    for number in 0..PEOPLE {
        let (made, subject, identifier) = people::person(house, number);
        keys.push(Arc::clone(&made.keys));
        new.push(made);
        rows.subjects.push(subject);
        rows.identifiers.push(identifier);
    }
    house.keyholder.store_new(new).await.expect("keys");
    let unit = Unit::collect(Vec::new(), house.policy().policy.hash, rows, Vec::new());
    house.database.write(unit).await.expect("people");
    keys
}

/// The events of one person of one request, sealed, and their leaf.
fn work(house: &Gateway, keys: &PersonKeys, with_log: bool) -> Unit {
    let now = house.source.now();
    let at = Micros::from(now);
    let policy = house.policy().policy.hash;
    let random = |bytes: &mut [u8]| house.source.fill(bytes);
    let ordered = || house.source.ordered_id(now).expect("randomness");
    let mut builder = house.leaf(Event::RecordCollected, Outcome::Done).expect("leaf");
    let entry = house.source.entry().expect("randomness");
    let mut rows = Collect { at: Some(at), ..Collect::default() };
    let mut told = Vec::new();
    for _ in 0..EVENTS {
        let id = RecordId::from_uuid(ordered());
        let place = RecordPlace {
            installation: house.keyholder.installation,
            owner: Owner::from(keys.subject),
            kind: RecordKind::new("record"),
            record: RowId::from(id),
        };
        let category = Term { number: 3, text: "Purchase" };
        let texts = ["context.page.url", "event", "properties.quantity", "properties.sku"];
        let fields: Vec<Field<'_>> = texts
            .iter()
            .zip(1..)
            .map(|(text, number)| Field {
                field: Term { number, text },
                category,
                json: "\"a value of thirty-two characters\"",
            })
            .collect();
        rows.records.push(NewRecord {
            id,
            subject: keys.subject,
            device: None,
            collector: CollectorId::new("shop-server"),
            kind: "track",
            occurred_at: at,
            collected_at: at,
            policy,
            plain: "{\"context.locale\":\"de-DE\"}".to_owned(),
            sealed: keys.dek.seal(&place, &fields, &mut |bytes| random(bytes)).expect("sealed"),
            entry,
        });
        rows.deliveries.push(NewDelivery {
            id: DeliveryId::from_uuid(ordered()),
            recipient: RecipientId::new("analytics"),
            purpose: PurposeId::new("product_analytics"),
            subject: keys.subject,
            record: id,
            message: house.source.random().expect("randomness"),
            created_at: at,
            entry,
        });
        rows.marks.push(house.source.random().expect("randomness"));
        told.push(Row { kind: "record", id: *id.as_bytes(), content_hash: [0; 32] });
    }
    let mut leaves = Vec::new();
    if with_log {
        let payload = Payload {
            subject: Some(*keys.subject.as_bytes()),
            collector: Some("shop-server".to_owned()),
            rows: told,
            policy: Some(policy.0),
            ..Payload::default()
        };
        builder = builder.part(&house.source, Role::Subject, &keys.operation, &payload).expect("part");
        leaves.push(builder.finish().expect("draft"));
    }
    Unit::collect(Vec::new(), policy, rows, leaves)
}

/// A long log: appended, proven, verified.
async fn checking(entries: u64) {
    let folder = tempfile::tempdir().expect("folder");
    let house = open(folder.path()).await;
    let began = Instant::now();
    for _ in 0..entries / 1_000 {
        let leaves = (0..1_000)
            .map(|_| house.leaf(Event::LogHeartbeat, Outcome::Done).expect("leaf").finish().expect("draft"))
            .collect();
        house.database.write(Unit::change(Vec::new(), leaves, |_, _| Ok(Step::Commit))).await.expect("appended");
    }
    println!("{entries} entries appended in {:.1} s", began.elapsed().as_secs_f64());
    house.publish_once().await.expect("published");

    let mut times = Vec::new();
    let mut longest = 0;
    for step in 0..1_000 {
        let seq = step * 7_919 % entries;
        let began = Instant::now();
        let proof = house.prove_entry(Wanted::Position(seq)).await.expect("proof");
        times.push(began.elapsed());
        longest = longest.max(proof.to_string().len());
    }
    times.sort_unstable();
    println!("inclusion proof: p50 {:?}, p99 {:?}; the longest file has {longest} bytes", times[500], times[990]);
    let (settings, now) = (house.settings.clone(), house.source.now());
    house.close();

    check(&settings, now, None);

    let house = open(folder.path()).await;
    scrubbing(&house, Duration::from_secs(if entries < 1_000_000 { 5 } else { 60 })).await;
    house.close();
}

/// A log about people, every entry with a sealed part: verified, and verified with every part opened.
async fn opening(entries: u64) {
    let folder = tempfile::tempdir().expect("folder");
    let house = open(folder.path()).await;
    let people = meet(&house).await;
    let policy = Some(house.policy().policy.hash.0);
    for page in 0..entries / 1_000 {
        let leaf = |number: u64| {
            let keys = &people[(page * 1_000 + number) as usize % people.len()];
            let subject = Some(*keys.subject.as_bytes());
            let payload =
                Payload { subject, purposes: vec!["product_analytics".to_owned()], policy, ..Payload::default() };
            let leaf = house.leaf(Event::DecisionGranted, Outcome::Done).expect("leaf");
            leaf.part(&house.source, Role::Subject, &keys.operation, &payload).expect("part").finish().expect("draft")
        };
        let leaves = (0..1_000).map(leaf).collect();
        house.database.write(Unit::change(Vec::new(), leaves, |_, _| Ok(Step::Commit))).await.expect("appended");
    }
    house.publish_once().await.expect("published");
    let (settings, now) = (house.settings.clone(), house.source.now());
    let opener = PartOpener::new(house.keyholder.installation, house.keyholder.keyring());
    house.close();
    check(&settings, now, None);
    check(&settings, now, Some(opener));
}

fn check(settings: &Settings, now: jiff::Timestamp, opener: Option<PartOpener>) {
    let began = Instant::now();
    let verification = Verification {
        database: settings.database.clone(),
        keys: Some(settings.keys.clone()),
        memory: Some(settings.memory.clone()),
        checkpoints: Vec::new(),
        trust: None,
        anchor_roots: Default::default(),
        maximum_age: None,
        now,
        business: false,
        destroyed_keys: opener.is_some(),
        opener,
    };
    let report = verify(&verification, |_, _| {}).expect("verified");
    assert!(matches!(report.exit, 0 | 10), "{:?}", report.findings);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} entries verified, {} parts opened in {seconds:.2} s: {:.0} entries a second on one core; this process has had {} MB at most",
        report.checked,
        report.opened,
        report.checked as f64 / seconds,
        high_water() / 1_024
    );
}

/// What the daily re-reading takes of a core while it lasts, over and over for so long.
async fn scrubbing(house: &Gateway, length: Duration) {
    let (began, before) = (Instant::now(), processor_seconds());
    let mut rounds = 0;
    while began.elapsed() < length {
        let ended = house.scrub(Pace::Tenth, |_| true).await.expect("scrubbed");
        assert!(matches!(ended, Scrub::Finished(ref report) if matches!(report.exit, 0 | 10)), "{ended:?}");
        rounds += 1;
    }
    let (elapsed, spent) = (began.elapsed().as_secs_f64(), processor_seconds() - before);
    println!(
        "the scrub: {rounds} times over the log in {elapsed:.1} s with {spent:.2} s of processor time, {:.1} % of a core",
        100.0 * spent / elapsed
    );
}

/// Processor time of this process, all threads, user and system.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Kilobytes resident at most so far.
fn high_water() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
