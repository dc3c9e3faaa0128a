//! The memory of destroyed keys: a file beside the checkpoint memory that outlives the loss of both
//! stores and recognises a key that came back.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::crypto::mac::hash;
use crate::gateway::{Error, Gateway, Result};

impl Gateway {
    /// The file that recognises a resurrected key: `<hex H(origin)[..4]>.erased`.
    pub(super) fn erased_memory(&self) -> PathBuf {
        let digest = hash(self.origin.as_bytes());
        let name: String = data_encoding::HEXLOWER.encode(&digest).chars().take(8).collect();
        self.settings.memory.join(format!("{name}.erased"))
    }

    /// Appends fingerprints, durably. What stands there is not written again.
    pub(super) async fn remember_fingerprints(&self, fingerprints: Vec<[u8; 32]>) -> Result<()> {
        let path = self.erased_memory();
        tokio::task::spawn_blocking(move || append_fingerprints(&path, &fingerprints))
            .await
            .map_err(|_| Error::WrongState("the memory of the log cannot be written"))?
    }

    /// Every fingerprint in the file; none if there is no file.
    pub(super) async fn remembered_fingerprints(&self) -> Result<HashSet<[u8; 32]>> {
        let path = self.erased_memory();
        tokio::task::spawn_blocking(move || read_fingerprints(&path))
            .await
            .map_err(|_| Error::WrongState("the memory of the log cannot be read"))?
    }
}

/// Reads the lines that are a fingerprint. A line that a crash cut short is none, and is written again
/// by the erasure that was cut short with it.
fn read_fingerprints(path: &Path) -> Result<HashSet<[u8; 32]>> {
    let failed = |source| Error::File {
        what: "cannot read the memory of destroyed keys",
        path: path.display().to_string(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut fingerprints = HashSet::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = data_encoding::HEXLOWER.decode(&line.map_err(failed)?).ok();
        fingerprints.extend(line.and_then(|line| <[u8; 32]>::try_from(line).ok()));
    }
    Ok(fingerprints)
}

/// Appends the fingerprints that do not stand in the file yet, one line each, and makes them durable.
fn append_fingerprints(path: &Path, fingerprints: &[[u8; 32]]) -> Result<()> {
    let failed = |source| Error::File {
        what: "cannot write the memory of destroyed keys",
        path: path.display().to_string(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    crate::gateway::set_up::make_private_folder(folder)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    let mut known = String::new();
    file.read_to_string(&mut known).map_err(failed)?;
    let mut text = String::new();
    // A line that a crash cut short is ignored by readers; it must not swallow the next one.
    if !known.is_empty() && !known.ends_with('\n') {
        text.push('\n');
    }
    for fingerprint in fingerprints {
        let line = data_encoding::HEXLOWER.encode(fingerprint);
        if !known.lines().any(|stands| stands == line) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_ignored_and_swallows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory/00000000.erased");
        assert!(read_fingerprints(&path).unwrap().is_empty());
        append_fingerprints(&path, &[[1; 32], [2; 32]]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 10);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_fingerprints(&path).unwrap(), HashSet::from([[1; 32]]));
        append_fingerprints(&path, &[[2; 32], [1; 32], [3; 32]]).unwrap();
        assert_eq!(read_fingerprints(&path).unwrap(), HashSet::from([[1; 32], [2; 32], [3; 32]]));
    }
}
