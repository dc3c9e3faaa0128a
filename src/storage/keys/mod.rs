//! The key store: wrapped keys in a database of their own.
//!
//! A key is written here, durably, before the data that needs it, and destroyed here before an
//! erasure is called done. So writes have a group committer too, and no write here waits for the
//! data store. A backup of the data alone is unreadable.

pub mod schema;

mod jobs;
mod living;
mod rewrap;
mod rows;
mod service;
mod tombstones;

use std::sync::Arc;

use diesel::prelude::*;
use tokio::sync::{mpsc, oneshot};

use super::backend::{Migrations, on};
use super::sql_types::{Id16, Micros};
use super::store::{ReadConnection, Store};
use super::{Connection, Error, Location, Result};
use crate::domain::id::InstallationId;

pub use jobs::{
    KeyJob, StoredInstance, advance_job, begin_job, end_job, forget_instances, instances, job, note_instance, open_job,
    take_job,
};
pub use living::{KeyTable, destroyed_keys, living_keys};
pub use rewrap::{Cursor, Rewrappable, WrappedRow, count_to_rewrap, page_to_rewrap, replace_wrapped, wrapped_under};
pub use rows::{
    StoredAuditKey, StoredOwnedKey, StoredSubjectKey, audit_key_page, audit_keys_by_ids, audit_keys_of,
    delete_audit_key, delete_audit_keys, delete_owned_key, delete_owned_keys_of, delete_subject_key,
    delete_subject_keys, insert_audit_keys, insert_owned_keys, insert_subject_keys, owned_key, subject_key,
    subject_key_page, subject_keys,
};
pub use service::{
    LastSigned, StoredKek, StoredSecret, compare_and_sign, forget_secrets, insert_kek, insert_secret, keks,
    last_signed, secrets, set_kek_state,
};
pub use tombstones::{
    StoredTombstone, destroyed, erased_whole, fingerprints_of, insert_tombstones, remember_fingerprints,
    returned_holders, tombstoned_subjects, without_tombstone,
};

const SQLITE: diesel_migrations::EmbeddedMigrations = diesel_migrations::embed_migrations!("migrations/keys/sqlite");
const POSTGRES: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations/keys/postgres");

/// The most writes that may wait.
const QUEUE: usize = 1024;
/// The most writes in one commit.
const BATCH: usize = 512;

type Write = Box<dyn FnMut(&mut Connection) -> Result<()> + Send>;

struct Job {
    write: Write,
    answer: oneshot::Sender<Result<()>>,
}

/// The key store.
#[derive(Clone)]
pub struct KeyStore {
    store: Store<Job>,
}

impl KeyStore {
    /// Runs the migrations that the store lacks and gives their number.
    ///
    /// # Errors
    /// When the store cannot be reached or a migration fails.
    pub fn migrate(location: &Location) -> Result<usize> {
        let mut connection = location.connect()?;
        connection.migrate(Migrations { sqlite: SQLITE, postgres: POSTGRES })
    }

    /// Opens the store and starts its committer.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn open(location: &Location, readers: u32) -> Result<Self> {
        let mut connection = location.connect()?;
        if location.is_sqlite() {
            // Keys are written seldom, so the writer itself may copy its log into the store.
            connection.execute_script("PRAGMA wal_autocheckpoint = 1000")?;
        }
        let place = location.clone();
        let store = Store::open(location, readers, QUEUE, |jobs| {
            std::thread::Builder::new().name("key-committer".to_owned()).spawn(move || run(connection, &place, jobs))
        })?;
        Ok(Self { store })
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

    /// A connection for reading, for callers that may block.
    ///
    /// # Errors
    /// When none becomes free.
    pub fn reader(&self) -> Result<ReadConnection> {
        self.store.reader()
    }

    /// Writes durably. The closure may run twice; it gives its rows and reads nothing from outside.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue stays full; what the closure fails with.
    pub async fn write(&self, write: impl FnMut(&mut Connection) -> Result<()> + Send + 'static) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.store.send(Job { write: Box::new(write), answer }).await?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// As [`KeyStore::write`], and gives what the closure gave in the run that stands.
    ///
    /// # Errors
    /// As [`KeyStore::write`].
    pub async fn write_for<T: Send + 'static>(
        &self,
        mut write: impl FnMut(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let given = Arc::new(std::sync::Mutex::new(None));
        let slot = Arc::clone(&given);
        self.write(move |connection| {
            let value = write(connection)?;
            *slot.lock().map_err(|_| Error::Stopped)? = Some(value);
            Ok(())
        })
        .await?;
        let mut given = given.lock().map_err(|_| Error::Stopped)?;
        given.take().ok_or(Error::Stopped)
    }

    /// Makes destroyed keys leave the write-ahead log of SQLite too. On PostgreSQL, dead rows and the
    /// log keep wrapped keys for a while, which is why there are KEK epochs.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn flush_destroyed(&self) -> Result<()> {
        self.store.flush_deleted().await
    }

    /// Where the store lies.
    #[must_use]
    pub const fn location(&self) -> &Location {
        self.store.location()
    }

    /// Ends the committer after what waits is done.
    pub fn close(self) {
        self.store.close();
    }
}

/// The installation's id, if the store was ever set up.
///
/// # Errors
/// When the store cannot be read.
pub fn installation(connection: &mut Connection) -> Result<Option<InstallationId>> {
    let id: Option<Id16> =
        on!(connection, c => schema::installation::table.select(schema::installation::id).first(c).optional())?;
    Ok(id.map(Into::into))
}

/// Sets the store up with the installation's id. Does nothing if it was set up before.
///
/// # Errors
/// When the store cannot be written.
pub fn set_up(connection: &mut Connection, id: InstallationId, at: Micros) -> Result<()> {
    if installation(connection)?.is_some() {
        return Ok(());
    }
    on!(connection, c => diesel::insert_into(schema::installation::table)
        .values((schema::installation::id.eq(Id16::from(id)), schema::installation::created_at.eq(at)))
        .execute(c))?;
    Ok(())
}

fn run(mut connection: Connection, location: &Location, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let Ok(job) = jobs.try_recv() else { break };
            batch.push(job);
        }
        let together = transaction(&mut connection, location, &mut batch);
        if together.is_ok() || batch.len() == 1 {
            let mut together = Some(together);
            for job in batch {
                drop(job.answer.send(together.take().unwrap_or(Ok(()))));
            }
            continue;
        }
        // One of them spoiled it for all: each by itself.
        for job in batch {
            let mut alone = [job];
            let outcome = transaction(&mut connection, location, &mut alone);
            let [job] = alone;
            drop(job.answer.send(outcome));
        }
    }
}

fn transaction(connection: &mut Connection, location: &Location, batch: &mut [Job]) -> Result<()> {
    let begin = if matches!(connection, Connection::Sqlite(_)) { "BEGIN IMMEDIATE" } else { "BEGIN" };
    let done = connection
        .execute_script(begin)
        .and_then(|()| batch.iter_mut().try_for_each(|job| (job.write)(connection)))
        .and_then(|()| connection.execute_script("COMMIT"));
    if done.is_err()
        && connection.execute_script("ROLLBACK").is_err()
        && let Ok(fresh) = location.connect()
    {
        *connection = fresh;
    }
    done
}
