//! The one shape of a secret: 32 uniformly random bytes.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Error;

/// Length of every key, in bytes.
pub const KEY_LENGTH: usize = 32;

/// A key. It stands in a box, so that a move copies a pointer and not the bytes, and is wiped when
/// it is dropped. Deliberately absent: `Clone`, `Debug`, `PartialEq`, any serialisation.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key(Box<[u8; KEY_LENGTH]>);

impl Key {
    /// Draws a fresh key from the given source of randomness.
    ///
    /// # Errors
    /// What the source reports, normally [`Error::EntropyUnavailable`].
    pub fn random(random: &mut impl FnMut(&mut [u8]) -> Result<(), Error>) -> Result<Self, Error> {
        let mut key = Self(Box::new([0; KEY_LENGTH]));
        random(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// The key with these bytes. The caller's copy is wiped.
    #[must_use]
    pub fn from_bytes(bytes: &mut Zeroizing<[u8; KEY_LENGTH]>) -> Self {
        let mut key = Self(Box::new([0; KEY_LENGTH]));
        key.0.copy_from_slice(bytes.as_slice());
        bytes.zeroize();
        key
    }

    /// The bytes, for the ciphers and MACs of this room.
    pub(in crate::crypto) fn bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// A key that is filled by the caller; for derivations, which write into the box.
    pub(in crate::crypto) fn filled(fill: impl FnOnce(&mut [u8; KEY_LENGTH])) -> Self {
        let mut key = Self(Box::new([0; KEY_LENGTH]));
        fill(&mut key.0);
        key
    }
}

/// A service secret: one purpose, one version (`cryptography.md` §2).
#[derive(ZeroizeOnDrop)]
pub struct Secret {
    #[zeroize(skip)]
    version: u32,
    key: Key,
}

impl Secret {
    /// The secret of this version.
    #[must_use]
    pub fn new(version: u32, key: Key) -> Self {
        Self { version, key }
    }

    /// Its version, from 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}
