//! A folder of NDJSON files for one recipient (`ecosystem.md` 2.5).
//!
//! Lines go to `<dir>/<recipient>/current.ndjson.part`, which is renamed to
//! `<recipient>-<UTC start>-<seq>.ndjson` when it is full, old, or of yesterday. `Delivered` means that
//! the line and its folder are on the disk. A line whose try failed may still be there after a crash,
//! and then comes twice: readers tell lines apart by `id`.
//!
//! Deliberately absent: a time limit around the write. A write cannot be taken back, so a try that
//! reported failure while its line was still on the way could let a line arrive after the answer to a
//! withdrawal. The deadline is checked once, last thing before the write.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::boot_clock::Deadline;
use super::folder::Folder;
use super::rights::{PendingReason, RightsOutcome};
use super::{Cause, Error, Outcome, Parcel, ParcelKind};
use crate::domain::id::RecipientId;

/// When the current file is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file holds at most this many bytes (a longer line gets a file of its own).
    pub bytes: u64,
    /// A file is open at most this long; it never spans UTC midnight.
    pub age: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024, age: Duration::from_secs(60 * 60) }
    }
}

/// The way to one folder. One process writes to it at a time; a second one is told to come later.
#[derive(Clone)]
pub struct FileSink(Arc<Mutex<Folder>>);

impl FileSink {
    /// Sets the way up. The folder is made, and a torn last line cut, at the first parcel or at
    /// [`FileSink::close_if_due`].
    ///
    /// # Errors
    ///
    /// [`Error::RecipientName`] if the recipient's id cannot name a folder.
    pub fn new(dir: &Path, recipient: &RecipientId, rotation: Rotation) -> Result<Self, Error> {
        let name = recipient.as_str();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(Error::RecipientName);
        }
        let folder = Folder::new(dir.join(name), name.to_owned(), rotation);
        Ok(Self(Arc::new(Mutex::new(folder))))
    }

    /// Writes one parcel.
    pub async fn hand_over(&self, parcel: &Parcel, now: Timestamp, deadline: Deadline) -> Outcome {
        let outcomes = self.hand_over_many(std::slice::from_ref(parcel), now, deadline).await;
        outcomes.into_iter().next().unwrap_or(RETRY_FOLDER)
    }

    /// Writes several parcels with one `fsync`; the outcomes are in the parcels' order. Either all
    /// usable lines are on the disk or none of them is confirmed.
    pub async fn hand_over_many(&self, parcels: &[Parcel], now: Timestamp, deadline: Deadline) -> Vec<Outcome> {
        let lines: Vec<Option<Zeroizing<Vec<u8>>>> = parcels.iter().map(line).collect();
        let length = lines.iter().flatten().map(|line| line.len()).sum();
        let mut usable = Zeroizing::new(Vec::with_capacity(length));
        for line in lines.iter().flatten() {
            usable.extend_from_slice(line);
        }
        let folder = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
            // Waiting for the lock, or for the pool, may have taken longer than the claim holds.
            if deadline.left().is_none() {
                return Err(Cause::TimeLimit);
            }
            folder.append(&usable, now).map_err(|error| cause_of(&error))
        })
        .await
        .unwrap_or(Err(Cause::Folder));
        parcels
            .iter()
            .zip(lines)
            .map(|(parcel, line)| match (line, written, &parcel.kind) {
                (None, _, _) => Outcome::Dead { cause: Cause::BodyUnusable },
                (Some(_), Err(cause), _) => Outcome::Retry { after: None, cause },
                (Some(_), Ok(()), ParcelKind::Record) => Outcome::Delivered,
                // A line on the disk is no proof that the recipient acted on it.
                (Some(_), Ok(()), ParcelKind::Rights(_)) => {
                    Outcome::Rights(RightsOutcome::Pending(PendingReason::Written))
                }
            })
            .collect()
    }

    /// Closes the current file if it is full, old or of yesterday, and takes up what an earlier run
    /// left behind. Called now and then, so that the last lines of a quiet hour are handed out too.
    ///
    /// # Errors
    ///
    /// [`Cause::Folder`] or [`Cause::DiskFull`].
    pub async fn close_if_due(&self, now: Timestamp) -> Result<(), Cause> {
        let folder = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
            folder.close_if_due(now).map_err(|error| cause_of(&error))
        })
        .await
        .unwrap_or(Err(Cause::Folder))
    }
}

const RETRY_FOLDER: Outcome = Outcome::Retry { after: None, cause: Cause::Folder };

/// The parcel's body as one line; `None` if it is not one JSON object. Line breaks can stand in JSON
/// only between tokens (RFC 8259 §2, §7), so a blank takes their place without changing a value.
fn line(parcel: &Parcel) -> Option<Zeroizing<Vec<u8>>> {
    let body = &parcel.body;
    if body.first() != Some(&b'{') || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        return None;
    }
    let mut line = Zeroizing::new(Vec::with_capacity(body.len() + 1));
    line.extend(body.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        other => *other,
    }));
    line.push(b'\n');
    Some(line)
}

fn cause_of(error: &std::io::Error) -> Cause {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Cause::DiskFull,
        _ => Cause::Folder,
    }
}
