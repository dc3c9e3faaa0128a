//! The decision as a table, and that taking something away never permits more.

use proptest::prelude::*;

use super::sample::*;
use super::*;
use crate::domain::consent::{Denial, Given, Proof};
use crate::domain::policy::SignalKind;

const FIELDS: [&str; 2] = ["traits.email", "traits.name"];

/// One case: who stands how, what is asked, and the reasons against the use as a whole.
#[derive(Debug)]
struct Case {
    what: &'static str,
    standing: Standing,
    purpose: &'static str,
    channel: Option<&'static str>,
    recipient: Option<&'static str>,
    signals: Vec<(&'static str, Says)>,
    device: bool,
    when: Timestamp,
    reasons: Vec<Reason>,
}

fn case(what: &'static str, purpose: &'static str, lines: Vec<MemberLine>, reasons: &[Reason]) -> Case {
    Case {
        what,
        standing: standing(lines),
        purpose,
        channel: None,
        recipient: None,
        signals: Vec::new(),
        device: false,
        when: now(),
        reasons: reasons.to_vec(),
    }
}

fn yes(purpose: &str) -> MemberLine {
    line(purpose, Ruling::Given(given(1)))
}

fn no(purpose: &str, denial: Denial) -> MemberLine {
    line(purpose, Ruling::Denied(denial))
}

fn by_mail(mut line: MemberLine) -> MemberLine {
    line.line.channel = Some(Channel::new("email"));
    line
}

fn on_device(mut line: MemberLine) -> MemberLine {
    line.line.scope = Scope::Device;
    line
}

fn ask(policy: &Policy, case: &Case, fields: &[&str]) -> Decision {
    let purpose = PurposeId::new(case.purpose);
    let channel = case.channel.map(Channel::new);
    let recipient = case.recipient.map(RecipientId::new);
    let fields: Vec<_> = fields.iter().copied().map(FieldPath::new).collect();
    let signals: Vec<_> = case
        .signals
        .iter()
        .map(|(purpose, says)| Signal {
            kind: SignalKind::Categories,
            says: vec![(PurposeId::new(purpose), *says)],
            unmapped: 0,
        })
        .collect();
    let question = Question {
        subject: anna(),
        purpose: &purpose,
        channel: channel.as_ref(),
        recipient: recipient.as_ref(),
        fields: &fields,
        device: case.device.then(anna),
        signals: &signals,
        collected_at: None,
    };
    decide(policy, &case.standing, &question, case.when)
}

#[test]
fn the_table() {
    use Reason::*;
    let with_status = |case: Case, status| Case { standing: Standing { status, ..case.standing.clone() }, ..case };
    let restricted = |case: Case, restriction| Case {
        standing: Standing { restrictions: vec![restriction], ..case.standing.clone() },
        ..case
    };
    let to = |recipient, case: Case| Case { recipient: Some(recipient), ..case };
    #[rustfmt::skip] // A table is read row by row.
    let cases = vec![
        case("consent active", "advertising", vec![yes("advertising")], &[]),
        case("nobody asked", "advertising", vec![], &[NoConsent]),
        case("a yes elsewhere", "advertising", vec![yes("newsletter")], &[NoConsent]),
        case("contract needs no consent", "orders", vec![], &[]),
        case("nor heeds a refusal", "orders", vec![no("orders", Denial::Refused)], &[]),
        case("legitimate interests", "analytics", vec![], &[]),
        case("without a balancing test", "untested", vec![], &[NoBasis]),
        case("objected", "analytics", vec![no("analytics", Denial::Objected)], &[Objected]),
        case("withdrawn before the basis was swapped", "analytics", vec![no("analytics", Denial::Withdrawn)], &[Withdrawn]),
        case("objection to post is one to all marketing", "advertising", vec![yes("advertising"), no("post", Denial::Objected)], &[Objected]),
        case("but not to analytics", "analytics", vec![no("post", Denial::Objected)], &[]),
        case("soft opt-in without evidence", "soft", vec![], &[NoBasis]),
        case("unknown purpose", "nonsense", vec![], &[PurposeUnknown]),
        case("inactive purpose", "inactive", vec![], &[PurposeInactive]),
        case("withdrawn", "advertising", vec![no("advertising", Denial::Withdrawn)], &[Withdrawn]),
        case("one member's no beats another's yes", "advertising", vec![yes("advertising"), no("advertising", Denial::Refused)], &[Refused]),
        case("a no at the broader purpose", "ad_audiences", vec![yes("ad_audiences"), no("advertising", Denial::Refused)], &[Refused]),
        case("a yes there grants nothing", "ad_audiences", vec![yes("advertising")], &[NoConsent]),
        case("a no below does not go up", "advertising", vec![yes("advertising"), no("ad_audiences", Denial::Refused)], &[]),
        case("a claimed link grants nothing", "advertising", vec![MemberLine { may_grant: false, ..yes("advertising") }], &[NoConsent]),
        case("but its no counts", "advertising", vec![yes("advertising"), MemberLine { may_grant: false, ..no("advertising", Denial::Withdrawn) }], &[Withdrawn]),
        case("an expired line beside an active one", "advertising", vec![yes("advertising"), on_device(yes("advertising"))], &[]),
        case("device yes, other record", "advertising", vec![on_device(yes("advertising"))], &[NoConsent]),
        Case { device: true, ..case("device yes, its record", "advertising", vec![on_device(yes("advertising"))], &[]) },
        Case { device: true, ..case("device no, its record", "advertising", vec![yes("advertising"), on_device(no("advertising", Denial::Refused))], &[Refused]) },
        case("device no, other record", "advertising", vec![yes("advertising"), on_device(no("advertising", Denial::Refused))], &[]),
        case("several channels, none asked", "newsletter", vec![by_mail(yes("newsletter"))], &[NoConsent]),
        Case { channel: Some("email"), ..case("by mail", "newsletter", vec![by_mail(yes("newsletter"))], &[]) },
        Case { channel: Some("sms"), ..case("mail does not cover sms", "newsletter", vec![by_mail(yes("newsletter"))], &[NoConsent]) },
        Case { channel: Some("fax"), ..case("channel unknown", "newsletter", vec![by_mail(yes("newsletter"))], &[NoConsent]) },
        case("explicit consent asked", "advice", vec![yes("advice")], &[Art9NotExplicit]),
        case("explicit consent there", "advice", vec![line("advice", Ruling::Given(Given { explicit: true, ..given(1) }))], &[]),
        case("unproven", "advertising", vec![line("advertising", Ruling::Given(Given { proof: Proof::None, ..given(1) }))], &[UnprovenConsent]),
        Case { when: at("2028-03-10T09:00:00Z"), ..case("expired", "advertising", vec![yes("advertising")], &[Expired]) },
        Case { standing: Standing { suppressed: true, ..standing(vec![yes("advertising")]) }, ..case("suppressed", "advertising", vec![], &[Suppressed]) },
        Case { standing: Standing { suppressed: true, ..standing(vec![]) }, ..case("suppressed for marketing only", "analytics", vec![], &[]) },
        with_status(case("erasing", "orders", vec![], &[Erased]), SubjectStatus::Erasing),
        with_status(case("erased", "orders", vec![], &[Erased]), SubjectStatus::Erased),
        with_status(case("retained for orders", "orders", vec![], &[]), SubjectStatus::RetainedOnly { purpose: PurposeId::new("orders") }),
        with_status(case("retained for orders only", "analytics", vec![], &[Restricted]), SubjectStatus::RetainedOnly { purpose: PurposeId::new("orders") }),
        restricted(case("restricted person", "orders", vec![], &[Restricted]), Restriction::Person),
        restricted(case("restricted purpose", "orders", vec![], &[Restricted]), Restriction::Purpose(PurposeId::new("orders"))),
        restricted(case("restricted broader purpose", "ad_audiences", vec![yes("ad_audiences")], &[Restricted]), Restriction::Purpose(PurposeId::new("advertising"))),
        restricted(case("restricted other purpose", "orders", vec![], &[]), Restriction::Purpose(PurposeId::new("analytics"))),
        Case { signals: vec![("advertising", Says::Omits)], ..case("signal omits", "advertising", vec![yes("advertising")], &[SignalDenied]) },
        Case { signals: vec![("advertising", Says::Allows), ("advertising", Says::Denies)], ..case("the meet", "advertising", vec![yes("advertising")], &[SignalDenied]) },
        Case { signals: vec![("advertising", Says::Undecodable)], ..case("unreadable", "advertising", vec![yes("advertising")], &[SignalUnreadable]) },
        Case { signals: vec![("advertising", Says::Allows)], ..case("a signal's yes alone", "advertising", vec![], &[NoConsent]) },
        Case { signals: vec![("advertising", Says::Denies)], ..case("signal on the broader purpose", "ad_audiences", vec![yes("ad_audiences")], &[SignalDenied]) },
        Case { signals: vec![("orders", Says::Denies)], ..case("no signal ends a contract", "orders", vec![], &[]) },
        to("letterbox", case("recipient", "orders", vec![], &[])),
        to("nobody", case("unknown recipient", "orders", vec![], &[RecipientNotAllowed])),
        to("letterbox", case("not for the purpose", "post", vec![], &[RecipientNotAllowed])),
        to("handshake", case("no contract", "orders", vec![], &[ContractMissing])),
        to("letterbox", Case { when: at("2026-05-31T21:59:59Z"), ..case("last day of the contract", "orders", vec![], &[]) }),
        to("letterbox", Case { when: at("2026-05-31T22:00:00Z"), ..case("contract over, local time", "orders", vec![], &[ContractMissing]) }),
        to("retarget-sg", case("no safeguard", "orders", vec![], &[TransferNoSafeguard])),
        to("agency-sg", case("standard clauses", "orders", vec![], &[])),
        to("print-gb", case("adequate", "orders", vec![], &[])),
        to("print-gb", Case { when: at("2031-12-28T12:00:00Z"), ..case("adequacy over", "orders", vec![], &[ContractMissing, TransferNoSafeguard]) }),
        to("unlisted-us", case("not listed", "orders", vec![], &[TransferNoSafeguard])),
        to("listed-us", case("listed today", "orders", vec![], &[])),
        to("listed-us", Case { when: at("2026-05-05T12:00:00Z"), ..case("listed until yesterday", "orders", vec![], &[TransferNoSafeguard]) }),
        to("remote", case("remote access", "orders", vec![], &[TransferNoSafeguard])),
        to("print-gb", case("recipient not in the notice", "advertising", vec![yes("advertising")], &[NoticeChanged])),
        restricted(to("retarget-sg", case("all reasons, strongest first", "advertising", vec![no("advertising", Denial::Withdrawn)], &[Restricted, Withdrawn, TransferNoSafeguard])), Restriction::Person),
    ];
    let policy = policy();
    for case in &cases {
        let decision = ask(&policy, case, &["traits.email"]);
        let field_fits = !matches!(case.purpose, "nonsense" | "advice")
            && !matches!((case.recipient, case.purpose), (Some("nobody"), _) | (Some("letterbox"), "post"));
        assert_eq!(decision.reasons, case.reasons, "{}", case.what);
        assert_eq!(decision.permits(), case.reasons.is_empty() && field_fits, "{}", case.what);
    }
}

#[test]
fn fields_have_reasons_of_their_own() {
    use Reason::*;
    let policy = policy();
    let orders = Case { recipient: Some("letterbox"), ..case("", "orders", vec![], &[]) };
    let decision = ask(&policy, &orders, &["traits.email", "traits.name", "traits.allergies", "traits.ssn"]);
    assert_eq!(decision.allowed, vec![FieldPath::new("traits.email")]);
    let reasons: Vec<_> = decision.denied.iter().map(|(path, reasons)| (path.as_str(), reasons.as_slice())).collect();
    assert_eq!(
        reasons,
        vec![
            ("traits.name", [FieldNotAllowed].as_slice()), // not on the recipient's list
            ("traits.allergies", &[NoBasis]),              // special, and a contract is no ground for it
            ("traits.ssn", &[FieldNotAllowed]),            // declared nowhere
        ]
    );
    // Special data on plain consent.
    let plain = case("", "advertising", vec![yes("advertising")], &[]);
    assert_eq!(ask(&policy, &plain, &["traits.allergies"]).strongest(), Some(Art9NotExplicit));
    // A restricted field.
    let mut restricted = case("", "orders", vec![], &[]);
    restricted.standing.restrictions = vec![Restriction::Field(FieldPath::new("traits.email"))];
    assert_eq!(ask(&policy, &restricted, &FIELDS).denied, vec![(FieldPath::new("traits.email"), vec![Restricted])]);
    // Nothing asked, nothing released.
    assert_eq!(ask(&policy, &orders, &[]).strongest(), Some(FieldNotAllowed));
}

#[test]
fn data_past_its_period_is_not_used() {
    let policy = policy();
    let purpose = PurposeId::new("orders");
    let fields = [FieldPath::new("traits.email")];
    let permits = |collected: &str| {
        let question = Question {
            subject: anna(),
            purpose: &purpose,
            channel: None,
            recipient: None,
            fields: &fields,
            device: None,
            signals: &[],
            collected_at: Some(at(collected)),
        };
        decide(&policy, &standing(vec![]), &question, now()).strongest()
    };
    assert_eq!(permits("2024-05-04T10:00:00Z"), Some(Reason::RetentionExpired));
    assert_eq!(permits("2024-05-04T10:00:01Z"), None);
}

fn any_line() -> impl Strategy<Value = MemberLine> {
    let purposes =
        prop::sample::select(vec!["advertising", "ad_audiences", "analytics", "orders", "newsletter", "post", "gone"]);
    let rulings = prop::sample::select(vec![
        Ruling::Unknown,
        Ruling::Given(given(1)),
        Ruling::Given(given(1)),
        Ruling::Given(Given { proof: Proof::None, ..given(1) }),
        Ruling::Denied(Denial::Withdrawn),
        Ruling::Denied(Denial::Objected),
    ]);
    (purposes, rulings, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(purpose, ruling, device, mail, may_grant)| {
            let mut made = MemberLine { may_grant, ..line(purpose, ruling) };
            if device {
                made = on_device(made);
            }
            if mail && purpose == "newsletter" {
                made = by_mail(made);
            }
            made
        },
    )
}

fn any_case() -> impl Strategy<Value = Case> {
    let purposes = prop::sample::select(vec![
        "advertising",
        "ad_audiences",
        "analytics",
        "orders",
        "newsletter",
        "post",
        "nonsense",
    ]);
    let recipients =
        prop::sample::select(vec![None, Some("letterbox"), Some("retarget-sg"), Some("listed-us"), Some("nobody")]);
    let says = prop::sample::select(vec![Says::Allows, Says::Denies, Says::Omits, Says::Undecodable]);
    let signals = prop::collection::vec((prop::sample::select(vec!["advertising", "analytics", "orders"]), says), 0..2);
    let lines = prop::collection::vec(any_line(), 0..5);
    (purposes, recipients, signals, lines, any::<bool>(), prop::sample::select(vec![None, Some("email")])).prop_map(
        |(purpose, recipient, signals, lines, device, channel)| Case {
            recipient,
            signals,
            device,
            channel,
            ..case("", purpose, lines, &[])
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn taking_away_never_permits_more(case in any_case(), what in 0..9usize, pick in any::<prop::sample::Index>()) {
        let policy = policy();
        let before = ask(&policy, &case, &FIELDS);
        let mut narrowed = policy.clone();
        let mut case = case;
        match what {
            // An objection reaches further than a withdrawal, so it is not replaced by one.
            0 => {
                let given = case.standing.lines.iter_mut();
                let mut given = given.filter(|member| matches!(member.line.ruling, Ruling::Given(_)));
                if let Some(member) = given.next() {
                    member.line.ruling = Ruling::Denied(Denial::Withdrawn);
                }
            }
            1 => case.standing.lines.push(no(case.purpose, Denial::Objected)),
            2 => case.standing.restrictions.push(Restriction::Purpose(PurposeId::new("advertising"))),
            3 => case.standing.suppressed = true,
            4 => case.standing.status = SubjectStatus::Erased,
            5 => drop(narrowed.fields.remove(&FieldPath::new(FIELDS[pick.index(2)]))),
            6 => drop(narrowed.recipients.remove(&RecipientId::new("letterbox"))),
            7 => {
                let gone = narrowed.purposes.keys().nth(pick.index(narrowed.purposes.len())).unwrap().clone();
                narrowed.purposes.remove(&gone);
            }
            _ => narrowed.notices.clear(),
        }
        let after = ask(&narrowed, &case, &FIELDS);
        prop_assert!(after.allowed.iter().all(|field| before.allowed.contains(field)));
    }

    #[test]
    fn order_is_irrelevant_and_a_no_explains_itself(case in any_case()) {
        let policy = policy();
        let decision = ask(&policy, &case, &FIELDS);
        prop_assert_eq!(decision.strongest().is_none(), decision.permits());
        prop_assert!(decision.denied.iter().all(|(_, reasons)| !reasons.is_empty()));
        let mut reversed = case;
        reversed.standing.lines.reverse();
        reversed.signals.reverse();
        prop_assert_eq!(decision, ask(&policy, &reversed, &FIELDS));
    }

    #[test]
    fn one_more_signal_never_permits_more(case in any_case(), says in prop::sample::select(vec![Says::Allows, Says::Denies, Says::Omits, Says::Undecodable])) {
        let policy = policy();
        let before = ask(&policy, &case, &FIELDS);
        let mut case = case;
        case.signals.push(("advertising", says));
        prop_assert!(ask(&policy, &case, &FIELDS).allowed.iter().all(|field| before.allowed.contains(field)));
    }
}
