//! Delivering: what is promised reaches its recipient, decided again at the moment of sending.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use amanat::delivery::budget::Budget;
use amanat::delivery::file::Rotation;
use amanat::domain::collected::RawIdentifier;
use amanat::domain::id::{CollectorId, RecipientId};
use amanat::domain::identifier::IdentifierKind;
use amanat::domain::personal::Personal;
use amanat::domain::policy::Trust;
use amanat::gateway::Gateway;
use amanat::gateway::consent::{Act, Action, Actor, Caller, Choice, Consented, Interaction, NoticeGiven};
use amanat::gateway::dispatch::{Carriers, RecipientAddress, Way};
use amanat::storage::deliveries::{DeliveryState, RecipientState};
use serde_json::{Value, json};

use crate::both;
use crate::harness::TestGateway;
use crate::harness::recipient::{Arrival, Recipient};

const ENOUGH: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(15);

both! {
    async fn a_recipient_gets_exactly_the_fields_it_may_have(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 1), ("warehouse", 1)]);
        let (email, street) = (format!("{}@example.org", gateway.canary("anna")), gateway.canary("street"));
        collect(&gateway, vec![json!({"type":"identify","userId":"anna","messageId":"m-1",
            "traits":{"email":email,"firstName":"Anna","address":{"street":street},"undeclared":"x"}})]).await;
        let mailer = Recipient::open(Duration::ZERO).await;
        let carriers = Carriers::new(vec![mailer.address("letterbox", 4)]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;

        let arrivals = mailer.arrivals();
        assert_eq!(arrivals.len(), 1, "{arrivals:?}");
        let data = &arrivals[0].body["data"];
        assert_eq!(data["fields"], json!({"traits.email": email, "traits.firstName": "Anna"}));
        assert_eq!((data["purpose"].as_str(), data["retention"].as_str(), &data["no_onward"]), (Some("order_handling"), Some("P3Y"), &Value::Bool(true)));
        assert!(data["subject"].as_str().is_some_and(|name| name.starts_with("sub_")), "{data}");
        assert!(data["decision"].as_str().is_some_and(|name| name.starts_with("d_")), "{data}");
        assert!(arrivals[0].id.starts_with("msg_"));
    }

    async fn a_file_recipient_gets_every_line_in_the_order_of_each_person(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 300), ("warehouse", 300)]);
        let events = (0..300).map(|number| identify(number % 7, number)).collect();
        collect(&gateway, events).await;
        let carriers = Carriers::new(vec![file(&gateway, "letterbox")]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;

        let lines = lines(&gateway, "letterbox");
        assert_eq!(lines.len(), 300);
        in_order(lines.iter());
        let ids: BTreeSet<&str> = lines.iter().filter_map(|line| line["id"].as_str()).collect();
        assert_eq!(ids.len(), 300);
    }

    async fn what_is_no_longer_allowed_is_dropped_with_its_reason(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 1), ("warehouse", 1)]);
        consent(&gateway.house, 1, Action::Give).await;
        collect(&gateway, vec![identify(1, 0)]).await;
        consent(&gateway.house, 1, Action::Withdraw).await;
        let mailer = Recipient::open(Duration::ZERO).await;
        let carriers = Carriers::new(vec![mailer.address("letterbox", 4)]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;
        let purposes: Vec<_> = mailer.arrivals().iter().map(|arrival| arrival.body["data"]["purpose"].clone()).collect();
        assert_eq!(purposes, ["order_handling"]);
        assert_eq!(gateway.house.dead_letters(None, None).await.expect("letters").len(), 0);
    }

    async fn a_final_refusal_is_a_dead_letter_that_can_be_replayed_under_its_id(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 1), ("warehouse", 1)]);
        collect(&gateway, vec![identify(1, 0)]).await;
        let mailer = Recipient::open(Duration::ZERO).await;
        mailer.will_answer([400]);
        let carriers = Carriers::new(vec![mailer.address("letterbox", 4)]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        let letterbox = RecipientId::new("letterbox");
        let letters = gateway.house.dead_letters(Some(&letterbox), None).await.expect("letters");
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].reason.as_deref(), Some("status 400"));
        assert_eq!(gateway.house.replay_dead_letters(Some(&letterbox), Some("other")).await.expect("replay"), 0);
        assert_eq!(gateway.house.replay_dead_letters(Some(&letterbox), None).await.expect("replay"), 1);
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;
        let arrivals = mailer.arrivals();
        assert_eq!(arrivals.len(), 2);
        assert_eq!(arrivals[0].id, arrivals[1].id);
    }

    async fn refused_credentials_pause_the_recipient_until_somebody_resumes_it(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 20), ("warehouse", 20)]);
        collect(&gateway, (0..20).map(|person| identify(person, 0)).collect()).await;
        let mailer = Recipient::open(Duration::ZERO).await;
        mailer.will_answer([401, 401, 401, 401]);
        let carriers = Carriers::new(vec![mailer.address("letterbox", 1)]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        let letterbox = RecipientId::new("letterbox");
        eventually(async || gateway.house.recipient_states().await.expect("states").iter().any(|(_, state, _)| *state == RecipientState::Paused)).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        let before = mailer.arrivals().len();
        assert!(before < 20, "{before} were sent");
        mailer.will_answer([]);
        gateway.house.resume_recipient(&letterbox, "new secret").await.expect("resumed");
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;
        let ids: BTreeSet<String> = mailer.arrivals().into_iter().map(|arrival| arrival.id).collect();
        assert_eq!(ids.len(), 20, "everybody got theirs");
    }

    async fn a_recipient_that_is_gone_gets_nothing_more(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 20), ("warehouse", 20)]);
        collect(&gateway, (0..20).map(|person| identify(person, 0)).collect()).await;
        let mailer = Recipient::open(Duration::ZERO).await;
        mailer.will_answer([410; 20]);
        let carriers = Carriers::new(vec![mailer.address("letterbox", 1)]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;
        assert!(mailer.arrivals().len() < 20);
        let letters = gateway.house.dead_letters(None, None).await.expect("letters");
        assert_eq!(letters.len(), 20);
        assert!(letters.iter().all(|letter| letter.reason.as_deref() == Some("recipient_gone")), "{letters:?}");
    }

    async fn a_busy_recipient_is_tried_again_and_nobody_overtakes(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 30), ("warehouse", 30)]);
        collect(&gateway, (0..30).map(|number| identify(number % 10, number)).collect()).await;
        let mailer = Recipient::open(Duration::ZERO).await;
        mailer.will_answer([503, 204, 429, 204, 204, 500]);
        let carriers = Carriers::new(vec![mailer.address("letterbox", 4)]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;
        let arrivals = mailer.arrivals();
        assert_eq!(arrivals.len(), 33, "30 and three that came twice");
        let mut seen = BTreeSet::new();
        let last: Vec<&Arrival> = arrivals.iter().rev().filter(|arrival| seen.insert(arrival.id.clone())).collect();
        in_order(last.into_iter().rev().map(|arrival| &arrival.body));
    }

    async fn a_person_with_a_long_queue_is_served_in_order_and_stalls_nobody(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 190), ("warehouse", 190)]);
        let long = 150_u64;
        let mut events: Vec<Value> = (0..long).map(|number| identify(1_000, number)).collect();
        events.extend((0..40).map(|person| identify(person, 500)));
        collect(&gateway, events).await;
        let carriers = Carriers::new(vec![file(&gateway, "letterbox")]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;
        let lines = lines(&gateway, "letterbox");
        assert_eq!(lines.len(), 190);
        in_order(lines.iter());
        let served = lines.iter().rposition(|line| person_of(line) < 1_000).expect("others");
        assert!(served < 100, "the last of the others came as number {served}");
    }

    // The race of the issue: G3.
    async fn a_withdrawal_that_was_answered_is_never_followed_by_a_send(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 2400), ("warehouse", 2400)]);
        let (people, events) = (300_u64, 8_u64);
        for chunk in (0..people).collect::<Vec<_>>().chunks(50) {
            futures_util::future::join_all(chunk.iter().map(|person| consent(&gateway.house, *person, Action::Give))).await;
        }
        collect(&gateway, (0..people * events).map(|number| identify(number % people, number)).collect()).await;
        let mailer = Recipient::open(Duration::from_millis(2)).await;
        let carriers = Carriers::new(vec![mailer.address("letterbox", 8)]).expect("carriers");
        let dispatch = gateway.house.dispatch(&carriers);

        // Two of three people withdraw, while everybody's queue is being sent.
        let mut answered: BTreeMap<u64, Instant> = BTreeMap::new();
        let withdrawing: Vec<u64> = (0..people).filter(|person| person % 3 != 0).collect();
        for chunk in withdrawing.chunks(4) {
            tokio::time::sleep(Duration::from_millis(25)).await;
            let house = &gateway.house;
            let answers = chunk.iter().map(|person| async move {
                let unsettled = consent(house, *person, Action::Withdraw).await;
                (*person, unsettled, Instant::now())
            });
            for (person, unsettled, at) in futures_util::future::join_all(answers).await {
                assert!(unsettled.is_empty(), "the wire was quiet in time");
                answered.insert(person, at);
            }
        }
        until_quiet(&gateway, "letterbox").await;
        dispatch.stop(STOP).await;

        let arrivals = mailer.arrivals();
        let newsletters: Vec<&Arrival> = arrivals.iter().filter(|arrival| arrival.body["data"]["purpose"] == "newsletter").collect();
        for arrival in &newsletters {
            let person = person_of(&arrival.body);
            if let Some(answer) = answered.get(&person) {
                assert!(arrival.at <= *answer, "person {person}: a newsletter came {:?} after the answer", arrival.at - *answer);
            }
        }
        let stopped = withdrawing.len() * events as usize - newsletters.iter().filter(|arrival| answered.contains_key(&person_of(&arrival.body))).count();
        let before = newsletters.len();
        println!("{} parcels, {before} newsletters, {stopped} stopped by {} withdrawals", arrivals.len(), withdrawing.len());
        assert!(stopped > 0, "the withdrawals raced with the sends");
        let kept = newsletters.iter().filter(|arrival| person_of(&arrival.body).is_multiple_of(3)).count();
        assert_eq!(kept as u64, people.div_ceil(3) * events, "who did not withdraw got everything");
        let orders = arrivals.iter().filter(|arrival| arrival.body["data"]["purpose"] == "order_handling").count();
        assert_eq!(orders as u64, people * events, "a withdrawal stops its own purpose");
        let ids: BTreeSet<&str> = arrivals.iter().map(|arrival| arrival.id.as_str()).collect();
        assert_eq!(ids.len(), arrivals.len(), "each came once");
        in_order(arrivals.iter().map(|arrival| &arrival.body));
    }
}

/// An event of one person, numbered.
fn identify(person: u64, number: u64) -> Value {
    json!({"type":"identify","userId":format!("user-{person}"),"messageId":format!("m-{number}-{person}"),
        "traits":{"email":format!("person{person}@example.org"),"firstName":number.to_string()}})
}

async fn collect(gateway: &TestGateway, events: Vec<Value>) {
    let key = gateway.key("shop-server").await;
    // At most as many of one person as one unit of work holds: their order is that of the array.
    for chunk in events.chunks(60) {
        let (status, answer) = gateway.post(&key, "/v1/batch", &json!({"batch": chunk})).await;
        assert_eq!(status, 200, "{answer}");
        assert!(
            answer["results"].as_array().expect("results").iter().all(|result| result["verdict"] == "accepted"),
            "{answer}"
        );
    }
}

/// A choice about the newsletter. Gives the recipients whose receipt was still unknown.
async fn consent(house: &Gateway, person: u64, action: Action) -> Vec<RecipientId> {
    let caller = Caller { id: CollectorId::new("shop-server"), trust: Trust::Server, default_region: None };
    let notice = house.notice("shop", Some("en"), Some(&caller)).expect("notice").snapshot.map(NoticeGiven::Snapshot);
    let interaction = Interaction {
        identifiers: vec![RawIdentifier {
            kind: IdentifierKind::UserId,
            namespace: String::new(),
            text: Personal::new(format!("user-{person}")),
            pointer: "",
        }],
        actor: Actor::default(),
        notice: notice.filter(|_| action == Action::Give),
        choices: vec![Choice { purpose: "newsletter".to_owned(), channel: Some("email".to_owned()), action }],
        act: Act {
            method: Some("click".to_owned()),
            control_before: Some("unset".to_owned()),
            bundled: Some(false),
            refusal_offered: Some(true),
            ..Act::default()
        },
    };
    match house.consent(&caller, &interaction, None).await.expect("consent") {
        Consented::Recorded { unsettled, .. } => unsettled,
        other => panic!("{other:?}"),
    }
}

fn file(gateway: &TestGateway, recipient: &str) -> RecipientAddress {
    RecipientAddress {
        recipient: RecipientId::new(recipient),
        way: Way::File { directory: files_of(gateway), rotation: Rotation::default() },
        budget: Budget::default(),
    }
}

fn files_of(gateway: &TestGateway) -> std::path::PathBuf {
    gateway.folder().join("deliveries")
}

fn lines(gateway: &TestGateway, recipient: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(files_of(gateway).join(recipient).join("current.ndjson.part")).expect("file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn person_of(body: &Value) -> u64 {
    let email = body["data"]["fields"]["traits.email"].as_str().expect("e-mail");
    email.trim_start_matches("person").trim_end_matches("@example.org").parse().expect("number")
}

/// Each person's events came in the order in which they were collected.
fn in_order<'a>(bodies: impl Iterator<Item = &'a Value>) {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for body in bodies {
        let number: u64 = body["data"]["fields"]["traits.firstName"].as_str().expect("number").parse().expect("number");
        let before = last.insert(person_of(body), number).unwrap_or(0);
        assert!(before <= number, "{before} came before {number}");
    }
}

/// Waits until nothing is due or on the wire for a recipient.
async fn until_quiet(gateway: &TestGateway, recipient: &str) {
    let recipient = RecipientId::new(recipient);
    eventually(async || {
        let unsettled = gateway.house.unsettled_deliveries().await.expect("counts");
        unsettled.iter().all(|(of, state, _)| *of != recipient || *state == DeliveryState::Dead)
    })
    .await;
}

async fn eventually(holds: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < ENOUGH, "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Figures, not a promise: `cargo test --release --test it -- --ignored --nocapture a_queue_of`.
mod measured {
    use super::*;
    use crate::harness::{Backend, Wish, run};

    async fn a_queue(gateway: TestGateway) {
        let (people, promises) = (5_000_u64, 20_000_u64);
        let began = Instant::now();
        collect(&gateway, (0..promises).map(|number| identify(number % people, number)).collect()).await;
        println!("{promises} events collected in {:?}", began.elapsed());
        let carriers = Carriers::new(vec![file(&gateway, "letterbox")]).expect("carriers");
        let began = Instant::now();
        let dispatch = gateway.house.dispatch(&carriers);
        until_quiet(&gateway, "letterbox").await;
        let took = began.elapsed();
        dispatch.stop(STOP).await;
        assert_eq!(lines(&gateway, "letterbox").len() as u64, promises);
        println!(
            "{promises} promises of {people} people delivered to a file in {took:?}: {:.0}/s",
            promises as f64 / took.as_secs_f64()
        );

        // One person with a long queue must not cost the others anything.
        let mut events: Vec<Value> = (0..3_000).map(|number| identify(900_000, number)).collect();
        events.extend((0..1_000).map(|number| identify(900_001 + number, 5_000 + number)));
        collect(&gateway, events).await;
        let began = Instant::now();
        let dispatch = gateway.house.dispatch(&carriers);
        eventually(async || {
            lines(&gateway, "letterbox").iter().filter(|line| person_of(line) > 900_000).count() == 1_000
        })
        .await;
        println!("1000 people behind one with 3000 promises: {:?}", began.elapsed());
        until_quiet(&gateway, "letterbox").await;
        println!("the one with 3000 promises: {:?}", began.elapsed());
        dispatch.stop(STOP).await;
    }

    #[test]
    #[ignore = "takes a minute and measures"]
    fn a_queue_of_twenty_thousand_sqlite() {
        run(Backend::Sqlite, Wish::default(), async |gateway| {
            a_queue(gateway).await;
        });
    }

    #[test]
    #[ignore = "takes a minute and measures"]
    fn a_queue_of_twenty_thousand_postgres() {
        run(Backend::Postgres, Wish::default(), async |gateway| {
            a_queue(gateway).await;
        });
    }
}
