//! The data store as the rest of the house sees it: reads through a pool, writes through the
//! committer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::r2d2::{Pool, PooledConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::backend::{Manager, Migrations, POOL_WAIT};
use super::committer::{self, Job, Settings};
use super::{Connection, Error, Location, Outcome, Result, Unit};

pub use super::committer::Head;

const SQLITE: diesel_migrations::EmbeddedMigrations = diesel_migrations::embed_migrations!("migrations/data/sqlite");
const POSTGRES: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations/data/postgres");

/// How long a write waits for a place in a full queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// The data store.
#[derive(Clone)]
pub struct Database {
    readers: Pool<Manager>,
    writer: mpsc::Sender<Job>,
    head: watch::Receiver<Head>,
    location: Location,
    halted: Arc<AtomicBool>,
    thread: Arc<std::sync::Mutex<Option<std::thread::JoinHandle<()>>>>,
}

/// A connection for reading.
pub type ReadConnection = PooledConnection<Manager>;

/// How the data store works.
#[derive(Clone)]
pub struct Options {
    /// Where it lies.
    pub location: Location,
    /// Connections for reading.
    pub readers: u32,
    /// The most units in one commit.
    pub batch_units: usize,
    /// The most units that may wait.
    pub queue: usize,
    /// Told about every batch: units, leaves, seconds.
    pub observe: Arc<dyn Fn(usize, usize, f64) + Send + Sync>,
}

impl Database {
    /// Runs the migrations that the store lacks and gives their number.
    ///
    /// # Errors
    /// When the store cannot be reached or a migration fails.
    pub fn migrate(location: &Location) -> Result<usize> {
        let mut connection = location.connect()?;
        connection.migrate(Migrations { sqlite: SQLITE, postgres: POSTGRES })
    }

    /// Opens the store and starts its committer. The store must have been migrated and set up.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn open(options: &Options) -> Result<Self> {
        let readers = Pool::builder()
            .max_size(options.readers)
            .min_idle(Some(1))
            .connection_timeout(POOL_WAIT)
            .test_on_check_out(!options.location.is_sqlite())
            .build(Manager(options.location.clone()))
            .map_err(Error::Exhausted)?;
        let connection = options.location.connect()?;
        let (writer, jobs) = mpsc::channel(options.queue);
        let (head_sender, head) = watch::channel(Head::default());
        let settings = Settings {
            location: options.location.clone(),
            batch_units: options.batch_units,
            observe: Arc::clone(&options.observe),
        };
        let thread = committer::start(settings, connection, jobs, head_sender).map_err(|_| Error::Stopped)?;
        Ok(Self {
            readers,
            writer,
            head,
            location: options.location.clone(),
            halted: Arc::new(AtomicBool::new(false)),
            thread: Arc::new(std::sync::Mutex::new(Some(thread))),
        })
    }

    /// Reads on the blocking pool.
    ///
    /// # Errors
    /// What `read` fails with, and when no connection becomes free.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = self.readers.clone();
        tokio::task::spawn_blocking(move || read(&mut *readers.get().map_err(Error::Exhausted)?))
            .await
            .map_err(|_| Error::Stopped)?
    }

    /// Reads as [`Database::read`] does, everything as of one instant.
    ///
    /// # Errors
    /// As [`Database::read`].
    pub async fn snapshot<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read(move |connection| {
            let begin = match connection {
                Connection::Sqlite(_) => "BEGIN",
                Connection::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            };
            connection.execute_script(begin)?;
            let found = read(connection);
            connection.execute_script("ROLLBACK")?;
            found
        })
        .await
    }

    /// A connection for reading, for callers that may block.
    ///
    /// # Errors
    /// When none becomes free.
    pub fn reader(&self) -> Result<ReadConnection> {
        self.readers.get().map_err(Error::Exhausted)
    }

    /// Hands a unit to the committer and waits until it is durable, stale or failed.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue stays full for five seconds; [`Error::Stopped`] after
    /// [`Database::halt`]; what the unit failed with.
    pub async fn write(&self, unit: Unit) -> Result<Outcome> {
        if self.halted.load(Ordering::Acquire) {
            return Err(Error::Stopped);
        }
        let (answer, answered) = oneshot::channel();
        match self.writer.try_send(Job { unit, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Error::Stopped),
            Err(mpsc::error::TrySendError::Full(job)) => {
                self.writer.send_timeout(job, QUEUE_WAIT).await.map_err(|error| match error {
                    mpsc::error::SendTimeoutError::Timeout(_) => Error::Overloaded,
                    mpsc::error::SendTimeoutError::Closed(_) => Error::Stopped,
                })?;
            }
        }
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// Makes deleted rows leave the write-ahead log of SQLite too. PostgreSQL's log and dead rows are
    /// the operator's to keep short; what lies there is sealed under keys that are gone.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn flush_deleted(&self) -> Result<()> {
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

    /// Lets no further change in, for good: the log is not the one that was signed.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Release);
    }

    /// Follows the head of the log as this process moves it.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// How many more units may wait before the queue is full, and how many may wait at most.
    #[must_use]
    pub fn queue(&self) -> (usize, usize) {
        (self.writer.capacity(), self.writer.max_capacity())
    }

    /// Where the store lies.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// Ends the committer after what waits is done. Every clone must be dropped first; the last one
    /// calls this.
    pub fn close(self) {
        let Self { writer, thread, readers, .. } = self;
        drop(writer);
        drop(readers);
        let thread = thread.lock().ok().and_then(|mut slot| slot.take());
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the committer ended with a panic");
        }
    }
}
