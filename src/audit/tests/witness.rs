//! What a witness answers, over its whole table; and evidence.

use proptest::prelude::*;

use super::vectors::{Source, proof_of_hashes, secret, text, vectors};
use crate::audit::checkpoint::{Checkpoint, cosigned_message, open, with_cosignatures};
use crate::audit::evidence::{Evidence, EvidenceError, Kind, Weight, fork_proof};
use crate::audit::finding::Code;
use crate::audit::leaf::leaf_hash;
use crate::audit::note::{KeyKind, VerifierKey};
use crate::audit::tree::{Hash, consistency_proof, empty_root, root};
use crate::audit::witness::{AddCheckpoint, Claim, Cosigned, Refusal, cosignatures, log_name, size_in};
use crate::crypto::signature::Signing;

/// A log of our own to sign any tree with.
struct Signer {
    key: VerifierKey,
    signing: Signing,
}

impl Signer {
    fn new() -> Self {
        let signing = Signing::from_seed(&secret(&"07".repeat(32).into()));
        Self { key: VerifierKey::new("gw.example/log", KeyKind::Ed25519, signing.public_key()).unwrap(), signing }
    }

    fn note(&self, size: u64, root: Hash) -> String {
        let checkpoint = Checkpoint { origin: self.key.name().to_owned(), size, root };
        checkpoint.note(&[(self.key.clone(), self.signing.sign(checkpoint.text().as_bytes()))])
    }

    fn keys(&self) -> Vec<VerifierKey> {
        vec![self.key.clone()]
    }
}

/// Two trees that are the same below leaf 20.
fn trees() -> (Source, Source) {
    let of = |seed: u64| (0..40_u64).map(|n| leaf_hash(&(if n < 20 { n } else { n + seed }).to_be_bytes())).collect();
    (Source(of(0)), Source(of(1_000)))
}

fn at(tree: &Source, size: u64) -> Hash {
    root(size, tree).unwrap()
}

#[test]
fn the_request_of_the_vectors() {
    let all = vectors();
    let set = &all["signed_note"];
    let body = text(&set["add_checkpoint_3_to_7"]);
    let request = AddCheckpoint::parse(body.as_bytes()).unwrap();
    assert_eq!((request.old, request.proof.len(), request.to_string().as_str()), (3, 4, body));
    let log = VerifierKey::parse(text(&set["log_vkey"])).unwrap();
    let claim = Claim::open(body.as_bytes(), std::slice::from_ref(&log)).unwrap();
    let roots = proof_of_hashes(&all["rfc6962"]["roots"]);
    let last = Cosigned { size: 3, root: roots[3], note: String::new() };
    assert_eq!(claim.follows(Some(&last)), Ok(()));

    // The witness of the vectors, byte for byte.
    let witness = VerifierKey::parse(text(&set["witness_vkey"])).unwrap();
    let signing = Signing::from_seed(&secret(&set["witness_seed"]));
    let seconds = 1_767_225_600_u64;
    let signature = signing.sign(&cosigned_message(seconds, &claim.text));
    let line = witness.signature_line(&[seconds.to_be_bytes().as_slice(), &signature].concat());
    assert_eq!(with_cosignatures(claim.note(), [line.as_str()]), text(&set["checkpoint"]));
    let kept = cosignatures(line.as_bytes(), &claim.text, std::slice::from_ref(&witness));
    assert_eq!((kept.len(), kept[0].seconds, &kept[0].line), (1, seconds, &line));
    // Another text, another key, and lines that are none are left out.
    assert!(cosignatures(line.as_bytes(), "other\n", std::slice::from_ref(&witness)).is_empty());
    assert!(cosignatures(line.as_bytes(), &claim.text, &[log]).is_empty());
    let mixed = format!("\u{2014} else.example AAAA\nnonsense\n\n{line}");
    assert_eq!(cosignatures(mixed.as_bytes(), &claim.text, &[witness]), kept);
}

#[test]
fn the_whole_table_of_answers() {
    let signer = Signer::new();
    let (tree, other) = trees();
    let last = Cosigned { size: 24, root: at(&tree, 24), note: signer.note(24, at(&tree, 24)) };
    let request = |old: u64, size: u64, tree: &Source| AddCheckpoint {
        old,
        proof: consistency_proof(old, size, tree).unwrap(),
        note: signer.note(size, at(tree, size)),
    };
    let decide = |request: &AddCheckpoint, last: Option<&Cosigned>| {
        Claim::open(request.to_string().as_bytes(), &signer.keys())?.follows(last)
    };
    let fine = request(24, 40, &tree);
    assert_eq!(decide(&fine, Some(&last)), Ok(()));
    assert_eq!(decide(&request(0, 40, &tree), None), Ok(()), "the first checkpoint");
    assert_eq!(decide(&request(24, 24, &tree), Some(&last)), Ok(()), "the same again");
    assert_eq!(decide(&AddCheckpoint { old: 0, proof: vec![], note: signer.note(0, empty_root()) }, None), Ok(()));

    // 409
    let conflict = Err(Refusal::Conflict { size: 24 });
    assert_eq!(decide(&request(20, 40, &tree), Some(&last)), conflict);
    assert_eq!(decide(&request(0, 40, &tree), Some(&last)), conflict);
    assert_eq!(decide(&request(10, 20, &tree), Some(&last)), conflict, "rolled back");
    assert_eq!(decide(&request(24, 40, &tree), None), Err(Refusal::Conflict { size: 0 }));
    // 422
    let inconsistent = Err(Refusal::Inconsistent);
    assert_eq!(decide(&request(24, 40, &other), Some(&last)), inconsistent, "another log behind the same name");
    assert_eq!(decide(&request(24, 24, &other), Some(&last)), inconsistent, "same size, another root");
    let mut long = fine.clone();
    long.proof.push([0; 32]);
    assert_eq!(decide(&long, Some(&last)), inconsistent);
    let first = AddCheckpoint { proof: vec![[0; 32]], ..request(0, 40, &tree) };
    assert_eq!(decide(&first, None), inconsistent, "a proof from nothing");
    let nothing = AddCheckpoint { old: 0, proof: vec![], note: signer.note(0, [1; 32]) };
    assert_eq!(decide(&nothing, None), inconsistent, "an empty tree with a root");
    // 400
    assert_eq!(decide(&AddCheckpoint { old: 41, ..fine.clone() }, Some(&last)), Err(Refusal::Malformed));
    for wrong in [
        String::new(),
        "old 1".to_owned(),
        fine.to_string().replacen("old ", "old  ", 1),
        fine.to_string().replacen("old 24", "old 024", 1),
        fine.to_string().replacen("old 24", "old -24", 1),
        fine.to_string().replacen("old 24", "old 9223372036854775808", 1),
        fine.to_string().replacen("old 24", "size 24", 1),
        fine.to_string().replacen("\n\n", "\n", 1),
        fine.to_string().replacen("\n\n", "\nAAAA\n\n", 1),
        fine.to_string().replace('\n', "\r\n"),
        AddCheckpoint { proof: vec![[0; 32]; 64], ..fine.clone() }.to_string(),
        format!("{}{}", fine, "x".repeat(64 * 1_024)),
    ] {
        assert_eq!(Claim::open(wrong.as_bytes(), &signer.keys()).map(drop), Err(Refusal::Malformed), "{wrong}");
    }
    // 404, 403
    let stranger = VerifierKey::new("else.example/log", KeyKind::Ed25519, *signer.key.public()).unwrap();
    let open = |keys: &[VerifierKey]| Claim::open(fine.to_string().as_bytes(), keys).map(drop);
    assert_eq!(open(&[stranger]), Err(Refusal::UnknownLog));
    let rotated = VerifierKey::new(signer.key.name(), KeyKind::Ed25519, [9; 32]).unwrap();
    assert_eq!(open(&[rotated]), Err(Refusal::Signature));
    let forged = fine.to_string().replacen("\n40\n", "\n39\n", 1);
    assert_eq!(Claim::open(forged.as_bytes(), &signer.keys()).map(drop), Err(Refusal::Signature));
}

#[test]
fn a_fork_is_proven_at_one_size_and_at_two() {
    let signer = Signer::new();
    let (tree, other) = trees();
    let evidence = |older: u64, newer: u64, proof: Option<Vec<Hash>>| Evidence {
        kind: Kind::Fork,
        notes: [signer.note(older, at(&tree, older)), signer.note(newer, at(&other, newer))],
        proof,
        why: "a test".to_owned(),
    };
    let keys = signer.keys();
    assert_eq!(evidence(24, 24, None).judge(&keys), Ok(Weight::Proven));
    assert_eq!(evidence(24, 24, None).report(&keys).exit, 30);
    // 32 is a power of two: its root stands before the proof.
    for older in [21, 24, 31, 32, 39] {
        let whole = evidence(older, 40, fork_proof(older, 40, &other).unwrap());
        assert_eq!(whole.judge(&keys), Ok(Weight::Proven), "{older}");
        let turned = Evidence { notes: [whole.notes[1].clone(), whole.notes[0].clone()], ..whole.clone() };
        assert_eq!(turned.judge(&keys), Ok(Weight::Proven));
        assert_eq!(Evidence::parse(whole.to_json().as_bytes()), Ok(whole));
        let foreign = evidence(older, 40, fork_proof(older, 40, &tree).unwrap());
        assert_eq!(foreign.judge(&keys), Ok(Weight::Claimed), "a proof of the other tree shows nothing");
        assert_eq!(evidence(older, 40, None).judge(&keys), Ok(Weight::Claimed));
    }
    // Below the fork both are one log: an honest proof is evidence against whoever calls it a fork.
    for older in [1, 16, 19, 20] {
        let honest = evidence(older, 40, fork_proof(older, 40, &other).unwrap());
        assert_eq!(honest.judge(&keys), Err(EvidenceError::NoContradiction), "{older}");
        assert_eq!(honest.report(&keys).findings[0].code, Code::Malformed);
    }
    assert_eq!(evidence(20, 20, None).judge(&keys), Err(EvidenceError::NoContradiction));
    let stranger = VerifierKey::new("else.example/log", KeyKind::Ed25519, *signer.key.public()).unwrap();
    assert_eq!(evidence(24, 24, None).report(&[stranger]).findings[0].code, Code::OriginMismatch);
    let mut edited = evidence(24, 24, None);
    edited.notes[1] = edited.notes[1].replacen("\n24\n", "\n25\n", 1);
    assert_eq!(edited.report(&keys).findings[0].code, Code::CheckpointSignature);

    let rollback = |longer: u64, shorter: u64| Evidence {
        kind: Kind::Rollback,
        notes: [signer.note(longer, at(&tree, longer)), signer.note(shorter, at(&tree, shorter))],
        proof: None,
        why: "a test".to_owned(),
    };
    assert_eq!(rollback(40, 24).judge(&keys), Ok(Weight::Claimed));
    assert_eq!(rollback(24, 40).judge(&keys), Err(EvidenceError::NoContradiction));
    assert!(open(rollback(40, 24).notes[0].as_bytes(), None, &keys, &[]).is_ok());
}

#[test]
fn what_is_no_evidence_is_refused() {
    let fine = r#"{"format":"amanat-evidence/1","kind":"fork","notes":["a","b"],"proof":null,"why":"c"}"#;
    assert!(Evidence::parse(fine.as_bytes()).is_ok());
    for (from, to) in [
        ("evidence/1", "evidence/2"),
        ("\"fork\"", "\"spoon\""),
        ("\"b\"]", "\"b\",\"c\"]"),
        (",\"b\"]", "]"),
        ("null", "[\"AAAA\"]"),
        ("\"why\":\"c\"", "\"why\":\"c\",\"why\":\"d\""),
        ("\"why\":\"c\"", "\"why\":\"c\",\"more\":1"),
        (",\"why\":\"c\"", ""),
    ] {
        assert!(Evidence::parse(fine.replace(from, to).as_bytes()).is_err(), "{to}");
    }
    let many = format!("[{}]", vec![format!("\"{}\"", data_encoding::BASE64.encode(&[0; 32])); 65].join(","));
    assert!(Evidence::parse(fine.replace("null", &many).as_bytes()).is_err());
}

#[test]
fn the_name_of_a_log_is_the_hash_of_its_origin() {
    assert_eq!(log_name(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(size_in(b"24\n"), Some(24));
    for wrong in ["24", "24\n\n", "024\n", "-1\n", "\n", "24 \n", "99999999999999999999\n"] {
        assert_eq!(size_in(wrong.as_bytes()), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn a_request_reads_back_as_it_was_written(old in 0..=i64::MAX as u64, proof in prop::collection::vec(any::<Hash>(), 0..=63), note in "[a-z\n]{0,80}") {
        let request = AddCheckpoint { old, proof, note };
        prop_assert_eq!(AddCheckpoint::parse(request.to_string().as_bytes()), Ok(request));
    }

    #[test]
    fn no_bytes_make_the_parsers_panic_and_what_is_read_is_written_the_same(body in prop::collection::vec(any::<u8>(), 0..300), words in "(old [0-9]{1,20}\n)?([A-Za-z0-9+/=]{40,48}\n){0,3}\n?[ -~\n]{0,60}") {
        for body in [body.as_slice(), words.as_bytes()] {
            if let Ok(request) = AddCheckpoint::parse(body) {
                let written = request.to_string();
                prop_assert_eq!(written.as_bytes(), body);
            }
            let keys = Signer::new().keys();
            prop_assert!(Claim::open(body, &keys).is_err());
            prop_assert!(cosignatures(body, "text\n", &keys).is_empty());
            let _ = (Evidence::parse(body), size_in(body));
        }
    }

    #[test]
    fn any_changed_byte_of_a_request_is_refused(position in 0_usize..600, bit in 0_u8..8) {
        let signer = Signer::new();
        let (tree, _) = trees();
        let proof = consistency_proof(24, 40, &tree).unwrap();
        let mut body = AddCheckpoint { old: 24, proof, note: signer.note(40, at(&tree, 40)) }.to_string().into_bytes();
        let position = position % body.len();
        body[position] ^= 1 << bit;
        let last = Cosigned { size: 24, root: at(&tree, 24), note: String::new() };
        let decided = Claim::open(&body, &signer.keys()).and_then(|claim| claim.follows(Some(&last)));
        prop_assert!(decided.is_err(), "byte {}", position);
    }
}
