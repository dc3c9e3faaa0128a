//! Versions of the root key: which one wraps, which ones only open, and how every process of an
//! installation comes to hold the same.
//!
//! The key store says which version is active. The file or the environment only gives keys: a
//! version that the store has not seen waits as `staged` until a rotation takes it into use, so that
//! no process wraps under a key that another one does not hold.

use crate::crypto::keyring::Keyring;
use crate::crypto::root_key::{KekState, RootKey};
use crate::domain::id::InstanceId;
use crate::gateway::source::Source;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys::{self, KeyStore, StoredInstance, StoredKek};
use crate::storage::{Connection, Id16};

use super::root_file::{self, Found, RootSource};

/// The keyring out of what the source gave, after each version was held against the key store.
pub(in crate::gateway) fn keyring(found: Found, store: &KeyStore) -> Result<Keyring> {
    keyring_of(found, &mut *store.reader().map_err(Error::keys)?)
}

/// As [`keyring`], within a visit of the key store.
pub(in crate::gateway) fn keyring_of(found: Found, connection: &mut Connection) -> Result<Keyring> {
    let known = keys::keks(connection).map_err(Error::keys)?;
    let keyring = match found {
        Found::Ring(keyring) => keyring,
        Found::Keys(keys) => with_active(keys, &known)?,
    };
    belongs(&keyring, &known, connection)?;
    Ok(keyring)
}

/// The active version is the store's where the source still has it, else the source's.
fn with_active(keys: Vec<RootKey>, known: &[StoredKek]) -> Result<Keyring> {
    let wanted = known.iter().find(|kek| kek.state == KekState::Active.as_str()).map(|kek| kek.version);
    let held = wanted.filter(|version| keys.iter().any(|key| key.kek.version() == *version));
    let own = keys.iter().find(|key| key.state == KekState::Active).map(|key| key.kek.version());
    let active = held.or(own).ok_or_else(|| Error::RootKey("no version is active".to_owned()))?;
    Keyring::new(keys.into_iter().map(|key| key.kek).collect(), active)
        .map_err(|error| Error::RootKey(error.to_string()))
}

/// Refuses a root key of another installation, and one that lacks what wrapped rows still need.
fn belongs(keyring: &Keyring, known: &[StoredKek], connection: &mut Connection) -> Result<()> {
    for kek in known {
        if kek.state == KekState::Destroyed.as_str() {
            continue;
        }
        let Ok(held) = keyring.kek(kek.version) else {
            let wraps = keys::wrapped_under(connection, kek.version).map_err(Error::keys)?;
            if wraps > 0 {
                return Err(Error::RootKey(format!(
                    "version {} is missing and {wraps} keys are still wrapped under it. Nothing was changed. Bring back a copy of \
                     the file that has it",
                    kek.version
                )));
            }
            continue;
        };
        let commitment: [u8; 32] = kek
            .commitment
            .as_slice()
            .try_into()
            .map_err(|_| Error::Store(crate::storage::Error::Malformed { table: "kek" }))?;
        if !held.belongs_to(&commitment) {
            return Err(Error::RootKey(format!(
                "version {} does not belong to this key store: the key store knows {}…, this one is {}…. Nothing was changed. Take \
                 the file that was made with this installation",
                kek.version,
                short(&commitment),
                short(&held.commitment())
            )));
        }
    }
    Ok(())
}

/// The first eight hexadecimal digits of a commitment, by which people compare versions.
pub(super) fn short(commitment: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(commitment.get(..4).unwrap_or(commitment))
}

/// Writes down the versions that the store does not know yet: on a first start the active one as
/// active, and whatever comes later as staged.
pub(in crate::gateway) async fn learn(store: &KeyStore, keyring: &Keyring, source: &Source) -> Result<()> {
    let at = source.now().into();
    let active = keyring.active();
    let versions: Vec<(u32, [u8; 32])> = keyring
        .versions()
        .filter_map(|version| keyring.kek(version).ok().map(|kek| (version, kek.commitment())))
        .collect();
    store
        .write(move |connection| {
            let known = keys::keks(connection)?;
            let first = !known.iter().any(|kek| kek.state == KekState::Active.as_str());
            for (version, commitment) in &versions {
                let state = match first {
                    true if *version == active => KekState::Active,
                    // Below the active one stand those that opened before, above it those to come.
                    _ if *version < active => KekState::Retired,
                    _ => KekState::Staged,
                };
                let row = StoredKek {
                    version: *version,
                    state: state.as_str().to_owned(),
                    commitment: commitment.to_vec(),
                    created_at: at,
                    retired_at: None,
                };
                keys::insert_kek(connection, &row)?;
            }
            Ok(())
        })
        .await
        .map_err(Error::keys)
}

impl Gateway {
    /// Follows the root keys: reads the source again where the key store knows a version that this
    /// process does not hold, wraps under the version the store calls active, and says what is held.
    ///
    /// # Errors
    /// When the key store cannot be read, or the source does not have what it should.
    pub async fn follow_root_keys(&self) -> Result<()> {
        let known = self.keyholder.store().read(keys::keks).await.map_err(Error::keys)?;
        let held = self.keyholder.keyring();
        let live = |kek: &&StoredKek| kek.state != KekState::Destroyed.as_str();
        if known.iter().filter(live).any(|kek| held.kek(kek.version).is_err()) {
            self.read_root_keys_again().await?;
        }
        let held = self.keyholder.keyring();
        let active = known.iter().find(|kek| kek.state == KekState::Active.as_str()).map(|kek| kek.version);
        match active {
            Some(active) if active != held.active() => {
                let ring = held.activate(active).map_err(|_| {
                    Error::RootKey(format!("version {active} is in use by other instances and missing here; add it to this instance's root key"))
                })?;
                self.keyholder.set_keyring(ring);
                tracing::info!(version = active, "another version of the root key wraps from now on");
            }
            _ => {}
        }
        self.note_keys_held().await
    }

    /// Reads the file of root keys again, if there is one, and learns what is new in it.
    ///
    /// # Errors
    /// When the file is refused; what is held then stays.
    pub async fn read_root_keys_again(&self) -> Result<()> {
        let RootSource::File { path, managed } = self.root_source.clone() else { return Ok(()) };
        let house = self.clone();
        let ring = tokio::task::spawn_blocking(move || {
            let keys = root_file::read(&path, managed)?;
            keyring(Found::Keys(keys), house.keyholder.store())
        })
        .await
        .map_err(|_| Error::Contention)??;
        learn(self.keyholder.store(), &ring, &self.source).await?;
        self.keyholder.set_keyring(ring);
        Ok(())
    }

    /// Tells other instances which versions this one holds.
    pub(super) async fn note_keys_held(&self) -> Result<()> {
        let now = self.source.now().into();
        let row = StoredInstance {
            id: id16(self.instance),
            kek_version: self.keyholder.keyring().versions().max().unwrap_or(0),
            started_at: now,
            seen_at: now,
        };
        self.keyholder.store().write(move |connection| keys::note_instance(connection, &row)).await.map_err(Error::keys)
    }

    /// Tells other instances that this one holds nothing any more. Called when it stops.
    ///
    /// # Errors
    /// When the key store cannot be written; after ten seconds the others no longer wait anyway.
    pub async fn leave_instances(&self) -> Result<()> {
        let (now, own) = (self.source.now(), id16(self.instance));
        let day_ago = now.checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(now).into();
        self.keyholder
            .store()
            .write(move |connection| keys::forget_instances(connection, day_ago, Some(own)).map(|_| ()))
            .await
            .map_err(Error::keys)
    }
}

pub(super) fn id16(id: InstanceId) -> Id16 {
    Id16(*id.as_bytes())
}
