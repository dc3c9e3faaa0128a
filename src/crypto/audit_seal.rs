//! Sealing the parts of audit leaves: `41 01 ‖ nonce 12 ‖ AES-256-GCM` (`audit-log.md` §2.3).

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Error;
use super::cipher::{Cipher, NONCE_LENGTH, TAG_LENGTH};
use super::key::Key;
use super::mac::audit::{AuditPlace, CommitmentKey, TagKey};
use super::mac::{Context, derive, fingerprint, hash};
use super::padding;

/// The longest padded payload, in bytes.
pub const PAYLOAD_LIMIT: usize = 16_384;

/// Type and version byte of a sealed part.
const HEADER: [u8; 2] = [0x41, 0x01];

/// The audit key of one holder and class, or the key of one receipt, used once.
#[derive(ZeroizeOnDrop)]
pub struct AuditKey {
    key: Key,
    /// One per audit key, so derived once.
    tag: TagKey,
}

/// A part of a leaf, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPart {
    /// Finds the leaves of one person, for whoever has the tag key.
    pub tag: [u8; 16],
    /// Binds the plaintext.
    pub commitment: [u8; 32],
    /// What is stored beside the leaf.
    pub sealed: Vec<u8>,
    /// Binds the ciphertext, without any key.
    pub sealed_hash: [u8; 32],
}

/// An opened part, with what shows it to others.
pub struct OpenedPart {
    /// The payload with its padding: what the commitment covers.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Length of the payload within the plaintext.
    pub payload_length: usize,
    /// Recomputes the commitment, opens nothing.
    pub commitment_key: CommitmentKey,
}

impl OpenedPart {
    /// The payload, deterministic CBOR.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.plaintext.get(..self.payload_length).unwrap_or_default()
    }
}

impl AuditKey {
    /// The audit key with these bytes.
    #[must_use]
    pub fn new(key: Key) -> Self {
        let tag = TagKey::derive(&key);
        Self { key, tag }
    }

    /// The key itself, to be wrapped.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The key of its tags, to be shown in a bundle.
    #[must_use]
    pub fn tag_key(&self) -> &TagKey {
        &self.tag
    }

    /// The fingerprint in tombstones and leaves.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.key)
    }

    /// Seals one part of one leaf. The nonce must be fresh.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`PAYLOAD_LIMIT`].
    pub fn seal(
        &self,
        place: &AuditPlace<'_>,
        payload: &[u8],
        nonce: &[u8; NONCE_LENGTH],
    ) -> Result<SealedPart, Error> {
        let padded = padding::bucket(payload.len() + 1);
        if padded > PAYLOAD_LIMIT {
            return Err(Error::TooLarge);
        }
        let mut sealed = Vec::with_capacity(HEADER.len() + NONCE_LENGTH + padded + TAG_LENGTH);
        sealed.extend_from_slice(&HEADER);
        sealed.extend_from_slice(nonce);
        let start = sealed.len();
        padding::append(&mut sealed, payload);
        let plaintext = sealed.get(start..).unwrap_or_default();
        let commitment = self.commitment_key(place).commitment(place, plaintext);
        self.cipher(place).seal_from(&mut sealed, start, nonce, &aad(place))?;
        Ok(SealedPart { tag: self.tag.tag(place.role, place.entry), commitment, sealed_hash: hash(&sealed), sealed })
    }

    /// Opens one part in its place and checks it against the leaf's commitment.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::UnknownFormat`], [`Error::Rejected`],
    /// [`Error::CommitmentMismatch`], [`Error::Corrupted`].
    pub fn open(&self, place: &AuditPlace<'_>, sealed: &[u8], commitment: &[u8; 32]) -> Result<OpenedPart, Error> {
        let (header, rest) = sealed.split_first_chunk::<2>().ok_or(Error::Truncated)?;
        if *header != HEADER {
            return Err(Error::UnknownFormat);
        }
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LENGTH>().ok_or(Error::Truncated)?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        self.cipher(place).open(&mut plaintext, nonce, &aad(place))?;
        let commitment_key = self.commitment_key(place);
        // AES-GCM does not commit to its key: only this ties the payload to the leaf.
        if !commitment_key.commits(place, &plaintext, commitment) {
            return Err(Error::CommitmentMismatch);
        }
        let payload_length = padding::value_length(&plaintext)?;
        Ok(OpenedPart { plaintext, payload_length, commitment_key })
    }

    /// A part that is given to a person and not kept: its tag, commitment, plaintext and the key
    /// that shows it. Its `sealed_hash` in the leaf is empty.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`PAYLOAD_LIMIT`].
    pub fn commit_receipt(&self, place: &AuditPlace<'_>, payload: &[u8]) -> Result<GivenPart, Error> {
        if padding::bucket(payload.len() + 1) > PAYLOAD_LIMIT {
            return Err(Error::TooLarge);
        }
        let mut plaintext = Zeroizing::new(Vec::new());
        padding::append(&mut plaintext, payload);
        let commitment_key = self.commitment_key(place);
        Ok(GivenPart {
            tag: self.tag.tag(place.role, place.entry),
            commitment: commitment_key.commitment(place, &plaintext),
            opened: OpenedPart { plaintext, payload_length: payload.len(), commitment_key },
        })
    }

    fn cipher(&self, place: &AuditPlace<'_>) -> Cipher {
        let context = Context::AuditSealKey { role: place.role, entry: place.entry };
        Cipher::new(&derive(&self.key, &context))
    }

    fn commitment_key(&self, place: &AuditPlace<'_>) -> CommitmentKey {
        CommitmentKey::derive(&self.key, place.role, place.entry)
    }
}

/// A receipt: committed to in the leaf, kept by the person only.
pub struct GivenPart {
    /// Tag in the leaf.
    pub tag: [u8; 16],
    /// Commitment in the leaf.
    pub commitment: [u8; 32],
    /// What the person is given.
    pub opened: OpenedPart,
}

fn aad(place: &AuditPlace<'_>) -> Vec<u8> {
    Context::AuditSeal { place: *place }.to_bytes()
}
