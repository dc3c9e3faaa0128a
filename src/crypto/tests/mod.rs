//! Tests of the whole room: the vectors of the reference, vectors made by others, properties.

mod access_tokens;
mod made_by_others;
mod properties;
mod root_keys;
mod two_keys;
mod vectors;

use zeroize::Zeroizing;

use super::Error;
use super::envelope::{Dek, RecordPlace};
use super::key::{Key, Secret};
use super::mac::{Owner, RecordKind};
use crate::domain::id::{InstallationId, RecordId, SubjectId};

const RECORD: RecordKind = RecordKind::new("record");

/// `count` bytes that run upward from `first`.
fn run<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|index| first.wrapping_add(u8::try_from(index).unwrap()))
}

fn key(first: u8) -> Key {
    Key::from_bytes(&mut Zeroizing::new(run(first)))
}

fn secret(version: u32, first: u8) -> Secret {
    Secret::new(version, key(first))
}

fn dek() -> Dek {
    Dek::new(1, key(0x60))
}

fn installation() -> InstallationId {
    InstallationId::from_bytes(run(0x00))
}

fn subject() -> SubjectId {
    SubjectId::from_bytes(run(0x10))
}

fn place() -> RecordPlace {
    RecordPlace {
        installation: installation(),
        owner: Owner::from(subject()),
        kind: RECORD,
        record: RecordId::from_bytes(run(0x20)).into(),
    }
}

/// Nonces that never repeat within a test.
fn counting() -> impl FnMut(&mut [u8]) -> Result<(), Error> {
    let mut next = 0_u64;
    move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            next += 1;
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn hex(text: &str) -> Vec<u8> {
    let compact: String = text.split_ascii_whitespace().collect();
    data_encoding::HEXLOWER.decode(compact.as_bytes()).unwrap()
}
