//! Deterministic CBOR (RFC 8949 §4.2.1), as far as leaves and payloads need it.
//!
//! Only unsigned integers, byte strings, text, booleans, arrays and maps exist here. The reader
//! refuses everything else, and every length that is not in its shortest form, so one value has one
//! spelling.

/// The bytes are not deterministic CBOR of the expected shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not deterministic CBOR of the expected shape")]
pub struct Malformed;

/// A major type of RFC 8949 §3.1 that may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Uint,
    Bytes,
    Text,
    Array,
    Map,
}

impl Kind {
    const fn bits(self) -> u8 {
        match self {
            Self::Uint => 0x00,
            Self::Bytes => 0x40,
            Self::Text => 0x60,
            Self::Array => 0x80,
            Self::Map => 0xa0,
        }
    }
}

/// Appends the head of an item: its kind and its value or length, in the shortest form.
#[inline]
pub(crate) fn put_head(out: &mut Vec<u8>, kind: Kind, value: u64) {
    let [.., b7] = value.to_be_bytes();
    if value < 24 {
        out.push(kind.bits() | b7);
    } else if let Ok(short) = u8::try_from(value) {
        out.extend_from_slice(&[kind.bits() | 24, short]);
    } else if let Ok(short) = u16::try_from(value) {
        out.push(kind.bits() | 25);
        out.extend_from_slice(&short.to_be_bytes());
    } else if let Ok(short) = u32::try_from(value) {
        out.push(kind.bits() | 26);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(kind.bits() | 27);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends an unsigned integer.
#[inline]
pub(crate) fn put_uint(out: &mut Vec<u8>, value: u64) {
    put_head(out, Kind::Uint, value);
}

/// Appends a byte string.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_head(out, Kind::Bytes, length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Appends a text string.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_head(out, Kind::Text, length(text.len()));
    out.extend_from_slice(text.as_bytes());
}

/// A length in memory as a wire length. No target of this crate has a wider `usize`.
pub(crate) fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Reads items from the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn take_array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The initial byte of the next item, unread.
    #[inline]
    pub(crate) fn peek(&self) -> Result<u8, Malformed> {
        self.rest.first().copied().ok_or(Malformed)
    }

    /// Reads one raw byte.
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.take_array()?;
        Ok(*byte)
    }

    /// Reads the head of an item of this kind, refusing other kinds and longer forms.
    #[inline]
    pub(crate) fn head(&mut self, kind: Kind) -> Result<u64, Malformed> {
        let first = self.byte()?;
        if first & 0xe0 != kind.bits() {
            return Err(Malformed);
        }
        let (value, least) = match first & 0x1f {
            short @ 0..24 => return Ok(u64::from(short)),
            24 => (u64::from(self.byte()?), 24),
            25 => (u64::from(u16::from_be_bytes(*self.take_array()?)), 0x100),
            26 => (u64::from(u32::from_be_bytes(*self.take_array()?)), 0x1_0000),
            27 => (u64::from_be_bytes(*self.take_array()?), 0x1_0000_0000),
            _ => return Err(Malformed),
        };
        if value < least { Err(Malformed) } else { Ok(value) }
    }

    #[inline]
    pub(crate) fn uint(&mut self) -> Result<u64, Malformed> {
        self.head(Kind::Uint)
    }

    /// Reads a byte string of any length the input can hold.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.head(Kind::Bytes)?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// Reads a byte string of exactly this length.
    #[inline]
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        if self.head(Kind::Bytes)? != length(N) {
            return Err(Malformed);
        }
        self.take_array()
    }

    /// Reads a text string.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.head(Kind::Text)?;
        let bytes = self.take(usize::try_from(length).map_err(|_| Malformed)?)?;
        std::str::from_utf8(bytes).map_err(|_| Malformed)
    }
}
