//! AES-256-GCM with a 96-bit nonce and a 128-bit tag: the only cipher of the gateway.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};

use super::Error;
use super::key::Key;

/// Length of a nonce, in bytes.
pub const NONCE_LENGTH: usize = 12;
/// Length of an authentication tag, in bytes.
pub(super) const TAG_LENGTH: usize = 16;

/// A cipher with its key set up. Wiped when dropped (feature `zeroize` of `aes-gcm`).
pub(super) struct Cipher(Aes256Gcm);

impl Cipher {
    pub(super) fn new(key: &Key) -> Self {
        Self(Aes256Gcm::new(key.bytes().into()))
    }

    /// Encrypts what stands in `bytes` from `start` on and appends the tag.
    pub(super) fn seal_from(
        &self,
        bytes: &mut Vec<u8>,
        start: usize,
        nonce: &[u8; NONCE_LENGTH],
        aad: &[u8],
    ) -> Result<(), Error> {
        let plaintext = bytes.get_mut(start..).ok_or(Error::Truncated)?;
        let tag =
            self.0.encrypt_inout_detached(&Nonce::from(*nonce), aad, plaintext.into()).map_err(|_| Error::TooLarge)?;
        bytes.extend_from_slice(&tag);
        Ok(())
    }

    /// Decrypts a ciphertext with its tag at the end, in place; what stays is the plaintext.
    pub(super) fn open(&self, bytes: &mut Vec<u8>, nonce: &[u8; NONCE_LENGTH], aad: &[u8]) -> Result<(), Error> {
        let (ciphertext, tag) = bytes.split_last_chunk_mut::<TAG_LENGTH>().ok_or(Error::Truncated)?;
        let length = ciphertext.len();
        let tag = Tag::from(*tag);
        self.0
            .decrypt_inout_detached(&Nonce::from(*nonce), aad, ciphertext.into(), &tag)
            .map_err(|_| Error::Rejected)?;
        bytes.truncate(length);
        Ok(())
    }
}
