//! The life of the key that signs the log: the next one is made, told to those who verify, and takes
//! over at a leaf that says so.
//!
//! The checkpoint right behind that leaf has the signatures of both keys, so whoever knows the old one
//! learns the new one from it. Then the old seed is destroyed: whoever steals the key store later
//! cannot sign sizes of before.

use std::time::{Duration, Instant};

use crate::audit::leaf::{Cause, Fact};
use crate::audit::note::VerifierKey;
use crate::audit::payload::Payload;
use crate::crypto::mac::KeyPurpose;
use crate::domain::event::{Event, Outcome};
use crate::gateway::checkpoint::log_keys;
use crate::gateway::keyholder::LogSigner;
use crate::gateway::policy::operator;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys;
use crate::storage::{Outcome as Written, Step, Unit};

/// Between two looks at whether the checkpoint with both signatures is published.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The keys at a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextLogKey {
    /// The key that signs now.
    pub current: VerifierKey,
    /// The key that takes over.
    pub next: VerifierKey,
}

/// What a rotation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeyRotated {
    /// The key before and the key from here on.
    pub keys: NextLogKey,
    /// The size whose checkpoint has the signatures of both.
    pub size: u64,
    /// That checkpoint, if it was published in time. A running gateway goes on with it otherwise.
    pub checkpoint: Option<String>,
}

impl Gateway {
    /// Makes the next key of the log, unless one waits already, so that witnesses and verifiers can
    /// learn it before it signs.
    ///
    /// # Errors
    /// When a store cannot be used.
    pub async fn announce_log_key(&self) -> Result<NextLogKey> {
        let current = self.log_verifier()?;
        if let Some(next) = self.next_log_key(&current)? {
            return Ok(NextLogKey { current, next });
        }
        let newest = self.keyholder.secrets().log.iter().map(|signer| signer.version).max().unwrap_or(0);
        let version = newest.checked_add(1).ok_or(Error::WrongState("there are no more versions"))?;
        let row = self.keyholder.make_secret(KeyPurpose::Log, version, "next")?;
        // Another process may be doing the same: then its key stands.
        self.keyholder.store().write(move |c| keys::insert_secret(c, &row)).await.map_err(Error::keys)?;
        self.keyholder.reload_secrets(self.policy().slots()).await?;
        let next = self.next_log_key(&current)?.ok_or(Error::MissingKey)?;
        Ok(NextLogKey { current, next })
    }

    /// Has the next key take over, and publishes the checkpoint that both keys sign, waiting at most
    /// `patience` for it.
    ///
    /// # Errors
    /// [`Error::WrongState`] where the operator's trust policy does not have the next key yet, unless
    /// the old one may be known to others; or where another process rotated at the same time. Errors of
    /// the stores. Whatever happens, either the log says that the key changed, or nothing has.
    pub async fn rotate_log_key(&self, cause: Cause, patience: Duration) -> Result<LogKeyRotated> {
        let keys = self.announce_log_key().await?;
        if cause == Cause::Planned && self.witnesses.trusts_log(&keys.next) == Some(false) {
            return Err(Error::WrongState(
                "audit.trust has no log line with the next key, so nobody who verifies with it would believe the log; `amanat keys rotate log --announce` prints the key to add",
            ));
        }
        let size = self.append_rotation(&keys, cause).await?;
        let until = Instant::now() + patience;
        let checkpoint = loop {
            self.publish_once().await?;
            let signed = self.keyholder.store().read(keys::last_signed).await.map_err(Error::keys)?;
            if signed.is_some_and(|signed| signed.size >= size) {
                break self.checkpoint_of(size).await?;
            }
            if Instant::now() >= until {
                break None;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        Ok(LogKeyRotated { keys, size, checkpoint })
    }

    /// The leaf that says so. Gives the size right behind it.
    async fn append_rotation(&self, keys: &NextLogKey, cause: Cause) -> Result<u64> {
        let payload = Payload { reason: Some("the key of the log was replaced".to_owned()), ..operator() };
        let (next, current) = (keys.next.typed(), keys.current.typed());
        let facts = vec![Fact::Cause(cause), Fact::Verifier(next), Fact::ReplacedVerifier(current)];
        let leaf = self.installation_leaf(Event::LogKeyRotated, Outcome::Done, &payload, facts)?;
        let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
            let newest = log_keys(transaction.connection())?.newest().copied();
            Ok(if newest == Some(current) { Step::Commit } else { Step::Stale })
        });
        let written = self.database.write(unit).await.map_err(Error::store)?;
        let Written::Committed(committed) = written else {
            return Err(Error::WrongState("another process replaced the key of the log at the same time"));
        };
        self.look_at_log_keys().await?;
        committed.leaves.first().map(|(_, seq)| seq.saturating_add(1)).ok_or(Error::NotFound)
    }

    /// The key that waits to take over: held, newer than the one that signs, and not named by the log.
    fn next_log_key(&self, current: &VerifierKey) -> Result<Option<VerifierKey>> {
        let secrets = self.keyholder.secrets();
        let held: Vec<(&LogSigner, VerifierKey)> = secrets
            .log
            .iter()
            .map(|signer| self.verifier_of(signer).map(|key| (signer, key)))
            .collect::<Result<_>>()?;
        let since = held.iter().find(|(_, key)| key == current).map(|(signer, _)| signer.version);
        Ok(held.into_iter().find(|(signer, _)| Some(signer.version) > since).map(|(_, key)| key))
    }
}
