//! Bytes and ids under keys: the reference is the design page on cryptography.
//!
//! This room has no I/O: randomness and time are arguments, keys come wrapped from elsewhere. What
//! is deliberately absent: a default key version, a second try with an older key, and any way to
//! a plaintext that skips the commitment.

pub mod audit_seal;
pub mod blind_index;
mod chunked;
mod cipher;
pub mod commitment;
pub mod envelope;
pub mod file;
pub mod jwt;
pub mod key;
pub mod keyring;
pub mod mac;
pub mod notice_token;
mod padding;
pub mod root_key;
pub mod sealed;
pub mod signature;
pub mod token;

pub use chunked::SALT_LENGTH;
pub use cipher::NONCE_LENGTH;

#[cfg(test)]
mod tests;

/// Why a cryptographic operation was refused. Holds numbers at most, never keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends before its format does.
    #[error("the sealed bytes are cut short")]
    Truncated,
    /// The type byte, the version byte or the structure is not one this version writes.
    #[error("the bytes are not in a known format")]
    UnknownFormat,
    /// A key version that is not held. No other version is tried in its place.
    #[error("key version {0} is not held")]
    UnknownVersion(u32),
    /// The ciphertext was made under another key than the one it names.
    #[error("the key commitment does not match")]
    CommitmentMismatch,
    /// The authentication tag does not match: other key, other place, or changed bytes.
    #[error("the ciphertext does not verify in this place")]
    Rejected,
    /// The plaintext verifies and is not padded as it should be.
    #[error("the padding is corrupted")]
    Corrupted,
    /// The plaintext is not the JSON text of one value.
    #[error("the value is not JSON text")]
    NotJson,
    /// A value or a record is above its limit.
    #[error("the value is above the size limit")]
    TooLarge,
    /// A record to be sealed has no field, or more than 1,024.
    #[error("a sealed record holds 1 to 1,024 fields")]
    FieldCount,
    /// A field number stands twice in a record to be sealed.
    #[error("field {0} stands twice in the record")]
    RepeatedField(u16),
    /// The sealed record has no such field.
    #[error("the record has no field {0}")]
    MissingField(u16),
    /// The source of randomness failed; there is no other.
    #[error("the random generator is not available")]
    EntropyUnavailable,
    /// A token text with a wrong prefix, length, digit or checksum.
    #[error("the text is not a well-formed token")]
    MalformedToken,
    /// The text of the root keys is refused; the line counts from 1.
    #[error("root key, line {line}: {fault}")]
    RootKey {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        fault: root_key::Fault,
    },
    /// An access token that is not acceptable. One code for all reasons, on purpose.
    #[error("the access token is refused")]
    AccessToken,
    /// A signature that does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// Bytes that are not a public key.
    #[error("the bytes are not a public key")]
    PublicKey,
}
