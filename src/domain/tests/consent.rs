//! The fold, the states, and that the order of events never matters.

use jiff::{SignedDuration, Span, Timestamp, tz::TimeZone};
use proptest::prelude::*;

use super::*;
use crate::domain::decision::sample::*;
use crate::domain::id::ConsentEventId;
use crate::domain::notice::NoticeChange;

fn event(kind: ConsentEventKind, given: i64, recorded: i64) -> ConsentEvent {
    let second = |seconds: i64| at("2026-05-04T00:00:00Z") + SignedDuration::from_mins(seconds);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(given ^ (recorded << 20)).to_be_bytes());
    id[15] = u8::try_from(ConsentEventKind::ALL.iter().position(|other| *other == kind).unwrap()).unwrap();
    ConsentEvent {
        id: ConsentEventId::from_bytes(id),
        kind,
        proof: Proof::Act,
        notice: Some(shown(1)),
        given_at: second(given),
        recorded_at: second(recorded),
        valid_until: None,
        explicit: false,
    }
}

#[test]
fn fold_follows_the_stream() {
    use ConsentEventKind::*;
    type Stream = &'static [(ConsentEventKind, i64, i64)];
    let cases: &[(Stream, LegalBasis, Option<Denial>, bool)] = &[
        (&[], LegalBasis::Consent, None, false),
        (&[(Ask, 0, 0)], LegalBasis::Consent, None, false),
        (&[(Give, 0, 0)], LegalBasis::Consent, None, true),
        // Offline yes of 09:58 arrives 10:05 after a withdrawal of 10:00.
        (&[(Withdraw, 600, 600), (Give, 598, 605)], LegalBasis::Consent, Some(Denial::Withdrawn), false),
        // Equal instants: the no wins.
        (&[(Give, 5, 5), (Withdraw, 5, 5)], LegalBasis::Consent, Some(Denial::Withdrawn), false),
        (&[(Withdraw, 5, 5), (Give, 6, 6)], LegalBasis::Consent, None, true),
        // A withdrawal that claims an early time counts from when it was heard.
        (&[(Give, 5, 5), (Withdraw, 1, 6)], LegalBasis::Consent, Some(Denial::Withdrawn), false),
        // A yes claimed for the future counts from when it was recorded.
        (&[(Withdraw, 5, 5), (Give, 900, 4)], LegalBasis::Consent, Some(Denial::Withdrawn), false),
        (&[(Refuse, 1, 1), (Withdraw, 2, 2)], LegalBasis::Consent, Some(Denial::Withdrawn), false),
        (&[(Give, 1, 1), (Invalidate, 2, 2)], LegalBasis::Consent, Some(Denial::Invalidated), false),
        // No basis swap: what was withdrawn under consent stays so under legitimate interests.
        (&[(Give, 1, 1), (Withdraw, 2, 2)], LegalBasis::LegitimateInterests, Some(Denial::Withdrawn), false),
        (&[(Object, 1, 1), (Give, 2, 2)], LegalBasis::LegitimateInterests, Some(Denial::Objected), false),
        (&[(Object, 1, 1), (EndObjection, 2, 2)], LegalBasis::LegitimateInterests, None, false),
        (&[(Object, 1, 1), (EndObjection, 1, 1)], LegalBasis::LegitimateInterests, Some(Denial::Objected), false),
    ];
    for (events, basis, denial, gives) in cases {
        let events: Vec<_> = events.iter().map(|(kind, given, recorded)| event(*kind, *given, *recorded)).collect();
        let ruling = fold(&events, *basis);
        match (denial, gives) {
            (Some(denial), _) => assert_eq!(ruling, Ruling::Denied(*denial), "{events:?}"),
            (None, true) => assert!(matches!(ruling, Ruling::Given(_)), "{events:?}"),
            (None, false) => assert_eq!(ruling, Ruling::Unknown, "{events:?}"),
        }
    }
}

#[test]
fn a_confirmation_completes_the_give_before_it() {
    use ConsentEventKind::{Confirm, Give};
    let confirmed = |events: &[ConsentEvent]| match fold(events, LegalBasis::Consent) {
        Ruling::Given(given) => given.confirmed,
        other => panic!("{other:?}"),
    };
    assert!(confirmed(&[event(Give, 1, 1), event(Confirm, 2, 2)]));
    assert!(!confirmed(&[event(Give, 1, 1), event(Confirm, 2, 2), event(Give, 3, 3)]));
}

#[test]
fn each_state_has_its_reason() {
    let policy = policy();
    let mut advertising = policy.purposes[&PurposeId::new("advertising")].clone();
    let state = |purpose: &Purpose, given: Given, recipient: Option<&str>, when: Timestamp| {
        let recipient = recipient.map(RecipientId::new);
        Ruling::Given(given).state(&policy, purpose, recipient.as_ref(), when)
    };
    let is = |reason| ConsentState::Denied(reason);
    assert_eq!(state(&advertising, given(1), Some("letterbox"), now()), ConsentState::Active);
    assert_eq!(state(&advertising, given(1), None, now()), ConsentState::Active);
    let end = given(1).valid_until.unwrap();
    assert_eq!(state(&advertising, given(1), None, end), is(Reason::Expired));
    assert_eq!(state(&advertising, given(1), None, end - SignedDuration::from_nanos(1)), ConsentState::Active);
    // Version 2 added a recipient: it alone is not covered.
    assert_eq!(state(&advertising, given(1), Some("print-gb"), now()), is(Reason::NoticeChanged));
    assert_eq!(state(&advertising, given(2), Some("print-gb"), now()), ConsentState::Active);
    let forged = Given { notice: Some(NoticeShown { text_hash: [8; 32], ..shown(1) }), ..given(1) };
    assert_eq!(state(&advertising, forged, None, now()), is(Reason::UnprovenConsent));
    assert_eq!(state(&advertising, Given { notice: None, ..given(1) }, None, now()), is(Reason::UnprovenConsent));
    assert_eq!(state(&advertising, Given { proof: Proof::None, ..given(1) }, None, now()), is(Reason::UnprovenConsent));
    let imported = Given { proof: Proof::Imported, notice: None, ..given(1) };
    assert_eq!(state(&advertising, imported.clone(), None, now()), ConsentState::Active);
    let early = Given { at: at("2025-12-31T00:00:00Z"), ..given(1) };
    assert_eq!(state(&advertising, early, None, now()), is(Reason::UnprovenConsent));
    advertising.minimum_proof = MinimumProof::Act;
    assert_eq!(state(&advertising, imported, None, now()), is(Reason::UnprovenConsent));
    advertising.double_opt_in = true;
    assert_eq!(state(&advertising, given(1), None, now()), is(Reason::PendingConfirmation));
    advertising.double_opt_in = false;
    advertising.explicit = true;
    assert_eq!(state(&advertising, given(1), None, now()), is(Reason::Art9NotExplicit));
    assert_eq!(state(&advertising, Given { explicit: true, ..given(1) }, None, now()), ConsentState::Active);
}

#[test]
fn a_material_version_stops_older_consents_when_its_grace_is_over() {
    let mut policy = policy();
    let mut fourth = notice(4, &["letterbox"], NoticeChange::Material); // published 2026-04-01
    fourth.grace = Span::new().days(30);
    policy.notices.insert((fourth.id.clone(), 4, "de".into()), fourth);
    let purpose = &policy.purposes[&PurposeId::new("advertising")];
    let state = |when: &str| Ruling::Given(given(1)).state(&policy, purpose, None, at(when));
    assert_eq!(state("2026-04-30T23:00:00Z"), ConsentState::Active);
    assert_eq!(state("2026-05-01T12:00:00Z"), ConsentState::Denied(Reason::NoticeChanged));
    // An editorial version that names more data is material, whatever it claims.
    let mut fifth = notice(5, &["letterbox"], NoticeChange::Editorial);
    fifth.categories.push(crate::domain::id::Category::new("BirthDate"));
    policy.notices.insert((fifth.id.clone(), 5, "de".into()), fifth);
    let purpose = &policy.purposes[&PurposeId::new("advertising")];
    let state = Ruling::Given(given(4)).state(&policy, purpose, None, now());
    assert_eq!(state, ConsentState::Denied(Reason::NoticeChanged));
}

#[test]
fn periods_are_added_in_the_controllers_calendar() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let mut newsletter = purpose("newsletter", LegalBasis::Consent);
    newsletter.validity = Some(Span::new().months(6));
    let until = |given: &str| newsletter.valid_until(at(given), &berlin).unwrap();
    // Summer to winter time keeps the wall clock; 31 August goes to the last of February.
    assert_eq!(until("2026-04-20T08:00:00Z"), at("2026-10-20T08:00:00Z"));
    assert_eq!(until("2026-08-31T08:00:00Z"), at("2027-02-28T09:00:00Z"));
    assert_eq!(newsletter.may_ask_again_at(at("2026-04-20T08:00:00Z"), &berlin), Some(at("2026-10-20T08:00:00Z")));
}

#[test]
fn a_claimed_time_is_weighed() {
    let recorded = now();
    let weighed = |seconds: i64, transmission| {
        Proof::Act.weighed(recorded + SignedDuration::from_secs(seconds), recorded, transmission)
    };
    assert_eq!(weighed(300, Transmission::Online), Proof::Act);
    assert_eq!(weighed(301, Transmission::Online), Proof::None);
    assert_eq!(weighed(-86_400, Transmission::Online), Proof::Act);
    assert_eq!(weighed(-86_401, Transmission::Online), Proof::None);
    assert_eq!(weighed(-86_401, Transmission::Offline), Proof::Act);
}

#[test]
fn spellings_read_back() {
    assert!(ConsentEventKind::ALL.iter().all(|kind| ConsentEventKind::parse(kind.as_str()) == Some(*kind)));
    assert!(Proof::ALL.iter().all(|proof| Proof::parse(proof.as_str()) == Some(*proof)));
    assert!([Scope::Person, Scope::Device].iter().all(|scope| Scope::parse(scope.as_str()) == Some(*scope)));
    assert_eq!(Denial::parse("withdrawn"), Some(Denial::Withdrawn));
    assert_eq!(ConsentEventKind::Withdraw.on(LegalBasis::LegitimateInterests), ConsentEventKind::Object);
    assert_eq!(ConsentEventKind::Object.on(LegalBasis::Consent), ConsentEventKind::Withdraw);
}

fn events() -> impl Strategy<Value = Vec<ConsentEvent>> {
    let one = (0..8usize, 0..12i64, 0..12i64)
        .prop_map(|(kind, given, recorded)| event(ConsentEventKind::ALL[kind], given, recorded));
    proptest::collection::vec(one, 0..8)
}

proptest! {
    #[test]
    fn order_and_repetition_do_not_matter(events in events(), seed in any::<u64>(), basis in 0..7usize) {
        let basis = LegalBasis::ALL[basis];
        let mut shuffled: Vec<_> = events.iter().chain(&events).cloned().collect();
        let length = shuffled.len();
        for step in 1..length {
            shuffled.swap(step, usize::try_from(seed.rotate_left(u32::try_from(step).unwrap()) % (u64::try_from(step).unwrap() + 1)).unwrap());
        }
        prop_assert_eq!(fold(&events, basis), fold(&shuffled, basis));
    }

    #[test]
    fn one_more_protective_event_never_gives_more(events in events(), kind in 0..4usize, recorded in 0..12i64) {
        use ConsentEventKind::{Invalidate, Object, Refuse, Withdraw};
        let kind = [Refuse, Withdraw, Object, Invalidate][kind];
        let before = fold(&events, LegalBasis::Consent);
        let mut more = events;
        more.push(event(kind, recorded, recorded));
        let after = fold(&more, LegalBasis::Consent);
        prop_assert!(after == before || matches!(after, Ruling::Denied(_)));
    }
}
