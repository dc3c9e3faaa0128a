//! A payload as a tree: read from CBOR, written as CBOR, shown as JSON.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::audit::cbor::{Kind, Malformed, Reader, length, put_bytes, put_head, put_text, put_uint};

/// How deep a payload may nest; ours nest four deep.
const MAXIMUM_DEPTH: u8 = 16;

/// A value of a payload.
///
/// As JSON, byte strings are lower-case hexadecimal text, so bytes and text of one spelling cannot
/// be told apart there: [`Value::shows`] compares in that sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An unsigned integer.
    Uint(u64),
    /// Bytes, such as ids and hashes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// Values in order.
    Array(Vec<Value>),
    /// Values by key. The order of writing does not matter: CBOR sorts them.
    Map(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_owned())
    }
}

impl Value {
    /// The member of a map; `None` if this is no map or has no such member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The bytes, if they are this many.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> Option<[u8; N]> {
        match self {
            Self::Bytes(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of an array; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// Deterministic CBOR. Of a key that stands twice, the first member counts.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Uint(value) => put_uint(out, *value),
            Self::Bytes(bytes) => put_bytes(out, bytes),
            Self::Text(text) => put_text(out, text),
            Self::Bool(value) => out.push(0xf4 | u8::from(*value)),
            Self::Array(items) => {
                put_head(out, Kind::Array, length(items.len()));
                for item in items {
                    item.encode_into(out);
                }
            }
            Self::Map(members) => {
                let mut sorted: Vec<&(String, Self)> = members.iter().collect();
                sorted.sort_by(|(one, _), (other, _)| encoded_order(one).cmp(&encoded_order(other)));
                sorted.dedup_by(|(later, _), (earlier, _)| later == earlier);
                put_head(out, Kind::Map, length(sorted.len()));
                for (key, value) in sorted {
                    put_text(out, key);
                    value.encode_into(out);
                }
            }
        }
    }

    /// Reads deterministic CBOR to its last byte.
    ///
    /// # Errors
    ///
    /// If the bytes are anything but what [`Value::encode`] makes of some value.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader, MAXIMUM_DEPTH)?;
        if reader.is_empty() { Ok(value) } else { Err(Malformed) }
    }

    fn read(reader: &mut Reader<'_>, depth: u8) -> Result<Self, Malformed> {
        let deeper = depth.checked_sub(1).ok_or(Malformed)?;
        Ok(match reader.peek()? {
            0x00..0x20 => Self::Uint(reader.uint()?),
            0x40..0x60 => Self::Bytes(reader.bytes()?.to_owned()),
            0x60..0x80 => Self::Text(reader.text()?.to_owned()),
            0x80..0xa0 => {
                let mut items = Vec::new();
                for _ in 0..reader.head(Kind::Array)? {
                    items.push(Self::read(reader, deeper)?);
                }
                Self::Array(items)
            }
            0xa0..0xc0 => {
                let mut members: Vec<(String, Self)> = Vec::new();
                for _ in 0..reader.head(Kind::Map)? {
                    let key = reader.text()?;
                    let rising = members.last().is_none_or(|(last, _)| encoded_order(last) < encoded_order(key));
                    if !rising {
                        return Err(Malformed);
                    }
                    members.push((key.to_owned(), Self::read(reader, deeper)?));
                }
                Self::Map(members)
            }
            0xf4 | 0xf5 => Self::Bool(reader.byte()? == 0xf5),
            _ => return Err(Malformed),
        })
    }

    /// Whether `shown`, read from JSON, says exactly what this value says.
    #[must_use]
    pub fn shows(&self, shown: &Self) -> bool {
        match (self, shown) {
            (Self::Bytes(bytes), Self::Text(text)) => HEXLOWER.encode(bytes) == *text,
            (Self::Array(items), Self::Array(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(item, other)| item.shows(other))
            }
            (Self::Map(members), Self::Map(others)) => {
                members.len() == others.len()
                    && members.iter().all(|(key, value)| shown.get(key).is_some_and(|other| value.shows(other)))
            }
            _ => self == shown,
        }
    }
}

/// Keys are sorted by their encoding (RFC 8949 §4.2.1): shorter ones first, then bytewise.
fn encoded_order(key: &str) -> (usize, &str) {
    (key.len(), key)
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Uint(value) => serializer.serialize_u64(*value),
            Self::Bytes(bytes) => serializer.serialize_str(&HEXLOWER.encode(bytes)),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Array(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Self::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Strict: no null, no negative or broken number, and no key twice, for a reader who sees the first
/// of two members must not be told something else than a reader who sees the last.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an unsigned integer, text, a truth value, an array or an object")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Uint(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members: Vec<(String, Value)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom("a key stands twice"));
            }
            members.push((key, value));
        }
        Ok(Value::Map(members))
    }
}
