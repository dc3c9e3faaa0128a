//! The tamper corpus: what somebody does to a log, and what both verifiers must say of it.
//!
//! Each attack changes a copy of one file of a real log, then this program's verifier and the second one
//! (`tests/second_verifier`, which shares no code with it) judge it as processes of their own. Both must
//! give the exit code, the finding and the position of the table, and must agree on everything else they
//! find.

mod attacks;
mod every_byte;
pub mod judges;
pub mod rows;
pub mod scene;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use judges::{Found, Said, both};
use scene::Scene;

/// Where an attack is found.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    At(u64),
    Between(u64, u64),
    Whole,
}

/// Somebody's deed, and what must be said of it.
pub struct Attack<'a> {
    what: String,
    /// The file of the scene that is copied.
    source: &'static str,
    deed: Box<dyn Fn(&Path) + Send + Sync + 'a>,
    /// Notes that the auditor brings along, beside or instead of those that were saved.
    notes: Vec<String>,
    brings_saved: bool,
    trust: Option<String>,
    options: Vec<&'static str>,
    exit: i32,
    finding: Option<Found>,
}

impl<'a> Attack<'a> {
    /// An attack on a file of the scene. `number` is that of the design's list.
    fn on(source: &'static str, number: u8, what: &str, deed: impl Fn(&Path) + Send + Sync + 'a) -> Self {
        Self {
            what: format!("{number}: {what}"),
            source,
            deed: Box::new(deed),
            notes: Vec::new(),
            brings_saved: source.ends_with(".db"),
            trust: Some("trust".to_owned()),
            options: Vec::new(),
            exit: 10,
            finding: None,
        }
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

    fn with(mut self, options: &[&'static str]) -> Self {
        self.options.extend(options);
        self
    }

    /// Does the deed and says what is wrong with what the verifiers say of it.
    fn try_out(&self, scene: &Scene) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("folder");
        let source = folder.path().join(self.source);
        std::fs::copy(scene.path(self.source), &source).expect("copied");
        (self.deed)(&source);
        let (ours, theirs) = both(&source, &self.brought(scene, folder.path()));
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
        Ok(())
    }

    fn brought(&self, scene: &Scene, folder: &Path) -> Vec<OsString> {
        let mut brought: Vec<OsString> = self.options.iter().map(Into::into).collect();
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
