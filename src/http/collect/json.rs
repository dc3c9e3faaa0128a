//! A bounded reader of one JSON event: one pass, no recursion into what the policy does not ask for,
//! and every leaf keeps the text it came with (`1.10` stays `1.10`).
//!
//! It is ours and not a library's because three rules must hold together: duplicate keys anywhere
//! refuse the event (two readers could see two different consents), nesting and number of keys are
//! bounded, and text that no UTF-8 string can hold (lone surrogates) or that databases and C
//! programs cut short (NUL) is refused.

use std::borrow::Cow;

use super::reader::Reader;
use super::refusal::Flaw;

/// The deepest nesting of an event.
pub const DEPTH: usize = 64;
/// The most keys in one event, all objects together.
pub const KEYS: usize = 2_000;

/// One event, read and checked; its values are found by walking, never by copying.
pub struct Document<'a> {
    text: &'a str,
    /// Depth first; a node's subtree ends where `next` points.
    nodes: Vec<Node>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    Text,
    /// A number, kept as text.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// A value as the reader leaves it.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Whether the text of the value has escapes.
    pub(super) escaped: bool,
    /// The key, between its quotes; empty for elements and the root.
    pub(super) key: (usize, usize),
    pub(super) key_escaped: bool,
    /// The value's text, quotes and brackets included.
    pub(super) span: (usize, usize),
    pub(super) next: usize,
}

/// A value of a [`Document`].
#[derive(Clone, Copy)]
pub struct Value<'d, 'a> {
    document: &'d Document<'a>,
    at: usize,
    node: &'d Node,
}

impl<'a> Document<'a> {
    /// Reads one value and nothing but white space around it.
    ///
    /// # Errors
    /// The first [`Flaw`]: not UTF-8, not JSON, a duplicate key, too deep, too many keys.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Flaw> {
        Self::read_bounded(bytes, KEYS)
    }

    /// The same with another bound on the number of keys.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn read_bounded(bytes: &'a [u8], keys: usize) -> Result<Self, Flaw> {
        let text = std::str::from_utf8(bytes).map_err(|_| Flaw::Malformed)?;
        let nodes = Reader::read(bytes, keys)?;
        let document = Self { text, nodes };
        document.refuse_duplicate_keys()?;
        Ok(document)
    }

    /// The value at the top; `None` never happens after [`Document::read`].
    #[must_use]
    pub fn root(&self) -> Option<Value<'_, 'a>> {
        self.at(0)
    }

    fn at(&self, at: usize) -> Option<Value<'_, 'a>> {
        let node = self.nodes.get(at)?;
        Some(Value { document: self, at, node })
    }

    fn slice(&self, span: (usize, usize)) -> &'a str {
        self.text.get(span.0..span.1).unwrap_or_default()
    }

    fn refuse_duplicate_keys(&self) -> Result<(), Flaw> {
        for at in 0..self.nodes.len() {
            let Some(object) = self.at(at).filter(|value| value.kind() == Kind::Object) else {
                continue;
            };
            let mut keys: Keys<'_> = Keys::default();
            for (key, _) in object.members() {
                keys.add(key)?;
            }
            keys.check()?;
        }
        Ok(())
    }
}

/// The keys of one object. Few are compared with each other, many are sorted, so that neither a
/// usual event nor a hostile one is slow.
#[derive(Default)]
struct Keys<'a> {
    few: [Cow<'a, str>; 8],
    held: usize,
    many: Vec<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    fn add(&mut self, key: Cow<'a, str>) -> Result<(), Flaw> {
        if self.few.iter().take(self.held).any(|known| *known == key) {
            return Err(Flaw::DuplicateJsonKey);
        }
        match self.few.get_mut(self.held) {
            Some(place) => {
                *place = key;
                self.held += 1;
            }
            None => self.many.push(key),
        }
        Ok(())
    }

    fn check(mut self) -> Result<(), Flaw> {
        self.many.sort_unstable();
        let twice = self.many.windows(2).any(|pair| matches!(pair, [one, other] if one == other));
        if twice {
            return Err(Flaw::DuplicateJsonKey);
        }
        Ok(())
    }
}

impl<'d, 'a> Value<'d, 'a> {
    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.node.kind
    }

    /// The exact text, quotes and brackets included.
    #[must_use]
    pub fn raw(self) -> &'a str {
        self.document.slice(self.node.span)
    }

    /// The text of a string, escapes undone; `None` for other kinds.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        if self.node.kind != Kind::Text {
            return None;
        }
        let inner = self.raw().get(1..self.raw().len().saturating_sub(1)).unwrap_or_default();
        Some(unescaped(inner, self.node.escaped))
    }

    /// `true` or `false`; `None` for other kinds.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self.node.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    /// Whether it is `null` or the empty text, which count as absent for identifiers and times.
    #[must_use]
    pub fn is_blank(self) -> bool {
        self.node.kind == Kind::Null || self.raw() == "\"\""
    }

    /// The member with this key; `None` if absent or if this is no object.
    #[must_use]
    pub fn member(self, name: &str) -> Option<Self> {
        self.members_raw().find_map(|(key, escaped, value)| {
            let found = if escaped { unescaped(key, true) == name } else { key == name };
            found.then_some(value)
        })
    }

    /// The members of an object in their order; none for other kinds.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'d, 'a>)> {
        self.members_raw().map(|(key, escaped, value)| (unescaped(key, escaped), value))
    }

    /// The members with their keys as written, and whether those hold escapes.
    pub fn members_raw(self) -> impl Iterator<Item = (&'a str, bool, Value<'d, 'a>)> {
        let object = self.node.kind == Kind::Object;
        self.children(object).map(|value| (value.document.slice(value.node.key), value.node.key_escaped, value))
    }

    /// The elements of an array; none for other kinds.
    pub fn elements(self) -> impl Iterator<Item = Value<'d, 'a>> {
        let array = self.node.kind == Kind::Array;
        self.children(array)
    }

    fn children(self, holds: bool) -> impl Iterator<Item = Value<'d, 'a>> {
        let end = if holds { self.node.next } else { 0 };
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let child = self.document.at(at)?;
            at = child.node.next;
            Some(child)
        })
    }
}

/// Undoes JSON's escapes. Only text that the reader has accepted comes here.
fn unescaped(text: &str, escaped: bool) -> Cow<'_, str> {
    if !escaped {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut following = after.chars();
        let escape = following.next().unwrap_or('\\');
        rest = following.as_str();
        match escape {
            'b' => plain.push('\u{8}'),
            'f' => plain.push('\u{c}'),
            'n' => plain.push('\n'),
            'r' => plain.push('\r'),
            't' => plain.push('\t'),
            'u' => {
                let high = hexadecimal(rest.as_bytes());
                rest = rest.get(4..).unwrap_or_default();
                let code = if (0xd800..0xdc00).contains(&high) {
                    let low = hexadecimal(rest.as_bytes().get(2..).unwrap_or_default());
                    rest = rest.get(6..).unwrap_or_default();
                    0x1_0000 + ((high - 0xd800) << 10) + low.saturating_sub(0xdc00)
                } else {
                    high
                };
                plain.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => plain.push(other),
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The value of four hexadecimal digits; out of range for anything else.
pub(super) fn hexadecimal(bytes: &[u8]) -> u32 {
    let digits = bytes.get(..4).and_then(|four| std::str::from_utf8(four).ok());
    digits
        .filter(|four| four.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|four| u32::from_str_radix(four, 16).ok())
        .unwrap_or(u32::MAX)
}

/// Writes text as a JSON string, for values that did not come as JSON (headers, queries).
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
