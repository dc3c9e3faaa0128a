//! Checkpoints: signing the log and publishing it.
//!
//! Nothing is signed that is not proven to extend what was signed last, whoever signed it: the proof
//! comes from the stored hashes, the last signature from the key store, and the key store lets one
//! instance win. A log that cannot be proven is not signed, and nothing more is written to it.

mod memory;
mod signers;
mod start;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::audit::checkpoint;
use crate::audit::leaf::Cause;
use crate::audit::log_keys::LogKeys;
use crate::audit::tree::{self, Hash};
use crate::domain::event::{Event, Outcome};
use crate::storage::audit_log::{self, LogHead, StoredHashes};
use crate::storage::keys::{self, LastSigned};
use crate::storage::{self, Connection, Step, Unit};
use crate::telemetry::failpoint;

pub(super) use self::memory::Memory;
pub(super) use self::signers::log_keys;
pub(super) use self::start::{columns, frontier_at};
use super::{Error, Gateway, Result};

/// Every instance follows the stored log at least this often.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// A checkpoint that anyone may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The size it covers.
    pub size: u64,
    /// The signed note.
    pub note: String,
}

/// What this process signed, saw and refused of the log.
#[derive(Default)]
pub struct LogWatch {
    /// The newest checkpoint that was signed or seen.
    published: ArcSwapOption<Published>,
    /// The one that anyone may have, with its cosignatures.
    shown: ArcSwapOption<Published>,
    /// Which keys sign which sizes, as the log said when it was last asked.
    keys: ArcSwap<LogKeys>,
    /// Told whenever there is a newer one.
    news: tokio::sync::Notify,
    refusal: OnceLock<LogRefusal>,
    start: OnceLock<Cause>,
    /// One publication of this process at a time.
    turn: tokio::sync::Mutex<()>,
}

impl LogWatch {
    /// The newest checkpoint that this instance signed or saw, without cosignatures.
    pub(super) fn newest(&self) -> Option<Arc<Published>> {
        self.published.load_full()
    }

    /// Waits until there is a newer one.
    pub(super) async fn published_again(&self) {
        self.news.notified().await;
    }

    /// Shows a checkpoint to anyone who asks, unless a newer one or the same with more cosignatures
    /// is shown already.
    pub(super) fn show(&self, published: Published) {
        let published = Arc::new(published);
        self.shown.rcu(|shown| match shown {
            Some(shown) if (shown.size, shown.note.len()) > (published.size, published.note.len()) => {
                Some(Arc::clone(shown))
            }
            _ => Some(Arc::clone(&published)),
        });
    }
}

/// Why the log is not the one that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRefusal {
    /// The exit code: 30 rollback or fork, 40 damage, 1 otherwise.
    pub exit: u8,
    /// What was found, with both sizes, and the way out.
    pub what: String,
}

impl From<LogRefusal> for Error {
    fn from(LogRefusal { exit, what }: LogRefusal) -> Self {
        Self::LogRefused { exit, what }
    }
}

impl Gateway {
    /// Publishes every `audit.checkpoint_every` if the log grew, follows what other instances
    /// publish, lets an idle log beat, and has it all witnessed, until `stop` becomes true; then
    /// publishes once more.
    ///
    /// # Errors
    /// [`Error::LogRefused`] when the log is not the one that was signed: the process must end with
    /// that exit code. Anything that may pass is logged and tried again.
    pub async fn run_publisher(&self, stop: watch::Receiver<bool>) -> Result<()> {
        let (ended, published_last) = watch::channel(false);
        let publishing = async {
            let outcome = self.publish_until(stop).await;
            ended.send_replace(true);
            outcome
        };
        tokio::try_join!(publishing, self.run_witnessing(published_last)).map(drop)
    }

    async fn publish_until(&self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let tick = self.settings.checkpoint_every.min(FOLLOW_EVERY);
        let mut last_published: Option<Instant> = None;
        loop {
            let is_last = *stop.borrow();
            if is_last || last_published.is_none_or(|at| at.elapsed() >= self.settings.checkpoint_every) {
                last_published = Some(Instant::now());
                self.note_failure(self.publish_once().await.map(drop), "the log could not be published")?;
            }
            if is_last {
                return Ok(());
            }
            self.note_failure(self.follow().await, "the published log could not be followed")?;
            self.note_failure(self.beat().await, "the heartbeat of the log could not be appended")?;
            tokio::select! {
                changed = stop.changed() => {
                    // A sender that is gone means the same as a stop.
                    if changed.is_err() {
                        return self.publish_once().await.map(drop);
                    }
                }
                () = tokio::time::sleep(tick) => {}
            }
        }
    }

    /// Signs and publishes the log as it stands, if it grew since the last time. Gives the newest
    /// checkpoint; `None` while the log has no leaf, or when another instance was faster.
    ///
    /// # Errors
    /// [`Error::LogRefused`] when the log does not extend what was signed last; nothing is signed or
    /// written from then on. Otherwise when a store cannot be used.
    pub async fn publish_once(&self) -> Result<Option<Arc<Published>>> {
        let _turn = self.log.turn.lock().await;
        if let Some(refusal) = self.log.refusal.get() {
            return Err(refusal.clone().into());
        }
        let head = self.database.read(audit_log::head).await.map_err(Error::store)?.ok_or(Error::NotFound)?;
        let published = self.log.published.load_full();
        if head.size == 0 || published.as_ref().is_some_and(|published| published.size == head.size) {
            return Ok(published);
        }
        // In this order: what was signed was committed before, so the head that is read afterwards
        // cannot be smaller in an honest store.
        let signed = self.keyholder.store().read(keys::last_signed).await.map_err(Error::keys)?;
        let proven = match self.prove_growth(signed).await? {
            Ok(proven) => proven,
            Err(refusal) => return Err(self.refuse_log(refusal)),
        };
        failpoint::reached("publish.proven");
        if let Some(handover) = proven.signed_handover() {
            // Whoever signed it may have been cut off before it was stored, and nobody can sign it again.
            self.store_checkpoint(handover).await?;
        }
        let Some(next) = self.sign(&proven).await? else { return Ok(None) };
        failpoint::reached("publish.signed");
        if next.size > proven.signed_size() && !self.compare_and_sign(proven, next.clone()).await? {
            return Ok(None);
        }
        failpoint::reached("publish.compared");
        self.store_checkpoint(&next).await?;
        failpoint::reached("publish.stored");
        self.forget_replaced(next.size).await?;
        let published = Arc::new(Published { size: next.size, note: next.note });
        self.remember(&published).await?;
        failpoint::reached("publish.remembered");
        self.take_published(Arc::clone(&published));
        Ok(Some(published))
    }

    /// The checkpoint that anyone may have, with the cosignatures of witnesses that came so far: the
    /// newest, or the newest that the quorum signed where the operator wants to wait for it.
    #[must_use]
    pub fn published(&self) -> Option<Arc<Published>> {
        self.log.shown.load_full()
    }

    /// Takes over a newer checkpoint of the log.
    fn take_published(&self, published: Arc<Published>) {
        self.log.published.store(Some(Arc::clone(&published)));
        if !self.witnesses.must_wait() {
            self.log.show(Published::clone(&published));
        }
        self.log.news.notify_one();
    }

    /// Why nothing is signed or written any more, if that is so. `/readyz` is red then.
    #[must_use]
    pub fn log_refusal(&self) -> Option<LogRefusal> {
        self.log.refusal.get().cloned()
    }

    /// Why this process starts, as its leaf 130 says: after a clean stop, after a crash, or with a
    /// memory that had to be rebuilt.
    #[must_use]
    pub fn start_cause(&self) -> Cause {
        self.log.start.get().copied().unwrap_or(Cause::Planned)
    }

    /// Reads the head and proves from the stored hashes that it extends what was signed. Where one key
    /// hands over to the next in between, that size comes first: it has a checkpoint of its own.
    async fn prove_growth(&self, signed: Option<LastSigned>) -> Result<std::result::Result<Proven, LogRefusal>> {
        let proven = self
            .database
            .read(move |connection| {
                let head = audit_log::head(connection)?.ok_or(storage::Error::DamagedLog("the head is missing"))?;
                let keys = log_keys(connection)?;
                if let Growth::Refused(refusal) = extends(connection, &head, signed.as_ref())? {
                    return Ok(Err(refusal));
                }
                let signed_size = signed.as_ref().map_or(0, |signed| signed.size);
                let handover = keys.handovers().find(|size| (signed_size + 1..head.size).contains(size));
                let (size, root) = match handover {
                    None => (head.size, head.root),
                    Some(size) => (size, tree::root(size, &StoredHashes::new(connection))?),
                };
                let passed = LastSigned { size, root, note: String::new() };
                if size < head.size
                    && let Growth::Refused(refusal) = extends(connection, &head, Some(&passed))?
                {
                    return Ok(Err(refusal));
                }
                Ok(Ok(Proven { size, root, keys, signed }))
            })
            .await
            .or_else(damage)?;
        if let Ok(proven) = &proven {
            self.take_log_keys(proven.keys.clone());
        }
        Ok(proven)
    }

    /// Has the key store take the new signature for the old one. Only after that may the note leave
    /// this process.
    async fn compare_and_sign(&self, proven: Proven, next: LastSigned) -> Result<bool> {
        let won = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&won);
        let seen = proven.signed;
        self.keyholder
            .store()
            .write(move |connection| {
                told.store(keys::compare_and_sign(connection, seen.as_ref(), &next)?, Ordering::Release);
                Ok(())
            })
            .await
            .map_err(Error::keys)?;
        Ok(won.load(Ordering::Acquire))
    }

    async fn store_checkpoint(&self, signed: &LastSigned) -> Result<()> {
        let (size, note, at) = (signed.size, signed.note.clone(), self.source.now().into());
        self.commit_change(move || {
            let note = note.clone();
            Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                audit_log::insert_checkpoint(transaction.connection(), size, &note, at)?;
                Ok(Step::Commit)
            })
        })
        .await?;
        Ok(())
    }

    /// Writes a checkpoint into this instance's memory.
    async fn remember(&self, published: &Arc<Published>) -> Result<()> {
        let memory = Memory::of(&self.settings.memory, &self.origin);
        let published = Arc::clone(published);
        tokio::task::spawn_blocking(move || memory.write(&published.note))
            .await
            .map_err(|_| Error::WrongState("the checkpoint memory cannot be written"))?
    }

    /// Takes over what another instance published, after checking it as if it were a stranger's.
    async fn follow(&self) -> Result<()> {
        let seen = self.log.published.load().as_ref().map_or(0, |published| published.size);
        let newest = self.database.read(audit_log::newest_checkpoint).await.map_err(Error::store)?;
        let Some((size, note)) = newest.filter(|(size, _)| *size > seen) else { return Ok(()) };
        self.look_at_log_keys().await?;
        let Ok(verified) = checkpoint::open(note.as_bytes(), Some(&self.origin), &self.own_verifiers()?, &[]) else {
            return Err(self.refuse_log(LogRefusal {
                exit: 40,
                what: format!(
                    "damaged: the stored checkpoint of {size} leaves is not signed by this log; restore the data store"
                ),
            }));
        };
        let signed = LastSigned { size: verified.checkpoint.size, root: verified.checkpoint.root, note };
        match self.prove_growth(Some(signed.clone())).await? {
            Ok(_) => {}
            Err(refusal) => return Err(self.refuse_log(refusal)),
        }
        let published = Arc::new(Published { size: signed.size, note: signed.note });
        self.remember(&published).await?;
        self.take_published(published);
        Ok(())
    }

    /// Appends a heartbeat to a log that was idle for the announced interval.
    async fn beat(&self) -> Result<()> {
        let head = self.database.read(audit_log::head).await.map_err(Error::store)?.ok_or(Error::NotFound)?;
        let idle = self.source.now().duration_since(head.last_time.timestamp());
        if head.size == 0
            || idle < SignedDuration::try_from(self.settings.heartbeat_every).unwrap_or(SignedDuration::MAX)
        {
            return Ok(());
        }
        let leaf = self.leaf(Event::LogHeartbeat, Outcome::Done)?.finish()?;
        let outcome = self
            .database
            .write(Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
                // Another instance may have beaten for all.
                let now = audit_log::head(transaction.connection())?;
                Ok(if now.is_some_and(|now| now.size == head.size) { Step::Commit } else { Step::Stale })
            }))
            .await;
        outcome.map(drop).map_err(Error::store)
    }

    /// Stops signing and writing for good.
    pub(super) fn refuse_log(&self, refusal: LogRefusal) -> Error {
        tracing::error!(status = refusal.exit, reason = %refusal.what, "the audit log is refused; nothing more is written");
        self.database.halt();
        self.log.refusal.get_or_init(|| refusal).clone().into()
    }

    /// What may pass is told and tried again at the next tick.
    pub(super) fn note_failure(&self, outcome: Result<()>, what: &'static str) -> Result<()> {
        match outcome {
            Err(error @ Error::LogRefused { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(error = crate::telemetry::cause(&error), "{what}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// A size that was proven to extend what was signed last.
struct Proven {
    size: u64,
    root: Hash,
    /// Which keys sign it.
    keys: LogKeys,
    signed: Option<LastSigned>,
}

impl Proven {
    /// What was signed last, if two keys signed it.
    fn signed_handover(&self) -> Option<&LastSigned> {
        self.signed.as_ref().filter(|signed| self.keys.handovers().any(|size| size == signed.size))
    }

    fn signed_size(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.size)
    }
}

enum Growth {
    Proven,
    Refused(LogRefusal),
}

/// Whether the head extends what was signed, by a consistency proof from the stored hashes
/// (RFC 9162 §2.1.4.2), checked as a stranger would check it.
fn extends(connection: &mut Connection, head: &LogHead, signed: Option<&LastSigned>) -> storage::Result<Growth> {
    let (size, root) = signed.map_or((0, tree::empty_root()), |signed| (signed.size, signed.root));
    if size > head.size {
        return Ok(Growth::Refused(LogRefusal::rollback("this installation signed", size, head.size)));
    }
    let proof = tree::consistency_proof(size, head.size, &StoredHashes::new(connection))?;
    if tree::verify_consistency(size, &root, head.size, &head.root, &proof).is_ok() {
        return Ok(Growth::Proven);
    }
    let stored_root = tree::root(size, &StoredHashes::new(connection))?;
    Ok(Growth::Refused(if stored_root == root {
        LogRefusal::damaged(&format!("the head of {} leaves does not follow from the leaves", head.size))
    } else {
        LogRefusal::fork("this installation signed", size, &root, head.size, &stored_root)
    }))
}

/// A log whose hashes are not there is damaged; any other error may pass.
fn damage<T>(error: storage::Error) -> Result<std::result::Result<T, LogRefusal>> {
    match error {
        storage::Error::DamagedLog(_) | storage::Error::Malformed { .. } => {
            Ok(Err(LogRefusal::damaged(&error.to_string())))
        }
        error => Err(Error::store(error)),
    }
}

const WAY_OUT: &str = "bring back the newer data, or the missing leaves from a mirror of the log (`amanat restore --mirror DIR`, with \
                       `--check` first); never go on behind what was signed";

impl LogRefusal {
    pub(super) fn rollback(who: &str, signed: u64, stored: u64) -> Self {
        Self {
            exit: 30,
            what: format!("rollback: {who} a log of {signed} leaves, the data store holds {stored}; {WAY_OUT}"),
        }
    }

    pub(super) fn fork(who: &str, signed: u64, signed_root: &Hash, stored: u64, stored_root: &Hash) -> Self {
        let [signed_root, stored_root] = [signed_root, stored_root].map(|root| data_encoding::BASE64.encode(root));
        Self {
            exit: 30,
            what: format!(
                "fork: {who} {signed} leaves with root {signed_root}, the data store of {stored} leaves has root {stored_root} at that size; {WAY_OUT}"
            ),
        }
    }

    fn damaged(what: &str) -> Self {
        Self {
            exit: 40,
            what: format!(
                "damaged: {what}; `amanat audit verify` names every fault; restore the data store from before it"
            ),
        }
    }
}
