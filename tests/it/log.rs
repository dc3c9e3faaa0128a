//! The audit log: what is signed, what the verifier finds, and when the gateway refuses to start.

use std::time::Duration;

use amanat::audit::checkpoint::Checkpoint;
use amanat::audit::finding::{Code, Position, Report};
use amanat::audit::leaf::{Cause, leaf_hash};
use amanat::audit::note::Note;
use amanat::audit::tile::read_entries;
use amanat::audit::tree::{Frontier, verify_consistency};
use amanat::audit::trust::Trust;
use amanat::domain::event::{Event, Outcome};
use amanat::gateway::prove::Wanted;
use amanat::gateway::source::Source;
use amanat::gateway::tokens::Scope;
use amanat::gateway::verify::{Verification, verify, verify_proof};
use amanat::gateway::{Error, Gateway, KeyringSource, Settings};
use amanat::storage::{Location, Step, Unit};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};

use crate::both;
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

fn run<F: Future<Output = ()>>(backend: Backend, test: impl FnOnce(TestLog) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.block_on(async { test(TestLog::new(backend)).await });
}

/// The stores of a log that is opened, left, tampered with and opened again.
struct TestLog {
    settings: Settings,
    source: Source,
    folder: tempfile::TempDir,
}

impl TestLog {
    fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        Self { settings: settings(backend, folder.path()), source: Source::default(), folder }
    }

    async fn try_open(&self) -> Result<Gateway, Error> {
        let keyring = KeyringSource::File { path: self.folder.path().join("root.key"), managed: true };
        Gateway::open(self.settings.clone(), keyring, shipped_policy(), self.source.clone()).await
    }

    async fn open(&self) -> Gateway {
        self.try_open().await.expect("the gateway opens")
    }

    /// Opens a log, lets it grow by `leaves` beyond what every start appends, publishes, leaves it.
    async fn lived(&self, leaves: usize) -> u64 {
        let house = self.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        grow(&house, leaves).await;
        house.note_stop().await.expect("stop");
        let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
        house.close();
        size
    }

    async fn refusal(&self) -> (u8, String) {
        match self.try_open().await {
            Err(Error::LogRefused { exit, what }) => (exit, what),
            Err(other) => panic!("refused for another reason: {other:?}"),
            Ok(_) => panic!("the gateway opened"),
        }
    }

    fn verify(&self) -> Report {
        self.verify_with(Vec::new())
    }

    fn verify_with(&self, checkpoints: Vec<(String, Vec<u8>)>) -> Report {
        let verification = Verification {
            database: self.settings.database.clone(),
            keys: None,
            memory: None,
            checkpoints,
            trust: None,
            maximum_age: None,
            now: self.source.now(),
            business: true,
        };
        verify(&verification, |_, _| {}).expect("verifiable")
    }

    /// The newest checkpoint, as somebody outside saved it.
    fn saved(&self) -> Vec<(String, Vec<u8>)> {
        let memory = std::fs::read_dir(&self.settings.memory).expect("memory");
        memory.map(|entry| ("saved".to_owned(), std::fs::read(entry.expect("entry").path()).expect("note"))).collect()
    }

    /// Changes the data store behind the gateway's back, past its triggers.
    fn tamper(&self, sql: &str) {
        tamper(&self.settings.database, sql);
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
async fn grow(house: &Gateway, leaves: usize) {
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
        log.source.shift(-600);
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

on_both! {
    async fn every_entry_is_proved_to_a_stranger(log: TestLog) {
        let house = log.open().await;
        grow(&house, 300).await;
        assert!(matches!(house.prove_entry(Wanted::Position(0)).await, Err(Error::Pending { .. })), "nothing is published");
        let published = house.publish_once().await.expect("published").expect("a checkpoint");
        let trust = Trust::parse(&format!("log {}\nquorum none\n", house.log_verifier().expect("key"))).expect("trust");
        for seq in [0, 1, 255, 256, published.size - 1] {
            let text = house.prove_entry(Wanted::Position(seq)).await.expect("proof").to_string();
            let report = verify_proof(&text, Some(&trust), None, log.source.now());
            assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
            let forged = text.replacen(&format!("index {seq}\n"), &format!("index {}\n", seq + 2), 1);
            assert_eq!(verify_proof(&forged, Some(&trust), None, log.source.now()).exit, 40);
        }
        grow(&house, 100).await;
        let newest = published.size;
        assert!(matches!(house.prove_entry(Wanted::Position(newest)).await, Err(Error::Pending { .. })), "not covered yet");
        let entry = house.entry(Wanted::Position(newest)).await.expect("rendered");
        assert_eq!((entry["event"].as_str(), entry["standing"].as_str()), (Some("log.heartbeat"), Some("claimed")));
        let later = house.publish_once().await.expect("published").expect("a checkpoint");
        let proof = house.prove_consistency(newest, later.size).await.expect("proof");
        assert!(house.prove_consistency(newest, later.size + 1).await.is_err());
        let hashes: Vec<[u8; 32]> =
            proof.hashes.iter().map(|hash| data_encoding::BASE64.decode(hash.as_bytes()).expect("hash").try_into().expect("hash")).collect();
        let root = |note: &str| Checkpoint::parse(Note::parse(note.as_bytes()).expect("note").text).expect("checkpoint").root;
        verify_consistency(newest, &root(&published.note), later.size, &root(&later.note), &hashes).expect("consistent");
        house.close();
    }

    async fn tiles_give_the_published_root(log: TestLog) {
        let house = log.open().await;
        grow(&house, 600).await;
        let published = house.publish_once().await.expect("published").expect("a checkpoint");
        grow(&house, 200).await;
        let mut frontier = Frontier::new();
        for index in 0..=published.size / 256 {
            let width = (published.size - index * 256).min(256);
            let path = |kind: &str| match width {
                256 => format!("tile/{kind}/{index:03}"),
                width => format!("tile/{kind}/{index:03}.p/{width}"),
            };
            let hashes = house.tile(&path("0")).await.expect("tile");
            let bundle = house.tile(&path("entries")).await.expect("bundle");
            let leaves = read_entries(&bundle).expect("entries");
            assert_eq!((hashes.len(), leaves.len() as u64), (width as usize * 32, width));
            for (hash, leaf) in hashes.as_chunks::<32>().0.iter().zip(leaves) {
                assert_eq!(*hash, leaf_hash(leaf));
                frontier.append(hash);
            }
        }
        let said = Checkpoint::parse(Note::parse(published.note.as_bytes()).expect("note").text).expect("checkpoint");
        assert_eq!((frontier.size(), frontier.root()), (said.size, said.root));
        assert_eq!(house.tile("tile/1/000.p/2").await.expect("tile").len(), 64);
        let beyond = published.size % 256 + 1;
        for path in [format!("tile/0/002.p/{beyond}"), "tile/0/002".to_owned(), "tile/1/000.p/3".to_owned(), "tile/0/1".to_owned()] {
            assert!(matches!(house.tile(&path).await, Err(Error::NotFound)), "{path}");
        }
        house.close();
    }

    async fn the_publisher_signs_beats_and_stops(log: TestLog) {
        let mut log = log;
        log.settings.checkpoint_every = Duration::from_millis(100);
        log.settings.heartbeat_every = Duration::from_secs(60);
        let house = log.open().await;
        house.publish_once().await.expect("published");
        let size = house.published().expect("published").size;
        log.source.shift(61);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let publisher = tokio::spawn({
            let house = house.clone();
            async move { house.run_publisher(stopped).await }
        });
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if house.published().expect("published").size > size {
                break;
            }
        }
        assert!(house.published().expect("published").size > size, "the heartbeat was appended and published");
        stop.send_replace(true);
        publisher.await.expect("ended").expect("in order");
        house.close();
    }
}

both! {
    async fn the_log_is_public_and_its_entries_are_not(gateway: TestGateway) {
        gateway.house.publish_once().await.expect("published");
        let get = |path: &'static str| gateway.client.get(format!("{}{path}", gateway.url)).send();
        let answer = get("/log/checkpoint").await.expect("answer");
        assert_eq!((answer.status().as_u16(), answer.headers()["cache-control"].to_str().expect("text")), (200, "max-age=1"));
        assert!(answer.text().await.expect("note").starts_with("amanat.test/log\n"));
        assert_eq!(get("/log/tile/0/000.p/1").await.expect("answer").status(), 200);
        assert_eq!(get("/log/tile/entries/000.p/1").await.expect("answer").status(), 404);
        assert_eq!(get("/v1/audit/entries").await.expect("answer").status(), 401);

        let (_, token) = gateway.house.add_token("auditor", &[Scope::AuditRead], None, None).await.expect("token");
        let ask = |path: &'static str| gateway.call(&token, reqwest::Method::GET, path, None);
        let (status, page) = ask("/v1/audit/entries?limit=1").await;
        assert_eq!((status, page["entries"][0]["event"].as_str(), page["next"].as_u64()), (200, Some("log.opened"), Some(0)), "{page}");
        let (status, entry) = ask("/v1/audit/entries/0").await;
        assert_eq!((status, entry["parts"][0]["state"].as_str()), (200, Some("sealed")), "{entry}");
        let (status, proof) = ask("/v1/audit/entries/0/proof").await;
        assert!(status == 200 && proof.as_str().expect("text").starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");
        let (status, problem) = ask("/v1/audit/consistency?from=3&to=1").await;
        assert!((400..500).contains(&status), "{problem}");
        assert_eq!(ask("/v1/audit/status").await.0, 200);
        assert_eq!(ask("/log/tile/entries/000.p/1").await.0, 200);
    }
}

fn leaf(log: &TestLog, seq: u64) -> Vec<u8> {
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
