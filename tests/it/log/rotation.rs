//! One key of the log hands over to the next.

use std::path::PathBuf;
use std::time::Duration;

use amanat::audit::finding::Code;
use amanat::audit::leaf::{Cause, Fact};
use amanat::audit::note::VerifierKey;
use amanat::audit::trust::Trust;
use amanat::domain::event::{Event, Outcome};
use amanat::gateway::export::BundleOrder;
use amanat::gateway::keys::LogKeyRotated;
use amanat::gateway::prove::Wanted;
use amanat::gateway::verify::{Verification, verify, verify_proof};
use amanat::gateway::witness::TrustSettings;
use amanat::gateway::{Error, Gateway};
use amanat::storage::{Step, Unit};

use crate::harness::Backend;
use crate::harness::store::Store;

use super::bundles::{self, PLAIN, Wish, export};
use super::{TestLog, faults, grow, run};

const PATIENCE: Duration = Duration::from_secs(5);

fn trust(key: &VerifierKey) -> Trust {
    Trust::parse(&format!("log {key}\nquorum none\n")).expect("trust")
}

async fn rotated(house: &Gateway) -> LogKeyRotated {
    house.rotate_log_key(Cause::Planned, PATIENCE).await.expect("rotated")
}

/// Who signed a note, as far as these keys are concerned.
fn signers(note: &str, keys: &[&VerifierKey]) -> Vec<bool> {
    let claims = |key: &VerifierKey| {
        let line = key.signature_line(&[0; 64]);
        let begin = line.split(' ').nth(2).expect("signature").get(..5).expect("the key id").to_owned();
        note.lines().any(|line| {
            line.starts_with('\u{2014}') && line.split(' ').nth(2).is_some_and(|said| said.starts_with(&begin))
        })
    };
    keys.iter().map(|key| claims(key)).collect()
}

async fn published(house: &Gateway) -> String {
    house.publish_once().await.expect("published").expect("a checkpoint").note.clone()
}

fn seeds(log: &TestLog) -> i64 {
    Store::open(&log.settings.keys).number("SELECT count(*) FROM secret WHERE purpose = 'log'")
}

/// A log that was signed by three keys, one after the other, and the keys.
async fn rotated_twice(log: &TestLog) -> [VerifierKey; 3] {
    let house = log.open().await;
    house.note_start(house.start_cause()).await.expect("start");
    grow(&house, 300).await;
    published(&house).await;
    let first = rotated(&house).await;
    grow(&house, 300).await;
    published(&house).await;
    let second = rotated(&house).await;
    grow(&house, 20).await;
    house.note_stop().await.expect("stop");
    published(&house).await;
    house.close();
    [first.keys.current, first.keys.next, second.keys.next]
}

/// A bundle of a log that three keys signed, one after the other, and a trust policy for each.
pub fn bundle_of_three_keys(log: &TestLog) -> (PathBuf, [String; 3]) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let keys = runtime.block_on(rotated_twice(log));
    (export(log, "three.zip", &BundleOrder::default()), keys.map(|key| format!("log {key}\nquorum none\n")))
}

on_both! {
    async fn both_keys_sign_one_size_and_then_the_old_seed_is_gone(log: TestLog) {
        let house = log.open().await;
        grow(&house, 20).await;
        let before = published(&house).await;
        let announced = house.announce_log_key().await.expect("announced");
        assert_eq!(house.announce_log_key().await.expect("announced"), announced, "one key waits, not two");
        let LogKeyRotated { keys, size, checkpoint } = rotated(&house).await;
        assert_eq!(keys, announced);
        let both = [&keys.current, &keys.next];
        assert_eq!(signers(&before, &both), [true, false]);
        assert_eq!(signers(&checkpoint.expect("published"), &both), [true, true]);
        assert_eq!(house.log_verifier().expect("key"), keys.next);
        assert_eq!(seeds(&log), 1);
        grow(&house, 5).await;
        let after = published(&house).await;
        assert_eq!(signers(&after, &both), [false, true]);
        let mut stored = amanat::gateway::prove::StoredLog::open(&log.settings.database).expect("readable");
        assert_eq!(stored.verifier().expect("key"), keys.next);
        let proof = house.prove_entry(Wanted::Position(size)).await.expect("proof").to_string();
        assert_eq!(verify_proof(&proof, Some(&trust(&keys.next)), None, log.source.now()).exit, 10);
        assert_eq!(verify_proof(&proof, Some(&trust(&keys.current)), None, log.source.now()).exit, 40);
        house.close();
        log.open().await.close();
    }

    async fn whoever_knows_one_key_learns_the_others_from_the_log(log: TestLog) {
        let keys = rotated_twice(&log).await;
        let bundle = export(&log, "whole.zip", &BundleOrder::default());
        for key in &keys {
            let trust = trust(key);
            let report = verify(&Verification { trust: Some(trust.clone()), ..log.verification() }, |_, _| {});
            let report = report.expect("verifiable");
            assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
            let report = bundles::verify_with(&bundle, Wish { trust: Some(&trust), ..PLAIN });
            assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
        }
        let report = log.verify_with(log.saved());
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
        let stranger = VerifierKey::new("amanat.test/log", keys[0].kind(), [7; 32]).expect("key");
        let report = bundles::verify_with(&bundle, Wish { trust: Some(&trust(&stranger)), ..PLAIN });
        assert_eq!(report.exit, 40, "{report:?}");
    }

    async fn without_the_checkpoint_of_both_nobody_learns_anything(log: TestLog) {
        let keys = rotated_twice(&log).await;
        log.tamper("DELETE FROM audit_checkpoint WHERE size IN (SELECT seq + 1 FROM audit_leaf WHERE event = 104)");
        for key in [&keys[0], &keys[2]] {
            let report = verify(&Verification { trust: Some(trust(key)), ..log.verification() }, |_, _| {}).expect("verifiable");
            assert!(faults(&report).iter().any(|(code, _)| *code == Code::CheckpointSignature), "{report:?}");
        }
    }

    async fn another_instance_goes_on_with_the_new_key(log: TestLog) {
        let (first, second) = (log.open().await, log.open().await);
        grow(&first, 10).await;
        published(&first).await;
        let LogKeyRotated { keys, .. } = rotated(&second).await;
        grow(&first, 10).await;
        assert_eq!(signers(&published(&first).await, &[&keys.current, &keys.next]), [false, true]);
        grow(&second, 10).await;
        let newest = published(&second).await;
        assert_eq!(signers(&newest, &[&keys.current, &keys.next]), [false, true]);
        first.close();
        second.close();
        let report = log.verify_with(log.saved());
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
    }

    async fn a_trust_policy_must_have_the_next_key_first(log: TestLog) {
        let mut log = log;
        let house = log.open().await;
        let keys = house.announce_log_key().await.expect("announced");
        house.close();
        let policy = |logs: &[&VerifierKey]| {
            let logs: String = logs.iter().map(|key| format!("log {key}\n")).collect();
            TrustSettings { policy: Some(logs + "quorum none\n"), ..TrustSettings::default() }
        };
        log.settings.trust = policy(&[&keys.current]);
        let house = log.open().await;
        assert!(matches!(house.rotate_log_key(Cause::Planned, PATIENCE).await, Err(Error::WrongState(_))));
        house.close();
        log.settings.trust = policy(&[&keys.current, &keys.next]);
        let house = log.open().await;
        assert_eq!(rotated(&house).await.keys, keys);
        house.close();
    }

    async fn a_log_rolled_back_behind_the_rotation_is_refused_as_that(log: TestLog) {
        let house = log.open().await;
        grow(&house, 50).await;
        published(&house).await;
        let LogKeyRotated { size, .. } = rotated(&house).await;
        grow(&house, 10).await;
        published(&house).await;
        house.close();
        log.tamper(&format!("DELETE FROM audit_leaf WHERE seq >= {}", size - 1));
        let (exit, what) = log.refusal().await;
        assert!(exit == 30 && what.starts_with("rollback"), "{what}");
    }

    async fn a_rotation_to_a_key_that_is_not_ours_stops_the_log(log: TestLog) {
        let house = log.open().await;
        grow(&house, 10).await;
        published(&house).await;
        let theirs = VerifierKey::new(&house.origin, house.log_verifier().expect("key").kind(), [7; 32]).expect("key");
        let facts = vec![
            Fact::Cause(Cause::Planned),
            Fact::Verifier(theirs.typed()),
            Fact::ReplacedVerifier(house.log_verifier().expect("key").typed()),
        ];
        let payload = amanat::audit::payload::Payload::default();
        let leaf = house.installation_leaf(Event::LogKeyRotated, Outcome::Done, &payload, facts).expect("leaf");
        house.database.write(Unit::change(Vec::new(), vec![leaf], |_, _| Ok(Step::Commit))).await.expect("appended");
        match house.publish_once().await {
            Err(Error::LogRefused { exit: 40, what }) => assert!(what.contains("does not hold"), "{what}"),
            other => panic!("{other:?}"),
        }
        assert!(house.note_stop().await.is_err(), "nothing more is written");
        assert_eq!(seeds(&log), 1, "our own key is not forgotten for it");
        house.close();
    }
}
