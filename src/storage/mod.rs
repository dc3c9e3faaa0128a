//! The cellar: the only room that knows diesel.
//!
//! Everything that changes goes through the [`committer`], which runs what waits as one transaction
//! and appends the audit leaves of all of it in the same commit. Reads go through a pool and never
//! wait for the writer. Nothing here decides, encrypts or reads a policy: rows come in ready and
//! sealed, and go out the same way.

mod backend;
mod checkpointer;
mod committer;
mod database;
mod log_clock;
mod sql_types;
mod store;
mod unit;

pub mod audit_log;
pub mod consents;
pub mod deliveries;
pub mod disclosures;
pub mod erasures;
pub mod housekeeping;
pub mod idempotency;
pub mod identities;
pub mod imports;
pub mod installation;
pub mod keys;
pub mod leases;
pub mod queue;
pub mod records;
pub mod schema;
pub mod seen_events;
pub mod subject_requests;
pub mod subjects;
pub mod terms;
pub mod tokens;
pub mod witness;

pub use backend::{Connection, Location};
pub use database::{Database, Head, Options};
pub use log_clock::Timekeeper;
pub use sql_types::{Id16, Micros};
pub use store::ReadConnection;
pub use unit::{
    Change, Collect, Committed, Correction, Expected, LeafRow, Outcome, SealedPart, Step, Transaction, Unit,
};

/// What can go wrong in the cellar.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of a store cannot be used.
    #[error("the database URL cannot be used: {0}")]
    Location(&'static str),
    /// The store cannot be reached.
    #[error("the database cannot be reached")]
    Unavailable(#[source] diesel::ConnectionError),
    /// No connection of the pool became free.
    #[error("no database connection became free")]
    Exhausted(#[source] diesel::r2d2::PoolError),
    /// The store would answer a commit before it is on disk.
    #[error("the database is not durable: {0}")]
    NotDurable(&'static str),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(String),
    /// A statement failed.
    #[error("a database statement failed")]
    Statement(#[from] diesel::result::Error),
    /// The queue of writes is full.
    #[error("the queue of writes is full")]
    Overloaded,
    /// The committer has stopped.
    #[error("the committer has stopped")]
    Stopped,
    /// It is not known whether the commit happened; nobody is told that it did.
    #[error("it is unknown whether the commit happened")]
    Unknown,
    /// A row holds what no row of ours may hold.
    #[error("a row of {table} is malformed")]
    Malformed {
        /// The table.
        table: &'static str,
    },
    /// The data store and the key store belong to different installations.
    #[error("the data store and the key store belong to different installations")]
    ForeignStore,
    /// The head of the log is not what its leaves say.
    #[error("the audit log is damaged: {0}")]
    DamagedLog(&'static str),
    /// The clock is not believed; no leaf can be dated.
    #[error("the clock is not believed")]
    ClockSuspended,
    /// A rule of the store refused the change.
    #[error("the change was refused: {0}")]
    Refused(&'static str),
}

/// The result of this room.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the store works and one of its rows holds what no row of ours may hold.
    #[must_use]
    pub const fn is_malformed_row(&self) -> bool {
        matches!(self, Self::Malformed { .. } | Self::Statement(diesel::result::Error::DeserializationError(_)))
    }

    /// Whether the store itself is away or full, so that the same call may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error as Diesel};
        match self {
            Self::Unavailable(_) | Self::Exhausted(_) | Self::Overloaded | Self::Stopped | Self::Unknown => true,
            Self::Statement(Diesel::DatabaseError(kind, information)) => match kind {
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ReadOnlyTransaction => true,
                _ => {
                    let message = information.message();
                    [
                        "full",
                        "locked",
                        "busy",
                        "disk I/O",
                        "No space",
                        "terminating connection",
                        "shutting down",
                        "starting up",
                        "deadlock",
                        "server closed",
                        "no connection",
                    ]
                    .iter()
                    .any(|sign| message.contains(sign))
                }
            },
            _ => false,
        }
    }
}
