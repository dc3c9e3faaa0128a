//! The root key and what becomes of a house without it, with another one, and while it changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::audit::leaf::Cause;
use crate::domain::collected::{Collected, CollectedKind, Narrowing, RawIdentifier};
use crate::domain::id::{CollectorId, FieldPath, SubjectId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;
use crate::gateway::collect::Verdict;
use crate::gateway::source::Source;
use crate::gateway::{Error, Gateway, KeyringSource, Settings};
use crate::policy::Files;
use crate::storage::Location;

use super::{Epochs, Rotation};

pub(in crate::gateway) struct House {
    folder: tempfile::TempDir,
    pub(in crate::gateway) source: Source,
}

impl House {
    pub(in crate::gateway) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), source: Source::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root.key")
    }

    pub(in crate::gateway) async fn open(&self) -> Result<Gateway, Error> {
        self.open_with(true).await
    }

    async fn open_with(&self, managed: bool) -> Result<Gateway, Error> {
        let settings = Settings {
            database: Location::Sqlite(self.path("data.db")),
            keys: Location::Sqlite(self.path("keys.db")),
            readers: 4,
            batch_units: 64,
            queue: 256,
            public_url: "http://127.0.0.1".to_owned(),
            origin: None,
            memory: self.path("memory"),
            mirror: None,
            journal: vec![self.path("journal")],
            key_life: Duration::from_secs(30),
            checkpoint_every: Duration::from_secs(1),
            heartbeat_every: Duration::from_secs(3600),
            anchors: Vec::new(),
            trust: crate::gateway::witness::TrustSettings::default(),
            delivery_time_limit: Duration::from_secs(1),
            delivery_lease: Duration::from_secs(2),
            public_entries: false,
            stated_age_days: Some(35),
            config_digest: [7; 32],
            observe: Arc::new(|_, _, _| {}),
        };
        let keyring = KeyringSource::File { path: self.root(), managed };
        Gateway::open(settings, keyring, policy(), self.source.clone()).await
    }

    fn sql(&self, store: &str, script: &str) {
        Location::Sqlite(self.path(store)).connect().unwrap().execute_script(script).unwrap();
    }

    fn rotation(&self) -> Rotation {
        Rotation { copies: vec![self.path("copy.key")], cause: Cause::Planned, patience: Duration::from_secs(2) }
    }
}

fn policy() -> Files {
    fn read(folder: &Path, prefix: &str, files: &mut Files) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                read(&entry.path(), &format!("{path}/"), files);
            } else {
                files.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut files = Files::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), "", &mut files);
    files
}

pub(in crate::gateway) fn event(person: usize, number: usize, now: jiff::Timestamp) -> Collected {
    Collected {
        kind: CollectedKind::Identify,
        index: 0,
        message_id: Some(Personal::new(format!("m-{person}-{number}"))),
        content_hash: [1; 32],
        occurred_at: now,
        has_time: true,
        identifiers: vec![RawIdentifier {
            kind: IdentifierKind::UserId,
            namespace: String::new(),
            text: Personal::new(format!("user-{person}-x")),
            pointer: "/userId",
        }],
        previous: None,
        values: vec![(FieldPath::new("traits.name"), Personal::new("\"Kanarienvogel\"".to_owned()))],
        undeclared: Vec::new(),
        signals: Vec::new(),
        narrowing: Narrowing::default(),
        purposes: None,
        consent_record: None,
    }
}

async fn collect(house: &Gateway, person: usize, number: usize) -> Result<(), Error> {
    let now = house.source.now();
    let collection = house.collect(&CollectorId::new("shop-server"), vec![event(person, number, now)], now).await?;
    assert_eq!(collection.verdicts, [Verdict::Accepted]);
    Ok(())
}

/// Whether everybody's keys open, from the store and not from memory.
async fn unreadable(house: &Gateway) -> Vec<SubjectId> {
    let rows = house
        .keyholder
        .store()
        .read(|c| crate::storage::keys::subject_key_page(c, crate::storage::Id16([0; 16]), 10_000))
        .await
        .unwrap();
    let mut bad = Vec::new();
    for row in rows {
        let subject = SubjectId::from_bytes(row.subject.0);
        house.keyholder.evict(subject);
        let mut connection = house.keyholder.store().reader().unwrap();
        if house.keyholder.person_blocking(&mut connection, subject, row.version).is_err() {
            bad.push(subject);
        }
    }
    bad
}

fn message(error: Result<Gateway, Error>) -> String {
    match error {
        Ok(_) => panic!("the house opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_loses_nothing_while_events_come_in() {
    let place = House::new();
    let house = place.open().await.unwrap();
    for person in 0..40 {
        collect(&house, person, 0).await.unwrap();
    }
    let collecting = {
        let house = house.clone();
        tokio::spawn(async move {
            for person in 40..120 {
                collect(&house, person, 0).await.unwrap();
                collect(&house, person % 40, person).await.unwrap();
            }
        })
    };
    let before = fs::read(place.root()).unwrap();
    let rotated = house.rotate_root_key(&place.rotation(), |_| {}).await.unwrap();
    collecting.await.unwrap();
    assert_eq!((rotated.from, rotated.to, rotated.unreadable), (1, 2, 0));
    assert!(rotated.rewrapped >= 40 * 3 + 8 + 3, "{rotated:?}");
    assert_eq!(house.rewrap(&place.rotation(), |_| {}).await.unwrap().map(|again| again.unreadable).unwrap_or(0), 0);
    assert_eq!(unreadable(&house).await, []);

    let status = house.key_status(&[place.path("copy.key")], 7).await.unwrap();
    let states: Vec<(u32, &str, i64)> =
        status.versions.iter().map(|v| (v.version, v.state.as_str(), v.wraps)).collect();
    assert_eq!(states[0], (1, "retired", 0));
    assert_eq!((states[1].0, states[1].1), (2, "active"));
    assert!(status.job.is_none());
    assert!(
        matches!(&status.epochs, Epochs::On { faulty_copies, .. } if faulty_copies.is_empty()),
        "{:?}",
        status.epochs
    );
    assert!(matches!(house.key_status(&[], 7).await.unwrap().epochs, Epochs::Off { .. }));
    house.close();

    // The file is whole, private, and equal to its copy.
    assert_eq!(fs::metadata(place.root()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(place.root()).unwrap(), fs::read(place.path("copy.key")).unwrap());
    let house = place.open().await.unwrap();
    assert_eq!(house.keyholder.keyring().active(), 2);
    collect(&house, 3, 999).await.unwrap();
    assert_eq!(unreadable(&house).await, []);
    house.close();

    // Whoever brings back the file from before the rotation is told what it lacks.
    fs::write(place.root(), before).unwrap();
    let said = message(place.open().await);
    assert!(said.contains("version 2 is missing") && said.contains("keys are still wrapped"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_was_killed_goes_on() {
    let place = House::new();
    let house = place.open().await.unwrap();
    for person in 0..30 {
        collect(&house, person, 0).await.unwrap();
    }
    // Killed at each point where it tells how far it is.
    for stop_at in 1..4 {
        let calls = Arc::new(AtomicUsize::new(0));
        let (killed, at) = tokio::sync::oneshot::channel();
        let killed = std::sync::Mutex::new(Some(killed));
        let rotation = place.rotation();
        let counting = Arc::clone(&calls);
        let work = house.rotate_root_key(&rotation, move |_| {
            if counting.fetch_add(1, Ordering::SeqCst) + 1 == stop_at
                && let Some(killed) = killed.lock().unwrap().take()
            {
                killed.send(()).unwrap();
            }
        });
        tokio::select! {
            biased;
            _ = at => {}
            done = work => { done.unwrap(); }
        }
        assert_eq!(unreadable(&house).await, []);
    }
    house.close();

    // Another process finds the job; the lease of the dead one keeps it away for a while.
    let house = place.open().await.unwrap();
    let open = house.key_status(&[], 7).await.unwrap().job;
    if open.as_ref().is_some_and(|job| job.worked_at) {
        let refused = house.rewrap(&place.rotation(), |_| {}).await;
        assert!(matches!(refused, Err(Error::WrongState(_))), "{refused:?}");
        place.source.shift(30);
        house.rewrap(&place.rotation(), |_| {}).await.unwrap();
    }
    assert_eq!(unreadable(&house).await, []);
    let status = house.key_status(&[], 7).await.unwrap();
    assert!(status.job.is_none());
    assert!(
        status.versions.iter().filter(|version| version.state != "active").all(|version| version.wraps == 0),
        "{status:?}"
    );
    house.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_follows_and_is_waited_for() {
    let place = House::new();
    let one = place.open().await.unwrap();
    let other = place.open().await.unwrap();
    collect(&one, 1, 0).await.unwrap();
    other.follow_root_keys().await.unwrap();
    // It is alive and does not follow: the new version is staged and not used.
    let mut impatient = place.rotation();
    impatient.patience = Duration::from_millis(300);
    assert!(matches!(one.rotate_root_key(&impatient, |_| {}).await, Err(Error::WrongState(_))));
    assert_eq!(one.keyholder.keyring().active(), 1);
    // While it works at it, nobody else does.
    assert!(matches!(other.rotate_root_key(&place.rotation(), |_| {}).await, Err(Error::WrongState(_))));
    let following = {
        let other = other.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                other.follow_root_keys().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    let rotated = one.rotate_root_key(&place.rotation(), |_| {}).await.unwrap();
    assert_eq!((rotated.from, rotated.to), (1, 2));
    following.await.unwrap();
    assert_eq!(other.keyholder.keyring().active(), 2);
    collect(&other, 2, 0).await.unwrap();
    assert_eq!(unreadable(&one).await, []);
    assert_eq!(unreadable(&other).await, []);
    one.close();
    other.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_foreign_root_key_refuses_and_changes_nothing() {
    let place = House::new();
    let house = place.open().await.unwrap();
    collect(&house, 1, 0).await.unwrap();
    house.close();
    let kept = fs::read(place.root()).unwrap();

    fs::remove_file(place.root()).unwrap();
    let said = message(place.open().await);
    assert!(said.contains("root.key does not exist") && said.contains("copy"), "{said}");
    assert!(!place.root().exists(), "a new key was made over a store in use");

    // A link to nothing is a lost file too.
    std::os::unix::fs::symlink(place.path("nowhere"), place.root()).unwrap();
    let said = message(place.open().await);
    assert!(said.contains("cannot read the root key"), "{said}");
    fs::remove_file(place.root()).unwrap();

    let stranger = House::new();
    stranger.open().await.unwrap().close();
    fs::copy(stranger.root(), place.root()).unwrap();
    let said = message(place.open().await);
    assert!(said.contains("version 1 does not belong to this key store"), "{said}");

    let text = String::from_utf8(kept.clone()).unwrap();
    for (wrong, expected) in [
        (text.replace(" active ", " retired "), "exactly one version must be active"),
        (text.replace("amanat_rk_", "amanat_wk_"), "line 3"),
        (text.trim_end().to_owned() + "x\n", "line 3"),
        (String::new(), "exactly one"),
    ] {
        fs::write(place.root(), wrong).unwrap();
        let said = message(place.open().await);
        assert!(said.contains(expected) && said.contains("root.key"), "{said}");
        assert!(!said.contains(text.rsplit('_').next().unwrap().trim()), "the key is in the message");
    }

    fs::write(place.root(), &kept).unwrap();
    for (mode, managed, opens) in [
        (0o600, true, true),
        (0o400, true, true),
        (0o640, true, false),
        (0o604, true, false),
        (0o660, false, false),
        (0o640, false, true),
    ] {
        fs::set_permissions(place.root(), fs::Permissions::from_mode(mode)).unwrap();
        match place.open_with(managed).await {
            Ok(house) => {
                assert!(opens, "mode {mode:o}, managed {managed}");
                house.close();
            }
            Err(error) => assert!(
                !opens && error.to_string().contains("read or written by others"),
                "{mode:o} {managed}: {error}"
            ),
        }
    }

    // Nothing was lost by all this.
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o600)).unwrap();
    let house = place.open().await.unwrap();
    assert_eq!(unreadable(&house).await, []);
    collect(&house, 1, 1).await.unwrap();
    house.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_store_is_not_made_anew() {
    let place = House::new();
    let house = place.open().await.unwrap();
    collect(&house, 1, 0).await.unwrap();
    house.close();
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        if place.path(name).exists() {
            fs::rename(place.path(name), place.path(&format!("aside-{name}"))).unwrap();
        }
    }
    let said = message(place.open().await);
    assert!(said.contains("the key store is empty"), "{said}");
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        drop(fs::remove_file(place.path(name)));
        if place.path(&format!("aside-{name}")).exists() {
            fs::rename(place.path(&format!("aside-{name}")), place.path(name)).unwrap();
        }
    }
    let house = place.open().await.unwrap();
    assert_eq!(unreadable(&house).await, []);
    house.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_and_a_moved_key_cost_only_themselves() {
    let place = House::new();
    let house = place.open().await.unwrap();
    for person in 0..6 {
        collect(&house, person, 0).await.unwrap();
    }
    let rows = house
        .keyholder
        .store()
        .read(|c| crate::storage::keys::subject_key_page(c, crate::storage::Id16([0; 16]), 100))
        .await
        .unwrap();
    let hex = |id: [u8; 16]| data_encoding::HEXLOWER.encode(&id);
    let mut flipped = rows[0].wrapped.clone();
    flipped[40] ^= 1;
    place.sql(
        "keys.db",
        &format!(
            "UPDATE subject_key SET wrapped = x'{}' WHERE subject = x'{}'",
            data_encoding::HEXLOWER.encode(&flipped),
            hex(rows[0].subject.0)
        ),
    );
    // Two people's keys change places.
    for (from, to) in [(1, 2), (2, 1)] {
        place.sql(
            "keys.db",
            &format!(
                "UPDATE subject_key SET wrapped = x'{}' WHERE subject = x'{}'",
                data_encoding::HEXLOWER.encode(&rows[from].wrapped),
                hex(rows[to].subject.0)
            ),
        );
    }
    let expected: Vec<SubjectId> = rows[..3].iter().map(|row| SubjectId::from_bytes(row.subject.0)).collect();
    assert_eq!(unreadable(&house).await, expected);
    let mut connection = house.keyholder.store().reader().unwrap();
    for subject in &expected {
        let error = house.keyholder.person_blocking(&mut connection, *subject, 1).err().unwrap();
        assert!(matches!(error, Error::DataUnreadable(_)), "{error:?}");
    }
    drop(connection);

    // A rotation leaves them where they are, says how many, and does the rest.
    let rotated = house.rotate_root_key(&place.rotation(), |_| {}).await.unwrap();
    assert_eq!(rotated.unreadable, 3);
    assert_eq!(unreadable(&house).await, expected);
    let status = house.key_status(&[], 7).await.unwrap();
    assert_eq!((status.versions[0].wraps, status.versions[0].state.as_str()), (3, "retired"));
    // Mended from a backup of the row, it opens again: the old version is still there.
    place.sql(
        "keys.db",
        &format!(
            "UPDATE subject_key SET wrapped = x'{}' WHERE subject = x'{}'",
            data_encoding::HEXLOWER.encode(&rows[0].wrapped),
            hex(rows[0].subject.0)
        ),
    );
    assert_eq!(unreadable(&house).await, expected[1..]);
    house.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_without_a_person_go_after_a_day() {
    let place = House::new();
    let house = place.open().await.unwrap();
    collect(&house, 1, 0).await.unwrap();
    let nobody = SubjectId::from_bytes([9; 16]);
    let new = house.keyholder.make(nobody, house.source.now()).unwrap();
    house.keyholder.store_new(vec![new]).await.unwrap();
    assert_eq!(house.sweep_keys().await.unwrap(), 0);
    place.source.shift(25 * 3600);
    assert_eq!(house.sweep_keys().await.unwrap(), 1);
    assert_eq!(house.sweep_keys().await.unwrap(), 0);
    assert_eq!(unreadable(&house).await, []);
    let left =
        house.keyholder.store().read(move |c| crate::storage::keys::subject_key(c, nobody.into(), 1)).await.unwrap();
    assert!(left.is_none());
    house.close();
}
