//! Checkpoints: what a log signs and witnesses cosign (C2SP tlog-checkpoint, tlog-cosignature).

use data_encoding::BASE64;

use super::base64;
use super::cbor::Malformed;
use super::note::{KeyKind, MAXIMUM_SIGNATURES, Note, NoteSignature, VerifierKey};
use super::tree::Hash;
use crate::crypto::signature::verify_strict;

/// The size and the root of a log. It has no extension lines, and none are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// Its number of leaves, below 2^63.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no signed note, or its text is no checkpoint.
    #[error("the checkpoint is malformed")]
    Malformed,
    /// It is of another log.
    #[error("the checkpoint is of another log")]
    Origin,
    /// No known key of the log signed it, or a known key's signature fails.
    #[error("the signature of the checkpoint does not hold")]
    Signature,
}

impl From<Malformed> for CheckpointError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Checkpoint {
    /// The text that is signed, newline included.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    ///
    /// If it is anything but three lines of the right form.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines = text.strip_suffix('\n').ok_or(Malformed)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(Malformed);
        };
        if origin.is_empty() {
            return Err(Malformed);
        }
        let size = decimal(size)?;
        if i64::try_from(size).is_err() {
            return Err(Malformed);
        }
        let root = base64::decode(root)?.try_into().map_err(|_| Malformed)?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Reads a note, whoever signed it.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::parse`]; if it is no signed note.
    pub fn of_note(note: &[u8]) -> Result<Self, Malformed> {
        Self::parse(Note::parse(note)?.text)
    }

    /// The note with the log's signature, ready to be published and cosigned; with two where one key
    /// hands over to the next. Each signature is Ed25519 over [`Checkpoint::text`].
    #[must_use]
    pub fn note(&self, signatures: &[(VerifierKey, [u8; 64])]) -> String {
        let lines: String = signatures.iter().map(|(key, signature)| key.signature_line(signature)).collect();
        format!("{}\n{lines}", self.text())
    }
}

/// Reads a decimal number without sign or leading zero.
pub(super) fn decimal(text: &str) -> Result<u64, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

/// The bytes a witness signs: the time in seconds since 1970 UTC and the text of the checkpoint.
#[must_use]
pub fn cosigned_message(seconds: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

/// The note with these lines of cosignatures added, as far as a note may have lines at all.
#[must_use]
pub fn with_cosignatures<'a>(note: &str, lines: impl IntoIterator<Item = &'a str>) -> String {
    let count = Note::parse(note.as_bytes()).map_or(0, |note| note.signatures.len());
    let mut note = note.to_owned();
    lines.into_iter().take(MAXIMUM_SIGNATURES.saturating_sub(count)).for_each(|line| note.push_str(line));
    note
}

/// A cosignature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness's key.
    pub key: VerifierKey,
    /// When the witness saw the checkpoint, in seconds since 1970 UTC.
    pub seconds: u64,
}

/// A checkpoint whose signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The keys of the log that signed it; never empty.
    pub signed_by: Vec<VerifierKey>,
    /// The cosignatures of known witnesses, newest per witness.
    pub cosignatures: Vec<Cosignature>,
}

/// Reads and checks a checkpoint: note, text, origin, signatures, in that order.
///
/// `origin` is the log the reader expects; `None` takes any log that one of `log_keys` names.
/// Unknown signers are ignored; a known one whose signature fails rejects the whole note.
///
/// # Errors
///
/// A [`CheckpointError`].
pub fn open(
    note: &[u8],
    origin: Option<&str>,
    log_keys: &[VerifierKey],
    witness_keys: &[VerifierKey],
) -> Result<Verified, CheckpointError> {
    let note = Note::parse(note)?;
    let checkpoint = Checkpoint::parse(note.text)?;
    let expected = match origin {
        Some(origin) => checkpoint.origin == origin,
        None => log_keys.iter().any(|key| key.name() == checkpoint.origin),
    };
    if !expected {
        return Err(CheckpointError::Origin);
    }

    let mut signed_by = Vec::new();
    let mut cosignatures: Vec<Cosignature> = Vec::new();
    for line in &note.signatures {
        if let Some(key) = log_keys.iter().find(|key| line.claims(key)) {
            // The key name of a log is its origin: another log's key says nothing about this one.
            if key.name() != checkpoint.origin || !verify_signature(key, line, note.text) {
                return Err(CheckpointError::Signature);
            }
            if !signed_by.contains(key) {
                signed_by.push(key.clone());
            }
        } else if let Some(key) = witness_keys.iter().find(|key| line.claims(key)) {
            let seconds = verify_cosignature(key, line, note.text).ok_or(CheckpointError::Signature)?;
            match cosignatures.iter_mut().find(|known| known.key == *key) {
                Some(known) => known.seconds = known.seconds.max(seconds),
                None => cosignatures.push(Cosignature { key: key.clone(), seconds }),
            }
        }
    }
    if signed_by.is_empty() {
        return Err(CheckpointError::Signature);
    }
    Ok(Verified { checkpoint, signed_by, cosignatures })
}

fn verify_signature(key: &VerifierKey, line: &NoteSignature<'_>, text: &str) -> bool {
    key.kind() == KeyKind::Ed25519
        && <&[u8; 64]>::try_from(line.bytes.as_slice())
            .is_ok_and(|bytes| verify_strict(key.public(), text.as_bytes(), bytes).is_ok())
}

/// The time of a cosignature that holds.
pub(super) fn verify_cosignature(key: &VerifierKey, line: &NoteSignature<'_>, text: &str) -> Option<u64> {
    let (seconds, bytes) = line.bytes.split_first_chunk::<8>()?;
    let seconds = u64::from_be_bytes(*seconds);
    let bytes = <&[u8; 64]>::try_from(bytes).ok()?;
    let message = cosigned_message(seconds, text);
    let holds = key.kind() == KeyKind::Cosignature && verify_strict(key.public(), &message, bytes).is_ok();
    holds.then_some(seconds)
}
