//! Every single byte of a log of a hundred leaves changed in turn.

use std::collections::BTreeSet;
use std::process::Command;

use amanat::audit::finding::{Position, Report};
use amanat::audit::leaf::{Leaf, leaf_hash};
use amanat::audit::tree::Frontier;
use amanat::audit::verify::{Columns, KnownCheckpoint, LeafRow, Start, Verifier};

use super::judges::python;
use super::rows::Rows;
use super::scene::Scene;

const LEAVES: usize = 100;

/// Both verifiers judge each of the changed logs in process, and must say the same of it: that something
/// is wrong with exactly this leaf.
#[test]
fn every_byte_of_a_hundred_leaves() {
    let scene = Scene::get();
    let database = scene.path("log.db");
    let leaves = Rows::of(&database).leaves;
    let leaves = &leaves[..LEAVES];
    let theirs = Command::new(python())
        .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_verifier/every_byte.py")])
        .arg(&database)
        .arg(LEAVES.to_string())
        .output()
        .expect("python");
    let theirs = String::from_utf8_lossy(&theirs.stdout).into_owned();
    let mut theirs = theirs.lines();

    let mut judged = 0;
    let mut wrong = Vec::new();
    for seq in 0..LEAVES {
        for byte in 0..leaves[seq].len() {
            let mut changed = leaves[seq].clone();
            changed[byte] ^= 1 << (byte % 8);
            let report = judge(leaves, seq, &changed);
            let at = Position::Leaf { seq: seq as u64 };
            let named = report
                .findings
                .iter()
                .any(|finding| finding.position == at && matches!(finding.code.as_str(), "leaf_altered" | "malformed"));
            let ours = line(seq, byte, &report);
            let said = theirs.next().unwrap_or_default();
            if report.exit != 40 || !named || ours != said {
                wrong.push(format!("ours   {ours}\ntheirs {said}"));
            }
            judged += 1;
        }
    }
    println!("{judged} changed bytes");
    let few = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty() && judged > 10_000, "{} of {judged}:\n{few}", wrong.len());
}

fn judge(leaves: &[Vec<u8>], seq: usize, changed: &[u8]) -> Report {
    let mut tree = Frontier::new();
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    hashes.iter().for_each(|hash| tree.append(hash));
    let signed = KnownCheckpoint { size: tree.size(), root: tree.root(), signed_by: Vec::new() };
    let mut verifier = Verifier::new(Start { checkpoints: vec![signed], ..Start::default() });
    for (position, leaf) in leaves.iter().enumerate() {
        let said = Leaf::decode(leaf).expect("leaf");
        verifier.feed(&LeafRow {
            seq: position as u64,
            leaf: if position == seq { changed } else { leaf },
            stored_hash: Some(hashes[position]),
            columns: Some(Columns { entry: said.entry, time: said.time, event: said.event.number() }),
            sealed: None,
        });
    }
    verifier.finish()
}

/// Everything that was found, on one line; the other verifier prints the same.
fn line(seq: usize, byte: usize, report: &Report) -> String {
    let found: BTreeSet<String> = report
        .findings
        .iter()
        .map(|finding| match finding.position {
            Position::Leaf { seq } => format!("{}@{seq}", finding.code.as_str()),
            Position::Between { from, to } => format!("{}@{from}-{to}", finding.code.as_str()),
            Position::Whole {} => finding.code.as_str().to_owned(),
        })
        .collect();
    let found: Vec<String> = found.into_iter().collect();
    format!("{seq} {byte} {} {}", report.exit, found.join(" "))
}
