//! A clock that goes back, leaps, or stands where it cannot.

use amanat::audit::leaf::{Fact, Leaf};
use amanat::domain::event::{Event, Outcome};
use amanat::gateway::source::Source;
use amanat::gateway::{Error, Gateway, KeyringSource, clock};
use amanat::storage::{self, Step, Unit, audit_log};

use crate::harness::{Backend, shipped_policy};

use super::{TestLog, faults, grow, run};

const HOUR: i64 = 3_600;
const TWO_YEARS: i64 = 2 * 365 * 24 * HOUR;

/// Tries to append a leaf.
async fn try_append(house: &Gateway) -> Result<(), storage::Error> {
    let leaf = house.leaf(Event::LogHeartbeat, Outcome::Done).expect("leaf").finish().expect("draft");
    house.database.write(Unit::change(Vec::new(), vec![leaf], |_, _| Ok(Step::Commit))).await.map(drop)
}

/// The leaves from `from` on.
fn leaves(log: &TestLog, from: u64) -> Vec<Leaf> {
    let mut connection = log.settings.database.connect_to_read().expect("connection");
    let stored = audit_log::leaves(&mut connection, from, 10_000).expect("leaves");
    stored.iter().map(|leaf| Leaf::decode(&leaf.leaf).expect("leaf")).collect()
}

fn told(log: &TestLog, from: u64) -> Vec<(Event, Outcome)> {
    let mut told: Vec<_> = leaves(log, from).iter().map(|leaf| (leaf.event, leaf.outcome)).collect();
    told.retain(|(event, _)| *event != Event::LogHeartbeat);
    told
}

fn size(log: &TestLog) -> u64 {
    let mut connection = log.settings.database.connect_to_read().expect("connection");
    audit_log::stored_size(&mut connection).expect("size")
}

async fn corrected(log: &TestLog) -> Result<(), Error> {
    let keyring = KeyringSource::File { path: log.folder.path().join("root.key"), managed: true };
    clock::correct(log.settings.clone(), keyring, shipped_policy(), log.source.clone(), "the time server was wrong")
        .await
        .map(drop)
}

on_both! {
    async fn a_clock_that_goes_back_a_little_is_told_once_and_clamped(log: TestLog) {
        let house = log.open().await;
        grow(&house, 3).await;
        let from = size(&log);
        let before = leaves(&log, from - 1)[0].time;
        log.source.mislead(-30);
        grow(&house, 2).await;
        grow(&house, 2).await;
        assert_eq!(told(&log, from), [(Event::ClockRegressed, Outcome::Done)]);
        let after = leaves(&log, from);
        assert!(after.iter().all(|leaf| leaf.time == before), "clamped");
        let [Fact::From(last), Fact::Until(clock)] = after[0].facts.as_slice() else { panic!("{:?}", after[0].facts) };
        assert_eq!(*last, before);
        assert!((25_000_000..=30_000_000).contains(&(before - clock)), "{}", before - clock);
        log.source.mislead(30);
        grow(&house, 1).await;
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
    }

    async fn a_clock_far_behind_stops_all_writing_until_it_catches_up(log: TestLog) {
        let house = log.open().await;
        grow(&house, 3).await;
        let from = size(&log);
        log.source.mislead(-HOUR);
        assert!(matches!(try_append(&house).await, Err(storage::Error::ClockSuspended)));
        assert!(house.clock_trouble().is_some_and(|why| why.starts_with("clock_suspended")));
        assert!(matches!(house.note_stop().await, Err(Error::ClockSuspended)));
        assert!(house.publish_once().await.expect("what was appended can be signed").is_some());
        let (exit, what) = log.refusal().await;
        assert!(exit == 1 && what.starts_with("clock_behind"), "{what}");
        log.source.mislead(HOUR);
        try_append(&house).await.expect("it caught up");
        assert_eq!((house.clock_trouble(), told(&log, from)), (None, vec![]));
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
    }

    async fn an_operator_says_that_an_earlier_clock_is_right(log: TestLog) {
        // The log begins with a clock that is an hour fast.
        log.source.mislead(HOUR);
        let house = log.open().await;
        grow(&house, 300).await;
        let from = size(&log);
        log.source.mislead(-HOUR);
        assert!(try_append(&house).await.is_err());
        corrected(&log).await.expect("corrected");
        // The gateway that was suspended goes on, and so does one that starts.
        try_append(&house).await.expect("believed");
        assert_eq!(house.clock_trouble(), None);
        house.publish_once().await.expect("published");
        house.close();
        log.open().await.close();
        let after = leaves(&log, from);
        let now = u64::try_from(Source::default().now().as_microsecond()).expect("now");
        assert_eq!(after[0].event, Event::ClockCorrected);
        assert!(after.iter().all(|leaf| leaf.time <= now), "the true time");
        assert!(after[0].facts.as_slice().contains(&Fact::Epoch(1)), "{:?}", after[0].facts);
        assert_eq!(faults(&log.verify()), vec![], "only this leaf may be older than the one before");
    }

    async fn a_clock_two_years_ahead_does_not_poison_the_log(log: TestLog) {
        let house = log.open().await;
        grow(&house, 3).await;
        let from = size(&log);
        log.source.mislead(TWO_YEARS);
        try_append(&house).await.expect("stamped with the time that is expected");
        assert!(matches!(try_append(&house).await, Err(storage::Error::ClockSuspended)));
        assert!(house.clock_trouble().is_some());
        let (exit, what) = log.refusal().await;
        assert!(exit == 1 && what.starts_with("clock_ahead"), "a start believes it no more: {what}");
        log.source.mislead(-TWO_YEARS);
        corrected(&log).await.expect("corrected");
        try_append(&house).await.expect("believed");
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(told(&log, from), [(Event::ClockLeapt, Outcome::Refused), (Event::ClockCorrected, Outcome::Done)]);
        let soon = u64::try_from(Source::default().now().as_microsecond()).expect("now") + 5_000_000;
        assert!(leaves(&log, from).iter().all(|leaf| leaf.time < soon), "no leaf lies ahead");
        assert_eq!(faults(&log.verify()), vec![]);
    }

    async fn a_pause_of_the_machine_is_told(log: TestLog) {
        let house = log.open().await;
        grow(&house, 3).await;
        let from = size(&log);
        log.source.mislead(1_000);
        grow(&house, 1).await;
        grow(&house, 1).await;
        assert_eq!(told(&log, from), [(Event::ClockLeapt, Outcome::Done)]);
        house.publish_once().await.expect("published");
        house.close();
        assert_eq!(faults(&log.verify()), vec![]);
    }
}
