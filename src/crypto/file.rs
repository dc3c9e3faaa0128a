//! Sealed files `F`: `46 01 ‖ key version u32 ‖ file id 16 ‖` a chunked message.

use zeroize::Zeroizing;

use super::Error;
use super::chunked::{CHUNK_LENGTH, Message, SALT_LENGTH, SEALED_CHUNK_LENGTH};
use super::envelope::Dek;
use super::mac::{Context, Owner, RecordKind, derive, equal};
use crate::domain::id::{FileId, InstallationId};

/// Bytes of plaintext in every chunk but the last.
pub const FILE_CHUNK_LENGTH: usize = CHUNK_LENGTH;
/// Bytes before the first chunk.
pub const FILE_HEAD_LENGTH: usize = 2 + 4 + 16 + SALT_LENGTH + 32;
/// Bytes of a sealed chunk, but the last.
pub const SEALED_FILE_CHUNK_LENGTH: usize = SEALED_CHUNK_LENGTH;

/// Type and version byte of a sealed file.
const HEADER: [u8; 2] = [0x46, 0x01];

/// Where a file belongs. A file id is sealed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The installation.
    pub installation: InstallationId,
    /// Whose it is.
    pub owner: Owner,
    /// What it is: `access-package`, `document` and so on.
    pub kind: RecordKind,
    /// Its id.
    pub file: FileId,
}

/// Seals a whole file. Long files are better given to a [`FileSealer`].
///
/// # Errors
/// [`Error::TooLarge`] beyond 4 PiB.
pub fn seal_file(key: &Dek, place: &FilePlace, salt: &[u8; SALT_LENGTH], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut sealer, mut bytes) = FileSealer::new(key, place, salt);
    let (chunks, last) = plaintext.as_chunks::<CHUNK_LENGTH>();
    bytes.reserve(plaintext.len() + (chunks.len() + 1) * (SEALED_CHUNK_LENGTH - CHUNK_LENGTH));
    for chunk in chunks {
        sealer.chunk(chunk, &mut bytes)?;
    }
    sealer.finish(last, &mut bytes)?;
    Ok(bytes)
}

/// Opens a whole file.
///
/// # Errors
/// As [`FileOpener::new`] and [`FileOpener::chunk`]; [`Error::Truncated`] if the short last chunk
/// is missing.
pub fn open_file(key: &Dek, place: &FilePlace, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (head, chunks) = FileHead::parse(bytes)?;
    let opener = FileOpener::new(key, place, &head)?;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(chunks.len()));
    let (full, last) = chunks.as_chunks::<SEALED_CHUNK_LENGTH>();
    let mut number = 0;
    for chunk in full {
        plaintext.extend_from_slice(&opener.chunk(number, chunk)?);
        number += 1;
    }
    plaintext.extend_from_slice(&opener.last_chunk(number, last)?);
    Ok(plaintext)
}

/// Seals a file chunk by chunk.
pub struct FileSealer {
    message: Message,
    next: u64,
}

impl FileSealer {
    /// Begins a file; the bytes returned stand at its start. The salt must be fresh.
    #[must_use]
    pub fn new(key: &Dek, place: &FilePlace, salt: &[u8; SALT_LENGTH]) -> (Self, Vec<u8>) {
        let message = place.message(key, salt);
        let mut head = Vec::with_capacity(FILE_HEAD_LENGTH);
        head.extend_from_slice(&HEADER);
        head.extend_from_slice(&key.version().to_be_bytes());
        head.extend_from_slice(place.file.as_bytes());
        head.extend_from_slice(salt);
        head.extend_from_slice(message.commitment());
        (Self { message, next: 0 }, head)
    }

    /// Seals the next full chunk and appends it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond 2^38 chunks.
    pub fn chunk(&mut self, chunk: &[u8; CHUNK_LENGTH], to: &mut Vec<u8>) -> Result<(), Error> {
        self.message.seal(self.next, chunk, to)?;
        self.next += 1;
        Ok(())
    }

    /// Seals the last chunk, which is shorter than the others and may be empty. Without it a
    /// reader calls the file truncated.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it is not shorter.
    pub fn finish(self, last: &[u8], to: &mut Vec<u8>) -> Result<(), Error> {
        if last.len() >= CHUNK_LENGTH {
            return Err(Error::TooLarge);
        }
        self.message.seal(self.next, last, to)
    }
}

/// The start of a sealed file: enough to find its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    key_version: u32,
    file: FileId,
    salt: [u8; SALT_LENGTH],
    commitment: [u8; 32],
}

impl FileHead {
    /// Reads the head; what follows it is returned too.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::UnknownFormat`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, rest) = bytes.split_first_chunk::<2>().ok_or(Error::Truncated)?;
        if *header != HEADER {
            return Err(Error::UnknownFormat);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(Error::Truncated)?;
        let (file, rest) = rest.split_first_chunk::<16>().ok_or(Error::Truncated)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_LENGTH>().ok_or(Error::Truncated)?;
        let (commitment, rest) = rest.split_first_chunk::<32>().ok_or(Error::Truncated)?;
        let head = Self {
            key_version: u32::from_be_bytes(*version),
            file: FileId::from_bytes(*file),
            salt: *salt,
            commitment: *commitment,
        };
        Ok((head, rest))
    }

    /// The version of the key it is sealed under.
    #[must_use]
    pub fn key_version(&self) -> u32 {
        self.key_version
    }

    /// The id of the file.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.file
    }
}

/// Opens a file chunk by chunk, in any order. A download is complete only when the last chunk has
/// verified.
pub struct FileOpener {
    message: Message,
}

impl FileOpener {
    /// Checks version, place and commitment before any decryption.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`], [`Error::CommitmentMismatch`].
    pub fn new(key: &Dek, place: &FilePlace, head: &FileHead) -> Result<Self, Error> {
        if head.key_version != key.version() {
            return Err(Error::UnknownVersion(head.key_version));
        }
        let message = place.message(key, &head.salt);
        if head.file != place.file || !equal(message.commitment(), &head.commitment) {
            return Err(Error::CommitmentMismatch);
        }
        Ok(Self { message })
    }

    /// Opens the full chunk `number`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Rejected`].
    pub fn chunk(&self, number: u64, sealed: &[u8; SEALED_CHUNK_LENGTH]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.message.open(number, sealed)
    }

    /// Opens the last chunk, which is shorter than the others.
    ///
    /// # Errors
    /// [`Error::Truncated`] if it has no room for a tag, [`Error::UnknownFormat`] if it is not
    /// shorter, [`Error::Rejected`].
    pub fn last_chunk(&self, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if sealed.len() >= SEALED_CHUNK_LENGTH {
            return Err(Error::UnknownFormat);
        }
        self.message.open(number, sealed)
    }
}

impl FilePlace {
    fn message(&self, key: &Dek, salt: &[u8; SALT_LENGTH]) -> Message {
        let file_key = derive(key.key(), &Context::FileKey { file: self.file });
        let context = Context::File {
            installation: self.installation,
            owner: self.owner,
            kind: self.kind,
            version: key.version(),
            file: self.file,
        };
        Message::new(&file_key, salt, &context.to_bytes())
    }
}
