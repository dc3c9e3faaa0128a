//! The signed notes that a bundle must fit: its own, saved ones, those of another bundle.

use crate::audit::checkpoint::{self, Verified};
use crate::audit::evidence::Evidence;
use crate::audit::finding::Finding;
use crate::audit::leaf::Leaf;
use crate::audit::log_keys::handed_over;
use crate::audit::note::{Note, VerifierKey};
use crate::audit::tree::HashSource;
use crate::audit::trust::Trust;
use crate::audit::verify::KnownCheckpoint;
use crate::gateway::verify::evidence;
use crate::gateway::verify::known::code;

/// Whether a note may be evidence against the newest one of the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// An older one of the bundle itself.
    Older,
    /// The newest, or one from elsewhere.
    Evidence,
}

/// Notes whose signatures hold, and the keys that said so.
pub(super) struct Notes {
    /// The log that is expected.
    pub(super) origin: String,
    /// What the leaves must fit.
    pub(super) checkpoints: Vec<KnownCheckpoint>,
    /// The same with their cosignatures.
    pub(super) verified: Vec<Verified>,
    /// Those that may be evidence, with their text: the bundle's newest, and all that came from
    /// elsewhere.
    pub(super) witnesses: Vec<(Verified, String)>,
    /// The verifier's own trust, or the bundle's claim.
    pub(super) trust: Option<Trust>,
    /// Keys that a trusted one handed over to.
    learnt: Vec<VerifierKey>,
}

impl Notes {
    /// No notes yet of a bundle that says it is of this log.
    pub(super) fn new(origin: &str, own: Option<&Trust>, claimed: Option<Trust>) -> Self {
        let first = own.and_then(|trust| trust.logs().first());
        let is_trusted = own.is_none_or(|trust| trust.logs().iter().any(|key| key.name() == origin));
        let expected = first.filter(|_| !is_trusted).map_or(origin, |key| key.name());
        Self {
            origin: expected.to_owned(),
            checkpoints: Vec::new(),
            verified: Vec::new(),
            witnesses: Vec::new(),
            trust: own.cloned().or(claimed),
            learnt: Vec::new(),
        }
    }

    /// Opens a note; `name` says which in a finding.
    pub(super) fn open(&self, name: &str, note: &[u8]) -> Result<Verified, Finding> {
        let trust = self.trust.as_ref();
        let witnesses = trust.map(Trust::witness_keys).unwrap_or_default();
        checkpoint::open(note, Some(&self.origin), &self.log_keys(), &witnesses)
            .map_err(|error| Finding::whole(code(error), format!("{name}: {error}.")))
    }

    /// The keys of the log that are believed.
    fn log_keys(&self) -> Vec<VerifierKey> {
        [self.trust.as_ref().map_or(&[][..], Trust::logs), &self.learnt].concat()
    }

    /// Whether two keys of the log, or more, say that they signed a note.
    pub(super) fn is_handover(&self, note: &[u8]) -> bool {
        let named = |note: Note<'_>| note.signatures.iter().filter(|line| line.name == self.origin).count();
        Note::parse(note).is_ok_and(|note| named(note) > 1)
    }

    /// Learns the keys between which the last leaf under a note hands over, if a known key signed it.
    pub(super) fn learn(&mut self, note: &[u8], leaf: &Leaf) {
        let Ok(opened) = self.open("", note) else { return };
        let known = self.log_keys();
        let both = handed_over(&self.origin, leaf, opened.checkpoint.size, &opened.signed_by);
        self.learnt.extend(both.into_iter().flatten().filter(|key| !known.contains(key)));
    }

    /// Adds a note that was opened.
    pub(super) fn add(&mut self, verified: Verified) {
        self.checkpoints.push(KnownCheckpoint::of(&verified));
        self.verified.push(verified);
    }

    /// Opens and adds a note, and gives the size it says.
    pub(super) fn take(&mut self, name: &str, note: &[u8], standing: Standing) -> Result<u64, Finding> {
        let verified = self.open(name, note)?;
        let size = verified.checkpoint.size;
        if standing == Standing::Evidence {
            self.note_evidence(&verified, note);
        }
        self.add(verified);
        Ok(size)
    }

    /// Keeps the text of a note that was opened.
    pub(super) fn note_evidence(&mut self, verified: &Verified, note: &[u8]) {
        // It was read as text before its signatures were looked at.
        self.witnesses.push((verified.clone(), String::from_utf8_lossy(note).into_owned()));
    }

    /// What the notes prove against each other, with the hashes of the tree of `size` leaves.
    pub(super) fn evidence<S: HashSource>(&self, hashes: &S, size: u64) -> Vec<Evidence> {
        let signed = self.witnesses.iter().map(|(verified, note)| (verified, note)).collect();
        evidence::of(hashes, signed, &self.log_keys(), size)
    }
}
