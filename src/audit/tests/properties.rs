//! Properties that hold for every leaf, every size, every proof.

use std::cell::RefCell;
use std::convert::Infallible;

use proptest::prelude::*;

use super::attacks::verify;
use super::{Log, entry, part};
use crate::audit::leaf::{Counts, Draft, Fact, Facts, Leaf, Refusal, leaf_hash};
use crate::audit::payload::{Payload, Value};
use crate::audit::tile::{TileKind, TilePath, TileRows, Tiled, full_tile_root, put_entry, read_entries};
use crate::audit::tree::{
    Consistency, Frontier, Hash, HashSource, ProofError, consistency_proof, empty_root, hash_node, inclusion_proof,
    root, verify_consistency, verify_inclusion,
};
use crate::domain::event::{Event, Outcome, Role};

/// The definition of RFC 6962 §2.1, word for word.
fn recursive_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let middle = hashes.len().next_power_of_two() / 2;
            hash_node(&recursive_root(&hashes[..middle]), &recursive_root(&hashes[middle..]))
        }
    }
}

struct Naive<'a>(&'a [Hash]);

impl HashSource for Naive<'_> {
    type Error = Infallible;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let width = 1_usize << level;
        let start = index as usize * width;
        Ok(recursive_root(&self.0[start..start + width]))
    }
}

/// Rows as storage keeps them; counts what is read.
pub(super) struct Rows {
    levels: Vec<Vec<Hash>>,
    reads: RefCell<usize>,
}

impl Rows {
    pub(super) fn new(leaves: &[Hash]) -> Self {
        let mut levels = vec![leaves.to_vec()];
        while levels.last().unwrap().len() >= 256 {
            let roots = levels.last().unwrap().chunks_exact(256).map(|t| full_tile_root(t).unwrap());
            let roots = roots.collect();
            levels.push(roots);
        }
        Self { levels, reads: RefCell::new(0) }
    }
}

impl TileRows for Rows {
    type Error = std::fmt::Error;

    fn hashes(&self, level: u8, first: u64, count: u16) -> Result<Vec<Hash>, std::fmt::Error> {
        *self.reads.borrow_mut() += 1;
        assert_eq!(first / 256, (first + u64::from(count) - 1) / 256, "the range leaves its tile");
        let level = self.levels.get(usize::from(level)).ok_or(std::fmt::Error)?;
        let first = first as usize;
        level.get(first..first + usize::from(count)).map(<[Hash]>::to_vec).ok_or(std::fmt::Error)
    }
}

fn hashes(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

#[test]
fn every_inclusion_up_to_200_proves_and_nothing_else_does() {
    let all = hashes(200);
    let mut frontier = Frontier::new();
    for size in 1..=200_u64 {
        frontier.append(&all[size as usize - 1]);
        let tree = &all[..size as usize];
        let root_hash = recursive_root(tree);
        assert_eq!(frontier.root(), root_hash);
        assert_eq!(root(size, &Naive(tree)), Ok(root_hash));
        assert_eq!(Frontier::from_bytes(size, &frontier.to_bytes()), Ok(frontier.clone()));
        for index in 0..size {
            let leaf = &tree[index as usize];
            let mut proof = inclusion_proof(index, size, &Naive(tree)).unwrap();
            assert_eq!(verify_inclusion(index, size, leaf, &proof, &root_hash), Ok(()));
            for other in [index + 1, index.wrapping_sub(1)] {
                assert!(verify_inclusion(other, size, leaf, &proof, &root_hash).is_err());
            }
            for at in 0..proof.len() {
                proof[at][at % 32] ^= 1 << (index % 8);
                assert!(verify_inclusion(index, size, leaf, &proof, &root_hash).is_err());
                proof[at][at % 32] ^= 1 << (index % 8);
            }
            proof.push(root_hash);
            let longer = verify_inclusion(index, size, leaf, &proof, &root_hash);
            assert_eq!(longer, Err(ProofError::Length));
        }
    }
}

#[test]
fn every_consistency_up_to_200_proves_and_other_logs_do_not() {
    let all = hashes(200);
    let mut other = all.clone();
    other[0][0] ^= 1;
    let roots: Vec<Hash> = (0..=200).map(|size| recursive_root(&all[..size])).collect();
    for to in 0..=200_u64 {
        for from in 0..=to {
            let (old, new) = (roots[from as usize], roots[to as usize]);
            let proof = consistency_proof(from, to, &Naive(&all)).unwrap();
            let expected = match from {
                _ if from == to => Consistency::Same,
                0 => Consistency::FirstCheckpoint,
                _ => Consistency::Extends,
            };
            assert_eq!(verify_consistency(from, &old, to, &new, &proof), Ok(expected));
            if from > 0 {
                let foreign = recursive_root(&other[..from as usize]);
                assert!(verify_consistency(from, &foreign, to, &new, &proof).is_err());
            }
            for at in 0..proof.len() {
                let mut changed = proof.clone();
                changed[at][from as usize % 32] ^= 4;
                assert!(verify_consistency(from, &old, to, &new, &changed).is_err());
                changed.remove(at);
                assert!(verify_consistency(from, &old, to, &new, &changed).is_err());
            }
        }
    }
}

#[test]
fn tiles_give_the_same_proofs() {
    let all = hashes(70_000);
    let rows = Rows::new(&all);
    for size in [1_u64, 255, 256, 257, 65_536, 65_537, 70_000] {
        let mut frontier = Frontier::new();
        all[..size as usize].iter().for_each(|hash| frontier.append(hash));
        assert_eq!(root(size, &Tiled(&rows)), Ok(frontier.root()));
        for index in [0, size / 2, size - 1] {
            *rows.reads.borrow_mut() = 0;
            let proof = inclusion_proof(index, size, &Tiled(&rows)).unwrap();
            let leaf = &all[index as usize];
            assert_eq!(verify_inclusion(index, size, leaf, &proof, &frontier.root()), Ok(()));
            assert!(proof.len() <= 17);
        }
    }
    // A row that is not there is an error, never a wrong proof.
    assert!(inclusion_proof(0, 80_000, &Tiled(&rows)).is_err());
}

proptest! {
    #[test]
    fn a_leaf_comes_back(
        seq in 0..1_u64 << 63,
        time: u64,
        previous: [u8; 32],
        size: u64,
        root: [u8; 32],
        keys in prop::collection::vec(any::<[u8; 32]>(), 0..40),
        operation: u64,
        seed: u64,
    ) {
        let counts = Counts { operation, evidence: 0, system: seed };
        let completed = Facts::new(vec![Fact::Fingerprints(keys), Fact::Deleted(counts)]);
        let closed = Facts::new(vec![Fact::Root(root), Fact::LogSize(size)]);
        let drafts = [
            Draft::new(entry(seed), Event::ErasureCompleted, Outcome::Done, vec![part(Role::Receipt, seed)], completed),
            Draft::new(entry(seed), Event::LogClosed, Outcome::Done, Vec::new(), closed),
            Draft::new(entry(seed), Event::SubjectLinked, Outcome::Done, vec![part(Role::Officer, seed), part(Role::Subject, seed)], Facts::none()),
        ];
        for draft in drafts {
            let draft = draft.unwrap();
            let mut bytes = Vec::new();
            draft.encode(seq, &previous, time, &mut bytes);
            let leaf = Leaf::decode(&bytes).unwrap();
            prop_assert_eq!((leaf.seq, leaf.previous, leaf.time), (seq, previous, time));
            let again = Draft::new(leaf.entry, leaf.event, leaf.outcome, leaf.parts, leaf.facts);
            prop_assert_eq!(again, Ok(draft));
        }
    }

    #[test]
    fn whatever_is_read_was_written_so(mut bytes in prop::sample::select(Log::of(8).leaves), at: prop::sample::Index, new: u8) {
        let at = at.index(bytes.len());
        bytes[at] = new;
        if let Ok(leaf) = Leaf::decode(&bytes) {
            let (seq, previous, time) = (leaf.seq, leaf.previous, leaf.time);
            let draft = Draft::new(leaf.entry, leaf.event, leaf.outcome, leaf.parts, leaf.facts).unwrap();
            let mut again = Vec::new();
            draft.encode(seq, &previous, time, &mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn no_input_makes_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,120}") {
        let _: Result<Leaf, Refusal> = Leaf::decode(&bytes);
        if let Ok(value) = Value::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes.clone());
        }
        let _: Option<TilePath> = TilePath::parse(&text);
        let _: Result<_, _> = read_entries(&bytes);
        let _: Result<_, _> = crate::audit::note::Note::parse(&bytes);
        let _: Result<_, _> = crate::audit::proof::LogProof::parse(&text);
        let _: Result<_, _> = crate::audit::trust::Trust::parse(&text);
        let _: Result<_, _> = crate::audit::payload::read_plaintext(&bytes);
    }

    #[test]
    fn no_mixture_of_deeds_goes_unseen(
        deeds in prop::collection::vec((0_u8..5, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..), 1..6),
        by_tile: bool,
    ) {
        let log = Log::of(60);
        let mut leaves = log.leaves.clone();
        for (deed, one, other, mask) in deeds {
            let (one, at) = (one.index(leaves.len()), other.index(leaves.len()));
            match deed {
                0 if leaves.len() > 1 => {
                    leaves.remove(one);
                }
                0 => {}
                1 => leaves.swap(one, at),
                2 => leaves.insert(one, leaves[at].clone()),
                3 => leaves.truncate(one.max(1)),
                _ => {
                    let byte = other.index(leaves[one].len());
                    leaves[one][byte] ^= mask;
                }
            }
        }
        let stored = by_tile.then_some(log.stored.as_slice());
        let report = verify(&leaves, stored, &[log.checkpoint()]);
        if leaves == log.leaves {
            prop_assert_eq!(report.exit, 0);
        } else {
            prop_assert!(matches!(report.exit, 30 | 40), "{:?}", report.findings);
        }
    }

    #[test]
    fn a_tile_path_comes_back(index: u64, width in 1_u16..=256, level in 0_u8..64, entries: bool) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
        let path = TilePath { kind, index, width };
        prop_assert_eq!(TilePath::parse(&path.to_string()), Some(path));
    }

    #[test]
    fn a_bundle_comes_back(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..256)) {
        let mut bundle = Vec::new();
        for leaf in &leaves {
            put_entry(&mut bundle, leaf).unwrap();
        }
        prop_assert_eq!(read_entries(&bundle).unwrap(), leaves);
    }
}

#[test]
fn a_payload_comes_back() {
    let payload = Payload {
        subject: Some([1; 16]),
        purposes: vec!["newsletter".to_owned()],
        reason: Some("Grüße, 你好".to_owned()),
        more: vec![("amount", Value::Uint(300)), ("nested", Value::Map(Vec::new()))],
        ..Payload::default()
    };
    let decoded = Value::decode(&payload.encode()).unwrap();
    assert_eq!(decoded.encode(), payload.encode());
    assert_eq!(decoded.get("reason"), Some(&Value::from("Grüße, 你好")));
    assert_eq!(decoded.get("v"), Some(&Value::Uint(1)));
    // Shown as JSON and read back, it still says the same.
    let json = serde_json::to_vec(&decoded).unwrap();
    assert!(decoded.shows(&serde_json::from_slice(&json).unwrap()));
    assert!(serde_json::from_str::<Value>(r#"{"a":1,"a":2}"#).is_err());
    assert!(serde_json::from_str::<Value>("null").is_err());
    // A length is a claim; it takes no memory.
    assert!(Value::decode(&[0x9b, 0, 0, 0, 255, 255, 255, 255, 255]).is_err());
    assert!(Value::decode(&[0x81; 100_000]).is_err());
}

#[test]
fn drafts_keep_the_rules_of_their_event() {
    use crate::audit::leaf::DraftError as E;
    let make = |event, outcome, parts, facts| Draft::new(entry(1), event, outcome, parts, facts);
    let event = Event::RecordCollected;
    let subject = part(Role::Subject, 1);
    assert_eq!(make(event, Outcome::Failed, vec![subject], Facts::none()), Err(E::Outcome(event, Outcome::Failed)));
    assert_eq!(make(event, Outcome::Done, vec![], Facts::none()), Err(E::Parts(event)));
    assert_eq!(make(event, Outcome::Done, vec![subject, subject], Facts::none()), Err(E::Parts(event)));
    let bare = crate::audit::leaf::Part { sealed_hash: None, ..subject };
    assert_eq!(make(event, Outcome::Done, vec![bare], Facts::none()), Err(E::SealedHash(event, Role::Subject)));
    let foreign = Facts::new(vec![Fact::Number(1)]);
    assert_eq!(make(event, Outcome::Done, vec![subject], foreign), Err(E::Facts(event)));
    let event = Event::RecordExpired;
    let twice = Facts::new(vec![Fact::Number(1), Fact::Number(1)]);
    assert_eq!(make(event, Outcome::Done, vec![subject], twice), Err(E::Facts(event)));
    let event = Event::ErasureReplayed;
    let long = Facts::new(vec![
        Fact::Deleted(Counts::default()),
        Fact::Fingerprints(vec![[0; 32]; 130]),
        Fact::Cause(crate::audit::leaf::Cause::Restore),
    ]);
    assert_eq!(make(event, Outcome::Done, vec![], long), Err(E::TooLong(event)));
}
