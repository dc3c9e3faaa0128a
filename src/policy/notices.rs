//! `notices/<id>/<version>.<language>.md`: front matter between `+++` lines, then the exact text.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::domain::id::{Category, NoticeId, PurposeId, RecipientId};
use crate::domain::notice::{Notice, NoticeChange, Notices};

use super::dpv;
use super::entry::{Entry, File, Report};
use super::facts::is_language;
use super::mistake::{Code, Mistake};
use super::names::Names;

/// Texts that were published before: the hash of each (id, version, language).
pub type KnownNotices = BTreeMap<(NoticeId, u32, String), [u8; 32]>;

/// The parts that each text covers.
pub(super) type Contents = BTreeMap<(NoticeId, u32, String), Vec<String>>;

/// The name of a notice file, taken apart.
#[derive(Clone, Copy)]
pub(super) struct NoticeFile<'a> {
    pub(super) path: &'a str,
    pub(super) id: &'a str,
    version: u32,
    language: &'a str,
    text: &'a str,
}

/// Takes a path apart; `None` for any other form.
pub(super) fn notice_file<'a>(path: &'a str, text: &'a str) -> Option<NoticeFile<'a>> {
    let (id, file) = path.strip_prefix("notices/")?.split_once('/')?;
    let (version, language) = file.strip_suffix(".md")?.split_once('.')?;
    let number = version.parse().ok().filter(|number| *number > 0)?;
    // `01` and `1` would be two files of one version.
    if version.starts_with('0') || version.starts_with('+') || id.is_empty() || !is_language(language) {
        return None;
    }
    Some(NoticeFile { path, id, version: number, language, text })
}

/// Reads every notice and checks them as a series.
pub(super) fn notices(
    files: &[NoticeFile<'_>],
    names: &Names<'_>,
    known: &KnownNotices,
    report: &Report,
) -> (Notices, Contents) {
    let mut notices = Notices::new();
    let mut contents = Contents::new();
    for file in files {
        if let Some((notice, contains)) = notice(file, names, report) {
            check_known(file, &notice, known, report);
            let key = (notice.id.clone(), notice.version, notice.language.clone());
            contents.insert(key.clone(), contains);
            notices.insert(key, notice);
        }
    }
    check_series(&notices, report);
    (notices, contents)
}

fn notice(file: &NoticeFile<'_>, names: &Names<'_>, report: &Report) -> Option<(Notice, Vec<String>)> {
    let parts = file.text.strip_prefix("+++\n").and_then(|rest| rest.split_once("\n+++\n"));
    let Some((front, text)) = parts else {
        let mistake = Mistake::in_file(file.path, "must begin with front matter between two lines `+++`");
        report.add(mistake.on_line(1));
        return None;
    };
    let front = File { name: file.path, text: front, first_line: 2, report };
    let table = front.parse()?;
    let entry = Entry::root(front, &table);

    let published_at = entry.instant("published_at");
    if !entry.has("published_at") {
        entry.mistake("published_at", "is missing");
    }
    entry.required_text("reviewed_by");
    let change = entry.choice("change", &NoticeChange::ALL, NoticeChange::as_str).unwrap_or(NoticeChange::Material);
    if change == NoticeChange::Editorial && entry.text("reason").is_none() {
        entry.mistake("reason", "must say why the change is only editorial");
    }
    entry.text("reason");
    let categories = entry.texts("categories");
    for category in &categories {
        if !dpv::CATEGORIES.contains(category) && !dpv::SPECIAL_CATEGORIES.contains(category) {
            entry.unknown("categories", category, dpv::CATEGORIES.iter().chain(dpv::SPECIAL_CATEGORIES).copied());
        }
    }
    let transfers = entry.texts("transfers");
    for country in &transfers {
        entry.check_country("transfers", country);
    }
    let contains = contains(&entry, text);
    if text.trim().is_empty() {
        entry.mistake("", "has no text");
    }
    // Every key is asked for before the first way out, or it would count as unknown.
    let purposes = entry.names("purposes", &names.purposes);
    let recipients = entry.names("recipients", &names.recipients);
    let grace = entry.period("grace").unwrap_or_default();
    let notice = Notice {
        id: NoticeId::new(file.id),
        version: file.version,
        language: file.language.to_owned(),
        published_at: published_at?,
        change,
        purposes: purposes.into_iter().map(PurposeId::new).collect(),
        recipients: recipients.into_iter().map(RecipientId::new).collect(),
        categories: categories.into_iter().map(Category::new).collect(),
        transfers: transfers.into_iter().map(str::to_owned).collect(),
        grace,
        text: text.to_owned(),
        text_hash: Sha256::digest(text.as_bytes()).into(),
    };
    Some((notice, contains))
}

/// The parts that a notice can cover (Art. 13(1)–(2)).
const PARTS: [&str; 9] =
    ["controller", "dpo", "purposes", "recipients", "transfers", "retention", "rights", "withdrawal", "complaint"];

/// The parts that the text covers: claimed by the front matter, and each there as a heading with a
/// fixed anchor, `## … {#withdrawal}`, so that pages and tests find it in every language.
fn contains(entry: &Entry<'_>, text: &str) -> Vec<String> {
    let claimed = entry.texts("contains");
    for part in &claimed {
        if !PARTS.contains(part) {
            entry.unknown("contains", part, PARTS);
            continue;
        }
        let anchor = format!("{{#{part}}}");
        if !text.lines().any(|line| line.starts_with('#') && line.trim_end().ends_with(&anchor)) {
            let what = format!("the text has no heading that ends with `{anchor}`");
            entry.mistake_with_code("contains", Code::NoticeIncomplete, what);
        }
    }
    claimed.into_iter().map(str::to_owned).collect()
}

/// A published text never changes: people consented to those very bytes.
fn check_known(file: &NoticeFile<'_>, notice: &Notice, known: &KnownNotices, report: &Report) {
    let published = known.get(&(notice.id.clone(), notice.version, notice.language.clone()));
    if published.is_some_and(|hash| *hash != notice.text_hash) {
        let mistake = Mistake::in_file(file.path, "was published before with another text");
        report.add(mistake.with_hint(format!("restore it, and write the change as version {}", notice.version + 1)));
    }
}

/// Versions follow one another in time, and languages of one version disclose the same.
fn check_series(notices: &Notices, report: &Report) {
    let all: Vec<&Notice> = notices.values().collect();
    for (before, after) in all.iter().zip(all.iter().skip(1)) {
        if before.id != after.id {
            continue;
        }
        let file = format!("notices/{}/{}.{}.md", after.id, after.version, after.language);
        if before.version == after.version {
            let same = before.purposes == after.purposes
                && before.recipients == after.recipients
                && before.categories == after.categories
                && before.transfers == after.transfers;
            if !same {
                let what =
                    format!("discloses other purposes, recipients, categories or transfers than `{}`", before.language);
                report.add(Mistake::in_file(&file, what));
            }
        } else if after.published_at < before.published_at {
            let what = format!("is published before version {}", before.version);
            report.add(Mistake::at(&file, "published_at", what));
        }
    }
}
