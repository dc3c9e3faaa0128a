//! Everything in `audit.json`, derived or refused again.

use data_encoding::HEXLOWER;
use serde_json::Value as Json;

use crate::audit::checkpoint::{Checkpoint, CheckpointError, cosigned_message, open};
use crate::audit::leaf::{Counts, Draft, Fact, Facts, Leaf, NO_PREVIOUS, Part, Refusal, leaf_hash};
use crate::audit::note::{KeyKind, Note, VerifierKey};
use crate::audit::payload::{Value, read_plaintext};
use crate::audit::proof::LogProof;
use crate::audit::tile::{TileKind, TilePath, put_entry, tiles_at};
use crate::audit::tree::{
    Frontier, Hash, HashSource, consistency_proof, hash_leaf, hash_node, inclusion_proof, verify_consistency,
    verify_inclusion,
};
use crate::crypto::key::Key;
use crate::crypto::mac::audit::{AuditPlace, CommitmentKey, TagKey};
use crate::crypto::signature::{Signing, verify_strict};
use crate::domain::event::{Class, Event, Outcome, Role};
use crate::domain::id::EntryId;

pub(super) fn vectors() -> Json {
    serde_json::from_str(include_str!("../../../tests/vectors/audit.json")).unwrap()
}

pub(super) fn text(value: &Json) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Json) -> Vec<u8> {
    HEXLOWER.decode(text(value).as_bytes()).unwrap()
}

fn fixed<const N: usize>(value: &Json) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn list(value: &Json) -> &Vec<Json> {
    value.as_array().unwrap()
}

fn proof_of(value: &Json) -> Option<Vec<Hash>> {
    list(value).iter().map(|hash| bytes(hash).try_into().ok()).collect()
}

pub(super) fn proof_of_hashes(value: &Json) -> Vec<Hash> {
    list(value).iter().map(fixed).collect()
}

pub(super) fn secret(value: &Json) -> Key {
    Key::from_bytes(&mut zeroize::Zeroizing::new(fixed(value)))
}

/// Leaf hashes.
pub(super) struct Source(pub(super) Vec<Hash>);

impl HashSource for Source {
    type Error = std::convert::Infallible;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let mut frontier = Frontier::new();
        let (width, start) = (1 << level, (index as usize) << level);
        self.0[start..start + width].iter().for_each(|hash| frontier.append(hash));
        Ok(frontier.root())
    }
}

#[test]
fn rfc6962() {
    let all = vectors();
    let set = &all["rfc6962"];
    let hashes: Vec<Hash> = list(&set["leaves"]).iter().map(|leaf| hash_leaf(&bytes(leaf))).collect();
    let mut frontier = Frontier::new();
    for (size, root) in list(&set["roots"]).iter().enumerate() {
        assert_eq!(frontier.root(), fixed(root));
        if let Some(hash) = hashes.get(size) {
            assert_eq!(*hash, fixed(&set["leaf_hashes"][size]));
            frontier.append(hash);
        }
    }
    let single = &set["single_hashes"];
    assert_eq!(hash_leaf(b"L123456"), fixed(&single["leaf_of_ascii_L123456"]));
    let node = raw_node(b"N123", b"N456");
    assert_eq!(node, fixed(&single["node_of_ascii_N123_N456"]));

    let source = Source(hashes.clone());
    for case in list(&set["inclusion"]) {
        let (index, size) = (case["index"].as_u64().unwrap(), case["size"].as_u64().unwrap());
        let proof = proof_of(&case["proof"]).unwrap();
        assert_eq!(inclusion_proof(index, size, &source), Ok(proof.clone()));
        let root = fixed(&set["roots"][size as usize]);
        assert_eq!(verify_inclusion(index, size, &hashes[index as usize], &proof, &root), Ok(()));
    }
    for case in list(&set["consistency"]) {
        let (from, to) = (case["size1"].as_u64().unwrap(), case["size2"].as_u64().unwrap());
        let proof = proof_of(&case["proof"]).unwrap();
        assert_eq!(consistency_proof(from, to, &source), Ok(proof.clone()));
        let (old, new) = (fixed(&set["roots"][from as usize]), fixed(&set["roots"][to as usize]));
        assert!(verify_consistency(from, &old, to, &new, &proof).is_ok());
    }
    for case in list(&set["invalid"]) {
        let Some(proof) = proof_of(&case["proof"]) else {
            assert_eq!(case["why"], "hash of 31 bytes");
            continue;
        };
        let number = |name: &str| case[name].as_u64().unwrap();
        let refused = if case["kind"] == "inclusion" {
            let (leaf, root) = (fixed(&case["leaf_hash"]), fixed(&case["root"]));
            verify_inclusion(number("index"), number("size"), &leaf, &proof, &root).is_err()
        } else {
            let (old, new) = (fixed(&case["root1"]), fixed(&case["root2"]));
            verify_consistency(number("size1"), &old, number("size2"), &new, &proof).is_err()
        };
        assert!(refused, "{}", case["why"]);
    }
}

/// A node over texts that are no hashes, as the vectors of other implementations have it.
fn raw_node(left: &[u8], right: &[u8]) -> Hash {
    use sha2::{Digest, Sha256};
    assert_ne!(hash_node(&[0; 32], &[1; 32]), hash_node(&[1; 32], &[0; 32]));
    Sha256::digest([&[1], left, right].concat()).into()
}

#[test]
fn counter_trees() {
    let all = vectors();
    let roots = all["counter_trees"]["roots"].as_object().unwrap();
    let mut frontier = Frontier::new();
    for number in 0..65_536_u64 {
        if let Some(root) = roots.get(&frontier.size().to_string()) {
            assert_eq!(frontier.root(), fixed(root));
        }
        frontier.append(&hash_leaf(&number.to_be_bytes()));
    }
    assert_eq!(frontier.root(), fixed(&roots["65536"]));
}

#[test]
fn signed_note() {
    let all = vectors();
    let set = &all["signed_note"];
    let log = VerifierKey::parse(text(&set["log_vkey"])).unwrap();
    let witness = VerifierKey::parse(text(&set["witness_vkey"])).unwrap();
    assert_eq!(log.to_string(), text(&set["log_vkey"]));
    assert_eq!(witness.to_string(), text(&set["witness_vkey"]));

    let signing = Signing::from_seed(&secret(&set["log_seed"]));
    let made = VerifierKey::new(log.name(), KeyKind::Ed25519, signing.public_key()).unwrap();
    assert_eq!(made, log);
    let root = fixed(&all["rfc6962"]["roots"][7]);
    let checkpoint = Checkpoint { origin: log.name().to_owned(), size: 7, root };
    let mut note = checkpoint.note(&[(log.clone(), signing.sign(checkpoint.text().as_bytes()))]);
    let cosigning = Signing::from_seed(&secret(&set["witness_seed"]));
    let seconds = 1_767_225_600_u64;
    let signature = cosigning.sign(&cosigned_message(seconds, &checkpoint.text()));
    note += &witness.signature_line(&[seconds.to_be_bytes().as_slice(), &signature].concat());
    assert_eq!(note, text(&set["checkpoint"]));

    let verified = open(note.as_bytes(), None, std::slice::from_ref(&log), std::slice::from_ref(&witness)).unwrap();
    assert_eq!(verified.checkpoint, checkpoint);
    assert_eq!(verified.cosignatures[0].seconds, seconds);
    let elsewhere = open(note.as_bytes(), Some("other.example/log"), &[log], &[witness]);
    assert_eq!(elsewhere, Err(CheckpointError::Origin));

    let proof = LogProof::parse(text(&set["tlog_proof_leaf4_size7"])).unwrap();
    assert_eq!(proof.to_string(), text(&set["tlog_proof_leaf4_size7"]));
    let leaf = fixed(&all["rfc6962"]["leaf_hashes"][4]);
    assert_eq!(verify_inclusion(proof.index, 7, &leaf, &proof.hashes, &root), Ok(()));

    for known in list(&set["known_notes"]) {
        let key = VerifierKey::parse(text(&known["vkey"])).unwrap();
        let note = Note::parse(text(&known["note"]).as_bytes()).unwrap();
        let line = &note.signatures[0];
        assert!(line.claims(&key));
        let signature = line.bytes.as_slice().try_into().unwrap();
        assert!(verify_strict(key.public(), note.text.as_bytes(), signature).is_ok());
    }
    assert!(VerifierKey::parse(&text(&set["log_vkey"]).replace("fe08797a", "fe08797b")).is_err());
}

#[test]
fn tiles() {
    let all = vectors();
    for (name, path) in all["tiles"]["paths"].as_object().unwrap() {
        let words: Vec<&str> = name.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let index = words[0].parse().unwrap();
        let after = |word: &str| {
            let at = words.iter().position(|other| *other == word);
            at.map(|at| words[at + 1].parse::<u16>().unwrap())
        };
        let kind = TileKind::Hashes(after("level").unwrap_or(0).try_into().unwrap());
        let tile = TilePath { kind, index, width: after("p").unwrap_or(256) };
        assert_eq!(tile.to_string(), text(path));
        assert_eq!(TilePath::parse(text(path)), Some(tile));
    }
    for (size, tiles) in all["tiles"]["tiles_of_tree"].as_object().unwrap() {
        let size: u64 = size.parse().unwrap();
        for tile in list(tiles) {
            let level = tile["level"].as_u64().unwrap().try_into().unwrap();
            let (full, partial) = tiles_at(level, size);
            assert_eq!(Some(full), tile["full"].as_u64());
            assert_eq!(Some(u64::from(partial)), tile["partial_width"].as_u64());
        }
    }
    for path in [
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/00/001",
        "tile/64/000",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001/",
        "/tile/0/001",
        "tile/0/001/002",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/+1/000",
        "tile/entries/1",
    ] {
        assert_eq!(TilePath::parse(path), None, "{path}");
    }
    let path = TilePath::parse("tile/1/000.p/2").unwrap();
    assert_eq!(path.least_size(), Some(512));
}

fn fact(key: &str, value: &Json) -> Fact {
    match key {
        "1" => Fact::PolicyHash(fixed(&value["$hex"])),
        "3" => {
            let count = |at: usize| value[at].as_u64().unwrap();
            Fact::Deleted(Counts { operation: count(0), evidence: count(1), system: count(2) })
        }
        "5" => Fact::Fingerprints(list(value).iter().map(|key| fixed(&key["$hex"])).collect()),
        "9" => Fact::Verifier(fixed(&value["$hex"])),
        "10" => Fact::Origin(String::from_utf8(bytes(&value["$hex"])).unwrap()),
        "14" => Fact::HeartbeatSeconds(value.as_u64().unwrap()),
        _ => panic!("fact {key}"),
    }
}

/// A payload of the vectors: `{"$hex": …}` is a byte string.
fn payload(value: &Json) -> Value {
    match value {
        Json::String(text) => Value::from(text.as_str()),
        Json::Number(number) => Value::Uint(number.as_u64().unwrap()),
        Json::Bool(value) => Value::Bool(*value),
        Json::Array(items) => Value::Array(items.iter().map(payload).collect()),
        Json::Object(members) => match members.get("$hex") {
            Some(hex) => Value::Bytes(bytes(hex)),
            None => Value::Map(members.iter().map(|(key, value)| (key.clone(), payload(value))).collect()),
        },
        Json::Null => panic!("null"),
    }
}

#[test]
fn amanat_log() {
    let all = vectors();
    let set = &all["amanat_log"];
    let origin = text(&set["origin"]);
    let mut frontier = Frontier::new();
    let (mut previous, mut hashes, mut bundle) = (NO_PREVIOUS, Vec::new(), Vec::new());
    for (seq, case) in (0..).zip(list(&set["leaves"])) {
        let event = Event::parse(text(&case["event"])).unwrap();
        assert_eq!(Some(u64::from(event.number())), case["event_code"].as_u64());
        let number = |name: &str| u8::try_from(case[name].as_u64().unwrap()).unwrap();
        assert_eq!(Class::from_number(number("retention_class")), Some(event.class()));
        let entry = EntryId::from_bytes(fixed(&case["entry"]));
        let parts = list(&case["parts"]).iter().map(|part| {
            let role = Role::from_number(u8::try_from(part["role"].as_u64().unwrap()).unwrap()).unwrap();
            let key = secret(&part["audit_key"]);
            let plaintext = bytes(&part["plaintext"]);
            let value = payload(&part["payload_json"]);
            assert_eq!(value.encode(), bytes(&part["payload_cbor"]));
            assert_eq!(read_plaintext(&plaintext).unwrap().encode(), value.encode());
            let place =
                AuditPlace { role: role.number(), entry, event: event.number(), class: event.class().number(), origin };
            let commit_key = CommitmentKey::derive(&key, role.number(), entry);
            assert_eq!(commit_key.to_shown(), fixed(&part["commitment_key"]));
            let sealed_hash = match role {
                Role::Receipt => None,
                _ => {
                    use sha2::{Digest, Sha256};
                    Some(Sha256::digest(bytes(&part["sealed"])).into())
                }
            };
            assert_eq!(
                sealed_hash.map_or(String::new(), |hash: Hash| HEXLOWER.encode(&hash)),
                text(&part["sealed_hash"])
            );
            let tag = TagKey::derive(&key).tag(role.number(), entry);
            assert_eq!(tag, fixed(&part["tag"]));
            let commitment = commit_key.commitment(&place, &plaintext);
            assert_eq!(commitment, fixed(&part["commitment"]));
            Part { role, tag, commitment, sealed_hash }
        });
        let facts = case["facts"].as_object().unwrap().iter().map(|(key, value)| fact(key, value));
        let outcome = Outcome::from_number(number("outcome")).unwrap();
        let draft = Draft::new(entry, event, outcome, parts.collect(), Facts::new(facts.collect())).unwrap();
        let mut leaf = Vec::new();
        draft.encode(seq, &previous, case["time_us"].as_u64().unwrap(), &mut leaf);
        assert_eq!(leaf, bytes(&case["leaf"]));
        let decoded = Leaf::decode(&leaf).unwrap();
        assert_eq!((decoded.parts.as_slice(), &decoded.facts), (draft.parts(), draft.facts()));
        previous = leaf_hash(&leaf);
        assert_eq!(previous, fixed(&case["leaf_hash"]));
        frontier.append(&previous);
        assert_eq!(frontier.root(), fixed(&case["root_after"]));
        hashes.push(previous);
        put_entry(&mut bundle, &leaf).unwrap();
    }

    assert_eq!(frontier.root(), fixed(&set["root"]));
    assert_eq!(hashes.concat(), bytes(&set["tiles"]["tile/0/000.p/6"]));
    assert_eq!(bundle, bytes(&set["tiles"]["tile/entries/000.p/6"]));
    let log = VerifierKey::parse(text(&set["log_vkey"])).unwrap();
    let checkpoint = Checkpoint { origin: origin.to_owned(), size: 6, root: frontier.root() };
    let signing = Signing::from_seed(&secret(&set["log_seed"]));
    let note = checkpoint.note(&[(log.clone(), signing.sign(checkpoint.text().as_bytes()))]);
    assert!(text(&set["checkpoint"]).starts_with(&note));
    let source = Source(hashes);
    for (index, case) in set["proofs"].as_object().unwrap() {
        let index: u64 = index.parse().unwrap();
        let proof = LogProof {
            leaf: Some(bytes(&set["leaves"][index as usize]["leaf"])),
            index,
            hashes: inclusion_proof(index, 6, &source).unwrap(),
            checkpoint: text(&set["checkpoint"]).to_owned(),
        };
        assert_eq!(proof.to_string(), text(case));
        assert_eq!(LogProof::parse(text(case)), Ok(proof));
    }
}

#[test]
fn malformed_leaves() {
    for case in list(&vectors()["malformed_leaves"]["cases"]) {
        let expected = match text(&case["finding"]) {
            "malformed" => Refusal::Malformed,
            "unknown_event" => Refusal::UnknownEvent,
            _ => Refusal::UnknownVersion,
        };
        assert_eq!(Leaf::decode(&bytes(&case["leaf"])), Err(expected), "{}", case["why"]);
    }
}

#[test]
fn malformed_checkpoints() {
    let all = vectors();
    let logs = [VerifierKey::parse(text(&all["amanat_log"]["log_vkey"])).unwrap()];
    let witnesses = [VerifierKey::parse(text(&all["amanat_log"]["witness_vkey"])).unwrap()];
    let read = |note: &str| open(note.as_bytes(), Some("gw.example/log"), &logs, &witnesses);
    for case in list(&all["malformed_checkpoints"]["refused"]) {
        let expected = match text(&case["finding"]) {
            "malformed" => CheckpointError::Malformed,
            _ => CheckpointError::Signature,
        };
        assert_eq!(read(text(&case["checkpoint"])), Err(expected), "{}", case["why"]);
    }
    for case in list(&all["malformed_checkpoints"]["accepted"]) {
        assert!(read(text(&case["checkpoint"])).is_ok(), "{}", case["why"]);
    }
    let good = text(&all["amanat_log"]["checkpoint"]);
    let stranger = "\u{2014} stranger.example/x YWJjZAAAAAAAAAAA\n";
    assert!(read(&(good.to_owned() + &stranger.repeat(30))).is_ok());
    assert_eq!(read(&(good.to_owned() + &stranger.repeat(31))), Err(CheckpointError::Malformed));
    assert_eq!(read(&good.replace('\n', "\r\n")), Err(CheckpointError::Malformed));
    let huge = good.replace("\n6\n", "\n9223372036854775808\n");
    assert_eq!(read(&huge), Err(CheckpointError::Malformed));
    let extended = good.replacen("\n\n", "\nextension\n\n", 1);
    assert_eq!(read(&extended), Err(CheckpointError::Malformed));
}
