//! Bundles: that they say the same twice, and verify elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use amanat::audit::bundle::{FileHash, Manifest};
use amanat::audit::evidence::Weight;
use amanat::audit::finding::{Code, Position, Report};
use amanat::audit::leaf::leaf_hash;
use amanat::audit::note::{KeyKind, VerifierKey};
use amanat::audit::tile::{put_entry, read_entries};
use amanat::audit::trust::Trust;
use amanat::crypto::signature::certificate::Roots;
use amanat::domain::event::{Event, Outcome, Role};
use amanat::gateway::export::{BundleOrder, Opening, SealedParts, Shown};
use amanat::gateway::prove::{StoredLog, Wanted};
use amanat::gateway::verify::{BundleVerification, notes_of_bundle, verify_bundle};
use amanat::gateway::witness::TrustSettings;
use amanat::gateway::{Error, Gateway};
use amanat::storage::{Step, Unit};
use sha2::{Digest, Sha256};

use crate::harness::process::Installed;
use crate::harness::witness::TestWitness;
use crate::harness::{Backend, files_below};

use super::{TestLog, faults, grow, run};

mod damaged;

/// What is verified, and against what; nothing but the bundle by default.
pub(super) struct Wish<'a> {
    pub(super) trust: Option<&'a Trust>,
    pub(super) checkpoints: Vec<(String, Vec<u8>)>,
    pub(super) against: Option<&'a Path>,
    pub(super) maximum_age: Option<u64>,
}

pub(super) const PLAIN: Wish<'static> = Wish { trust: None, checkpoints: Vec::new(), against: None, maximum_age: None };

fn verify(bundle: &Path) -> Report {
    verify_with(bundle, PLAIN)
}

pub(super) fn verify_with(bundle: &Path, wish: Wish<'_>) -> Report {
    verify_bundle(&verification(bundle, wish), |_, _| {}).expect("the disk gives it")
}

fn verification(bundle: &Path, wish: Wish<'_>) -> BundleVerification {
    BundleVerification {
        bundle: bundle.to_path_buf(),
        against: wish.against.map(Path::to_path_buf),
        checkpoints: wish.checkpoints,
        trust: wish.trust.cloned(),
        anchor_roots: Default::default(),
        maximum_age: wish.maximum_age.map(std::time::Duration::from_secs),
        now: amanat::gateway::source::Source::default().now(),
    }
}

/// With somebody to vouch for the authorities that dated the log.
pub(super) fn verify_dated(bundle: &Path, anchor_roots: Roots) -> Report {
    let wanted = BundleVerification { anchor_roots, ..verification(bundle, PLAIN) };
    verify_bundle(&wanted, |_, _| {}).expect("the disk gives it")
}

/// Leaves with a sealed part each.
async fn grow_sealed(house: &Gateway, leaves: usize) {
    let payload = amanat::audit::payload::Payload::default();
    let leaf = |_| house.installation_leaf(Event::RecordRefused, Outcome::Refused, &payload, Vec::new()).expect("leaf");
    let rows = (0..leaves).map(leaf).collect();
    house.database.write(Unit::change(Vec::new(), rows, |_, _| Ok(Step::Commit))).await.expect("appended");
}

/// The bundle of a log that nobody works on.
pub(super) fn export(log: &TestLog, name: &str, order: &BundleOrder) -> PathBuf {
    let out = log.folder.path().join(name);
    let mut stored = StoredLog::open(&log.settings.database).expect("readable");
    stored.export_bundle(order, &out, |_, _| {}).expect("exported");
    out
}

const SEALED: BundleOrder = BundleOrder { from: None, to: None, sealed: SealedParts::Included };

/// A bundle as its files, to be changed and written down again with a list that fits.
pub struct Unpacked(pub BTreeMap<String, Vec<u8>>);

impl Unpacked {
    pub fn read(bundle: &Path) -> Self {
        let bytes = std::fs::read(bundle).expect("bundle");
        let mut files = BTreeMap::new();
        let mut at = 0;
        let number = |at: usize, count: usize| {
            bytes[at..at + count].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
        };
        while bytes[at..].starts_with(b"PK\x03\x04") {
            let (length, name) = (number(at + 18, 4), number(at + 26, 2));
            let path = String::from_utf8(bytes[at + 30..at + 30 + name].to_vec()).expect("name");
            at += 30 + name;
            files.insert(path, bytes[at..at + length].to_vec());
            at += length;
        }
        Self(files)
    }

    /// Writes the files to a folder, with a list of them as they are now.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let mut manifest = Manifest::parse(&self.0["bundle.json"]).expect("list");
        manifest.files = BTreeMap::new();
        for (path, bytes) in self.0.iter().filter(|(path, _)| *path != "bundle.json") {
            manifest.files.insert(path.clone(), FileHash(Sha256::digest(bytes).into()));
        }
        let mut list = Vec::new();
        manifest.write(&mut list).expect("list");
        let folder = tempfile::tempdir_in(folder).expect("folder").keep();
        for (path, bytes) in &self.0 {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
            std::fs::write(path, bytes).expect("file");
        }
        std::fs::write(folder.join("bundle.json"), list).expect("list");
        folder
    }

    fn leaves(&self) -> Vec<Vec<u8>> {
        let tiles = self.0.iter().filter(|(path, _)| path.starts_with("tile/entries/"));
        tiles.flat_map(|(_, bytes)| read_entries(bytes).expect("entries")).map(<[u8]>::to_vec).collect()
    }

    /// Puts other leaves in the place of the entries, the last tile taking what comes too much.
    fn set_leaves(&mut self, leaves: &[Vec<u8>]) {
        let paths: Vec<String> = self.0.keys().filter(|path| path.starts_with("tile/entries/")).cloned().collect();
        let last = paths.len() - 1;
        for (place, path) in paths.into_iter().enumerate() {
            let end = if place == last { leaves.len() } else { (place + 1) * 256 };
            let mut bytes = Vec::new();
            leaves[place * 256..end].iter().for_each(|leaf| put_entry(&mut bytes, leaf).expect("short"));
            self.0.insert(path, bytes);
        }
    }

    /// Makes the hash tiles those of the entries.
    fn repair_hashes(&mut self) {
        let hashes: Vec<[u8; 32]> = self.leaves().iter().map(|leaf| leaf_hash(leaf)).collect();
        let paths: Vec<String> = self.0.keys().filter(|path| path.starts_with("tile/0/")).cloned().collect();
        for (path, hashes) in paths.into_iter().zip(hashes.chunks(256)) {
            self.0.insert(path, hashes.concat());
        }
    }
}

/// A closed log of more than two tiles, and its bundle with sealed parts.
async fn bundled(log: &TestLog) -> PathBuf {
    let house = log.open().await;
    house.note_start(house.start_cause()).await.expect("start");
    grow(&house, 590).await;
    grow_sealed(&house, 20).await;
    house.publish_once().await.expect("published");
    house.close();
    export(log, "evidence.zip", &SEALED)
}

fn at(seq: u64) -> Position {
    Position::Leaf { seq }
}

fn between(from: u64, to: u64) -> Position {
    Position::Between { from, to }
}

fn exit_and_faults(report: &Report) -> (u8, Vec<(Code, Position)>) {
    (report.exit, faults(report))
}

on_both! {
    async fn a_bundle_is_the_same_twice_and_verifies(log: TestLog) {
        let bundle = bundled(&log).await;
        let again = export(&log, "again.zip", &SEALED);
        let (one, two) = (std::fs::read(&bundle).expect("bundle"), std::fs::read(&again).expect("bundle"));
        assert!(one == two, "two exports of one state differ");
        let report = verify(&bundle);
        assert_eq!(exit_and_faults(&report), (10, vec![]), "{report:?}");
        assert_eq!((report.checked, report.size), (report.size, report.size));
        let files = Unpacked::read(&bundle);
        let readme = String::from_utf8(files.0["README.txt"].clone()).expect("UTF-8");
        for word in ["EVIDENCE FROM AN AUDIT LOG", "BEWEIS", "PREUVE", "سجل التدقيق", "دفتر ممیزی"] {
            assert!(readme.contains(word), "{word}");
        }
        assert!(files.0.keys().any(|path| path.starts_with("policy/") && path.ends_with("/purposes.toml")));
        assert_eq!(files.0.keys().filter(|path| path.starts_with("sealed/")).count() as u64, 20 + 3);
        // Unpacked it says the same.
        assert_eq!(verify(&files.write(log.folder.path())), report);

        // With a trust of one's own that asks for nobody, and with one that asks for a witness.
        let claim = String::from_utf8(files.0["trust.txt"].clone()).expect("UTF-8");
        let own = Trust::parse(&claim).expect("trust");
        assert_eq!(verify_with(&bundle, Wish { trust: Some(&own), ..PLAIN }).exit, 10);
        let witness = VerifierKey::new("example.com/w", KeyKind::Cosignature, [2; 32]).expect("key");
        let asking = Trust::parse(&claim.replace("quorum none", &format!("witness w {witness}\nquorum w"))).expect("trust");
        assert_eq!(verify_with(&bundle, Wish { trust: Some(&asking), ..PLAIN }).exit, 50);
    }

    async fn an_export_leaves_a_leaf_and_a_range_verifies(log: TestLog) {
        let house = log.open().await;
        grow(&house, 700).await;
        let out = log.folder.path().join("range.zip");
        let order = BundleOrder { from: Some(300), to: Some(500), sealed: SealedParts::Included };
        let exported = house.export_bundle(order.clone(), Opening::default(), &out, |_, _| {}).await.expect("exported");
        assert_eq!((exported.from, exported.to), (256, 512));
        assert_eq!(<[u8; 32]>::from(Sha256::digest(std::fs::read(&out).expect("bundle"))), exported.digest);
        let told = house.entry(Wanted::Position(exported.size)).await.expect("a leaf");
        assert_eq!((told["event"].as_str(), told["standing"].as_str()), (Some("log.exported"), Some("proved")));
        let digest = data_encoding::HEXLOWER.encode(&exported.digest);
        assert_eq!(told["facts"], serde_json::json!({"digest": digest, "number": 256, "size": exported.size}));
        let report = verify(&out);
        assert_eq!(exit_and_faults(&report), (10, vec![]), "{report:?}");
        assert_eq!((report.checked, report.size), (256, exported.size));

        // Never over what is there, nothing half, and no range that the log does not have.
        let refused = house.export_bundle(order, Opening::default(), &out, |_, _| {}).await;
        assert!(matches!(refused, Err(Error::Unacceptable(_))), "{refused:?}");
        for (from, to) in [(5, Some(2)), (0, Some(1_000_000))] {
            let order = BundleOrder { from: Some(from), to, sealed: SealedParts::Left };
            let none = log.folder.path().join("none.zip");
            assert!(house.export_bundle(order, Opening::default(), &none, |_, _| {}).await.is_err());
            assert!(!files_below(log.folder.path()).iter().any(|path| path.display().to_string().contains("none.zip")));
        }
        house.close();
    }

    async fn a_witnessed_bundle_needs_nobodys_word(log: TestLog) {
        let mut log = log;
        let house = log.open().await;
        let key = house.log_verifier().expect("key").to_string();
        house.close();
        let mut witness = TestWitness::new(6, &key);
        witness.start();
        let policy = format!("log {key}\n{}quorum w6\n", witness.line());
        log.settings.trust = TrustSettings { policy: Some(policy.clone()), ..TrustSettings::default() };
        let house = log.open().await;
        grow(&house, 10).await;
        let out = log.folder.path().join("witnessed.zip");
        let exported = house.export_bundle(BundleOrder::default(), Opening::default(), &out, |_, _| {}).await.expect("exported");
        house.close();
        let own = Trust::parse(&policy).expect("trust");
        let report = verify_with(&out, Wish { trust: Some(&own), maximum_age: Some(3_600), ..PLAIN });
        assert_eq!((report.exit, report.witnessed_to, report.findings), (0, Some(exported.size), vec![]));
        assert_eq!(verify(&out).exit, 10, "by the bundle's own word");
        // 16: the cosignature is stripped.
        let mut files = Unpacked::read(&out);
        let note = String::from_utf8(files.0["checkpoint"].clone()).expect("UTF-8");
        let (kept, _) = note.trim_end().rsplit_once('\n').expect("lines");
        files.0.insert("checkpoint".to_owned(), format!("{kept}\n").into_bytes());
        files.0.retain(|path, _| !path.starts_with("checkpoints/"));
        let report = verify_with(&files.write(log.folder.path()), Wish { trust: Some(&own), ..PLAIN });
        assert_eq!(exit_and_faults(&report), (50, vec![(Code::Downgrade, Position::Whole {})]));
    }

    async fn a_part_that_is_shown_is_bound_to_its_leaf(log: TestLog) {
        let house = log.open().await;
        grow_sealed(&house, 3).await;
        house.publish_once().await.expect("published");
        let size = house.published().expect("published").size;
        let shown = Shown { entry: Wanted::Position(size - 1), role: Role::Installation };
        let opening = Opening { parts: vec![shown], reason: "asked for by the authority".to_owned() };
        let out = log.folder.path().join("opened.zip");
        house.export_bundle(BundleOrder::default(), opening, &out, |_, _| {}).await.expect("exported");
        let report = verify(&out);
        assert_eq!((report.exit, report.opened), (10, 1), "{report:?}");
        let nobody = Shown { role: Role::Subject, ..shown };
        let opening = Opening { parts: vec![nobody], reason: "x".to_owned() };
        let refused = house.export_bundle(BundleOrder::default(), opening, &log.folder.path().join("no.zip"), |_, _| {}).await;
        assert!(matches!(refused, Err(Error::NotFound)), "{refused:?}");
        house.close();

        // Attack 13: another payload under the same leaf.
        let mut files = Unpacked::read(&out);
        let path = files.0.keys().find(|path| path.starts_with("opened/")).expect("opened").clone();
        let mut part: serde_json::Value = serde_json::from_slice(&files.0[&path]).expect("JSON");
        let plaintext = data_encoding::BASE64.decode(part["plaintext"].as_str().expect("text").as_bytes()).expect("base64");
        let forged: Vec<u8> = [&[0xa1, 0x61, b'v', 0x02, 0x80][..], &vec![0; plaintext.len() - 5]].concat();
        part["plaintext"] = data_encoding::BASE64.encode(&forged).into();
        files.0.insert(path, serde_json::to_vec(&part).expect("JSON"));
        let report = verify(&files.write(log.folder.path()));
        assert_eq!(exit_and_faults(&report), (40, vec![(Code::PartUnbound, at(size - 1))]), "{report:?}");
    }

    async fn two_views_of_one_log_are_a_fork_or_one_extends_the_other(log: TestLog) {
        let house = log.open().await;
        grow(&house, 300).await;
        house.publish_once().await.expect("published");
        let early = export(&log, "early.zip", &BundleOrder::default());
        grow(&house, 300).await;
        house.publish_once().await.expect("published");
        let late = export(&log, "late.zip", &BundleOrder::default());
        house.close();
        for (one, other) in [(&early, &late), (&late, &early), (&early, &early)] {
            let report = verify_with(one, Wish { against: Some(other), ..PLAIN });
            assert_eq!(exit_and_faults(&report), (10, vec![]), "{report:?}");
        }
        // 18: an old view for ever is old, and with a newer checkpoint a rollback.
        let stale = verify_with(&early, Wish { maximum_age: Some(0), ..PLAIN });
        assert!(stale.exit == 10, "{stale:?}");
        let newer = Wish { checkpoints: log.saved(), ..PLAIN };
        assert_eq!(verify_with(&early, newer).exit, 30);
        assert_eq!(verify_with(&late, Wish { checkpoints: log.saved(), ..PLAIN }).exit, 10);
        // The database is the longer one now, and holds both.
        let notes = notes_of_bundle(&late).expect("readable").expect("a bundle");
        assert_eq!(log.verify_with(notes).exit, 10);
    }
}

/// What a bundle of a large log costs.
pub(super) fn measure(log: &TestLog) {
    let started = std::time::Instant::now();
    let bundle = export(log, "large.zip", &SEALED);
    println!("exported in {:?}, {} bytes", started.elapsed(), std::fs::metadata(&bundle).expect("bundle").len());
    let started = std::time::Instant::now();
    let report = verify(&bundle);
    println!("verified {} leaves in {:?}: {}", report.checked, started.elapsed(), report.exit);
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).expect("peak"));
}

/// 6, 9, 10: the same stores twice, each going on by itself with the same key.
#[test]
fn two_processes_from_one_copy_fork() {
    run(Backend::Sqlite, async |log| {
        let house = log.open().await;
        grow(&house, 300).await;
        house.publish_once().await.expect("published");
        house.close();
        let copied = TestLog::new(Backend::Sqlite);
        for file in files_below(log.folder.path()) {
            let to = copied.folder.path().join(file.strip_prefix(log.folder.path()).expect("below"));
            std::fs::create_dir_all(to.parent().expect("folder")).expect("folder");
            std::fs::copy(file, to).expect("copied");
        }
        let mut bundles = Vec::new();
        for (log, leaves) in [(&log, 10), (&copied, 40)] {
            let house = log.open().await;
            grow(&house, leaves).await;
            house.publish_once().await.expect("published");
            house.close();
            bundles.push(export(log, "forked.zip", &BundleOrder::default()));
        }
        let [one, other] = bundles.as_slice() else { panic!("two bundles") };
        for (one, other) in [(one, other), (other, one)] {
            assert_eq!(verify(one).exit, 10);
            let report = verify_with(one, Wish { against: Some(other), ..PLAIN });
            assert!(report.exit == 30 && faults(&report).iter().any(|(code, _)| *code == Code::Fork), "{report:?}");
            let files = Unpacked::read(one);
            let own = Trust::parse(std::str::from_utf8(&files.0["trust.txt"]).expect("UTF-8")).expect("trust");
            let judged: Vec<_> = report.evidence.iter().map(|evidence| evidence.judge(own.logs())).collect();
            assert_eq!(judged, [Ok(Weight::Proven)], "whoever has the key sees it without either bundle");
        }
        let notes = notes_of_bundle(other).expect("readable").expect("a bundle");
        assert_eq!(log.verify_with(notes).exit, 30);
    });
}

/// Through the program: a bundle, its verification, and lines that go on where they ended.
#[test]
fn the_commands_export_and_verify() {
    let folder = tempfile::tempdir().expect("folder");
    let store = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let installed = Installed::new(folder.path(), &store("amanat.db"), &store("keys.db"));
    installed.key("shop-server");
    let ok = |arguments: &[&str]| {
        let (code, said) = installed.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    };
    ok(&[
        "audit",
        "export",
        "--format",
        "bundle",
        "--sealed",
        "evidence.zip",
        "--open",
        "0.installation",
        "--reason",
        "asked for",
    ]);
    let (code, said) = installed.run(&["audit", "verify", "evidence.zip", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, report["exit"].as_u64(), report["opened"].as_u64()), (10, Some(10), Some(1)), "{said}");
    for format in ["ndjson", "ocsf", "cloudevents", "syslog", "cef", "ecs"] {
        let all = ok(&["audit", "export", "--format", format]);
        let lines: Vec<&str> = all.lines().collect();
        assert!(lines.len() >= 3, "{all}");
        let rest = ok(&["audit", "export", "--format", format, "--after", "1"]);
        assert_eq!(rest.lines().collect::<Vec<_>>(), lines[2..], "{format}");
        let last = (lines.len() - 1).to_string();
        assert_eq!(ok(&["audit", "export", "--format", format, "--after", &last]), "");
    }
    let lines = ok(&["audit", "export", "--format", "ndjson", "--with-leaf"]);
    for (seq, line) in lines.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let leaf = data_encoding::BASE64.decode(line["leaf"].as_str().expect("leaf").as_bytes()).expect("base64");
        assert_eq!(line["seq"].as_u64(), Some(seq as u64));
        assert_eq!(line["leaf_hash"], data_encoding::HEXLOWER.encode(&leaf_hash(&leaf)));
    }
    for (arguments, why) in [
        (
            &["--format", "ndjson", "--after", "9000"][..],
            "--after 9000: the published log has no entry at this position; it has",
        ),
        (&["--format", "ndjson", "--after", "x"], "invalid value 'x' for '--after <SEQ>'"),
        (&["--format", "cef", "--with-leaf"], "--with-leaf is of --format ndjson and cloudevents"),
        (&["--format", "bundle"], "<OUT>"),
        (&["--format", "bundle", "new.zip", "--after", "1"], "--after is of lines"),
        (&["--format", "bundle", "new.zip", "--open", "0.receipt", "--reason", "x"], "such as 12.subject"),
        (&["--format", "bundle", "new.zip", "--open", "0.installation"], "--reason"),
    ] {
        let (code, said) = installed.run(&[&["audit", "export"], arguments].concat());
        assert!(code == 2 && said.contains(why), "{arguments:?}: {code} {said}");
    }
    for (arguments, why) in [
        (&["--format", "bundle", "evidence.zip"][..], "there is a file of that name already"),
        (&["--format", "bundle", "new.zip", "--to", "9000"], "to is larger than the published log"),
        (&["--format", "bundle", "nowhere/new.zip"], "cannot write the bundle"),
        (&["--format", "ndjson", "--database", "sqlite:nothing.db"], "because"),
    ] {
        let (code, said) = installed.run(&[&["audit", "export"], arguments].concat());
        assert!(code == 1 && said.contains(why), "{arguments:?}: {code} {said}");
    }
    assert!(!folder.path().join("new.zip").exists() && !folder.path().join("new.zip.unfinished").exists());
}
