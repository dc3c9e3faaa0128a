//! The pass over the bytes behind [`super::json::Document`]: grammar, bounds, and where each value
//! stands. RFC 8259, and nothing more lenient.

use super::json::{DEPTH, Kind, Node, hexadecimal};
use super::refusal::Flaw;

/// Reads one document.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    keys: usize,
    most_keys: usize,
    nodes: Vec<Node>,
}

impl<'a> Reader<'a> {
    /// Reads one value and nothing but white space around it.
    pub(super) fn read(bytes: &'a [u8], most_keys: usize) -> Result<Vec<Node>, Flaw> {
        let mut reader = Self { bytes, at: 0, keys: 0, most_keys, nodes: Vec::with_capacity(bytes.len() / 16 + 8) };
        reader.skip_blanks();
        reader.value((0, 0), false, 0)?;
        reader.skip_blanks();
        if reader.at == bytes.len() { Ok(reader.nodes) } else { Err(Flaw::Malformed) }
    }

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
            if self.keys > self.most_keys {
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
            let plain =
                rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).ok_or(Flaw::Malformed)?;
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
