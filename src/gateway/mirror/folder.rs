//! The files of a mirror: written whole or not at all, and read by a restore.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::audit::bundle::BundlePath;
use crate::audit::tile::{TileKind, TilePath};
use crate::gateway::{Error, Result};
use crate::telemetry::failpoint;

const CHECKPOINT: &str = "checkpoint";

/// The folder of a mirror.
pub(in crate::gateway) struct Folder<'a>(&'a Path);

impl<'a> Folder<'a> {
    /// Names it; nothing is read.
    pub(in crate::gateway) const fn new(place: &'a Path) -> Self {
        Self(place)
    }

    /// The checkpoint, if there is one.
    pub(in crate::gateway) fn checkpoint(&self) -> Result<Option<String>> {
        self.note(Path::new(CHECKPOINT))
    }

    /// The checkpoint of this size, where one key of the log handed over to the next.
    pub(in crate::gateway) fn handover(&self, size: u64) -> Result<Option<String>> {
        self.note(Path::new(&BundlePath::CheckpointOf(size).to_string()))
    }

    fn note(&self, name: &Path) -> Result<Option<String>> {
        let bytes = self.read(&self.0.join(name), BundlePath::Checkpoint.maximum_length())?;
        bytes
            .map(|bytes| {
                String::from_utf8(bytes).map_err(|_| Error::Unacceptable("the checkpoint of the mirror is no text"))
            })
            .transpose()
    }

    /// The bytes of a tile, of a wider one if it is gone; a leaf or hash never moves within its tile.
    pub(in crate::gateway) fn tile(&self, tile: &TilePath) -> Result<Option<Vec<u8>>> {
        for width in [tile.width, 256] {
            let tile = TilePath { width, ..*tile };
            let longest = BundlePath::Tile(tile).maximum_length();
            if let Some(bytes) = self.read(&self.0.join(tile.to_string()), longest)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    fn read(&self, path: &Path, longest: u64) -> Result<Option<Vec<u8>>> {
        let failed = |source| Error::File { what: "cannot read the mirror", path: path.display().to_string(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        // One byte more than there can be, so that a file that is too long is not taken for a whole one.
        file.take(longest.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Writes the tiles that are not there, and makes them durable.
    pub(super) fn put(&self, tiles: &[(TilePath, Vec<u8>)]) -> Result<()> {
        let mut folders = BTreeSet::new();
        for (tile, bytes) in tiles {
            let path = self.0.join(tile.to_string());
            // A file gets its name when it is whole, so what is there need not be written again.
            if !path.try_exists().map_err(|source| failed(&path, source))? {
                self.replace(&path, bytes)?;
                folders.extend(
                    path.ancestors().skip(1).take_while(|folder| folder.starts_with(self.0)).map(Path::to_owned),
                );
            }
        }
        failpoint::reached("mirror.tiles");
        folders.iter().try_for_each(|folder| sync(folder))
    }

    /// Writes a checkpoint at which one key handed over to the next, and makes it durable.
    pub(super) fn put_handover(&self, size: u64, note: &str) -> Result<()> {
        let path = self.0.join(BundlePath::CheckpointOf(size).to_string());
        self.replace(&path, note.as_bytes())?;
        path.parent().map_or(Ok(()), sync)
    }

    /// Replaces the checkpoint. Every tile that it covers must be durable.
    pub(super) fn put_checkpoint(&self, note: &str) -> Result<()> {
        self.replace(&self.0.join(CHECKPOINT), note.as_bytes())?;
        failpoint::reached("mirror.checkpoint");
        sync(self.0)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let written = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(self.0);
            fs::create_dir_all(folder)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Another instance may write the same file; never both into one.
            let temporary = folder.join(format!(".{name}.{}", std::process::id()));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        written().map_err(|source| failed(path, source))
    }

    /// Removes the narrower forms of a tile that are in none of the `kept`.
    pub(super) fn keep_only(&self, tile: &TilePath, kept: &[TilePath]) -> Result<()> {
        let path = self.0.join(tile.to_string());
        let Some(folder) = path.parent() else { return Ok(()) };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(folder, error)),
        };
        let kept: Vec<PathBuf> = kept.iter().map(|tile| self.0.join(tile.to_string())).collect();
        for entry in entries {
            let path = entry.map_err(|source| failed(folder, source))?.path();
            if !kept.contains(&path) {
                remove(&path)?;
            }
        }
        remove_folder(folder);
        Ok(())
    }

    /// Removes entry bundles.
    pub(super) fn remove_entries(&self, indices: Range<u64>) -> Result<()> {
        for index in indices {
            let path = self.0.join(TilePath { kind: TileKind::Entries, index, width: 256 }.to_string());
            remove(&path)?;
            let mut partial = path.into_os_string();
            partial.push(".p");
            match fs::remove_dir_all(&partial) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(Path::new(&partial), error)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

/// An empty folder says nothing, so whether it goes does not matter.
fn remove_folder(folder: &Path) {
    if let Err(error) = fs::remove_dir(folder) {
        tracing::trace!(status = error.raw_os_error(), "a folder of the mirror stays");
    }
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| failed(folder, source))
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File { what: "cannot write the mirror", path: path.display().to_string(), source }
}
