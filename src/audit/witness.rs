//! What a witness is asked and what it answers (C2SP tlog-witness): bytes and verdicts, no store, no
//! key of its own.
//!
//! A witness remembers of each log the last checkpoint it cosigned, and cosigns nothing that is not
//! proven to extend it. That is all it does, and all a quorum of them needs to do so that nobody is
//! shown another log than everybody else.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::cbor::Malformed;
use super::checkpoint::{self, CheckpointError, Verified, decimal, verify_cosignature};
use super::note::{Note, NoteSignature, VerifierKey};
use super::proof::parse_hash;
use super::tree::{self, Hash};

/// The most bytes of a request, and of an answer that is read.
pub const MAXIMUM_BODY: usize = 64 * 1_024;
/// No tree of fewer than 2^63 leaves has longer proofs.
const MAXIMUM_HASHES: usize = 63;
/// What a witness adds to a note is a line or a few; an answer with more is not read further.
const MAXIMUM_LINES: usize = 32;

/// The media type of the size in an answer of 409.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// The name under which a witness shows what it cosigned last of a log: hex of `SHA-256(origin)`.
#[must_use]
pub fn log_name(origin: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(origin.as_bytes()))
}

/// A request to cosign a checkpoint: the body of `POST <url>/add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the caller believes the witness cosigned last; 0 if none.
    pub old: u64,
    /// The proof from the old size to that of the checkpoint (RFC 9162 §2.1.4).
    pub proof: Vec<Hash>,
    /// The signed note.
    pub note: String,
}

impl AddCheckpoint {
    /// Reads a body. The note in it is not looked into.
    ///
    /// # Errors
    ///
    /// If it is longer than 64 KiB, a line is not what it should be, or there are more than 63 hashes.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > MAXIMUM_BODY {
            return Err(Malformed);
        }
        let body = std::str::from_utf8(body).map_err(|_| Malformed)?;
        let (head, note) = body.split_once("\n\n").ok_or(Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(Malformed)?;
        let old = decimal(old)?;
        let proof = lines.map(parse_hash).collect::<Result<Vec<_>, _>>()?;
        if i64::try_from(old).is_err() || proof.len() > MAXIMUM_HASHES {
            return Err(Malformed);
        }
        Ok(Self { old, proof, note: note.to_owned() })
    }
}

/// Gives the body.
impl std::fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{}", self.note)
    }
}

/// Why a witness does not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is malformed, or its old size is above that of the checkpoint.
    #[error("the request is malformed")]
    Malformed,
    /// The witness does not know the log.
    #[error("the log is unknown")]
    UnknownLog,
    /// No known key of the log signed, or its signature fails.
    #[error("the signature of the log does not hold")]
    Signature,
    /// The old size is not the one that was cosigned last.
    #[error("the size cosigned last is {size}")]
    Conflict {
        /// The size that was.
        size: u64,
    },
    /// The checkpoint is not proven to extend what was cosigned last.
    #[error("the checkpoint is not proven to extend what was cosigned last")]
    Inconsistent,
}

impl From<CheckpointError> for Refusal {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Malformed => Self::Malformed,
            CheckpointError::Origin => Self::UnknownLog,
            CheckpointError::Signature => Self::Signature,
        }
    }
}

/// What a witness cosigned last of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The note, with the witness's own line.
    pub note: String,
}

/// A request whose checkpoint a known log signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The checkpoint and who signed it.
    pub verified: Verified,
    /// The text that was signed, and that the witness signs.
    pub text: String,
    /// The lines of the log's own keys; lines of others are not passed on.
    pub lines: Vec<String>,
    request: AddCheckpoint,
}

impl Claim {
    /// Checks what can be checked without knowing what was cosigned before: syntax, log, signature,
    /// and that the old size is not above the new one, in this order.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`], [`Refusal::UnknownLog`], [`Refusal::Signature`].
    pub fn open(body: &[u8], logs: &[VerifierKey]) -> Result<Self, Refusal> {
        let request = AddCheckpoint::parse(body).map_err(|_| Refusal::Malformed)?;
        let verified = checkpoint::open(request.note.as_bytes(), None, logs, &[])?;
        if request.old > verified.checkpoint.size {
            return Err(Refusal::Malformed);
        }
        let note = Note::parse(request.note.as_bytes()).map_err(|_| Refusal::Malformed)?;
        let lines = note.signatures.iter().filter(|line| verified.signed_by.iter().any(|key| line.claims(key)));
        let lines = lines.map(|line| format!("{}\n", line.line)).collect();
        Ok(Self { text: note.text.to_owned(), lines, verified, request })
    }

    /// Whether the checkpoint extends what was cosigned last.
    ///
    /// # Errors
    ///
    /// [`Refusal::Conflict`], [`Refusal::Inconsistent`].
    pub fn follows(&self, last: Option<&Cosigned>) -> Result<(), Refusal> {
        let (size, root) = last.map_or((0, tree::empty_root()), |last| (last.size, last.root));
        if self.request.old != size {
            return Err(Refusal::Conflict { size });
        }
        let next = &self.verified.checkpoint;
        // A tree without leaves has one root only, whatever was or was not cosigned before.
        if next.size == 0 && next.root != tree::empty_root() {
            return Err(Refusal::Inconsistent);
        }
        tree::verify_consistency(size, &root, next.size, &next.root, &self.request.proof)
            .map(drop)
            .map_err(|_| Refusal::Inconsistent)
    }

    /// What the caller said was cosigned last.
    #[must_use]
    pub const fn old(&self) -> u64 {
        self.request.old
    }

    /// The proof that was offered.
    #[must_use]
    pub fn proof(&self) -> &[Hash] {
        &self.request.proof
    }

    /// The note as it came.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.request.note
    }
}

/// A cosignature as it stands under a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignatureLine {
    /// The witness's key.
    pub key: VerifierKey,
    /// When it cosigned, in seconds since 1970 UTC.
    pub seconds: u64,
    /// The line, with its newline.
    pub line: String,
}

/// The cosignatures in a witness's answer that are made by one of these keys over this text. All
/// else in the answer is left out: a witness that adds foreign lines must not spoil the note.
#[must_use]
pub fn cosignatures(answer: &[u8], text: &str, keys: &[VerifierKey]) -> Vec<CosignatureLine> {
    let answer = std::str::from_utf8(answer).unwrap_or_default();
    let lines = answer.lines().take(MAXIMUM_LINES).filter_map(|line| NoteSignature::parse(line).ok());
    let known = lines.filter_map(|line| {
        let key = keys.iter().find(|key| line.claims(key))?;
        let seconds = verify_cosignature(key, &line, text)?;
        Some(CosignatureLine { key: key.clone(), seconds, line: format!("{}\n", line.line) })
    });
    known.collect()
}

/// The size in an answer of 409.
#[must_use]
pub fn size_in(answer: &[u8]) -> Option<u64> {
    decimal(std::str::from_utf8(answer).ok()?.strip_suffix('\n')?).ok()
}
