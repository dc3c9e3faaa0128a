//! What is in force, in words.

use std::fmt::Write as _;

use crate::domain::policy::Policy;
use crate::domain::purpose::Translations;

/// The policy as text for a terminal: one line a fact, titles in the controller's first language.
#[must_use]
pub fn show(policy: &Policy) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    write_all(&mut text, policy).unwrap_or_default();
    text
}

fn write_all(text: &mut String, policy: &Policy) -> std::fmt::Result {
    let controller = &policy.controller;
    writeln!(text, "policy {}", hex(&policy.hash.0))?;
    writeln!(
        text,
        "controller {} ({}), languages {}",
        controller.name,
        controller.country,
        controller.languages.join(", ")
    )?;
    for purpose in policy.purposes.values() {
        let state = if purpose.active { "active" } else { "off" };
        writeln!(
            text,
            "\npurpose {} [{}, {state}] {}",
            purpose.id,
            purpose.basis.as_str(),
            title(policy, &purpose.title)
        )?;
        let fields = policy.fields.values().filter(|field| field.purposes.contains(&purpose.id));
        writeln!(text, "  fields: {}", join(fields.map(|field| field.path.as_str())))?;
        for recipient in policy.recipients.values() {
            if let Some(fields) = recipient.purposes.get(&purpose.id) {
                let fields = join(fields.iter().map(|path| path.as_str()));
                writeln!(text, "  to {} ({}): {fields}", recipient.id, recipient.country)?;
            }
        }
    }
    writeln!(text)?;
    for recipient in policy.recipients.values() {
        let safeguard = recipient.safeguard.as_ref().map_or("none named", |safeguard| safeguard.as_str());
        writeln!(
            text,
            "recipient {} {} ({}, {}), safeguard {safeguard}",
            recipient.id,
            recipient.name,
            recipient.country,
            recipient.role.as_str()
        )?;
    }
    for collector in policy.collectors.values() {
        writeln!(text, "collector {} [{}, {}]", collector.id, collector.protocol.as_str(), collector.trust.as_str())?;
    }
    for class in policy.retention.values() {
        writeln!(text, "retention {} {} from {}", class.id, class.period, class.starts.as_str())?;
    }
    for notice in policy.notices.values() {
        let hash: String = hex(&notice.text_hash).chars().take(16).collect();
        writeln!(text, "notice {} {} {} {hash}", notice.id, notice.version, notice.language)?;
    }
    Ok(())
}

fn title<'a>(policy: &Policy, titles: &'a Translations) -> &'a str {
    let first = policy.controller.languages.first();
    first.and_then(|language| titles.get(language)).map_or("", String::as_str)
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
