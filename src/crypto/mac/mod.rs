//! One encoding, one derivation, one MAC.
//!
//! `C(label, …) = label ‖ 0x00 ‖ (tag u8 ‖ length u32 ‖ bytes)…` with strictly ascending tags. A
//! [`Context`] names a label and carries exactly the components of that label, typed, so neither a
//! wrong order nor a missing component can be written down.

pub mod audit;
mod component;
mod context;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub use component::{KeyPurpose, Owner, RecordKind, RowId};
pub use context::Context;

use super::key::{KEY_LENGTH, Key};

/// `derive(K, label, …)`: HKDF-Expand-SHA256 to 32 bytes (RFC 5869 §2.3). `K` is uniformly
/// random, so there is no Extract.
#[must_use]
pub fn derive(key: &Key, context: &Context<'_>) -> Key {
    let mut expand = keyed(key.bytes());
    context.encode(&mut |bytes| expand.update(bytes));
    // One output block: HKDF-Expand is then one HMAC over the info and the block counter.
    expand.update(&[1]);
    let mut block: [u8; 32] = expand.finalize().into_bytes().into();
    let derived = Key::filled(|bytes| bytes.copy_from_slice(&block));
    block.zeroize();
    derived
}

/// `mac(K, label, …)`: HMAC-SHA256 over the encoded context.
#[must_use]
pub fn mac(key: &Key, context: &Context<'_>) -> [u8; 32] {
    let mut mac = keyed(key.bytes());
    context.encode(&mut |bytes| mac.update(bytes));
    mac.finalize().into_bytes().into()
}

/// The key commitment and fingerprint of a wrapped key (`amanat/key-commitment/v1`).
#[must_use]
pub fn fingerprint(key: &Key) -> [u8; 32] {
    *derive(key, &Context::KeyCommitment).bytes()
}

/// SHA-256 of bytes that are no secret: sealed records, leaves.
#[must_use]
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether two values are equal, in a time that does not depend on where they differ. Lengths are
/// no secret.
#[must_use]
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// HMAC-SHA256 with a 32-byte key: zero-padded to the block, as RFC 2104 §2 says.
fn keyed(key: &[u8; KEY_LENGTH]) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mac = Hmac::new(&block);
    block.zeroize();
    mac
}

/// The first half of a MAC, where 128 bits are enough.
pub(in crate::crypto) fn first_sixteen(full: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(full) {
        *to = *from;
    }
    half
}

/// HMAC over bytes that are no context, to be held against vectors made by others.
#[cfg(test)]
pub(in crate::crypto) fn mac_raw(key: &Key, message: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key.bytes());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// One block of HKDF-Expand over bytes that are no context, for the same.
#[cfg(test)]
pub(in crate::crypto) fn expand_raw(key: &Key, info: &[u8]) -> Key {
    let output = mac_raw(key, &[info, &[1]].concat());
    Key::filled(|bytes| *bytes = output)
}
