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

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::audit::leaf::{Cause, Fact};
use crate::audit::payload::Payload;
use crate::crypto::key::Key;
use crate::crypto::keyring::{Kek, KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::{KeyPurpose, Owner};
use crate::crypto::root_key::{KekState, RootKey};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::SubjectId;
use crate::gateway::policy::operator;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys::{self, Cursor, KeyJob, Rewrappable, WrappedRow};
use crate::storage::{Id16, Micros, Step, Unit};
use crate::telemetry::metrics as figures;

use super::root_file::{self, RootSource};
use super::versions::id16;

/// The kind of this job in the key store.
pub(super) const KIND: &str = "kek";
/// Rows in one transaction of a job.
const BATCH: i64 = 1_000;
/// How long a job belongs to its instance after its last batch.
const LEASE: SignedDuration = SignedDuration::from_secs(20);
/// An instance that was silent for so long is not waited for: it follows before it works again.
const SILENT: SignedDuration = SignedDuration::from_secs(10);
/// Passes over the rows before what is left is called unreadable.
const PASSES: usize = 5;

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

    async fn open_rotation(&self) -> Result<Option<KeyJob>> {
        self.keyholder.store().read(|c| keys::open_job(c, KIND)).await.map_err(Error::keys)
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

    /// The version to rotate to: one that waits already, or the next.
    async fn begin_rotation(&self) -> Result<KeyJob> {
        self.read_root_keys_again().await?;
        let known = self.keyholder.store().read(keys::keks).await.map_err(Error::keys)?;
        let ring = self.keyholder.keyring();
        let waiting = ring.versions().filter(|version| *version > ring.active()).max();
        let to = match (waiting, &self.root_source) {
            (Some(waiting), _) => waiting,
            (None, RootSource::File { managed: true, .. }) => {
                let newest = known.iter().map(|kek| kek.version).chain(ring.versions()).max().unwrap_or(0);
                newest.checked_add(1).ok_or(Error::WrongState("there are no more versions"))?
            }
            (None, _) => {
                return Err(Error::WrongState(
                    "the operator keeps the root key: add a new version to it at every instance, reload, and rotate again",
                ));
            }
        };
        self.begin_job(ring.active(), to, Phase::Staging, 0).await
    }

    async fn begin_job(&self, from: u32, to: u32, phase: Phase, total: i64) -> Result<KeyJob> {
        let now = self.source.now();
        let job = KeyJob {
            id: Id16(self.source.random().map_err(Error::Protection)?),
            kind: KIND.to_owned(),
            from_version: from,
            to_version: to,
            position: Place::default().encode(),
            total,
            done: 0,
            state: phase.as_str().to_owned(),
            holder: Some(id16(self.instance)),
            lease_until: Some(self.lease_end()),
            created_at: now.into(),
        };
        let row = job.clone();
        let begun = self.keyholder.store().write_for(move |c| keys::begin_job(c, &row)).await.map_err(Error::keys)?;
        if begun { Ok(job) } else { Err(Error::WrongState("another process begins a rotation at this moment")) }
    }

    /// Takes the lease of a job that somebody began.
    async fn take(&self, mut job: KeyJob) -> Result<KeyJob> {
        let (id, own, now, until) = (job.id, id16(self.instance), Micros::from(self.source.now()), self.lease_end());
        let taken = self
            .keyholder
            .store()
            .write_for(move |c| keys::take_job(c, id, own, now, until))
            .await
            .map_err(Error::keys)?;
        if !taken {
            return Err(Error::WrongState(
                "another process works at this rotation; if it was killed, its lease ends within 20 seconds",
            ));
        }
        self.read_root_keys_again().await?;
        job.holder = Some(own);
        job.lease_until = Some(until);
        Ok(job)
    }

    fn lease_end(&self) -> Micros {
        let now = self.source.now();
        now.checked_add(LEASE).unwrap_or(now).into()
    }

    /// Writes the new version to the copies and to the file, and tells the key store. False: it was
    /// staged before and is gone.
    async fn stage(&self, job: &KeyJob, how: &Rotation) -> Result<bool> {
        let to = job.to_version;
        let known = self.keyholder.store().read(keys::keks).await.map_err(Error::keys)?;
        let held = self.keyholder.keyring();
        if held.kek(to).is_err() {
            if known.iter().any(|kek| kek.version == to) {
                let at = self.source.now().into();
                self.keyholder
                    .store()
                    .write(move |c| keys::set_kek_state(c, to, KekState::Destroyed.as_str(), at))
                    .await
                    .map_err(Error::keys)?;
                return Ok(false);
            }
            let RootSource::File { path, managed: true } = &self.root_source else {
                return Err(Error::RootKey(format!("version {to} is not among the root keys of this instance")));
            };
            let mut lines = root_file::read(path, true)?;
            let key = Key::random(&mut |bytes| self.source.fill(bytes)).map_err(Error::Protection)?;
            lines.insert(
                0,
                RootKey { created: Some(self.source.now()), state: KekState::Staged, kek: Kek::new(to, key) },
            );
            // The copies come first: what is used must never be younger than what can be brought back.
            for place in &how.copies {
                root_file::write(&root_file::copy_at(place), &lines)?;
            }
            root_file::write(path, &lines)?;
        }
        self.read_root_keys_again().await?;
        self.note_keys_held().await?;
        Ok(true)
    }

    async fn wait_for_instances(&self, job: &mut KeyJob, place: &Place, patience: Duration) -> Result<()> {
        let began = Instant::now();
        let to = job.to_version;
        loop {
            let now = self.source.now();
            let since = now.checked_sub(SILENT).unwrap_or(now).into();
            let own = id16(self.instance);
            let others = self.keyholder.store().read(move |c| keys::instances(c, since)).await.map_err(Error::keys)?;
            if others.iter().all(|other| other.id == own || other.kek_version >= to) {
                return Ok(());
            }
            if began.elapsed() >= patience {
                return Err(Error::WrongState(
                    "another instance does not hold the new version of the root key yet; the new version is staged and nothing uses it. \
                     Give it to every instance and rotate again",
                ));
            }
            self.keep(job, place, |_| Ok(())).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The new version becomes active, in one transaction with the phase of the job.
    async fn switch(&self, job: &mut KeyJob, place: &mut Place) -> Result<()> {
        let to = job.to_version;
        job.total = self.keyholder.store().read(move |c| keys::count_to_rewrap(c, to)).await.map_err(Error::keys)?;
        Phase::Rewrapping.as_str().clone_into(&mut job.state);
        *place = Place::default();
        let at: Micros = self.source.now().into();
        self.keep(job, place, move |c| {
            for kek in keys::keks(c)? {
                if kek.state == KekState::Active.as_str() && kek.version != to {
                    keys::set_kek_state(c, kek.version, KekState::Retired.as_str(), at)?;
                }
            }
            keys::set_kek_state(c, to, KekState::Active.as_str(), at)
        })
        .await?;
        let ring = self.keyholder.keyring().activate(to).map_err(Error::DataUnreadable)?;
        self.keyholder.set_keyring(ring);
        Ok(())
    }

    /// Makes the states in the file what they are in the key store.
    fn write_states(&self, how: &Rotation) -> Result<()> {
        let RootSource::File { path, managed: true } = &self.root_source else { return Ok(()) };
        let active = self.keyholder.keyring().active();
        let mut lines = root_file::read(path, true)?;
        let right = |line: &RootKey| match line.kek.version() {
            version if version == active => KekState::Active,
            version if version < active => KekState::Retired,
            _ => KekState::Staged,
        };
        if lines.iter().all(|line| line.state == right(line)) {
            return Ok(());
        }
        for line in &mut lines {
            line.state = right(line);
        }
        for place in &how.copies {
            root_file::write(&root_file::copy_at(place), &lines)?;
        }
        root_file::write(path, &lines)
    }

    /// Wraps again, from where the job stands. Gives the number of rows that could not be opened.
    async fn wrap_again(
        &self,
        job: &mut KeyJob,
        place: &mut Place,
        progress: &(impl Fn(Progress) + Send + Sync),
    ) -> Result<i64> {
        let to = job.to_version;
        progress(Progress { done: job.done, total: job.total });
        for _ in 0..PASSES {
            let mut unreadable = 0;
            while let Some(kind) = Rewrappable::ALL.get(usize::from(place.kind)).copied() {
                let after = place.cursor;
                let rows = self
                    .keyholder
                    .store()
                    .read(move |c| keys::page_to_rewrap(c, kind, to, after, BATCH))
                    .await
                    .map_err(Error::keys)?;
                let Some(last) = rows.last().map(|row| Cursor { id: row.id, version: row.version }) else {
                    place.kind += 1;
                    place.cursor = None;
                    continue;
                };
                let (wrapped, failed) = self.wrap_page(rows).await?;
                unreadable += failed;
                place.cursor = Some(last);
                self.keep_batch(job, place, kind, wrapped).await?;
                progress(Progress { done: job.done, total: job.total.max(job.done) });
                let left = u32::try_from((job.total - job.done).max(0)).unwrap_or(u32::MAX);
                metrics::gauge!(figures::KEY_JOB_LEFT, "kind" => KIND).set(f64::from(left));
            }
            // A key that another instance wrapped just before it switched stands behind the cursor.
            let left = self.keyholder.store().read(move |c| keys::count_to_rewrap(c, to)).await.map_err(Error::keys)?;
            if left <= unreadable {
                metrics::gauge!(figures::KEY_JOB_LEFT, "kind" => KIND).set(0.0);
                return Ok(left);
            }
            *place = Place { noted: true, ..Place::default() };
        }
        self.keyholder.store().read(move |c| keys::count_to_rewrap(c, to)).await.map_err(Error::keys)
    }

    /// Opens and wraps a page on the blocking pool.
    async fn wrap_page(&self, rows: Vec<WrappedRow>) -> Result<(Vec<(WrappedRow, Vec<u8>)>, i64)> {
        let house = self.clone();
        tokio::task::spawn_blocking(move || {
            let keyring = house.keyholder.keyring();
            let mut wrapped = Vec::with_capacity(rows.len());
            let mut failed = 0;
            for row in rows {
                match house.wrap_row(&keyring, &row)? {
                    Some(fresh) => wrapped.push((row, fresh)),
                    None => failed += 1,
                }
            }
            if failed > 0 {
                tracing::error!(rows = failed, "wrapped keys cannot be opened and stay under their old version; see the table of faults in operations");
                metrics::counter!(figures::KEY_FAILURES, "kind" => "rewrap").increment(failed);
            }
            Ok((wrapped, i64::try_from(failed).unwrap_or(i64::MAX)))
        })
        .await
        .map_err(|_| Error::Contention)?
    }

    /// `None`: the row cannot be opened.
    fn wrap_row(&self, keyring: &Keyring, row: &WrappedRow) -> Result<Option<Vec<u8>>> {
        let Some(purpose) = KeyPurpose::parse(&row.purpose) else { return Ok(None) };
        let Ok(wrapped) = WrappedKey::parse(&row.wrapped) else { return Ok(None) };
        let owner = row.owner.map(|id| Owner::from(SubjectId::from_bytes(id.0)));
        let place = KeyPlace { installation: self.keyholder.installation, purpose, owner, version: row.version };
        let nonce = self.source.random().map_err(Error::Protection)?;
        Ok(keyring.rewrap(&place, &wrapped, &nonce).ok().map(|fresh| fresh.to_bytes()))
    }

    async fn keep_batch(
        &self,
        job: &mut KeyJob,
        place: &Place,
        kind: Rewrappable,
        wrapped: Vec<(WrappedRow, Vec<u8>)>,
    ) -> Result<()> {
        job.position = place.encode();
        job.lease_until = Some(self.lease_end());
        let (before, to) = (job.done, job.to_version);
        let row = job.clone();
        job.done = self
            .keyholder
            .store()
            .write_for(move |c| {
                let mut row = row.clone();
                row.done = before;
                for (old, fresh) in &wrapped {
                    // A row that was destroyed or wrapped again meanwhile is nobody's loss.
                    row.done += i64::from(keys::replace_wrapped(c, kind, old, fresh, to)?);
                }
                if keys::advance_job(c, &row)? {
                    Ok(row.done)
                } else {
                    Err(crate::storage::Error::Refused("the job belongs to another instance"))
                }
            })
            .await
            .map_err(Error::keys)?;
        Ok(())
    }

    /// Notes where the job stands together with a change, and keeps its lease.
    async fn keep(
        &self,
        job: &mut KeyJob,
        place: &Place,
        mut change: impl FnMut(&mut crate::storage::Connection) -> crate::storage::Result<()> + Send + 'static,
    ) -> Result<()> {
        job.position = place.encode();
        job.lease_until = Some(self.lease_end());
        let row = job.clone();
        let kept = self
            .keyholder
            .store()
            .write_for(move |c| {
                if !keys::advance_job(c, &row)? {
                    return Ok(false);
                }
                change(c)?;
                Ok(true)
            })
            .await
            .map_err(Error::keys)?;
        if kept { Ok(()) } else { Err(Error::WrongState("another process took this rotation over")) }
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

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The new version is being brought to every place and instance.
    Staging,
    /// The new version is active.
    Rewrapping,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Rewrapping => "rewrapping",
        }
    }

    fn of(job: &KeyJob) -> Self {
        if job.state == Self::Staging.as_str() { Self::Staging } else { Self::Rewrapping }
    }
}

/// The place of a job: whether the leaf of its phase stands, the kind of row it is at, and the last
/// row it saw of that kind. 2 bytes, then 16 and 4 where a row was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    noted: bool,
    kind: u8,
    cursor: Option<Cursor>,
}

impl Place {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.noted), self.kind];
        if let Some(cursor) = &self.cursor {
            bytes.extend_from_slice(&cursor.id.0);
            bytes.extend_from_slice(&cursor.version.to_be_bytes());
        }
        bytes
    }

    /// What does not parse is the beginning: doing rows twice harms nothing.
    fn parse(bytes: &[u8]) -> Self {
        let Some(([noted, kind], rest)) = bytes.split_first_chunk::<2>() else { return Self::default() };
        let cursor = rest.split_first_chunk::<16>().and_then(|(id, rest)| {
            let version = u32::from_be_bytes(*rest.first_chunk::<4>()?);
            Some(Cursor { id: Id16(*id), version })
        });
        Self { noted: *noted == 1, kind: *kind, cursor }
    }
}
