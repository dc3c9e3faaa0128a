//! The house rules that a machine can hold: doors between rooms, size of files, and that every code
//! and every event of the closed lists is used or marked as not used yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use amanat::domain::event::{Event, Standing};
use amanat::http::problem::Code;

use crate::harness::{files_below, shipped_policy};

/// The longest file. A table of rows that belong together may be longer.
const LONGEST: usize = 500;
const TABLES: &[&str] = &["src/storage/schema.rs"];

/// What each room may use besides itself. `main` is `cli`'s.
const DOORS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("policy", &["domain"]),
    ("signal", &["domain"]),
    ("crypto", &["domain"]),
    ("audit", &["domain", "crypto"]),
    ("storage", &["domain", "crypto", "audit", "telemetry"]),
    ("delivery", &["domain", "telemetry"]),
    ("gateway", &["domain", "policy", "signal", "crypto", "audit", "storage", "delivery", "telemetry"]),
    ("config", &["domain"]),
    ("telemetry", &[]),
    ("witness", &["crypto", "audit", "storage", "telemetry"]),
    ("http", &["gateway", "witness", "domain", "signal", "config", "telemetry"]),
];

/// Of some rooms only a part may be used.
const NARROW: &[(&str, &str, &[&str])] =
    &[("audit", "crypto", &["mac", "signature"]), ("storage", "crypto", &["sealed"])];

/// Names that no file of a room may hold.
const ABSENT: &[(&str, &[&str])] = &[
    ("domain", &["actix", "diesel", "tokio", "reqwest", "serde"]),
    ("policy", &["actix", "diesel", "tokio", "reqwest"]),
    ("signal", &["actix", "diesel", "tokio", "reqwest"]),
    ("crypto", &["actix", "diesel", "tokio", "reqwest"]),
    ("audit", &["actix", "diesel", "tokio", "reqwest"]),
    ("delivery", &["actix", "diesel"]),
    ("gateway", &["actix", "diesel"]),
    ("witness", &["actix", "diesel", "tokio", "reqwest"]),
    ("http", &["diesel"]),
    ("cli", &["diesel"]),
];

#[test]
fn rooms_use_only_the_doors_of_the_plan() {
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(room) = room_of(&file.path) else { continue };
        let Some((_, open)) = DOORS.iter().find(|(name, _)| *name == room) else {
            assert!(room == "cli" || !file.path.contains('/'), "{room} stands in no table");
            continue;
        };
        for (number, line) in file.lines() {
            for (used, rest) in used_rooms(line) {
                if used == room || open.contains(&used) {
                    let narrow = NARROW.iter().find(|(from, to, _)| *from == room && *to == used);
                    if let Some((.., parts)) = narrow
                        && !file.is_test
                        && !parts.iter().any(|part| rest.starts_with(part))
                        && !rest.starts_with('{')
                    {
                        wrong.push(format!("{}:{number}: {room} uses {used}::{rest}", file.path));
                    }
                    continue;
                }
                wrong.push(format!("{}:{number}: {room} uses {used}", file.path));
            }
            for name in absent(room) {
                let named = [format!("{name}::"), format!("{name}_")]
                    .iter()
                    .any(|form| words(line).any(|word| word.starts_with(form.as_str())));
                if named && !file.is_test {
                    wrong.push(format!("{}:{number}: {room} names {name}", file.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "doors that do not exist:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_one_can_hold_in_mind() {
    let long: Vec<String> = all_rust()
        .into_iter()
        .filter(|file| file.text.lines().count() > LONGEST && !TABLES.contains(&file.path.as_str()))
        .map(|file| format!("{} has {} lines", file.path, file.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "past {LONGEST} lines a file is two:\n{}", long.join("\n"));
}

#[test]
fn both_back_ends_have_the_same_migrations() {
    for store in ["data", "keys"] {
        let names = |back_end: &str| -> BTreeSet<String> {
            let folder = root().join("migrations").join(store).join(back_end);
            files_below(&folder)
                .iter()
                .map(|path| path.strip_prefix(&folder).expect("below").display().to_string())
                .collect()
        };
        assert_eq!(names("sqlite"), names("postgres"), "{store}");
        let folders: BTreeSet<String> =
            names("sqlite").iter().filter_map(|path| path.split('/').next().map(str::to_owned)).collect();
        // Of two migrations of one number the second is taken for the first, which ran.
        let numbers: BTreeSet<&str> = folders.iter().filter_map(|folder| folder.split('_').next()).collect();
        assert!(!folders.is_empty() && numbers.len() == folders.len(), "{store}: {folders:?}");
    }
}

#[test]
fn only_the_gateway_says_why_a_personal_value_is_read() {
    for file in sources().into_iter().filter(|file| !file.is_test) {
        if file.path.starts_with("src/gateway/") || file.path == "src/domain/personal.rs" {
            continue;
        }
        for (number, line) in file.lines() {
            assert!(!line.contains("Access::because"), "{}:{number} reads a personal value outside gateway", file.path);
        }
    }
}

/// A field that is not in the list would be written as withheld, which nobody notices until it is
/// needed.
#[test]
fn every_field_of_a_diagnostic_line_may_be_written() {
    let mut wrong = Vec::new();
    for file in sources().into_iter().filter(|file| !file.is_test) {
        let code: String = file.lines().map(|(_, line)| format!("{line}\n")).collect();
        for macro_name in ["tracing::error!(", "tracing::warn!(", "tracing::info!(", "tracing::debug!("] {
            for call in code.split(macro_name).skip(1) {
                for field in fields_before_the_message(call) {
                    if !amanat::telemetry::is_permitted(&field) {
                        wrong.push(format!("{}: {field}", file.path));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "fields that are withheld:\n{}", wrong.join("\n"));
}

/// The names of the fields of a call of a `tracing` macro: what stands before its message.
fn fields_before_the_message(call: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let (mut depth, mut argument) = (0_i32, String::new());
    for letter in call.chars() {
        match letter {
            '"' if depth == 0 && argument.trim().is_empty() => break,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                let name = argument.split('=').next().unwrap_or_default();
                fields.push(name.trim().trim_start_matches(['%', '?']).to_owned());
                argument.clear();
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        argument.push(letter);
    }
    fields
}

#[test]
fn every_event_of_the_closed_list_is_named_where_it_is_raised_or_reserved() {
    let raised = names_after("Event::", "src/gateway/");
    let mut wrong = Vec::new();
    for event in Event::ALL {
        let name = format!("{event:?}");
        if event.rule().standing == Standing::Raised && !raised.contains(&name) {
            wrong.push(format!("{name} is marked raised, and nothing in gateway names it"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_problem_code_is_answered_or_reserved() {
    let mut answered = names_after("Code::", "src/http/");
    answered.extend(names_after("Code::", "src/gateway/"));
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let name = format!("{code:?}");
        match (code.is_reserved(), answered.contains(&name)) {
            (false, false) => wrong.push(format!("{name} is not reserved, and nothing answers it")),
            (true, true) => wrong.push(format!("{name} is reserved, and something answers it")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lints_are_expected_and_never_allowed() {
    let attribute = ["#[", "allow("].concat();
    let inner = ["#![", "allow("].concat();
    for file in all_rust() {
        for (number, line) in file.lines() {
            let line = line.trim_start();
            assert!(
                !line.starts_with(&attribute) && !line.starts_with(&inner),
                "{}:{number}: expect it, with a reason",
                file.path
            );
        }
    }
}

#[test]
fn every_language_of_the_policy_has_every_text() {
    let files = shipped_policy();
    let text = |name: &str| String::from_utf8(files[name].clone()).expect("UTF-8");
    let controller: toml::Table = text("controller.toml").parse().expect("TOML");
    let languages: BTreeSet<String> = languages_of(&toml::Value::Table(controller)).into_iter().collect();
    assert!(languages.len() >= 5, "the example speaks {languages:?}");
    let mut notices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in files.keys().filter(|name| name.starts_with("notices/")) {
        let path = Path::new(name);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("name");
        let (notice, language) = match languages.contains(stem) {
            true => (path.parent().expect("folder").display().to_string(), stem.to_owned()),
            false => {
                let (notice, language) = stem.rsplit_once('.').expect("notice.language");
                (notice.to_owned(), language.to_owned())
            }
        };
        notices.entry(notice).or_default().insert(language);
    }
    assert!(!notices.is_empty());
    for (notice, has) in notices {
        assert_eq!(has, languages, "{notice}");
    }
    for name in files.keys().filter(|name| name.ends_with(".toml")) {
        let table: toml::Table = text(name).parse().expect("TOML");
        translated(&toml::Value::Table(table), name, &languages);
    }
}

fn languages_of(value: &toml::Value) -> Vec<String> {
    match value {
        toml::Value::Table(table) => match table.get("languages").and_then(toml::Value::as_array) {
            Some(list) => list.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect(),
            None => table.values().flat_map(languages_of).collect(),
        },
        _ => Vec::new(),
    }
}

/// A table with texts in one of our languages has them in all.
fn translated(value: &toml::Value, place: &str, languages: &BTreeSet<String>) {
    match value {
        toml::Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| translated(item, &format!("{place}[{at}]"), languages))
        }
        toml::Value::Table(table) => {
            let texts: BTreeSet<String> = table
                .iter()
                .filter(|(key, text)| text.is_str() && languages.contains(*key))
                .map(|(key, _)| key.clone())
                .collect();
            if table.get("en").is_some_and(toml::Value::is_str) {
                assert_eq!(&texts, languages, "{place}");
            }
            table.iter().for_each(|(key, value)| translated(value, &format!("{place}.{key}"), languages));
        }
        _ => {}
    }
}

struct Source {
    path: String,
    text: String,
    is_test: bool,
}

impl Source {
    /// Lines of code: neither comments nor the tests at the end of a file.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {").filter(|_| !self.is_test).unwrap_or(self.text.len());
        self.text[..end]
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn all_rust() -> Vec<Source> {
    let mut found = rust_below("src");
    found.extend(rust_below("tests"));
    found
}

fn sources() -> Vec<Source> {
    rust_below("src")
}

fn rust_below(folder: &str) -> Vec<Source> {
    let mut found: Vec<Source> = files_below_without_packages(&root().join(folder))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.strip_prefix(root()).expect("below").display().to_string();
            let is_test = name.contains("/tests") || name.starts_with("tests/");
            Source { text: std::fs::read_to_string(&path).expect("source"), path: name, is_test }
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn files_below_without_packages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let entry = entry.expect("entry");
        if entry.file_name() == "node_modules" {
            continue;
        }
        if entry.file_type().expect("type").is_dir() {
            found.extend(files_below_without_packages(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// `src/gateway/collect/mod.rs` is of `gateway`; `src/lib.rs` and `src/main.rs` of none.
fn room_of(path: &str) -> Option<&str> {
    let (room, _) = path.strip_prefix("src/")?.split_once('/')?;
    (room != "docs").then_some(room)
}

/// The rooms that a line names by `crate::room::rest`.
fn used_rooms(line: &str) -> Vec<(&str, &str)> {
    line.match_indices("crate::")
        .filter(|(at, _)| !line[..*at].ends_with('$'))
        .filter_map(|(at, prefix)| {
            let rest = &line[at + prefix.len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let room = &rest[..end];
            DOORS.iter().any(|(name, _)| *name == room).then(|| (room, rest[end..].trim_start_matches(':')))
        })
        .collect()
}

fn absent(room: &str) -> &'static [&'static str] {
    ABSENT.iter().find(|(name, _)| *name == room).map_or(&[], |(_, names)| names)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).filter(|word| !word.is_empty())
}

/// Every `Name` of `prefix` + `Name` in the code below a folder.
fn names_after(prefix: &str, below: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in sources().into_iter().filter(|file| file.path.starts_with(below) && !file.is_test) {
        for (_, line) in file.lines() {
            for (at, found) in line.match_indices(prefix) {
                let rest = &line[at + found.len()..];
                names.insert(rest.chars().take_while(char::is_ascii_alphanumeric).collect());
            }
        }
    }
    names
}
