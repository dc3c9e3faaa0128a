//! `fields.toml`.

use std::collections::BTreeMap;

use crate::domain::category::{Field, Identifies, Origin};
use crate::domain::id::{Category, FieldPath, PurposeId, RetentionClassId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::purpose::Purpose;

use super::dpv;
use super::entry::Entry;
use super::mistake::Code;
use super::names::Names;

/// Reads every `[[field]]`.
pub(super) fn fields(
    root: &Entry<'_>,
    names: &Names<'_>,
    purposes: &BTreeMap<PurposeId, Purpose>,
) -> BTreeMap<FieldPath, Field> {
    root.list("field", "path")
        .iter()
        .map(|entry| field(entry, names, purposes))
        .map(|field| (field.path.clone(), field))
        .collect()
}

fn field(entry: &Entry<'_>, names: &Names<'_>, purposes: &BTreeMap<PurposeId, Purpose>) -> Field {
    let path = entry.id("path");
    let category = entry.required_text("category");
    let special_term = dpv::SPECIAL_CATEGORIES.contains(&category);
    if !category.is_empty() && !special_term && !dpv::CATEGORIES.contains(&category) {
        let known = dpv::CATEGORIES.iter().chain(dpv::SPECIAL_CATEGORIES).copied();
        entry.unknown("category", category, known);
    }
    let special = entry.flag("special").unwrap_or_default();
    let criminal = entry.flag("criminal").unwrap_or_default();
    if special_term && !special && !criminal {
        entry.mistake("special", format!("must be true: `{category}` is a special category (Art. 9, 10)"));
    }
    let personal = entry.flag("personal").unwrap_or(true);
    let identifies = identifies(entry);
    if !personal && (special || criminal || identifies.is_some()) {
        entry.mistake("personal", "must be true for what identifies or is special");
    }
    let serves = entry.names("purposes", &names.purposes);
    if serves.is_empty() {
        entry.mistake_with_hint(
            "purposes",
            "must name one at least",
            Some("a field without a purpose is not collected: leave it out".into()),
        );
    }
    for purpose in serves.iter().filter_map(|id| purposes.get(*id)) {
        if (special || criminal) && !purpose.explicit {
            entry.mistake(
                "purposes",
                format!("`{}` does not rest on explicit consent, which special data needs (Art. 9(2)(a))", purpose.id),
            );
        }
    }
    let retention = entry.name("retention", &names.retention);
    if retention.is_none() {
        entry.mistake_with_code(
            "retention",
            Code::RetentionMissing,
            "must name a class of retention.toml (Art. 5(1)(e))",
        );
    }
    Field {
        path: FieldPath::new(path),
        category: Category::new(category),
        personal,
        special: special || criminal,
        identifies,
        purposes: serves.into_iter().map(PurposeId::new).collect(),
        retention: RetentionClassId::new(retention.unwrap_or_default()),
        description: entry.translations("description", &names.languages),
        origin: entry.choice("origin", &Origin::ALL, Origin::as_str).unwrap_or(Origin::Provided),
        code_meanings: code_meanings(entry, names),
    }
}

fn code_meanings(entry: &Entry<'_>, names: &Names<'_>) -> Vec<(String, BTreeMap<String, String>)> {
    let Some(codes) = entry.table("code_meanings") else {
        return Vec::new();
    };
    let mut meanings = Vec::new();
    for (code, value) in codes.members() {
        match value.as_table() {
            Some(table) => {
                meanings.push((code.to_owned(), codes.member_table(code, table).all_translations(&names.languages)))
            }
            None => codes.mistake(code, "must be a table of texts per language"),
        }
    }
    meanings
}

/// `identifies = "email"`, with `namespace = "…"` beside it where the kind has some.
fn identifies(entry: &Entry<'_>) -> Option<Identifies> {
    let text = entry.text("identifies");
    let namespace = entry.text("namespace").unwrap_or_default();
    let Some(text) = text else {
        if !namespace.is_empty() {
            entry.mistake("namespace", "belongs to `identifies`");
        }
        return None;
    };
    let Some(kind) = IdentifierKind::parse(text) else {
        entry.unknown("identifies", text, IDENTIFIER_KINDS);
        return None;
    };
    Some(Identifies { kind, namespace: namespace.to_owned() })
}

/// For hints only: what is a kind says `IdentifierKind::parse`.
pub(super) const IDENTIFIER_KINDS: [&str; 10] = [
    "user_id",
    "email",
    "phone",
    "anonymous_id",
    "advertising_id",
    "vendor_id",
    "cookie_id",
    "push_token",
    "social",
    "custom:<name>",
];
