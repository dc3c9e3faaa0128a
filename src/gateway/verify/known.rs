//! What is known to have been signed: stored checkpoints, saved ones, the memory, the key store.

use crate::audit::checkpoint::{self, Checkpoint, CheckpointError, Verified, with_cosignatures};
use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::Leaf;
use crate::audit::log_keys::{handed_over, verifier_key};
use crate::audit::note::VerifierKey;
use crate::audit::trust::Trust;
use crate::audit::verify::{KnownCheckpoint, Start};
use crate::gateway::checkpoint::{Memory, log_keys};
use crate::gateway::{Error, Result};
use crate::storage::audit_log::{self, LogHead};
use crate::storage::{Connection, keys};

use super::Verification;

/// Stored checkpoints that are tried whatever their number, the newest first.
const NEWEST: i64 = 1_000;
/// Of the stored checkpoints before, about as many, spread over the log. The database vouches for
/// itself with them, so a sample is enough; every checkpoint saved elsewhere is tried.
const OTHERS: i64 = 1_000;

/// Everything signed that the leaves must fit.
pub(in crate::gateway) struct Known {
    pub(super) origin: Option<String>,
    pub(super) checkpoints: Vec<KnownCheckpoint>,
    pub(super) verified: Vec<Verified>,
    /// The notes of `verified`, in the same order.
    pub(super) notes: Vec<String>,
    /// The keys whose signatures were asked for.
    pub(super) log_keys: Vec<VerifierKey>,
    /// Whom the log itself says to trust.
    pub(super) claimed: Option<Trust>,
}

impl Known {
    pub(super) fn collect(
        verification: &Verification,
        connection: &mut Connection,
        head: Option<&LogHead>,
        findings: &mut Vec<Finding>,
    ) -> Result<Self> {
        let claimed = claimed_keys(connection, head)?;
        let (mut log_keys, witness_keys) = match &verification.trust {
            Some(trust) => (trust.logs().to_vec(), trust.witness_keys()),
            None => (claimed.clone(), Vec::new()),
        };
        learn(connection, head, &mut log_keys)?;
        let mut known = Self {
            origin: expected_origin(verification.trust.as_ref(), head),
            checkpoints: Vec::new(),
            verified: Vec::new(),
            notes: Vec::new(),
            log_keys: log_keys.clone(),
            claimed: (!claimed.is_empty()).then(|| Trust::of_logs(claimed)),
        };
        let opener = PartOpener { origin: known.origin.clone(), log_keys, witness_keys };

        let mut refused = 0_u64;
        let mut first_refused = None;
        let mut stored = audit_log::checkpoint_sample(connection, NEWEST, OTHERS).map_err(Error::store)?;
        let mut dated = audit_log::anchored_sizes(connection).map_err(Error::store)?;
        for (size, _) in &stored {
            dated.remove(size);
        }
        stored.extend(audit_log::checkpoint_notes(connection, &dated).map_err(Error::store)?);
        for (size, note) in stored {
            let lines = audit_log::cosignatures_of(connection, size).map_err(Error::store)?;
            let note = with_cosignatures(&note, lines.iter().map(|row| row.line.as_str()));
            if let Err(error) = opener.take(note.as_bytes(), &mut known) {
                refused += 1;
                first_refused = Some((size, error));
            }
        }
        if let Some((size, error)) = first_refused {
            let text = format!("{refused} stored checkpoints are refused, among them that of {size} leaves: {error}.");
            findings.push(Finding::whole(code(error), text));
        }

        let mut saved = verification.checkpoints.clone();
        if let (Some(folder), Some(head)) = (&verification.memory, head)
            && let Some(note) = Memory::of(folder, &head.origin).read()?
        {
            saved.push(("the checkpoint memory".to_owned(), note.into_bytes()));
        }
        if let Some(location) = &verification.keys {
            let mut store = location.connect_to_read().map_err(Error::keys)?;
            if let Some(signed) = keys::last_signed(&mut store).map_err(Error::keys)? {
                saved.push(("the key store".to_owned(), signed.note.into_bytes()));
            }
        }
        for (name, note) in saved {
            if let Err(error) = opener.take(&note, &mut known) {
                findings.push(Finding::whole(code(error), format!("{name}: {error}.")));
            }
        }
        Ok(known)
    }
}

impl Known {
    /// What a verifier starts from, but for the tree and the entries.
    pub(in crate::gateway) fn start(&self) -> Start {
        Start { origin: self.origin.clone(), checkpoints: self.checkpoints.clone(), ..Start::default() }
    }
}

struct PartOpener {
    origin: Option<String>,
    log_keys: Vec<VerifierKey>,
    witness_keys: Vec<VerifierKey>,
}

impl PartOpener {
    fn take(&self, note: &[u8], known: &mut Known) -> std::result::Result<(), CheckpointError> {
        if self.log_keys.is_empty() {
            // Without leaf 0 and without a trust policy nobody says whose signature it must be. What
            // the note says must fit all the same.
            let said = Checkpoint::of_note(note)?;
            known.checkpoints.push(KnownCheckpoint { size: said.size, root: said.root, signed_by: Vec::new() });
            return Ok(());
        }
        let verified = checkpoint::open(note, self.origin.as_deref(), &self.log_keys, &self.witness_keys)?;
        known.checkpoints.push(KnownCheckpoint::of(&verified));
        known.verified.push(verified);
        // It was read as text before its signatures were looked at.
        known.notes.push(String::from_utf8_lossy(note).into_owned());
        Ok(())
    }
}

/// The keys that the log itself names: in its first leaf, and at rotations.
pub(in crate::gateway) fn claimed_keys(
    connection: &mut Connection,
    head: Option<&LogHead>,
) -> Result<Vec<VerifierKey>> {
    let Some(head) = head else { return Ok(Vec::new()) };
    let keys = log_keys(connection).map_err(Error::store)?;
    Ok(keys.all().filter_map(|typed| verifier_key(&head.origin, typed)).collect())
}

/// Adds the keys before and after each known one: both sign the checkpoint right behind the leaf at
/// which one hands over to the other.
fn learn(connection: &mut Connection, head: Option<&LogHead>, known: &mut Vec<VerifierKey>) -> Result<()> {
    let Some(head) = head else { return Ok(()) };
    let rotations = audit_log::key_rotations(connection).map_err(Error::store)?;
    // Forwards from the keys that are known, and back from the newest of them.
    for (seq, leaf) in rotations.iter().chain(rotations.iter().rev()) {
        let notes = audit_log::checkpoint_notes(connection, &[seq.saturating_add(1)].into()).map_err(Error::store)?;
        let opened = notes.first().map(|(_, note)| checkpoint::open(note.as_bytes(), Some(&head.origin), known, &[]));
        let (Some(Ok(opened)), Ok(leaf)) = (opened, Leaf::decode(leaf)) else { continue };
        for key in handed_over(&head.origin, &leaf, opened.checkpoint.size, &opened.signed_by).into_iter().flatten() {
            if !known.contains(&key) {
                known.push(key);
            }
        }
    }
    Ok(())
}

/// The log that is expected: the one of the verifier's own trust, where it has one.
fn expected_origin(trust: Option<&Trust>, head: Option<&LogHead>) -> Option<String> {
    let stored = head.map(|head| head.origin.clone());
    let Some(trust) = trust else { return stored };
    let is_trusted = |origin: &String| trust.logs().iter().any(|key| key.name() == origin);
    stored.filter(is_trusted).or_else(|| trust.logs().first().map(|key| key.name().to_owned()))
}

pub(super) const fn code(error: CheckpointError) -> Code {
    match error {
        CheckpointError::Malformed => Code::Malformed,
        CheckpointError::Origin => Code::OriginMismatch,
        CheckpointError::Signature => Code::CheckpointSignature,
    }
}
