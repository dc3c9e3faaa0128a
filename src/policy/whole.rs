//! What can only be seen when all files are read: that notices tell people what the policy does.

use crate::domain::id::NoticeId;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::notice::Notice;
use crate::domain::policy::{EEA, Policy};
use crate::domain::purpose::Purpose;

use super::entry::Report;
use super::mistake::{Code, Mistake};
use super::notices::Contents;

/// Checks the newest version of every notice against what the policy does (Art. 13, 14).
pub(super) fn check(policy: &Policy, contents: &Contents, report: &Report) {
    for purpose in policy.purposes.values().filter(|purpose| purpose.active) {
        let Some(id) = &purpose.notice else { continue };
        let Some(newest) = newest_version(policy, id) else {
            continue;
        };
        check_languages(policy, purpose, id, newest, report);
        let of_newest = |notice: &&Notice| notice.id == *id && notice.version == newest;
        if let Some(notice) = policy.notices.values().find(of_newest) {
            check_disclosure(policy, purpose, notice, report);
        }
    }
    for (key, notice) in &policy.notices {
        // Older versions told what was true then.
        if newest_version(policy, &notice.id) == Some(notice.version)
            && let Some(parts) = contents.get(key)
        {
            check_parts(policy, notice, parts, report);
        }
    }
}

fn newest_version(policy: &Policy, id: &NoticeId) -> Option<u32> {
    policy.notices.values().filter(|notice| notice.id == *id).map(|notice| notice.version).max()
}

fn check_languages(policy: &Policy, purpose: &Purpose, id: &NoticeId, newest: u32, report: &Report) {
    for language in &policy.controller.languages {
        if !policy.notices.contains_key(&(id.clone(), newest, language.clone())) {
            let what = format!("notice `{id}` has no text in `{language}`");
            let mistake = Mistake::at("purposes.toml", format!("purpose[{}].notice", purpose.id), what);
            let hint = format!("write notices/{id}/{newest}.{language}.md");
            report.add(mistake.with_code(Code::NoticeIncomplete).with_hint(hint));
        }
    }
}

/// The notice names the purpose, and everybody who receives data for it (Art. 13(1)(c), (e)).
fn check_disclosure(policy: &Policy, purpose: &Purpose, notice: &Notice, report: &Report) {
    let (id, version) = (&notice.id, notice.version);
    let key = format!("purpose[{}].notice", purpose.id);
    let incomplete = |what: String| {
        report.add(Mistake::at("purposes.toml", key.clone(), what).with_code(Code::NoticeIncomplete));
    };
    if !notice.purposes.contains(&purpose.id) {
        incomplete(format!("version {version} of `{id}` does not name this purpose"));
    }
    for recipient in policy.recipients.values() {
        if recipient.purposes.contains_key(&purpose.id) && !notice.recipients.contains(&recipient.id) {
            incomplete(format!(
                "version {version} of `{id}` does not name `{}`, which receives data for it",
                recipient.id
            ));
        }
    }
    for field in policy.fields.values() {
        if field.personal && field.purposes.contains(&purpose.id) && !notice.categories.contains(&field.category) {
            incomplete(format!(
                "version {version} of `{id}` does not name the category `{}` of `{}`",
                field.category, field.path
            ));
        }
    }
}

/// The parts that every notice needs, and those that this one does.
fn check_parts(policy: &Policy, notice: &Notice, parts: &[String], report: &Report) {
    let file = format!("notices/{}/{}.{}.md", notice.id, notice.version, notice.language);
    let third: Vec<&str> = notice
        .recipients
        .iter()
        .filter_map(|id| policy.recipients.get(id))
        .flat_map(|recipient| recipient.countries())
        .filter(|country| !EEA.contains(country))
        .collect();
    let on_consent = notice
        .purposes
        .iter()
        .filter_map(|id| policy.purposes.get(id))
        .any(|purpose| purpose.basis == LegalBasis::Consent);
    let always = ["controller", "dpo", "purposes", "recipients", "retention", "rights", "complaint"];
    let needed =
        always.into_iter().chain((!third.is_empty()).then_some("transfers")).chain(on_consent.then_some("withdrawal"));
    for part in needed {
        if !parts.iter().any(|contained| contained == part) {
            let what = format!("lacks the part `{part}`{}", article(part));
            report.add(Mistake::at(&file, "contains", what).with_code(Code::NoticeIncomplete));
        }
    }
    for country in third {
        if !notice.transfers.iter().any(|named| named == country) {
            let what = format!("does not name the transfer to `{country}` (Art. 13(1)(f))");
            report.add(Mistake::at(&file, "transfers", what).with_code(Code::NoticeIncomplete));
        }
    }
}

fn article(part: &str) -> &'static str {
    match part {
        "controller" => " (Art. 13(1)(a))",
        "dpo" => " (Art. 13(1)(b))",
        "purposes" => " (Art. 13(1)(c))",
        "recipients" => " (Art. 13(1)(e))",
        "transfers" => " (Art. 13(1)(f))",
        "retention" => " (Art. 13(2)(a))",
        "rights" => " (Art. 13(2)(b))",
        "withdrawal" => " (Art. 13(2)(c))",
        "complaint" => " (Art. 13(2)(d))",
        _ => "",
    }
}
