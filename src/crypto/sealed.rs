//! A sealed record `S` as bytes: what can be read and removed without any key.

use super::Error;
use super::cipher::{NONCE_LENGTH, TAG_LENGTH};
use super::mac;

/// The most fields of one record.
pub const FIELDS_LIMIT: usize = 1024;

/// Type and version byte of a sealed record.
const HEADER: [u8; 2] = [0x53, 0x01];
/// Header, DEK version, number of entries, commitment.
const HEAD_LENGTH: usize = 2 + 4 + 2 + 32;
/// Field, category, length, nonce.
const ENTRY_HEAD_LENGTH: usize = 2 + 2 + 4 + NONCE_LENGTH;

/// One row's personal fields, each of which opens alone.
///
/// The structure is validated: the only ways to one are sealing and [`Sealed::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    dek_version: u32,
    commitment: [u8; 32],
    entries: Vec<Span>,
    bytes: Vec<u8>,
}

/// Where an entry stands in the bytes, from its head on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    field: u16,
    category: u16,
    start: usize,
    end: usize,
}

/// One sealed field.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Number of the field in the table `term`.
    pub field: u16,
    /// Number of the category it was sealed under.
    pub category: u16,
    pub(in crate::crypto) nonce: &'a [u8; NONCE_LENGTH],
    pub(in crate::crypto) ciphertext: &'a [u8],
}

impl Sealed {
    /// Reads a sealed record.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the input ends too early, [`Error::UnknownFormat`] for another
    /// header, no entry or too many, numbers out of order, and trailing bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        let (header, rest) = bytes.split_first_chunk::<2>().ok_or(Error::Truncated)?;
        if *header != HEADER {
            return Err(Error::UnknownFormat);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(Error::Truncated)?;
        let (count, rest) = rest.split_first_chunk::<2>().ok_or(Error::Truncated)?;
        let (commitment, mut rest) = rest.split_first_chunk::<32>().ok_or(Error::Truncated)?;
        let count = usize::from(u16::from_be_bytes(*count));
        if count == 0 || count > FIELDS_LIMIT {
            return Err(Error::UnknownFormat);
        }
        let mut entries = Vec::with_capacity(count);
        let mut start = HEAD_LENGTH;
        let mut before: Option<u16> = None;
        for _ in 0..count {
            let (field, after) = rest.split_first_chunk::<2>().ok_or(Error::Truncated)?;
            let (category, after) = after.split_first_chunk::<2>().ok_or(Error::Truncated)?;
            let (length, after) = after.split_first_chunk::<4>().ok_or(Error::Truncated)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Error::Truncated)?;
            let after = after.get(NONCE_LENGTH..).ok_or(Error::Truncated)?;
            rest = after.get(length..).ok_or(Error::Truncated)?;
            let field = u16::from_be_bytes(*field);
            if length < TAG_LENGTH || before.is_some_and(|before| before >= field) {
                return Err(Error::UnknownFormat);
            }
            before = Some(field);
            let end = start + ENTRY_HEAD_LENGTH + length;
            entries.push(Span { field, category: u16::from_be_bytes(*category), start, end });
            start = end;
        }
        if !rest.is_empty() {
            return Err(Error::UnknownFormat);
        }
        let dek_version = u32::from_be_bytes(*version);
        let commitment = *commitment;
        Ok(Self { dek_version, commitment, entries, bytes })
    }

    /// The bytes as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes as stored.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The version of the key it is sealed under.
    #[must_use]
    pub fn dek_version(&self) -> u32 {
        self.dek_version
    }

    /// SHA-256 of the bytes, for the audit log: shows a removed or swapped record.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        mac::hash(&self.bytes)
    }

    /// The fields present, ascending by number.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> + '_ {
        self.entries.iter().filter_map(|span| self.entry_at(span))
    }

    /// The entry of one field.
    #[must_use]
    pub fn entry(&self, field: u16) -> Option<Entry<'_>> {
        let position = self.entries.binary_search_by_key(&field, |span| span.field).ok()?;
        self.entry_at(self.entries.get(position)?)
    }

    /// The record without one field; `None` when nothing is left of it. Needs no key, so that
    /// retention can remove what it must not read.
    #[must_use]
    pub fn remove(&self, field: u16) -> Option<Self> {
        self.retain(|present, _| present != field)
    }

    /// The record with the fields for which `keep(field, category)` holds; `None` when nothing is
    /// left.
    #[must_use]
    pub fn retain(&self, mut keep: impl FnMut(u16, u16) -> bool) -> Option<Self> {
        let kept: Vec<&Span> = self.entries.iter().filter(|span| keep(span.field, span.category)).collect();
        let mut writer = Writer::new(self.dek_version, &self.commitment, kept.len()).ok()?;
        for span in kept {
            writer.bytes.extend_from_slice(self.bytes.get(span.start..span.end)?);
        }
        Self::parse(writer.bytes).ok()
    }

    /// The commitment of the record key.
    pub(in crate::crypto) fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    fn entry_at(&self, span: &Span) -> Option<Entry<'_>> {
        let after_numbers = self.bytes.get(span.start + 8..span.end)?;
        let (nonce, ciphertext) = after_numbers.split_first_chunk()?;
        Some(Entry { field: span.field, category: span.category, nonce, ciphertext })
    }
}

/// Builds the bytes of a record whose entries come in ascending order.
pub(in crate::crypto) struct Writer {
    pub(in crate::crypto) bytes: Vec<u8>,
}

impl Writer {
    pub(in crate::crypto) fn new(dek_version: u32, commitment: &[u8; 32], count: usize) -> Result<Self, Error> {
        if count == 0 || count > FIELDS_LIMIT {
            return Err(Error::FieldCount);
        }
        let count = u16::try_from(count).map_err(|_| Error::FieldCount)?;
        let mut bytes = Vec::with_capacity(HEAD_LENGTH + usize::from(count) * 96);
        bytes.extend_from_slice(&HEADER);
        bytes.extend_from_slice(&dek_version.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(commitment);
        Ok(Self { bytes })
    }

    /// Writes the head of one entry whose ciphertext and tag will have `length` bytes.
    pub(in crate::crypto) fn entry(
        &mut self,
        field: u16,
        category: u16,
        length: usize,
        nonce: &[u8; NONCE_LENGTH],
    ) -> Result<(), Error> {
        let length = u32::try_from(length).map_err(|_| Error::TooLarge)?;
        self.bytes.extend_from_slice(&field.to_be_bytes());
        self.bytes.extend_from_slice(&category.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(nonce);
        Ok(())
    }
}
