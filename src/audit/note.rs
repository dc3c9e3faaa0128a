//! Signed notes (C2SP signed-note) and the keys that sign them.

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use super::base64;
use super::cbor::Malformed;

/// The most bytes of a note that is read at all.
const MAXIMUM_LENGTH: usize = 64 * 1_024;
/// The most signature lines of a note.
pub(super) const MAXIMUM_SIGNATURES: usize = 32;

/// What a key signs, by its type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// 0x01: Ed25519 over the text of the note. Logs.
    Ed25519,
    /// 0x04: Ed25519 over a time and the text. Witnesses.
    Cosignature,
}

impl KeyKind {
    /// The type byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// A public key and its name: a `vkey`, `name+hex(key id)+base64(type ‖ public key)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: [u8; 32],
}

impl VerifierKey {
    /// The key of this name; for a log, the name is its origin.
    ///
    /// # Errors
    ///
    /// If the name is empty or holds a plus sign, white space or a control character.
    pub fn new(name: &str, kind: KeyKind, public: [u8; 32]) -> Result<Self, Malformed> {
        if is_key_name(name) { Ok(Self { name: name.to_owned(), kind, public }) } else { Err(Malformed) }
    }

    /// Reads a `vkey`.
    ///
    /// # Errors
    ///
    /// If it is not well formed, its id is not that of its key, or its type is neither of ours.
    pub fn parse(vkey: &str) -> Result<Self, Malformed> {
        let mut pieces = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (pieces.next(), pieces.next(), pieces.next()) else {
            return Err(Malformed);
        };
        let key = base64::decode(key)?;
        let (kind, public) = match key.split_first() {
            Some((0x01, public)) => (KeyKind::Ed25519, public),
            Some((0x04, public)) => (KeyKind::Cosignature, public),
            _ => return Err(Malformed),
        };
        let key = Self::new(name, kind, public.try_into().map_err(|_| Malformed)?)?;
        if HEXLOWER.encode(&key.id()) == id { Ok(key) } else { Err(Malformed) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The raw public key.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Type byte and public key, as leaves name a verifier (facts 9 and 16).
    #[must_use]
    pub fn typed(&self) -> [u8; 33] {
        let mut typed = [0; 33];
        let (kind, public) = typed.split_at_mut(1);
        kind.fill(self.kind.byte());
        public.copy_from_slice(&self.public);
        typed
    }

    /// The key id: the first four bytes of `SHA-256(name ‖ 0x0A ‖ type ‖ public key)`.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let mut digest = Sha256::new();
        digest.update(self.name.as_bytes());
        digest.update([0x0a]);
        digest.update(self.typed());
        let [a, b, c, d, ..] = <[u8; 32]>::from(digest.finalize());
        [a, b, c, d]
    }

    /// The line under a note: `— <name> base64(key id ‖ signature)` and a newline. The bytes of a
    /// cosignature start with its time.
    #[must_use]
    pub fn signature_line(&self, signature: &[u8]) -> String {
        let bytes = [self.id().as_slice(), signature].concat();
        format!("\u{2014} {} {}\n", self.name, BASE64.encode(&bytes))
    }
}

/// Gives the `vkey`.
impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = HEXLOWER.encode(&self.id());
        write!(f, "{}+{id}+{}", self.name, BASE64.encode(&self.typed()))
    }
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control())
}

/// A note, its form checked, its signatures not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The text, with the newline at its end: what is signed.
    pub text: &'a str,
    /// The signature lines, in order.
    pub signatures: Vec<NoteSignature<'a>>,
}

/// One signature line of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature<'a> {
    /// The line as it stands, without its newline.
    pub line: &'a str,
    /// The name of the key.
    pub name: &'a str,
    /// The id of the key.
    pub id: [u8; 4],
    /// The bytes behind the id.
    pub bytes: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Reads a note. Text and signatures part at the *last* empty line.
    ///
    /// # Errors
    ///
    /// If it is longer than 64 KiB, has no or more than 32 signature lines, holds a control
    /// character other than newline, or a line is not well formed.
    pub fn parse(note: &'a [u8]) -> Result<Self, Malformed> {
        if note.len() > MAXIMUM_LENGTH {
            return Err(Malformed);
        }
        let note = std::str::from_utf8(note).map_err(|_| Malformed)?;
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(Malformed);
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(Malformed)?;
        let text = note.get(..text.len() + 1).ok_or(Malformed)?;
        let signatures = signatures.strip_suffix('\n').ok_or(Malformed)?;
        let signatures = signatures.split('\n').map(NoteSignature::parse).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAXIMUM_SIGNATURES {
            return Err(Malformed);
        }
        Ok(Self { text, signatures })
    }
}

impl<'a> NoteSignature<'a> {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    ///
    /// If it is not well formed.
    pub fn parse(line: &'a str) -> Result<Self, Malformed> {
        let (name, bytes) = line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(Malformed)?;
        if !is_key_name(name) {
            return Err(Malformed);
        }
        let bytes = base64::decode(bytes)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
        if bytes.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { line, name, id: *id, bytes: bytes.to_owned() })
    }

    /// Whether this line claims to be made by that key: name *and* id must fit.
    #[must_use]
    pub fn claims(&self, key: &VerifierKey) -> bool {
        self.name == key.name && self.id == key.id()
    }
}
