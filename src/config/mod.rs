//! The operator's set-up, `amanat.toml`: what was written (`raw`), what it means (`checked`), and
//! the printed reference (`reference`), all three made from the one declaration in `options`.
//!
//! A value comes from the defaults, then the file, then the environment
//! (`AMANAT__SERVER__LISTEN`), then a flag; the later wins. Every mistake is reported at once, with
//! the place the value came from. The room is pure: the file's text, the environment and the way to
//! read a secret's file are arguments, so a test needs neither a folder nor a process.
//!
//! Deliberately absent: what the controller decides. Purposes, fields and recipients' rights are
//! policy, not config.

mod checked;
mod options;
mod raw;
mod reference;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

pub use checked::Config;
pub use options::{Anchor, Audit, Delivery, Journal, Keys, Limits, Log, Metrics, Policy, Recipient, Server, Storage};
pub use reference::print as print_reference;
pub use setting::{
    Backend, Bytes, DatabaseUrl, EnvironmentSecret, KeySource, LogFormat, MessageFormat, Network, RecipientKind,
    Secret, WhenUnwitnessed,
};

/// Reads every source, checks the whole and returns what it means.
///
/// # Errors
/// [`Error::Mistakes`] with everything that is wrong in any source.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Error> {
    let mut reading = raw::Reading::of(sources);
    let config = checked::check(&mut reading);
    let (mistakes, values) = reading.finish();
    match config {
        Some(config) if mistakes.is_empty() => Ok(Loaded { config, values }),
        _ => Err(Error::Mistakes(mistakes)),
    }
}

/// Everything a configuration may be made of.
pub struct Sources<'a> {
    /// The file's name, as it shall stand in messages, and its text; `None` if there is no file.
    pub file: Option<(&'a str, &'a str)>,
    /// The environment. Names that do not begin with `AMANAT__` are ignored, and so is an empty
    /// value, for that is how container set-ups say "not set".
    pub environment: Vec<(String, String)>,
    /// Flags of the command line by the option they set (`server.listen`); lists are separated by
    /// commas.
    pub flags: BTreeMap<String, String>,
    /// How to read the file that a `…_file` option names.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// A configuration that passed every check, and where its values came from.
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// Every option with its value as it may be shown, in the order of the reference.
    pub values: Vec<Shown>,
}

/// One option as `amanat config` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The section, `server` or `recipients.letterbox`.
    pub section: String,
    /// What the section is for.
    pub section_text: &'static str,
    /// The option, `listen`.
    pub option: &'static str,
    /// What it does.
    pub text: &'static str,
    /// What may be written, in words.
    pub kind: &'static str,
    /// The value in TOML; `None` if nothing is set. For a secret `(set)` and no more.
    pub value: Option<String>,
    /// Whether the value itself is withheld.
    pub withheld: bool,
    /// Where the value came from.
    pub source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// The file's name as it was given.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// The variable's name.
        name: String,
    },
    /// A flag of the command line.
    Flag {
        /// The option it sets.
        option: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment { name } => write!(f, "environment {name}"),
            Self::Flag { option } => write!(f, "command line ({option})"),
        }
    }
}

/// What can be wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Everything that is wrong, in the order of the sources.
    #[error("the configuration has {} mistake(s):{}", .0.len(), lines(.0))]
    Mistakes(Vec<Mistake>),
}

/// One thing that is wrong. The value itself is never repeated: it may be a secret that was put
/// into the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where the value came from.
    pub source: Source,
    /// The option, `server.listen`; empty where the file as a whole cannot be read.
    pub key: String,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.source, self.text)
        } else {
            write!(f, "{}: {}: {}", self.source, self.key, self.text)
        }
    }
}

fn lines(mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        text.push_str("\n  ");
        text.push_str(&mistake.to_string());
    }
    text
}
