//! What is done to a log, and what the verifier says to it.

use super::{Log, START, entry, ordinary};
use crate::audit::finding::{Code, Position, Report};
use crate::audit::tree::{Frontier, Hash};
use crate::audit::verify::{EntryWatch, KnownCheckpoint, LeafRow, Start, Verifier};

/// Verifies leaves as a bundle gives them: by place, with the hashes of level-0 tiles if wanted.
pub(super) fn verify(leaves: &[Vec<u8>], stored: Option<&[Hash]>, checkpoints: &[KnownCheckpoint]) -> Report {
    let rows = leaves
        .iter()
        .enumerate()
        .map(|(place, leaf)| (place as u64, leaf.as_slice(), stored.and_then(|stored| stored.get(place).copied())));
    verify_rows(rows, checkpoints)
}

fn verify_rows<'a>(
    rows: impl Iterator<Item = (u64, &'a [u8], Option<Hash>)>,
    checkpoints: &[KnownCheckpoint],
) -> Report {
    let start = Start { checkpoints: checkpoints.to_vec(), ..Start::default() };
    let mut verifier = Verifier::new(start);
    for (seq, leaf, stored_hash) in rows {
        verifier.feed(&LeafRow { seq, leaf, stored_hash, columns: None, sealed: None });
    }
    verifier.finish()
}

pub(super) fn has(report: &Report, code: Code, position: Position) -> bool {
    report.findings.iter().any(|finding| finding.code == code && finding.position == position)
}

pub(super) fn leaf(seq: u64) -> Position {
    Position::Leaf { seq }
}

pub(super) fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn an_untouched_log_is_intact() {
    let log = Log::of(600);
    for stored in [None, Some(log.stored.as_slice())] {
        let report = verify(&log.leaves, stored, &[Log::of(300).checkpoint(), log.checkpoint()]);
        assert_eq!(report.exit, 0, "{:?}", report.findings);
        assert_eq!((report.size, report.checked), (600, 600));
        assert_eq!(report.origin.as_deref(), Some("gw.example/log"));
    }
}

#[test]
fn every_flipped_byte_is_found_at_its_leaf() {
    let log = Log::of(100);
    let checkpoints = [Log::of(40).checkpoint(), log.checkpoint()];
    for stored in [None, Some(log.stored.as_slice())] {
        let mut leaves = log.leaves.clone();
        for seq in 0..100 {
            for place in 0..leaves[seq].len() {
                for mask in [0x01, 0x80] {
                    leaves[seq][place] ^= mask;
                    let report = verify(&leaves, stored, &checkpoints);
                    leaves[seq][place] ^= mask;
                    let context = || format!("{seq} {place} {mask} {stored:?} {:?}", report.findings);
                    assert_eq!(report.exit, 40, "{}", context());
                    if seq == 99 && stored.is_none() {
                        // Nothing names the hash of the last leaf but the checkpoint.
                        let interval = Position::Between { from: 40, to: 99 };
                        assert!(
                            report.findings[0].position == leaf(99) || has(&report, Code::RootMismatch, interval),
                            "{}",
                            context()
                        );
                        continue;
                    }
                    // Position first: nothing lies before it, and everything found lies there.
                    for finding in &report.findings {
                        let named = finding.position == leaf(seq as u64)
                            || matches!(finding.position, Position::Between { to, .. } if to == seq as u64);
                        assert!(named, "{}", context());
                    }
                    assert!(
                        has(&report, Code::LeafAltered, leaf(seq as u64))
                            || has(&report, Code::Malformed, leaf(seq as u64))
                            || has(&report, Code::UnknownVersion, leaf(seq as u64)),
                        "{}",
                        context()
                    );
                }
            }
        }
    }
}

#[test]
fn a_deleted_leaf_is_missed() {
    let log = Log::of(600);
    for seq in [0_usize, 1, 255, 256, 300, 598] {
        // In a bundle the rest moves up, in a database the row leaves a hole.
        let mut leaves = log.leaves.clone();
        leaves.remove(seq);
        let report = verify(&leaves, None, &[log.checkpoint()]);
        assert_eq!(report.exit, 40);
        assert_eq!(codes(&report), [Code::LeafMissing], "{:?}", report.findings);
        assert!(has(&report, Code::LeafMissing, leaf(seq as u64)));
        let rows = log.leaves.iter().enumerate().filter(|(place, _)| *place != seq);
        let report = verify_rows(
            rows.map(|(place, leaf)| (place as u64, leaf.as_slice(), Some(log.stored[place]))),
            &[log.checkpoint()],
        );
        assert_eq!(codes(&report), [Code::LeafMissing], "{:?}", report.findings);
        assert_eq!(report.size, 600);
    }
    let mut leaves = log.leaves.clone();
    leaves.drain(100..150);
    let report = verify(&leaves, None, &[log.checkpoint()]);
    assert!(has(&report, Code::LeafMissing, Position::Between { from: 100, to: 149 }));
    assert_eq!(report.exit, 40);
}

#[test]
fn a_lost_tail_is_a_rollback() {
    let log = Log::of(600);
    let report = verify(&log.leaves[..500], None, &[log.checkpoint()]);
    assert_eq!(report.exit, 30);
    assert!(has(&report, Code::Rollback, Position::Between { from: 500, to: 599 }));
}

#[test]
fn swapped_leaves_are_both_named() {
    let log = Log::of(600);
    for (one, other) in [(10_usize, 11_usize), (10, 12), (255, 256), (3, 598), (598, 599)] {
        let mut leaves = log.leaves.clone();
        leaves.swap(one, other);
        for stored in [None, Some(log.stored.as_slice())] {
            let report = verify(&leaves, stored, &[log.checkpoint()]);
            let pair = Position::Between { from: one as u64, to: other as u64 };
            assert!(has(&report, Code::OrderChanged, pair), "{one} {other} {:?}", report.findings);
            assert_eq!(codes(&report), [Code::OrderChanged], "{one} {other} {:?}", report.findings);
            assert_eq!(report.exit, 40);
        }
    }
}

#[test]
fn an_inserted_leaf_is_found() {
    let log = Log::of(600);
    // A forgery that fits what stands before it.
    let mut forged = Vec::new();
    ordinary(9_999).encode(300, &log.stored[299], START + 299_500_000, &mut forged);
    let mut leaves = log.leaves.clone();
    leaves.insert(300, forged);
    let report = verify(&leaves, None, &[log.checkpoint()]);
    assert_eq!(codes(&report), [Code::LeafInserted], "{:?}", report.findings);
    assert!(has(&report, Code::LeafInserted, leaf(300)));
    assert_eq!(report.exit, 40);

    // A copy of an old leaf.
    let mut leaves = log.leaves.clone();
    leaves.insert(300, log.leaves[20].clone());
    let report = verify(&leaves, None, &[log.checkpoint()]);
    assert!(has(&report, Code::LeafInserted, leaf(300)), "{:?}", report.findings);
    assert!(codes(&report).contains(&Code::EntryRepeated));
}

#[test]
fn a_repaired_edit_is_bounded_by_the_checkpoints() {
    let honest = Log::of(600);
    let mut forged = Log::default();
    for seq in 0..600 {
        forged.push(&ordinary(if seq == 350 { 7_777 } else { seq }), START + seq * 1_000_000);
    }
    let checkpoints = [Log::of(200).checkpoint(), Log::of(400).checkpoint(), honest.checkpoint()];
    let report = verify(&forged.leaves, Some(&forged.stored), &checkpoints);
    assert_eq!(codes(&report), [Code::RootMismatch]);
    assert!(has(&report, Code::RootMismatch, Position::Between { from: 200, to: 399 }));
    assert_eq!(report.exit, 40);

    // Signed again with the key of the log: two signed views.
    let report = verify(&forged.leaves, Some(&forged.stored), &[Log::of(400).checkpoint(), forged.checkpoint()]);
    assert_eq!(codes(&report), [Code::Fork]);
    assert_eq!(report.exit, 30);
}

#[test]
fn a_poisoned_hash_is_only_a_warning() {
    let log = Log::of(100);
    for seq in [5, 99] {
        let mut stored = log.stored.clone();
        stored[seq][3] ^= 1;
        let report = verify(&log.leaves, Some(&stored), &[log.checkpoint()]);
        assert_eq!(codes(&report), [Code::TilePoisoned], "{:?}", report.findings);
        assert_eq!(report.exit, 0);
    }
}

#[test]
fn entries_repeat_in_their_partition_only() {
    let mut log = Log::of(10);
    log.push(&ordinary(4), START + 10_000_000);
    let report = verify(&log.leaves, None, &[]);
    assert!(has(&report, Code::EntryRepeated, Position::Between { from: 4, to: 10 }));
    let mut found = 0;
    for partition in 0..4 {
        let mut watch = EntryWatch::partition(partition, 4);
        for (seq, number) in (0..11).map(|seq| (seq, if seq == 10 { 4 } else { seq })) {
            watch.note(entry(number), seq);
        }
        found += watch.repeated().len();
    }
    assert_eq!(found, 1);
}

#[test]
fn verification_can_start_behind_pruned_leaves() {
    let log = Log::of(600);
    let behind = |kept: &[u8]| {
        let frontier = Frontier::from_bytes(256, kept).unwrap();
        let mut verifier = Verifier::new(Start { frontier, checkpoints: vec![log.checkpoint()], ..Start::default() });
        for (seq, leaf) in (0..).zip(&log.leaves).skip(256) {
            verifier.feed(&LeafRow { seq, leaf, stored_hash: None, columns: None, sealed: None });
        }
        verifier.finish()
    };
    // As a pruned log keeps it.
    let mut kept = Log::of(256).frontier.to_bytes();
    let report = behind(&kept);
    assert_eq!((report.exit, report.pruned, report.checked), (0, 256, 344), "{:?}", report.findings);

    // What was pruned cannot be exchanged.
    kept[0] ^= 1;
    let report = behind(&kept);
    assert_eq!(codes(&report), [Code::RootMismatch], "{:?}", report.findings);
    assert_eq!(report.exit, 40);
}

#[test]
fn leaves_that_are_not_shown_still_count_for_the_root() {
    let log = Log::of(600);
    let shown = |leaves: &[Vec<u8>], hashes: &[Hash]| {
        let checkpoints = vec![Log::of(200).checkpoint(), log.checkpoint()];
        let mut verifier = Verifier::new(Start { checkpoints, ..Start::default() });
        for (seq, (leaf, hash)) in (0..).zip(leaves.iter().zip(hashes)) {
            match (256..512).contains(&seq) {
                true => {
                    verifier.feed(&LeafRow { seq, leaf, stored_hash: Some(*hash), columns: None, sealed: Some(&[]) });
                }
                false => verifier.pass_over(seq, *hash),
            }
        }
        verifier.finish()
    };
    let report = shown(&log.leaves, &log.stored);
    // Of a range it cannot be said whether every deletion of sealed parts was counted.
    assert_eq!((report.exit, report.checked, report.size), (0, 256, 600), "{:?}", report.findings);
    for seq in [256, 300, 511] {
        for place in [5, 45, 120] {
            let mut leaves = log.leaves.clone();
            leaves[seq][place] ^= 1;
            let report = shown(&leaves, &log.stored);
            let is_named =
                has(&report, Code::LeafAltered, leaf(seq as u64)) || has(&report, Code::Malformed, leaf(seq as u64));
            assert!(report.exit == 40 && is_named, "{seq} {place} {:?}", report.findings);
        }
    }
    // The link of leaf 256 tells what the hash before the range was.
    for (seq, from) in [(3, 0), (599, 200)] {
        let mut hashes = log.stored.clone();
        hashes[seq][0] ^= 1;
        let report = shown(&log.leaves, &hashes);
        assert_eq!(report.exit, 40);
        let to = if from == 0 { 199 } else { 599 };
        assert!(has(&report, Code::RootMismatch, Position::Between { from, to }), "{seq} {:?}", report.findings);
    }
}

/// `cargo test --release -- --ignored --nocapture throughput`.
#[test]
#[ignore = "measures, does not judge"]
fn throughput() {
    let log = Log::of(1_000_000);
    let began = std::time::Instant::now();
    let report = verify(&log.leaves, Some(&log.stored), &[log.checkpoint()]);
    let verified = began.elapsed();
    assert_eq!(report.exit, 0);
    let began = std::time::Instant::now();
    let again = Log::of(1_000_000);
    let appended = began.elapsed();
    assert_eq!(again.checkpoint(), log.checkpoint());
    let rate = |elapsed: std::time::Duration| (1_000_000.0 / elapsed.as_secs_f64()) as u64;
    println!("verified {}/s, made and appended {}/s", rate(verified), rate(appended));
}
