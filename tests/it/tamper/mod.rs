//! The tamper corpus: what somebody does to a log, and what both verifiers must say of it.
//!
//! Each attack changes a copy of one file of a real log, then this program's verifier and the second one
//! (`tests/second_verifier`, which shares no code with it) judge it as processes of their own. Both must
//! give the exit code, the finding and the position of the table, and must agree on everything else they
//! find. What is done to a database is judged on PostgreSQL too, where the same rows are found wrong.
//!
//! [`numbers`] says for each number of the design's list where it is tried.

mod attacks;
mod every_byte;
mod histories;
pub mod judges;
pub mod made;
mod numbers;
mod protocol;
pub mod rows;
pub mod scene;
mod stores;
mod ways_round;
mod write_ahead;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use judges::{Found, Said, both, ours_of};
use made::MadeLog;
use scene::Scene;

use crate::harness::copied;
use crate::harness::postgres::server;

/// Where an attack is found.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    At(u64),
    Between(u64, u64),
    Whole,
}

/// What is attacked.
enum Target {
    /// A copy of a file of the scene.
    File(&'static str),
    /// The bundle of a log that was made by hand.
    Made(Box<MadeLog>),
}

/// Somebody's deed, and what must be said of it.
pub struct Attack<'a> {
    what: String,
    target: Target,
    deed: Box<dyn Fn(&Path) + Send + Sync + 'a>,
    /// Notes that the auditor brings along, beside or instead of those that were saved.
    notes: Vec<String>,
    brings_saved: bool,
    trust: Option<String>,
    options: Vec<OsString>,
    exit: i32,
    finding: Option<Found>,
    /// Whether nothing else may be found.
    is_alone: bool,
    /// The kind of evidence that must be left behind.
    evidence: Option<&'static str>,
}

impl<'a> Attack<'a> {
    /// An attack on a file of the scene. `number` is that of the design's list.
    fn on(source: &'static str, number: u8, what: &str, deed: impl Fn(&Path) + Send + Sync + 'a) -> Self {
        Self {
            what: format!("{number}: {what}"),
            target: Target::File(source),
            deed: Box::new(deed),
            notes: Vec::new(),
            brings_saved: source.ends_with(".db"),
            trust: Some("trust".to_owned()),
            options: Vec::new(),
            exit: 10,
            finding: None,
            is_alone: false,
            evidence: None,
        }
    }

    /// A history that somebody with the log's key can write. Whoever judges it trusts this.
    fn made(number: u8, what: &str, log: &MadeLog, trust: String) -> Self {
        let made = Self::on("", number, what, |_| {});
        Self { target: Target::Made(Box::new(log.clone())), ..made.trusting(Some(trust)) }
    }

    /// What must be found, and the exit code.
    fn gives(mut self, exit: i32, code: &str, place: Place) -> Self {
        let (from, to) = match place {
            Place::At(seq) => (Some(seq), None),
            Place::Between(from, to) => (Some(from), Some(to)),
            Place::Whole => (None, None),
        };
        self.exit = exit;
        self.finding = Some((code.to_owned(), from, to));
        self
    }

    /// Nothing may be found but that no witness vouches for it.
    fn in_order(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// This program's verifier leaves evidence of this kind, which both believe who have the key of the log.
    fn proves(mut self, kind: &'static str) -> Self {
        self.evidence = Some(kind);
        self
    }

    /// The auditor has no checkpoint of their own.
    fn unsaved(mut self) -> Self {
        self.brings_saved = false;
        self
    }

    /// The auditor brings this note too.
    fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The auditor brings this trust policy, or none.
    fn trusting(mut self, trust: Option<String>) -> Self {
        self.trust = trust;
        self
    }

    fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(OsString::from));
        self
    }

    /// The auditor has another bundle of the same log.
    fn against(self, bundle: &Path) -> Self {
        self.with(&["--against", bundle.to_str().expect("path")])
    }

    /// Does the deed and says what is wrong with what the verifiers say of it.
    fn try_out(&self, scene: &Scene) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("folder");
        let source = match &self.target {
            Target::File(name) => {
                let source = folder.path().join(name);
                std::fs::copy(scene.path(name), &source).expect("copied");
                source
            }
            Target::Made(log) => log.write(folder.path()),
        };
        (self.deed)(&source);
        let options = self.brought(scene, folder.path());
        let (ours, theirs) = both(&source, &options);
        let complaint = |what: &str| Err(format!("{}: {what}\n  ours   {ours:?}\n  theirs {theirs:?}", self.what));
        let is_right = |said: &Said| {
            said.exit == self.exit && self.finding.as_ref().is_none_or(|finding| said.findings.contains(finding))
        };
        if !is_right(&ours) || !is_right(&theirs) {
            return complaint(&format!("not exit {} with {:?}", self.exit, self.finding));
        }
        if ours.findings != theirs.findings {
            return complaint("they do not agree");
        }
        if self.is_alone && !ours.is_plain() {
            return complaint("something else is found");
        }
        if let Some(kind) = self.evidence
            && let Err(why) = self.is_evidence(kind, scene, folder.path())
        {
            return complaint(&why);
        }
        if source.extension().is_some_and(|kind| kind == "db") {
            let elsewhere = on_postgres(&source, folder.path(), &options);
            if elsewhere != ours {
                return complaint(&format!("on PostgreSQL {elsewhere:?}"));
            }
        }
        Ok(())
    }

    /// Whether a file of evidence was left that a stranger believes.
    fn is_evidence(&self, kind: &str, scene: &Scene, folder: &Path) -> Result<(), String> {
        let left = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
        let mut left = left.filter(|path| path.to_string_lossy().ends_with(".amanat-evidence.json"));
        let (Some(file), None) = (left.next(), left.next()) else { return Err("not one file of evidence".to_owned()) };
        let trust = match self.trust.as_deref() {
            Some("trust") | None => scene.path("trust"),
            Some(_) => folder.join("trust"),
        };
        let (ours, theirs) = both(&file, &["--trust".into(), trust.into()]);
        let is_believed = |said: &Said| said.exit == 30 && said.has(kind);
        if is_believed(&ours) && is_believed(&theirs) { Ok(()) } else { Err(format!("evidence: {ours:?}, {theirs:?}")) }
    }

    fn brought(&self, scene: &Scene, folder: &Path) -> Vec<OsString> {
        let mut brought = self.options.clone();
        let mut add = |option: &str, path: PathBuf| brought.extend([option.into(), path.into()]);
        if self.brings_saved {
            add("--checkpoint", scene.path("saved"));
            add("--checkpoint", scene.path("saved-older"));
        }
        for (number, note) in self.notes.iter().enumerate() {
            let path = folder.join(format!("note-{number}"));
            std::fs::write(&path, note).expect("note");
            add("--checkpoint", path);
        }
        match self.trust.as_deref() {
            None => {}
            Some("trust") => add("--trust", scene.path("trust")),
            Some(text) => {
                let path = folder.join("trust");
                std::fs::write(&path, text).expect("trust");
                add("--trust", path);
            }
        }
        brought
    }
}

/// What this program's verifier says of the same rows on PostgreSQL, where the owner of the database has dropped triggers
/// and keys.
fn on_postgres(source: &Path, folder: &Path, options: &[OsString]) -> Said {
    let server = server();
    let schema = server.fresh_name();
    let location = copied::to_postgres(source, server, stores::empty(), &schema);
    let said = ours_of(&location, folder, options);
    copied::drop_schema(&location, &schema);
    said
}

/// Tries attacks out, a few at a time, and complains about all at once.
fn try_out(scene: &Scene, attacks: &[Attack<'_>]) {
    let complaints = Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(attack) = attacks.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    if let Err(complaint) = attack.try_out(scene) {
                        complaints.lock().expect("complaints").push(complaint);
                    }
                }
            });
        }
    });
    let complaints = complaints.into_inner().expect("complaints");
    println!("{} attacks tried", attacks.len());
    assert!(complaints.is_empty(), "{} of {} attacks:\n{}", complaints.len(), attacks.len(), complaints.join("\n"));
}

#[test]
fn both_verifiers_find_what_is_done_to_a_database() {
    let scene = Scene::get();
    try_out(scene, &attacks::on_leaves(scene));
    try_out(scene, &attacks::beside_leaves(scene));
}

#[test]
fn both_verifiers_find_what_is_done_to_the_history_of_a_log() {
    let scene = Scene::get();
    try_out(scene, &attacks::on_history(scene));
}

#[test]
fn both_verifiers_find_what_is_done_to_proofs_and_receipts() {
    let scene = Scene::get();
    try_out(scene, &attacks::on_files(scene));
}

#[test]
fn both_verifiers_find_what_is_done_to_a_bundle() {
    let scene = Scene::get();
    try_out(scene, &attacks::on_bundles(scene));
}

#[test]
fn both_verifiers_find_what_the_owner_of_the_key_can_write() {
    let scene = Scene::get();
    try_out(scene, &attacks::by_the_owner_of_the_key());
}

/// The second verifier by itself, against the vectors that both are held against.
#[test]
fn the_second_verifier_keeps_to_the_vectors() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let output = std::process::Command::new(judges::python())
        .args(["-B", &format!("{root}/second_verifier"), "--self-test", &format!("{root}/vectors/audit.json")])
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
