//! Proofs that travel: `.tlog-proof` files and opened parts.

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::base64;
use super::cbor::Malformed;
use super::checkpoint::decimal;
use super::leaf::Leaf;
use super::tree::Hash;
use crate::crypto::mac::audit::{AuditPlace, CommitmentKey};
use crate::domain::event::Role;

/// First line of a proof file.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// No tree of fewer than 2^63 leaves is higher.
const MAXIMUM_HASHES: usize = 63;

/// An inclusion proof with its checkpoint (C2SP tlog-proof); the leaf travels as `extra`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// The bytes of the leaf, if they are in the file.
    pub leaf: Option<Vec<u8>>,
    /// The leaf's index.
    pub index: u64,
    /// The hashes, from the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed note, with its cosignatures.
    pub checkpoint: String,
}

impl LogProof {
    /// Reads a proof file. The checkpoint in it is not looked into.
    ///
    /// # Errors
    ///
    /// If a line is not what it should be, or there are more hashes than a tree is high.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(Malformed)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(Malformed);
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let leaf = match extra.and_then(|line| line.strip_prefix("extra ")) {
            Some(leaf) => Some(base64::decode(leaf)?),
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(Malformed)?;
        let index = decimal(index)?;
        let hashes = lines.map(parse_hash).collect::<Result<Vec<_>, _>>()?;
        if hashes.len() > MAXIMUM_HASHES {
            return Err(Malformed);
        }
        Ok(Self { leaf, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}

/// Gives the file.
impl std::fmt::Display for LogProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(leaf) = &self.leaf {
            writeln!(f, "extra {}", BASE64.encode(leaf))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Reads a hash in padded base64.
pub(super) fn parse_hash(line: &str) -> Result<Hash, Malformed> {
    base64::decode(line)?.try_into().map_err(|_| Malformed)
}

/// A part shown to somebody: its plaintext, and the key that proves that the leaf commits to it.
/// The key opens nothing else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedPart {
    /// The role's number.
    pub role: u8,
    /// `K_commit` of the entry and role.
    #[serde(with = "in_json")]
    pub commit_key: [u8; 32],
    /// Payload and padding.
    #[serde(with = "in_json")]
    pub plaintext: Vec<u8>,
}

impl OpenedPart {
    /// Whether this is what the leaf commits to under this role, in the log of this origin.
    #[must_use]
    pub fn is_bound_to(&self, leaf: &Leaf, origin: &str) -> bool {
        let Some(role) = Role::from_number(self.role) else {
            return false;
        };
        let Some(part) = leaf.parts.iter().find(|part| part.role == role) else {
            return false;
        };
        let place = AuditPlace {
            role: self.role,
            entry: leaf.entry,
            event: leaf.event.number(),
            class: leaf.event.class().number(),
            origin,
        };
        CommitmentKey::from_shown(self.commit_key).commits(&place, &self.plaintext, &part.commitment)
    }
}

/// Byte strings of receipts: strict padded base64.
mod in_json {
    use super::{BASE64, Deserialize, Deserializer, Serializer, base64, de};

    pub(super) fn serialize<S: Serializer>(bytes: impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes.as_ref()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, B: TryFrom<Vec<u8>>>(deserializer: D) -> Result<B, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = base64::decode(&text).map_err(|_| de::Error::custom("no base64"))?;
        B::try_from(bytes).map_err(|_| de::Error::custom("wrong length"))
    }
}
