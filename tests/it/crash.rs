//! What was answered with success is there, once, whatever dies meanwhile (guarantee G1).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amanat::storage::Location;
use serde_json::{Value, json};

use crate::harness::files_below;
use crate::harness::postgres::{Server, server};
use crate::harness::process::Installed;
use crate::harness::store::Store;

#[test]
fn killing_the_gateway_loses_nothing_on_sqlite() {
    installed(sqlite, kill_again_and_again);
}

#[test]
fn killing_the_gateway_loses_nothing_on_postgres() {
    installed(|_| postgres(server()), kill_again_and_again);
}

#[test]
fn ending_at_every_failpoint_loses_nothing_on_sqlite() {
    installed(sqlite, end_at_every_failpoint);
}

#[test]
fn ending_at_every_failpoint_loses_nothing_on_postgres() {
    installed(|_| postgres(server()), end_at_every_failpoint);
}

#[test]
fn ending_a_key_rotation_at_every_failpoint_leaves_one_key_on_sqlite() {
    installed(sqlite, rotate_at_every_failpoint);
}

#[test]
fn ending_a_key_rotation_at_every_failpoint_leaves_one_key_on_postgres() {
    installed(|_| postgres(server()), rotate_at_every_failpoint);
}

/// Gives a test a gateway of its own, and the address of its database.
fn installed(stores: impl FnOnce(&Path) -> (String, String), test: impl FnOnce(&mut Installed, &str)) {
    let folder = tempfile::tempdir().expect("folder");
    let (database, keys) = stores(folder.path());
    test(&mut Installed::new(folder.path(), &database, &keys), &database);
}

#[test]
fn killing_the_database_loses_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::start();
    let (database, keys) = postgres(&server);
    let mut installed = Installed::new(folder.path(), &database, &keys);
    let sent = Sent::new(installed.key("shop-server"));
    installed.start();
    for _ in 0..rounds(2, 50) {
        sent.load(&[&installed.url], || {
            std::thread::sleep(dice(300, 900));
            server.crash();
            std::thread::sleep(dice(10, 300));
            server.launch();
            // It comes back by itself.
            sent.until_taken(&installed.url);
        });
        sent.send_again(&installed.url);
    }
    sent.send_all_again(&installed.url);
    conclude(&mut installed, &database, &sent);
}

/// Two gateways that serve from one database.
struct Two {
    first: Installed,
    second: Installed,
    doors: [String; 2],
    sent: Arc<Sent>,
    database: String,
}

impl Two {
    fn start(folder: &Path) -> Self {
        let (database, keys) = postgres(server());
        let [mut first, mut second] = [(); 2].map(|()| Installed::new(folder, &database, &keys));
        let sent = Sent::new(first.key("shop-server"));
        first.start();
        second.start();
        let doors = [first.url.clone(), second.url.clone()];
        Self { first, second, doors, sent, database }
    }
}

#[test]
fn two_gateways_on_one_database_keep_one_log() {
    let folder = tempfile::tempdir().expect("folder");
    let Two { mut first, mut second, doors, sent, database } = Two::start(folder.path());
    for _ in 0..rounds(2, 50) {
        // The same people at both doors, and one of the gateways dies in the middle.
        sent.load(&[&doors[0], &doors[1]], || {
            std::thread::sleep(dice(300, 900));
            second.kill();
        });
        second.start();
        sent.send_again(&second.url);
    }
    sent.send_all_again(&second.url);
    assert_eq!(second.stop(), Some(0), "{}", second.said());
    let mut store = open(&database);
    assert_eq!(store.count("audit_log"), 1, "one log");
    conclude(&mut first, &database, &sent);
}

#[test]
fn a_frozen_gateway_forks_nothing_and_holds_nobody_up_for_long() {
    let folder = tempfile::tempdir().expect("folder");
    let Two { mut first, mut second, doors, sent, database } = Two::start(folder.path());
    for round in 0..rounds(2, 20) {
        sent.load(&[&doors[0], &doors[1]], || {
            std::thread::sleep(dice(300, 900));
            second.freeze();
            // Once past every lease, and longer than the server lets anybody hold the head of the log.
            std::thread::sleep(if round == 0 { Duration::from_secs(35) } else { dice(300, 3_000) });
            sent.until_taken(&doors[0]);
            second.thaw();
            sent.until_taken(&doors[1]);
        });
        sent.send_again(&second.url);
    }
    sent.send_all_again(&first.url);
    assert_eq!(second.stop(), Some(0), "{}", second.said());
    assert_eq!(open(&database).count("audit_log"), 1, "one log");
    conclude(&mut first, &database, &sent);
}

#[test]
fn a_full_disk_loses_nothing_and_mends_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("folder");
    if !mount(&disk, "size=2g") {
        println!("skipped: a disk of its own can only be mounted by root");
        return;
    }
    let _mounted = Mounted(disk.clone());
    let (database, keys) = (
        format!("sqlite:{}", disk.join("amanat.db").display()),
        format!("sqlite:{}", folder.path().join("keys.db").display()),
    );
    let mut installed = Installed::new(folder.path(), &database, &keys);
    let sent = Sent::new(installed.key("shop-server"));
    installed.start();
    sent.load(&[&installed.url], || std::thread::sleep(Duration::from_millis(300)));
    // The disk becomes as small as what lies on it.
    let used: u64 = files_below(&disk).iter().map(|path| path.metadata().expect("file").len()).sum();
    assert!(mount(&disk, &format!("remount,size={}k", used / 1024 + 256)), "a smaller disk");
    sent.load(&[&installed.url], || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while sent.later.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < deadline, "a full disk is never noticed");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(sent.broken.load(Ordering::Relaxed), 0, "an answer other than 200 and 429:\n{}", installed.said());
    assert!(mount(&disk, "remount,size=2g"), "space again");
    sent.until_taken(&installed.url);
    sent.send_again(&installed.url);
    conclude(&mut installed, &database, &sent);
}

/// A disk in memory, whose size can be changed while it is in use.
fn mount(at: &Path, options: &str) -> bool {
    let status = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status();
    status.is_ok_and(|status| status.success())
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn kill_again_and_again(installed: &mut Installed, database: &str) {
    let sent = Sent::new(installed.key("shop-server"));
    installed.start();
    let url = installed.url.clone();
    let kills = rounds(4, 200);
    for kill in 1..=kills {
        sent.load(&[&url], || {
            std::thread::sleep(dice(50, 600));
            installed.kill();
        });
        installed.start();
        sent.send_again(&url);
        if kill % 20 == 0 {
            println!("{database}: killed {kill} of {kills} times");
        }
    }
    sent.send_all_again(&url);
    conclude(installed, database, &sent);
}

/// Where the gateway appends, signs and publishes (`telemetry::failpoint`), in this order.
const FAILPOINTS: [&str; 10] = [
    "append.begun",
    "append.inserted",
    "append.run",
    "append.committed",
    "publish.proven",
    "publish.signed",
    "publish.compared",
    "publish.stored",
    "publish.renaming",
    "publish.remembered",
];

fn end_at_every_failpoint(installed: &mut Installed, database: &str) {
    let sent = Sent::new(installed.key("shop-server"));
    let url = installed.url.clone();
    for _ in 0..rounds(1, 20) {
        for place in FAILPOINTS {
            let visit = dice(1, 12).as_millis();
            installed.start_to_end_at(&format!("{place}:{visit}"));
            sent.load(&[&url], || {
                let deadline = Instant::now() + Duration::from_secs(60);
                while installed.ended().is_none() {
                    assert!(Instant::now() < deadline, "{place} is not reached {visit} times");
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            installed.start();
            sent.send_again(&url);
        }
    }
    sent.send_all_again(&url);
    conclude(installed, database, &sent);
}

/// Wherever the rotation of the log's key is cut off, the next gateway finishes it.
fn rotate_at_every_failpoint(installed: &mut Installed, database: &str) {
    installed.start();
    assert_eq!(installed.stop(), Some(0), "{}", installed.said());
    for place in FAILPOINTS {
        let (code, said) = installed.run_to_end_at(place, &["keys", "rotate", "log"]);
        assert_eq!(code, -1, "{place}: {said}");
        installed.start();
        assert_eq!(installed.stop(), Some(0), "{}", installed.said());
        let (code, said) = installed.run(&["keys", "status", "--json"]);
        assert_eq!(code, 0, "{said}");
        // Before the leaf there are two: the next one waits.
        let begun = usize::from(place.starts_with("append.") && place != "append.committed");
        assert_eq!(said.matches(r#""purpose":"log""#).count(), 1 + begun, "{place}: {said}");
    }
    let handovers =
        "SELECT count(*) FROM audit_leaf l JOIN audit_checkpoint c ON c.size = l.seq + 1 WHERE l.event = 104";
    let rotations = "SELECT count(*) FROM audit_leaf WHERE event = 104";
    let mut store = open(database);
    assert_eq!(store.number(handovers), store.number(rotations), "a checkpoint of both keys is missing");
    let (code, said) = installed.run(&["audit", "verify"]);
    assert_eq!(code, 10, "{said}");
}

/// Every event is stored once, every record has its leaf, and the log verifies.
fn conclude(installed: &mut Installed, database: &str, sent: &Sent) {
    assert_eq!(installed.stop(), Some(0), "{}", installed.said());
    let mut store = open(database);
    let events = i64::try_from(sent.events.lock().expect("events").len()).expect("number");
    assert!(events > 20, "only {events} events were sent");
    assert_eq!(store.count("seen_event"), events, "an event is missing or was taken twice");
    assert_eq!(store.count("record"), events, "a record is missing or stands twice");
    let orphans =
        "SELECT count(*) FROM record WHERE NOT EXISTS (SELECT 1 FROM audit_leaf WHERE audit_leaf.entry = record.entry)";
    assert_eq!(store.number(orphans), 0, "a record has no leaf");
    let (code, said) = installed.run(&["audit", "verify", "--business"]);
    assert!(matches!(code, 0 | 10), "exit {code}: {said}");
}

/// What was sent, and what was answered.
struct Sent {
    key: String,
    /// Message id → (body of the event, whether it was answered with success).
    events: std::sync::Mutex<BTreeMap<String, (Value, bool)>>,
    /// Message ids that were not sent again yet.
    new: std::sync::Mutex<Vec<String>>,
    number: AtomicU64,
    later: AtomicU64,
    broken: AtomicU64,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Sent {
    fn new(key: String) -> Arc<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(30))
            .build()
            .expect("client");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        Arc::new(Self {
            key,
            events: std::sync::Mutex::default(),
            new: std::sync::Mutex::default(),
            number: AtomicU64::new(0),
            later: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            runtime,
            client,
        })
    }

    /// Several clients send at once while something happens.
    fn load(self: &Arc<Self>, urls: &[&str], happens: impl FnOnce()) {
        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..6)
            .map(|turn| {
                let (sent, over) = (Arc::clone(self), Arc::clone(&over));
                let url = urls[turn % urls.len()].to_owned();
                self.runtime.spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let batch = sent.fresh();
                        if !sent.post(&url, batch).await {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                    }
                })
            })
            .collect();
        happens();
        over.store(true, Ordering::Relaxed);
        self.runtime.block_on(async {
            for client in clients {
                client.await.expect("a client");
            }
        });
    }

    /// One to five new events of a few people, some with a device and a changing mind.
    fn fresh(&self) -> Vec<(String, Value)> {
        let first = self.number.fetch_add(5, Ordering::Relaxed);
        let events: Vec<(String, Value)> = (first..=first + first / 5 % 5)
            .map(|number| {
                let id = format!("m-{number}");
                let mut event = json!({"type":"track","event":"E","userId":format!("user-{}", number % 7),"messageId":id,"properties":{"order_id":number.to_string()}});
                if number % 3 == 0 {
                    event["anonymousId"] = json!(format!("device-{}", number % 4));
                    event["context"] = json!({"consent":{"categoryPreferences":{"Advertising":number % 2 == 0,"Analytics":true}}});
                }
                (id, event)
            })
            .collect();
        let mut known = self.events.lock().expect("events");
        for (id, event) in &events {
            known.insert(id.clone(), (event.clone(), false));
        }
        self.new.lock().expect("new").extend(events.iter().map(|(id, _)| id.clone()));
        events
    }

    /// Sends events and notes which were answered with success.
    async fn post(&self, url: &str, batch: Vec<(String, Value)>) -> bool {
        let items: Vec<&Value> = batch.iter().map(|(_, event)| event).collect();
        let request = self
            .client
            .post(format!("{url}/v1/batch"))
            .basic_auth(&self.key, Some(""))
            .body(json!({"batch": items}).to_string());
        // Without an answer nobody knows.
        let Ok(answer) = request.send().await else { return false };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text().await else { return false };
        if status != 200 {
            let counter = if status == 429 { &self.later } else { &self.broken };
            counter.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let mut known = self.events.lock().expect("events");
        for (place, (id, _)) in batch.iter().enumerate() {
            let verdict = json["results"][place]["verdict"].as_str().unwrap_or_default();
            let entry = known.get_mut(id).expect("known");
            match (entry.1, verdict) {
                (false, "accepted" | "duplicate") => entry.1 = true,
                (true, "duplicate") => {}
                (acknowledged, verdict) => {
                    panic!("{id}, acknowledged before: {acknowledged}, is now {verdict}: {text}")
                }
            }
        }
        true
    }

    /// Sends again what is new since the last time: what was acknowledged must be a duplicate, the
    /// rest may be either.
    fn send_again(&self, url: &str) {
        let new = std::mem::take(&mut *self.new.lock().expect("new"));
        self.send_these(url, &new);
    }

    /// Sends everything again, from the first event on.
    fn send_all_again(&self, url: &str) {
        let all: Vec<String> = self.events.lock().expect("events").keys().cloned().collect();
        self.send_these(url, &all);
    }

    fn send_these(&self, url: &str, ids: &[String]) {
        let batches: Vec<Vec<(String, Value)>> = {
            let known = self.events.lock().expect("events");
            ids.chunks(100).map(|ids| ids.iter().map(|id| (id.clone(), known[id].0.clone())).collect()).collect()
        };
        self.runtime.block_on(async {
            for batch in batches {
                let deadline = Instant::now() + Duration::from_secs(60);
                while !self.post(url, batch.clone()).await {
                    assert!(Instant::now() < deadline, "what was sent before is not taken again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }

    fn until_taken(&self, url: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        self.runtime.block_on(async {
            while !self.post(url, self.fresh()).await {
                assert!(Instant::now() < deadline, "the gateway does not come back by itself");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

fn rounds(usual: u32, long: u32) -> u32 {
    if std::env::var_os("AMANAT_TEST_LONG").is_some() { long } else { usual }
}

/// A time by chance, in milliseconds.
fn dice(from: u64, to: u64) -> Duration {
    let (chance, _) = uuid::Uuid::new_v4().as_u64_pair();
    Duration::from_millis(from + chance % (to - from))
}

fn sqlite(folder: &Path) -> (String, String) {
    let place = |name: &str| format!("sqlite:{}", folder.join(name).display());
    (place("amanat.db"), place("keys.db"))
}

fn postgres(server: &Server) -> (String, String) {
    let name = server.fresh_name();
    (server.url(&format!("{name}_data")), server.url(&format!("{name}_keys")))
}

fn open(database: &str) -> Store {
    Store::open(&Location::parse(database).expect("location"))
}
