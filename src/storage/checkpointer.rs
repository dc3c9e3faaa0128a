//! Checkpoints of SQLite's write-ahead log beside the commits: a thread with a connection of its own
//! copies finished pages into the database while the writer goes on appending. What is appended
//! meanwhile is copied by the next pass, and each pass is shorter than the one before; when little is
//! left the writer, who alone can, waits for that and begins the log anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Connection, Location};

/// The log is copied whenever it has grown by this many bytes. A page that was written many times
/// meanwhile is copied once: four times the step took a tenth off the processor time of an event.
const STEP: u64 = 64 << 20;
/// What a pass may leave for the writer to wait for.
const LITTLE: u64 = 8 << 20;
/// The most passes at a time.
const PASSES: usize = 4;

/// Wakes the thread that copies. It ends when this is dropped.
pub(super) struct Checkpointer {
    log: PathBuf,
    woken_at: u64,
    caught_up: Arc<AtomicBool>,
    wake: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread.
    pub(super) fn start(database: &Path) -> std::io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let (wake, woken) = sync_channel(1);
        let location = Location::Sqlite(database.to_owned());
        let log = PathBuf::from(log);
        let caught_up = Arc::new(AtomicBool::new(false));
        let run = {
            let (log, caught_up) = (log.clone(), Arc::clone(&caught_up));
            move || run(&location, &log, &woken, &caught_up)
        };
        let thread = std::thread::Builder::new().name("checkpointer".to_owned()).spawn(run)?;
        Ok(Self { log, woken_at: 0, caught_up, wake: Some(wake), thread: Some(thread) })
    }

    /// Length of the log's file in bytes. It shrinks when the writer truncates it.
    pub(super) fn log_length(&self) -> u64 {
        length(&self.log)
    }

    /// Whether little was left to copy when the last pass ended; true once for each.
    pub(super) fn has_caught_up(&self) -> bool {
        self.caught_up.swap(false, Ordering::Relaxed)
    }

    /// Has the log copied if it has grown enough since the last time.
    pub(super) fn note_length(&mut self, length: u64) {
        if length < self.woken_at {
            self.woken_at = 0;
        }
        if length - self.woken_at < STEP {
            return;
        }
        // A full channel: the thread will see what was written until it is done anyway.
        if self.wake.as_ref().is_some_and(|wake| wake.try_send(()).is_ok()) {
            self.woken_at = length;
            self.caught_up.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpointer ended with a panic");
        }
    }
}

fn run(location: &Location, log: &Path, woken: &Receiver<()>, caught_up: &AtomicBool) {
    let mut connection: Option<Connection> = None;
    while woken.recv().is_ok() {
        if connection.is_none() {
            connection = location.connect().ok();
        }
        let Some(open) = &mut connection else { continue };
        for _ in 0..PASSES {
            let seen = length(log);
            if let Err(error) = open.execute_script("PRAGMA wal_checkpoint(PASSIVE)") {
                tracing::debug!(error = crate::telemetry::cause(&error), "the write-ahead log could not be copied now");
                connection = None;
                break;
            }
            if length(log).saturating_sub(seen) < LITTLE {
                caught_up.store(true, Ordering::Relaxed);
                break;
            }
        }
    }
}

fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}
