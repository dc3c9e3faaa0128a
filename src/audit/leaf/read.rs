//! Reading leaves: strict, total, and never more memory than a small multiple of the input.

use crate::audit::cbor::{Kind, Malformed, Reader};
use crate::audit::tree::Hash;
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::EntryId;

use super::{Facts, MAXIMUM_LENGTH, MINIMUM_LENGTH, Part};

/// A leaf that keeps every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its index in the tree.
    pub seq: u64,
    /// The hash of the leaf before.
    pub previous: Hash,
    /// Its id, made before the commit.
    pub entry: EntryId,
    /// When its batch was committed, in microseconds since 1970 UTC.
    pub time: u64,
    /// What happened.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// The sealed parts, by role.
    pub parts: Vec<Part>,
    /// What it says in the clear.
    pub facts: Facts,
}

/// Why bytes are not a leaf of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A rule of the format or of the event is broken.
    #[error("the leaf is malformed")]
    Malformed,
    /// `v` is not 1.
    #[error("the leaf has an unknown version")]
    UnknownVersion,
    /// The event is not in the list.
    #[error("the leaf tells an unknown event")]
    UnknownEvent,
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What the order of the log rests on, read from a leaf that may be refused otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skeleton {
    /// Its index in the tree.
    pub seq: u64,
    /// The hash of the leaf before.
    pub previous: Hash,
    /// Its id.
    pub entry: EntryId,
    /// When its batch was committed, in microseconds since 1970 UTC.
    pub time: u64,
}

impl Leaf {
    /// Reads a leaf. It accepts only what [`super::Draft::encode`] makes.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; `UnknownEvent` and `UnknownVersion` only where the rest of the leaf, as far as
    /// it can be judged without knowing them, is sound.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if !(MINIMUM_LENGTH..=MAXIMUM_LENGTH).contains(&bytes.len()) {
            return Err(Refusal::Malformed);
        }
        let mut reader = Reader::new(bytes);
        let Skeleton { seq, previous, entry, time } = Skeleton::decode(&mut reader)?;
        key(&mut reader, 5)?;
        let number = reader.uint()?;
        key(&mut reader, 6)?;
        let outcome = small(&mut reader)?;
        let outcome = Outcome::from_number(outcome).ok_or(Refusal::Malformed)?;
        key(&mut reader, 7)?;
        let class = small(&mut reader)?;
        key(&mut reader, 8)?;
        let (parts, roles) = decode_parts(&mut reader)?;
        key(&mut reader, 9)?;

        let Some(event) = u16::try_from(number).ok().and_then(Event::from_number) else {
            return Err(Refusal::UnknownEvent);
        };
        let facts = Facts::decode(&mut reader)?;
        let rule = event.rule();
        let lawful = reader.is_empty()
            && class == rule.class.number()
            && rule.admits_outcome(outcome)
            && rule.admits_parts(roles)
            && rule.admits_facts(facts.keys());
        if !lawful {
            return Err(Refusal::Malformed);
        }
        Ok(Self { seq, previous, entry, time, event, outcome, parts, facts })
    }
}

impl Skeleton {
    /// Reads the first five keys and nothing behind them; `None` if even they are not sound.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Self::decode(&mut reader).ok()
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Refusal> {
        // A later version may have more keys; `v` is judged before their number.
        let keys = reader.head(Kind::Map)?;
        key(reader, 0)?;
        if reader.uint()? != 1 {
            return Err(Refusal::UnknownVersion);
        }
        if keys != 10 {
            return Err(Refusal::Malformed);
        }
        key(reader, 1)?;
        let seq = reader.uint()?;
        if i64::try_from(seq).is_err() {
            return Err(Refusal::Malformed);
        }
        key(reader, 2)?;
        let previous = *reader.fixed()?;
        key(reader, 3)?;
        let entry = EntryId::from_bytes(*reader.fixed()?);
        key(reader, 4)?;
        let time = reader.uint()?;
        Ok(Self { seq, previous, entry, time })
    }
}

#[inline]
fn key(reader: &mut Reader<'_>, expected: u8) -> Result<(), Malformed> {
    // Keys are below 24, so the byte is the key.
    if reader.byte()? == expected { Ok(()) } else { Err(Malformed) }
}

#[inline]
fn small(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    u8::try_from(reader.uint()?).map_err(|_| Malformed)
}

/// Reads the parts and the set of their roles.
fn decode_parts(reader: &mut Reader<'_>) -> Result<(Vec<Part>, u8), Malformed> {
    let count = reader.head(Kind::Array)?;
    if count > 4 {
        return Err(Malformed);
    }
    let mut parts = Vec::new();
    let mut roles = 0;
    let mut last = 0;
    for _ in 0..count {
        if reader.head(Kind::Array)? != 4 {
            return Err(Malformed);
        }
        let number = small(reader)?;
        let role = Role::from_number(number).filter(|_| number > last).ok_or(Malformed)?;
        last = number;
        roles |= 1 << number;
        parts.push(Part {
            role,
            tag: *reader.fixed()?,
            commitment: *reader.fixed()?,
            sealed_hash: match role {
                Role::Receipt => {
                    let [] = reader.fixed()?;
                    None
                }
                _ => Some(*reader.fixed()?),
            },
        });
    }
    Ok((parts, roles))
}
