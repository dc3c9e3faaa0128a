//! Receipts, trust policies and attestation, over the vectors of `audit.json`.

use std::slice::from_ref;

use super::vectors::{text, vectors};
use crate::audit::attest::{Freshness, attest};
use crate::audit::checkpoint::open;
use crate::audit::finding::Report;
use crate::audit::note::{KeyKind, VerifierKey};
use crate::audit::receipt::{Receipt, TrustSource};
use crate::audit::trust::{Trust, TrustError};
use serde_json::Value as Json;

#[test]
fn receipt() {
    let all = vectors();
    let file = &all["amanat_log"]["receipt_file"];
    let read = |file: &Json| Receipt::parse(&serde_json::to_vec(file).unwrap()).unwrap();
    let trust = Trust::parse(text(&file["trust"])).unwrap();
    let report = read(file).verify(TrustSource::Own(&trust));
    assert_eq!((report.exit, report.opened, report.witnessed_to), (0, 1, Some(6)), "{report:?}");
    assert_eq!(read(file).verify(TrustSource::Receipt).exit, 10);
    let alone = Trust::of_logs(vec![trust.logs()[0].clone()]);
    assert_eq!(read(file).verify(TrustSource::Own(&alone)).exit, 10);

    let judge = |change: &dyn Fn(&mut Json)| {
        let mut file = file.clone();
        change(&mut file);
        let report = read(&file).verify(TrustSource::Own(&trust));
        (report.exit, report.findings[0].code.as_str())
    };
    let edited = judge(&|file| file["statement"]["person"] = "eve@example.com".into());
    assert_eq!(edited, (40, "statement_differs"));
    let foreign = judge(&|file| {
        let plaintext = text(&file["opened"][0]["plaintext"]).replacen('A', "B", 1);
        file["opened"][0]["plaintext"] = plaintext.into();
    });
    assert_eq!(foreign, (40, "part_unbound"));
    let other_index = judge(&|file| file["proof"] = text(&file["proof"]).replace("index 4", "index 5").into());
    assert_eq!(other_index, (40, "leaf_altered"));
    let other_leaf =
        judge(&|file| file["proof"] = text(&file["proof"]).replace("extra qgABAQQC", "extra qgABAQMC").into());
    assert_eq!(other_leaf, (40, "leaf_altered"));
    let other_entry = judge(&|file| file["proof"] = text(&file["proof"]).replacen("pKSkpKSk", "pKSlpKSk", 1).into());
    assert_eq!(other_entry, (40, "root_mismatch"));
    let unwitnessed = judge(&|file| {
        let proof = text(&file["proof"]);
        let kept = &proof[..proof.find("\u{2014} witness").unwrap()];
        file["proof"] = kept.into();
    });
    assert_eq!(unwitnessed, (50, "downgrade"));
    let other_log = Trust::parse(
        &text(&file["trust"]).replace(text(&all["amanat_log"]["log_vkey"]), text(&all["signed_note"]["log_vkey"])),
    );
    let report = read(file).verify(TrustSource::Own(&other_log.unwrap()));
    assert_eq!((report.exit, report.findings[0].code.as_str()), (40, "origin_mismatch"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["verdict"], &json["exit"]), (&"invalid".into(), &40.into()));
    // Twice a key, or a member that is not ours: no receipt.
    assert!(Receipt::parse(br#"{"format":"amanat-receipt/2"}"#).is_err());
}

#[test]
fn trust_policies() {
    let all = vectors();
    let log = text(&all["amanat_log"]["log_vkey"]);
    let witness = text(&all["amanat_log"]["witness_vkey"]);
    let second = VerifierKey::new("w.example/2", KeyKind::Cosignature, [9; 32]).unwrap();
    let policy = format!(
        "# comment\n\nlog {log} https://gw.example/log\nwitness a {witness}\nwitness b {second} https://w.example\ngroup both all a b\ngroup one any both\nquorum one\n"
    );
    let trust = Trust::parse(&policy).unwrap();
    let first = trust.witnesses()[0].key.clone();
    assert!(!trust.is_met_by([&first]));
    assert!(trust.is_met_by([&first, &second]));
    assert!(Trust::parse(&policy.replace("all a b", "1 a b")).unwrap().is_met_by([&first]));
    for (from, to, error) in [
        ("quorum one\n", "", TrustError::NoQuorum),
        ("quorum one", "quorum two", TrustError::Name(8)),
        ("all a b", "3 a b", TrustError::Threshold(6)),
        ("all a b", "0 a b", TrustError::Threshold(6)),
        ("all a b", "all a a", TrustError::Name(6)),
        ("any both", "any a", TrustError::Name(7)),
        ("witness b", "witness a", TrustError::Name(5)),
        ("# comment", "wittness", TrustError::Line(1)),
        ("dc13f54c", "dc13f54d", TrustError::Key(3)),
    ] {
        assert_eq!(Trust::parse(&policy.replace(from, to)), Err(error), "{from} {to}");
    }
}

#[test]
fn attestation() {
    let all = vectors();
    let set = &all["amanat_log"];
    let trust = Trust::parse(text(&set["receipt_file"]["trust"])).unwrap();
    let read = |note: &str| open(note.as_bytes(), None, trust.logs(), &trust.witness_keys()).unwrap();
    let whole = text(&set["checkpoint"]);
    let full = read(whole);
    let bare = read(&whole[..whole.find("\u{2014} witness").unwrap()]);
    let judge = |checkpoints: &[_], trust: &Trust, source, freshness| {
        let mut report = Report::new();
        attest(&mut report, checkpoints, trust, source, freshness);
        (report.exit, report.witnessed_to)
    };
    let own = TrustSource::Own(&trust);
    assert_eq!(judge(from_ref(&full), &trust, own, None), (0, Some(6)));
    assert_eq!(judge(from_ref(&full), &trust, TrustSource::Receipt, None), (10, Some(6)));
    assert_eq!(judge(from_ref(&bare), &trust, own, None), (50, None));
    assert_eq!(judge(&[], &trust, own, None), (10, None));
    let alone = Trust::of_logs(vec![trust.logs()[0].clone()]);
    assert_eq!(judge(&[bare], &alone, TrustSource::Own(&alone), None), (10, None));
    let seconds = full.cosignatures[0].seconds;
    let fresh = Some(Freshness { now: seconds + 60, maximum_age: 60 });
    assert_eq!(judge(from_ref(&full), &trust, own, fresh).0, 0);
    let stale = Some(Freshness { now: seconds + 61, maximum_age: 60 });
    assert_eq!(judge(&[full], &trust, own, stale).0, 10);
}
