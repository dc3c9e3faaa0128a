//! The text of root keys: `root.key` and its form for the environment. Reading and writing the file
//! is done elsewhere (`cryptography.md` §2).

use std::fmt;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::Error;
use super::key::Key;
use super::keyring::{Kek, Keyring};
use super::token::{TokenKind, TokenText};

/// One version of the root key as the file holds it.
pub struct RootKey {
    /// When it was made; unknown in the environment's form.
    pub created: Option<Timestamp>,
    /// Whether it wraps, waits or only opens.
    pub state: KekState,
    /// The key.
    pub kek: Kek,
}

/// State of a KEK version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KekState {
    /// Written, not yet used.
    Staged,
    /// Wraps new keys.
    Active,
    /// Opens what is not re-wrapped yet.
    Retired,
    /// Gone; only a row in the key store is left.
    Destroyed,
}

impl KekState {
    const ALL: [Self; 4] = [Self::Staged, Self::Active, Self::Retired, Self::Destroyed];

    /// The spelling in file and key store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
        }
    }

    /// The state spelled so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What is wrong with a line. Names what was expected, never what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not `version time state key`.
    Form,
    /// The version is not a number from 1.
    Version,
    /// The time is not RFC 3339.
    Time,
    /// The state is not staged, active or retired.
    State,
    /// The key has a wrong prefix, length or checksum.
    Key,
    /// All bytes of the key are equal.
    Weak,
    /// The version stands twice.
    Repeated,
    /// The lines do not stand newest first.
    Order,
    /// There is not exactly one active version.
    NotOneActive,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "expected `version time state amanat_rk_…`",
            Self::Version => "the version must be a number from 1",
            Self::Time => "the time must be in RFC 3339, UTC",
            Self::State => "the state must be staged, active or retired",
            Self::Key => "the key has a wrong prefix, length or checksum; was it mistyped?",
            Self::Weak => "all bytes of the key are equal; it is no random key",
            Self::Repeated => "the version stands twice",
            Self::Order => "the newest version must stand first",
            Self::NotOneActive => "exactly one version must be active",
        })
    }
}

/// Reads the text of `root.key`, newest version first.
///
/// # Errors
/// [`Error::RootKey`] with the line and what is wrong with it.
pub fn parse_file(text: &str) -> Result<Vec<RootKey>, Error> {
    let mut keys: Vec<RootKey> = Vec::new();
    let mut last_line = 0;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let refuse = |fault| Error::RootKey { line: number, fault };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        last_line = number;
        let parts: Vec<&str> = line.split_ascii_whitespace().collect();
        let [version, created, state, key] = *parts else {
            return Err(refuse(Fault::Form));
        };
        let created: Timestamp = created.parse().map_err(|_| refuse(Fault::Time))?;
        let state = KekState::parse(state).filter(|state| *state != KekState::Destroyed).ok_or(refuse(Fault::State))?;
        let kek = parse_key(version, key).map_err(refuse)?;
        add(&mut keys, RootKey { created: Some(created), state, kek }).map_err(refuse)?;
    }
    one_active(keys, last_line)
}

/// Reads `3:amanat_rk_…,2:amanat_rk_…`; the first version is active, the others only open. Lines in
/// errors are then positions in the list.
///
/// # Errors
/// [`Error::RootKey`].
pub fn parse_environment(text: &str) -> Result<Vec<RootKey>, Error> {
    let mut keys: Vec<RootKey> = Vec::new();
    let mut count = 0;
    for (index, item) in text.split(',').enumerate() {
        count = index + 1;
        let refuse = |fault| Error::RootKey { line: index + 1, fault };
        let (version, key) = item.trim().split_once(':').ok_or(refuse(Fault::Form))?;
        let kek = parse_key(version, key).map_err(refuse)?;
        let state = if index == 0 { KekState::Active } else { KekState::Retired };
        add(&mut keys, RootKey { created: None, state, kek }).map_err(refuse)?;
    }
    one_active(keys, count)
}

/// The text of `root.key`, newest version first.
#[must_use]
pub fn format_file(keys: &[RootKey]) -> Zeroizing<String> {
    let mut ordered: Vec<&RootKey> = keys.iter().collect();
    ordered.sort_unstable_by_key(|key| std::cmp::Reverse(key.kek.version()));
    let mut text = Zeroizing::new(String::with_capacity(200 + ordered.len() * 120));
    text.push_str(
        "# Amanat's root keys. Whoever has this file and the key store can read everything.\n\
         # Keep copies elsewhere, never in a backup of the databases.\n",
    );
    for key in ordered {
        text.push_str(&key.kek.version().to_string());
        text.push(' ');
        text.push_str(&key.created.unwrap_or(Timestamp::UNIX_EPOCH).to_string());
        text.push(' ');
        text.push_str(key.state.as_str());
        text.push(' ');
        text.push_str(&key_text(&key.kek));
        text.push('\n');
    }
    text
}

/// The keyring of the versions read; exactly one of them is active.
///
/// # Errors
/// [`Error::RootKey`] if none is active.
pub fn keyring(keys: Vec<RootKey>) -> Result<Keyring, Error> {
    let active = keys.iter().find(|key| key.state == KekState::Active);
    let active = active.map(|key| key.kek.version());
    let active = active.ok_or(Error::RootKey { line: 0, fault: Fault::NotOneActive })?;
    Keyring::new(keys.into_iter().map(|key| key.kek).collect(), active)
}

fn parse_key(version: &str, key: &str) -> Result<Kek, Fault> {
    let canonical = !version.starts_with(['0', '+']);
    let version: u32 = version.parse().map_err(|_| Fault::Version)?;
    if !canonical {
        return Err(Fault::Version);
    }
    let token = TokenText::parse(key).map_err(|_| Fault::Key)?;
    if token.kind() != TokenKind::RootKey {
        return Err(Fault::Key);
    }
    let value = token.value().bytes();
    if value.iter().all(|byte| Some(byte) == value.first()) {
        return Err(Fault::Weak);
    }
    Ok(Kek::new(version, Key::filled(|bytes| bytes.copy_from_slice(value))))
}

fn add(keys: &mut Vec<RootKey>, key: RootKey) -> Result<(), Fault> {
    if keys.iter().any(|known| known.kek.version() == key.kek.version()) {
        return Err(Fault::Repeated);
    }
    if keys.last().is_some_and(|newer| newer.kek.version() < key.kek.version()) {
        return Err(Fault::Order);
    }
    keys.push(key);
    Ok(())
}

fn one_active(keys: Vec<RootKey>, line: usize) -> Result<Vec<RootKey>, Error> {
    let active = keys.iter().filter(|key| key.state == KekState::Active).count();
    if active == 1 { Ok(keys) } else { Err(Error::RootKey { line, fault: Fault::NotOneActive }) }
}

fn key_text(kek: &Kek) -> Zeroizing<String> {
    let value = Key::filled(|bytes| bytes.copy_from_slice(kek.key().bytes()));
    TokenText::new(TokenKind::RootKey, value).text()
}
