//! What is wrong in a policy, said so that the reader can mend it.

use std::fmt;

/// One mistake: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Path of the file below the policy folder.
    pub file: String,
    /// Line, from 1, where it is known.
    pub line: Option<usize>,
    /// Key within the file, `purpose[newsletter].basis`; empty for the file as a whole.
    pub key: String,
    /// The code, where the law asks for what is missing.
    pub code: Option<Code>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The codes of the policy check (`gdpr` 1.2 in the docs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Legitimate interests without a balancing test (Art. 6(1)(f), 5(2)).
    LiaRequired,
    /// A consent that a service depends on (Art. 7(4)).
    ConditionalConsent,
    /// A notice lacks a part (Art. 13, 14).
    NoticeIncomplete,
    /// People are not told what something is (Art. 12(1)).
    DescriptionMissing,
    /// Nobody said how long (Art. 5(1)(e)).
    RetentionMissing,
    /// No impact assessment where one is due (Art. 35).
    DpiaMissing,
}

impl Code {
    /// The spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LiaRequired => "lia_required",
            Self::ConditionalConsent => "conditional_consent",
            Self::NoticeIncomplete => "notice_incomplete",
            Self::DescriptionMissing => "description_missing",
            Self::RetentionMissing => "retention_missing",
            Self::DpiaMissing => "dpia_missing",
        }
    }
}

impl Mistake {
    pub(super) fn in_file(file: &str, what: impl Into<String>) -> Self {
        Self::at(file, "", what)
    }

    pub(super) fn at(file: &str, key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, key: key.into(), code: None, what: what.into(), hint: None }
    }

    pub(super) fn on_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub(super) fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(code) = self.code {
            write!(f, " [{}]", code.as_str())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// A hint with the known name nearest to a misspelt one, or with all of them if they are few.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|name| (distance(wrong, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.chars().count() / 3));
    match near {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() => None,
        None if known.len() <= 12 => Some(format!("known are {}", known.join(", "))),
        None => None,
    }
}

/// Edits (insertion, deletion, replacement) between two words, case ignored.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.to_lowercase().chars().enumerate() {
        let mut next = vec![index + 1];
        for ((b, above_left), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above_left + usize::from(a != *b)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
