//! What was written, in every source, before it means anything; and the reading of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::options::Declared;
use super::setting::{Form, Setting};
use super::{Mistake, Shown, Source, Sources};

const VARIABLE_PREFIX: &str = "AMANAT__";

/// Everything that was written, and what has been found wrong with it so far.
pub(super) struct Reading<'a> {
    read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// By option (`server.listen`), the weakest source first.
    written: BTreeMap<String, Vec<Entry>>,
    /// Options that somebody asked for. What is left over in the end is unknown.
    declared: BTreeSet<String>,
    mistakes: Vec<Mistake>,
    values: Vec<Shown>,
}

/// One value in one source.
struct Entry {
    source: Source,
    /// How it was written; `None` outside the file, where all is text.
    form: Option<Form>,
    texts: Vec<String>,
}

impl<'a> Reading<'a> {
    /// Collects what the sources say.
    pub(super) fn of(sources: &Sources<'a>) -> Self {
        let mut reading = Self {
            read_file: sources.read_file,
            written: BTreeMap::new(),
            declared: BTreeSet::new(),
            mistakes: Vec::new(),
            values: Vec::new(),
        };
        if let Some((name, text)) = sources.file {
            reading.collect_file(name, text);
        }
        reading.collect_environment(&sources.environment);
        for (key, text) in &sources.flags {
            let option = key.clone();
            reading.add(key, Source::Flag { option }, None, vec![text.clone()]);
        }
        reading
    }

    /// Reads one option; `None` if it is wrong, and then a mistake says so.
    pub(super) fn option<T: Setting>(
        &mut self,
        section: &str,
        section_text: &'static str,
        declared: &Declared,
    ) -> Option<T> {
        let key = format!("{section}.{}", declared.option);
        let before = self.mistakes.len();
        self.refuse_secrets::<T>(&key);
        let mut entry = self.take(&key);
        if T::FROM_FILE {
            entry = self.prefer_file(&key, entry);
        }
        let entry = entry.unwrap_or_else(|| Entry {
            source: Source::Default,
            form: None,
            texts: default_texts::<T>(declared.default),
        });
        self.check_form::<T>(&key, &entry);
        let texts = match entry.form {
            None if T::FORM == Form::List => split_list(&entry.texts),
            _ => entry.texts.clone(),
        };
        let withheld = texts.iter().any(|text| T::is_secret(text));
        self.values.push(Shown {
            section: section.to_owned(),
            section_text,
            option: declared.option,
            text: declared.text,
            kind: declared.kind,
            value: shown_value(T::FORM, &texts, withheld),
            withheld,
            source: entry.source.clone(),
        });
        if self.mistakes.len() > before {
            return None;
        }
        match T::read(&texts) {
            Ok(value) => Some(value),
            Err(text) => {
                self.mistake(entry.source, &key, text);
                None
            }
        }
    }

    /// Adds what only the whole shows. `key` is the option to change, read before.
    pub(super) fn contradiction(&mut self, key: &str, text: impl Into<String>) {
        let source = self
            .values
            .iter()
            .find(|shown| {
                key.strip_suffix(shown.option).and_then(|rest| rest.strip_suffix('.')) == Some(shown.section.as_str())
            })
            .map_or(Source::Default, |shown| shown.source.clone());
        self.mistake(source, key, text);
    }

    /// The names between `prefix.` and the option, for sections that the operator names
    /// (`recipients`). A variable's name cannot hold every id, so `HELPDESK_US` means the id of the
    /// file that reads so when its other symbols become `_`.
    pub(super) fn named_sections(&mut self, prefix: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut from_variables = BTreeMap::new();
        for (key, entries) in &self.written {
            let Some((section, option)) = key.rsplit_once('.') else {
                continue;
            };
            let Some(name) = section.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let only_variables = entries.iter().all(|entry| matches!(entry.source, Source::Environment { .. }));
            if only_variables {
                from_variables.insert(key.clone(), (name.to_owned(), option.to_owned()));
            } else {
                names.insert(name.to_owned());
            }
        }
        for (key, (name, option)) in from_variables {
            let known = names.iter().find(|known| variable_name(known) == name);
            match known.cloned() {
                Some(known) => {
                    let entries = self.written.remove(&key).unwrap_or_default();
                    let key = format!("{prefix}.{known}.{option}");
                    self.written.entry(key).or_default().extend(entries);
                }
                None => {
                    names.insert(name);
                }
            }
        }
        names
    }

    /// What was wrong, and every option read. What nobody asked for is unknown, and wrong.
    pub(super) fn finish(mut self) -> (Vec<Mistake>, Vec<Shown>) {
        for (key, entries) in std::mem::take(&mut self.written) {
            let text = match self.nearest(&key) {
                Some(nearest) => format!("there is no such option; `{nearest}` is the nearest"),
                None => "there is no such option; `amanat config` lists them".to_owned(),
            };
            for entry in entries {
                self.mistake(entry.source, &key, text.clone());
            }
        }
        self.mistakes.sort_by(|a, b| a.source.cmp(&b.source));
        (self.mistakes, self.values)
    }

    fn collect_file(&mut self, name: &str, text: &str) {
        let (document, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            self.collect_table(name, text, "", document.get_ref());
            return;
        }
        for error in errors {
            let source =
                Source::File { name: name.to_owned(), line: line_of(text, error.span().map_or(0, |span| span.start)) };
            self.mistake(source, "", format!("not TOML: {}", error.message()));
        }
    }

    fn collect_table(&mut self, name: &str, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (option, value) in table {
            let key =
                if prefix.is_empty() { option.get_ref().to_string() } else { format!("{prefix}.{}", option.get_ref()) };
            if let DeValue::Table(inner) = value.get_ref() {
                self.collect_table(name, text, &key, inner);
                continue;
            }
            let source = Source::File { name: name.to_owned(), line: line_of(text, value.span().start) };
            match scalar_texts(value) {
                Some((form, texts)) => self.add(&key, source, Some(form), texts),
                None => {
                    let text = "write text, a whole number, true, false, or a list of texts";
                    self.declared.insert(key.clone());
                    self.mistake(source, &key, text);
                }
            }
        }
    }

    fn collect_environment(&mut self, environment: &[(String, String)]) {
        for (name, text) in environment {
            let Some(path) = name.strip_prefix(VARIABLE_PREFIX) else {
                continue;
            };
            if text.is_empty() {
                continue;
            }
            let key = path.to_ascii_lowercase().replace("__", ".");
            let name = name.clone();
            self.add(&key, Source::Environment { name }, None, vec![text.clone()]);
        }
    }

    fn add(&mut self, key: &str, source: Source, form: Option<Form>, texts: Vec<String>) {
        let entry = Entry { source, form, texts };
        self.written.entry(key.to_owned()).or_default().push(entry);
    }

    /// The strongest value of an option.
    fn take(&mut self, key: &str) -> Option<Entry> {
        self.declared.insert(key.to_owned());
        self.written.remove(key)?.pop()
    }

    /// Follows `<option>_file`, if it is stronger than the option itself.
    fn prefer_file(&mut self, key: &str, direct: Option<Entry>) -> Option<Entry> {
        let file_key = format!("{key}_file");
        let Some(named) = self.take(&file_key) else {
            return direct;
        };
        if let Some(direct) = direct {
            if rank(&direct.source) > rank(&named.source) {
                return Some(direct);
            }
            if rank(&direct.source) == rank(&named.source) {
                let text = format!("given twice: `{file_key}` and `{key}`; keep one");
                self.mistake(named.source.clone(), &file_key, text);
            }
        }
        let path = named.texts.first().map_or("", String::as_str);
        match (self.read_file)(Path::new(path)) {
            Ok(content) => {
                let content = Zeroizing::new(content);
                Some(Entry { source: named.source, form: None, texts: vec![content.trim().to_owned()] })
            }
            Err(error) => {
                let text = format!("cannot read the file it names: {}", error.kind());
                self.mistake(named.source, &file_key, text);
                None
            }
        }
    }

    /// A secret in the file or on the command line is refused even where a stronger source
    /// overrides it: it is written down already.
    fn refuse_secrets<T: Setting>(&mut self, key: &str) {
        let entries = self.written.get(key).into_iter().flatten();
        let misplaced: Vec<Source> = entries
            .filter(|entry| !matches!(entry.source, Source::Environment { .. }))
            .filter(|entry| entry.texts.iter().any(|text| T::is_secret(text)))
            .map(|entry| entry.source.clone())
            .collect();
        let variable = format!("{VARIABLE_PREFIX}{}", variable_of(key));
        let place = if T::FROM_FILE {
            format!(
                "put it into a file of its own and name that as `{key}_file`, or into the environment as {variable}"
            )
        } else {
            format!("put it into the environment as {variable}")
        };
        for source in misplaced {
            self.mistake(source, key, format!("a secret does not belong here; {place}"));
        }
    }

    fn check_form<T: Setting>(&mut self, key: &str, entry: &Entry) {
        if entry.form.is_some_and(|form| form != T::FORM) {
            let wanted = match T::FORM {
                Form::Text => "written as text, in quotes",
                Form::Number => "written as a number, without quotes",
                Form::Switch => "true or false, without quotes",
                Form::List => "written as a list of texts",
            };
            let text = format!("must be {wanted}: {}", T::KIND);
            self.mistake(entry.source.clone(), key, text);
        }
    }

    fn mistake(&mut self, source: Source, key: &str, text: impl Into<String>) {
        self.mistakes.push(Mistake { source, key: key.to_owned(), text: text.into() });
    }

    fn nearest(&self, key: &str) -> Option<&String> {
        let near = self.declared.iter().map(|known| (distance(known, key), known));
        near.filter(|(distance, _)| *distance <= 3).min().map(|(_, known)| known)
    }
}

fn default_texts<T: Setting>(default: &str) -> Vec<String> {
    match default {
        "" => Vec::new(),
        text if T::FORM == Form::List => split_list(&[text.to_owned()]),
        text => vec![text.to_owned()],
    }
}

fn split_list(texts: &[String]) -> Vec<String> {
    let parts = texts.iter().flat_map(|text| text.split(','));
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn scalar_texts(value: &Spanned<DeValue<'_>>) -> Option<(Form, Vec<String>)> {
    match value.get_ref() {
        DeValue::String(text) => Some((Form::Text, vec![text.to_string()])),
        DeValue::Integer(number) if number.radix() == 10 => Some((Form::Number, vec![number.as_str().to_owned()])),
        DeValue::Boolean(switch) => Some((Form::Switch, vec![switch.to_string()])),
        DeValue::Array(entries) => {
            let texts = entries.iter().map(|entry| match entry.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
                _ => None,
            });
            Some((Form::List, texts.collect::<Option<Vec<String>>>()?))
        }
        _ => None,
    }
}

/// The value in TOML, or that it is set.
fn shown_value(form: Form, texts: &[String], withheld: bool) -> Option<String> {
    let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
    match (form, texts) {
        _ if withheld => Some("(set)".to_owned()),
        (Form::List, texts) => {
            let texts: Vec<String> = texts.iter().map(quoted).collect();
            Some(format!("[{}]", texts.join(", ")))
        }
        (Form::Text, [text, ..]) => Some(quoted(text)),
        (_, [text, ..]) => Some(text.clone()),
        (_, []) => None,
    }
}

fn line_of(text: &str, position: usize) -> usize {
    let before = text.bytes().take(position);
    1 + before.filter(|byte| *byte == b'\n').count()
}

fn rank(source: &Source) -> u8 {
    match source {
        Source::Default => 0,
        Source::File { .. } => 1,
        Source::Environment { .. } => 2,
        Source::Flag { .. } => 3,
    }
}

/// A key's name in the environment, without the prefix.
fn variable_of(key: &str) -> String {
    let parts: Vec<String> = key.split('.').map(|part| variable_name(part).to_ascii_uppercase()).collect();
    parts.join("__")
}

/// A name with every symbol that a variable cannot hold replaced.
fn variable_name(name: &str) -> String {
    let symbols = name.chars().map(|symbol| match symbol {
        symbol if symbol.is_ascii_alphanumeric() => symbol.to_ascii_lowercase(),
        _ => '_',
    });
    symbols.collect()
}

/// Letters to insert, delete or replace to make one text the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut left = line + 1;
        let mut next = vec![left];
        for (b, pair) in other.chars().zip(row.windows(2)) {
            let (Some(diagonal), Some(above)) = (pair.first(), pair.last()) else {
                continue;
            };
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
