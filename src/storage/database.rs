//! The data store as the rest of the house sees it: reads through a pool, writes through the
//! committer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{oneshot, watch};

use crate::audit::clock::Suspension;

use super::backend::Migrations;
use super::committer::{self, Job, Settings};
use super::log_clock::{LogClock, Timekeeper};
use super::store::{ReadConnection, Store};
use super::{Connection, Error, Location, Outcome, Result, Unit};

pub use super::committer::Head;

const SQLITE: diesel_migrations::EmbeddedMigrations = diesel_migrations::embed_migrations!("migrations/data/sqlite");
const POSTGRES: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations/data/postgres");

/// The data store.
#[derive(Clone)]
pub struct Database {
    store: Store<Job>,
    head: watch::Receiver<Head>,
    halted: Arc<AtomicBool>,
    clock: LogClock,
}

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
    /// Dates the log.
    pub timekeeper: Timekeeper,
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
        let connection = options.location.connect()?;
        let (head_sender, head) = watch::channel(Head::default());
        let clock = LogClock::new(options.timekeeper.clone());
        let settings = Settings {
            clock: clock.clone(),
            location: options.location.clone(),
            batch_units: options.batch_units,
            observe: Arc::clone(&options.observe),
        };
        let store = Store::open(&options.location, options.readers, options.queue, |jobs| {
            committer::start(settings, connection, jobs, head_sender)
        })?;
        Ok(Self { store, head, halted: Arc::new(AtomicBool::new(false)), clock })
    }

    /// Reads on the blocking pool.
    ///
    /// # Errors
    /// What `read` fails with, and when no connection becomes free.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.read(read).await
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
        self.store.reader()
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
        self.store.send(Job { unit, answer }).await?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// Makes deleted rows leave the write-ahead log of SQLite too. PostgreSQL's log and dead rows are
    /// the operator's to keep short; what lies there is sealed under keys that are gone.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn flush_deleted(&self) -> Result<()> {
        self.store.flush_deleted().await
    }

    /// Lets no further change in, for good: the log is not the one that was signed.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Release);
    }

    /// Looks whether the clock that dates the log is believed now, and why not.
    ///
    /// # Errors
    /// As [`Database::read`].
    pub async fn look_at_clock(&self) -> Result<Option<Suspension>> {
        let clock = self.clock.clone();
        self.read(move |connection| clock.look(connection)).await
    }

    /// Why the clock was not believed the last time it was asked, if that is so.
    #[must_use]
    pub fn clock_suspension(&self) -> Option<Suspension> {
        self.clock.suspension()
    }

    /// Follows the head of the log as this process moves it.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// How many more units may wait before the queue is full, and how many may wait at most.
    #[must_use]
    pub fn queue(&self) -> (usize, usize) {
        self.store.queue()
    }

    /// Where the store lies.
    #[must_use]
    pub const fn location(&self) -> &Location {
        self.store.location()
    }

    /// Ends the committer after what waits is done. Every clone must be dropped first; the last one
    /// calls this.
    pub fn close(self) {
        self.store.close();
    }
}
