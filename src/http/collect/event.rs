//! What every protocol shares on the way from JSON to [`Collected`](crate::domain::collected::Collected): which values are kept, what an
//! identifier may look like, and the hash by which a repeated event is known.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::domain::category::Field;
use crate::domain::collected::RawIdentifier;
use crate::domain::id::FieldPath;
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;

use super::json::{Kind, Value};
use super::time;

/// The most names of undeclared fields that are reported for one event.
pub const UNDECLARED: usize = 64;

/// The longest name that is reported, in bytes; a longer one is cut to its first parts.
const LONGEST_NAME: usize = 128;

/// The values of one event: those the policy declares are kept, of the others only the name.
pub struct Values<'p> {
    declared: &'p BTreeMap<FieldPath, Field>,
    path: String,
    /// Declared values, path and exact JSON text. The first value at a path stands.
    pub kept: Vec<(FieldPath, Personal<String>)>,
    /// Names of undeclared fields that were dropped, at most [`UNDECLARED`].
    pub undeclared: Vec<FieldPath>,
}

impl<'p> Values<'p> {
    /// No values yet.
    #[must_use]
    pub fn new(declared: &'p BTreeMap<FieldPath, Field>) -> Self {
        Self { declared, path: String::with_capacity(64), kept: Vec::new(), undeclared: Vec::new() }
    }

    /// Takes the value at `path` and everything under it.
    pub fn take(&mut self, path: &str, value: Value<'_, '_>) {
        self.path.clear();
        self.path.push_str(path);
        self.walk(value);
    }

    /// Takes what `general` has and `own` lacks, as if the two objects had been merged: what the
    /// event says of itself wins over what its batch says for all.
    pub fn take_missing(&mut self, path: &str, general: Value<'_, '_>, own: Option<Value<'_, '_>>) {
        self.path.clear();
        self.path.push_str(path);
        self.walk_missing(general, own);
    }

    /// Keeps the value if its path is declared, and is silent about it if not: for members that
    /// belong to the protocol.
    pub fn take_if_declared(&mut self, path: &str, value: Value<'_, '_>) {
        if matches!(value.kind(), Kind::Object | Kind::Array) {
            return;
        }
        self.keep(path, value.raw());
    }

    /// Keeps a text that did not come as JSON.
    pub fn take_text(&mut self, path: &str, json: &str) {
        if !self.keep(path, json) {
            self.path.clear();
            self.path.push_str(path);
            self.report();
        }
    }

    fn walk(&mut self, value: Value<'_, '_>) {
        if value.kind() == Kind::Object {
            for (key, child) in value.members() {
                let before = self.descend(&key);
                self.walk(child);
                self.path.truncate(before);
            }
            return;
        }
        // An array is one value: what it holds has no path of its own.
        self.leaf(value);
    }

    fn walk_missing(&mut self, general: Value<'_, '_>, own: Option<Value<'_, '_>>) {
        let Some(own) = own else {
            self.walk(general);
            return;
        };
        if general.kind() != Kind::Object || own.kind() != Kind::Object {
            return;
        }
        for (key, child) in general.members() {
            let before = self.descend(&key);
            self.walk_missing(child, own.member(&key));
            self.path.truncate(before);
        }
    }

    fn descend(&mut self, key: &str) -> usize {
        let before = self.path.len();
        self.path.push('.');
        self.path.push_str(key);
        before
    }

    fn leaf(&mut self, value: Value<'_, '_>) {
        let Some((path, _)) = self.declared.get_key_value(self.path.as_str()) else {
            self.report();
            return;
        };
        if !self.kept.iter().any(|(known, _)| known == path) {
            self.kept.push((path.clone(), Personal::new(value.raw().to_owned())));
        }
    }

    /// Keeps a JSON text at a path that is declared; tells whether it is.
    pub fn keep(&mut self, path: &str, json: &str) -> bool {
        let Some((path, _)) = self.declared.get_key_value(path) else {
            return false;
        };
        if !self.kept.iter().any(|(known, _)| known == path) {
            self.kept.push((path.clone(), Personal::new(json.to_owned())));
        }
        true
    }

    fn report(&mut self) {
        if self.undeclared.len() < UNDECLARED {
            let name = reportable(&self.path);
            if self.undeclared.last() != Some(&name) {
                self.undeclared.push(name);
            }
        }
    }
}

/// The name of an undeclared field in a form that may be written down. Keys are the sender's, and
/// some senders use an address or a number of a person as a key: the first part that does not look
/// like a field's name becomes `*`, and what follows is left out.
fn reportable(path: &str) -> FieldPath {
    let plain = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let named =
            part.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '-' | '$' | ' '));
        named && digits <= 6 && (1..=64).contains(&part.len())
    };
    if path.len() <= LONGEST_NAME && path.split('.').all(plain) {
        return FieldPath::new(path);
    }
    let mut parts: Vec<&str> = path.split('.').take_while(|part| plain(part)).take(4).collect();
    parts.push("*");
    FieldPath::new(&parts.join("."))
}

/// What stands where an identifier is expected.
pub enum Identifier {
    /// Nothing, `null` or `""`.
    Absent,
    /// A text, or a whole number as its decimal text.
    Named(RawIdentifier),
    /// Of a type that names nobody.
    Invalid,
}

/// Reads an identifier. A number is taken digit by digit, never through a float.
#[must_use]
pub fn identifier(value: Option<Value<'_, '_>>, kind: IdentifierKind, pointer: &'static str) -> Identifier {
    let Some(value) = value.filter(|value| !value.is_blank()) else {
        return Identifier::Absent;
    };
    match plain_text(value) {
        Some(text) => {
            Identifier::Named(RawIdentifier { kind, namespace: String::new(), text: Personal::new(text), pointer })
        }
        None => Identifier::Invalid,
    }
}

/// The text of a string, or the decimal text of a whole number; `None` for anything else.
#[must_use]
pub fn plain_text(value: Value<'_, '_>) -> Option<String> {
    match value.kind() {
        Kind::Text => value.text().map(std::borrow::Cow::into_owned),
        Kind::Number => {
            let raw = value.raw();
            let digits = raw.strip_prefix('-').unwrap_or(raw);
            let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
            (whole && raw != "-0").then(|| raw.to_owned())
        }
        _ => None,
    }
}

/// Reads a time from a text or a number.
#[must_use]
pub fn moment(value: Option<Value<'_, '_>>) -> Option<Timestamp> {
    let value = value?;
    match value.kind() {
        Kind::Text => time::read(&value.text()?),
        Kind::Number => time::read(value.raw()),
        _ => None,
    }
}

/// The content part of the duplicate key: SHA-256 over members in their order, each as its key, its
/// text and what separates them. A member's text is exactly as received, so an event that is sent
/// again by the same client has the same hash, and one that says anything else has not.
pub struct ContentHash(Sha256);

impl Default for ContentHash {
    fn default() -> Self {
        Self(Sha256::new())
    }
}

impl ContentHash {
    /// Adds a member. The lengths go first, so that no two lists of members look alike.
    pub fn add(&mut self, key: &str, text: &str) {
        self.add_bytes(key, text.as_bytes());
    }

    /// Adds a member whose value is no text.
    pub fn add_bytes(&mut self, key: &str, value: &[u8]) {
        let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes();
        self.0.update(length(key.len()));
        self.0.update(length(value.len()));
        self.0.update(key.as_bytes());
        self.0.update(value);
    }

    /// The hash.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
