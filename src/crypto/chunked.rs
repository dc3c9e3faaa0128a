//! Cobblestone-256 of `c2sp.org/chunked-encryption@v1`: HKDF-Expand-SHA512 and AES-256-GCM in
//! chunks of 16 KiB, the last always shorter. It commits to its key and allows random reads.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::Zeroizing;

use super::Error;
use super::cipher::{Cipher, NONCE_LENGTH, TAG_LENGTH};
use super::key::Key;

/// Bytes of plaintext in every chunk but the last, which has fewer.
pub(super) const CHUNK_LENGTH: usize = 16 * 1024;
/// Bytes of a sealed chunk, but the last.
pub(super) const SEALED_CHUNK_LENGTH: usize = CHUNK_LENGTH + TAG_LENGTH;
/// Bytes of the salt.
pub const SALT_LENGTH: usize = 24;

/// The number of chunks a message may have.
const CHUNK_LIMIT: u64 = 1 << 38;
const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// The keys of one message.
pub(super) struct Message {
    cipher: Cipher,
    base_nonce: [u8; NONCE_LENGTH],
    commitment: [u8; 32],
}

impl Message {
    /// Derives the keys of the message with this salt and context. For one input key a salt is
    /// never used twice.
    pub(super) fn new(input: &Key, salt: &[u8; SALT_LENGTH], context: &[u8]) -> Self {
        let first = block(input, &[], salt, context, 1);
        let second = block(input, first.as_slice(), salt, context, 2);
        let mut output = first.iter().chain(second.iter()).copied();
        let key = Key::filled(|key| key.fill_with(|| output.next().unwrap_or_default()));
        let base_nonce = std::array::from_fn(|_| output.next().unwrap_or_default());
        let commitment = std::array::from_fn(|_| output.next().unwrap_or_default());
        Self { cipher: Cipher::new(&key), base_nonce, commitment }
    }

    /// The commitment that stands before the chunks.
    pub(super) fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Appends one sealed chunk.
    pub(super) fn seal(&self, number: u64, chunk: &[u8], to: &mut Vec<u8>) -> Result<(), Error> {
        let nonce = self.nonce(number)?;
        to.reserve(chunk.len() + TAG_LENGTH);
        let start = to.len();
        to.extend_from_slice(chunk);
        self.cipher.seal_from(to, start, &nonce, &[])
    }

    /// Opens one sealed chunk.
    pub(super) fn open(&self, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let nonce = self.nonce(number)?;
        let mut chunk = Zeroizing::new(sealed.to_vec());
        self.cipher.open(&mut chunk, &nonce, &[])?;
        Ok(chunk)
    }

    fn nonce(&self, number: u64) -> Result<[u8; NONCE_LENGTH], Error> {
        if number >= CHUNK_LIMIT {
            return Err(Error::TooLarge);
        }
        let mut nonce = self.base_nonce;
        for (byte, counter) in nonce.iter_mut().rev().zip(number.to_be_bytes().iter().rev()) {
            *byte ^= counter;
        }
        Ok(nonce)
    }
}

/// One block of HKDF-Expand-SHA512 (RFC 5869 §2.3). The `hkdf` crate cannot be used: it refuses an
/// input key shorter than the hash, which this format prescribes.
fn block(input: &Key, before: &[u8], salt: &[u8; SALT_LENGTH], context: &[u8], counter: u8) -> Zeroizing<[u8; 64]> {
    let mut padded = Zeroizing::new([0; 128]);
    for (to, from) in padded.iter_mut().zip(input.bytes()) {
        *to = *from;
    }
    let mut expand = Hmac::<Sha512>::new((&*padded).into());
    expand.update(before);
    expand.update(INFO);
    expand.update(salt);
    expand.update(context);
    expand.update(&[counter]);
    Zeroizing::new(expand.finalize().into_bytes().into())
}
