//! A store was put back from an older copy, and the log in it is behind what was signed. Here the
//! missing leaves come back from the mirror, so that the same log goes on; what the journal of stops
//! and the log remember and the old copy does not is made again before anybody is served
//! (`cryptography.md` §11: a restore may lose new data, but must not lose a *no*).
//!
//! It refuses before it writes: the leaves must follow the stored log and give every root that was
//! signed. From the first leaf on a mark in the store keeps everybody out until the last step, which
//! takes the mark away in the commit that tells of the restore; cut short anywhere, it runs again.
//!
//! Deliberately absent: going on without the leaves. That would be a second log under the same name.

mod balance;
mod stops;
mod survey;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::SignedDuration;
use serde::Serialize;

use crate::audit::leaf::{Cause, Counts, Fact};
use crate::audit::payload::{Payload, Value};
use crate::crypto::mac::hash;
use crate::domain::event::{Event, Outcome};
use crate::policy::Files;
use crate::storage::audit_log::{self, LostLeaf, RestoreState};
use crate::storage::{Step, Unit, keys};

use super::clock::Belief;
use super::mirror::Folder;
use super::source::Source;
use super::{Error, Gateway, KeyringSource, Result, Settings, journal, policy, set_up};

use survey::{Claim, Survey};

/// Whoever was seen so shortly ago still runs.
const RUNNING: SignedDuration = SignedDuration::from_secs(10);
/// Tiles of leaves that are brought back in one commit.
const TILES_PER_COMMIT: usize = 4;

/// What a restore did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Leaves of the log as it was put back.
    pub from: u64,
    /// Leaves that were signed, and that the log now has at least.
    pub to: u64,
    /// What the leaves in between tell, by the name of the event.
    pub leaves: BTreeMap<&'static str, Lost>,
    /// What the journal of stops holds that is younger than the copy: by kind, and what became of it.
    pub stops: BTreeMap<&'static str, u64>,
    /// Choices and suppressions that were made again.
    pub stopped_again: u64,
    /// Stops of people whom the copy does not know.
    pub of_nobody: u64,
    /// People who had come back and were erased again.
    pub erased_again: u64,
    /// Sealed details of the log that are gone, now counted in it: operation, evidence, system.
    pub details_lost: [u64; 3],
}

/// Leaves of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// Of those, how many told of rows and details that did not come back.
    pub rows_lost: u64,
}

/// Says what a restore from this mirror would do. Nothing is changed.
///
/// # Errors
/// [`Error::LogRefused`] as [`from_mirror`]; when a store, the mirror or the journal cannot be read.
pub fn check(settings: &Settings, mirror: &Path, progress: impl FnMut(u64, u64)) -> Result<Restored> {
    let mut data = settings.database.connect_to_read().map_err(Error::store)?;
    let head = audit_log::head(&mut data).map_err(Error::store)?.ok_or(Error::NotFound)?;
    let signed = settings.keys.connect_to_read().and_then(|mut keys| keys::last_signed(&mut keys));
    let claims = Claim::all(&head.origin, signed.map_err(Error::keys)?, &settings.memory, mirror)?;
    let survey = Survey::of(&mut data, head, &claims, &Folder::new(mirror), progress)?;
    let mut restored = survey.told();
    restored.stops = journal::count_since(&settings.journal, survey.before.time.timestamp())?;
    Ok(restored)
}

/// Brings the missing leaves back from a mirror and makes again what must not be lost. The gateway
/// must not run; it may be started as soon as this is done.
///
/// # Errors
/// [`Error::LogRefused`] with exit code 30 if the log is apart from what was signed or the mirror does
/// not reach it, with 40 if the mirror or the log is damaged; nothing was changed then. When a store, the
/// mirror, the memory or the journal fails; then the same call goes on from there.
pub async fn from_mirror(
    settings: Settings,
    keyring: KeyringSource,
    files: Files,
    source: Source,
    mirror: &Path,
    progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<Restored> {
    let (house, _) = set_up::assemble(settings, keyring, &files, source).await?;
    let restored = house.restore(mirror, progress).await;
    house.close();
    restored
}

impl Gateway {
    async fn restore(&self, mirror: &Path, progress: impl FnMut(u64, u64) + Send + 'static) -> Result<Restored> {
        self.nobody_runs().await?;
        let under_way = self.database.read(audit_log::restore_state).await.map_err(Error::store)?;
        let survey = self.survey(mirror, progress).await?;
        let mut restored = survey.told();
        if survey.hashes.is_empty() && under_way.is_none() {
            return Ok(restored);
        }
        let before = under_way.unwrap_or(survey.before);
        restored.from = before.size;
        self.bring_back(mirror, &survey, before).await?;
        self.check_log(Belief::Checked).await?;

        self.resume_erasures().await?;
        restored.erased_again = u64::try_from(self.replay_erasures().await?).unwrap_or(u64::MAX);
        self.stop_again(before.time.timestamp(), &mut restored).await?;
        crate::telemetry::failpoint::reached("restore.stopped");
        self.drop_returned_parts(before).await?;
        restored.details_lost = self.missing_parts().await?;
        self.tell_of_restore(before, &survey, &restored).await?;
        crate::telemetry::failpoint::reached("restore.told");
        self.publish_once().await?;
        self.finish_mirror().await;
        Ok(restored)
    }

    /// A gateway that runs from the same stores would write between the steps.
    async fn nobody_runs(&self) -> Result<()> {
        let now = self.source.now();
        let since = now.checked_sub(RUNNING).unwrap_or(now).into();
        let seen = self.keyholder.store().read(move |c| keys::instances(c, since)).await.map_err(Error::keys)?;
        if seen.is_empty() {
            return Ok(());
        }
        Err(Error::WrongState("a gateway runs, or did until ten seconds ago; stop every instance before a restore"))
    }

    /// Reads everything that was signed, and the leaves between it and the stored log.
    async fn survey(&self, mirror: &Path, progress: impl FnMut(u64, u64) + Send + 'static) -> Result<Survey> {
        let signed = self.keyholder.store().read(keys::last_signed).await.map_err(Error::keys)?;
        let (origin, memory, place) = (self.origin.clone(), self.settings.memory.clone(), mirror.to_owned());
        self.database
            .read(move |connection| {
                let head = audit_log::head(connection)?;
                let surveyed = head.ok_or(Error::NotFound).and_then(|head| {
                    let claims = Claim::all(&origin, signed, &memory, &place)?;
                    Survey::of(connection, head, &claims, &Folder::new(&place), progress)
                });
                Ok(surveyed)
            })
            .await
            .map_err(Error::store)?
    }

    /// Appends the missing leaves as they were. What was surveyed is not believed again: each must have
    /// the hash that led to the signed root.
    async fn bring_back(&self, mirror: &Path, survey: &Survey, before: RestoreState) -> Result<()> {
        let mut from = survey.before.size;
        let mut hashes = survey.hashes.as_slice();
        while !hashes.is_empty() {
            let (place, wanted, first) = (mirror.to_owned(), hashes.to_vec(), from);
            let leaves = tokio::task::spawn_blocking(move || {
                survey::read_again(&Folder::new(&place), first, &wanted, TILES_PER_COMMIT)
            })
            .await
            .map_err(|_| Error::WrongState("the work with files was broken off"))??;
            hashes = hashes.get(leaves.len()..).unwrap_or_default();
            let count = u64::try_from(leaves.len()).unwrap_or(0);
            // The last commit brings the checkpoint that covers all of it, and those where keys changed.
            let mut checkpoints = Vec::new();
            if hashes.is_empty() {
                checkpoints.clone_from(&survey.handovers);
                checkpoints.push((survey.target.size, survey.note.clone()));
            }
            self.append_lost(before, from, leaves, checkpoints).await?;
            from += count;
        }
        Ok(())
    }

    async fn append_lost(
        &self,
        before: RestoreState,
        from: u64,
        leaves: Vec<LostLeaf>,
        checkpoints: Vec<(u64, String)>,
    ) -> Result<()> {
        let at = self.source.now().into();
        let unit = Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
            audit_log::begin_restore(transaction, &before)?;
            audit_log::bring_back(transaction, from, &leaves)?;
            for (size, note) in &checkpoints {
                audit_log::insert_checkpoint(transaction.connection(), *size, note, at)?;
            }
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map(drop).map_err(Error::store)?;
        crate::telemetry::failpoint::reached("restore.leaves");
        Ok(())
    }

    /// The last commit: what is lost is counted, the restore is told, and the house may open again.
    async fn tell_of_restore(&self, before: RestoreState, survey: &Survey, restored: &Restored) -> Result<()> {
        let numbers = [
            ("leaves", restored.to.saturating_sub(restored.from)),
            ("stopped_again", restored.stopped_again),
            ("of_nobody", restored.of_nobody),
            ("erased_again", restored.erased_again),
        ];
        let more = numbers.map(|(name, number)| (name, Value::Uint(number))).to_vec();
        let payload = Payload { more, ..policy::operator() };
        let facts =
            vec![Fact::Digest(hash(survey.note.as_bytes())), Fact::LogSize(before.size), Fact::Root(before.root)];
        let mut leaves = Vec::new();
        if restored.details_lost != [0; 3] {
            let lost: Counts = restored.details_lost.into();
            let leaf = self.leaf(Event::ErasureReplayed, Outcome::Done)?.fact(Fact::Deleted(lost));
            leaves.push(leaf.fact(Fact::Fingerprints(Vec::new())).fact(Fact::Cause(Cause::Restore)).finish()?);
        }
        leaves.push(self.installation_leaf(Event::BackupRestored, Outcome::Done, &payload, facts)?);
        let unit = Unit::change(Vec::new(), leaves, |transaction, _| {
            transaction.raise_epoch()?;
            audit_log::end_restore(transaction)?;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map(drop).map_err(Error::store)
    }

    /// Refuses to open over a restore that was cut short: the leaves may be there, and the stops not.
    ///
    /// # Errors
    /// [`Error::LogRefused`].
    pub(super) async fn check_restored(&self) -> Result<()> {
        match self.database.read(audit_log::restore_state).await.map_err(Error::store)? {
            None => Ok(()),
            Some(state) => Err(Error::LogRefused {
                exit: 30,
                what: format!(
                    "half restored: a restore that began at {} leaves was cut short; run `amanat restore --mirror DIR` again",
                    state.size
                ),
            }),
        }
    }
}
