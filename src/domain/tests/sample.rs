//! A small policy and standing to decide on, without files.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Span, Timestamp, tz::TimeZone};

use crate::domain::category::{Field, Origin};
use crate::domain::consent::{ConsentLine, Given, NoticeShown, Proof, Ruling, Scope};
use crate::domain::id::*;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::notice::{Notice, NoticeChange};
use crate::domain::policy::{Adequacy, Controller, Policy, PolicyHash};
use crate::domain::purpose::{MinimumProof, Purpose};
use crate::domain::recipient::{Recipient, RecipientRole, Safeguard};
use crate::domain::retention::{OnErasure, RetentionClass, RetentionStart};
use crate::domain::subject::{MemberLine, Standing, SubjectStatus};

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The day of the examples.
pub(crate) fn now() -> Timestamp {
    at("2026-05-04T10:00:00Z")
}

pub(crate) fn anna() -> SubjectId {
    SubjectId::from_bytes([1; 16])
}

pub(crate) fn purpose(id: &str, basis: LegalBasis) -> Purpose {
    Purpose {
        id: PurposeId::new(id),
        title: BTreeMap::new(),
        description: BTreeMap::new(),
        basis,
        term: "ServiceProvision".into(),
        direct_marketing: false,
        explicit: false,
        validity: Some(Span::new().months(24)),
        ask_again_after: Some(Span::new().months(6)),
        notice: Some(NoticeId::new("shop")),
        channels: Vec::new(),
        within: None,
        minimum_proof: MinimumProof::Signal,
        double_opt_in: false,
        lia: Some("LIA-3".into()),
        active: true,
    }
}

fn field(path: &str, purposes: &[&str]) -> Field {
    Field {
        path: FieldPath::new(path),
        category: Category::new("EmailAddress"),
        personal: true,
        special: path == "traits.allergies",
        identifies: None,
        purposes: purposes.iter().copied().map(PurposeId::new).collect(),
        retention: RetentionClassId::new("customers"),
        description: BTreeMap::new(),
        origin: Origin::Provided,
        code_meanings: Vec::new(),
    }
}

fn recipient(id: &str, country: &str, safeguard: Option<Safeguard>) -> Recipient {
    let fields = |paths: &[&str]| paths.iter().copied().map(FieldPath::new).collect::<Vec<_>>();
    Recipient {
        id: RecipientId::new(id),
        name: id.into(),
        country: country.into(),
        access_countries: Vec::new(),
        role: RecipientRole::Processor,
        contract: Some("C-1".into()),
        contract_until: Some("2026-05-31".parse().unwrap()),
        safeguard,
        listed_until: None,
        purposes: ["newsletter", "orders", "advertising", "analytics", "advice"]
            .into_iter()
            .map(|purpose| (PurposeId::new(purpose), fields(&["traits.email", "traits.phone", "traits.allergies"])))
            .collect(),
        verbs: Vec::new(),
        pseudonym_version: 1,
        thin: false,
    }
}

pub(crate) fn notice(version: u32, recipients: &[&str], change: NoticeChange) -> Notice {
    Notice {
        id: NoticeId::new("shop"),
        version,
        language: "de".into(),
        published_at: at("2026-01-01T00:00:00Z") + jiff::SignedDuration::from_hours(24 * 30 * i64::from(version - 1)),
        change,
        purposes: ["newsletter", "advertising", "advice", "ad_audiences"].into_iter().map(PurposeId::new).collect(),
        recipients: recipients.iter().copied().map(RecipientId::new).collect(),
        categories: vec![Category::new("EmailAddress")],
        transfers: Vec::new(),
        grace: Span::new(),
        text: "text".into(),
        text_hash: [7; 32],
    }
}

pub(crate) fn policy() -> Policy {
    let mut newsletter = purpose("newsletter", LegalBasis::Consent);
    newsletter.direct_marketing = true;
    newsletter.channels = vec![Channel::new("email"), Channel::new("sms")];
    let mut advertising = purpose("advertising", LegalBasis::Consent);
    advertising.direct_marketing = true;
    let mut audiences = purpose("ad_audiences", LegalBasis::Consent);
    audiences.within = Some(advertising.id.clone());
    let mut inactive = purpose("inactive", LegalBasis::Contract);
    inactive.active = false;
    let mut advice = purpose("advice", LegalBasis::Consent);
    advice.explicit = true;
    let mut untested = purpose("untested", LegalBasis::LegitimateInterests);
    untested.lia = None;
    let mut post = purpose("post", LegalBasis::LegitimateInterests);
    post.direct_marketing = true;
    let purposes = [
        newsletter,
        advertising,
        audiences,
        inactive,
        advice,
        untested,
        post,
        purpose("orders", LegalBasis::Contract),
        purpose("analytics", LegalBasis::LegitimateInterests),
        purpose("soft", LegalBasis::SoftOptIn),
    ];
    let every =
        ["newsletter", "advertising", "ad_audiences", "orders", "analytics", "soft", "post", "untested", "inactive"];
    let fields = [
        field("traits.email", &every),
        field("traits.name", &every),
        field("traits.phone", &["orders"]),
        field("traits.allergies", &["advice", "advertising", "orders"]),
    ];
    let recipients = [
        recipient("letterbox", "AT", None),
        recipient("retarget-sg", "SG", None),
        recipient("agency-sg", "SG", Some(Safeguard::StandardClauses { module: 1 })),
        recipient("print-gb", "GB", None),
        recipient("unlisted-us", "US", Some(Safeguard::Adequacy)),
        Recipient { listed_until: Some("2026-05-04".parse().unwrap()), ..recipient("listed-us", "US", None) },
        Recipient { access_countries: vec!["IN".into()], ..recipient("remote", "DE", None) },
        Recipient { contract: None, ..recipient("handshake", "DE", None) },
    ];
    let adequate = |country: &str, from: &str, until: Option<&str>, listed_only| Adequacy {
        country: country.into(),
        from: from.parse().unwrap(),
        until: until.map(|day| day.parse().unwrap()),
        listed_only,
    };
    let notices = [
        notice(1, &["letterbox", "retarget-sg", "listed-us"], NoticeChange::Material),
        notice(2, &["letterbox", "retarget-sg", "listed-us", "print-gb"], NoticeChange::Material),
        notice(3, &["letterbox", "retarget-sg", "listed-us", "print-gb"], NoticeChange::Editorial),
    ];
    Policy {
        hash: PolicyHash([0; 32]),
        controller: Controller {
            name: "Shop".into(),
            address: String::new(),
            country: "DE".into(),
            time_zone: TimeZone::get("Europe/Berlin").unwrap(),
            languages: vec!["de".into()],
            dpo_contact: String::new(),
            authority: String::new(),
            strip_email_subaddress: false,
        },
        purposes: purposes.into_iter().map(|purpose| (purpose.id.clone(), purpose)).collect(),
        fields: fields.into_iter().map(|field| (field.path.clone(), field)).collect(),
        recipients: recipients.into_iter().map(|recipient| (recipient.id.clone(), recipient)).collect(),
        collectors: BTreeMap::new(),
        retention: [RetentionClass {
            id: RetentionClassId::new("customers"),
            period: Span::new().years(2),
            starts: RetentionStart::Collected,
            legal_source: None,
            on_erasure: OnErasure::Erase,
        }]
        .into_iter()
        .map(|class| (class.id.clone(), class))
        .collect(),
        notices: notices
            .into_iter()
            .map(|notice| ((notice.id.clone(), notice.version, notice.language.clone()), notice))
            .collect(),
        adequacy: vec![
            adequate("GB", "2021-06-28", Some("2031-12-27"), false),
            adequate("US", "2023-07-10", None, true),
        ],
        blocked_identifiers: BTreeSet::new(),
    }
}

pub(crate) fn shown(version: u32) -> NoticeShown {
    NoticeShown { id: NoticeId::new("shop"), version, language: "de".into(), text_hash: [7; 32] }
}

pub(crate) fn given(version: u32) -> Given {
    Given {
        at: at("2026-03-10T09:00:00Z"),
        valid_until: Some(at("2028-03-10T09:00:00Z")),
        proof: Proof::Act,
        notice: Some(shown(version)),
        confirmed: false,
        explicit: false,
    }
}

pub(crate) fn line(purpose: &str, ruling: Ruling) -> MemberLine {
    MemberLine {
        subject: anna(),
        may_grant: true,
        line: ConsentLine {
            id: ConsentId::from_bytes([9; 16]),
            purpose: PurposeId::new(purpose),
            channel: None,
            scope: Scope::Person,
            ruling,
        },
    }
}

pub(crate) fn standing(lines: Vec<MemberLine>) -> Standing {
    Standing { status: SubjectStatus::Active, restrictions: Vec::new(), suppressed: false, lines }
}
