//! Policy files to a [`Policy`]: parsing and checking, and nothing else.
//!
//! [`load`] takes the files as bytes and gives the policy whole or every mistake in it. It reads no
//! disk and no clock, so what it says of a folder depends on the folder alone. [`diff()`] tells in
//! words what a change means for people, [`show()`] what is in force.
//!
//! Deliberately absent: a partly valid policy. What is in force stays until its successor is whole.

mod collectors;
mod diff;
mod dpv;
mod entry;
mod facts;
mod fields;
mod mistake;
mod names;
mod notices;
mod purposes;
mod recipients;
mod show;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::DeTable;

pub use diff::{Change, Effect, diff};
pub use mistake::{Code, Mistake};
pub use notices::KnownNotices;
pub use show::show;

use crate::domain::policy::{Policy, PolicyHash};

use entry::{Entry, File, Report};
use names::Names;
use notices::NoticeFile;

/// The files of a policy: path below the policy folder, with `/`, to its bytes.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files of facts that must be there.
const FACTS: [&str; 7] = [
    "controller.toml",
    "purposes.toml",
    "fields.toml",
    "recipients.toml",
    "collectors.toml",
    "retention.toml",
    "reference/adequacy.toml",
];

/// Checks the files as a whole.
///
/// `known` are the texts that were published before; none of them may have changed.
///
/// # Errors
/// Every mistake, in the order of files and lines. There is no policy while there is one.
pub fn load(files: &Files, known: &KnownNotices) -> Result<Policy, Vec<Mistake>> {
    let report = Report::default();
    let policy = check(files, known, &report);
    let mut mistakes = report.into_mistakes();
    match policy {
        Some(policy) if mistakes.is_empty() => Ok(policy),
        _ => {
            mistakes.sort_by(|a, b| (&a.file, a.line, &a.key).cmp(&(&b.file, b.line, &b.key)));
            mistakes.dedup();
            Err(mistakes)
        }
    }
}

/// SHA-256 of the canonical content of all files, by which a policy is known.
///
/// Canonical form: the ASCII text `amanat-policy-v1` and a line feed; then for each file, in the
/// order of the bytes of its path: the length of the path in bytes (8 bytes, big-endian), the path
/// (UTF-8, relative, `/`), the length of the content (8 bytes, big-endian), the content. Nothing of
/// the disk (times, modes, order) enters, so the same files give the same hash everywhere.
#[must_use]
pub fn content_hash(files: &Files) -> PolicyHash {
    let mut hash = Sha256::new();
    hash.update(b"amanat-policy-v1\n");
    for (path, content) in files {
        for part in [path.as_bytes(), content.as_slice()] {
            // No file is longer than 2^64 bytes.
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    PolicyHash(hash.finalize().into())
}

fn check(files: &Files, known: &KnownNotices, report: &Report) -> Option<Policy> {
    let texts = texts(files, report);
    let facts: BTreeMap<&str, (File<'_>, Spanned<DeTable<'_>>)> = FACTS
        .into_iter()
        .filter_map(|name| {
            let file = File { name, text: texts.facts.get(name)?, first_line: 1, report };
            Some((name, (file, file.parse()?)))
        })
        .collect();
    let names = declared(&facts, &texts.notices);
    let root = |name: &str| facts.get(name).map(|(file, table)| Entry::root(*file, table));

    // The order is that of reference: a file is read when what it names has been read.
    let controller = root("controller.toml").map(|root| facts::controller(&root));
    let retention = root("retention.toml").map(|root| facts::retention(&root));
    let adequacy = root("reference/adequacy.toml").map(|root| facts::adequacy(&root));
    let purposes = root("purposes.toml").map(|root| purposes::purposes(&root, &names)).unwrap_or_default();
    let fields = root("fields.toml").map(|root| fields::fields(&root, &names, &purposes)).unwrap_or_default();
    let recipients =
        root("recipients.toml").map(|root| recipients::recipients(&root, &names, &fields)).unwrap_or_default();
    let (notices, contents) = notices::notices(&texts.notices, &names, known, report);
    let collectors = root("collectors.toml")
        .map(|root| collectors::collectors(&root, &names, &purposes, &notices))
        .unwrap_or_default();

    let (controller, blocked_identifiers) = controller?;
    let policy = Policy {
        hash: content_hash(files),
        controller,
        purposes,
        fields,
        recipients,
        collectors,
        retention: retention?,
        notices,
        adequacy: adequacy?,
        blocked_identifiers,
    };
    whole::check(&policy, &contents, report);
    Some(policy)
}

/// The files as text, facts apart from notices.
struct Texts<'a> {
    facts: BTreeMap<&'a str, &'a str>,
    notices: Vec<NoticeFile<'a>>,
}

/// Every file is UTF-8 with line feeds and no byte order mark, and has a name that means something:
/// a misspelt name would be a rule that nobody follows.
fn texts<'a>(files: &'a Files, report: &Report) -> Texts<'a> {
    let mut texts = Texts { facts: BTreeMap::new(), notices: Vec::new() };
    for (path, bytes) in files {
        let Ok(text) = std::str::from_utf8(bytes) else {
            report.add(Mistake::in_file(path, "is not UTF-8"));
            continue;
        };
        if text.starts_with('\u{feff}') {
            report.add(Mistake::in_file(path, "begins with a byte order mark").with_hint("save it without"));
        } else if text.contains('\r') {
            report.add(Mistake::in_file(path, "has carriage returns").with_hint("save it with line feeds alone"));
        } else if FACTS.contains(&path.as_str()) {
            texts.facts.insert(path, text);
        } else if let Some(notice) = notices::notice_file(path, text) {
            texts.notices.push(notice);
        } else {
            let hint = match path.starts_with("notices/") {
                true => Some("notices are `notices/<id>/<version>.<language>.md`".to_owned()),
                false => mistake::nearest(path, FACTS),
            };
            let mut mistake = Mistake::in_file(path, "is not a policy file");
            mistake.hint = hint;
            report.add(mistake);
        }
    }
    for name in FACTS {
        if !files.contains_key(name) {
            report.add(Mistake::in_file(name, "is missing"));
        }
    }
    texts
}

fn declared<'a>(facts: &'a BTreeMap<&str, (File<'a>, Spanned<DeTable<'a>>)>, notices: &[NoticeFile<'a>]) -> Names<'a> {
    let table = |name: &str| facts.get(name).map(|(_, table)| table);
    Names {
        purposes: names::declared(table("purposes.toml"), "purpose", "id"),
        fields: names::declared(table("fields.toml"), "field", "path"),
        recipients: names::declared(table("recipients.toml"), "recipient", "id"),
        retention: names::declared(table("retention.toml"), "class", "id"),
        notices: notices.iter().map(|notice| notice.id).collect::<BTreeSet<_>>(),
        languages: names::texts(table("controller.toml"), "languages"),
    }
}

#[cfg(test)]
mod tests;
