//! A real log, made once: people, records, an erasure, a receipt, and a copy of everything that went its
//! own way.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use amanat::audit::leaf::Leaf;
use serde_json::{Value, json};

use crate::harness::process::Installed;
use crate::harness::wire::Sent;
use crate::log::bundles::Unpacked;

use super::rows::{Rows, execute};

/// What an attacker and an auditor have before them.
pub struct Scene {
    folder: tempfile::TempDir,
    /// The leaves of the log.
    pub leaves: Vec<Leaf>,
    /// The size that the auditor saved a checkpoint of first.
    pub older: u64,
    /// The size of the newest checkpoint, which the auditor saved too. It is the size of the log.
    pub size: u64,
    /// The size of the copy that stopped early, and was signed with the log's own key.
    pub short: u64,
}

impl Scene {
    /// The scene; all tests look at one.
    pub fn get() -> &'static Self {
        static SCENE: OnceLock<Scene> = OnceLock::new();
        SCENE.get_or_init(Self::make)
    }

    /// A file of the scene: `log.db`, `older.db` (when the first checkpoint was saved), `short.db`,
    /// `long.db` (the copy that went on by itself), `saved`, `saved-older` (checkpoints), `trust`,
    /// `proof`, `receipt`, and the bundles `bundle.zip`, `bundle-short.zip`, `bundle-long.zip`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file of the scene.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    fn make() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let [first, copy] = ["first", "copy"].map(|name| folder.path().join(name));
        std::fs::create_dir(&first).expect("folder");
        let at = |name: &str| folder.path().join(name);

        let mut house = installed(&first);
        let key = house.key("shop-server");
        lives(&mut house, &key, "first", 3);
        keep(&house, &first, &at("older.db"), &at("saved-older"));
        copy_folder(&first, &copy);

        lives(&mut house, &key, "second", 3);
        let (code, said) =
            house.run(&["request", "open", "--kind", "erasure", "--identifier", "email=first-0@example.org", "--json"]);
        assert_eq!(code, 0, "{said}");
        let case: Value = serde_json::from_str(&said).expect("JSON");
        let receipt = at("receipt");
        let reference = case["reference"].as_str().expect("reference");
        let (code, said) = house.run(&["request", "receipt", reference, "--out", receipt.to_str().expect("path")]);
        assert_eq!(code, 0, "{said}");
        lives(&mut house, &key, "third", 1);
        keep(&house, &first, &at("log.db"), &at("saved"));
        let (code, proof) = house.run(&["audit", "prove", "300"]);
        assert_eq!(code, 0, "{proof}");
        std::fs::write(at("proof"), proof).expect("proof");
        export(&house, &at("bundle.zip"), &["--sealed"]);

        // Whoever has the whole folder has the log's key, and can go on from there.
        let mut other = installed(&copy);
        lives(&mut other, &key, "other", 1);
        keep(&other, &copy, &at("short.db"), &at("saved-short"));
        export(&other, &at("bundle-short.zip"), &[]);
        lives(&mut other, &key, "another", 5);
        keep(&other, &copy, &at("long.db"), &at("saved-long"));
        export(&other, &at("bundle-long.zip"), &[]);

        let receipt: Value = serde_json::from_slice(&std::fs::read(receipt).expect("receipt")).expect("JSON");
        std::fs::write(at("trust"), receipt["trust"].as_str().expect("trust")).expect("trust");
        let size = |name: &str| signed_size(&std::fs::read_to_string(at(name)).expect("note"));
        let (older, newest, short) = (size("saved-older"), size("saved"), size("saved-short"));
        let leaves: Vec<Leaf> =
            Rows::of(&at("log.db")).leaves.iter().map(|leaf| Leaf::decode(leaf).expect("leaf")).collect();
        assert!(leaves.len() > 600 && newest == leaves.len() as u64, "{} leaves, {newest} signed", leaves.len());
        assert!(older < short && short < newest && newest < size("saved-long"));
        Self { leaves, older, size: newest, short, folder }
    }

    /// The smallest size that a bundle of the scene holds a checkpoint of and that lies behind the fork of the copy.
    pub fn first_signed_in(&self, bundle: &str) -> u64 {
        let files = Unpacked::read(&self.path(bundle)).0;
        let notes = files.iter().filter(|(path, _)| path.starts_with("checkpoint"));
        let sizes = notes.map(|(_, note)| signed_size(std::str::from_utf8(note).expect("UTF-8")));
        sizes.filter(|size| *size > self.older).min().expect("a checkpoint")
    }

    /// The positions of leaves that have a sealed part of a person, of this class, erased people aside.
    pub fn with_part(&self, class: u8) -> Vec<u64> {
        let rows = Rows::of(&self.path("log.db"));
        let has = |leaf: &&Leaf| leaf.event.class().number() == class && rows.has_sealed(leaf.entry, 1);
        self.leaves.iter().filter(has).map(|leaf| leaf.seq).collect()
    }

    /// The first leaf from there on that has no part, so that nothing else hangs on its entry.
    pub fn bare(&self, from: u64) -> u64 {
        self.leaves.iter().find(|leaf| leaf.seq >= from && leaf.parts.is_empty()).expect("a leaf without parts").seq
    }
}

fn installed(folder: &Path) -> Installed {
    let url = |name: &str| format!("sqlite:{}", folder.join(name).display());
    Installed::new(folder, &url("amanat.db"), &url("keys.db"))
}

/// The gateway starts, collects `batches` of a hundred people, and stops.
fn lives(house: &mut Installed, key: &str, name: &str, batches: usize) {
    house.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    for batch in 0..batches {
        let events: Vec<Value> = (0..100).map(|number| identify(name, batch * 100 + number)).collect();
        let body = json!({ "batch": events }).to_string();
        let sent = Sent::post("/v1/batch", body).key(key).header("content-type", "application/json");
        let answer = runtime.block_on(sent.to(&house.url));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(house.stop(), Some(0), "{}", house.said());
}

fn identify(name: &str, number: usize) -> Value {
    let person = format!("{name}-{number}");
    json!({"type": "identify", "messageId": format!("m-{person}"), "userId": person,
           "traits": {"email": format!("{person}@example.org"), "name": person}})
}

/// Keeps a copy of the data file, and the newest checkpoint.
fn keep(house: &Installed, folder: &Path, database: &Path, note: &Path) {
    let (code, said) = house.run(&["audit", "checkpoint", "--save", note.to_str().expect("path")]);
    assert_eq!(code, 0, "{said}");
    std::fs::copy(folder.join("amanat.db"), database).expect("copied");
    let (log, copied) = (folder.join("amanat.db-wal"), database.with_extension("db-wal"));
    if log.exists() {
        std::fs::copy(log, copied).expect("copied");
    }
    // Opened once, it is one file.
    execute(database, "");
}

fn export(house: &Installed, bundle: &Path, more: &[&str]) {
    let arguments = ["audit", "export", "--format", "bundle", bundle.to_str().expect("path")];
    let (code, said) = house.run(&[&arguments, more].concat());
    assert_eq!(code, 0, "{said}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        if entry.file_type().expect("type").is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// The size that a checkpoint signs.
pub fn signed_size(note: &str) -> u64 {
    note.lines().nth(1).expect("a size").parse().expect("a number")
}
