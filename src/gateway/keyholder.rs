//! The keys in the hands of this process: the root keys, the secrets of the service, and the keys of
//! the people it works for right now.
//!
//! Opened keys of people live at most 30 seconds from unwrapping (not sliding), so that no process
//! holds an erased person's key longer than that; the erasing process evicts them at once. A cached
//! key is never a permission: every use re-reads the person's state.

mod first_start;
mod make;
mod unwrap;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;

use crate::crypto::blind_index::{BlindIndex, Slot, Suppressions};
use crate::crypto::envelope::Dek;
use crate::crypto::jwt::JwtSigner;
use crate::crypto::key::Secret;
use crate::crypto::keyring::Keyring;
use crate::crypto::mac::Owner;
use crate::crypto::signature::Signing;
use crate::crypto::token::TokenMac;
use crate::domain::event::Class;
use crate::domain::id::{InstallationId, SubjectId};
use crate::storage::keys::{self, KeyStore};
use crate::storage::{Connection, Id16};

use super::leaf::HeldAuditKey;
use super::source::Source;
use super::{Error, Result};

pub use make::NewPersonKeys;

use first_start::{ensure_installation_keys, ensure_secrets};
pub(in crate::gateway) use unwrap::open_audit_key_of;
use unwrap::{open_audit_key, open_dek, open_secrets};

/// Opened keys of people in memory at most.
const CACHED_PEOPLE: usize = 50_000;

/// The keys of one person: data key in its current version, and the audit keys by class.
pub struct PersonKeys {
    /// Whose they are.
    pub subject: SubjectId,
    /// The data key.
    pub dek: Dek,
    /// Seals what the log says of everyday work.
    pub operation: HeldAuditKey,
    /// Seals what the log says as evidence.
    pub evidence: HeldAuditKey,
    deadline: Instant,
}

impl PersonKeys {
    /// The audit key for events of a class. Events of class *system* name no person.
    #[must_use]
    pub const fn audit(&self, class: Class) -> &HeldAuditKey {
        match class {
            Class::Operation => &self.operation,
            Class::Evidence | Class::System => &self.evidence,
        }
    }
}

/// The audit keys of the installation itself, by class.
pub struct InstallationKeys {
    operation: HeldAuditKey,
    evidence: HeldAuditKey,
    system: HeldAuditKey,
}

impl InstallationKeys {
    /// The key for events of a class.
    #[must_use]
    pub const fn audit(&self, class: Class) -> &HeldAuditKey {
        match class {
            Class::Operation => &self.operation,
            Class::Evidence => &self.evidence,
            Class::System => &self.system,
        }
    }
}

/// What the secrets of the service compute.
pub struct Secrets {
    /// The index under which people are found.
    pub index: BlindIndex,
    /// A second index while a new one is being built: what is written goes to both.
    pub building: Option<BlindIndex>,
    /// The suppression list and the marks of erased people.
    pub suppressions: Suppressions,
    /// Tokens, write keys, marks of duplicates.
    pub tokens: TokenMac,
    /// The journal of stops.
    pub journal: Secret,
    /// Signs access tokens.
    pub jwt: JwtSigner,
    /// Signs receipts.
    pub receipt: Signing,
    /// Sign checkpoints; the older first. Which of them signs which size, the log says.
    pub log: Vec<LogSigner>,
}

/// A key of the log.
pub struct LogSigner {
    /// Its version in the key store.
    pub version: u32,
    /// Signs checkpoints.
    pub signing: Signing,
}

/// All keys of this process.
pub struct Keyholder {
    /// The installation, part of every place.
    pub installation: InstallationId,
    store: KeyStore,
    source: Source,
    keyring: ArcSwap<Keyring>,
    secrets: ArcSwap<Secrets>,
    own: InstallationKeys,
    people: Cache<SubjectId, Arc<PersonKeys>>,
    life: Duration,
}

impl Keyholder {
    /// Opens the secrets under the root keys, making those that do not exist yet (first start).
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`], [`Error::DataUnreadable`] when a secret does not open.
    pub async fn open(
        installation: InstallationId,
        store: KeyStore,
        source: Source,
        keyring: Keyring,
        slots: Vec<Slot>,
        life: Duration,
    ) -> Result<Self> {
        let now = source.now();
        ensure_secrets(installation, &store, &source, &keyring, now).await?;
        ensure_installation_keys(installation, &store, &source, &keyring, now).await?;
        let rows = store.read(keys::secrets).await.map_err(Error::keys)?;
        let secrets = open_secrets(installation, &keyring, rows, slots)?;
        let holder = Id16::from(installation);
        let rows =
            store.read(move |c| keys::audit_keys_of(c, HOLDER_INSTALLATION, holder)).await.map_err(Error::keys)?;
        let mut own: HashMap<i16, HeldAuditKey> = HashMap::new();
        for row in rows {
            let class = row.class;
            own.insert(class, open_audit_key(installation, &keyring, Owner::from(installation), row)?);
        }
        let mut take = |class: Class| own.remove(&i16::from(class.number())).ok_or(Error::MissingKey);
        let own = InstallationKeys {
            operation: take(Class::Operation)?,
            evidence: take(Class::Evidence)?,
            system: take(Class::System)?,
        };
        Ok(Self {
            installation,
            store,
            source,
            keyring: ArcSwap::from_pointee(keyring),
            secrets: ArcSwap::from_pointee(secrets),
            own,
            people: Cache::new(CACHED_PEOPLE),
            life,
        })
    }

    /// The key store.
    #[must_use]
    pub const fn store(&self) -> &KeyStore {
        &self.store
    }

    /// The root keys held.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// Takes other root keys into use, after a rotation.
    pub fn set_keyring(&self, keyring: Keyring) {
        self.keyring.store(Arc::new(keyring));
    }

    /// The secrets of the service.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        self.secrets.load_full()
    }

    /// Reads the secrets again, after a rotation of one of them or of the policy's identifier kinds.
    ///
    /// # Errors
    /// As [`Keyholder::open`].
    pub async fn reload_secrets(&self, slots: Vec<Slot>) -> Result<()> {
        let rows = self.store.read(keys::secrets).await.map_err(Error::keys)?;
        self.secrets.store(Arc::new(open_secrets(self.installation, &self.keyring(), rows, slots)?));
        Ok(())
    }

    /// The installation's own audit keys.
    #[must_use]
    pub const fn own(&self) -> &InstallationKeys {
        &self.own
    }

    /// The keys of a person if they are in memory and young enough.
    #[must_use]
    pub fn cached(&self, subject: SubjectId, key_version: u32) -> Option<Arc<PersonKeys>> {
        let keys = self.people.get(&subject)?;
        (keys.dek.version() == key_version && Instant::now() < keys.deadline).then_some(keys)
    }

    /// The keys of a person, from memory or the key store. Blocks on a miss.
    ///
    /// # Errors
    /// [`Error::MissingKey`] when a key is gone that nobody destroyed (K5: never replaced by a new
    /// one), [`Error::NotFound`] when the person was erased.
    pub fn person_blocking(
        &self,
        connection: &mut Connection,
        subject: SubjectId,
        key_version: u32,
    ) -> Result<Arc<PersonKeys>> {
        if let Some(keys) = self.cached(subject, key_version) {
            return Ok(keys);
        }
        let id = Id16::from(subject);
        let keyring = self.keyring();
        let row = keys::subject_key(connection, id, key_version).map_err(Error::keys)?;
        let Some(row) = row else {
            let destroyed = keys::destroyed(connection, id, key_version).map_err(Error::keys)?
                || keys::erased_whole(connection, id).map_err(Error::keys)?;
            return Err(if destroyed { Error::NotFound } else { Error::MissingKey });
        };
        let dek = open_dek(self.installation, &keyring, subject, &row)?;
        let mut audit: HashMap<i16, HeldAuditKey> = HashMap::new();
        for row in keys::audit_keys_of(connection, HOLDER_SUBJECT, id).map_err(Error::keys)? {
            let class = row.class;
            audit.insert(class, open_audit_key(self.installation, &keyring, Owner::from(subject), row)?);
        }
        let mut take = |class: Class| audit.remove(&i16::from(class.number())).ok_or(Error::MissingKey);
        let keys = Arc::new(PersonKeys {
            subject,
            dek,
            operation: take(Class::Operation)?,
            evidence: take(Class::Evidence)?,
            deadline: Instant::now() + self.life,
        });
        self.people.insert(subject, Arc::clone(&keys));
        Ok(keys)
    }

    /// The keys of several people, by one visit of the key store.
    ///
    /// # Errors
    /// As [`Keyholder::person_blocking`].
    pub async fn people(self: &Arc<Self>, wanted: Vec<(SubjectId, u32)>) -> Result<Vec<Arc<PersonKeys>>> {
        let mut found = Vec::with_capacity(wanted.len());
        for (subject, version) in &wanted {
            match self.cached(*subject, *version) {
                Some(keys) => found.push(keys),
                None => break,
            }
        }
        if found.len() == wanted.len() {
            return Ok(found);
        }
        let holder = Arc::clone(self);
        self.store
            .read(move |connection| {
                Ok(wanted
                    .into_iter()
                    .map(|(subject, version)| holder.person_blocking(connection, subject, version))
                    .collect::<Result<Vec<_>>>())
            })
            .await
            .map_err(Error::keys)?
    }

    /// The audit key of this id, whoever holds it, for callers that may block.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none: it was destroyed, and what it sealed with it.
    pub fn audit_key_blocking(&self, id: Id16) -> Result<HeldAuditKey> {
        let mut connection = self.store.reader().map_err(Error::keys)?;
        let row = keys::audit_keys_by_ids(&mut connection, &[id]).map_err(Error::keys)?.pop().ok_or(Error::NotFound)?;
        open_audit_key_of(self.installation, &self.keyring(), row)
    }

    /// Lets go of a person's keys at once.
    pub fn evict(&self, subject: SubjectId) {
        self.people.remove(&subject);
    }

    /// How long another process may still hold a key that was destroyed.
    #[must_use]
    pub const fn stated_bound(&self) -> Duration {
        self.life
    }
}

/// Holder kinds of audit keys.
pub const HOLDER_SUBJECT: i16 = 1;
/// The installation as the holder of an audit key.
pub const HOLDER_INSTALLATION: i16 = 3;
