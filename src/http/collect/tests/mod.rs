//! The protocols against recorded clients, hostile requests and random bytes.

mod attacks;
mod fixtures;
mod meaning;
mod random;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::category::{Field, Origin};
use crate::domain::collected::Collected;
use crate::domain::id::{Category, CollectorId, FieldPath, PurposeId, RecipientId, RetentionClassId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::{Access, Personal};
use crate::domain::policy::{CategoryMap, CollectorRules, EventRule, Protocol, Trust, UnknownRule};
use crate::domain::signal::Says;

use super::refusal::{Flaw, Refusal};
use super::request::Request;
use super::{Limits, Parsed, Setting, body, cors, handshake, key, parse, route, time};

/// A collector with one key, and what it would do with a request.
struct Collector {
    rules: CollectorRules,
    fields: BTreeMap<FieldPath, Field>,
    limits: Limits,
    key: &'static str,
}

impl Collector {
    fn new(protocol: Protocol, trust: Trust) -> Self {
        let category = |purpose: &str| CategoryMap { purposes: vec![PurposeId::new(purpose)], any: false };
        let rule = |pattern: &str, treat_as: Option<&str>| EventRule {
            pattern: pattern.to_owned(),
            treat_as: treat_as.map(str::to_owned),
            subject: Some((IdentifierKind::UserId, "shop".to_owned())),
        };
        let fields = [
            "traits.email",
            "traits.name",
            "group.traits.plan",
            "properties.x",
            "properties.total",
            "event",
            "name",
            "groupId",
            "context.page.url",
            "context.ip",
            "context.locale",
            "data.a",
            "ce.subject",
            "ce.region",
        ];
        Self {
            rules: CollectorRules {
                id: CollectorId::new("shop"),
                protocol,
                trust,
                origins: vec!["https://shop.example".to_owned()],
                webhook_origins: vec!["eventemitter.example".to_owned()],
                get: true,
                unknown: UnknownRule::FailClosed,
                grants: BTreeSet::new(),
                notice: None,
                default_region: None,
                categories: BTreeMap::from([
                    ("Advertising".to_owned(), category("ads")),
                    ("Analytics".to_owned(), category("analytics")),
                    ("ads".to_owned(), category("r_ads")),
                    ("a".to_owned(), category("r_analytics")),
                ]),
                gpc: vec![PurposeId::new("ads")],
                integrations: BTreeMap::from([
                    ("Mixpanel".to_owned(), RecipientId::new("mixpanel")),
                    ("Mail".to_owned(), RecipientId::new("mail")),
                ]),
                events: vec![rule("shop.customer.*", Some("identify")), rule("shop.order.placed", None)],
                source: None,
            },
            fields: fields.into_iter().map(|path| (FieldPath::new(path), field(path))).collect(),
            limits: Limits::default(),
            key: "WK",
        }
    }

    fn setting(&self) -> Setting<'_> {
        Setting { rules: &self.rules, fields: &self.fields, limits: &self.limits, received_at: received() }
    }

    /// The order of checks that [`parse`] asks of its caller, whole.
    fn take(&self, request: &Request<'_>) -> Result<Parsed, Refusal> {
        let route = route::find(request.path).ok_or(Refusal::NotFound)?;
        if request.method != route.method() {
            return Err(Refusal::Method);
        }
        let before = key::before_body(request)?;
        let body = body::decode(request.body, request.lines("content-encoding"), self.limits.body)?;
        if key::with_body(before, &body)?.as_str() != self.key {
            return Err(Refusal::Key);
        }
        cors::admits(request, &self.rules.origins)?;
        let request = Request { body: &body, ..*request };
        parse(&request, &route, self.setting())
    }

    /// A JSON body for a path, under the right key.
    fn post(&self, path: &str, body: &str) -> Result<Parsed, Refusal> {
        self.post_with(path, body.as_bytes(), &[])
    }

    fn post_with(&self, path: &str, body: &[u8], headers: &[(&str, &[u8])]) -> Result<Parsed, Refusal> {
        let mut headers = headers.to_vec();
        headers.push(("authorization", b"Bearer WK"));
        self.take(&Request { method: "POST", path, query: "", headers: &headers, body })
    }

    /// The one event of a request that must be taken.
    fn event(&self, path: &str, body: &str) -> Collected {
        let mut items = self.post(path, body).map_err(Refusal::code).unwrap().items;
        assert_eq!(items.len(), 1);
        items.remove(0).map_err(|rejected| rejected.flaw).unwrap()
    }
}

fn field(path: &str) -> Field {
    Field {
        path: FieldPath::new(path),
        category: Category::new("Contact"),
        personal: true,
        special: false,
        identifies: None,
        purposes: Vec::new(),
        retention: RetentionClassId::new("profile"),
        description: BTreeMap::new(),
        origin: Origin::Provided,
        code_meanings: Vec::new(),
    }
}

fn received() -> Timestamp {
    time::read("2026-11-22T12:00:00Z").unwrap()
}

fn open(value: &Personal<String>) -> &str {
    value.reveal(&Access::because("a test looks at what was read"))
}

fn values(event: &Collected) -> Vec<(&str, &str)> {
    let mut values: Vec<_> = event.values.iter().map(|(path, value)| (path.as_str(), open(value))).collect();
    values.sort_unstable();
    values
}

fn identifiers(event: &Collected) -> Vec<(&'static str, &str)> {
    event.identifiers.iter().map(|named| (named.pointer, open(&named.text))).collect()
}

/// What the signals say of a purpose, one entry for each signal that speaks of it.
fn says(event: &Collected, purpose: &str) -> Vec<Says> {
    event
        .signals
        .iter()
        .flat_map(|signal| &signal.says)
        .filter(|(id, _)| id.as_str() == purpose)
        .map(|(_, says)| *says)
        .collect()
}

/// Verdicts as codes, for batches.
fn codes(parsed: &Parsed) -> Vec<&'static str> {
    parsed.items.iter().map(|item| item.as_ref().map_or_else(|rejected| rejected.flaw.code(), |_| "accepted")).collect()
}
