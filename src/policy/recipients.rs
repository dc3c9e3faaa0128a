//! `recipients.toml`.

use std::collections::BTreeMap;

use crate::domain::category::Field;
use crate::domain::id::{FieldPath, PurposeId, RecipientId};
use crate::domain::recipient::{Recipient, RecipientRole, Safeguard};

use super::entry::Entry;
use super::names::Names;

const ROLES: [RecipientRole; 3] = [RecipientRole::Processor, RecipientRole::Controller, RecipientRole::Joint];
const SAFEGUARDS: [&str; 7] = ["adequacy", "scc_m1", "scc_m2", "scc_m3", "scc_m4", "bcr", "code"];
const VERBS: [&str; 4] = ["suppress", "erase", "verify_erased", "access"];

/// Reads every `[[recipient]]`.
pub(super) fn recipients(
    root: &Entry<'_>,
    names: &Names<'_>,
    fields: &BTreeMap<FieldPath, Field>,
) -> BTreeMap<RecipientId, Recipient> {
    root.list("recipient", "id")
        .iter()
        .map(|entry| recipient(entry, names, fields))
        .map(|recipient| (recipient.id.clone(), recipient))
        .collect()
}

fn recipient(entry: &Entry<'_>, names: &Names<'_>, fields: &BTreeMap<FieldPath, Field>) -> Recipient {
    let country = entry.required_text("country");
    let access_countries = entry.texts("access_countries");
    for (key, country) in std::iter::once(("country", country))
        .chain(access_countries.iter().map(|country| ("access_countries", *country)))
    {
        if !country.is_empty() {
            entry.check_country(key, country);
        }
    }
    let role = entry.choice("role", &ROLES, RecipientRole::as_str);
    if !entry.has("role") {
        entry.mistake("role", "is missing: `processor`, `controller` or `joint`");
    }
    let contract = entry.text("contract");
    if contract.is_none() && matches!(role, Some(RecipientRole::Processor | RecipientRole::Joint)) {
        entry.mistake("contract", "must name the contract or arrangement (Art. 28(3), 26)");
    }
    let safeguard = entry.choice("safeguard", &SAFEGUARDS, |text| text).and_then(Safeguard::parse);
    if matches!(safeguard, Some(ref safeguard) if *safeguard != Safeguard::Adequacy) && entry.text("tia").is_none() {
        entry.mistake("tia", "must name the transfer impact assessment of this safeguard (Art. 46)");
    }
    // Read for people, not for decisions: where a copy of the safeguard can be had (Art. 13(1)(f)).
    entry.text("safeguard_copy");
    entry.text("tia");
    let verbs = entry.texts("verbs");
    for verb in &verbs {
        if !VERBS.contains(verb) {
            entry.unknown("verbs", verb, VERBS);
        }
    }
    Recipient {
        id: RecipientId::new(entry.id("id")),
        name: entry.required_text("name").to_owned(),
        country: country.to_owned(),
        access_countries: access_countries.into_iter().map(str::to_owned).collect(),
        role: role.unwrap_or(RecipientRole::Controller),
        contract: contract.map(str::to_owned),
        contract_until: entry.day("contract_until"),
        safeguard,
        listed_until: entry.day("listed_until"),
        purposes: fields_per_purpose(entry, names, fields),
        verbs: verbs.into_iter().map(str::to_owned).collect(),
        pseudonym_version: entry.number("pseudonym_version").unwrap_or(1),
        thin: entry.flag("thin").unwrap_or_default(),
    }
}

/// `[recipient.purposes]`: for each purpose the fields the recipient may have (Art. 5(1)(c)).
fn fields_per_purpose(
    entry: &Entry<'_>,
    names: &Names<'_>,
    fields: &BTreeMap<FieldPath, Field>,
) -> BTreeMap<PurposeId, Vec<FieldPath>> {
    let mut purposes = BTreeMap::new();
    let Some(table) = entry.table("purposes") else {
        return purposes;
    };
    for (purpose, value) in table.members() {
        table.check_name(purpose, purpose, &names.purposes);
        let allowed = table.member_texts(purpose, value);
        for path in &allowed {
            table.check_name(purpose, path, &names.fields);
            if fields.get(*path).is_some_and(|field| !field.purposes.iter().any(|id| id.as_str() == purpose)) {
                table.mistake(purpose, format!("`{path}` does not serve `{purpose}` (fields.toml)"));
            }
        }
        purposes.insert(PurposeId::new(purpose), allowed.into_iter().map(FieldPath::new).collect());
    }
    purposes
}
