//! The checkpoint memory: the newest note this instance signed or saw, in a folder that is never
//! part of the data backup. By it a rolled-back store is recognised even where the key store was
//! rolled back with it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::gateway::set_up::make_private_folder;
use crate::gateway::{Error, Result};
use crate::telemetry::failpoint;

/// The file of one log in the memory.
pub(in crate::gateway) struct Memory {
    folder: PathBuf,
    path: PathBuf,
}

impl Memory {
    /// The memory of the log of this origin: `<hex H(origin)[..4]>.checkpoint`.
    pub(in crate::gateway) fn of(folder: &Path, origin: &str) -> Self {
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(origin.as_bytes()));
        let name = format!("{}.checkpoint", data_encoding::HEXLOWER.encode(&[a, b, c, d]));
        Self { folder: folder.to_owned(), path: folder.join(name) }
    }

    pub(in crate::gateway) fn path(&self) -> &Path {
        &self.path
    }

    /// The remembered note, if there is one.
    pub(in crate::gateway) fn read(&self) -> Result<Option<String>> {
        match fs::read_to_string(&self.path) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed("cannot read the checkpoint memory", source)),
        }
    }

    /// The fingerprints of destroyed keys, in the file beside the note. A line that a crash cut short is
    /// no fingerprint.
    pub(in crate::gateway) fn erased(&self) -> Result<Vec<[u8; 32]>> {
        let path = self.path.with_extension("erased");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                let what = "cannot read the memory of destroyed keys";
                return Err(Error::File { what, path: path.display().to_string(), source });
            }
        };
        let line = |line: &[u8]| data_encoding::HEXLOWER.decode(line).ok()?.try_into().ok();
        Ok(text.split(|byte| *byte == b'\n').filter_map(line).collect())
    }

    /// Replaces the note so that a crash leaves the old one or the new one.
    pub(in crate::gateway) fn write(&self, note: &str) -> Result<()> {
        make_private_folder(&self.folder)?;
        // A command may run beside the gateway; they must not write into one temporary file.
        let temporary = self.path.with_extension(format!("checkpoint.{}", std::process::id()));
        let written = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(note.as_bytes())?;
            file.sync_all()?;
            failpoint::reached("publish.renaming");
            fs::rename(&temporary, &self.path)?;
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(|source| self.failed("cannot write the checkpoint memory", source))
    }

    fn failed(&self, what: &'static str, source: std::io::Error) -> Error {
        Error::File { what, path: self.path.display().to_string(), source }
    }
}
