//! What the controller decided, as one value that is valid as a whole (`policies/`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::category::Field;
use super::id::{CollectorId, FieldPath, NoticeId, PurposeId, RecipientId, RetentionClassId};
use super::identifier::IdentifierKind;
use super::notice::Notices;
use super::purpose::Purpose;
use super::recipient::{Recipient, Safeguard};
use super::retention::RetentionClass;

/// The policy in force. Built by `policy`, which refuses it whole if anything is wrong, so that its
/// readers need not check again: every name in it resolves.
#[derive(Clone, Debug)]
pub struct Policy {
    /// SHA-256 of the canonical content of all files.
    pub hash: PolicyHash,
    /// Who answers for it all.
    pub controller: Controller,
    /// What data is used for.
    pub purposes: BTreeMap<PurposeId, Purpose>,
    /// What may be stored.
    pub fields: BTreeMap<FieldPath, Field>,
    /// Who may receive it.
    pub recipients: BTreeMap<RecipientId, Recipient>,
    /// Who brings it.
    pub collectors: BTreeMap<CollectorId, CollectorRules>,
    /// How long it is kept.
    pub retention: BTreeMap<RetentionClassId, RetentionClass>,
    /// Every published text, by (id, version, language).
    pub notices: Notices,
    /// Countries with an adequacy decision and the days on which it holds (Art. 45).
    pub adequacy: Vec<Adequacy>,
    /// Values that identify nobody, besides those blocked everywhere (canonical, lower case).
    pub blocked_identifiers: BTreeSet<String>,
}

/// The content hash by which a policy is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyHash(pub [u8; 32]);

/// `controller.toml`.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Legal name.
    pub name: String,
    /// Postal address.
    pub address: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// The zone of every civil date.
    pub time_zone: TimeZone,
    /// Languages people are answered in, first is the default.
    pub languages: Vec<String>,
    /// How to reach the data protection officer.
    pub dpo_contact: String,
    /// Supervisory authority (Art. 77).
    pub authority: String,
    /// Whether the tag of `name+tag@` is dropped when an e-mail address is normalised.
    pub strip_email_subaddress: bool,
}

/// What `collectors.toml` says of one collector.
#[derive(Clone, Debug)]
pub struct CollectorRules {
    /// Its id.
    pub id: CollectorId,
    /// The protocol its clients speak.
    pub protocol: Protocol,
    /// Whether its key can be read by every visitor of a page.
    pub trust: Trust,
    /// Origins whose pages may send.
    pub origins: Vec<String>,
    /// Origins that may subscribe it as a webhook (CloudEvents handshake).
    pub webhook_origins: Vec<String>,
    /// Whether GET forms (pixels), which carry data in the query, are allowed.
    pub get: bool,
    /// What to do with a person whose consent is unknown.
    pub unknown: UnknownRule,
    /// Signals that may ever allow; none by default.
    pub grants: BTreeSet<SignalKind>,
    /// What people were shown by the consent banner.
    pub notice: Option<(NoticeId, u32)>,
    /// The region of national phone numbers, ISO 3166-1 alpha-2.
    pub default_region: Option<String>,
    /// Category ids of Segment's and RudderStack's consent objects, and the purposes they speak of.
    pub categories: BTreeMap<String, CategoryMap>,
    /// Purposes that a global privacy control denies.
    pub gpc: Vec<PurposeId>,
    /// The SDK's names for recipients.
    pub integrations: BTreeMap<String, RecipientId>,
    /// What CloudEvents types mean.
    pub events: Vec<EventRule>,
    /// Legal name of a third party that the data comes from (Art. 14(2)(f)).
    pub source: Option<String>,
}

/// The purposes one consent category speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryMap {
    /// The purposes.
    pub purposes: Vec<PurposeId>,
    /// Whether one granted id is enough where several speak of one purpose.
    pub any: bool,
}

/// What one CloudEvents type means.
#[derive(Clone, Debug)]
pub struct EventRule {
    /// Pattern with `*` at the end only.
    pub pattern: String,
    /// `identify`, `track`, …; `None`: a plain record.
    pub treat_as: Option<String>,
    /// Which identifier the attribute `subject` names.
    pub subject: Option<(IdentifierKind, String)>,
}

/// A collector protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Segment's HTTP tracking protocol.
    Segment,
    /// RudderStack's superset of it.
    Rudderstack,
    /// CloudEvents 1.0.
    CloudEvents,
    /// The gateway's own consent interface.
    Native,
}

/// Who can read a collector's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It stands in a web page; what it says about a person is a claim.
    Public,
    /// Only a server of the controller has it.
    Server,
}

/// What happens to a record whose person never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownRule {
    /// Nothing is stored that needs consent. The only rule there is yet: another one in a policy is
    /// refused rather than quietly treated as this one.
    FailClosed,
}

/// A kind of consent signal on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignalKind {
    /// The consent objects of Segment and RudderStack.
    Categories,
    /// `Sec-GPC`.
    Gpc,
}

/// One row of the adequacy table.
#[derive(Clone, Debug)]
pub struct Adequacy {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// First day.
    pub from: Date,
    /// Last day, if it ended or will end.
    pub until: Option<Date>,
    /// Whether it holds for listed recipients only (United States: Data Privacy Framework).
    pub listed_only: bool,
}

/// The members of the European Economic Area (ISO 3166-1 alpha-2): going there is no transfer.
pub const EEA: [&str; 30] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS", "IT", "LI", "LT",
    "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
];

impl Policy {
    /// Whether the recipient's data may be in this country on this day (Chapter V): in the EEA;
    /// under an adequacy decision that holds and reaches the recipient; or under a safeguard of
    /// Art. 46.
    #[must_use]
    pub fn covers_transfer(&self, recipient: &Recipient, country: &str, today: Date) -> bool {
        if EEA.contains(&country) {
            return true;
        }
        match recipient.safeguard {
            None | Some(Safeguard::Adequacy) => {
                self.adequacy.iter().any(|row| row.country == country && row.holds_for(recipient, today))
            }
            Some(Safeguard::StandardClauses { .. } | Safeguard::BindingCorporateRules | Safeguard::CodeOfConduct) => {
                true
            }
        }
    }
}

impl Adequacy {
    /// Whether the decision holds on this day and reaches this recipient.
    fn holds_for(&self, recipient: &Recipient, today: Date) -> bool {
        let listed = match recipient.listed_until {
            Some(last) => today <= last,
            None => !self.listed_only,
        };
        listed && self.from <= today && self.until.is_none_or(|last| today <= last)
    }
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Segment, Self::Rudderstack, Self::CloudEvents, Self::Native];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Rudderstack => "rudderstack",
            Self::CloudEvents => "cloudevents",
            Self::Native => "native",
        }
    }
}

impl Trust {
    /// Every trust.
    pub const ALL: [Self; 2] = [Self::Public, Self::Server];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Server => "server",
        }
    }
}

impl UnknownRule {
    /// Every rule.
    pub const ALL: [Self; 1] = [Self::FailClosed];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailClosed => "fail_closed",
        }
    }
}

impl SignalKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Categories, Self::Gpc];

    /// The spelling in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Categories => "categories",
            Self::Gpc => "gpc",
        }
    }
}
