//! The daily re-reading of the log: what it finds, what it mends, and that it goes on where it stood.

use std::sync::mpsc;

use amanat::audit::finding::{Code, Position, Report};
use amanat::audit::leaf::Leaf;
use amanat::audit::leaf::{Cause, Fact};
use amanat::domain::event::{Event, Outcome};
use amanat::gateway::Gateway;
use amanat::gateway::scrub::{Pace, Scrub};
use amanat::storage::{Step, Unit};
use serde_json::json;

use crate::both;
use crate::harness::Backend;
use crate::harness::store::Store;

use super::{TestLog, faults, grow, leaf, run, set_leaf};

/// Reads the whole log again without rests.
pub(super) async fn scrubbed(house: &Gateway) -> Report {
    match house.scrub(Pace::Full, |_| true).await.expect("scrub") {
        Scrub::Finished(report) => *report,
        other => panic!("not finished: {other:?}"),
    }
}

/// The newest leaf.
pub(super) fn newest(log: &TestLog) -> Leaf {
    let mut connection = log.settings.database.connect_to_read().expect("connection");
    let size = amanat::storage::audit_log::stored_size(&mut connection).expect("size");
    Leaf::decode(&leaf(log, size - 1)).expect("leaf")
}

/// Appends leaves with a sealed part.
async fn grow_with_parts(house: &Gateway, leaves: usize) {
    let payload = amanat::audit::payload::Payload::default();
    let facts = || vec![Fact::PolicyHash([1; 32]), Fact::Digest([2; 32]), Fact::Cause(Cause::Planned)];
    let rows = (0..leaves)
        .map(|_| house.installation_leaf(Event::GatewayStarted, Outcome::Done, &payload, facts()).expect("leaf"))
        .collect();
    house.database.write(Unit::change(Vec::new(), rows, |_, _| Ok(Step::Commit))).await.expect("appended");
}

on_both! {
    async fn a_sound_log_is_told_to_be_sound(log: TestLog) {
        let house = log.open().await;
        grow(&house, 600).await;
        let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
        let report = scrubbed(&house).await;
        assert_eq!((report.size, report.checked, faults(&report)), (size, size, vec![]));
        let told = newest(&log);
        assert_eq!((told.event, told.outcome), (Event::LogVerified, Outcome::Done));
        assert!(told.facts.as_slice().contains(&Fact::LogSize(size)) && told.facts.number().is_none());
        let status = house.log_status().await.expect("status").scrub;
        assert_eq!((status.position, status.size, status.faults, status.first_fault), (None, Some(size), Some(0), None));
        assert!(status.finished.is_some());
        house.close();
        assert_eq!(log.verify().exit, 10);
    }

    async fn an_interrupted_scrub_goes_on_where_it_stood_and_forgets_nothing(log: TestLog) {
        let house = log.open().await;
        grow(&house, 4_000).await;
        grow_with_parts(&house, 600).await;
        let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
        let mut changed = leaf(&log, 5);
        changed[60] ^= 1;
        set_leaf(&log, 5, &changed);
        assert!(matches!(house.scrub(Pace::Full, |position| position < 4_000).await, Ok(Scrub::Interrupted { .. })));
        let status = house.log_status().await.expect("status").scrub;
        assert_eq!((status.position, status.finished), (Some(4_000), None));
        house.close();
        // Whatever becomes of leaf 5 now, it was seen.
        let house = log.open().await;
        let report = scrubbed(&house).await;
        assert!(report.size >= size && report.checked < size - 3_900, "{report:?}");
        assert_eq!(faults(&report), vec![], "the rest is sound, and its tiles and balance too");
        let told = newest(&log);
        assert_eq!((told.outcome, told.facts.number()), (Outcome::Failed, Some(5)));
        let status = house.log_status().await.expect("status").scrub;
        assert_eq!((status.position, status.first_fault), (None, Some(5)));
        house.close();
    }

    async fn damage_is_told_in_the_log_and_stops_nobody(log: TestLog) {
        let house = log.open().await;
        grow(&house, 600).await;
        grow_with_parts(&house, 20).await;
        house.publish_once().await.expect("published");
        let mut changed = leaf(&log, 300);
        let before = changed.clone();
        changed[70] ^= 1;
        set_leaf(&log, 300, &changed);
        let report = scrubbed(&house).await;
        assert!(faults(&report).contains(&(Code::LeafAltered, Position::Leaf { seq: 300 })), "{report:?}");
        let told = newest(&log);
        assert_eq!((told.event, told.outcome, told.facts.number()), (Event::LogVerified, Outcome::Failed, Some(300)));
        grow(&house, 1).await;
        set_leaf(&log, 300, &before);
        assert_eq!(faults(&scrubbed(&house).await), vec![]);
        // A sealed row that goes uncounted, and one that comes from nowhere.
        log.tamper("CREATE TABLE kept AS SELECT * FROM audit_sealed; DELETE FROM audit_sealed WHERE entry IN (SELECT entry FROM audit_leaf WHERE seq = 610)");
        let report = scrubbed(&house).await;
        assert!(matches!(faults(&report)[..], [(Code::SealedMissing, _)]), "{report:?}");
        log.tamper("INSERT INTO audit_sealed SELECT * FROM kept WHERE entry NOT IN (SELECT entry FROM audit_sealed)");
        assert_eq!(faults(&scrubbed(&house).await), vec![]);
        house.close();
    }

    async fn a_poisoned_tile_is_made_anew(log: TestLog) {
        let house = log.open().await;
        grow(&house, 600).await;
        house.publish_once().await.expect("published");
        log.tamper("UPDATE audit_tile SET root = hashes WHERE level = 0 AND idx = 1");
        let report = scrubbed(&house).await;
        assert_eq!(faults(&report), vec![(Code::TilePoisoned, Position::Between { from: 256, to: 511 })]);
        assert_eq!(newest(&log).outcome, Outcome::Done, "a cache is no evidence");
        assert_eq!(faults(&scrubbed(&house).await), vec![]);
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
    }

    async fn one_instance_scrubs_for_all(log: TestLog) {
        let house = log.open().await;
        grow(&house, 100).await;
        let other = log.open().await;
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = house.clone();
        let scrubbing = tokio::spawn(async move {
            first.scrub(Pace::Full, move |_| { begun.send(()).ok(); released.recv().ok(); true }).await
        });
        tokio::task::spawn_blocking(move || has_begun.recv().expect("begun")).await.expect("waited");
        assert!(matches!(other.scrub(Pace::Full, |_| true).await, Ok(Scrub::Elsewhere)));
        drop(release);
        assert!(matches!(scrubbing.await.expect("joined"), Ok(Scrub::Finished(_))));
        assert_eq!(faults(&scrubbed(&other).await), vec![]);
        other.close();
        house.close();
    }
}

both! {
    async fn a_choice_whose_row_is_gone_is_found(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let denied = json!({"consent": {"categoryPreferences": {"Advertising": false, "Analytics": true}}});
        let event = json!({"type":"track","event":"E","userId":gateway.canary("user"),"anonymousId":gateway.canary("device"),"context":denied,"properties":{"order_id":"1"}});
        assert_eq!(gateway.post(&key, "/v1/track", &event).await.0, 200);
        assert_eq!(faults(&scrubbed(&gateway.house).await), vec![]);
        let mut store = Store::open(gateway.house.database.location());
        let rows = store.count("consent_event");
        assert!(rows > 0);
        store.execute("CREATE TABLE kept AS SELECT * FROM consent_event").expect("kept");
        store.execute("DELETE FROM consent_event").expect("deleted");
        let report = scrubbed(&gateway.house).await;
        assert!(faults(&report).iter().all(|(code, _)| *code == Code::LeafWithoutBusinessRow), "{report:?}");
        assert_eq!(i64::try_from(faults(&report).len()), Ok(rows), "{report:?}");
        store.execute("INSERT INTO consent_event SELECT * FROM kept; DROP TABLE kept").expect("back");
        assert_eq!(faults(&scrubbed(&gateway.house).await), vec![]);
    }
}
