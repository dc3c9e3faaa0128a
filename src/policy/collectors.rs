//! `collectors.toml`.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::{CollectorId, NoticeId, PurposeId, RecipientId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::notice::Notices;
use crate::domain::policy::{CategoryMap, CollectorRules, EventRule, Protocol, SignalKind, Trust, UnknownRule};
use crate::domain::purpose::Purpose;

use super::dpv;
use super::entry::Entry;
use super::fields::IDENTIFIER_KINDS;
use super::names::Names;

/// Reads every `[[collector]]`.
pub(super) fn collectors(
    root: &Entry<'_>,
    names: &Names<'_>,
    purposes: &BTreeMap<PurposeId, Purpose>,
    notices: &Notices,
) -> BTreeMap<CollectorId, CollectorRules> {
    root.list("collector", "id")
        .iter()
        .map(|entry| collector(entry, names, purposes, notices))
        .map(|collector| (collector.id.clone(), collector))
        .collect()
}

fn collector(
    entry: &Entry<'_>,
    names: &Names<'_>,
    purposes: &BTreeMap<PurposeId, Purpose>,
    notices: &Notices,
) -> CollectorRules {
    for key in ["protocol", "trust"] {
        if !entry.has(key) {
            entry.mistake(key, "is missing");
        }
    }
    let trust = entry.choice("trust", &Trust::ALL, Trust::as_str).unwrap_or(Trust::Public);
    let origins = origins(entry, "origins");
    if trust == Trust::Server && !origins.is_empty() {
        entry.mistake("origins", "belong to public keys: a server's key must not stand in a page");
    }
    let (categories, gpc) = signals(entry, names, purposes);
    let region = entry.text("default_region");
    if let Some(region) = region {
        entry.check_country("default_region", region);
    }
    CollectorRules {
        id: CollectorId::new(entry.id("id")),
        protocol: entry.choice("protocol", &Protocol::ALL, Protocol::as_str).unwrap_or(Protocol::Native),
        trust,
        origins,
        webhook_origins: self::origins(entry, "webhook_origins"),
        get: entry.flag("get").unwrap_or_default(),
        unknown: entry.choice("unknown", &UnknownRule::ALL, UnknownRule::as_str).unwrap_or(UnknownRule::FailClosed),
        grants: grants(entry),
        notice: notice(entry, names, notices),
        default_region: region.map(str::to_owned),
        categories,
        gpc,
        integrations: integrations(entry, names),
        events: events(entry),
        source: entry.text("source").map(str::to_owned),
    }
}

/// Origins as browsers write them: scheme, host, port, and nothing more. `webhook_origins` are host
/// names, as the CloudEvents handshake sends them.
fn origins(entry: &Entry<'_>, key: &'static str) -> Vec<String> {
    let origins = entry.texts(key);
    for origin in &origins {
        let host = match key {
            "origins" => origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")),
            _ => Some(*origin),
        };
        if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '*', '?', '#'])) {
            entry.mistake_with_hint(
                key,
                format!("`{origin}` is no origin"),
                Some("write `https://shop.example`, without a path".into()),
            );
        }
    }
    origins.into_iter().map(str::to_owned).collect()
}

/// Only what a person chose may ever allow; a global privacy control can but deny.
fn grants(entry: &Entry<'_>) -> BTreeSet<SignalKind> {
    let mut grants = BTreeSet::new();
    for text in entry.texts("grants") {
        match text {
            "categories" => {
                grants.insert(SignalKind::Categories);
            }
            "gpc" => entry.mistake("grants", "`gpc` can deny but never allow"),
            _ => entry.unknown("grants", text, ["categories"]),
        }
    }
    grants
}

/// `notice = { id = "cookies", version = 1 }`: what the consent banner shows.
fn notice(entry: &Entry<'_>, names: &Names<'_>, notices: &Notices) -> Option<(NoticeId, u32)> {
    let table = entry.table("notice")?;
    let (id, version) = (table.name("id", &names.notices), table.number("version"));
    let (Some(id), Some(version)) = (id, version) else {
        entry.mistake("notice", "must name a notice and its version, `{ id = \"shop\", version = 1 }`");
        return None;
    };
    if names.notices.contains(id)
        && !notices.keys().any(|(known, number, _)| known.as_str() == id && *number == version)
    {
        table.mistake("version", format!("`{id}` has no version {version}"));
    }
    Some((NoticeId::new(id), version))
}

/// `[collector.signals]`: which purposes a category or a global privacy control speaks of.
fn signals(
    entry: &Entry<'_>,
    names: &Names<'_>,
    purposes: &BTreeMap<PurposeId, Purpose>,
) -> (BTreeMap<String, CategoryMap>, Vec<PurposeId>) {
    let ids = |texts: Vec<&str>| texts.into_iter().map(PurposeId::new).collect::<Vec<_>>();
    let sold = || {
        purposes
            .values()
            .filter(|purpose| dpv::SOLD_OR_TARGETED.contains(&purpose.term.as_str()))
            .map(|purpose| purpose.id.clone())
            .collect()
    };
    let mut maps = BTreeMap::new();
    let Some(signals) = entry.table("signals") else {
        return (maps, sold());
    };
    let gpc = if signals.has("gpc") { ids(signals.names("gpc", &names.purposes)) } else { sold() };
    if let Some(categories) = signals.table("categories") {
        for (category, value) in categories.members() {
            let map = match value.as_table() {
                Some(table) => {
                    let long = categories.member_table(category, table);
                    let any = long.choice("match", &["all", "any"], |text| text) == Some("any");
                    CategoryMap { purposes: ids(long.names("purposes", &names.purposes)), any }
                }
                None => {
                    let texts = categories.member_texts(category, value);
                    for text in &texts {
                        categories.check_name(category, text, &names.purposes);
                    }
                    CategoryMap { purposes: ids(texts), any: false }
                }
            };
            maps.insert(category.to_owned(), map);
        }
    }
    (maps, gpc)
}

fn integrations(entry: &Entry<'_>, names: &Names<'_>) -> BTreeMap<String, RecipientId> {
    let mut integrations = BTreeMap::new();
    let Some(table) = entry.table("integrations") else {
        return integrations;
    };
    for (name, value) in table.members() {
        match value.as_str() {
            Some(recipient) => {
                table.check_name(name, recipient, &names.recipients);
                integrations.insert(name.to_owned(), RecipientId::new(recipient));
            }
            None => table.mistake(name, "must be the id of a recipient"),
        }
    }
    integrations
}

const TREATMENTS: [&str; 7] = ["identify", "track", "page", "screen", "group", "alias", "record"];

/// `[[collector.event]]`: what a CloudEvents type means and whom `subject` names.
fn events(entry: &Entry<'_>) -> Vec<EventRule> {
    let mut rules = Vec::new();
    for event in entry.list("event", "type") {
        let pattern = event.required_text("type");
        if pattern.trim_end_matches('*').contains('*') || pattern.ends_with("**") {
            event.mistake("type", "may have one `*`, at its end");
        }
        let subject = event.text("subject").and_then(|text| {
            let kind = IdentifierKind::parse(text);
            if kind.is_none() {
                event.unknown("subject", text, IDENTIFIER_KINDS);
            }
            kind
        });
        let namespace = event.text("namespace").unwrap_or_default();
        rules.push(EventRule {
            pattern: pattern.to_owned(),
            treat_as: event.choice("as", &TREATMENTS, |text| text).map(str::to_owned),
            subject: subject.map(|kind| (kind, namespace.to_owned())),
        });
    }
    rules
}
