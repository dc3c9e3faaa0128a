//! Making keys: of people who are being met, of their further versions, and of cases, packages,
//! documents and tasks.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::crypto::audit_seal::AuditKey;
use crate::crypto::envelope::Dek;
use crate::crypto::key::Key;
use crate::crypto::keyring::{KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::{KeyPurpose, Owner};
use crate::domain::event::Class;
use crate::domain::id::{InstallationId, SubjectId};
use crate::gateway::leaf::HeldAuditKey;
use crate::gateway::source::Source;
use crate::gateway::{Error, Result};
use crate::storage::keys::{self, StoredAuditKey, StoredOwnedKey, StoredSecret, StoredSubjectKey};
use crate::storage::{Id16, Micros};

use super::{HOLDER_SUBJECT, Keyholder, PersonKeys};

/// Keys made for people who are being met, on their way into the key store.
pub struct NewPersonKeys {
    /// The opened keys.
    pub keys: Arc<PersonKeys>,
    subject_key: StoredSubjectKey,
    audit_keys: [StoredAuditKey; 2],
}

impl Keyholder {
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
        let (operation, operation_row) = self.make_audit_key(&keyring, subject, Class::Operation, now)?;
        let (evidence, evidence_row) = self.make_audit_key(&keyring, subject, Class::Evidence, now)?;
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
        let make = |class| self.make_audit_key(&keyring, subject, class, now).map(|(_, row)| row);
        Ok([make(Class::Operation)?, make(Class::Evidence)?])
    }

    fn make_audit_key(
        &self,
        keyring: &Keyring,
        subject: SubjectId,
        class: Class,
        now: Timestamp,
    ) -> Result<(HeldAuditKey, StoredAuditKey)> {
        let (owner, id) = (Owner::from(subject), Id16::from(subject));
        make_audit_key(self.installation, &self.source, keyring, HOLDER_SUBJECT, owner, id, class, now)
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

    /// A new secret of the service, which nothing uses before it is stored.
    ///
    /// # Errors
    /// [`Error::Protection`].
    pub fn make_secret(&self, purpose: KeyPurpose, version: u32, state: &str) -> Result<StoredSecret> {
        let now = self.source.now();
        make_secret(self.installation, &self.source, &self.keyring(), purpose, version, state, now)
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

pub(super) fn wrap_new(
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

pub(super) fn make_secret(
    installation: InstallationId,
    source: &Source,
    keyring: &Keyring,
    purpose: KeyPurpose,
    version: u32,
    state: &str,
    now: Timestamp,
) -> Result<StoredSecret> {
    let (_, wrapped) = wrap_new(installation, source, keyring, purpose, None, version)?;
    Ok(StoredSecret {
        purpose: purpose.as_str().to_owned(),
        version,
        kek_version: keyring.active(),
        wrapped: wrapped.to_bytes(),
        state: state.to_owned(),
        created_at: now.into(),
    })
}

#[expect(clippy::too_many_arguments, reason = "a constructor of one row, called twice")]
pub(super) fn make_audit_key(
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
