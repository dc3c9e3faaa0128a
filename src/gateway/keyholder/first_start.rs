//! The first start of an installation makes the keys that it has for as long as it lives.

use jiff::Timestamp;

use crate::crypto::keyring::Keyring;
use crate::crypto::mac::{KeyPurpose, Owner};
use crate::domain::event::Class;
use crate::domain::id::InstallationId;
use crate::gateway::source::Source;
use crate::gateway::{Error, Result};
use crate::storage::Id16;
use crate::storage::keys::{self, KeyStore};

use super::HOLDER_INSTALLATION;
use super::make::{make_audit_key, make_secret};

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

pub(super) async fn ensure_secrets(
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
        let row = make_secret(installation, source, keyring, purpose, 1, "current", now)?;
        store.write(move |connection| keys::insert_secret(connection, &row)).await.map_err(Error::keys)?;
    }
    Ok(())
}

pub(super) async fn ensure_installation_keys(
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
