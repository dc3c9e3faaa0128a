//! From wrapped rows to opened keys.

use crate::crypto::audit_seal::AuditKey;
use crate::crypto::blind_index::{BlindIndex, Slot, Suppressions};
use crate::crypto::envelope::Dek;
use crate::crypto::jwt::JwtSigner;
use crate::crypto::key::{Key, Secret};
use crate::crypto::keyring::{KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::{KeyPurpose, Owner};
use crate::crypto::signature::Signing;
use crate::crypto::token::TokenMac;
use crate::domain::id::{InstallationId, SubjectId};
use crate::gateway::leaf::HeldAuditKey;
use crate::gateway::{Error, Result};
use crate::storage::Id16;
use crate::storage::keys::{self, StoredAuditKey, StoredSecret, StoredSubjectKey};

use super::{Keyholder, LogSigner, Secrets};

impl Keyholder {
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
}

pub(super) fn open_secrets(
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
    let mut log = Vec::new();
    for state in ["current", "next"] {
        while let Some(secret) = take(KeyPurpose::Log, state) {
            log.push(LogSigner { version: secret.version(), signing: Signing::from_seed(secret.key()) });
        }
    }
    log.sort_by_key(|signer| signer.version);
    if log.is_empty() {
        return Err(Error::MissingKey);
    }
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
        log,
    })
}

pub(super) fn open_dek(
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

/// Opens the audit key of any holder: its wrapping names the holder by the same sixteen bytes, whoever
/// that is.
pub(in crate::gateway) fn open_audit_key_of(
    installation: InstallationId,
    keyring: &Keyring,
    row: StoredAuditKey,
) -> Result<HeldAuditKey> {
    let holder = SubjectId::from(row.holder);
    open_audit_key(installation, keyring, Owner::from(holder), row)
}

pub(super) fn open_audit_key(
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
