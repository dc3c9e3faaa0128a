//! What a change of policy means, in words, before it takes effect.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::category::Field;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::policy::Policy;
use crate::domain::purpose::Purpose;
use crate::domain::recipient::Recipient;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it does to what may be done.
    pub effect: Effect,
    /// What it is about, `purpose newsletter`.
    pub about: String,
    /// What changes, in words.
    pub what: String,
}

/// Whether a change permits more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// More may be done than before: look twice.
    Widens,
    /// Less may be done.
    Narrows,
    /// Neither, or both.
    Alters,
}

impl Effect {
    /// The spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Widens => "widens",
            Self::Narrows => "narrows",
            Self::Alters => "alters",
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.about, self.what, self.effect.as_str())
    }
}

/// Every change from the old policy to the new one; what widens comes first. Empty exactly when the
/// two allow, say and keep the same in all that is compared here.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = Changes::default();
    controllers(old, new, &mut changes);
    changes.of_maps("purpose", &old.purposes, &new.purposes, purpose);
    changes.of_maps("field", &old.fields, &new.fields, field);
    changes.of_maps("recipient", &old.recipients, &new.recipients, recipient);
    changes.of_maps("collector", &old.collectors, &new.collectors, |old, new, about, changes| {
        if format!("{old:?}") != format!("{new:?}") {
            changes.add(Effect::Alters, about, "its rules change");
        }
    });
    changes.of_maps("retention", &old.retention, &new.retention, |old, new, about, changes| {
        if format!("{old:?}") != format!("{new:?}") {
            changes.add(Effect::Alters, about, format!("{} becomes {}", old.period, new.period));
        }
    });
    for key in new.notices.keys().filter(|key| !old.notices.contains_key(*key)) {
        changes.add(
            Effect::Alters,
            &format!("notice {}", key.0),
            format!("version {} in {} is published", key.1, key.2),
        );
    }
    for key in old.notices.keys().filter(|key| !new.notices.contains_key(*key)) {
        let what = format!("version {} in {} is gone: consents given on it serve no longer", key.1, key.2);
        changes.add(Effect::Narrows, &format!("notice {}", key.0), what);
    }
    if format!("{:?}", old.adequacy) != format!("{:?}", new.adequacy) {
        changes.add(Effect::Alters, "adequacy", "the table of decisions changes");
    }
    let mut changes = changes.0;
    changes.sort_by_key(|change| change.effect);
    changes
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, effect: Effect, about: &str, what: impl Into<String>) {
        self.0.push(Change { effect, about: about.to_owned(), what: what.into() });
    }

    fn of_maps<K: Ord + std::fmt::Display, V>(
        &mut self,
        kind: &str,
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
        compare: impl Fn(&V, &V, &str, &mut Self),
    ) {
        let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let about = format!("{kind} {key}");
            match (old.get(key), new.get(key)) {
                (None, _) => self.add(Effect::Widens, &about, "is added"),
                (_, None) => self.add(Effect::Narrows, &about, "is removed"),
                (Some(old), Some(new)) => compare(old, new, &about, self),
            }
        }
    }

    /// Adds what a list gains and loses.
    fn of_lists<T: PartialEq + std::fmt::Display>(&mut self, about: &str, what: &str, old: &[T], new: &[T]) {
        for item in new.iter().filter(|item| !old.contains(item)) {
            self.add(Effect::Widens, about, format!("{what} `{item}` is added"));
        }
        for item in old.iter().filter(|item| !new.contains(item)) {
            self.add(Effect::Narrows, about, format!("{what} `{item}` is removed"));
        }
    }
}

fn controllers(old: &Policy, new: &Policy, changes: &mut Changes) {
    if format!("{:?}", old.controller) != format!("{:?}", new.controller) {
        changes.add(Effect::Alters, "controller", "its particulars change");
    }
    if old.blocked_identifiers != new.blocked_identifiers {
        changes.add(Effect::Alters, "controller", "the blocked identifiers change");
    }
}

fn purpose(old: &Purpose, new: &Purpose, about: &str, changes: &mut Changes) {
    match (old.active, new.active) {
        (false, true) => changes.add(Effect::Widens, about, "is switched on"),
        (true, false) => changes.add(Effect::Narrows, about, "is switched off"),
        _ => {}
    }
    if old.basis != new.basis {
        let mut what = format!("legal basis {} becomes {}", old.basis.as_str(), new.basis.as_str());
        if old.basis == LegalBasis::Consent {
            // GDPR Art. 7(3); EDPB Guidelines 05/2020: no swap of basis after a withdrawal.
            what.push_str("; whoever withdrew or refused stays out where the new basis heeds objections");
        }
        changes.add(Effect::Widens, about, what);
    }
    let protections = [
        ("explicit consent", old.explicit, new.explicit),
        ("double opt-in", old.double_opt_in, new.double_opt_in),
        ("direct marketing", old.direct_marketing, new.direct_marketing),
    ];
    for (name, before, after) in protections {
        match (before, after) {
            (true, false) => changes.add(Effect::Widens, about, format!("{name} no longer applies")),
            (false, true) => changes.add(Effect::Narrows, about, format!("{name} applies")),
            _ => {}
        }
    }
    if old.minimum_proof != new.minimum_proof {
        let effect = if new.minimum_proof < old.minimum_proof { Effect::Widens } else { Effect::Narrows };
        let what = format!("minimum proof {} becomes {}", old.minimum_proof.as_str(), new.minimum_proof.as_str());
        changes.add(effect, about, what);
    }
    if old.within != new.within {
        changes.add(Effect::Alters, about, "moves to another place in the tree of purposes");
    }
    changes.of_lists(about, "channel", &old.channels, &new.channels);
    let words = |purpose: &Purpose| {
        let periods = format!("{:?} {:?}", purpose.validity, purpose.ask_again_after);
        (
            purpose.title.clone(),
            purpose.description.clone(),
            purpose.term.clone(),
            purpose.notice.clone(),
            purpose.lia.clone(),
            periods,
        )
    };
    if words(old) != words(new) {
        changes.add(Effect::Alters, about, "its texts, term, notice, balancing test or periods change");
    }
}

fn field(old: &Field, new: &Field, about: &str, changes: &mut Changes) {
    changes.of_lists(about, "purpose", &old.purposes, &new.purposes);
    match (old.personal, new.personal) {
        (true, false) => changes.add(Effect::Widens, about, "is no longer treated as personal"),
        (false, true) => changes.add(Effect::Narrows, about, "is treated as personal"),
        _ => {}
    }
    match (old.special, new.special) {
        (true, false) => changes.add(Effect::Widens, about, "is no longer treated as special"),
        (false, true) => changes.add(Effect::Narrows, about, "is treated as special"),
        _ => {}
    }
    if old.retention != new.retention {
        changes.add(Effect::Alters, about, format!("retention {} becomes {}", old.retention, new.retention));
    }
    let rest = |field: &Field| {
        (
            field.category.clone(),
            field.identifies.clone(),
            field.description.clone(),
            field.origin,
            field.code_meanings.clone(),
        )
    };
    if rest(old) != rest(new) {
        changes.add(Effect::Alters, about, "its category, identifier kind or texts change");
    }
}

fn recipient(old: &Recipient, new: &Recipient, about: &str, changes: &mut Changes) {
    let empty = Vec::new();
    let purposes: BTreeSet<_> = old.purposes.keys().chain(new.purposes.keys()).collect();
    for purpose in purposes {
        let (before, after) = (old.purposes.get(purpose), new.purposes.get(purpose));
        changes.of_lists(about, &format!("for {purpose}: field"), before.unwrap_or(&empty), after.unwrap_or(&empty));
    }
    let countries = |recipient: &Recipient| recipient.countries().map(str::to_owned).collect::<Vec<_>>();
    changes.of_lists(about, "country", &countries(old), &countries(new));
    let rest = |recipient: &Recipient| {
        let Recipient {
            name,
            role,
            contract,
            contract_until,
            safeguard,
            listed_until,
            verbs,
            pseudonym_version,
            thin,
            ..
        } = recipient.clone();
        (name, role, contract, contract_until, safeguard, listed_until, verbs, (pseudonym_version, thin))
    };
    if rest(old) != rest(new) {
        changes.add(Effect::Alters, about, "its name, role, contract, safeguard or verbs change");
    }
}
