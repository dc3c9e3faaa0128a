//! The new version of the root key: at every place, at every instance, then in use.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::crypto::key::Key;
use crate::crypto::keyring::Kek;
use crate::crypto::root_key::{KekState, RootKey};
use crate::gateway::keys::root_file::{self, RootSource};
use crate::gateway::keys::versions::id16;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::Micros;
use crate::storage::keys::{self, KeyJob};

use super::Rotation;
use super::job::{Phase, Place};

/// An instance that was silent for so long is not waited for: it follows before it works again.
const SILENT: SignedDuration = SignedDuration::from_secs(10);

impl Gateway {
    /// The version to rotate to: one that waits already, or the next.
    pub(super) async fn begin_rotation(&self) -> Result<KeyJob> {
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

    /// Writes the new version to the copies and to the file, and tells the key store. False: it was
    /// staged before and is gone.
    pub(super) async fn stage(&self, job: &KeyJob, how: &Rotation) -> Result<bool> {
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

    pub(super) async fn wait_for_instances(&self, job: &mut KeyJob, place: &Place, patience: Duration) -> Result<()> {
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
    pub(super) async fn switch(&self, job: &mut KeyJob, place: &mut Place) -> Result<()> {
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
    pub(super) fn write_states(&self, how: &Rotation) -> Result<()> {
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
}
