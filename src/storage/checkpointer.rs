//! Checkpoints of SQLite's write-ahead log beside the commits: a thread with a connection of its own
//! copies finished pages into the database while the writer goes on appending.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Connection, Location};

/// The log is copied whenever it has grown by this many bytes.
const STEP: u64 = 16 << 20;

/// Wakes the thread that copies. It ends when this is dropped.
pub(super) struct Checkpointer {
    log: PathBuf,
    woken_at: u64,
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
        let thread =
            std::thread::Builder::new().name("checkpointer".to_owned()).spawn(move || run(&location, &woken))?;
        Ok(Self { log: log.into(), woken_at: 0, wake: Some(wake), thread: Some(thread) })
    }

    /// Length of the log's file in bytes. It shrinks when the writer truncates it.
    pub(super) fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
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

fn run(location: &Location, woken: &Receiver<()>) {
    let mut connection: Option<Connection> = None;
    while woken.recv().is_ok() {
        if connection.is_none() {
            connection = location.connect().ok();
        }
        let Some(open) = &mut connection else { continue };
        if let Err(error) = open.execute_script("PRAGMA wal_checkpoint(PASSIVE)") {
            tracing::debug!(error = crate::telemetry::cause(&error), "the write-ahead log could not be copied now");
            connection = None;
        }
    }
}
