//! The printed options: a file that could be used as `amanat.toml`, with what every option does,
//! what it is now and where that came from.

use std::fmt::Write as _;

use super::options::{Anchor, Recipient, Section};
use super::{Shown, Source};

/// The options as TOML with comments. A value that is not set, or withheld, is a comment.
#[must_use]
pub fn print(values: &[Shown]) -> String {
    let mut page = String::from(
        "# Defaults < this file < environment (AMANAT__SERVER__LISTEN) < flags.\n\
         # Secrets stand in files (`<option>_file`) or in the environment, never here.\n",
    );
    let mut section = "";
    for shown in values {
        if shown.section != section {
            section = &shown.section;
            page.push('\n');
            push_comment(&mut page, shown.section_text);
            push_line(&mut page, &format!("[{}]", toml_path(section)));
        }
        push_option(&mut page, shown);
    }
    push_template::<Anchor>(&mut page, values, "anchors", "name");
    push_template::<Recipient>(&mut page, values, "recipients", "id");
    page
}

/// A section that has no name until the operator gives one, as comments.
fn push_template<T: Section>(page: &mut String, values: &[Shown], section: &str, name: &str) {
    let of_kind = |shown: &Shown| shown.section.split_once('.').is_some_and(|(kind, _)| kind == section);
    if values.iter().any(of_kind) {
        return;
    }
    page.push('\n');
    push_comment(page, T::TEXT);
    push_line(page, &format!("# [{section}.<{name}>]"));
    for declared in T::OPTIONS {
        push_comment(page, declared.text);
        push_line(page, &format!("# {}", capitalised(declared.kind)));
        let value = if declared.default.is_empty() { "not set" } else { declared.default };
        push_line(page, &format!("# {}: {value}", declared.option));
    }
}

fn push_option(page: &mut String, shown: &Shown) {
    push_comment(page, shown.text);
    push_line(page, &format!("# {}", capitalised(shown.kind)));
    if shown.source != Source::Default {
        push_line(page, &format!("# from {}", shown.source));
    }
    let option = shown.option;
    match &shown.value {
        Some(value) if shown.withheld => push_line(page, &format!("# {option}: {value}")),
        Some(value) => push_line(page, &format!("{option} = {value}")),
        None => push_line(page, &format!("# {option}: not set")),
    }
}

fn push_comment(page: &mut String, text: &str) {
    for line in text.lines() {
        push_line(page, &format!("# {}", line.trim()));
    }
}

fn push_line(page: &mut String, line: &str) {
    // Writing to a `String` cannot fail.
    if writeln!(page, "{line}").is_err() {
        page.push('\n');
    }
}

fn capitalised(text: &str) -> String {
    let mut symbols = text.chars();
    match symbols.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), symbols.as_str()),
        None => String::new(),
    }
}

/// A section's name with its parts quoted where TOML asks for it.
fn toml_path(section: &str) -> String {
    let bare = |symbol: char| symbol.is_ascii_alphanumeric() || symbol == '_' || symbol == '-';
    match section.split_once('.') {
        Some((first, rest)) if !rest.chars().all(bare) => format!("{first}.{rest:?}"),
        _ => section.to_owned(),
    }
}
