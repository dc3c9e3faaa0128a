//! Reading TOML tables so that every mistake is found in one pass, with its line and key.
//!
//! A derived deserialiser stops at the first mistake of a file; whoever mends a policy wants them
//! all. Each key is asked for by name; what nobody asked for is unknown.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Code, Mistake, nearest};

/// The mistakes found so far.
#[derive(Default)]
pub(super) struct Report(RefCell<Vec<Mistake>>);

impl Report {
    pub(super) fn add(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// A text file of the policy and where its text begins.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) first_line: usize,
    pub(super) report: &'a Report,
}

impl<'a> File<'a> {
    /// Parses the text; every syntax error is a mistake.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Some(table);
        }
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            self.report
                .add(Mistake::in_file(self.name, error.message().replace('\n', ", ")).on_line(self.line(offset)));
        }
        None
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        self.first_line + before.filter(|byte| **byte == b'\n').count()
    }
}

/// One table, and which of its keys were asked for.
pub(super) struct Entry<'a> {
    file: File<'a>,
    key: String,
    offset: usize,
    table: &'a DeTable<'a>,
    asked: RefCell<BTreeSet<&'static str>>,
    open: Cell<bool>,
}

impl<'a> Entry<'a> {
    pub(super) fn root(file: File<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(file, String::new(), table.span().start, table.get_ref())
    }

    fn new(file: File<'a>, key: String, offset: usize, table: &'a DeTable<'a>) -> Self {
        Self { file, key, offset, table, asked: RefCell::default(), open: Cell::new(true) }
    }

    /// Adds a mistake about a key of this table, or about the table where the key is empty.
    pub(super) fn mistake(&self, key: &str, what: impl Into<String>) {
        self.add(key, Mistake::at("", "", what));
    }

    pub(super) fn mistake_with_code(&self, key: &str, code: Code, what: impl Into<String>) {
        self.add(key, Mistake::at("", "", what).with_code(code));
    }

    pub(super) fn mistake_with_hint(&self, key: &str, what: impl Into<String>, hint: Option<String>) {
        let mut mistake = Mistake::at("", "", what);
        mistake.hint = hint;
        self.add(key, mistake);
    }

    fn add(&self, key: &str, mistake: Mistake) {
        let offset = self
            .table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map_or(self.offset, |(name, _)| name.span().start);
        self.file.report.add(Mistake {
            file: self.file.name.to_owned(),
            line: Some(self.file.line(offset)),
            key: self.below(key),
            ..mistake
        });
    }

    fn below(&self, key: &str) -> String {
        match (self.key.as_str(), key) {
            ("", key) => key.to_owned(),
            (own, "") => own.to_owned(),
            (own, key) => format!("{own}.{key}"),
        }
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// Whether the key is there at all.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    fn wrong_type(&self, key: &str, wanted: &str, found: &DeValue<'_>) {
        self.mistake(key, format!("must be {wanted}, is {}", found.type_str()));
    }

    /// A text, if the key is there.
    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?.get_ref();
        match value.as_str() {
            Some(text) if !text.trim().is_empty() => Some(text),
            Some(_) => {
                self.mistake(key, "is empty");
                None
            }
            None => {
                self.wrong_type(key, "a text", value);
                None
            }
        }
    }

    /// A text that must be there; empty, with a mistake, if it is not.
    pub(super) fn required_text(&self, key: &'static str) -> &'a str {
        if self.value(key).is_none() {
            self.mistake(key, "is missing");
        }
        self.text(key).unwrap_or_default()
    }

    /// An id of letters, digits, `_`, `-` and `.` that must be there.
    pub(super) fn id(&self, key: &'static str) -> &'a str {
        let id = self.required_text(key);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
        if id.len() > 100 || !id.chars().all(fits) {
            self.mistake(key, format!("`{id}` may have letters, digits, `_`, `-`, `.` and at most 100 characters"));
        }
        id
    }

    /// `true` or `false`; false if the key is absent.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?.get_ref();
        if value.as_bool().is_none() {
            self.wrong_type(key, "true or false", value);
        }
        value.as_bool()
    }

    /// A whole number from 1.
    pub(super) fn number(&self, key: &'static str) -> Option<u32> {
        let value = self.value(key)?.get_ref();
        let number = value
            .as_integer()
            .and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|number| *number > 0);
        if number.is_none() {
            self.mistake(key, "must be a whole number from 1");
        }
        number
    }

    /// One of the spellings of a closed list.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[T],
        spelling: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().copied().find(|choice| spelling(*choice) == text);
        if found.is_none() {
            self.unknown(key, text, choices.iter().map(|choice| spelling(*choice)));
        }
        found
    }

    /// Adds the mistake that a name is not among those known.
    pub(super) fn unknown<'n>(&self, key: &str, name: &str, known: impl IntoIterator<Item = &'n str>) {
        self.mistake_with_hint(key, format!("`{name}` is unknown"), nearest(name, known));
    }

    /// A name that must be declared elsewhere in the policy.
    pub(super) fn name(&self, key: &'static str, declared: &BTreeSet<&str>) -> Option<&'a str> {
        let name = self.text(key)?;
        self.check_name(key, name, declared);
        Some(name)
    }

    /// Names that must be declared elsewhere in the policy.
    pub(super) fn names(&self, key: &'static str, declared: &BTreeSet<&str>) -> Vec<&'a str> {
        let names = self.texts(key);
        for name in &names {
            self.check_name(key, name, declared);
        }
        names
    }

    pub(super) fn check_name(&self, key: &str, name: &str, declared: &BTreeSet<&str>) {
        if !declared.contains(name) {
            self.unknown(key, name, declared.iter().copied());
        }
    }

    /// A list of texts; empty if the key is absent. The same text twice is a mistake.
    pub(super) fn texts(&self, key: &'static str) -> Vec<&'a str> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, "a list of texts", value.get_ref());
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) if texts.contains(&text) => self.mistake(key, format!("`{text}` stands there twice")),
                Some(text) => texts.push(text),
                None => self.wrong_type(key, "a list of texts", item.get_ref()),
            }
        }
        texts
    }

    /// A calendar period, ISO 8601 (`P24M`), of whole days or more, at most 100 years.
    pub(super) fn period(&self, key: &'static str) -> Option<Span> {
        let text = self.text(key)?;
        match text.parse::<Span>() {
            Ok(span) if text.starts_with('P') && is_sensible(span) => Some(span),
            Ok(_) | Err(_) => {
                self.mistake_with_hint(
                    key,
                    format!("`{text}` is no period of whole days, months or years up to P100Y"),
                    Some("write it like `P30D`, `P6M` or `P2Y`".to_owned()),
                );
                None
            }
        }
    }

    /// A day, TOML date or text `2026-05-31`.
    pub(super) fn day(&self, key: &'static str) -> Option<Date> {
        self.parsed(key, "a day, `2026-05-31`")
    }

    /// An instant with offset.
    pub(super) fn instant(&self, key: &'static str) -> Option<Timestamp> {
        self.parsed(key, "an instant with offset, `2026-05-04T08:00:00Z`")
    }

    fn parsed<T: std::str::FromStr>(&self, key: &'static str, wanted: &str) -> Option<T> {
        let value = self.value(key)?.get_ref();
        let text = match (value.as_str(), value.as_datetime()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(time)) => time.to_string(),
            (None, None) => String::new(),
        };
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.mistake(key, format!("must be {wanted}"));
        }
        parsed
    }

    /// A country of ISO 3166-1, by its form.
    pub(super) fn check_country(&self, key: &str, country: &str) {
        if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.mistake(key, format!("`{country}` is no country of two capital letters (ISO 3166-1)"));
        }
    }

    /// Text per language. Every one of `languages` must be there, else it is a mistake.
    pub(super) fn translations(&self, key: &'static str, languages: &[String]) -> BTreeMap<String, String> {
        match self.table(key) {
            Some(texts) => texts.all_translations(languages),
            None => {
                if !self.has(key) && !languages.is_empty() {
                    let missing = format!("is missing in {}", languages.join(", "));
                    self.mistake_with_code(key, Code::DescriptionMissing, missing);
                }
                BTreeMap::new()
            }
        }
    }

    /// This table as text per language.
    pub(super) fn all_translations(&self, languages: &[String]) -> BTreeMap<String, String> {
        let mut translations = BTreeMap::new();
        for (language, value) in self.members() {
            match value.as_str() {
                Some(text) if !text.trim().is_empty() => {
                    translations.insert(language.to_owned(), text.to_owned());
                }
                Some(_) => self.mistake(language, "is empty"),
                None => self.wrong_type(language, "a text", value),
            }
        }
        let is_missing = |language: &&str| !self.table.contains_key(*language);
        let missing: Vec<&str> = languages.iter().map(String::as_str).filter(is_missing).collect();
        if !missing.is_empty() {
            self.mistake_with_code("", Code::DescriptionMissing, format!("is missing in {}", missing.join(", ")));
        }
        translations
    }

    /// A table below, if the key is there.
    pub(super) fn table(&self, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Self::new(self.file, self.below(key), value.span().start, table)),
            None => {
                self.wrong_type(key, "a table", value.get_ref());
                None
            }
        }
    }

    /// The keys of this table that the author chose, each with a table or value of its own.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, &'a DeValue<'a>)> {
        self.open.set(false);
        self.table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref()))
    }

    /// A member of [`Self::members`] as a table.
    pub(super) fn member_table(&self, key: &str, table: &'a DeTable<'a>) -> Self {
        Self::new(self.file, self.below(key), self.offset, table)
    }

    /// The texts of a member that is a list.
    pub(super) fn member_texts(&self, key: &str, value: &'a DeValue<'a>) -> Vec<&'a str> {
        let texts: Option<Vec<&str>> =
            value.as_array().and_then(|array| array.iter().map(|item| item.get_ref().as_str()).collect());
        if texts.is_none() {
            self.wrong_type(key, "a list of texts", value);
        }
        texts.unwrap_or_default()
    }

    /// The tables of `[[key]]`, each known by the text under `id`. The same id twice is a mistake.
    pub(super) fn list(&self, key: &'static str, id: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.mistake_with_hint(key, "must be a list of tables", Some(format!("write `[[{key}]]`")));
            return Vec::new();
        };
        let mut entries = Vec::new();
        let mut ids = BTreeSet::new();
        for (position, item) in array.iter().enumerate() {
            let Some(table) = item.get_ref().as_table() else {
                self.wrong_type(key, "a list of tables", item.get_ref());
                continue;
            };
            let own = table.get(id).and_then(|value| value.get_ref().as_str());
            let label = own.map_or_else(|| position.to_string(), str::to_owned);
            let entry = Self::new(self.file, self.below(&format!("{key}[{label}]")), item.span().start, table);
            if own.is_some_and(|own| !ids.insert(own)) {
                entry.mistake(id, "stands there twice");
            }
            entries.push(entry);
        }
        entries
    }
}

/// What nobody asked for is unknown.
impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.open.get() {
            return;
        }
        let asked = self.asked.take();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !asked.contains(name) {
                self.mistake_with_hint(name, "is an unknown key", nearest(name, asked.iter().copied()));
            }
        }
    }
}

fn is_sensible(span: Span) -> bool {
    let reference: SpanRelativeTo<'_> = jiff::civil::date(2026, 1, 1).into();
    let has_time = span.get_hours() != 0
        || span.get_minutes() != 0
        || span.get_seconds() != 0
        || span.get_milliseconds() != 0
        || span.get_microseconds() != 0
        || span.get_nanoseconds() != 0;
    !has_time && !span.is_negative() && span.total((Unit::Day, reference)).is_ok_and(|days| days <= 36_525.0)
}
