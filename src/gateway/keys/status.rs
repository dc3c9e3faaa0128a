//! What `amanat keys status` and the console show of the keys: never a key.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys::{self, StoredInstance, StoredKek};

use super::root_file::{self, RootSource};
use super::rotate::KIND;
use super::versions::short;

/// The keys as they stand.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    /// Versions of the root key, oldest first.
    pub versions: Vec<VersionStatus>,
    /// The rotation that is not finished, if one is open.
    pub job: Option<JobStatus>,
    /// Secrets of the service: purpose, version, state.
    pub secrets: Vec<(String, u32, String)>,
    /// Live instances and the newest version each holds.
    pub instances: Vec<(String, u32)>,
    /// Whether old backups become unreadable, and when.
    pub epochs: Epochs,
}

/// One version of the root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStatus {
    /// Its number.
    pub version: u32,
    /// `staged`, `active`, `retired`, `destroyed`.
    pub state: String,
    /// The first 8 hexadecimal digits of its commitment.
    pub fingerprint: String,
    /// Rows wrapped under it.
    pub wraps: i64,
    /// Whether this process holds it.
    pub held: bool,
    /// When the key store learnt of it.
    pub created_at: Timestamp,
    /// When another one took its place.
    pub retired_at: Option<Timestamp>,
}

/// An open job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// From which version.
    pub from: u32,
    /// To which.
    pub to: u32,
    /// `staging` or `rewrapping`.
    pub state: String,
    /// Rows done.
    pub done: i64,
    /// Rows there were.
    pub total: i64,
    /// Whether some process works at it now.
    pub worked_at: bool,
}

/// Whether epochs of the root key make old backups unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// No: no age can be promised.
    Off {
        /// What is missing.
        why: &'static str,
    },
    /// Yes.
    On {
        /// Days after which a backup is unreadable.
        stated_age_days: u32,
        /// When the next version is due.
        next_at: Timestamp,
        /// Copies that do not hold what the file holds.
        faulty_copies: Vec<PathBuf>,
    },
}

impl Gateway {
    /// The keys as they stand. `copies` and `epoch_days` are the operator's settings.
    ///
    /// # Errors
    /// When the key store cannot be read.
    pub async fn key_status(&self, copies: &[PathBuf], epoch_days: u32) -> Result<KeyStatus> {
        let now = self.source.now();
        let since = now.checked_sub(SignedDuration::from_secs(10)).unwrap_or(now).into();
        let (keks, job, secrets, instances) = self
            .keyholder
            .store()
            .read(move |c| {
                let mut keks = Vec::new();
                for kek in keys::keks(c)? {
                    let wraps = keys::wrapped_under(c, kek.version)?;
                    keks.push((kek, wraps));
                }
                Ok((keks, keys::open_job(c, KIND)?, keys::secrets(c)?, keys::instances(c, since)?))
            })
            .await
            .map_err(Error::keys)?;
        let held = self.keyholder.keyring();
        let active_since =
            keks.iter().find(|(kek, _)| kek.state == "active").map_or(now, |(kek, _)| kek.created_at.timestamp());
        let version = |(kek, wraps): (StoredKek, i64)| VersionStatus {
            version: kek.version,
            fingerprint: short(&kek.commitment),
            wraps,
            held: held.kek(kek.version).is_ok(),
            created_at: kek.created_at.timestamp(),
            retired_at: kek.retired_at.map(|at| at.timestamp()),
            state: kek.state,
        };
        Ok(KeyStatus {
            versions: keks.into_iter().map(version).collect(),
            job: job.map(|job| JobStatus {
                from: job.from_version,
                to: job.to_version,
                worked_at: job.lease_until.is_some_and(|until| until.timestamp() > now),
                state: job.state,
                done: job.done,
                total: job.total,
            }),
            secrets: secrets.into_iter().map(|secret| (secret.purpose, secret.version, secret.state)).collect(),
            instances: instances
                .into_iter()
                .map(|row: StoredInstance| (data_encoding::HEXLOWER.encode(&row.id.0), row.kek_version))
                .collect(),
            epochs: self.epochs(copies, epoch_days, active_since),
        })
    }

    fn epochs(&self, copies: &[PathBuf], epoch_days: u32, active_since: Timestamp) -> Epochs {
        let Some(stated_age_days) = self.settings.stated_age_days.filter(|_| !copies.is_empty()) else {
            return Epochs::Off {
                why: "keys.copies names no second place for the root key, so no version is ever destroyed and no age of backups can be promised",
            };
        };
        let next_at =
            active_since.checked_add(SignedDuration::from_hours(24 * i64::from(epoch_days))).unwrap_or(active_since);
        let faulty_copies = copies.iter().filter(|place| !self.is_whole_copy(place)).cloned().collect();
        Epochs::On { stated_age_days, next_at, faulty_copies }
    }

    /// Whether a copy opens everything that this process can open.
    fn is_whole_copy(&self, place: &std::path::Path) -> bool {
        let managed = matches!(self.root_source, RootSource::File { managed: true, .. });
        let Ok(lines) = root_file::read(&root_file::copy_at(place), managed) else { return false };
        let held = self.keyholder.keyring();
        held.versions().all(|version| {
            lines.iter().any(|line| {
                line.kek.version() == version
                    && held.kek(version).is_ok_and(|kek| kek.belongs_to(&line.kek.commitment()))
            })
        })
    }
}
