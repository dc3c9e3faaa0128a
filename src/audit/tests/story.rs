//! Whether the log makes sense: clock, silences, deletions, keys, origin.

use super::attacks::{codes, has, leaf, verify};
use super::{Log, START, entry, ordinary, part};
use crate::audit::finding::{Code, Position};
use crate::audit::leaf::{Cause, Counts, Draft, Fact, Facts};
use crate::audit::note::{KeyKind, VerifierKey};
use crate::audit::tree::{Frontier, Hash};
use crate::audit::verify::{KnownCheckpoint, LeafRow, Start, Verifier};
use crate::domain::event::{Event, Outcome, Role};

#[test]
fn only_a_correction_may_turn_the_clock_back() {
    let mut log = Log::of(3);
    log.push(&ordinary(3), START);
    let report = verify(&log.leaves, None, &[log.checkpoint()]);
    assert_eq!(codes(&report), [Code::ClockBackwards]);
    assert!(has(&report, Code::ClockBackwards, leaf(3)));

    let mut log = Log::of(3);
    let facts = Facts::new(vec![
        Fact::Until(START),
        Fact::From(START + 2_000_000),
        Fact::Epoch(2),
        Fact::Cause(Cause::ClockAhead),
    ]);
    let corrected = Draft::new(entry(3), Event::ClockCorrected, Outcome::Done, Vec::new(), facts).unwrap();
    log.push(&corrected, START);
    assert_eq!(verify(&log.leaves, None, &[log.checkpoint()]).exit, 0);
}

#[test]
fn an_unexplained_silence_is_told() {
    let mut log = Log::of(3);
    let heartbeat = Draft::new(entry(3), Event::LogHeartbeat, Outcome::Done, Vec::new(), Facts::none()).unwrap();
    log.push(&heartbeat, START + 3_000_000);
    log.push(&ordinary(4), START + 4 * 3_600_000_000);
    let report = verify(&log.leaves, None, &[log.checkpoint()]);
    assert!(has(&report, Code::Silence, Position::Between { from: 3, to: 4 }));
    assert_eq!(report.exit, 20);
}

#[test]
fn sealed_rows_balance() {
    let sealed_of = |seq: u64| vec![(1, part(Role::Subject, seq).sealed_hash.unwrap())];
    let judge = |log: &Log, sealed: &dyn Fn(u64) -> Vec<(u8, Hash)>| {
        let mut verifier = Verifier::new(Start::default());
        for (seq, leaf) in (0..).zip(&log.leaves) {
            let rows = sealed(seq);
            let sealed = Some(rows.as_slice());
            verifier.feed(&LeafRow { seq, leaf, stored_hash: None, columns: None, sealed });
        }
        verifier.finish()
    };
    let mut log = Log::of(20);
    let whole = |seq: u64| {
        if seq == 0 || seq >= 20 { Vec::new() } else { sealed_of(seq) }
    };
    assert_eq!(judge(&log, &whole).exit, 0);
    let without = |seq: u64| if seq == 7 { Vec::new() } else { whole(seq) };
    let report = judge(&log, &without);
    assert_eq!((report.exit, report.erased), (20, 1));
    assert_eq!(codes(&report), [Code::SealedMissing]);
    let swapped = |seq: u64| match seq {
        5 => sealed_of(6),
        6 => sealed_of(5),
        _ => whole(seq),
    };
    let report = judge(&log, &swapped);
    assert_eq!(codes(&report), [Code::SealedAltered, Code::SealedAltered]);
    assert!(has(&report, Code::SealedAltered, leaf(5)) && has(&report, Code::SealedAltered, leaf(6)));

    // A leaf that counts the deletion makes it lawful; if the row lives on, it is a lie.
    let counts = Counts { operation: 1, ..Default::default() };
    let facts = Facts::new(vec![Fact::Deleted(counts)]);
    let deletion = Draft::new(entry(20), Event::RetentionExpired, Outcome::Done, Vec::new(), facts).unwrap();
    log.push(&deletion, START + 20_000_000);
    assert_eq!(judge(&log, &without).exit, 0);
    let report = judge(&log, &whole);
    assert_eq!(codes(&report), [Code::FalseErasure]);
    assert_eq!(report.exit, 40);
}

#[test]
fn keys_sign_only_the_sizes_they_are_valid_for() {
    let old = VerifierKey::new("gw.example/log", KeyKind::Ed25519, [1; 32]).unwrap();
    let new = VerifierKey::new("gw.example/log", KeyKind::Ed25519, [2; 32]).unwrap();
    assert_eq!(old.typed(), [1; 33]);
    let mut log = Log::of(10);
    let facts =
        Facts::new(vec![Fact::Cause(Cause::Planned), Fact::Verifier(new.typed()), Fact::ReplacedVerifier(old.typed())]);
    let rotated = Draft::new(entry(10), Event::LogKeyRotated, Outcome::Done, Vec::new(), facts).unwrap();
    log.push(&rotated, START + 10_000_000);
    log.push(&ordinary(11), START + 11_000_000);
    let mut sizes = vec![Log::of(10).checkpoint()];
    let mut frontier = Frontier::new();
    log.stored[..11].iter().for_each(|hash| frontier.append(hash));
    sizes.push(KnownCheckpoint { size: 11, root: frontier.root(), signed_by: Vec::new() });
    sizes.push(log.checkpoint());
    let judge = |keys: [&[&VerifierKey]; 3]| {
        let mut checkpoints = sizes.clone();
        for (checkpoint, keys) in checkpoints.iter_mut().zip(keys) {
            checkpoint.signed_by = keys.iter().map(|key| (*key).clone()).collect();
        }
        verify(&log.leaves, None, &checkpoints)
    };
    assert_eq!(judge([&[&old], &[&old, &new], &[&new]]).exit, 0);
    let early = judge([&[&new], &[&old, &new], &[&new]]);
    assert!(has(&early, Code::KeyNotValidHere, leaf(10)));
    let late = judge([&[&old], &[&old, &new], &[&old]]);
    assert!(has(&late, Code::KeyNotValidHere, leaf(12)));
    assert_eq!(late.exit, 40);
}

#[test]
fn another_log_and_missing_heartbeats_are_told() {
    let mut log = Log::of(3);
    let start = Start { origin: Some("other.example/log".to_owned()), ..Start::default() };
    let mut verifier = Verifier::new(start);
    for (seq, leaf) in (0..).zip(&log.leaves) {
        verifier.feed(&LeafRow { seq, leaf, stored_hash: None, columns: None, sealed: None });
    }
    let report = verifier.finish();
    assert_eq!((report.exit, codes(&report)), (40, vec![Code::OriginMismatch]));

    log.push(&ordinary(3), START + 4 * 3_600_000_000);
    let report = verify(&log.leaves, None, &[log.checkpoint()]);
    assert_eq!(report.exit, 50);
    assert_eq!(codes(&report), [Code::Silence, Code::Downgrade]);
}
