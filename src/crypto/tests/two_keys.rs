//! AES-GCM does not commit to its key: one ciphertext can verify under two. Here such ciphertexts
//! are built and planted; each of our formats opens them under one key at most.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::BlockCipherEncrypt;

use super::*;
use crate::crypto::envelope::Term;
use crate::crypto::file::{FILE_HEAD_LENGTH, FilePlace, open_file, seal_file};
use crate::crypto::keyring::{Kek, KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::{Context, KeyPurpose, derive};
use crate::crypto::sealed::Sealed;
use crate::domain::id::FileId;

const NONCE: [u8; 12] = [5; 12];

/// One side of the attack: a key, and the place in which the ciphertext shall verify.
struct Side {
    key: [u8; 32],
    nonce: [u8; 12],
    aad: Vec<u8>,
}

impl Side {
    fn new(key: &Key, aad: Vec<u8>) -> Self {
        Self { key: *key.bytes(), nonce: NONCE, aad }
    }

    fn block(&self, block: [u8; 16]) -> u128 {
        let mut block = block.into();
        Aes256::new(&self.key.into()).encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }

    fn hash_key(&self) -> u128 {
        self.block([0; 16])
    }

    /// What hides the tag: the first counter block.
    fn mask(&self) -> u128 {
        let mut counter = [0; 16];
        counter[..12].copy_from_slice(&self.nonce);
        counter[15] = 1;
        self.block(counter)
    }

    fn ghash(&self, ciphertext: &[u8]) -> u128 {
        let bits = |bytes: &[u8]| u128::try_from(bytes.len() * 8).unwrap();
        let lengths = bits(&self.aad) << 64 | bits(ciphertext);
        let blocks = self.aad.chunks(16).chain(ciphertext.chunks(16)).map(|chunk| {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            u128::from_be_bytes(block)
        });
        let hash_key = self.hash_key();
        blocks.chain([lengths]).fold(0, |sum, block| multiply(sum ^ block, hash_key))
    }

    fn tag(&self, ciphertext: &[u8]) -> u128 {
        self.ghash(ciphertext) ^ self.mask()
    }

    /// The control: plain AES-GCM opens it.
    fn plainly_opens(&self, ciphertext: &[u8], tag: u128) -> bool {
        let mut buffer = ciphertext.to_vec();
        Aes256Gcm::new(&self.key.into())
            .decrypt_inout_detached(
                &self.nonce.into(),
                &self.aad,
                buffer.as_mut_slice().into(),
                &tag.to_be_bytes().into(),
            )
            .is_ok()
    }
}

/// Multiplication in GF(2^128) as GCM orders its bits (NIST SP 800-38D §6.3).
fn multiply(x: u128, y: u128) -> u128 {
    let (mut product, mut shifted) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= shifted;
        }
        let carry = shifted & 1;
        shifted >>= 1;
        if carry == 1 {
            shifted ^= 0xe1 << 120;
        }
    }
    product
}

/// `x^(2^128 − 2)`, which is `1 / x`.
fn invert(x: u128) -> u128 {
    let (mut result, mut square) = (1 << 127, x);
    for _ in 1..128 {
        square = multiply(square, square);
        result = multiply(result, square);
    }
    result
}

/// A ciphertext and tag of `length` bytes that verify on both sides: every block but the last is
/// chosen freely, and the last makes the tags equal.
fn collide(one: &Side, other: &Side, length: usize) -> Vec<u8> {
    let mut ciphertext = vec![0x42; length];
    ciphertext[length - 16..].fill(0);
    let difference = one.tag(&ciphertext) ^ other.tag(&ciphertext);
    // Before the last block stands only the length block: its power of H is the second.
    let square = |side: &Side| multiply(side.hash_key(), side.hash_key());
    let block = multiply(difference, invert(square(one) ^ square(other)));
    ciphertext[length - 16..].copy_from_slice(&block.to_be_bytes());
    let tag = one.tag(&ciphertext);
    assert!(one.plainly_opens(&ciphertext, tag) && other.plainly_opens(&ciphertext, tag));
    ciphertext.extend_from_slice(&tag.to_be_bytes());
    ciphertext
}

fn bob() -> (Dek, RecordPlace) {
    let owner = Owner::from(SubjectId::from_bytes([0xb0; 16]));
    (Dek::new(1, key(0xb1)), RecordPlace { owner, ..place() })
}

#[test]
fn a_record_for_two_people_opens_for_one_at_most() {
    let sides = [(dek(), place()), bob()];
    let commitments = sides.each_ref().map(|(dek, RecordPlace { kind, record, .. })| {
        let (kind, record) = (*kind, *record);
        *derive(dek.key(), &Context::RecordCommitment { kind, record }).bytes()
    });
    // The AAD each of them would use if the record held the commitment of `planted`.
    let aad = |side: usize, planted: &[u8; 32]| {
        let (dek, RecordPlace { installation, owner, kind, record }) = &sides[side];
        let (installation, owner, kind, record) = (*installation, *owner, *kind, *record);
        let key = derive(dek.key(), &Context::RecordKey { kind, record });
        let (field, category, version) = ("f", "c", 1);
        let aad = Context::Field { installation, owner, kind, record, field, category, version, commitment: planted };
        Side::new(&key, aad.to_bytes())
    };
    for (planted, commitment) in commitments.iter().enumerate() {
        let ciphertext = collide(&aad(0, commitment), &aad(1, commitment), 64);
        let mut bytes = hex("5301000000010001");
        bytes.extend_from_slice(commitment);
        bytes.extend_from_slice(&hex("0001000100000050"));
        bytes.extend_from_slice(&NONCE);
        bytes.extend_from_slice(&ciphertext);
        let sealed = Sealed::parse(bytes).unwrap();
        for (side, (dek, place)) in sides.iter().enumerate() {
            let outcome = dek.open(place, &sealed).and_then(|opener| opener.field(Term { number: 1, text: "f" }, "c"));
            // For the other person nothing is decrypted; for this one it is noise without padding.
            let expected = if side == planted { Error::Corrupted } else { Error::CommitmentMismatch };
            assert_eq!(outcome.err(), Some(expected));
        }
    }
}

#[test]
fn a_key_wrapped_for_two_keks_opens_under_neither() {
    let place = KeyPlace {
        installation: installation(),
        purpose: KeyPurpose::Dek,
        owner: Some(Owner::from(subject())),
        version: 1,
    };
    let commitment = [0xcc; 32];
    let side = |kek_version, first| {
        let KeyPlace { installation, purpose, owner, version } = place;
        let aad = Context::Wrap { installation, purpose, owner, version, kek_version, commitment: &commitment };
        Side::new(&derive(&key(first), &Context::WrapKey), aad.to_bytes())
    };
    let ciphertext = collide(&side(3, 0x40), &side(4, 0x41), 32);
    let ring = Keyring::new(vec![Kek::new(3, key(0x40)), Kek::new(4, key(0x41))], 4).unwrap();
    for version in [3, 4] {
        let head = [&[0x57, 1, 0, 0, 0, version][..], &NONCE].concat();
        let bytes = [&head[..], &ciphertext, &commitment].concat();
        let wrapped = WrappedKey::parse(&bytes).unwrap();
        assert_eq!(ring.unwrap(&place, &wrapped).err(), Some(Error::CommitmentMismatch));
    }
}

#[test]
fn a_file_for_two_people_opens_for_one_at_most() {
    let file = FileId::from_bytes([1; 16]);
    let kind = RecordKind::new("document");
    let anna = FilePlace { installation: installation(), owner: place().owner, kind, file };
    let (bobs_key, bobs_record) = bob();
    let bobs = FilePlace { owner: bobs_record.owner, ..anna };
    // Whoever plants a chunk must still choose one commitment, and that names one key.
    for (key, place, other_key, other_place) in [(dek(), anna, bobs_key, bobs), (bob().0, bobs, dek(), anna)] {
        let sealed = seal_file(&key, &place, &[3; 24], &[0; 64]).unwrap();
        let planted = [&sealed[..FILE_HEAD_LENGTH], &[0x42; 80]].concat();
        let outcome = open_file(&other_key, &other_place, &planted).err();
        assert_eq!(outcome, Some(Error::CommitmentMismatch));
        assert_eq!(open_file(&key, &place, &planted).err(), Some(Error::Rejected));
    }
}
