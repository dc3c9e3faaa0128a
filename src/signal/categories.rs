//! The consent objects of Segment and RudderStack (`consent.md` §9.5, §9.6).
//!
//! Both speak of category ids, which the collector's rules map to purposes. An id that a mapped
//! purpose needs and that is not there denies by omission. An object that cannot be read denies
//! everything it is mapped to, but an explicit no inside it is still an explicit no.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::domain::id::PurposeId;
use crate::domain::policy::{CategoryMap, SignalKind};
use crate::domain::signal::{Says, Signal};

/// The map of a collector: category id to purposes.
pub type Categories = BTreeMap<String, CategoryMap>;

/// `context.consent.categoryPreferences` as it came.
pub enum Preferences<'a> {
    /// No consent object, or none with preferences: silent.
    Absent,
    /// Of a wrong type as a whole.
    Unreadable,
    /// Category ids and what was said of them; `None` is a value that is no boolean.
    Stated(Vec<(Cow<'a, str>, Option<bool>)>),
}

/// `context.consentManagement` as it came.
pub enum Management<'a> {
    /// No such object: silent.
    Absent,
    /// Of a wrong type as a whole.
    Unreadable,
    /// The lists.
    Stated {
        /// The consent tool it comes from.
        provider: Option<Cow<'a, str>>,
        /// `allowedConsentIds`.
        allowed: Ids<'a>,
        /// `deniedConsentIds`.
        denied: Ids<'a>,
    },
}

/// A list of consent ids.
#[derive(Default)]
pub struct Ids<'a> {
    /// The ids that could be read.
    pub ids: Vec<Cow<'a, str>>,
    /// Whether the list, or one of its elements, is of a wrong type.
    pub unreadable: bool,
}

/// The consent tools whose ids RudderStack's SDKs pass on. Of any other, nobody knows what its ids
/// mean, so that it cannot be decoded.
const PROVIDERS: [&str; 4] = ["oneTrust", "ketch", "iubenda", "custom"];

/// What Segment's object says; `None` if it is silent.
#[must_use]
pub fn segment(stated: &Preferences<'_>, map: &Categories) -> Option<Signal> {
    match stated {
        Preferences::Absent => None,
        Preferences::Unreadable => signal(map, true, 0, |_| None),
        Preferences::Stated(preferences) => {
            let unreadable = preferences.iter().any(|(_, choice)| choice.is_none());
            let unmapped = preferences.iter().filter(|(id, _)| !map.contains_key(id.as_ref())).count();
            signal(map, unreadable, unmapped, |id| {
                let stated = preferences.iter().find(|(name, _)| name == id);
                stated.and_then(|(_, choice)| *choice)
            })
        }
    }
}

/// What RudderStack's object says; `None` if it is silent.
///
/// `resolutionStrategy` is not read: what is on the wire cannot widen, only the map's `any` can.
#[must_use]
pub fn rudderstack(stated: &Management<'_>, map: &Categories) -> Option<Signal> {
    match stated {
        Management::Absent => None,
        Management::Unreadable => signal(map, true, 0, |_| None),
        Management::Stated { provider, allowed, denied } => {
            let unreadable = allowed.unreadable || denied.unreadable;
            if !unreadable && allowed.ids.is_empty() && denied.ids.is_empty() {
                return None;
            }
            let known =
                provider.as_ref().is_some_and(|name| PROVIDERS.iter().any(|known| name.eq_ignore_ascii_case(known)));
            let unmapped = allowed.ids.iter().chain(&denied.ids).filter(|id| !map.contains_key(id.as_ref())).count();
            signal(map, unreadable || !known, unmapped, |id| {
                if denied.ids.iter().any(|name| name == id) {
                    Some(false)
                } else {
                    allowed.ids.iter().any(|name| name == id).then_some(true)
                }
            })
        }
    }
}

/// What is known of one purpose while its categories are gone through.
struct Tally<'m> {
    purpose: &'m PurposeId,
    /// Whether every category of the purpose is content with one yes among them.
    any: bool,
    granted: bool,
    denied: bool,
    omitted: bool,
}

/// Puts together what `choice` says of every mapped id.
fn signal(
    map: &Categories,
    unreadable: bool,
    unmapped: usize,
    choice: impl Fn(&str) -> Option<bool>,
) -> Option<Signal> {
    let mut tallies: Vec<Tally<'_>> = Vec::new();
    for (id, category) in map {
        let said = choice(id);
        for purpose in &category.purposes {
            if !tallies.iter().any(|tally| tally.purpose == purpose) {
                tallies.push(Tally { purpose, any: true, granted: false, denied: false, omitted: false });
            }
            let Some(tally) = tallies.iter_mut().find(|tally| tally.purpose == purpose) else {
                continue;
            };
            tally.any &= category.any;
            tally.granted |= said == Some(true);
            tally.denied |= said == Some(false);
            tally.omitted |= said.is_none();
        }
    }
    let says = tallies.into_iter().map(|tally| (tally.purpose.clone(), tally.says(unreadable))).collect();
    Some(Signal { kind: SignalKind::Categories, says, unmapped })
}

impl Tally<'_> {
    fn says(&self, unreadable: bool) -> Says {
        let enough = self.any && self.granted && !unreadable;
        match () {
            () if enough => Says::Allows,
            () if self.denied => Says::Denies,
            () if unreadable => Says::Undecodable,
            () if self.omitted || !self.granted => Says::Omits,
            () => Says::Allows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(any: bool) -> Categories {
        let category = |purpose: &str| CategoryMap { purposes: vec![PurposeId::new(purpose)], any };
        Categories::from([
            ("Advertising".to_owned(), category("ads")),
            ("Social".to_owned(), category("ads")),
            ("Analytics".to_owned(), category("analytics")),
        ])
    }

    fn says(signal: Option<Signal>, purpose: &str) -> Option<Says> {
        let says = signal?.says;
        says.into_iter().find_map(|(id, says)| (id.as_str() == purpose).then_some(says))
    }

    fn stated(pairs: &[(&'static str, Option<bool>)]) -> Preferences<'static> {
        let pairs = pairs.iter().map(|(id, choice)| (Cow::Borrowed(*id), *choice));
        Preferences::Stated(pairs.collect())
    }

    fn ids(names: &[&'static str]) -> Ids<'static> {
        Ids { ids: names.iter().map(|name| Cow::Borrowed(*name)).collect(), unreadable: false }
    }

    fn managed(allowed: Ids<'static>, denied: Ids<'static>, provider: &'static str) -> Management<'static> {
        Management::Stated { provider: Some(Cow::Borrowed(provider)), allowed, denied }
    }

    #[test]
    fn every_row_of_segments_table() {
        let yes = Some(true);
        let no = Some(false);
        let ads = |given: &Preferences<'_>| says(segment(given, &map(false)), "ads");
        assert_eq!(ads(&Preferences::Absent), None);
        assert_eq!(ads(&Preferences::Unreadable), Some(Says::Undecodable));
        assert_eq!(ads(&stated(&[])), Some(Says::Omits));
        assert_eq!(ads(&stated(&[("Advertising", yes)])), Some(Says::Omits));
        assert_eq!(ads(&stated(&[("Advertising", yes), ("Social", yes)])), Some(Says::Allows));
        assert_eq!(ads(&stated(&[("Advertising", yes), ("Social", no)])), Some(Says::Denies));
        assert_eq!(ads(&stated(&[("advertising", yes), ("Social", yes)])), Some(Says::Omits));
        assert_eq!(ads(&stated(&[("Advertising", yes), ("Social", None)])), Some(Says::Undecodable));
        assert_eq!(ads(&stated(&[("Advertising", no), ("Analytics", None)])), Some(Says::Denies));
        let unknown = segment(&stated(&[("X", yes), ("Analytics", yes)]), &map(false));
        assert_eq!(unknown.map(|signal| signal.unmapped), Some(1));
    }

    #[test]
    fn one_yes_is_enough_only_where_the_map_says_any() {
        let given = stated(&[("Advertising", Some(true)), ("Social", Some(false))]);
        assert_eq!(says(segment(&given, &map(true)), "ads"), Some(Says::Allows));
        let neither = stated(&[("Social", Some(false))]);
        assert_eq!(says(segment(&neither, &map(true)), "ads"), Some(Says::Denies));
    }

    #[test]
    fn every_row_of_rudderstacks_table() {
        let of = |given: &Management<'_>| says(rudderstack(given, &map(false)), "ads");
        let both = ["Advertising", "Social"];
        assert_eq!(of(&Management::Absent), None);
        assert_eq!(of(&Management::Unreadable), Some(Says::Undecodable));
        assert_eq!(of(&managed(ids(&[]), ids(&[]), "custom")), None);
        assert_eq!(of(&managed(ids(&["Social"]), ids(&[]), "custom")), Some(Says::Omits));
        assert_eq!(of(&managed(ids(&both), ids(&[]), "custom")), Some(Says::Allows));
        assert_eq!(of(&managed(ids(&both), ids(&["Social"]), "oneTrust")), Some(Says::Denies));
        assert_eq!(of(&managed(ids(&both), ids(&[]), "homemade")), Some(Says::Undecodable));
        let broken = Ids { unreadable: true, ..Ids::default() };
        assert_eq!(of(&managed(ids(&both), broken, "custom")), Some(Says::Undecodable));
    }
}
