//! What Segment-shaped events say beside their values: consent, and which recipients they leave in.

use std::borrow::Cow;

use crate::domain::collected::Narrowing;
use crate::domain::id::RecipientId;
use crate::domain::policy::CollectorRules;
use crate::domain::signal::Signal;
use crate::signal::categories::{self, Ids, Management, Preferences};

use super::json::{Kind, Value};

/// What one `context` says about consent. The context of a batch and that of its item are two
/// signals, and the most restrictive wins wherever they are read.
pub(super) fn signals(context: Option<Value<'_, '_>>, rules: &CollectorRules) -> Vec<Signal> {
    let map = &rules.categories;
    let mut signals = Vec::new();
    signals.extend(categories::segment(&preferences(context), map));
    signals.extend(categories::rudderstack(&management(context), map));
    signals
}

/// Segment's consent object.
pub(super) fn preferences<'a>(context: Option<Value<'_, 'a>>) -> Preferences<'a> {
    let Some(consent) = context.and_then(|context| context.member("consent")) else {
        return Preferences::Absent;
    };
    match consent.kind() {
        Kind::Null => Preferences::Absent,
        Kind::Object => match consent.member("categoryPreferences") {
            None => Preferences::Absent,
            Some(stated) if stated.kind() == Kind::Object => {
                Preferences::Stated(stated.members().map(|(id, choice)| (id, choice.boolean())).collect())
            }
            Some(_) => Preferences::Unreadable,
        },
        _ => Preferences::Unreadable,
    }
}

fn management<'a>(context: Option<Value<'_, 'a>>) -> Management<'a> {
    let Some(stated) = context.and_then(|context| context.member("consentManagement")) else {
        return Management::Absent;
    };
    match stated.kind() {
        Kind::Null => Management::Absent,
        Kind::Object => Management::Stated {
            provider: stated.member("provider").and_then(Value::text),
            allowed: ids(stated.member("allowedConsentIds")),
            denied: ids(stated.member("deniedConsentIds")),
        },
        _ => Management::Unreadable,
    }
}

/// A list of ids; older OneTrust payloads have an object whose keys are the ids.
fn ids<'a>(list: Option<Value<'_, 'a>>) -> Ids<'a> {
    let Some(list) = list else {
        return Ids::default();
    };
    match list.kind() {
        Kind::Array => {
            let mut ids = Ids::default();
            for element in list.elements() {
                match element.text() {
                    Some(id) => ids.ids.push(id),
                    None => ids.unreadable = true,
                }
            }
            ids
        }
        Kind::Object => Ids { ids: list.members().map(|(id, _)| id).collect(), unreadable: false },
        _ => Ids { ids: Vec::new(), unreadable: true },
    }
}

/// Which recipients the sender leaves in, from the `integrations` of batch and item; the item's word
/// on a name wins. What cannot be read leaves nobody in; an empty array is an empty object, for PHP
/// writes it so.
pub(super) fn narrowing<'d, 'a: 'd>(stated: [Option<Value<'d, 'a>>; 2], rules: &CollectorRules) -> Narrowing {
    let mut wishes: Vec<(Cow<'_, str>, bool)> = Vec::new();
    for stated in stated.into_iter().flatten() {
        if stated.kind() == Kind::Null {
            continue;
        }
        let empty_array = stated.kind() == Kind::Array && stated.elements().next().is_none();
        if stated.kind() != Kind::Object && !empty_array {
            return Narrowing { only: Some(Vec::new()), except: Vec::new() };
        }
        for (name, wish) in stated.members() {
            // Unknown names mean nobody; they also must not make this loop long.
            if name != "All" && !rules.integrations.contains_key(name.as_ref()) {
                continue;
            }
            let wanted = match wish.kind() {
                Kind::Null => continue,
                Kind::True | Kind::Object => true,
                _ => false,
            };
            wishes.retain(|(known, _)| *known != name);
            wishes.push((name, wanted));
        }
    }
    let recipients = |wanted: bool| -> Vec<RecipientId> {
        wishes
            .iter()
            .filter(|(_, wish)| *wish == wanted)
            .filter_map(|(name, _)| rules.integrations.get(name.as_ref()).cloned())
            .collect()
    };
    let nobody_else = wishes.iter().any(|(name, wish)| name == "All" && !wish);
    Narrowing { only: nobody_else.then(|| recipients(true)), except: recipients(false) }
}
