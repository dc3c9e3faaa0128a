//! `controller.toml`, `retention.toml`, `reference/adequacy.toml`: what the rest refers to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Span;
use jiff::tz::TimeZone;

use crate::domain::id::RetentionClassId;
use crate::domain::policy::{Adequacy, Controller};
use crate::domain::retention::{OnErasure, RetentionClass, RetentionStart};

use super::entry::Entry;
use super::mistake::Code;

/// Reads `controller.toml`: the controller, and the identifiers it blocks.
pub(super) fn controller(root: &Entry<'_>) -> (Controller, BTreeSet<String>) {
    let country = root.required_text("country");
    if !country.is_empty() {
        root.check_country("country", country);
    }
    let zone = root.required_text("time_zone");
    let time_zone = TimeZone::get(zone).unwrap_or_else(|_| {
        if !zone.is_empty() {
            root.mistake_with_hint(
                "time_zone",
                format!("`{zone}` is unknown"),
                Some("write an IANA name, `Europe/Berlin`".into()),
            );
        }
        TimeZone::UTC
    });
    let languages: Vec<String> = root.texts("languages").into_iter().map(str::to_owned).collect();
    if languages.is_empty() {
        root.mistake("languages", "must name one language at least (BCP 47)");
    }
    for language in &languages {
        if !is_language(language) {
            root.mistake("languages", format!("`{language}` is no language tag (BCP 47, `de` or `pt-BR`)"));
        }
    }
    let controller = Controller {
        name: root.required_text("name").to_owned(),
        address: root.required_text("address").to_owned(),
        country: country.to_owned(),
        time_zone,
        languages,
        dpo_contact: root.required_text("dpo_contact").to_owned(),
        authority: root.required_text("authority").to_owned(),
        strip_email_subaddress: root.flag("strip_email_subaddress").unwrap_or_default(),
    };
    let blocked = root.texts("blocked_identifiers").into_iter().map(str::to_lowercase).collect();
    (controller, blocked)
}

/// Whether a text has the form of a language tag: letters and digits in parts of 2 to 8.
pub(super) fn is_language(tag: &str) -> bool {
    tag.split('-').all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The classes that the gateway itself needs, each with a period.
const OWN_CLASSES: [&str; 5] =
    ["consent_evidence", "erasure_marks", "audit_operation", "audit_evidence", "audit_leaves"];

/// Reads `retention.toml`.
pub(super) fn retention(root: &Entry<'_>) -> BTreeMap<RetentionClassId, RetentionClass> {
    let mut classes = BTreeMap::new();
    for entry in root.list("class", "id") {
        let id = RetentionClassId::new(entry.id("id"));
        let period = entry.period("period");
        if period.is_none_or(Span::is_zero) {
            entry.mistake_with_code("period", Code::RetentionMissing, "must be longer than nothing");
        }
        let starts = entry.choice("starts", &RetentionStart::ALL, RetentionStart::as_str);
        let class = RetentionClass {
            id: id.clone(),
            period: period.unwrap_or_default(),
            starts: starts.unwrap_or(RetentionStart::Collected),
            legal_source: entry.text("legal_source").map(str::to_owned),
            on_erasure: on_erasure(&entry),
        };
        classes.insert(id, class);
    }
    for own in OWN_CLASSES {
        if !classes.contains_key(own) {
            root.mistake_with_code(
                "class",
                Code::RetentionMissing,
                format!("`{own}`, which the gateway itself needs, is missing"),
            );
        }
    }
    classes
}

/// `on_erasure = "erase"` or `{ keep = "17(3)(b)", law = "…" }`.
fn on_erasure(entry: &Entry<'_>) -> OnErasure {
    match entry.choice("on_erasure", &["erase", "keep"], |text| text) {
        Some("keep") => OnErasure::Keep {
            ground: entry.required_text("ground").to_owned(),
            law: entry.required_text("law").to_owned(),
        },
        _ => OnErasure::Erase,
    }
}

/// Reads `reference/adequacy.toml`.
pub(super) fn adequacy(root: &Entry<'_>) -> Vec<Adequacy> {
    let mut rows = Vec::new();
    // A country may stand there twice, after a decision was renewed; the row has an id of its own.
    for entry in root.list("decision", "id") {
        entry.id("id");
        let country = entry.required_text("country");
        entry.check_country("country", country);
        let (from, until) = (entry.day("valid_from"), entry.day("valid_until"));
        if from.is_none() {
            entry.mistake("valid_from", "must say from which day the decision holds");
        }
        if from.zip(until).is_some_and(|(from, until)| until < from) {
            entry.mistake("valid_until", "is before `valid_from`");
        }
        entry.text("scope");
        entry.required_text("source");
        entry.day("reviewed_on");
        rows.push(Adequacy {
            country: country.to_owned(),
            from: from.unwrap_or(jiff::civil::Date::MAX),
            until,
            listed_only: entry.flag("listed_only").unwrap_or_default(),
        });
    }
    rows
}
