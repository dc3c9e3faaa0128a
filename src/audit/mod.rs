//! The audit log as pure functions: bytes in, verdicts out.
//!
//! Every change of state, every decision that releases data and every disclosure appends one leaf
//! to one Merkle log. This room encodes and reads leaves, hashes the tree, reads checkpoints and
//! proofs, and judges a whole log. It holds no keys, seals nothing, does no I/O and reads no clock:
//! of `crypto` it uses `mac` and `signature` and nothing else.

pub mod anchor;
pub mod attest;
mod base64;
pub mod bundle;
pub(crate) mod cbor;
pub mod checkpoint;
pub mod clock;
pub mod evidence;
pub mod finding;
pub mod leaf;
pub mod log_keys;
pub mod note;
pub mod payload;
pub mod proof;
pub mod receipt;
pub mod tile;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod witness;

pub use cbor::Malformed;

#[cfg(test)]
mod tests;
