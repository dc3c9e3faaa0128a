//! What the log is told of the house itself: who was refused at the door, which schema it has, which
//! signals nobody could read.

use amanat::audit::leaf::{Fact, Leaf};
use amanat::domain::event::{Event, Outcome, Role};
use amanat::storage::audit_log;
use serde_json::json;

use crate::both;
use crate::harness::Backend;
use crate::harness::wire::Sent;

use super::{TestLog, faults, run};

/// The leaves of this event.
fn told(location: &amanat::storage::Location, event: Event) -> Vec<Leaf> {
    let mut connection = location.connect_to_read().expect("connection");
    let number = i16::try_from(event.number()).expect("number");
    let stored = audit_log::leaves_of_events(&mut connection, &[number], 1_000).expect("leaves");
    stored.iter().map(|leaf| Leaf::decode(&leaf.leaf).expect("leaf")).collect()
}

both! {
    async fn a_flood_of_strangers_is_one_leaf_a_kind(gateway: TestGateway) {
        let size = || {
            let mut connection = gateway.house.settings.database.connect_to_read().expect("connection");
            audit_log::stored_size(&mut connection).expect("size")
        };
        let before = size();
        let event = json!({"type": "track", "event": "e", "userId": "u", "messageId": "m"});
        for number in 0..40 {
            let (status, _) = gateway.post(&format!("stranger-{number}"), "/v1/track", &event).await;
            assert_eq!(status, 401);
        }
        for (path, times) in [("/v1/token", 7), ("/v1/decisions", 11)] {
            for _ in 0..times {
                let answer = Sent::post(path, "{}").header("authorization", "Bearer nobody").to(&gateway.url).await;
                assert_eq!(answer.status, 401, "{path}");
            }
        }
        assert_eq!(size(), before, "a stranger appends nothing");
        gateway.house.tell_refusals().await.expect("told");
        gateway.house.tell_refusals().await.expect("told once");
        let leaves = told(&gateway.house.settings.database, Event::DoorRefused);
        let counts: Vec<_> = leaves.iter().map(|leaf| (leaf.outcome, leaf.facts.number())).collect();
        assert_eq!(counts, [40, 7, 11].map(|count| (Outcome::Refused, Some(count))));
        for leaf in leaves {
            let [Fact::Number(_), Fact::From(from), Fact::Until(until)] = leaf.facts.as_slice() else { panic!("{leaf:?}") };
            assert!(from <= until && *until <= leaf.time, "{leaf:?}");
        }
        // The refusals since then are told before the stop.
        let (status, _) = gateway.post("stranger", "/v1/track", &event).await;
        assert_eq!(status, 401);
    }

    async fn a_signal_that_nobody_can_read_is_evidence(gateway: TestGateway) {
        gateway.leaves_any_open();
        let key = gateway.key("shop-server").await;
        let broken = json!({"consent": {"categoryPreferences": 7}});
        let event = |message: &str, context: &serde_json::Value| {
            json!({"type": "identify", "userId": gateway.canary("user"), "messageId": message, "context": context,
                "traits": {"email": format!("{}@example.org", gateway.canary("anna"))}})
        };
        for (message, context) in [("m-1", &json!({})), ("m-2", &broken), ("m-3", &broken)] {
            let (status, answer) = gateway.post(&key, "/v1/identify", &event(message, context)).await;
            assert_eq!(status, 200, "{answer}");
        }
        let leaves = told(&gateway.house.settings.database, Event::SignalRefused);
        assert_eq!(leaves.len(), 2, "one for each request that had one: {leaves:?}");
        assert!(leaves.iter().all(|leaf| leaf.outcome == Outcome::Refused));
        assert!(leaves.iter().all(|leaf| leaf.parts.iter().any(|part| part.role == Role::Subject)), "{leaves:?}");
    }
}

on_both! {
    async fn another_schema_is_told_once(log: TestLog) {
        log.open().await.close();
        assert!(told(&log.settings.database, Event::SchemaMigrated).is_empty(), "a new log knows its schema");
        log.tamper("UPDATE installation SET schema_told = NULL");
        log.open().await.close();
        let house = log.open().await;
        assert_eq!(told(&log.settings.database, Event::SchemaMigrated).len(), 1);
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
    }
}
