//! Ed25519 (RFC 8032), verified strictly: no small-order keys, no malleable encodings.

pub mod certificate;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::Error;
use super::key::Key;

/// Signs: the log's checkpoints, receipts. The seed is wiped when it is dropped.
pub struct Signing(Box<SigningKey>);

impl Signing {
    /// The signing key of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &Key) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed.bytes())))
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Verifies a signature strictly.
///
/// # Errors
/// [`Error::PublicKey`] if the bytes are no point on the curve, [`Error::Signature`].
pub fn verify_strict(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| Error::PublicKey)?;
    let signature = Signature::from_bytes(signature);
    key.verify_strict(message, &signature).map_err(|_| Error::Signature)
}
