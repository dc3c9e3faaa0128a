//! The signed notes that a bundle must fit: its own, saved ones, those of another bundle.

use crate::audit::checkpoint::{self, Verified};
use crate::audit::finding::Finding;
use crate::audit::trust::Trust;
use crate::audit::verify::KnownCheckpoint;
use crate::gateway::verify::known::code;

/// Notes whose signatures hold, and the keys that said so.
pub(super) struct Notes {
    /// The log that is expected.
    pub(super) origin: String,
    /// What the leaves must fit.
    pub(super) checkpoints: Vec<KnownCheckpoint>,
    /// The same with their cosignatures.
    pub(super) verified: Vec<Verified>,
    /// The verifier's own trust, or the bundle's claim.
    pub(super) trust: Option<Trust>,
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
            trust: own.cloned().or(claimed),
        }
    }

    /// Opens a note; `name` says which in a finding.
    pub(super) fn open(&self, name: &str, note: &[u8]) -> Result<Verified, Finding> {
        let trust = self.trust.as_ref();
        let logs = trust.map_or(&[][..], Trust::logs);
        let witnesses = trust.map(Trust::witness_keys).unwrap_or_default();
        checkpoint::open(note, Some(&self.origin), logs, &witnesses)
            .map_err(|error| Finding::whole(code(error), format!("{name}: {error}.")))
    }

    /// Adds a note that was opened.
    pub(super) fn add(&mut self, verified: Verified) {
        self.checkpoints.push(KnownCheckpoint::of(&verified));
        self.verified.push(verified);
    }

    /// Opens and adds a note, and gives the size it says.
    pub(super) fn take(&mut self, name: &str, note: &[u8]) -> Result<u64, Finding> {
        let verified = self.open(name, note)?;
        let size = verified.checkpoint.size;
        self.add(verified);
        Ok(size)
    }
}
