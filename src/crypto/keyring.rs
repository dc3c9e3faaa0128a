//! KEKs and the keys they wrap: the 98 bytes of `W` (`cryptography.md` §4).

use std::collections::BTreeMap;
use std::sync::Arc;

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Error;
use super::cipher::{Cipher, NONCE_LENGTH};
use super::key::{KEY_LENGTH, Key};
use super::mac::{Context, KeyPurpose, Owner, derive, equal, fingerprint};
use crate::domain::id::InstallationId;

/// Length of a wrapped key, in bytes.
pub const WRAPPED_LENGTH: usize = 98;

/// Type and version byte of a wrapped key.
const HEADER: [u8; 2] = [0x57, 0x01];

/// Every KEK version this process holds, one of them active.
pub struct Keyring {
    /// Shared, so that another version becomes active without a second copy of a key in memory.
    keks: BTreeMap<u32, Arc<Kek>>,
    active: u32,
}

impl Keyring {
    /// The keyring of these versions.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`] if the active version is not among them.
    pub fn new(keks: Vec<Kek>, active: u32) -> Result<Self, Error> {
        let keks: BTreeMap<_, _> = keks.into_iter().map(|kek| (kek.version, Arc::new(kek))).collect();
        if !keks.contains_key(&active) {
            return Err(Error::UnknownVersion(active));
        }
        Ok(Self { keks, active })
    }

    /// The same keys with another version active.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`] if it is not among them.
    pub fn activate(&self, version: u32) -> Result<Self, Error> {
        self.kek(version)?;
        Ok(Self { keks: self.keks.clone(), active: version })
    }

    /// The version that wraps new keys.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active
    }

    /// The versions held, ascending.
    pub fn versions(&self) -> impl Iterator<Item = u32> + '_ {
        self.keks.keys().copied()
    }

    /// The KEK of this version.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`]; another version is never tried.
    pub fn kek(&self, version: u32) -> Result<&Kek, Error> {
        self.keks.get(&version).map(|kek| &**kek).ok_or(Error::UnknownVersion(version))
    }

    /// Wraps a key under the active version.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`] cannot happen for a keyring made by [`Keyring::new`].
    pub fn wrap(&self, place: &KeyPlace, key: &Key, nonce: &[u8; NONCE_LENGTH]) -> Result<WrappedKey, Error> {
        self.kek(self.active)?.wrap(place, key, nonce)
    }

    /// Opens a wrapped key under exactly the version it names.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::Rejected`] for another place or changed bytes,
    /// [`Error::CommitmentMismatch`].
    pub fn unwrap(&self, place: &KeyPlace, wrapped: &WrappedKey) -> Result<Key, Error> {
        self.kek(wrapped.kek_version())?.unwrap(place, wrapped)
    }

    /// Wraps a key again under the active version; what is inside and its commitment stay.
    ///
    /// # Errors
    /// As [`Keyring::unwrap`].
    pub fn rewrap(
        &self,
        place: &KeyPlace,
        wrapped: &WrappedKey,
        nonce: &[u8; NONCE_LENGTH],
    ) -> Result<WrappedKey, Error> {
        let key = self.unwrap(place, wrapped)?;
        self.wrap(place, &key, nonce)
    }
}

/// A key-encryption key of one version.
#[derive(ZeroizeOnDrop)]
pub struct Kek {
    #[zeroize(skip)]
    version: u32,
    key: Key,
    /// Derived once, for wrapping is what a KEK does all day.
    wrapping: Key,
}

impl Kek {
    /// The KEK of this version, from 1.
    #[must_use]
    pub fn new(version: u32, key: Key) -> Self {
        let wrapping = derive(&key, &Context::WrapKey);
        Self { version, key, wrapping }
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the key store holds to recognise it (`kek.commitment`).
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        *derive(&self.key, &Context::KekCommitment).bytes()
    }

    /// Whether this KEK belongs to the key store that holds `commitment`.
    #[must_use]
    pub fn belongs_to(&self, commitment: &[u8; 32]) -> bool {
        equal(&self.commitment(), commitment)
    }

    /// Wraps a key for its place. The nonce must be fresh.
    ///
    /// # Errors
    /// None for 32-byte keys; the signature is that of the cipher.
    pub fn wrap(&self, place: &KeyPlace, key: &Key, nonce: &[u8; NONCE_LENGTH]) -> Result<WrappedKey, Error> {
        let commitment = fingerprint(key);
        let mut bytes = Vec::with_capacity(WRAPPED_LENGTH);
        bytes.extend_from_slice(&HEADER);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(nonce);
        let start = bytes.len();
        // The capacity is exact: the plaintext is encrypted where it stands and never moves.
        bytes.extend_from_slice(key.bytes());
        let aad = place.aad(self.version, &commitment);
        Cipher::new(&self.wrapping).seal_from(&mut bytes, start, nonce, &aad)?;
        bytes.extend_from_slice(&commitment);
        WrappedKey::parse(&bytes)
    }

    fn unwrap(&self, place: &KeyPlace, wrapped: &WrappedKey) -> Result<Key, Error> {
        let commitment = wrapped.commitment();
        let aad = place.aad(self.version, &commitment);
        let mut opened = Zeroizing::new(wrapped.ciphertext().to_vec());
        Cipher::new(&self.wrapping).open(&mut opened, &wrapped.nonce(), &aad)?;
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        if opened.len() != KEY_LENGTH {
            return Err(Error::UnknownFormat);
        }
        bytes.copy_from_slice(&opened);
        let key = Key::from_bytes(&mut bytes);
        if !equal(&fingerprint(&key), &commitment) {
            return Err(Error::CommitmentMismatch);
        }
        Ok(key)
    }

    /// The text form of the key, for `root_key` only.
    pub(in crate::crypto) fn key(&self) -> &Key {
        &self.key
    }
}

/// Where a wrapped key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// The installation both stores belong to.
    pub installation: InstallationId,
    /// What the key is for.
    pub purpose: KeyPurpose,
    /// Whose it is; `None` for a service secret.
    pub owner: Option<Owner>,
    /// Its version; of an audit key, its class.
    pub version: u32,
}

impl KeyPlace {
    fn aad(&self, kek_version: u32, commitment: &[u8; 32]) -> Vec<u8> {
        Context::Wrap {
            installation: self.installation,
            purpose: self.purpose,
            owner: self.owner,
            version: self.version,
            kek_version,
            commitment,
        }
        .to_bytes()
    }
}

/// A wrapped key `W`: `57 01 ‖ KEK version u32 ‖ nonce 12 ‖ ciphertext and tag 48 ‖ commitment 32`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    kek_version: u32,
    nonce: [u8; NONCE_LENGTH],
    ciphertext: [u8; 48],
    commitment: [u8; 32],
}

impl WrappedKey {
    /// Reads the 98 bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there are fewer, [`Error::UnknownFormat`] for another header or
    /// trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (header, rest) = bytes.split_first_chunk::<2>().ok_or(Error::Truncated)?;
        if *header != HEADER {
            return Err(Error::UnknownFormat);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(Error::Truncated)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LENGTH>().ok_or(Error::Truncated)?;
        let (ciphertext, rest) = rest.split_first_chunk::<48>().ok_or(Error::Truncated)?;
        let (commitment, rest) = rest.split_first_chunk::<32>().ok_or(Error::Truncated)?;
        if !rest.is_empty() {
            return Err(Error::UnknownFormat);
        }
        Ok(Self {
            kek_version: u32::from_be_bytes(*version),
            nonce: *nonce,
            ciphertext: *ciphertext,
            commitment: *commitment,
        })
    }

    /// The 98 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(WRAPPED_LENGTH);
        bytes.extend_from_slice(&HEADER);
        bytes.extend_from_slice(&self.kek_version.to_be_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.ciphertext);
        bytes.extend_from_slice(&self.commitment);
        bytes
    }

    /// The KEK version it is wrapped under.
    #[must_use]
    pub fn kek_version(&self) -> u32 {
        self.kek_version
    }

    /// The commitment of the key inside: its fingerprint in tombstones, leaves and receipts.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        self.commitment
    }

    fn nonce(&self) -> [u8; NONCE_LENGTH] {
        self.nonce
    }

    fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }
}
