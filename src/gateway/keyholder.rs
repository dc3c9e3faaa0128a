//! The keys in the hands of this process: the root keys, the secrets of the service, and the keys of
//! the people it works for right now.
//!
//! Opened keys of people live at most 30 seconds from unwrapping (not sliding), so that no process
//! holds an erased person's key longer than that; the erasing process evicts them at once. A cached
//! key is never a permission: every use re-reads the person's state.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use quick_cache::sync::Cache;

use crate::crypto::audit_seal::AuditKey;
use crate::crypto::blind_index::{BlindIndex, Slot, Suppressions};
use crate::crypto::envelope::Dek;
use crate::crypto::jwt::JwtSigner;
use crate::crypto::key::{Key, Secret};
use crate::crypto::keyring::{KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::{KeyPurpose, Owner};
use crate::crypto::signature::Signing;
use crate::crypto::token::TokenMac;
use crate::domain::event::Class;
use crate::domain::id::{InstallationId, SubjectId};
use crate::storage::keys::{self, KeyStore, StoredAuditKey, StoredOwnedKey, StoredSecret, StoredSubjectKey};
use crate::storage::{Connection, Id16, Micros};

use super::leaf::HeldAuditKey;
use super::source::Source;
use super::{Error, Result};

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

/// Keys made for people who are being met, on their way into the key store.
pub struct NewPersonKeys {
    /// The opened keys.
    pub keys: Arc<PersonKeys>,
    subject_key: StoredSubjectKey,
    audit_keys: [StoredAuditKey; 2],
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
    /// Signs checkpoints.
    pub log: Signing,
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

/// The secrets every installation has.
const SECRET_PURPOSES: [KeyPurpose; 8] = [
    KeyPurpose::BlindIndex,
    KeyPurpose::Suppression,
    KeyPurpose::Token,
    KeyPurpose::OneTimeCode,
    KeyPurpose::Journal,
    KeyPurpose::Jwt,
    KeyPurpose::Receipt,
    KeyPurpose::Log,
];

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

    /// Makes the keys of a person who is being met. They must be [stored](Self::store_new) before
    /// anything sealed under them.
    ///
    /// # Errors
    /// [`Error::Protection`] when no randomness comes.
    pub fn make(&self, subject: SubjectId, now: Timestamp) -> Result<NewPersonKeys> {
        let keyring = self.keyring();
        let created_at = Micros::from(now);
        let (dek, wrapped) = self.wrap_new(&keyring, KeyPurpose::Dek, Owner::from(subject), 1)?;
        let subject_key = StoredSubjectKey {
            subject: Id16::from(subject),
            version: 1,
            kek_version: keyring.active(),
            wrapped: wrapped.to_bytes(),
            created_at,
        };
        let audit = |class: Class| {
            make_audit_key(
                self.installation,
                &self.source,
                &keyring,
                HOLDER_SUBJECT,
                Owner::from(subject),
                Id16::from(subject),
                class,
                now,
            )
        };
        let (operation, operation_row) = audit(Class::Operation)?;
        let (evidence, evidence_row) = audit(Class::Evidence)?;
        Ok(NewPersonKeys {
            keys: Arc::new(PersonKeys {
                subject,
                dek: Dek::new(1, dek),
                operation,
                evidence,
                deadline: Instant::now() + self.life,
            }),
            subject_key,
            audit_keys: [operation_row, evidence_row],
        })
    }

    /// Stores new keys durably. Only then may something be sealed under them and stored.
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`].
    pub async fn store_new(&self, new: Vec<NewPersonKeys>) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let opened: Vec<Arc<PersonKeys>> = new.iter().map(|new| Arc::clone(&new.keys)).collect();
        let subject_keys: Vec<StoredSubjectKey> = new.iter().map(|new| new.subject_key.clone()).collect();
        let audit_keys: Vec<StoredAuditKey> = new.iter().flat_map(|new| new.audit_keys.clone()).collect();
        self.store
            .write(move |connection| {
                keys::insert_subject_keys(connection, &subject_keys)?;
                keys::insert_audit_keys(connection, &audit_keys)
            })
            .await
            .map_err(Error::keys)?;
        for keys in opened {
            self.people.insert(keys.subject, keys);
        }
        Ok(())
    }

    /// Makes a further version of a person's data key (partial erasure, suspicion), not yet stored.
    ///
    /// # Errors
    /// [`Error::Protection`] when no randomness comes.
    pub fn make_version(&self, subject: SubjectId, version: u32, now: Timestamp) -> Result<(Dek, StoredSubjectKey)> {
        let keyring = self.keyring();
        let (key, wrapped) = self.wrap_new(&keyring, KeyPurpose::Dek, Owner::from(subject), version)?;
        let row = StoredSubjectKey {
            subject: Id16::from(subject),
            version,
            kek_version: keyring.active(),
            wrapped: wrapped.to_bytes(),
            created_at: Micros::from(now),
        };
        Ok((Dek::new(version, key), row))
    }

    /// Makes audit keys for a person whose earlier ones an erasure destroys. They must be stored in
    /// the transaction that destroys those.
    ///
    /// # Errors
    /// [`Error::Protection`] when no randomness comes.
    pub fn make_audit_keys(&self, subject: SubjectId, now: Timestamp) -> Result<[StoredAuditKey; 2]> {
        let keyring = self.keyring();
        let make = |class: Class| {
            make_audit_key(
                self.installation,
                &self.source,
                &keyring,
                HOLDER_SUBJECT,
                Owner::from(subject),
                Id16::from(subject),
                class,
                now,
            )
            .map(|(_, row)| row)
        };
        Ok([make(Class::Operation)?, make(Class::Evidence)?])
    }

    /// Makes a key of a case, package, document or task. `id` becomes the id of its row.
    ///
    /// # Errors
    /// [`Error::Protection`] when no randomness comes.
    pub fn make_owned(
        &self,
        id: [u8; 16],
        purpose: KeyPurpose,
        owner: Owner,
        now: Timestamp,
    ) -> Result<(Dek, StoredOwnedKey)> {
        let keyring = self.keyring();
        let (key, wrapped) = self.wrap_new(&keyring, purpose, owner, 1)?;
        let row = StoredOwnedKey {
            id: Id16(id),
            purpose: purpose.as_str().to_owned(),
            owner: Id16(*owner.as_bytes()),
            version: 1,
            kek_version: keyring.active(),
            wrapped: wrapped.to_bytes(),
            created_at: Micros::from(now),
        };
        Ok((Dek::new(1, key), row))
    }

    /// Opens a key of a case, package, document or task.
    ///
    /// # Errors
    /// [`Error::MissingKey`] when it was destroyed, [`Error::DataUnreadable`] when it does not open.
    pub async fn owned(&self, id: [u8; 16], purpose: KeyPurpose, owner: Owner) -> Result<Dek> {
        let row = self
            .store
            .read(move |c| keys::owned_key(c, Id16(id)))
            .await
            .map_err(Error::keys)?
            .ok_or(Error::MissingKey)?;
        let wrapped = WrappedKey::parse(&row.wrapped).map_err(Error::DataUnreadable)?;
        let place = KeyPlace { installation: self.installation, purpose, owner: Some(owner), version: row.version };
        let key = self.keyring().unwrap(&place, &wrapped).map_err(Error::DataUnreadable)?;
        Ok(Dek::new(row.version, key))
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

    fn wrap_new(
        &self,
        keyring: &Keyring,
        purpose: KeyPurpose,
        owner: Owner,
        version: u32,
    ) -> Result<(Key, WrappedKey)> {
        wrap_new(self.installation, &self.source, keyring, purpose, Some(owner), version)
    }
}

/// Holder kinds of audit keys.
pub const HOLDER_SUBJECT: i16 = 1;
/// The installation as the holder of an audit key.
pub const HOLDER_INSTALLATION: i16 = 3;

fn wrap_new(
    installation: InstallationId,
    source: &Source,
    keyring: &Keyring,
    purpose: KeyPurpose,
    owner: Option<Owner>,
    version: u32,
) -> Result<(Key, WrappedKey)> {
    let key = Key::random(&mut |bytes| source.fill(bytes)).map_err(Error::Protection)?;
    let place = KeyPlace { installation, purpose, owner, version };
    let nonce = source.random().map_err(Error::Protection)?;
    let wrapped = keyring.wrap(&place, &key, &nonce).map_err(Error::Protection)?;
    Ok((key, wrapped))
}

#[expect(clippy::too_many_arguments, reason = "a constructor of one row, called twice")]
fn make_audit_key(
    installation: InstallationId,
    source: &Source,
    keyring: &Keyring,
    holder_kind: i16,
    owner: Owner,
    holder: Id16,
    class: Class,
    now: Timestamp,
) -> Result<(HeldAuditKey, StoredAuditKey)> {
    let (key, wrapped) =
        wrap_new(installation, source, keyring, KeyPurpose::Audit, Some(owner), u32::from(class.number()))?;
    let id = Id16(source.random().map_err(Error::Protection)?);
    let row = StoredAuditKey {
        id,
        holder_kind,
        holder,
        class: i16::from(class.number()),
        kek_version: keyring.active(),
        wrapped: wrapped.to_bytes(),
        created_at: Micros::from(now),
    };
    Ok((HeldAuditKey { id, key: AuditKey::new(key) }, row))
}

async fn ensure_secrets(
    installation: InstallationId,
    store: &KeyStore,
    source: &Source,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<()> {
    let present = store.read(keys::secrets).await.map_err(Error::keys)?;
    for purpose in SECRET_PURPOSES {
        if present.iter().any(|row| row.purpose == purpose.as_str()) {
            continue;
        }
        let (_, wrapped) = wrap_new(installation, source, keyring, purpose, None, 1)?;
        let row = StoredSecret {
            purpose: purpose.as_str().to_owned(),
            version: 1,
            kek_version: keyring.active(),
            wrapped: wrapped.to_bytes(),
            state: "current".to_owned(),
            created_at: Micros::from(now),
        };
        store.write(move |connection| keys::insert_secret(connection, &row)).await.map_err(Error::keys)?;
    }
    Ok(())
}

async fn ensure_installation_keys(
    installation: InstallationId,
    store: &KeyStore,
    source: &Source,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<()> {
    let holder = Id16::from(installation);
    let present =
        store.read(move |c| keys::audit_keys_of(c, HOLDER_INSTALLATION, holder)).await.map_err(Error::keys)?;
    for class in [Class::Operation, Class::Evidence, Class::System] {
        if present.iter().any(|row| row.class == i16::from(class.number())) {
            continue;
        }
        let (_, row) = make_audit_key(
            installation,
            source,
            keyring,
            HOLDER_INSTALLATION,
            Owner::from(installation),
            holder,
            class,
            now,
        )?;
        // Another instance may be faster; its key is then the one that is read.
        drop(store.write(move |connection| keys::insert_audit_keys(connection, std::slice::from_ref(&row))).await);
    }
    Ok(())
}

fn open_secrets(
    installation: InstallationId,
    keyring: &Keyring,
    rows: Vec<StoredSecret>,
    slots: Vec<Slot>,
) -> Result<Secrets> {
    let mut opened: Vec<(StoredSecret, Key)> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(purpose) = KeyPurpose::parse(&row.purpose) else { continue };
        let wrapped = WrappedKey::parse(&row.wrapped).map_err(Error::DataUnreadable)?;
        let place = KeyPlace { installation, purpose, owner: None, version: row.version };
        let key = keyring.unwrap(&place, &wrapped).map_err(Error::DataUnreadable)?;
        opened.push((row, key));
    }
    let mut take = |purpose: KeyPurpose, state: &str| -> Option<Secret> {
        let position = opened.iter().position(|(row, _)| row.purpose == purpose.as_str() && row.state == state)?;
        let (row, key) = opened.swap_remove(position);
        Some(Secret::new(row.version, key))
    };
    let index = take(KeyPurpose::BlindIndex, "current").ok_or(Error::MissingKey)?;
    let building = take(KeyPurpose::BlindIndex, "building");
    let tokens = take(KeyPurpose::Token, "current").ok_or(Error::MissingKey)?;
    let journal = take(KeyPurpose::Journal, "current").ok_or(Error::MissingKey)?;
    let jwt = take(KeyPurpose::Jwt, "current").ok_or(Error::MissingKey)?;
    let receipt = take(KeyPurpose::Receipt, "current").ok_or(Error::MissingKey)?;
    let log = take(KeyPurpose::Log, "current").ok_or(Error::MissingKey)?;
    let mut suppressions = Vec::new();
    for state in ["current", "previous"] {
        while let Some(secret) = take(KeyPurpose::Suppression, state) {
            suppressions.push(secret);
        }
    }
    Ok(Secrets {
        index: BlindIndex::new(index, slots.clone()),
        building: building.map(|secret| BlindIndex::new(secret, slots)),
        suppressions: Suppressions::new(suppressions),
        tokens: TokenMac::new(&tokens),
        journal,
        jwt: JwtSigner::from_seed(jwt.key()),
        receipt: Signing::from_seed(receipt.key()),
        log: Signing::from_seed(log.key()),
    })
}

fn open_dek(
    installation: InstallationId,
    keyring: &Keyring,
    subject: SubjectId,
    row: &StoredSubjectKey,
) -> Result<Dek> {
    let wrapped = WrappedKey::parse(&row.wrapped).map_err(Error::DataUnreadable)?;
    let place =
        KeyPlace { installation, purpose: KeyPurpose::Dek, owner: Some(Owner::from(subject)), version: row.version };
    let key = keyring.unwrap(&place, &wrapped).map_err(Error::DataUnreadable)?;
    Ok(Dek::new(row.version, key))
}

fn open_audit_key(
    installation: InstallationId,
    keyring: &Keyring,
    owner: Owner,
    row: StoredAuditKey,
) -> Result<HeldAuditKey> {
    let wrapped = WrappedKey::parse(&row.wrapped).map_err(Error::DataUnreadable)?;
    let version = u32::try_from(row.class).map_err(|_| Error::MissingKey)?;
    let place = KeyPlace { installation, purpose: KeyPurpose::Audit, owner: Some(owner), version };
    let key = keyring.unwrap(&place, &wrapped).map_err(Error::DataUnreadable)?;
    Ok(HeldAuditKey { id: row.id, key: AuditKey::new(key) })
}
