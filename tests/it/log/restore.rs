//! The way back after an older copy was put in place: the missing leaves come from the mirror, nobody who
//! was erased returns, and no *no* is lost. (Attacks 10, 17, 22, 34.)

use std::path::Path;

use amanat::audit::leaf::Cause;
use amanat::audit::trust::Trust;
use amanat::domain::collected::{Collected, CollectedKind, Narrowing, RawIdentifier};
use amanat::domain::id::{CollectorId, FieldPath, SubjectId};
use amanat::domain::identifier::IdentifierKind;
use amanat::domain::personal::Personal;
use amanat::domain::subject_request::RequestKind;
use amanat::gateway::consent::{Act, Action, Actor, Choice, Consented, Interaction};
use amanat::gateway::restore::{self, Restored};
use amanat::gateway::subject_request::{Asked, AskedIdentifier, Opener};
use amanat::gateway::verify::{Verification, verify};
use amanat::gateway::{Error, Gateway, KeyringSource};

use crate::harness::process::Installed;
use crate::harness::snapshot::Snapshot;
use crate::harness::store::Store;
use crate::harness::{Backend, shipped_policy};

use super::mirror::mirrored;
use super::{TestLog, faults, grow, run};

/// A purpose on legitimate interests: allowed until somebody objects.
const INTERESTS: &str = "product_analytics";

impl TestLog {
    async fn restored(&self, mirror: &Path) -> Result<Restored, Error> {
        let keyring = KeyringSource::File { path: self.folder.path().join("root.key"), managed: true };
        let (settings, source) = (self.settings.clone(), self.source.clone());
        restore::from_mirror(settings, keyring, shipped_policy(), source, mirror, |_, _| {}).await
    }

    async fn restore_refusal(&self, mirror: &Path) -> (u8, String) {
        let checked = restore::check(&self.settings, mirror, |_, _| {});
        let carried_out = self.restored(mirror).await;
        match (checked, carried_out) {
            (Err(Error::LogRefused { exit: checked, .. }), Err(Error::LogRefused { exit, what })) => {
                assert_eq!(checked, exit, "{what}");
                (exit, what)
            }
            (checked, carried_out) => panic!("not refused: {checked:?} {carried_out:?}"),
        }
    }

    /// Everything that the data store holds of the log.
    fn state(&self) -> String {
        let mut store = Store::open(&self.settings.database);
        let head = "SELECT CAST(size AS text) || ' ' || CAST(epoch AS text) AS value FROM audit_log";
        let hash = if store.is_sqlite() { "hex(hash)" } else { "encode(hash, 'hex')" };
        let mut lines = store.column(head);
        lines.extend(store.column(&format!("SELECT {hash} AS value FROM audit_leaf ORDER BY seq")));
        lines.push(format!("{:?}", store.counts()));
        lines.join("\n")
    }

    /// Opens, does something, publishes, mirrors, leaves.
    async fn session<T>(&self, work: impl AsyncFnOnce(&Gateway) -> T) -> T {
        let house = self.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        let done = work(&house).await;
        house.note_stop().await.expect("stop");
        house.publish_once().await.expect("published");
        mirrored(&house).await;
        house.close();
        done
    }
}

fn identifier(person: &str) -> RawIdentifier {
    RawIdentifier {
        kind: IdentifierKind::UserId,
        namespace: String::new(),
        text: Personal::new(person.to_owned()),
        pointer: "/userId",
    }
}

/// Somebody with an address is met.
async fn meet(house: &Gateway, person: &str) {
    let email = serde_json::Value::from(format!("{person}@example.org")).to_string();
    let event = Collected {
        kind: CollectedKind::Identify,
        index: 0,
        message_id: Some(Personal::new(format!("m-{person}"))),
        content_hash: [7; 32],
        occurred_at: house.source.now(),
        has_time: true,
        identifiers: vec![identifier(person)],
        previous: None,
        values: vec![(FieldPath::new("traits.email"), Personal::new(email))],
        undeclared: Vec::new(),
        signals: Vec::new(),
        narrowing: Narrowing::default(),
        purposes: None,
        consent_record: None,
    };
    let now = house.source.now();
    let collection = house.collect(&CollectorId::new("shop-server"), vec![event], now).await.expect("collected");
    assert_eq!(collection.verdicts, vec![amanat::gateway::collect::Verdict::Accepted]);
}

async fn object(house: &Gateway, person: &str, purpose: &str) {
    let (_, text) = house.add_collector_key(&CollectorId::new("shop-server"), "test").await.expect("key");
    let collector = house.collector_of(&text).expect("collector");
    let caller = house.consent_collector(&collector).expect("caller");
    let interaction = Interaction {
        identifiers: vec![identifier(person)],
        actor: Actor::default(),
        notice: None,
        choices: vec![Choice { purpose: purpose.to_owned(), channel: None, action: Action::Object }],
        act: Act::default(),
    };
    let consented = house.consent(&caller, &interaction, None).await.expect("recorded");
    assert!(matches!(consented, Consented::Recorded { .. }), "{consented:?}");
}

async fn erase(house: &Gateway, person: &str) {
    let asked = Asked {
        kinds: vec![RequestKind::Erasure],
        identifiers: vec![AskedIdentifier {
            kind: IdentifierKind::Email,
            namespace: String::new(),
            text: Personal::new(format!("{person}@example.org")),
        }],
        language: None,
        message: None,
    };
    let case = house.open_case(asked, Opener::Operator).await.expect("a case");
    house.carry_out_case(case.case.id).await.expect("erased");
}

/// Everybody in the data store, in the order they were met.
fn subjects(log: &TestLog) -> Vec<SubjectId> {
    let mut store = Store::open(&log.settings.database);
    let id = if store.is_sqlite() { "lower(hex(id))" } else { "replace(id::text, '-', '')" };
    let found = store.column(&format!("SELECT {id} AS value FROM subject ORDER BY created_at"));
    let of = |text: String| {
        SubjectId::from_bytes(data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hex").try_into().expect("id"))
    };
    found.into_iter().map(of).collect()
}

async fn denies(house: &Gateway, subject: SubjectId, purpose: &str) -> bool {
    let person = house.person_now(subject).await.expect("readable").expect("a person");
    let lines = person.lines.iter().filter(|line| line.purpose.as_str() == purpose);
    let policy = house.policy();
    lines.map(|line| line.ruled(&policy.policy, true)).any(|line| line.line.ruling.is_denied())
}

on_both! {
    async fn an_older_copy_comes_forward_from_the_mirror(log: TestLog) {
        let mut log = log;
        let place = log.with_mirror();
        log.session(async |house| { grow(house, 300).await; meet(house, "bert").await; }).await;
        let older = Snapshot::of(&log.settings.database);
        log.session(async |house| { meet(house, "cora").await; grow(house, 700).await; }).await;
        let saved = log.saved();
        let whole = log.state().lines().filter(|line| line.len() == 64).map(str::to_owned).collect::<Vec<_>>();

        older.put_back();
        assert_eq!(log.refusal().await.0, 30);
        let before = log.state();
        let told = restore::check(&log.settings, &place, |_, _| {}).expect("checked");
        assert_eq!(log.state(), before, "--check changes nothing");
        assert_eq!(log.refusal().await.0, 30);
        assert!(told.to - told.from > 700 && told.leaves["record.collected"].rows_lost == 1, "{told:?}");

        let restored = log.restored(&place).await.expect("restored");
        assert_eq!((restored.from, restored.to, &restored.leaves), (told.from, told.to, &told.leaves));
        let now = log.state();
        let hashes: Vec<&str> = now.lines().filter(|line| line.len() == 64).collect();
        assert_eq!(hashes[..whole.len()], whole.iter().map(String::as_str).collect::<Vec<_>>(), "the same leaves again");
        let report = log.verify_with(saved);
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
        // And the same log goes on.
        log.session(async |house| { meet(house, "dora").await; }).await;
        let report = log.verify_with(log.saved());
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
        let again = log.restored(&place).await.expect("restored");
        assert_eq!(again.from, again.to, "nothing is missing any more");
    }

    async fn a_copy_from_before_a_key_rotation_comes_forward(log: TestLog) {
        let mut log = log;
        let place = log.with_mirror();
        log.session(async |house| grow(house, 300).await).await;
        let older = Snapshot::of(&log.settings.database);
        let patience = std::time::Duration::from_secs(5);
        let rotated = log
            .session(async |house| {
                grow(house, 100).await;
                let rotated = house.rotate_log_key(Cause::Planned, patience).await.expect("rotated");
                grow(house, 100).await;
                rotated
            })
            .await;
        let saved = log.saved();
        older.put_back();
        assert_eq!(log.refusal().await.0, 30);
        log.restored(&place).await.expect("restored");
        log.session(async |house| {
            assert_eq!(house.log_verifier().expect("key"), rotated.keys.next);
            grow(house, 10).await;
        })
        .await;
        let report = log.verify_with(saved);
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
        for key in [rotated.keys.current, rotated.keys.next] {
            let trust = Trust::parse(&format!("log {key}\nquorum none\n")).expect("trust");
            let report = verify(&Verification { trust: Some(trust), ..log.verification() }, |_, _| {}).expect("verifiable");
            assert_eq!((report.exit, faults(&report)), (10, vec![]), "{key}: {report:?}");
        }
    }

    async fn a_mirror_with_one_wrong_byte_changes_nothing(log: TestLog) {
        let mut log = log;
        let place = log.with_mirror();
        log.session(async |house| grow(house, 300).await).await;
        let older = Snapshot::of(&log.settings.database);
        log.session(async |house| grow(house, 600).await).await;
        older.put_back();
        let before = log.state();
        let wrong: [(&str, usize); 3] = [("tile/entries/002", 5_000), ("tile/entries/001", 65_000), ("checkpoint", 40)];
        for (file, at) in wrong {
            let path = place.join(file);
            let sound = std::fs::read(&path).expect("file");
            let mut bytes = sound.clone();
            let at = at.min(bytes.len() - 100);
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).expect("written");
            match restore::check(&log.settings, &place, |_, _| {}) {
                Err(Error::LogRefused { exit, what }) => assert!(exit == 40 || exit == 30, "{file}: {exit} {what}"),
                other => panic!("{file}: {other:?}"),
            }
            log.restored(&place).await.expect_err("refused");
            assert_eq!(log.state(), before, "{file}");
            std::fs::write(&path, &sound).expect("written");
        }
        // With its hashes repaired the altered entry is found all the same.
        let path = place.join("tile/entries/002");
        let sound = std::fs::read(&path).expect("file");
        let mut bytes = sound.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        std::fs::remove_file(place.join("tile/0/002")).expect("removed");
        assert_eq!(log.restore_refusal(&place).await.0, 40);
        assert_eq!(log.state(), before);
        std::fs::write(&path, &sound).expect("written");
        log.restored(&place).await.expect("restored");
    }

    async fn a_mirror_that_does_not_reach_what_was_signed_is_refused(log: TestLog) {
        let mut log = log;
        let place = log.with_mirror();
        log.session(async |house| grow(house, 300).await).await;
        let older = Snapshot::of(&log.settings.database);
        log.session(async |house| grow(house, 100).await).await;
        log.settings.mirror = None;
        log.lived(20).await;
        older.put_back();
        let before = log.state();
        let (exit, what) = log.restore_refusal(&place).await;
        assert_eq!(exit, 30);
        assert!(what.contains("the mirror holds"), "{what}");
        assert_eq!(log.state(), before);
    }

    async fn a_copy_that_went_on_by_itself_is_apart(log: TestLog) {
        let mut log = log;
        let place = log.with_mirror();
        log.session(async |house| grow(house, 300).await).await;
        let (older, older_keys) = (Snapshot::of(&log.settings.database), Snapshot::of(&log.settings.keys));
        log.session(async |house| grow(house, 100).await).await;
        let (signed, memory) = (Snapshot::of(&log.settings.keys), log.saved());
        // Everything that remembers is put back, and the copy goes on.
        older.put_back();
        older_keys.put_back();
        std::fs::remove_dir_all(&log.settings.memory).expect("removed");
        log.settings.mirror = None;
        log.lived(10).await;
        // Then what remembers is found again.
        signed.put_back();
        assert!(!memory.is_empty());
        let before = log.state();
        let (exit, what) = log.restore_refusal(&place).await;
        assert_eq!(exit, 30);
        assert!(what.starts_with("fork"), "{what}");
        assert_eq!(log.state(), before);
    }

    async fn nobody_returns_with_both_stores_and_no_no_is_lost(log: TestLog) {
        nobody_returns(log, Lost::DataAndKeys).await;
    }

    async fn nobody_returns_with_the_data_alone_and_no_no_is_lost(log: TestLog) {
        nobody_returns(log, Lost::Data).await;
    }
}

/// What was lost, and put back from an older copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Data,
    DataAndKeys,
}

/// The journal, the memory and the mirror are kept.
async fn nobody_returns(mut log: TestLog, lost: Lost) {
    let place = log.with_mirror();
    log.session(async |house| {
        for person in ["anna", "bert", "cora"] {
            meet(house, person).await;
        }
    })
    .await;
    let [anna, bert, cora] = subjects(&log)[..] else { panic!("three people") };
    let (data, key_store) = (Snapshot::of(&log.settings.database), Snapshot::of(&log.settings.keys));
    log.session(async |house| {
        erase(house, "anna").await;
        object(house, "bert", INTERESTS).await;
        meet(house, "dora").await;
        object(house, "dora", INTERESTS).await;
        assert!(denies(house, bert, INTERESTS).await);
    })
    .await;
    let saved = log.saved();

    data.put_back();
    if lost == Lost::DataAndKeys {
        key_store.put_back();
        assert_eq!(keys_of(&log, anna), 3, "anna's keys are back");
    }
    assert_eq!(log.refusal().await.0, 30);
    let told = restore::check(&log.settings, &place, |_, _| {}).expect("checked");
    assert_eq!((told.stops["erasure"], told.stops["objection"]), (1, 2), "{told:?}");
    let restored = log.restored(&place).await.expect("restored");
    assert_eq!((restored.erased_again, restored.of_nobody), (1, 1), "{restored:?}");
    assert!(restored.stopped_again >= 1, "{restored:?}");

    assert_eq!(subjects(&log), vec![bert, cora], "anna is gone again, dora was never in the copy");
    assert_eq!(keys_of(&log, anna), 0);
    let mut store = Store::open(&log.settings.database);
    let of_anna = sql_of(&store, anna);
    assert_eq!(store.number(&format!("SELECT count(*) FROM record WHERE subject = {of_anna}")), 0);
    assert!(store.number("SELECT count(*) FROM audit_leaf WHERE event = 703") >= 1);
    assert_eq!(store.number("SELECT count(*) FROM audit_leaf WHERE event = 823"), 1);
    let house = log.open().await;
    assert!(denies(&house, bert, INTERESTS).await, "the objection stays in force");
    assert!(!denies(&house, cora, INTERESTS).await, "nobody else is stopped");
    assert_eq!(house.replay_erasures().await.expect("replayed"), 0);
    house.close();
    let report = log.verify_with(saved);
    assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
}

fn sql_of(store: &Store, subject: SubjectId) -> String {
    if store.is_sqlite() {
        format!("x'{}'", data_encoding::HEXLOWER.encode(subject.as_bytes()))
    } else {
        format!("'{subject}'::uuid")
    }
}

/// How many keys of somebody live.
fn keys_of(log: &TestLog, subject: SubjectId) -> i64 {
    let mut store = Store::open(&log.settings.keys);
    let subject = sql_of(&store, subject);
    store.number(&format!(
        "(SELECT count(*) FROM subject_key WHERE subject = {subject}) + (SELECT count(*) FROM audit_key WHERE holder = {subject})"
    ))
}

/// Killed at each of these places, nothing is half: the gateway stays out, and the same command goes on.
#[test]
fn a_restore_that_is_killed_goes_on_where_it_was() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let mut log = TestLog::new(Backend::Sqlite);
    let place = log.with_mirror();
    let (data, saved) = runtime.block_on(async {
        log.session(async |house| meet(house, "bert").await).await;
        let data = Snapshot::of(&log.settings.database);
        log.session(async |house| {
            object(house, "bert", INTERESTS).await;
            grow(house, 2_500).await;
        })
        .await;
        (data, log.saved())
    });
    let folder = log.folder.path();
    let (database, keys) = (folder.join("amanat.db"), folder.join("keys.db"));
    let mut gateway =
        Installed::new(folder, &format!("sqlite:{}", database.display()), &format!("sqlite:{}", keys.display()));
    gateway.set("audit.memory", &log.settings.memory.display().to_string());
    gateway.set("journal.places", &log.settings.journal[0].display().to_string());
    let mirror = place.display().to_string();
    let command = ["restore", "--mirror", &mirror];
    data.put_back();
    for failpoint in ["restore.leaves:1", "restore.leaves:2", "restore.stopped", "restore.told"] {
        let (code, said) = gateway.run_to_end_at(failpoint, &command);
        assert_eq!(code, -1, "{failpoint}: killed by itself: {said}");
        if failpoint != "restore.told" {
            let (code, said) = gateway.run(&["serve"]);
            assert_eq!(code, 30, "{failpoint}: {said}");
        }
    }
    let (code, said) = gateway.run(&["restore", "--mirror", &mirror, "--json"]);
    assert_eq!(code, 0, "{said}");
    let mut store = Store::open(&log.settings.database);
    let told =
        store.column("SELECT CAST(event AS text) AS value FROM audit_leaf WHERE event NOT IN (101) ORDER BY seq");
    assert_eq!(told.iter().filter(|event| *event == "823").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|event| *event == "310").count(), 2, "brought back, and made again once: {told:?}");
    let [bert] = subjects(&log)[..] else { panic!("one person") };
    runtime.block_on(async {
        let house = log.open().await;
        assert!(denies(&house, bert, INTERESTS).await);
        house.close();
        let report = log.verify_with(saved);
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
    });
}
