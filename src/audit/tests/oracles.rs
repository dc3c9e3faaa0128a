//! Other people's implementations as oracles: what we compute they compute, what we write they read,
//! what they write we read.
//!
//! `tlog_tiles` and `signed_note` descend from the Go checksum database, with which the C2SP formats
//! began; no line of theirs is in the product.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use proptest::prelude::*;
use signed_note::{Signer as _, StandardSigner, StandardVerifier, Verifier as _, VerifierList};
use tlog_tiles::{
    HashReader, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree, record_hash,
    split_stored_hash_index, stored_hash_index, stored_hashes_for_record_hash, tree_hash,
};

use super::properties::Rows;
use crate::audit::checkpoint::{Checkpoint, cosigned_message, open, with_cosignatures};
use crate::audit::leaf::leaf_hash;
use crate::audit::note::{KeyKind, Note, VerifierKey};
use crate::audit::tile::{TileKind, TilePath, TileRows as _, Tiled, tiles_at};
use crate::audit::tree::{
    Consistency, Frontier, Hash, HashSource, consistency_proof, hash_leaf, inclusion_proof, root, verify_consistency,
    verify_inclusion,
};
use crate::crypto::key::Key;
use crate::crypto::signature::Signing;

/// Every size up to this one is compared with the oracle.
const SIZES: u64 = 300;

/// A log as the oracle keeps it: the hashes of all full subtrees in one row.
struct Theirs(Vec<tlog_tiles::Hash>);

impl Theirs {
    fn of(size: u64) -> Self {
        let mut stored = Self(Vec::new());
        for number in 0..size {
            let leaf = record_hash(&number.to_be_bytes());
            let more = stored_hashes_for_record_hash(number, leaf, &stored).unwrap();
            stored.0.extend(more);
        }
        stored
    }
}

impl HashReader for Theirs {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let read = indexes.iter().map(|index| self.0.get(*index as usize).copied()).collect::<Option<Vec<_>>>();
        read.ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

/// Our proofs out of their rows.
impl HashSource for Theirs {
    type Error = std::fmt::Error;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, std::fmt::Error> {
        let stored = self.0.get(stored_hash_index(level as u8, index) as usize);
        stored.map(|hash| hash.0).ok_or(std::fmt::Error)
    }
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().copied().map(tlog_tiles::Hash).collect()
}

fn ours(hashes: &[tlog_tiles::Hash]) -> Vec<Hash> {
    hashes.iter().map(|hash| hash.0).collect()
}

#[test]
fn roots_and_proofs_of_every_size_are_theirs() {
    let log = Theirs::of(SIZES);
    let mut frontier = Frontier::new();
    let mut roots = vec![frontier.root()];
    for size in 1..=SIZES {
        let leaf = leaf_hash(&(size - 1).to_be_bytes());
        assert_eq!(leaf, hash_leaf(&(size - 1).to_be_bytes()));
        frontier.append(&leaf);
        let said = tree_hash(size, &log).unwrap();
        assert_eq!((frontier.root(), root(size, &log)), (said.0, Ok(said.0)), "{size}");
        roots.push(said.0);
        for index in 0..size {
            let leaf = record_hash(&index.to_be_bytes());
            let proof = inclusion_proof(index, size, &log).unwrap();
            let said_proof = prove_record(size, index, &log).unwrap();
            assert_eq!(proof, ours(&said_proof), "{index} of {size}");
            assert_eq!(verify_inclusion(index, size, &leaf.0, &proof, &said.0), Ok(()));
            assert!(check_record(&said_proof, size, said, index, leaf).is_ok());
        }
        for from in 1..=size {
            let proof = consistency_proof(from, size, &log).unwrap();
            let said_proof = prove_tree(size, from, &log).unwrap();
            assert_eq!(proof, ours(&said_proof), "{from} to {size}");
            let old = roots[from as usize];
            let expected = if from == size { Consistency::Same } else { Consistency::Extends };
            assert_eq!(verify_consistency(from, &old, size, &said.0, &proof), Ok(expected));
            assert!(check_tree(&said_proof, size, said, from, tlog_tiles::Hash(old)).is_ok());
        }
    }
}

/// What happens to a proof on its way.
#[derive(Clone, Debug)]
enum Deed {
    Nothing,
    Flip(usize, u8),
    Drop(usize),
    Insert(usize, Hash),
    Swap(usize, usize),
    Repeat,
}

impl Deed {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            Just(Self::Nothing),
            (0..12_usize, any::<u8>()).prop_map(|(at, bit)| Self::Flip(at, bit)),
            (0..12_usize).prop_map(Self::Drop),
            (0..12_usize, any::<Hash>()).prop_map(|(at, hash)| Self::Insert(at, hash)),
            (0..12_usize, 0..12_usize).prop_map(|(one, other)| Self::Swap(one, other)),
            Just(Self::Repeat),
        ]
    }

    fn on(&self, proof: &mut Vec<Hash>) {
        let length = proof.len();
        match *self {
            Self::Flip(at, bit) if length > 0 => proof[at % length][usize::from(bit / 8)] ^= 1 << (bit % 8),
            Self::Drop(at) if length > 0 => {
                proof.remove(at % length);
            }
            Self::Insert(at, hash) => proof.insert(at % (length + 1), hash),
            Self::Swap(one, other) if length > 0 => proof.swap(one % length, other % length),
            Self::Repeat => proof.extend(proof.last().copied()),
            _ => {}
        }
    }
}

proptest! {
    /// Whatever is done to a proof, its sizes or its place, both say the same of it.
    #[test]
    fn both_judge_a_damaged_proof_alike(
        (size, index) in (1..SIZES).prop_flat_map(|size| (Just(size), 0..size)),
        claimed_size in prop::option::of(1..SIZES),
        claimed_index in prop::option::of(0..SIZES),
        deed in Deed::any(),
    ) {
        let log = Theirs::of(size);
        let (claimed_size, claimed_index) = (claimed_size.unwrap_or(size), claimed_index.unwrap_or(index));
        let root = tree_hash(size, &log).unwrap();
        let leaf = record_hash(&index.to_be_bytes());
        let mut proof = inclusion_proof(index, size, &log).unwrap();
        deed.on(&mut proof);
        let judged = verify_inclusion(claimed_index, claimed_size, &leaf.0, &proof, &root.0).is_ok();
        let said = check_record(&theirs(&proof), claimed_size, root, claimed_index, leaf).is_ok();
        prop_assert_eq!(judged, said);

        let (from, claimed_from) = (index + 1, claimed_index + 1);
        let old = tree_hash(from, &log).unwrap();
        let mut proof = consistency_proof(from, size, &log).unwrap();
        deed.on(&mut proof);
        let judged = verify_consistency(claimed_from, &old.0, claimed_size, &root.0, &proof).is_ok();
        let said = check_tree(&theirs(&proof), claimed_size, root, claimed_from, old).is_ok();
        prop_assert_eq!(judged, said);
    }
}

/// Their name for a tile says its height first, ours does not: C2SP fixed it at eight.
fn their_path(tile: &Tile) -> String {
    tile.path().replacen("tile/8/data/", "tile/entries/", 1).replacen("tile/8/", "tile/", 1)
}

/// The tiles that a log of this size has, by our reckoning.
fn our_tiles(size: u64) -> BTreeSet<String> {
    let mut tiles = BTreeSet::new();
    for level in 0..8_u8 {
        let (full, partial) = tiles_at(level, size);
        let kind = TileKind::Hashes(level);
        tiles.extend((0..full).map(|index| TilePath { kind, index, width: 256 }.to_string()));
        if partial > 0 {
            tiles.insert(TilePath { kind, index: full, width: partial }.to_string());
        }
    }
    tiles
}

#[test]
fn a_log_has_the_tiles_they_expect() {
    for size in (1..=SIZES).chain([511, 512, 513, 65_535, 65_536, 65_537, 70_000, 131_072, 200_001]) {
        let expected: BTreeSet<String> = Tile::new_tiles(8, 0, size).iter().map(their_path).collect();
        assert_eq!(our_tiles(size), expected, "{size}");
        // What is new since a smaller size is there, and was not before in that width.
        let before = size - size.min(300) / 2;
        for tile in Tile::new_tiles(8, before, size) {
            let path = TilePath::parse(&their_path(&tile)).unwrap();
            assert!(path.least_size().unwrap() <= size);
            assert!(!our_tiles(before).contains(&path.to_string()));
        }
    }
}

proptest! {
    #[test]
    fn tiles_are_named_alike(index: u64, small in 0..3_000_000_u64, width in 1..=256_u16, level in 0..64_u8, entries: bool) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
        for index in [index, small] {
            let ours = TilePath { kind, index, width };
            let theirs = Tile::new(8, if entries { 0 } else { level }, index, u32::from(width), entries);
            prop_assert_eq!(ours.to_string(), their_path(&theirs));
            prop_assert_eq!(TilePath::parse(&their_path(&theirs)), Some(ours));
        }
    }

    /// A path with a wrong digit, group or slash: refused by both, or read alike by both.
    #[test]
    fn misspelt_tiles_are_refused_alike(index: u64, at: prop::sample::Index, new in "[0-9x/.p]?", cut: bool) {
        let index = index >> (index % 64);
        let mut path = TilePath { kind: TileKind::Hashes(0), index, width: 256 }.to_string();
        let start = "tile/0/".len();
        let at = start + at.index(path.len() - start);
        path.replace_range(at..at + usize::from(cut), &new);
        let theirs = Tile::from_path(&path.replacen("tile/", "tile/8/", 1)).ok();
        let theirs = theirs.map(|tile| (tile.level_index(), tile.width()));
        let ours = TilePath::parse(&path).map(|tile| (tile.index, u32::from(tile.width)));
        prop_assert_eq!(ours, theirs, "{}", path);
    }
}

/// Our tiles, served to their reader.
struct Served<'a> {
    rows: &'a Rows,
    poisoned: Option<TilePath>,
}

impl TileReader for Served<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let path = TilePath::parse(&their_path(tile)).unwrap();
            let TileKind::Hashes(level) = path.kind else { panic!("a tile of hashes") };
            let mut hashes = self.rows.hashes(level, path.index * 256, path.width).unwrap();
            if self.poisoned == Some(path) {
                hashes[usize::from(path.width) / 2][0] ^= 1;
            }
            hashes.concat()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn their_reader_proves_entries_from_our_tiles() {
    let size = 66_000_u64;
    let leaves: Vec<Hash> = (0..size).map(|number| leaf_hash(&number.to_be_bytes())).collect();
    let rows = Rows::new(&leaves);
    for size in [2, 255, 256, 257, 511, 65_535, 65_536, 65_537, size] {
        let tree = root(size, &Tiled(&rows)).unwrap();
        let served = Served { rows: &rows, poisoned: None };
        let reader = TileHashReader::new(size, tlog_tiles::Hash(tree), &served);
        assert_eq!(tree_hash(size, &reader).unwrap().0, tree);
        for index in [0, size / 3, size / 2, size - 1] {
            let said = prove_record(size, index, &reader).unwrap();
            assert_eq!(inclusion_proof(index, size, &Tiled(&rows)).unwrap(), ours(&said));
            let said = prove_tree(size, index + 1, &reader).unwrap();
            assert_eq!(consistency_proof(index + 1, size, &Tiled(&rows)).unwrap(), ours(&said));
        }
        // A tile with one wrong bit proves nothing. (Their reader itself refuses it only where the
        // tiles at the right edge are as many as the subtrees there.)
        let poisoned = TilePath { kind: TileKind::Hashes(0), index: 0, width: size.min(256) as u16 };
        let served = Served { rows: &rows, poisoned: Some(poisoned) };
        let reader = TileHashReader::new(size, tlog_tiles::Hash(tree), &served);
        let proven = prove_record(size, 0, &reader)
            .and_then(|proof| check_record(&proof, size, tlog_tiles::Hash(tree), 0, tlog_tiles::Hash(leaves[0])));
        assert!(proven.is_err(), "{size}");
    }
    assert_eq!(split_stored_hash_index(stored_hash_index(8, 3)), (8, 3));
}

/// A key in our form and in theirs.
struct Both {
    key: VerifierKey,
    signing: Signing,
    signer: StandardSigner,
    verifier: StandardVerifier,
}

impl Both {
    fn of(name: &str, seed: [u8; 32]) -> Self {
        let signing = Signing::from_seed(&Key::from_bytes(&mut zeroize::Zeroizing::new(seed)));
        let key = VerifierKey::new(name, KeyKind::Ed25519, signing.public_key()).unwrap();
        let id = signed_note::key_id(name, &key.typed());
        assert_eq!(id.to_be_bytes(), key.id());
        let secret = BASE64.encode(&[&[0x01][..], &seed].concat());
        let signer = StandardSigner::new(&format!("PRIVATE+KEY+{name}+{id:08x}+{secret}")).unwrap();
        let verifier = StandardVerifier::new(&key.to_string()).unwrap();
        assert_eq!((verifier.name(), verifier.key_id()), (name, id));
        Self { key, signing, signer, verifier }
    }

    fn known(&self) -> VerifierList {
        VerifierList::new(vec![Box::new(self.verifier.clone())])
    }
}

proptest! {
    #[test]
    fn checkpoints_go_both_ways(
        name in "[a-z]{1,12}(\\.[a-z]{1,8}){0,2}(/[a-z0-9-]{1,10}){0,2}",
        seeds: [[u8; 32]; 2],
        size in 0..1_u64 << 63,
        root: Hash,
        seconds in 0..1_u64 << 63,
    ) {
        let log = Both::of(&name, seeds[0]);
        let checkpoint = Checkpoint { origin: name.clone(), size, root };
        let said = tlog_tiles::Checkpoint::from_bytes(checkpoint.text().as_bytes()).unwrap();
        prop_assert_eq!((said.origin(), said.size(), said.hash().0, said.extension()), (&*name, size, root, ""));
        prop_assert_eq!(said.to_bytes(), checkpoint.text().into_bytes());

        // Ours, with a witness's cosignature under it: theirs reads it, knows the log's line, and
        // passes over the other.
        let ours = checkpoint.note(&[(log.key.clone(), log.signing.sign(checkpoint.text().as_bytes()))]);
        let witness = Signing::from_seed(&Key::from_bytes(&mut zeroize::Zeroizing::new(seeds[1])));
        let witness_key = VerifierKey::new("witness.example/w1", KeyKind::Cosignature, witness.public_key()).unwrap();
        let signature = witness.sign(&cosigned_message(seconds, &checkpoint.text()));
        let line = witness_key.signature_line(&[seconds.to_be_bytes().as_slice(), &signature].concat());
        let note = with_cosignatures(&ours, [line.as_str()]);
        let read = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        prop_assert_eq!(read.to_bytes(), note.as_bytes());
        let (verified, unverified) = read.verify(&log.known()).unwrap();
        prop_assert_eq!((verified.len(), unverified.len()), (1, 1));
        prop_assert_eq!(unverified[0].id().to_be_bytes(), witness_key.id());
        prop_assert_eq!(signed_note::key_id("witness.example/w1", &witness_key.typed()).to_be_bytes(), witness_key.id());
        // The cosignature is one over the message of C2SP, by their Ed25519.
        let message = format!("cosignature/v1\ntime {seconds}\n{name}\n{size}\n{}\n", BASE64.encode(&root));
        let (time, signature) = unverified[0].signature().split_at(8);
        prop_assert_eq!(time, seconds.to_be_bytes());
        let plain = VerifierKey::new("w", KeyKind::Ed25519, witness.public_key()).unwrap();
        prop_assert!(StandardVerifier::new(&plain.to_string()).unwrap().verify(message.as_bytes(), signature));

        // Theirs: the same bytes, and we believe them.
        let mut theirs = signed_note::Note::new(checkpoint.text().as_bytes(), &[]).unwrap();
        theirs.add_sigs(&[&log.signer]).unwrap();
        prop_assert_eq!(theirs.to_bytes(), ours.as_bytes());
        prop_assert_eq!(log.signer.sign(b"x").unwrap(), log.signing.sign(b"x"));
        let opened = open(&note.into_bytes(), Some(&name), std::slice::from_ref(&log.key), &[witness_key]).unwrap();
        prop_assert_eq!((opened.checkpoint, opened.cosignatures[0].seconds), (checkpoint, seconds));
    }

    /// A note with something wrong in it: what we take, they take in the same sense; what they take and
    /// we do not is within our narrower limits.
    #[test]
    fn a_misspelt_note_is_no_surprise(
        at: prop::sample::Index,
        new in prop_oneof![Just(String::new()), "[\n —+=A-Za-z0-9/]", ".{0,2}"],
        cut in 0..2_usize,
    ) {
        let log = Both::of("log.example/a", [7; 32]);
        let checkpoint = Checkpoint { origin: "log.example/a".to_owned(), size: 12, root: [9; 32] };
        let note = checkpoint.note(&[(log.key.clone(), log.signing.sign(checkpoint.text().as_bytes()))]);
        let mut characters: Vec<String> = note.chars().map(String::from).collect();
        let at = at.index(characters.len() - cut);
        characters.splice(at..at + cut, [new]);
        let note = characters.concat();
        let ours = Note::parse(note.as_bytes()).ok();
        let theirs = signed_note::Note::from_bytes(note.as_bytes()).ok();
        match (&ours, &theirs) {
            (Some(ours), Some(theirs)) => {
                prop_assert_eq!(ours.text.as_bytes(), theirs.text());
                let believed = open(note.as_bytes(), Some("log.example/a"), std::slice::from_ref(&log.key), &[]).is_ok();
                let said = theirs.verify(&log.known()).is_ok() && tlog_tiles::Checkpoint::from_bytes(theirs.text()).is_ok();
                prop_assert_eq!(believed, said, "{}", note);
            }
            (None, None) => {}
            (Some(_), None) => prop_assert!(false, "only we read {note:?}"),
            (None, Some(_)) => {
                prop_assert!(note.chars().any(|c| c.is_control() && c != '\n'), "only they read {note:?}");
            }
        }
    }
}
