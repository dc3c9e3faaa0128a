//! What the log forgets: sealed parts by age, and leaves that are older than the policy keeps them.

use std::time::Duration;

use amanat::audit::finding::{Code, Position};
use amanat::audit::leaf::{Cause, Counts, Fact};
use amanat::domain::event::{Class, Event, Outcome, Role};
use amanat::gateway::prove::Wanted;
use amanat::gateway::prune::Rows;
use amanat::gateway::{Error, Gateway};
use amanat::storage::{LeafRow, Step, Unit, audit_log};

use crate::harness::Backend;
use crate::harness::store::Store;

use super::scrub::{newest, scrubbed};
use super::{TestLog, faults, grow, run};

const YEAR: i64 = 366 * 24 * 3_600;

/// A leaf of this event with a part about somebody.
pub fn about(house: &Gateway, event: Event) -> LeafRow {
    let payload = amanat::audit::payload::Payload::default();
    let key = house.own_audit_key(event.class());
    let leaf = house.leaf(event, Outcome::Done).expect("leaf");
    leaf.part(&house.source, Role::Subject, key, &payload).expect("part").finish().expect("draft")
}

pub async fn append(house: &Gateway, rows: Vec<LeafRow>) {
    house.database.write(Unit::change(Vec::new(), rows, |_, _| Ok(Step::Commit))).await.expect("appended");
}

/// A leaf that says that those below this position, which are of just now, were pruned.
pub fn pruned_just_now(log: &TestLog, house: &Gateway, below: u64, parts: Counts) -> LeafRow {
    let mut connection = log.settings.database.connect_to_read().expect("connection");
    let root = amanat::audit::tree::root(below, &audit_log::StoredHashes::new(&mut connection)).expect("root");
    let facts = [
        Fact::PolicyHash(house.policy().policy.hash.0),
        Fact::Deleted(parts),
        Fact::Number(below),
        Fact::Root(root),
        Fact::Until(u64::try_from(house.source.now().as_microsecond()).expect("now")),
    ];
    let leaf = house.leaf(Event::LogPruned, Outcome::Done).expect("leaf");
    facts.into_iter().fold(leaf, |leaf, fact| leaf.fact(fact)).finish().expect("draft")
}

/// Years pass while nobody serves.
fn years_pass(log: &TestLog, years: i64) {
    log.source.mislead(years * YEAR);
}

/// A log that lived for a day so many years ago: 50 leaves about operation, 20 of evidence, 800 others.
async fn lived_long_ago(log: &TestLog, years: i64) {
    log.source.mislead(-years * YEAR);
    let house = log.open().await;
    house.note_start(house.start_cause()).await.expect("start");
    append(&house, (0..50).map(|_| about(&house, Event::RecordCollected)).collect()).await;
    append(&house, (0..20).map(|_| about(&house, Event::IdentifierAdded)).collect()).await;
    grow(&house, 800).await;
    house.note_stop().await.expect("stop");
    house.publish_once().await.expect("published");
    house.close();
    years_pass(log, years);
}

async fn open_again(log: &TestLog) -> Gateway {
    let house = log.open().await;
    house.note_start(house.start_cause()).await.expect("start");
    house
}

fn leaves_below(log: &TestLog, seq: u64) -> i64 {
    Store::open(&log.settings.database).number(&format!("SELECT count(*) FROM audit_leaf WHERE seq < {seq}"))
}

on_both! {
    async fn sealed_parts_go_by_age_and_are_counted(log: TestLog) {
        lived_long_ago(&log, 2).await;
        let house = open_again(&log).await;
        append(&house, vec![about(&house, Event::RecordCollected)]).await;
        assert_eq!(house.expire_log_parts().await.expect("expired"), 50, "operation is kept a year, evidence five");
        let told = newest(&log);
        let counts = Counts { operation: 50, ..Counts::default() };
        assert_eq!((told.event, told.facts.deleted()), (Event::RetentionExpired, Some(counts)));
        let mut store = Store::open(&log.settings.database);
        let kept = |store: &mut Store, class: Class| {
            store.number(&format!("SELECT count(*) FROM audit_sealed WHERE class = {}", class.number()))
        };
        assert_eq!((kept(&mut store, Class::Operation), kept(&mut store, Class::Evidence)), (1, 20));
        assert_eq!(house.expire_log_parts().await.expect("expired"), 0);
        assert_eq!(newest(&log).entry, told.entry, "nothing went, nothing is told");
        house.publish_once().await.expect("published");
        assert_eq!(faults(&scrubbed(&house).await), vec![]);
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
    }

    async fn old_leaves_are_pruned_and_the_rest_is_proved(log: TestLog) {
        lived_long_ago(&log, 11).await;
        let house = open_again(&log).await;
        grow(&house, 300).await;
        let plan = house.plan_prune(None).await.expect("plan");
        assert_eq!((plan.from, plan.below), (0, 0), "parts about people lie below");
        assert_eq!(house.expire_log_parts().await.expect("expired"), 70);
        assert_eq!(house.plan_prune(Some(600)).await.expect("plan").below, 512, "no more than asked for, whole tiles");
        let plan = house.plan_prune(None).await.expect("plan");
        assert_eq!((plan.from, plan.below), (0, 768), "the young leaves stay");
        house.prune(&plan, Rows::Kept).await.expect("pruned");
        assert_eq!(newest(&log).event, Event::LogPruned);
        let size = house.publish_once().await.expect("published").expect("a checkpoint").size;

        for rows in [Rows::Kept, Rows::Deleted] {
            if rows == Rows::Deleted {
                let plan = house.plan_prune(None).await.expect("plan");
                house.prune(&plan, rows).await.expect("deleted");
                assert_eq!(leaves_below(&log, 768), 1, "leaf 0 names the log and its key");
            }
            for seq in [0, 5, 767] {
                assert!(matches!(house.entry(Wanted::Position(seq)).await, Err(Error::Pruned)));
                assert!(matches!(house.prove_entry(Wanted::Position(seq)).await, Err(Error::Pruned)));
            }
            assert_eq!(house.entries(None, 1).await.expect("entries")[0]["seq"], 768);
            assert!(house.prove_entry(Wanted::Position(768)).await.is_ok());
            assert!(house.prove_consistency(800, size).await.is_ok());
            assert_eq!(house.tile("tile/0/000").await.expect("hash tiles stay").len(), 8_192);
            assert!(house.tile("tile/entries/000").await.is_err());
            let report = log.verify_with(log.saved());
            assert_eq!((report.exit, report.pruned, faults(&report)), (10, 768, vec![]), "{rows:?}: {report:?}");
            assert_eq!(faults(&scrubbed(&house).await), vec![], "{rows:?}");
            house.publish_once().await.expect("published");
        }
        house.note_stop().await.expect("stop");
        house.close();

        // Years later the prune itself, and what counted the parts, are pruned too.
        years_pass(&log, 11);
        log.source.shift(11 * YEAR);
        let house = open_again(&log).await;
        grow(&house, 300).await;
        house.expire_log_parts().await.expect("expired");
        let plan = house.plan_prune(None).await.expect("plan");
        assert!(plan.from == 768 && plan.below > 1_000, "{plan:?}");
        house.prune(&plan, Rows::Deleted).await.expect("pruned");
        house.publish_once().await.expect("published");
        assert_eq!(faults(&scrubbed(&house).await), vec![]);
        house.note_stop().await.expect("stop");
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
        log.open().await.close();
    }

    async fn which_key_signs_is_known_after_its_rotation_was_pruned(log: TestLog) {
        log.source.mislead(-11 * YEAR);
        let house = log.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        grow(&house, 300).await;
        house.publish_once().await.expect("published");
        let rotated = house.rotate_log_key(Cause::Planned, Duration::from_secs(5)).await.expect("rotated");
        grow(&house, 600).await;
        house.note_stop().await.expect("stop");
        house.publish_once().await.expect("published");
        house.close();
        years_pass(&log, 11);

        let house = open_again(&log).await;
        let plan = house.plan_prune(None).await.expect("plan");
        assert!(plan.below > rotated.size, "{plan:?}");
        house.prune(&plan, Rows::Deleted).await.expect("pruned");
        assert_eq!(leaves_below(&log, plan.below), 2, "leaf 0 and the rotation");
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(faults(&log.verify_with(log.saved())), vec![]);
        let house = log.open().await;
        assert_eq!(house.log_verifier().expect("key"), rotated.keys.next);
        grow(&house, 5).await;
        house.publish_once().await.expect("published");
        house.close();
    }

    async fn an_interrupted_deletion_is_finished(log: TestLog) {
        lived_long_ago(&log, 11).await;
        let house = open_again(&log).await;
        house.expire_log_parts().await.expect("expired");
        let plan = house.plan_prune(None).await.expect("plan");
        assert_eq!(plan.below, 512);
        house.prune(&plan, Rows::Kept).await.expect("pruned");
        house.publish_once().await.expect("published");
        house.close();
        // As a kill in the midst leaves it.
        log.tamper("INSERT INTO audit_prune (log, until) VALUES (1, 512); DELETE FROM audit_leaf WHERE seq BETWEEN 1 AND 100");
        let house = log.open().await;
        house.resume_prune().await.expect("resumed");
        assert_eq!(leaves_below(&log, 512), 1);
        assert_eq!(Store::open(&log.settings.database).count("audit_prune"), 0);
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
    }

    async fn what_goes_too_far_or_did_not_go_is_found(log: TestLog) {
        let house = log.open().await;
        append(&house, (0..10).map(|_| about(&house, Event::RecordCollected)).collect()).await;
        grow(&house, 600).await;
        // A leaf that counts what still exists.
        let counts = Counts { operation: 4, ..Counts::default() };
        let lie = house.leaf(Event::RetentionExpired, Outcome::Done).expect("leaf").fact(Fact::Deleted(counts));
        append(&house, vec![lie.finish().expect("draft")]).await;
        house.publish_once().await.expect("published");
        assert_eq!(faults(&log.verify()), vec![(Code::FalseErasure, Position::Whole {})]);

        // A prune of leaves that are young, with sealed parts below.
        let prune = pruned_just_now(&log, &house, 256, Counts { operation: 10, evidence: 0, system: 0 });
        let unit = Unit::change(Vec::new(), vec![prune], |transaction, _| {
            Ok(if audit_log::raise_minimum_index(transaction, 0, 256)? { Step::Commit } else { Step::Stale })
        });
        house.database.write(unit).await.expect("pruned");
        house.publish_once().await.expect("published");
        house.close();
        let found: Vec<Code> = faults(&log.verify()).into_iter().map(|(code, _)| code).collect();
        assert!(found.contains(&Code::PruneBeyondPolicy) && found.contains(&Code::FalseErasure), "{found:?}");

        // The minimum index raised by hand.
        log.tamper("UPDATE audit_log SET minimum_index = 512");
        let report = log.verify();
        let hidden = (Code::PruneBeyondPolicy, Position::Between { from: 0, to: 511 });
        assert!(report.exit == 40 && faults(&report).contains(&hidden), "{report:?}");
    }
}
