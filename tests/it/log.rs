//! The audit log: what the verifier finds, and when the gateway refuses to start.

use amanat::audit::finding::{Code, Position, Report};
use amanat::audit::leaf::{Cause, Fact};
use amanat::domain::event::{Event, Outcome};
use amanat::gateway::prove::Wanted;
use amanat::gateway::scrub::Pace;
use amanat::gateway::source::Source;
use amanat::gateway::verify::{Verification, verify};
use amanat::gateway::{Error, Gateway, KeyringSource, Settings};
use amanat::storage::{Location, Step, Unit};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};

use crate::harness::{Backend, settings, shipped_policy};

/// Writes one test for each back end, with a log of its own and no doors.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($log:ident: TestLog) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn behaves($log: TestLog) $body

            $(#[$meta])*
            #[test]
            fn sqlite() {
                run(Backend::Sqlite, behaves);
            }

            $(#[$meta])*
            #[test]
            fn postgres() {
                run(Backend::Postgres, behaves);
            }
        }
    )*};
}
pub(crate) use on_both;

pub mod anchors;
pub mod bundles;
mod clock;
mod mirror;
pub mod prune;
mod published;
mod restore;
pub mod rotation;
mod scrub;
mod stock_reader;
mod told;
mod witnessed;

pub fn run<F: Future<Output = ()>>(backend: Backend, test: impl FnOnce(TestLog) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.block_on(async { test(TestLog::new(backend)).await });
}

/// The stores of a log that is opened, left, tampered with and opened again.
pub struct TestLog {
    pub settings: Settings,
    pub source: Source,
    pub folder: tempfile::TempDir,
}

impl TestLog {
    pub fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        Self { settings: settings(backend, folder.path()), source: Source::default(), folder }
    }

    async fn try_open(&self) -> Result<Gateway, Error> {
        let keyring = KeyringSource::File { path: self.folder.path().join("root.key"), managed: true };
        Gateway::open(self.settings.clone(), keyring, shipped_policy(), self.source.clone()).await
    }

    pub async fn open(&self) -> Gateway {
        self.try_open().await.expect("the gateway opens")
    }

    /// Opens a log, lets it grow by `leaves` beyond what every start appends, publishes, leaves it.
    pub async fn lived(&self, leaves: usize) -> u64 {
        let house = self.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        grow(&house, leaves).await;
        house.note_stop().await.expect("stop");
        let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
        house.close();
        size
    }

    pub async fn refusal(&self) -> (u8, String) {
        match self.try_open().await {
            Err(Error::LogRefused { exit, what }) => (exit, what),
            Err(other) => panic!("refused for another reason: {other:?}"),
            Ok(_) => panic!("the gateway opened"),
        }
    }

    pub fn verify(&self) -> Report {
        self.verify_with(Vec::new())
    }

    fn verify_with(&self, checkpoints: Vec<(String, Vec<u8>)>) -> Report {
        verify(&Verification { checkpoints, ..self.verification() }, |_, _| {}).expect("verifiable")
    }

    /// Of the data store alone.
    fn verification(&self) -> Verification {
        Verification { now: self.source.now(), ..of_database(self.settings.database.clone()) }
    }

    /// The newest checkpoint, as somebody outside saved it.
    pub fn saved(&self) -> Vec<(String, Vec<u8>)> {
        let memory =
            std::fs::read_dir(&self.settings.memory).expect("memory").map(|entry| entry.expect("entry").path());
        let notes = memory.filter(|path| path.extension().is_some_and(|end| end == "checkpoint"));
        notes.map(|path| ("saved".to_owned(), std::fs::read(path).expect("note"))).collect()
    }

    /// Changes the data store behind the gateway's back, past its triggers.
    pub fn tamper(&self, sql: &str) {
        tamper(&self.settings.database, sql);
    }
}

/// What verifies a data store by itself, now.
pub fn of_database(database: Location) -> Verification {
    Verification {
        database,
        keys: None,
        memory: None,
        checkpoints: Vec::new(),
        trust: None,
        anchor_roots: Default::default(),
        maximum_age: None,
        now: Source::default().now(),
        business: true,
        destroyed_keys: false,
        opener: None,
    }
}

fn tamper(location: &Location, sql: &str) {
    match location {
        Location::Sqlite(path) => {
            let mut connection = SqliteConnection::establish(path.to_str().expect("path")).expect("connection");
            connection.batch_execute("PRAGMA busy_timeout = 5000;").expect("patience");
            let triggers = "DROP TRIGGER IF EXISTS audit_leaf_no_update; DROP TRIGGER IF EXISTS audit_leaf_no_delete;
                DROP TRIGGER IF EXISTS audit_leaf_dense; DROP TRIGGER IF EXISTS audit_log_forward;";
            connection.batch_execute(triggers).expect("triggers");
            connection.batch_execute(sql).expect("tampering");
        }
        Location::Postgres { url, schema } => {
            let mut connection = PgConnection::establish(url).expect("connection");
            let schema = schema.as_deref().unwrap_or("public");
            connection.batch_execute(&format!("SET search_path TO {schema};")).expect("schema");
            // The key store has neither table.
            let triggers =
                "DO $$ BEGIN ALTER TABLE audit_leaf DISABLE TRIGGER ALL; ALTER TABLE audit_log DISABLE TRIGGER ALL;
                EXCEPTION WHEN undefined_table THEN NULL; END $$;";
            connection.batch_execute(triggers).expect("triggers");
            connection.batch_execute(sql).expect("tampering");
        }
    }
}

/// Appends leaves that say nothing.
pub async fn grow(house: &Gateway, leaves: usize) {
    let mut left = leaves;
    while left > 0 {
        let count = left.min(200);
        let rows = (0..count)
            .map(|_| house.leaf(Event::LogHeartbeat, Outcome::Done).expect("leaf").finish().expect("draft"))
            .collect();
        house.database.write(Unit::change(Vec::new(), rows, |_, _| Ok(Step::Commit))).await.expect("appended");
        left -= count;
    }
}

/// Code and place of every finding that is not about missing witnesses.
fn faults(report: &Report) -> Vec<(Code, Position)> {
    let of_note = report.findings.iter().filter(|finding| finding.code != Code::Unwitnessed);
    of_note.map(|finding| (finding.code, finding.position)).collect()
}

on_both! {
    async fn a_published_log_verifies_and_opens_again(log: TestLog) {
        let size = log.lived(600).await;
        let report = log.verify_with(log.saved());
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
        assert_eq!((report.size, report.checked), (size, size));
        let house = log.open().await;
        assert_eq!(house.start_cause(), Cause::Planned);
        assert_eq!(house.published().expect("known").size, size);
        let published = house.publish_once().await.expect("published").expect("a checkpoint");
        assert_eq!(published.size, size, "nothing new, nothing signed");
        house.close();
    }

    async fn a_start_without_a_stop_before_is_told_as_a_crash(log: TestLog) {
        let house = log.open().await;
        assert_eq!(house.start_cause(), Cause::Planned);
        house.note_start(house.start_cause()).await.expect("start");
        house.close();
        let house = log.open().await;
        assert_eq!(house.start_cause(), Cause::Crash);
        house.close();
    }

    async fn one_changed_byte_is_found_with_its_position(log: TestLog) {
        let size = log.lived(300).await;
        for (seq, position) in [(0, 70), (150, 12), (150, 45), (150, 60), (size - 1, 61)] {
            let before = leaf(&log, seq);
            let mut changed = before.clone();
            changed[position] ^= 1;
            set_leaf(&log, seq, &changed);
            let report = log.verify();
            let at = Position::Leaf { seq };
            assert_eq!(report.exit, 40, "{report:?}");
            assert!(
                faults(&report).iter().any(|(code, place)| matches!(code, Code::LeafAltered | Code::Malformed) && *place == at),
                "byte {position} of leaf {seq}: {report:?}"
            );
            assert_eq!(log.refusal().await.0, 40);
            set_leaf(&log, seq, &before);
        }
        assert_eq!(log.verify().exit, 10);
    }

    async fn a_tail_that_is_gone_is_a_rollback(log: TestLog) {
        let size = log.lived(300).await;
        log.tamper(&format!("DELETE FROM audit_leaf WHERE seq >= {}", size - 5));
        let report = log.verify();
        assert_eq!(report.exit, 30, "{report:?}");
        assert!(faults(&report).contains(&(Code::Rollback, Position::Between { from: size - 5, to: size - 1 })), "{report:?}");
        let (exit, what) = log.refusal().await;
        assert_eq!(exit, 30);
        assert!(what.contains(&size.to_string()) && what.contains(&(size - 5).to_string()), "{what}");
    }

    async fn an_older_copy_of_the_data_is_refused(log: TestLog) {
        let older = log.lived(300).await;
        log.tamper("CREATE TABLE kept AS SELECT * FROM audit_log");
        let newer = log.lived(20).await;
        log.tamper(&format!(
            "DELETE FROM audit_leaf WHERE seq >= {older}; DELETE FROM audit_checkpoint WHERE size > {older};
             UPDATE audit_log SET size = (SELECT size FROM kept), root = (SELECT root FROM kept), frontier = (SELECT frontier FROM kept),
               last_hash = (SELECT last_hash FROM kept), last_time = (SELECT last_time FROM kept); DROP TABLE kept;"
        ));
        let (exit, what) = log.refusal().await;
        assert_eq!(exit, 30);
        assert!(what.contains(&older.to_string()) && what.contains(&newer.to_string()), "{what}");
        assert_eq!(log.verify().exit, 10, "by itself the older copy is sound");
        let report = log.verify_with(log.saved());
        assert_eq!(faults(&report), vec![(Code::Rollback, Position::Between { from: older, to: newer - 1 })]);
        // With the key store rolled back too, the memory still knows.
        tamper(&log.settings.keys, "DELETE FROM last_signed");
        assert_eq!(log.refusal().await.0, 30);
    }

    async fn a_leaf_that_is_gone_or_moved_is_found(log: TestLog) {
        log.lived(300).await;
        log.tamper("UPDATE audit_leaf SET seq = 100000 WHERE seq = 40; UPDATE audit_leaf SET seq = 40 WHERE seq = 41; UPDATE audit_leaf SET seq = 41 WHERE seq = 100000;");
        let report = log.verify();
        assert_eq!((report.exit, faults(&report).first()), (40, Some(&(Code::OrderChanged, Position::Between { from: 40, to: 41 }))), "{report:?}");
        log.tamper("DELETE FROM audit_leaf WHERE seq = 41");
        let report = log.verify();
        assert!(faults(&report).iter().any(|(code, _)| *code == Code::LeafMissing), "{report:?}");
        assert_eq!((report.exit, log.refusal().await.0), (40, 40));
    }

    async fn a_wrong_tile_is_a_warning_and_no_start(log: TestLog) {
        log.lived(600).await;
        log.tamper("UPDATE audit_tile SET root = hashes WHERE level = 0 AND idx = 1");
        let report = log.verify();
        assert_eq!((report.exit, faults(&report)), (10, vec![(Code::TilePoisoned, Position::Between { from: 256, to: 511 })]));
        assert_eq!(log.refusal().await.0, 40);
    }

    async fn a_memory_that_is_gone_is_built_again_and_told(log: TestLog) {
        log.lived(3).await;
        let saved = log.saved();
        std::fs::remove_dir_all(&log.settings.memory).expect("removed");
        let house = log.open().await;
        assert_eq!(house.start_cause(), Cause::MemoryRebuilt);
        assert_eq!(log.saved(), saved);
        house.close();
    }

    async fn a_log_that_was_signed_otherwise_is_neither_signed_nor_written(log: TestLog) {
        let house = log.open().await;
        grow(&house, 10).await;
        house.publish_once().await.expect("published");
        let zeros = match &log.settings.keys {
            Location::Sqlite(_) => "zeroblob(32)",
            Location::Postgres { .. } => "decode(repeat('00', 32), 'hex')",
        };
        tamper(&log.settings.keys, &format!("UPDATE last_signed SET root = {zeros}"));
        grow(&house, 1).await;
        let error = house.publish_once().await.expect_err("refused");
        assert!(matches!(error, Error::LogRefused { exit: 30, .. }), "{error:?}");
        assert!(house.log_refusal().is_some());
        assert!(house.note_stop().await.is_err(), "nothing more is written");
        house.close();
        assert_eq!(log.refusal().await.0, 30);
    }

    async fn a_clock_that_stands_before_the_log_is_refused(log: TestLog) {
        log.lived(1).await;
        log.source.mislead(-600);
        let (exit, what) = log.refusal().await;
        assert_eq!(exit, 1);
        assert!(what.starts_with("clock_behind"), "{what}");
    }

    async fn a_row_without_a_leaf_is_incomplete(log: TestLog) {
        log.lived(1).await;
        let (id, none) = match &log.settings.database {
            Location::Sqlite(_) => ("x'00112233445566778899aabbccddeeff'", "x''"),
            Location::Postgres { .. } => ("'00112233-4455-6677-8899-aabbccddeeff'", "''"),
        };
        let at = match &log.settings.database {
            Location::Sqlite(_) => "0",
            Location::Postgres { .. } => "now()",
        };
        log.tamper(&format!(
            "INSERT INTO record (id, subject, collector, kind, occurred_at, collected_at, policy, plain, sealed, entry)
             VALUES ({id}, {id}, 'c', 'k', {at}, {at}, {none}, '', {none}, {id})"
        ));
        let report = log.verify();
        assert_eq!((report.exit, faults(&report)), (20, vec![(Code::BusinessRowWithoutLeaf, Position::Whole {})]));
    }
}

/// Makes a log to measure with: `AMANAT_LOG_FOLDER` names where it is put, half of its leaves with a
/// sealed part.
#[test]
#[ignore = "makes a large log, to measure the verifier with"]
fn a_large_log_to_measure_with() {
    run(Backend::Sqlite, async |log| {
        let house = log.open().await;
        let payload = amanat::audit::payload::Payload::default();
        for _ in 0..500 {
            let rows = (0..200)
                .map(|number| {
                    if number % 2 == 0 {
                        return house.leaf(Event::LogHeartbeat, Outcome::Done).expect("leaf").finish().expect("draft");
                    }
                    let facts = vec![Fact::PolicyHash([1; 32]), Fact::Digest([2; 32]), Fact::Cause(Cause::Planned)];
                    house.installation_leaf(Event::GatewayStarted, Outcome::Done, &payload, facts).expect("leaf")
                })
                .collect();
            house.database.write(Unit::change(Vec::new(), rows, |_, _| Ok(Step::Commit))).await.expect("appended");
        }
        let started = std::time::Instant::now();
        house.publish_once().await.expect("published");
        println!("published in {:?}", started.elapsed());
        let started = std::time::Instant::now();
        for seq in (0..100_000).step_by(1_000) {
            house.prove_entry(Wanted::Position(seq)).await.expect("proof");
        }
        println!("100 proofs in {:?}", started.elapsed());
        house.close();
        let started = std::time::Instant::now();
        let house = log.open().await;
        println!("opened in {:?}", started.elapsed());
        for pace in [Pace::Full, Pace::Tenth] {
            let started = std::time::Instant::now();
            house.scrub(pace, |_| true).await.expect("scrub");
            println!("scrubbed at {pace:?} in {:?}", started.elapsed());
        }
        house.close();
        bundles::measure(&log);
        if let Some(folder) = option_env!("AMANAT_LOG_FOLDER") {
            std::fs::copy(log.folder.path().join("amanat.db"), std::path::Path::new(folder).join("amanat.db"))
                .expect("copied");
            let wal = log.folder.path().join("amanat.db-wal");
            if wal.exists() {
                std::fs::copy(wal, std::path::Path::new(folder).join("amanat.db-wal")).expect("copied");
            }
        }
    });
}

pub fn leaf(log: &TestLog, seq: u64) -> Vec<u8> {
    let mut connection = log.settings.database.connect_to_read().expect("connection");
    amanat::storage::audit_log::bare_leaf(&mut connection, seq).expect("readable").expect("a leaf").1
}

fn set_leaf(log: &TestLog, seq: u64, bytes: &[u8]) {
    let hex = data_encoding::HEXLOWER.encode(bytes);
    let value = match &log.settings.database {
        Location::Sqlite(_) => format!("x'{hex}'"),
        Location::Postgres { .. } => format!("decode('{hex}', 'hex')"),
    };
    log.tamper(&format!("UPDATE audit_leaf SET leaf = {value} WHERE seq = {seq}"));
}
