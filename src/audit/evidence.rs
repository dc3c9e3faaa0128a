//! Evidence that a log contradicts itself (`amanat-evidence/1`): two notes that its own key signed,
//! for anybody who has the public key to judge.

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cbor::Malformed;
use super::checkpoint::{self, Checkpoint, CheckpointError, Verified};
use super::finding::{Code, Finding, Report};
use super::note::VerifierKey;
use super::proof::parse_hash;
use super::tree::{self, Hash, HashSource};

const FORMAT: &str = "amanat-evidence/1";
/// No tree of fewer than 2^63 leaves has longer proofs, and one hash stands before them.
const MAXIMUM_HASHES: usize = 64;

/// What the two notes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Two views that cannot both be true.
    Fork,
    /// A log that was signed with more leaves than whoever shows the second note has.
    Rollback,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Rollback => "rollback",
        }
    }
}

/// Two signed notes of one log, and why they cannot both stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What they show.
    pub kind: Kind,
    /// The two notes. Of a rollback, the first has more leaves.
    pub notes: [String; 2],
    /// Of a fork at two sizes: the hashes from the smaller to the larger size *in the tree of the
    /// larger note*, with the root of the largest full subtree at the right edge of the smaller
    /// size first, which RFC 9162 §2.1.4 leaves out where that size is a power of two. They lead to
    /// the root of the larger note and to another root than the smaller note says.
    pub proof: Option<Vec<Hash>>,
    /// Who met the two notes, and how. No personal data.
    pub why: String,
}

/// How much the evidence proves by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Whoever has the key of the log sees that both cannot be true.
    Proven,
    /// The log signed both. That they contradict each other rests on the word of who wrote it.
    Claimed,
}

/// Why evidence is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// A note is not signed by a known key of one log.
    #[error("a note of the evidence is refused: {0}")]
    Note(#[from] CheckpointError),
    /// The notes do not contradict each other.
    #[error("the notes of the evidence do not contradict each other")]
    NoContradiction,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    kind: Kind,
    notes: [String; 2],
    proof: Option<Vec<String>>,
    why: String,
}

impl Evidence {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it is not of this format.
    pub fn parse(json: &[u8]) -> Result<Self, Malformed> {
        let file: File = serde_json::from_slice(json).map_err(|_| Malformed)?;
        if file.format != FORMAT {
            return Err(Malformed);
        }
        let read = |hashes: Vec<String>| hashes.iter().map(|hash| parse_hash(hash)).collect::<Result<Vec<_>, _>>();
        let proof = file.proof.map(read).transpose()?;
        if proof.as_ref().is_some_and(|hashes| hashes.len() > MAXIMUM_HASHES) {
            return Err(Malformed);
        }
        Ok(Self { kind: file.kind, notes: file.notes, proof, why: file.why })
    }

    /// The file: JSON, one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let encode = |hashes: &Vec<Hash>| hashes.iter().map(|hash| BASE64.encode(hash)).collect();
        let file = File {
            format: FORMAT.to_owned(),
            kind: self.kind,
            notes: self.notes.clone(),
            proof: self.proof.as_ref().map(encode),
            why: self.why.clone(),
        };
        // Texts and lists of texts always serialise.
        serde_json::to_string(&file).unwrap_or_default() + "\n"
    }

    /// A name for the file, the same for the same evidence.
    #[must_use]
    pub fn file_name(&self) -> String {
        let digest = HEXLOWER.encode(&Sha256::digest(self.notes.concat().as_bytes()));
        format!("{}-{}.amanat-evidence.json", self.kind.as_str(), digest.get(..16).unwrap_or_default())
    }

    /// Judges the evidence with the keys of the log.
    ///
    /// # Errors
    ///
    /// An [`EvidenceError`] if it is none.
    pub fn judge(&self, keys: &[VerifierKey]) -> Result<Weight, EvidenceError> {
        let (first, second) = self.open(keys)?;
        if self.kind == Kind::Rollback {
            let is_shorter = second.size < first.size;
            return if is_shorter { Ok(Weight::Claimed) } else { Err(EvidenceError::NoContradiction) };
        }
        let (older, newer) = if first.size <= second.size { (first, second) } else { (second, first) };
        if older.size == newer.size {
            return if older.root == newer.root { Err(EvidenceError::NoContradiction) } else { Ok(Weight::Proven) };
        }
        let roots = self.proof.as_ref().and_then(|proof| {
            let (seed, rest) = proof.split_first()?;
            tree::consistency_roots(older.size, newer.size, seed, rest).ok()
        });
        match roots {
            Some((old, new)) if new == newer.root && old == older.root => Err(EvidenceError::NoContradiction),
            Some((_, new)) if new == newer.root => Ok(Weight::Proven),
            _ => Ok(Weight::Claimed),
        }
    }

    /// Judges the evidence as a verification of its own.
    #[must_use]
    pub fn report(&self, keys: &[VerifierKey]) -> Report {
        let mut report = Report::new();
        let code = match self.kind {
            Kind::Fork => Code::Fork,
            Kind::Rollback => Code::Rollback,
        };
        report.findings.push(match self.judge(keys) {
            Ok(Weight::Proven) => Finding::whole(code, "The log signed two views that cannot both be true."),
            Ok(Weight::Claimed) => {
                let text = "The log signed both notes. That they contradict each other is the word of who wrote this.";
                Finding::whole(code, text)
            }
            Err(EvidenceError::Note(CheckpointError::Origin)) => {
                Finding::whole(Code::OriginMismatch, "A note of the evidence is of another log.")
            }
            Err(EvidenceError::Note(CheckpointError::Signature)) => {
                Finding::whole(Code::CheckpointSignature, "A note of the evidence is not signed by the log.")
            }
            Err(EvidenceError::Note(CheckpointError::Malformed) | EvidenceError::NoContradiction) => {
                Finding::whole(Code::Malformed, "This is no evidence: its notes do not contradict each other.")
            }
        });
        if let Ok((first, second)) = self.open(keys) {
            report.size = first.size.max(second.size);
            report.origin = Some(first.origin);
        }
        report.conclude();
        report
    }

    fn open(&self, keys: &[VerifierKey]) -> Result<(Checkpoint, Checkpoint), EvidenceError> {
        let [first, second] = &self.notes;
        let first = checkpoint::open(first.as_bytes(), None, keys, &[])?.checkpoint;
        let second = checkpoint::open(second.as_bytes(), Some(&first.origin), keys, &[])?.checkpoint;
        Ok((first, second))
    }
}

/// The proof of a fork at two sizes, from the tree of the larger note: see [`Evidence::proof`].
///
/// # Errors
///
/// Whatever the source fails with.
pub fn fork_proof<S: HashSource>(older: u64, newer: u64, source: &S) -> Result<Option<Vec<Hash>>, S::Error> {
    if older == 0 || older >= newer {
        return Ok(None);
    }
    let mut proof = Vec::new();
    if older.is_power_of_two() {
        proof.push(tree::root(older, source)?);
    }
    proof.extend(tree::consistency_proof(older, newer, source)?);
    Ok(Some(proof))
}

/// Whether two signed checkpoints of one size have different roots.
#[must_use]
pub fn contradict(one: &Verified, other: &Verified) -> bool {
    let (one, other) = (&one.checkpoint, &other.checkpoint);
    one.origin == other.origin && one.size == other.size && one.root != other.root
}
