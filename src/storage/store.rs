//! What the data store and the key store have in common: a pool to read through, a bounded queue to
//! the one thread that writes, and an orderly end.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::r2d2::{Pool, PooledConnection};
use tokio::sync::mpsc;

use super::backend::{Manager, POOL_WAIT};
use super::{Connection, Error, Location, Result};

/// How long a write waits for a place in a full queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// A connection for reading.
pub type ReadConnection = PooledConnection<Manager>;

/// A store whose writer takes jobs of this type.
pub(super) struct Store<J> {
    readers: Pool<Manager>,
    writer: mpsc::Sender<J>,
    location: Location,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl<J> Clone for Store<J> {
    fn clone(&self) -> Self {
        Self {
            readers: self.readers.clone(),
            writer: self.writer.clone(),
            location: self.location.clone(),
            thread: Arc::clone(&self.thread),
        }
    }
}

impl<J> Store<J> {
    /// Opens the pool and has `start` start the thread that takes the jobs, of which at most `queue`
    /// wait.
    pub(super) fn open(
        location: &Location,
        readers: u32,
        queue: usize,
        start: impl FnOnce(mpsc::Receiver<J>) -> std::io::Result<JoinHandle<()>>,
    ) -> Result<Self> {
        let readers = Pool::builder()
            .max_size(readers)
            .min_idle(Some(1))
            .connection_timeout(POOL_WAIT)
            .test_on_check_out(!location.is_sqlite())
            .build(Manager(location.clone()))
            .map_err(Error::Exhausted)?;
        let (writer, jobs) = mpsc::channel(queue);
        let thread = start(jobs).map_err(|_| Error::Stopped)?;
        Ok(Self { readers, writer, location: location.clone(), thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Reads on the blocking pool.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = self.readers.clone();
        tokio::task::spawn_blocking(move || read(&mut *readers.get().map_err(Error::Exhausted)?))
            .await
            .map_err(|_| Error::Stopped)?
    }

    /// A connection for reading, for callers that may block.
    pub(super) fn reader(&self) -> Result<ReadConnection> {
        self.readers.get().map_err(Error::Exhausted)
    }

    /// Puts a job into the queue, and waits for a place for five seconds.
    pub(super) async fn send(&self, job: J) -> Result<()> {
        match self.writer.try_send(job) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::Stopped),
            Err(mpsc::error::TrySendError::Full(job)) => {
                self.writer.send_timeout(job, QUEUE_WAIT).await.map_err(|error| match error {
                    mpsc::error::SendTimeoutError::Timeout(_) => Error::Overloaded,
                    mpsc::error::SendTimeoutError::Closed(_) => Error::Stopped,
                })
            }
        }
    }

    /// Makes deleted rows leave the write-ahead log of SQLite too.
    pub(super) async fn flush_deleted(&self) -> Result<()> {
        let location = self.location.clone();
        tokio::task::spawn_blocking(move || {
            if location.is_sqlite() {
                location.connect()?.execute_script("PRAGMA wal_checkpoint(TRUNCATE)")?;
            }
            Ok(())
        })
        .await
        .map_err(|_| Error::Stopped)?
    }

    /// How many more jobs may wait before the queue is full, and how many may wait at most.
    pub(super) fn queue(&self) -> (usize, usize) {
        (self.writer.capacity(), self.writer.max_capacity())
    }

    /// Where the store lies.
    pub(super) const fn location(&self) -> &Location {
        &self.location
    }

    /// Ends the thread after what waits is done. Every clone must be dropped first.
    pub(super) fn close(self) {
        let Self { writer, thread, readers, .. } = self;
        drop(writer);
        drop(readers);
        let thread = thread.lock().ok().and_then(|mut slot| slot.take());
        if let Some(thread) = thread {
            let name = thread.thread().name().map(str::to_owned);
            if thread.join().is_err() {
                tracing::error!(place = name, "a writing thread ended with a panic");
            }
        }
    }
}
