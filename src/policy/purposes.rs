//! `purposes.toml`.

use std::collections::BTreeMap;

use crate::domain::id::{Channel, NoticeId, PurposeId};
use crate::domain::legal_basis::LegalBasis;
use crate::domain::purpose::{MinimumProof, Purpose};

use super::dpv;
use super::entry::Entry;
use super::mistake::Code;
use super::names::Names;

/// Reads every `[[purpose]]`.
pub(super) fn purposes(root: &Entry<'_>, names: &Names<'_>) -> BTreeMap<PurposeId, Purpose> {
    let entries = root.list("purpose", "id");
    let purposes: BTreeMap<PurposeId, Purpose> =
        entries.iter().map(|entry| purpose(entry, names)).map(|purpose| (purpose.id.clone(), purpose)).collect();
    for entry in &entries {
        if runs_in_a_circle(&purposes, entry.text("id").unwrap_or_default()) {
            entry.mistake("within", "leads back to this purpose");
        }
    }
    purposes
}

fn purpose(entry: &Entry<'_>, names: &Names<'_>) -> Purpose {
    let id = entry.id("id");
    let active = entry.flag("active").unwrap_or_default();
    // What is off may be unfinished; what is on may not (Art. 25(2)).
    let languages: &[String] = if active { &names.languages } else { &[] };
    let title = entry.translations("title", languages);
    let description = entry.translations("description", languages);

    let basis = entry.choice("basis", &LegalBasis::ALL, LegalBasis::as_str);
    let term = entry.text("term").unwrap_or_default();
    if !term.is_empty() && !dpv::PURPOSES.contains(&term) {
        entry.unknown("term", term, dpv::PURPOSES.iter().copied());
    }
    if active && !entry.has("basis") {
        entry.mistake("basis", "is missing: an active purpose needs a legal basis (Art. 6)");
    }
    if active && !entry.has("term") {
        entry.mistake("term", "is missing: an active purpose needs its DPV term");
    }

    let explicit = entry.flag("explicit").unwrap_or_default();
    let minimum_proof = entry.choice("minimum_proof", &MinimumProof::ALL, MinimumProof::as_str);
    if explicit && minimum_proof != Some(MinimumProof::Act) {
        entry.mistake_with_hint(
            "minimum_proof",
            "must be `act` where consent must be explicit (Art. 9(2)(a))",
            Some("write `minimum_proof = \"act\"`".into()),
        );
    }
    if entry.text("dpia").is_none() && active && explicit {
        entry.mistake_with_code("dpia", Code::DpiaMissing, "must name the impact assessment (Art. 35(3)(b))");
    }
    let within = entry.name("within", &names.purposes);
    let purpose = Purpose {
        id: PurposeId::new(id),
        title,
        description,
        basis: basis.unwrap_or(LegalBasis::Consent),
        term: term.to_owned(),
        direct_marketing: entry.flag("direct_marketing").unwrap_or_default(),
        explicit,
        validity: entry.period("validity"),
        ask_again_after: entry.period("ask_again_after"),
        notice: entry.name("notice", &names.notices).map(NoticeId::new),
        channels: entry.texts("channels").into_iter().map(Channel::new).collect(),
        within: within.map(PurposeId::new),
        minimum_proof: minimum_proof.unwrap_or(MinimumProof::Signal),
        double_opt_in: entry.flag("double_opt_in").unwrap_or_default(),
        lia: entry.text("lia").map(str::to_owned),
        active,
    };
    check_basis(entry, &purpose);
    purpose
}

/// What the legal basis asks for.
fn check_basis(entry: &Entry<'_>, purpose: &Purpose) {
    let conditional = entry.flag("required_for_service").unwrap_or_default();
    let on_consent = purpose.basis == LegalBasis::Consent;
    if conditional && on_consent && entry.has("basis") {
        entry.mistake_with_code(
            "required_for_service",
            Code::ConditionalConsent,
            "a service must not depend on a consent (Art. 7(4)): it is a contract, or it is optional",
        );
    }
    if !purpose.active {
        return;
    }
    if purpose.basis == LegalBasis::LegitimateInterests && purpose.lia.is_none() {
        entry.mistake_with_code("lia", Code::LiaRequired, "must name the balancing test (Art. 6(1)(f))");
    }
    if on_consent && purpose.validity.is_none_or(jiff::Span::is_zero) {
        entry.mistake("validity", "must say how long a consent lasts");
    }
    if on_consent && purpose.notice.is_none() {
        entry.mistake_with_code(
            "notice",
            Code::NoticeIncomplete,
            "must name the notice that people consent to (Art. 13)",
        );
    }
    if !on_consent && (purpose.double_opt_in || purpose.explicit) {
        entry.mistake("basis", "`double_opt_in` and `explicit` belong to consent");
    }
}

fn runs_in_a_circle(purposes: &BTreeMap<PurposeId, Purpose>, id: &str) -> bool {
    let mut current = purposes.get(id);
    for _ in 0..purposes.len() {
        current = current.and_then(|purpose| purposes.get(purpose.within.as_ref()?));
        if current.is_some_and(|purpose| purpose.id.as_str() == id) {
            return true;
        }
    }
    false
}
