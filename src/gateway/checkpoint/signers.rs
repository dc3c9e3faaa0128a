//! Which of this installation's keys sign the log: the log itself says so, in leaf 0 and at rotations.
//!
//! The key that was replaced signs once more, beside the new one, right behind the leaf that says so.
//! Its seed is destroyed when that checkpoint is stored.

use std::sync::Arc;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::leaf::Leaf;
use crate::audit::log_keys::{LogKeys, verifier_key};
use crate::audit::note::{KeyKind, VerifierKey};
use crate::crypto::mac::KeyPurpose;
use crate::gateway::keyholder::LogSigner;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::audit_log;
use crate::storage::keys::{self, LastSigned};
use crate::storage::{self, Connection};

use super::{LogRefusal, Proven};

/// What a stored log says of its keys.
pub(in crate::gateway) fn log_keys(connection: &mut Connection) -> storage::Result<LogKeys> {
    let opening = audit_log::bare_leaf(connection, 0)?.filter(|(seq, ..)| *seq == 0).map(|(_, leaf, _)| leaf);
    let rotations = audit_log::key_rotations(connection)?.into_iter().map(|(_, leaf)| leaf);
    let mut keys = LogKeys::default();
    for leaf in opening.into_iter().chain(rotations).filter_map(|leaf| Leaf::decode(&leaf).ok()) {
        keys.hear(&leaf);
    }
    Ok(keys)
}

impl Gateway {
    /// The key that signs the log from now on, under the name of the log.
    ///
    /// # Errors
    /// [`Error::Unacceptable`] when the origin cannot be the name of a key.
    pub fn log_verifier(&self) -> Result<VerifierKey> {
        let newest = self.log.keys.load().newest().and_then(|typed| verifier_key(&self.origin, typed));
        match newest {
            Some(newest) => Ok(newest),
            // Before leaf 0.
            None => self.verifier_of(self.keyholder.secrets().log.first().ok_or(Error::MissingKey)?),
        }
    }

    /// The keys whose signature makes a note one of this installation: those that the log names, and
    /// those that it holds. A log that was rolled back may not name the newest any more.
    ///
    /// # Errors
    /// As [`Gateway::log_verifier`].
    pub(in crate::gateway) fn own_verifiers(&self) -> Result<Vec<VerifierKey>> {
        let keys = self.log.keys.load();
        let mut own: Vec<VerifierKey> = keys.all().filter_map(|typed| verifier_key(&self.origin, typed)).collect();
        for signer in &self.keyholder.secrets().log {
            let key = self.verifier_of(signer)?;
            if !own.contains(&key) {
                own.push(key);
            }
        }
        Ok(own)
    }

    /// The keys that sign checkpoints of this size.
    pub(in crate::gateway) fn verifiers_of(&self, size: u64) -> Vec<VerifierKey> {
        self.log.keys.load().signing(size).filter_map(|typed| verifier_key(&self.origin, typed)).collect()
    }

    pub(in crate::gateway) fn verifier_of(&self, signer: &LogSigner) -> Result<VerifierKey> {
        VerifierKey::new(&self.origin, KeyKind::Ed25519, signer.signing.public_key())
            .map_err(|_| Error::Unacceptable("audit.origin must not hold white space or a plus sign"))
    }

    /// Asks the log again which keys sign it.
    pub(in crate::gateway) async fn look_at_log_keys(&self) -> Result<()> {
        let keys = self.database.read(log_keys).await.map_err(Error::store)?;
        self.take_log_keys(keys);
        Ok(())
    }

    pub(super) fn take_log_keys(&self, keys: LogKeys) {
        if **self.log.keys.load() != keys {
            self.log.keys.store(Arc::new(keys));
        }
    }

    /// The stored checkpoint of this size.
    pub(in crate::gateway) async fn checkpoint_of(&self, size: u64) -> Result<Option<String>> {
        let notes = self.database.read(move |c| audit_log::checkpoint_notes(c, &[size].into())).await;
        Ok(notes.map_err(Error::store)?.pop().map(|(_, note)| note))
    }

    /// The only place that signs a checkpoint: it takes nothing but a proven one. `None`: another
    /// instance signed meanwhile.
    pub(super) async fn sign(&self, proven: &Proven) -> Result<Option<LastSigned>> {
        // Somebody signed this before and was cut off.
        if let Some(signed) = proven.signed.as_ref().filter(|signed| signed.size == proven.size) {
            return Ok(Some(signed.clone()));
        }
        if let Some(signed) = self.sign_with_held(proven)? {
            return Ok(Some(signed));
        }
        self.keyholder.reload_secrets(self.policy().slots()).await?;
        if let Some(signed) = self.sign_with_held(proven)? {
            return Ok(Some(signed));
        }
        // The seed of a key that was replaced is gone as soon as it has signed for the last time.
        let signed = self.keyholder.store().read(keys::last_signed).await.map_err(Error::keys)?;
        if signed.map(|signed| signed.size) != proven.signed.as_ref().map(|signed| signed.size) {
            return Ok(None);
        }
        Err(self.refuse_log(LogRefusal::damaged("the log names a key that the key store does not hold")))
    }

    /// The note with every signature that its size asks for; `None` if a key is not held.
    fn sign_with_held(&self, proven: &Proven) -> Result<Option<LastSigned>> {
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: proven.size, root: proven.root };
        let secrets = self.keyholder.secrets();
        let mut signatures = Vec::new();
        for typed in proven.keys.signing(proven.size) {
            let Some(key) = verifier_key(&self.origin, typed) else { return Ok(None) };
            let held = secrets.log.iter().find(|signer| signer.signing.public_key() == *key.public());
            let Some(held) = held else { return Ok(None) };
            signatures.push((key, held.signing.sign(checkpoint.text().as_bytes())));
        }
        if signatures.is_empty() {
            return Ok(None);
        }
        Ok(Some(LastSigned { size: checkpoint.size, root: checkpoint.root, note: checkpoint.note(&signatures) }))
    }

    /// Destroys the seeds of keys that sign nothing beyond a checkpoint of this size, which is stored.
    pub(super) async fn forget_replaced(&self, stored: u64) -> Result<()> {
        let named = self.log.keys.load_full();
        let mut replaced = Vec::new();
        for signer in &self.keyholder.secrets().log {
            let typed = self.verifier_of(signer)?.typed();
            if named.all().any(|known| *known == typed) && !named.may_sign(&typed, stored.saturating_add(1)) {
                replaced.push(signer.version);
            }
        }
        if replaced.is_empty() {
            return Ok(());
        }
        tracing::info!(size = stored, "the log's key before signed for the last time and is destroyed");
        self.keyholder
            .store()
            .write(move |c| keys::forget_secrets(c, KeyPurpose::Log.as_str(), &replaced))
            .await
            .map_err(Error::keys)?;
        self.keyholder.reload_secrets(self.policy().slots()).await
    }
}
