//! Vectors made by others: the worked example of RFC 6962, the probes of transparency-dev, the notes
//! of the Go checksum database.

use data_encoding::BASE64;
use serde_json::Value as Json;

use super::vectors::{Source, text, vectors};
use crate::audit::leaf::leaf_hash;
use crate::audit::note::{Note, VerifierKey};
use crate::audit::tree::{
    Consistency, Hash, consistency_proof, hash_node, inclusion_proof, root, verify_consistency, verify_inclusion,
};
use crate::crypto::signature::verify_strict;

/// RFC 6962 §2.1.3: the tree of seven leaves, its nodes under the names that the RFC gives them.
#[test]
fn the_example_of_rfc_6962() {
    let leaves: Vec<Hash> = (0..7_u8).map(|leaf| leaf_hash(&[leaf])).collect();
    let [a, b, c, d, e, f, j] = *leaves.as_array().unwrap();
    let (g, h, i) = (hash_node(&a, &b), hash_node(&c, &d), hash_node(&e, &f));
    let (k, l) = (hash_node(&g, &h), hash_node(&i, &j));
    let tree = Source(leaves);
    assert_eq!(root(7, &tree), Ok(hash_node(&k, &l)));
    for (index, path) in [(0, vec![b, h, l]), (3, vec![c, g, l]), (4, vec![f, j, k]), (6, vec![i, k])] {
        assert_eq!(inclusion_proof(index, 7, &tree), Ok(path), "PATH({index})");
    }
    for (from, proof) in [(3, vec![c, d, g, l]), (4, vec![l]), (6, vec![i, j, k])] {
        assert_eq!(consistency_proof(from, 7, &tree), Ok(proof), "PROOF({from})");
    }
}

/// A hash of the probes. What is no hash there stands for any value that is not one of the tree.
fn probed(value: &Json) -> Hash {
    let bytes = BASE64.decode(text(value).as_bytes()).unwrap();
    bytes.as_slice().try_into().unwrap_or_else(|_| leaf_hash(&bytes))
}

fn probes(kind: &str) -> Vec<(String, Vec<Hash>, bool, Json)> {
    let all: Json = serde_json::from_str(include_str!("../../../tests/vectors/merkle_probes.json")).unwrap();
    let read = |case: &Json| {
        let proof = case["proof"].as_array().unwrap().iter().map(probed).collect();
        (text(&case["case"]).to_owned(), proof, case["wantErr"].as_bool().unwrap(), case.clone())
    };
    all[kind].as_array().unwrap().iter().map(read).collect()
}

#[test]
fn the_probes_of_inclusion() {
    let mut good = 0;
    for (name, proof, is_wrong, case) in probes("inclusion") {
        if name == "single-entry/empty-root-and-leaf" {
            // Two hashes of no bytes: here the types say that there is no such thing.
            continue;
        }
        let (index, size) = (case["leafIdx"].as_u64().unwrap(), case["treeSize"].as_u64().unwrap());
        let judged = verify_inclusion(index, size, &probed(&case["leafHash"]), &proof, &probed(&case["root"]));
        assert_eq!(judged.is_err(), is_wrong, "{name}: {judged:?}");
        good += usize::from(!is_wrong);
    }
    assert_eq!((probes("inclusion").len(), good), (98, 6));
}

#[test]
fn the_probes_of_consistency() {
    let mut good = 0;
    for (name, proof, is_wrong, case) in probes("consistency") {
        let (from, to) = (case["size1"].as_u64().unwrap(), case["size2"].as_u64().unwrap());
        let judged = verify_consistency(from, &probed(&case["root1"]), to, &probed(&case["root2"]), &proof);
        if name == "additional/size1-is-zero-and-does-not-equal-size2" {
            // They refuse; here nothing is said of a tree without leaves, under a name of its own.
            assert_eq!(judged, Ok(Consistency::FirstCheckpoint));
            continue;
        }
        assert_eq!(judged.is_err(), is_wrong, "{name}: {judged:?}");
        good += usize::from(!is_wrong);
    }
    assert_eq!((probes("consistency").len(), good), (97, 7));
}

/// The keys and the note with which `golang.org/x/mod/sumdb/note` tests itself, in its own sense: what
/// it refuses is refused here.
#[test]
fn the_notes_of_the_checksum_database() {
    let all = vectors();
    let known = &all["signed_note"]["known_notes"][0];
    let peter = VerifierKey::parse(text(&known["vkey"])).unwrap();
    let enoch = VerifierKey::parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop").unwrap();
    let second = "\u{2014} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
    let note = format!("{}{second}", text(&known["note"]));
    let read = Note::parse(note.as_bytes()).unwrap();
    for (line, key) in read.signatures.iter().zip([&peter, &enoch]) {
        assert!(line.claims(key));
        let signature = line.bytes.as_slice().try_into().unwrap();
        assert_eq!(verify_strict(key.public(), read.text.as_bytes(), signature), Ok(()));
    }
    assert_eq!(read.signatures.len(), 2);

    let (body, lines) = note.rsplit_once("\n\n").unwrap();
    let signature = lines.lines().next().unwrap().rsplit(' ').next().unwrap();
    for wrong in [
        body.to_owned(),
        format!("\n{body}\n"),
        note.trim_end().to_owned(),
        format!("\u{1}{note}"),
        format!("{body}\n{lines}"),
        format!("{body}\n\n\u{2014} Bad Name {signature}\n"),
        format!("{body}\n\n\u{2014} PeterNeumann\n"),
        format!("{body}\n\n\u{2014} PeterNeumann AAAA\n"),
        format!("{body}\n\n- PeterNeumann {signature}\n"),
        format!("{body}\n\n{lines}\n{lines}\n"),
        format!("{body}\n\n{}", format!("{}\n", lines.lines().next().unwrap()).repeat(101)),
    ] {
        assert!(Note::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
    assert!(Note::parse(&[&[0xff], note.as_bytes()].concat()).is_err());
    for wrong in [
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        // The same bytes in another spelling: encodings one behind the other, bits that count for nothing.
        "PeterNeumann+c74f20a3+AQ==GlzZBxQ8OExB6DDFvOEqqIF+xWSaqr8sMTiLNbLXRNY=",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(VerifierKey::parse(wrong).is_err(), "{wrong}");
    }
}
