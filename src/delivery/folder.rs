//! The folder on the disk. Everything here blocks.
//!
//! Invariants: everything up to `Current::length` was synced; what lies beyond it is cut before the
//! next line is written; no name is ever written over.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::file::Rotation;

const CURRENT: &str = "current.ndjson.part";
const LOCK: &str = ".lock";

/// The folder of one recipient.
pub(super) struct Folder {
    path: PathBuf,
    recipient: String,
    rotation: Rotation,
    /// Held from the first use to the end, so that no second process writes here.
    lock: Option<File>,
    current: Option<Current>,
    /// The next number; closed files of this run are numbered on.
    sequence: u32,
}

struct Current {
    file: File,
    length: u64,
    started: Timestamp,
}

impl Folder {
    pub(super) const fn new(path: PathBuf, recipient: String, rotation: Rotation) -> Self {
        Self { path, recipient, rotation, lock: None, current: None, sequence: 1 }
    }

    /// Appends whole lines and syncs them.
    pub(super) fn append(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let added = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let mut current = self.take_current(now)?;
        if self.is_due(&current, now, added) {
            self.close(current)?;
            current = self.open(now)?;
        }
        match write_synced(&mut current.file, lines) {
            Ok(()) => {
                current.length = current.length.saturating_add(added);
                self.current = Some(current);
                Ok(())
            }
            Err(error) => {
                // After a failed sync the kernel may call a page clean that never reached the disk,
                // so the handle is given up and the next try reads the file anew. Cutting here is
                // only tidiness: the next opening cuts a torn line too, and a whole one is a
                // duplicate, which readers tolerate.
                match current.file.set_len(current.length) {
                    Ok(()) | Err(_) => Err(error),
                }
            }
        }
    }

    pub(super) fn close_if_due(&mut self, now: Timestamp) -> io::Result<()> {
        if self.current.is_none() && !self.path.join(CURRENT).exists() {
            return Ok(());
        }
        let current = self.take_current(now)?;
        if self.is_due(&current, now, 0) {
            return self.close(current);
        }
        self.current = Some(current);
        Ok(())
    }

    fn take_current(&mut self, now: Timestamp) -> io::Result<Current> {
        match self.current.take() {
            Some(current) => Ok(current),
            None => self.open(now),
        }
    }

    fn is_due(&self, current: &Current, now: Timestamp, added: u64) -> bool {
        let age = Duration::try_from(now.duration_since(current.started)).unwrap_or_default();
        let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        let full = current.length >= self.rotation.bytes || current.length.saturating_add(added) > self.rotation.bytes;
        current.length > 0 && (full || age >= self.rotation.age || day(now) != day(current.started))
    }

    /// Renames the current file to its lasting name.
    fn close(&mut self, current: Current) -> io::Result<()> {
        let start = current.started.strftime("%Y%m%dT%H%M%SZ").to_string();
        loop {
            let name = format!("{}-{start}-{:04}.ndjson", self.recipient, self.sequence);
            self.sequence = self.sequence.saturating_add(1);
            let target = self.path.join(name);
            // Only the holder of the lock makes such names, so this cannot change before the rename.
            if target.try_exists()? {
                continue;
            }
            std::fs::rename(self.path.join(CURRENT), target)?;
            return sync_folder(&self.path);
        }
    }

    /// Opens the current file, or makes it, and cuts what an interrupted run left unfinished.
    fn open(&mut self, now: Timestamp) -> io::Result<Current> {
        self.take_lock()?;
        let path = self.path.join(CURRENT);
        let mut file = private_file(&path)?;
        let whole = whole_lines(&file, now)?;
        file.set_len(whole.length)?;
        file.seek(SeekFrom::Start(whole.length))?;
        file.sync_all()?;
        sync_folder(&self.path)?;
        Ok(Current { file, length: whole.length, started: whole.started })
    }

    fn take_lock(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        if !self.path.try_exists()? {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            if let Some(parent) = self.path.parent() {
                sync_folder(parent)?;
            }
        }
        let lock = private_file(&self.path.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        self.lock = Some(lock);
        Ok(())
    }
}

/// Opens or makes a file that only we may read. A symbolic link in its place is refused: the folder
/// is the recipient's, and a link could lead our writing anywhere.
fn private_file(path: &Path) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn write_synced(file: &mut File, lines: &[u8]) -> io::Result<()> {
    file.write_all(lines)?;
    file.sync_all()?;
    // The folder is the recipient's. A file it has removed under us keeps nothing.
    if file.metadata()?.nlink() == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(())
}

/// Makes a new name in the folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

struct Whole {
    length: u64,
    started: Timestamp,
}

/// How far the file consists of whole lines, and when it was begun: at the time of its first line.
///
/// A power failure can leave a tail of zeros as well as half a line, and only what came after the
/// last sync can be damaged, so the first line that is not whole ends the file.
fn whole_lines(file: &File, now: Timestamp) -> io::Result<Whole> {
    let mut whole = Whole { length: 0, started: now };
    let mut reader = BufReader::new(file);
    let mut line = Zeroizing::new(Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 || !line.ends_with(b"}\n") || line.contains(&0) {
            return Ok(whole);
        }
        if whole.length == 0 {
            whole.started = time_of(&line).unwrap_or(now);
        }
        whole.length = whole.length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

fn time_of(line: &[u8]) -> Option<Timestamp> {
    let Ok(stamped) = serde_json::from_slice::<Stamped>(line) else {
        return None;
    };
    stamped.timestamp.parse().ok()
}

#[derive(serde::Deserialize)]
struct Stamped {
    timestamp: String,
}
