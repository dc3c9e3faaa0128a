//! `GET /verify`: the page on which anybody checks a receipt, a proof or a bundle in their own browser.
//!
//! The files below `verify/` are served as they are. The page checks with the browser's cryptography and
//! sends nothing; what it knows of events comes from the one list ([`Event`]). Deliberately absent: any
//! help of this server in judging, for it is the accused.

use serde_json::{Value, json};

use crate::domain::event::{Event, Outcome, Role};
use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

/// No script but its own, nothing from elsewhere, in nobody's frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $kind:ident)*) => {
        /// Name, content type and content.
        const FILES: &[(&str, &str, &str)] = &[$(($name, $kind, include_str!(concat!("verify/", $name))),)*];
    };
}

files! {
    "style.css" STYLE
    "icon.svg" IMAGE
    "main.js" SCRIPT
    "show.js" SCRIPT
    "single.js" SCRIPT
    "bundle.js" SCRIPT
    "keys.js" SCRIPT
    "lookup.js" SCRIPT
    "note.js" SCRIPT
    "leaf.js" SCRIPT
    "tree.js" SCRIPT
    "zip.js" SCRIPT
    "finding.js" SCRIPT
    "bytes.js" SCRIPT
    "text.js" SCRIPT
    "text.en.js" SCRIPT
    "text.de.js" SCRIPT
    "text.fr.js" SCRIPT
    "text.ar.js" SCRIPT
    "text.fa.js" SCRIPT
}

/// `GET /verify`.
pub(in crate::http) async fn page(_call: Call) -> Result<Answer, Problem> {
    Ok(guarded(HTML, include_str!("verify/index.html").as_bytes().to_vec()))
}

/// `GET /verify/{file}`: what the page is made of.
pub(in crate::http) async fn file(call: Call) -> Result<Answer, Problem> {
    let wanted = call.path("file");
    if wanted == "events.json" {
        return Ok(guarded("application/json", events().to_string().into_bytes()));
    }
    let found = FILES.iter().find(|(name, ..)| *name == wanted).ok_or(Problem::new(Code::NotFound))?;
    Ok(guarded(found.1, found.2.as_bytes().to_vec()))
}

fn guarded(content_type: &'static str, body: Vec<u8>) -> Answer {
    Answer::bytes(content_type, body)
        .header("content-security-policy", CONTENT_SECURITY_POLICY)
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
        .header("cross-origin-opener-policy", "same-origin")
        // A new version of the program brings new files under the same names.
        .header("cache-control", "no-cache")
}

/// What may and must stand in the leaves of each event, by numbers.
fn events() -> Value {
    let set = |admits: &dyn Fn(u8) -> bool, most: u8| (0..=most).filter(|number| admits(*number)).collect::<Vec<_>>();
    let roles = Role::ALL.iter().map(|role| role.number()).max().unwrap_or(0);
    let event = |event: &Event| {
        let rule = event.rule();
        json!({
            "number": event.number(),
            "name": event.as_str(),
            "class": rule.class.number(),
            "parts": set(&|role| rule.parts_required & (1 << role) != 0, roles),
            "optional_parts": set(&|role| (rule.parts_allowed & !rule.parts_required) & (1 << role) != 0, roles),
            "outcomes": Outcome::ALL.iter().filter(|each| rule.admits_outcome(**each)).map(|each| each.number()).collect::<Vec<_>>(),
            "facts": set(&|fact| rule.facts_required & (1 << fact) != 0, 31),
            "optional_facts": set(&|fact| (rule.facts_allowed & !rule.facts_required) & (1 << fact) != 0, 31),
        })
    };
    Event::ALL.iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn content(name: &str) -> &'static str {
        FILES.iter().find(|(known, ..)| *known == name).map(|(.., content)| *content).expect("file")
    }

    fn keys(catalogue: &str) -> BTreeSet<&str> {
        catalogue.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(':')).map(|(key, _)| key).collect()
    }

    #[test]
    fn every_language_has_every_key() {
        let english = keys(content("text.en.js"));
        assert!(english.len() > 80);
        for other in ["text.de.js", "text.fr.js", "text.ar.js", "text.fa.js"] {
            assert_eq!(keys(content(other)), english, "{other}");
        }
    }

    #[test]
    fn every_module_that_is_imported_is_served_and_nothing_is_inline() {
        for (name, _, text) in FILES {
            for imported in text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(FILES.iter().any(|(known, ..)| *known == imported), "{name} imports {imported}");
            }
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name} makes markup or code of text");
        }
        let page = include_str!("verify/index.html");
        assert!(!page.contains("<style") && !page.contains("onclick") && !page.contains("style="));
        assert!(!page.contains("//") || !page.contains("http"), "the page names another host");
    }

    #[test]
    fn the_table_says_what_the_rules_say() {
        let table = events();
        let completed = table.as_array().expect("array").iter().find(|event| event["number"] == 702).expect("702");
        assert_eq!(completed["parts"], json!([4]));
        assert_eq!((&completed["facts"], &completed["optional_facts"]), (&json!([3, 5]), &json!([15])));
        assert_eq!((&completed["class"], &completed["outcomes"]), (&json!(3), &json!([0])));
    }
}
