//! The authority bundle: which files it holds under which names, and the one that lists them all.
//!
//! A bundle is a zip or the folder that a zip was unpacked to. Its form is closed: a file under any
//! other name is refused, so nothing can travel in a bundle that no verifier looks at.

pub mod container;

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::cbor::Malformed;
use super::leaf;
use super::payload::MAXIMUM_PLAINTEXT;
use super::tile::{TileKind, TilePath};
use super::tree::Hash;
use crate::domain::event::{Class, Role};
use crate::domain::id::EntryId;

/// Files in a bundle at most.
pub const MAXIMUM_FILES: usize = 1_000_000;
/// Bytes of all files together at most.
pub const MAXIMUM_UNPACKED: u64 = 4 << 30;
/// The longest path, in bytes.
pub const MAXIMUM_PATH: usize = 512;

/// The longest text a person or a trust policy needs, in bytes.
const MAXIMUM_TEXT: u64 = 1 << 20;
/// The longest list of files: the longest line of it, a million times, and some to spare.
const MAXIMUM_MANIFEST: u64 = 512 << 20;
/// Signed notes and time-stamp replies are not longer.
const MAXIMUM_NOTE: u64 = 64 << 10;
/// A file of a policy is not longer.
const MAXIMUM_POLICY_FILE: u64 = 16 << 20;

/// The name of a file in a bundle. `Display` gives the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BundlePath {
    /// `README.txt`: how to verify without the gateway.
    Readme,
    /// `bundle.json`: the [`Manifest`].
    Manifest,
    /// `trust.txt`: the gateway's own claim whom to trust.
    Trust,
    /// `checkpoint`: the newest signed note, with cosignatures.
    Checkpoint,
    /// `checkpoints/<size>`: an older one.
    CheckpointOf(u64),
    /// `tile/0/…` and `tile/entries/…`, as the log serves them.
    Tile(TilePath),
    /// `sealed/<entry>.<role>`: the sealed bytes of a part.
    Sealed(EntryId, Role),
    /// `opened/<entry>.<role>.json`: an opened part.
    Opened(EntryId, Role),
    /// `tags/<class>`: the tag key of one person.
    Tags(Class),
    /// `anchor/<size>.tsr`: a time-stamp reply.
    Anchor(u64),
    /// `policy/<hash>/…`: a file of a policy that a leaf names.
    Policy(Hash, String),
}

impl BundlePath {
    /// Reads a path. `None` for anything but the one right spelling of a name that is known.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if !is_plain(path) {
            return None;
        }
        match path {
            "README.txt" => return Some(Self::Readme),
            "bundle.json" => return Some(Self::Manifest),
            "trust.txt" => return Some(Self::Trust),
            "checkpoint" => return Some(Self::Checkpoint),
            _ => {}
        }
        let (folder, name) = path.split_once('/')?;
        match folder {
            "checkpoints" => size(name).map(Self::CheckpointOf),
            "tile" => TilePath::parse(path)
                .filter(|tile| matches!(tile.kind, TileKind::Hashes(0) | TileKind::Entries))
                .map(Self::Tile),
            "sealed" => {
                let (entry, role) = part(name)?;
                Some(Self::Sealed(entry, role))
            }
            "opened" => {
                let (entry, role) = part(name.strip_suffix(".json")?)?;
                Some(Self::Opened(entry, role))
            }
            "tags" => Class::ALL.iter().copied().find(|class| class.as_str() == name).map(Self::Tags),
            "anchor" => size(name.strip_suffix(".tsr")?).map(Self::Anchor),
            "policy" => {
                let (hash, file) = name.split_once('/')?;
                Some(Self::Policy(hexadecimal(hash)?, file.to_owned()))
            }
            _ => None,
        }
    }

    /// How long the file may be, in bytes.
    #[must_use]
    pub fn maximum_length(&self) -> u64 {
        match self {
            Self::Readme | Self::Trust => MAXIMUM_TEXT,
            Self::Manifest => MAXIMUM_MANIFEST,
            Self::Checkpoint | Self::CheckpointOf(_) | Self::Anchor(_) => MAXIMUM_NOTE,
            Self::Tile(TilePath { kind: TileKind::Hashes(_), width, .. }) => u64::from(*width) * 32,
            Self::Tile(TilePath { kind: TileKind::Entries, width, .. }) => {
                u64::from(*width) * (2 + u64::try_from(leaf::MAXIMUM_LENGTH).unwrap_or(u64::MAX))
            }
            // Header, nonce and tag of the seal; then base64, key and braces of what is opened.
            Self::Sealed(..) => MAXIMUM_SEALED,
            Self::Opened(..) => 2 * MAXIMUM_SEALED,
            Self::Tags(_) => 128,
            Self::Policy(..) => MAXIMUM_POLICY_FILE,
        }
    }
}

#[expect(clippy::as_conversions, reason = "a constant widened at compile time")]
const MAXIMUM_SEALED: u64 = MAXIMUM_PLAINTEXT as u64 + 64;

impl std::fmt::Display for BundlePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = |entry: &EntryId| HEXLOWER.encode(entry.as_bytes());
        match self {
            Self::Readme => f.write_str("README.txt"),
            Self::Manifest => f.write_str("bundle.json"),
            Self::Trust => f.write_str("trust.txt"),
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::CheckpointOf(size) => write!(f, "checkpoints/{size}"),
            Self::Tile(tile) => tile.fmt(f),
            Self::Sealed(entry, role) => write!(f, "sealed/{}.{}", hex(entry), role.number()),
            Self::Opened(entry, role) => write!(f, "opened/{}.{}.json", hex(entry), role.number()),
            Self::Tags(class) => write!(f, "tags/{}", class.as_str()),
            Self::Anchor(size) => write!(f, "anchor/{size}.tsr"),
            Self::Policy(hash, file) => write!(f, "policy/{}/{file}", HEXLOWER.encode(hash)),
        }
    }
}

/// Whether a path stays below its folder on every system, in one spelling.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    path.len() <= MAXIMUM_PATH
        && !path.chars().any(|letter| letter.is_control() || matches!(letter, '\\' | ':'))
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn size(text: &str) -> Option<u64> {
    super::checkpoint::decimal(text).ok().filter(|size| i64::try_from(*size).is_ok())
}

fn part(name: &str) -> Option<(EntryId, Role)> {
    let (entry, role) = name.split_once('.')?;
    let role = Role::ALL.iter().copied().find(|known| role == known.number().to_string())?;
    Some((EntryId::from_bytes(hexadecimal(entry)?), role))
}

fn hexadecimal<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// `bundle.json`: which log, how much of it, and the hash of every other file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: Format,
    /// The log.
    pub origin: String,
    /// The leaves that `checkpoint` covers.
    pub size: u64,
    /// The first leaf whose entry is in the bundle; a multiple of 256.
    pub from: u64,
    /// The first behind them; a multiple of 256, or `size`.
    pub to: u64,
    /// The files by path, each with its SHA-256.
    pub files: BTreeMap<String, FileHash>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "amanat-bundle/1")]
    One,
}

impl Manifest {
    /// A list without files.
    #[must_use]
    pub const fn new(origin: String, size: u64, from: u64, to: u64) -> Self {
        Self { format: Format::One, origin, size, from, to, files: BTreeMap::new() }
    }

    /// Writes it, in the one form there is: JSON with an indent of two, keys and paths in order, a
    /// line feed at the end.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, mut out: impl std::io::Write) -> std::io::Result<()> {
        serde_json::to_writer_pretty(&mut out, self)?;
        out.write_all(b"\n")
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is anything but what [`Manifest::write`] makes, or the range is none of the log's.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|_| Malformed)?;
        let mut rest = Expected(bytes);
        // Writing it again also refuses a key that stands twice.
        manifest.write(&mut rest).map_err(|_| Malformed)?;
        let is_aligned = |seq: u64| seq.is_multiple_of(super::tile::TILE_WIDTH) || seq == manifest.size;
        let Self { size, from, to, .. } = manifest;
        let is_range = from <= to && to <= size && i64::try_from(size).is_ok() && is_aligned(from) && is_aligned(to);
        if rest.0.is_empty() && is_range { Ok(manifest) } else { Err(Malformed) }
    }
}

/// Takes what it is given only if it is what it expects.
struct Expected<'a>(&'a [u8]);

impl std::io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A SHA-256 that stands in JSON as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHash(pub Hash);

impl Serialize for FileHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for FileHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hexadecimal(&text).map(Self).ok_or_else(|| de::Error::custom("not a SHA-256"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_spelling() {
        let entry = "00112233445566778899aabbccddeeff";
        let hash = "ab".repeat(32);
        for path in [
            "README.txt".to_owned(),
            "bundle.json".to_owned(),
            "trust.txt".to_owned(),
            "checkpoint".to_owned(),
            "checkpoints/0".to_owned(),
            "checkpoints/600".to_owned(),
            "tile/0/000".to_owned(),
            "tile/0/x001/234.p/7".to_owned(),
            "tile/entries/002.p/88".to_owned(),
            format!("sealed/{entry}.1"),
            format!("opened/{entry}.3.json"),
            "tags/evidence".to_owned(),
            "anchor/512.tsr".to_owned(),
            format!("policy/{hash}/notices/shop/1.fa.md"),
        ] {
            assert_eq!(BundlePath::parse(&path).map(|known| known.to_string()), Some(path));
        }
        for path in [
            "",
            "/checkpoint",
            "./checkpoint",
            "tile/../checkpoint",
            "checkpoint/",
            "Checkpoint",
            "readme.txt",
            "checkpoints/01",
            "checkpoints/9223372036854775808",
            "tile/1/000",
            "tile/0/0",
            "tile\\0\\000",
            "c:/checkpoint",
            "sealed/00112233445566778899AABBCCDDEEFF.1",
            "sealed/00112233445566778899aabbccddeeff.5",
            "sealed/00112233445566778899aabbccddeeff.01",
            "opened/00112233445566778899aabbccddeeff.1",
            "tags/everything",
            "policy/ab/x.toml",
            &format!("policy/{hash}"),
            &format!("policy/{hash}/../../x"),
            "else",
        ] {
            assert_eq!(BundlePath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn the_list_has_one_form() {
        let mut manifest = Manifest::new("gw.example/log".to_owned(), 600, 256, 600);
        manifest.files.insert("checkpoint".to_owned(), FileHash([7; 32]));
        manifest.files.insert("README.txt".to_owned(), FileHash([8; 32]));
        let mut bytes = Vec::new();
        manifest.write(&mut bytes).unwrap();
        assert!(bytes.starts_with(b"{\n  \"format\": \"amanat-bundle/1\",\n  \"origin\": \"gw.example/log\",\n"));
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        let text = String::from_utf8(bytes).unwrap();
        let twice = text.replace("\"checkpoint\":", "\"README.txt\":");
        for wrong in [
            text.trim_end().to_owned(),
            format!("{text} "),
            text.replace("  ", "\t"),
            text.replace("0707", "070 "),
            text.replace("\"from\": 256", "\"from\": 255"),
            text.replace("\"from\": 256", "\"from\": 768"),
            text.replace("\"to\": 600", "\"to\": 601"),
            text.replace("bundle/1", "bundle/2"),
            text.replace("\"size\"", "\"sizes\""),
            twice,
        ] {
            assert!(Manifest::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(
            path in "[a-z./0-9x\\\\:]{0,60}|(checkpoints|tile/0|tile/entries|sealed|opened|anchor|policy|tags)/[0-9a-fx./p]{0,70}",
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            if let Some(known) = BundlePath::parse(&path) {
                proptest::prop_assert_eq!(known.to_string(), path);
            }
            proptest::prop_assert!(Manifest::parse(&bytes).is_err());
            if let Some(header) = bytes.first_chunk() {
                proptest::prop_assert!(container::read_header(header).is_none());
            }
        }
    }
}
