//! A bounded reader of one JSON event: one pass, no recursion into what the policy does not ask for,
//! and every leaf keeps the text it came with (`1.10` stays `1.10`).
//!
//! It is ours and not a library's because three rules must hold together: duplicate keys anywhere
//! refuse the event (two readers could see two different consents), nesting and number of keys are
//! bounded, and text that no UTF-8 string can hold (lone surrogates) or that databases and C
//! programs cut short (NUL) is refused.

use std::borrow::Cow;

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

#[derive(Clone, Copy)]
struct Node {
    kind: Kind,
    /// Whether the text of the value has escapes.
    escaped: bool,
    /// The key, between its quotes; empty for elements and the root.
    key: (usize, usize),
    key_escaped: bool,
    /// The value's text, quotes and brackets included.
    span: (usize, usize),
    next: usize,
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
        let text = std::str::from_utf8(bytes).map_err(|_| Flaw::Malformed)?;
        let mut reader = Reader {
            bytes,
            at: 0,
            keys: 0,
            nodes: Vec::with_capacity(bytes.len() / 16 + 8),
        };
        reader.skip_blanks();
        reader.value((0, 0), false, 0)?;
        reader.skip_blanks();
        if reader.at != bytes.len() {
            return Err(Flaw::Malformed);
        }
        let document = Self {
            text,
            nodes: reader.nodes,
        };
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
        Some(Value {
            document: self,
            at,
            node,
        })
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
        let twice = self
            .many
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if one == other));
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
        let inner = self
            .raw()
            .get(1..self.raw().len().saturating_sub(1))
            .unwrap_or_default();
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
        self.members()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The members of an object in their order; none for other kinds.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'d, 'a>)> {
        self.members_raw()
            .map(|(key, escaped, value)| (unescaped(key, escaped), value))
    }

    /// The members with their keys as written, and whether those hold escapes.
    pub fn members_raw(self) -> impl Iterator<Item = (&'a str, bool, Value<'d, 'a>)> {
        let object = self.node.kind == Kind::Object;
        self.children(object).map(|value| {
            (
                value.document.slice(value.node.key),
                value.node.key_escaped,
                value,
            )
        })
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
fn hexadecimal(bytes: &[u8]) -> u32 {
    let digits = bytes
        .get(..4)
        .and_then(|four| std::str::from_utf8(four).ok());
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

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    keys: usize,
    nodes: Vec<Node>,
}

impl Reader<'_> {
    /// Reads a value. The recursion is bounded by [`DEPTH`].
    fn value(&mut self, key: (usize, usize), key_escaped: bool, depth: usize) -> Result<(), Flaw> {
        let start = self.at;
        let node = self.nodes.len();
        self.nodes.push(Node {
            kind: Kind::Null,
            escaped: false,
            key,
            key_escaped,
            span: (start, start),
            next: node + 1,
        });
        let mut escaped = false;
        let kind = match self.peek() {
            Some(b'{') => {
                self.object(depth + 1)?;
                Kind::Object
            }
            Some(b'[') => {
                self.array(depth + 1)?;
                Kind::Array
            }
            Some(b'"') => {
                escaped = self.string()?;
                Kind::Text
            }
            Some(b't') => self.word(b"true", Kind::True)?,
            Some(b'f') => self.word(b"false", Kind::False)?,
            Some(b'n') => self.word(b"null", Kind::Null)?,
            _ => {
                self.number()?;
                Kind::Number
            }
        };
        let next = self.nodes.len();
        if let Some(place) = self.nodes.get_mut(node) {
            place.kind = kind;
            place.escaped = escaped;
            place.span = (start, self.at);
            place.next = next;
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Flaw> {
        self.enter(depth)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.skip_blanks();
            self.keys += 1;
            if self.keys > KEYS {
                return Err(Flaw::EventTooLarge);
            }
            let start = self.at + 1;
            let escaped = self.string()?;
            let key = (start, self.at - 1);
            self.skip_blanks();
            if !self.take(b':') {
                return Err(Flaw::Malformed);
            }
            self.skip_blanks();
            self.value(key, escaped, depth)?;
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(Flaw::Malformed);
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Flaw> {
        self.enter(depth)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.skip_blanks();
            self.value((0, 0), false, depth)?;
            self.skip_blanks();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(Flaw::Malformed);
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), Flaw> {
        if depth > DEPTH {
            return Err(Flaw::EventTooLarge);
        }
        self.at += 1;
        self.skip_blanks();
        Ok(())
    }

    /// Reads a string and tells whether it holds escapes.
    fn string(&mut self) -> Result<bool, Flaw> {
        if !self.take(b'"') {
            return Err(Flaw::Malformed);
        }
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
                .ok_or(Flaw::Malformed)?;
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Flaw::Malformed),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        let kind = self.peek().ok_or(Flaw::Malformed)?;
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let code = self.unicode()?;
                match code {
                    0xd800..0xdc00 => {
                        if !(self.take(b'\\') && self.take(b'u')) {
                            return Err(Flaw::Malformed);
                        }
                        match self.unicode()? {
                            0xdc00..0xe000 => Ok(()),
                            _ => Err(Flaw::Malformed),
                        }
                    }
                    0 | 0xdc00..0xe000 => Err(Flaw::Malformed),
                    _ => Ok(()),
                }
            }
            _ => Err(Flaw::Malformed),
        }
    }

    fn unicode(&mut self) -> Result<u32, Flaw> {
        let code = hexadecimal(self.bytes.get(self.at..).unwrap_or_default());
        if code == u32::MAX {
            return Err(Flaw::Malformed);
        }
        self.at += 4;
        Ok(code)
    }

    /// RFC 8259 §6: no leading zeros, digits on both sides of a point.
    fn number(&mut self) -> Result<(), Flaw> {
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(Flaw::Malformed);
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(Flaw::Malformed);
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(Flaw::Malformed);
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, Flaw> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(Flaw::Malformed);
        }
        self.at += word.len();
        Ok(kind)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}
