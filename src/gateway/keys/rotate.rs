//! A rotation of the root key: stage, switch, wrap again.
//!
//! 1. A new version is written to every copy place, then to `root.key`, and read back; the key store
//!    knows it as `staged`.
//! 2. When every live instance holds it, it becomes `active`: from then on it wraps what is new.
//! 3. Everything wrapped under older versions is wrapped again, a thousand rows a transaction. Each
//!    replacement compares what it replaces, so a key that is destroyed meanwhile stays destroyed.
//!
//! The job is a row with a lease. Whoever takes it up after a kill goes on where it stands; the old
//! versions stay in the file and open what is not done yet.

mod job;
mod stage;
mod wrap;

use std::path::PathBuf;
use std::time::Duration;

use crate::audit::leaf::{Cause, Fact};
use crate::audit::payload::Payload;
use crate::crypto::root_key::KekState;
use crate::domain::event::{Event, Outcome};
use crate::gateway::policy::operator;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys::{self, KeyJob};
use crate::storage::{Id16, Micros, Step, Unit};

use job::{Phase, Place};

/// The kind of this job in the key store.
pub(super) const KIND: &str = "kek";
/// How to rotate.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Second places for `root.key`, written first.
    pub copies: Vec<PathBuf>,
    /// Why.
    pub cause: Cause,
    /// How long to wait for other instances.
    pub patience: Duration,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows wrapped again.
    pub done: i64,
    /// Rows there were when wrapping began.
    pub total: i64,
}

/// What a rotation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The version before.
    pub from: u32,
    /// The version that wraps now.
    pub to: u32,
    /// Rows wrapped again, over all the runs of the job.
    pub rewrapped: i64,
    /// Rows that could not be opened and stay as they are, under their old version, which must
    /// therefore be kept.
    pub unreadable: i64,
}

impl Gateway {
    /// Rotates the root key, or goes on with a rotation that was begun. `progress` is told about
    /// every batch.
    ///
    /// # Errors
    /// [`Error::WrongState`] while somebody else works at it, while an instance does not hold the
    /// new version yet, or where the operator must add a version first; errors of the stores and of
    /// the file. Whatever happens, everything stays readable and the job can be taken up again.
    pub async fn rotate_root_key(&self, how: &Rotation, progress: impl Fn(Progress) + Send + Sync) -> Result<Rotated> {
        let Ok(_turn) = self.key_work.try_lock() else {
            return Err(Error::WrongState("this process is at work on a key job already"));
        };
        let job = match self.open_rotation().await? {
            Some(job) => self.take(job).await?,
            None => self.begin_rotation().await?,
        };
        self.go_on(job, how, &progress).await
    }

    /// Goes on with a rotation that was begun, or wraps again what is left under old versions.
    /// `None`: there is nothing to do.
    ///
    /// # Errors
    /// As [`Gateway::rotate_root_key`].
    pub async fn rewrap(&self, how: &Rotation, progress: impl Fn(Progress) + Send + Sync) -> Result<Option<Rotated>> {
        let Ok(_turn) = self.key_work.try_lock() else {
            return Err(Error::WrongState("this process is at work on a key job already"));
        };
        if let Some(job) = self.open_rotation().await? {
            let job = self.take(job).await?;
            return self.go_on(job, how, &progress).await.map(Some);
        }
        let active = self.keyholder.keyring().active();
        let left = self.keyholder.store().read(move |c| keys::count_to_rewrap(c, active)).await.map_err(Error::keys)?;
        if left == 0 {
            return Ok(None);
        }
        let job = self.begin_job(active, active, Phase::Rewrapping, left).await?;
        self.go_on(job, how, &progress).await.map(Some)
    }

    async fn go_on(
        &self,
        mut job: KeyJob,
        how: &Rotation,
        progress: &(impl Fn(Progress) + Send + Sync),
    ) -> Result<Rotated> {
        let mut place = Place::parse(&job.position);
        if Phase::of(&job) == Phase::Staging {
            if !place.noted {
                self.note(Event::KeyJobStarted, Outcome::Done, &job, vec![Fact::Cause(how.cause)]).await?;
                place.noted = true;
                self.keep(&mut job, &place, |_| Ok(())).await?;
            }
            if !self.stage(&job, how).await? {
                // The staged version was lost before anything was wrapped under it: another one.
                self.keyholder.store().write(move |c| keys::end_job(c, job.id)).await.map_err(Error::keys)?;
                return Err(Error::WrongState(
                    "the staged version of the root key was lost unused and is given up; rotate again",
                ));
            }
            self.wait_for_instances(&mut job, &place, how.patience).await?;
            self.switch(&mut job, &mut place).await?;
        }
        // The keyring first: where the switch was made by a process that is gone, this one must wrap
        // under the new version too.
        if self.keyholder.keyring().active() != job.to_version {
            let ring = self.keyholder.keyring().activate(job.to_version).map_err(Error::DataUnreadable)?;
            self.keyholder.set_keyring(ring);
        }
        self.write_states(how)?;
        if !place.noted {
            self.note(Event::KeyJobSwitched, Outcome::Done, &job, Vec::new()).await?;
            place.noted = true;
            self.keep(&mut job, &place, |_| Ok(())).await?;
        }
        let unreadable = self.wrap_again(&mut job, &mut place, progress).await?;
        self.finish(&job, unreadable).await?;
        Ok(Rotated { from: job.from_version, to: job.to_version, rewrapped: job.done, unreadable })
    }

    async fn finish(&self, job: &KeyJob, unreadable: i64) -> Result<()> {
        let outcome = if unreadable == 0 { Outcome::Done } else { Outcome::Failed };
        let number = u64::try_from(job.done).unwrap_or(0);
        self.note(Event::KeyJobEnded, outcome, job, vec![Fact::Number(number)]).await?;
        let (id, began, at): (Id16, Micros, Micros) = (job.id, job.created_at, self.source.now().into());
        self.keyholder
            .store()
            .write(move |c| {
                // The days for which old backups can still be restored count from here.
                for kek in keys::keks(c)? {
                    let retired_now =
                        kek.state == KekState::Retired.as_str() && kek.retired_at.is_some_and(|since| since >= began);
                    if retired_now && keys::wrapped_under(c, kek.version)? == 0 {
                        keys::set_kek_state(c, kek.version, KekState::Retired.as_str(), at)?;
                    }
                }
                keys::end_job(c, id)
            })
            .await
            .map_err(Error::keys)
    }

    async fn note(&self, event: Event, outcome: Outcome, job: &KeyJob, facts: Vec<Fact>) -> Result<()> {
        let words = format!("root key: version {} to {}", job.from_version, job.to_version);
        let payload = Payload { reason: Some(words), ..operator() };
        let leaf = self.installation_leaf(event, outcome, &payload, facts)?;
        self.commit_change(move || Unit::change(Vec::new(), vec![leaf.clone()], |_, _| Ok(Step::Commit))).await?;
        Ok(())
    }
}
