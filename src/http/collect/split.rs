//! Taking a batch apart into raw items, so that one broken item costs only itself.
//!
//! Only strings and brackets are looked at: an item ends where its brackets balance. What is inside
//! is judged later, item by item. Broken JSON outside the items refuses the whole request.

use super::refusal::Refusal;

/// A JSON array taken apart, each element with its exact bytes.
///
/// # Errors
/// [`Refusal::Malformed`] if this is no array; [`Refusal::BatchTooLong`] past `most` elements.
pub fn array(bytes: &[u8], most: usize) -> Result<Vec<&[u8]>, Refusal> {
    let mut cursor = Cursor { bytes, at: 0 };
    let items = cursor.array(most)?;
    cursor.end()?;
    Ok(items)
}

/// The envelope of a batch: its own members, and the items.
#[derive(Default)]
pub struct Envelope<'a> {
    /// `batch`, taken apart; `None` if there is none.
    pub items: Option<Vec<&'a [u8]>>,
    /// `context`, for every item.
    pub context: Option<&'a [u8]>,
    /// `integrations`, for every item.
    pub integrations: Option<&'a [u8]>,
    /// `sentAt`.
    pub sent_at: Option<&'a [u8]>,
}

/// Takes apart `{"batch": […], "context": …, "integrations": …, "sentAt": …, …}`.
///
/// # Errors
/// [`Refusal::Malformed`] if it is no object or a member stands twice;
/// [`Refusal::BatchTooLong`] past `most` items.
pub fn envelope(bytes: &[u8], most: usize) -> Result<Envelope<'_>, Refusal> {
    let mut cursor = Cursor { bytes, at: 0 };
    let mut envelope = Envelope::default();
    let mut seen: Vec<&[u8]> = Vec::new();
    cursor.blanks();
    cursor.expect(b'{')?;
    cursor.blanks();
    if cursor.peek() == Some(b'}') {
        cursor.at += 1;
        cursor.end()?;
        return Ok(envelope);
    }
    loop {
        cursor.blanks();
        let key = cursor.string()?;
        // An escaped key could spell `batch` for one reader and not for another. The number is
        // bounded because the check is quadratic.
        if key.contains(&b'\\') || seen.contains(&key) || seen.len() >= 64 {
            return Err(Refusal::Malformed);
        }
        seen.push(key);
        cursor.blanks();
        cursor.expect(b':')?;
        cursor.blanks();
        match key {
            b"\"batch\"" => envelope.items = Some(cursor.array(most)?),
            b"\"context\"" => envelope.context = Some(cursor.value()?),
            b"\"integrations\"" => envelope.integrations = Some(cursor.value()?),
            b"\"sentAt\"" => envelope.sent_at = Some(cursor.value()?),
            _ => {
                cursor.value()?;
            }
        }
        cursor.blanks();
        match cursor.next() {
            Some(b',') => {}
            Some(b'}') => break,
            _ => return Err(Refusal::Malformed),
        }
    }
    cursor.end()?;
    Ok(envelope)
}

/// The exact bytes of one member of a top-level object, without reading the rest closely.
#[must_use]
pub fn member<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut cursor = Cursor { bytes, at: 0 };
    cursor.blanks();
    cursor.expect(b'{').ok()?;
    loop {
        cursor.blanks();
        let key = cursor.string().ok()?;
        cursor.blanks();
        cursor.expect(b':').ok()?;
        cursor.blanks();
        let value = cursor.value().ok()?;
        if key.get(1..key.len().saturating_sub(1)) == Some(name.as_bytes()) {
            return Some(value);
        }
        cursor.blanks();
        if cursor.next() != Some(b',') {
            return None;
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn array(&mut self, most: usize) -> Result<Vec<&'a [u8]>, Refusal> {
        let mut items = Vec::new();
        self.blanks();
        self.expect(b'[')?;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.blanks();
            if items.len() >= most {
                return Err(Refusal::BatchTooLong);
            }
            items.push(self.value()?);
            self.blanks();
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(items),
                _ => return Err(Refusal::Malformed),
            }
        }
    }

    /// Skips one value: a string, a bracketed whole, or a bare word up to the next delimiter.
    fn value(&mut self) -> Result<&'a [u8], Refusal> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.string()?;
            }
            Some(b'{' | b'[') => self.bracketed()?,
            _ => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let length = rest
                    .iter()
                    .take_while(|byte| !matches!(byte, b',' | b']' | b'}' | b'{' | b'[' | b'"' | b':'))
                    .count();
                if length == 0 {
                    return Err(Refusal::Malformed);
                }
                self.at += length;
            }
        }
        self.bytes.get(start..self.at).ok_or(Refusal::Malformed)
    }

    fn bracketed(&mut self) -> Result<(), Refusal> {
        let mut open = 0_usize;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let skip = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))
                .ok_or(Refusal::Malformed)?;
            self.at += skip;
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    open += 1;
                    self.at += 1;
                }
                _ => {
                    open -= 1;
                    self.at += 1;
                    if open == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Skips a string and gives it with its quotes.
    fn string(&mut self) -> Result<&'a [u8], Refusal> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|&byte| byte == b'"' || byte == b'\\').ok_or(Refusal::Malformed)?;
            self.at += plain;
            match self.next() {
                Some(b'"') => return self.bytes.get(start..self.at).ok_or(Refusal::Malformed),
                _ => self.at += 1,
            }
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.blanks();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Refusal::Malformed) }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.next() == Some(byte) { Ok(()) } else { Err(Refusal::Malformed) }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}
