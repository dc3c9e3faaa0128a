//! The mirror: the log as static files (C2SP tlog-tiles), entries included, in a folder on another disk
//! or a mounted bucket. From it every leaf can be brought back after the data were lost.
//!
//! Tiles are written first and the checkpoint last, each file whole or not at all, so whatever is in
//! the folder belongs to the checkpoint in it. What is there is not written again; a gateway that was
//! away catches up in bounded steps. A folder that cannot be written stops nobody: it is told, and
//! the metric says how far the mirror is behind.

mod folder;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::audit::checkpoint::{self, Checkpoint};
use crate::audit::note::Note;
use crate::audit::tile::{TILE_WIDTH, TileKind, TilePath, tiles_at};
use crate::audit::tree;
use crate::storage::audit_log::{self, StoredHashes};
use crate::storage::{self, Connection};
use crate::telemetry::metrics as figures;

use super::checkpoint::{LogRefusal, Published, log_keys};
use super::housekeeping::pause;
use super::{Error, Gateway, Result, prove};

pub(super) use self::folder::Folder;

/// Full tiles of leaves that are read and written at a time: about 2 MiB.
const PAGE: u64 = 32;
/// Pages in one turn, so that a turn ends.
const PAGES: usize = 16;
/// Entry bundles of pruned leaves removed in one turn.
const REMOVED: u64 = 512;
/// The pause between two turns while the mirror is behind.
const CATCH_UP: Duration = Duration::from_millis(20);
/// The pause after a turn that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How long a start waits for the folder, and a stop for the mirror.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far the mirror is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// It holds what is published, or there is none.
    UpToDate,
    /// More is to be written.
    Behind,
}

/// What this process knows of its mirror; locked for a whole turn.
#[derive(Default)]
pub struct Mirror(tokio::sync::Mutex<Option<Standing>>);

struct Standing {
    /// The size and the note of the checkpoint in the folder.
    covered: u64,
    note: String,
    /// Leaves below lie in full tiles that are written.
    written: u64,
    /// Entry bundles of leaves below are removed.
    removed: u64,
}

impl Gateway {
    /// Brings the mirror nearer to what is published, in a bounded step.
    ///
    /// # Errors
    /// When the folder or the store cannot be used, or the folder holds another log.
    pub async fn mirror_once(&self) -> Result<Mirrored> {
        let (Some(place), Some(published)) = (&self.settings.mirror, self.newest_published()) else {
            return Ok(Mirrored::UpToDate);
        };
        let mut known = self.mirror.0.lock().await;
        let mut standing = match known.take() {
            Some(standing) => standing,
            None => Standing::found(place.clone(), &self.origin).await?,
        };
        let outcome = self.mirror_turn(place, &published, &mut standing).await;
        let behind = published.size.saturating_sub(standing.covered);
        metrics::gauge!(figures::AUDIT_MIRROR_BEHIND).set(f64::from(u32::try_from(behind).unwrap_or(u32::MAX)));
        // After a failure the folder is looked at again.
        if outcome.is_ok() {
            *known = Some(standing);
        }
        outcome
    }

    async fn mirror_turn(&self, place: &Path, published: &Published, standing: &mut Standing) -> Result<Mirrored> {
        if standing.covered > published.size {
            // Another instance writes into the same folder and is ahead.
            return Ok(Mirrored::UpToDate);
        }
        let end = published.size / TILE_WIDTH;
        for _ in 0..PAGES {
            let first = standing.written / TILE_WIDTH;
            if first >= end {
                break;
            }
            let next = end.min(first + PAGE);
            self.put_tiles(place, (first..next).flat_map(completed_with).collect()).await?;
            standing.written = next * TILE_WIDTH;
        }
        if standing.written / TILE_WIDTH < end {
            return Ok(Mirrored::Behind);
        }
        if (standing.covered, &standing.note) != (published.size, &published.note) {
            let partial = partial_tiles(published.size);
            self.put_tiles(place, partial.clone()).await?;
            let before = partial_tiles(standing.covered);
            let handovers = self.handovers(standing.covered, published.size).await?;
            let (place, note) = (place.to_owned(), published.note.clone());
            blocking(move || {
                let folder = Folder::new(&place);
                handovers.iter().try_for_each(|(size, note)| folder.put_handover(*size, note))?;
                folder.put_checkpoint(&note)?;
                before.iter().chain(&partial).try_for_each(|tile| folder.keep_only(tile, &partial))
            })
            .await?;
            (standing.covered, standing.note) = (published.size, published.note.clone());
        }
        self.remove_pruned(place, standing).await
    }

    /// The checkpoints behind `from` and up to `to` at which one key of the log handed over to the next.
    async fn handovers(&self, from: u64, to: u64) -> Result<Vec<(u64, String)>> {
        let read = self.database.read(move |connection| {
            let keys = log_keys(connection)?;
            let sizes = keys.handovers().filter(|size| *size > from && *size <= to).collect();
            audit_log::checkpoint_notes(connection, &sizes)
        });
        read.await.map_err(Error::store)
    }

    /// Reads tiles from the store and writes those that are not there.
    async fn put_tiles(&self, place: &Path, tiles: Vec<TilePath>) -> Result<()> {
        let contents = self.database.read(move |connection| contents(connection, tiles)).await.map_err(Error::store)?;
        let place = place.to_owned();
        blocking(move || Folder::new(&place).put(&contents)).await
    }

    /// What may not be shown any more goes from the mirror too. Hashes stay.
    async fn remove_pruned(&self, place: &Path, standing: &mut Standing) -> Result<Mirrored> {
        let head = self.database.read(audit_log::head).await.map_err(Error::store)?;
        let minimum = head.map_or(0, |head| head.minimum_index);
        let (first, until) = (standing.removed / TILE_WIDTH, minimum / TILE_WIDTH);
        if first >= until {
            return Ok(Mirrored::UpToDate);
        }
        let next = until.min(first + REMOVED);
        let place = place.to_owned();
        blocking(move || Folder::new(&place).remove_entries(first..next)).await?;
        standing.removed = next * TILE_WIDTH;
        Ok(if next < until { Mirrored::Behind } else { Mirrored::UpToDate })
    }

    /// Brings the mirror up to the last checkpoint of this process, within a few seconds.
    pub async fn finish_mirror(&self) {
        let deadline = Instant::now() + PATIENCE;
        let finished = tokio::time::timeout(PATIENCE, async {
            while self.mirror_once().await? == Mirrored::Behind && Instant::now() < deadline {}
            Ok::<(), Error>(())
        });
        match finished.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tell(&error),
            Err(_) => tracing::warn!("the mirror of the log was not brought up to date in time"),
        }
    }

    /// Holds the checkpoint in the mirror against the stored log: it was signed, so a store that does
    /// not reach it is behind.
    ///
    /// # Errors
    /// [`Error::LogRefused`] for a checkpoint of this log that the store does not hold. A folder that
    /// cannot be read says nothing.
    pub(super) async fn check_mirror(&self) -> Result<()> {
        let Some(place) = self.settings.mirror.clone() else { return Ok(()) };
        let read = tokio::time::timeout(PATIENCE, blocking(move || Folder::new(&place).checkpoint()));
        let note = match read.await {
            Ok(Ok(Some(note))) => note,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => {
                tell(&error);
                return Ok(());
            }
            Err(_) => {
                tracing::warn!("the mirror of the log does not answer");
                return Ok(());
            }
        };
        // Only what this log signed says anything about it.
        let Ok(verified) = checkpoint::open(note.as_bytes(), Some(&self.origin), &self.own_verifiers()?, &[]) else {
            return Ok(());
        };
        let Checkpoint { size, root, .. } = verified.checkpoint;
        let refusal = self
            .database
            .read(move |connection| {
                let head = audit_log::head(connection)?.map_or(0, |head| head.size);
                if size > head {
                    return Ok(Some(LogRefusal::rollback(WHO, size, head)));
                }
                let stored = tree::root(size, &StoredHashes::new(connection))?;
                Ok((stored != root).then(|| LogRefusal::fork(WHO, size, &root, head, &stored)))
            })
            .await
            .map_err(Error::store)?;
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// The newest checkpoint of this log, with the cosignatures that came so far.
    fn newest_published(&self) -> Option<Published> {
        let newest = self.log.newest()?;
        // What outsiders may see waits for its quorum; what is kept safe does not.
        let shown = self.published().filter(|shown| shown.size == newest.size);
        Some(Published::clone(&shown.unwrap_or(newest)))
    }
}

/// As a sentence names the mirror.
const WHO: &str = "the mirror holds";

impl Standing {
    /// What stands in the folder.
    async fn found(place: PathBuf, origin: &str) -> Result<Self> {
        let note = blocking(move || Folder::new(&place).checkpoint()).await?.unwrap_or_default();
        if note.is_empty() {
            return Ok(Self { covered: 0, note, written: 0, removed: 0 });
        }
        let read = Note::parse(note.as_bytes()).and_then(|note| Checkpoint::parse(note.text));
        let covered = match read {
            Ok(checkpoint) if checkpoint.origin == origin => checkpoint.size,
            _ => return Err(Error::Unacceptable("the folder of audit.mirror holds another log")),
        };
        Ok(Self { covered, note, written: covered / TILE_WIDTH * TILE_WIDTH, removed: 0 })
    }
}

/// The tiles that are full once the bundle of entries `index` is.
fn completed_with(index: u64) -> Vec<TilePath> {
    let full = |kind, index| TilePath { kind, index, width: 256 };
    let mut tiles = vec![full(TileKind::Entries, index), full(TileKind::Hashes(0), index)];
    let (mut level, mut count) = (1, index + 1);
    while count.is_multiple_of(TILE_WIDTH) {
        count /= TILE_WIDTH;
        tiles.push(full(TileKind::Hashes(level), count - 1));
        level += 1;
    }
    tiles
}

/// The tiles at the right edge of a log of `size` leaves that are not full.
fn partial_tiles(size: u64) -> Vec<TilePath> {
    let mut tiles = Vec::new();
    for level in 0..8 {
        let (index, width) = tiles_at(level, size);
        if width == 0 {
            continue;
        }
        if level == 0 {
            tiles.push(TilePath { kind: TileKind::Entries, index, width });
        }
        tiles.push(TilePath { kind: TileKind::Hashes(level), index, width });
    }
    tiles
}

/// The bytes of tiles, without those whose leaves were pruned.
fn contents(connection: &mut Connection, tiles: Vec<TilePath>) -> storage::Result<Vec<(TilePath, Vec<u8>)>> {
    let mut contents = Vec::with_capacity(tiles.len());
    for tile in tiles {
        contents.extend(prove::tile_bytes(connection, &tile)?.map(|bytes| (tile, bytes)));
    }
    Ok(contents)
}

/// Keeps the mirror up to date until the house is told to stop.
pub(super) async fn run(house: Gateway, mut stopped: watch::Receiver<bool>) {
    if house.settings.mirror.is_none() {
        return;
    }
    let mut failing = false;
    loop {
        // Cut short where it stands: each file of it is whole.
        let turn = tokio::select! {
            turn = house.mirror_once() => turn,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let length = match turn {
            Ok(Mirrored::Behind) => CATCH_UP,
            Ok(Mirrored::UpToDate) => house.settings.checkpoint_every,
            Err(error) => {
                if !failing {
                    tell(&error);
                }
                failing = true;
                AFTER_FAILURE
            }
        };
        failing &= length == AFTER_FAILURE;
        if pause(&mut stopped, length).await {
            return;
        }
    }
}

fn tell(error: &Error) {
    tracing::warn!(error = crate::telemetry::cause(error), "the mirror of the log cannot be kept up to date");
}

/// Work with files, apart from the threads that answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::WrongState("the work with files was broken off"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_of_a_log_is_written_once() {
        for size in [0_u64, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
            let full = (0..size / TILE_WIDTH).flat_map(completed_with);
            let mut written: Vec<TilePath> = full.chain(partial_tiles(size)).collect();
            let mut wanted = Vec::new();
            for level in 0..8 {
                let (full, width) = tiles_at(level, size);
                let all = (0..full).map(|index| (index, 256)).chain((width > 0).then_some((full, width)));
                for (index, width) in all {
                    wanted.push(TilePath { kind: TileKind::Hashes(level), index, width });
                    if level == 0 {
                        wanted.push(TilePath { kind: TileKind::Entries, index, width });
                    }
                }
            }
            written.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(written, wanted, "{size}");
        }
    }
}
