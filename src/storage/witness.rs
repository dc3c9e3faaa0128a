//! The store of a witness, a SQLite file of its own with nothing else of ours in it: what was
//! cosigned last of each log, and what was refused although the log had signed it.

mod schema;

use diesel::prelude::*;
use diesel_migrations::MigrationHarness as _;

use crate::audit::evidence::Weight;
use crate::audit::tree::Hash;
use crate::audit::witness::Cosigned;

use super::sql_types::Micros;
use super::{Connection, Error, Location, Result};
use schema::{cosigned, refused};

const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations/witness/sqlite");

/// Refusals kept of one log, of those that prove a fork and of the others. Signed notes are public, so
/// anybody can have them refused again and again; that must not crowd out what proves something.
const REFUSALS: i64 = 10_000;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It is cosigned: this is what was cosigned last from now on.
    Cosigned(Cosigned),
    /// It is refused, and this is kept.
    Refused(RefusedNote),
    /// It is refused, and nothing is worth keeping, or it is kept already.
    Dropped,
}

/// A note that was refused although the log had signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedNote {
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The status of the answer.
    pub status: u16,
    /// The size cosigned last.
    pub cosigned: u64,
    /// Whether the notes alone prove it.
    pub weight: Weight,
    /// The file `amanat-evidence/1`.
    pub evidence: String,
}

/// The store.
pub struct WitnessStore(SqliteConnection);

impl WitnessStore {
    /// Opens the file, which is made if it does not exist.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(path: &std::path::Path) -> Result<Self> {
        let Connection::Sqlite(mut connection) = Location::Sqlite(path.to_owned()).connect()? else {
            return Err(Error::Location("a witness keeps its store in a SQLite file"));
        };
        // It has no thread that copies the write-ahead log, and little to copy.
        diesel::connection::SimpleConnection::batch_execute(&mut connection, "PRAGMA wal_autocheckpoint = 1000;")?;
        connection.run_pending_migrations(MIGRATIONS).map_err(|error| Error::Migration(error.to_string()))?;
        Ok(Self(connection))
    }

    /// What was cosigned last of a log.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last(&mut self, origin: &str) -> Result<Option<Cosigned>> {
        last(&mut self.0, origin)
    }

    /// Decides on what was cosigned last and keeps what was decided, as one transaction that is on
    /// disk before this returns. Another process on the same file waits.
    ///
    /// # Errors
    /// When the store cannot be read or written; then nothing was decided.
    pub fn decide(
        &mut self,
        origin: &str,
        at: Micros,
        decide: impl FnOnce(Option<&Cosigned>) -> Decided,
    ) -> Result<Decided> {
        self.0.immediate_transaction(|connection| {
            let decided = decide(last(connection, origin)?.as_ref());
            match &decided {
                Decided::Cosigned(next) => keep(connection, origin, next, at)?,
                Decided::Refused(note) if keep_refused(connection, origin, note, at)? => {}
                Decided::Refused(_) | Decided::Dropped => return Ok(Decided::Dropped),
            }
            Ok(decided)
        })
    }

    /// The evidence of what was refused, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn refusals(&mut self) -> Result<Vec<String>> {
        Ok(refused::table.order((refused::at, refused::origin)).select(refused::evidence).load(&mut self.0)?)
    }
}

fn last(connection: &mut SqliteConnection, origin: &str) -> Result<Option<Cosigned>> {
    let row: Option<(i64, Vec<u8>, String)> = cosigned::table
        .find(origin)
        .select((cosigned::size, cosigned::root, cosigned::note))
        .first(connection)
        .optional()?;
    row.map(|(size, root, note)| {
        let malformed = || Error::Malformed { table: "cosigned" };
        Ok(Cosigned {
            size: u64::try_from(size).map_err(|_| malformed())?,
            root: root.try_into().map_err(|_| malformed())?,
            note,
        })
    })
    .transpose()
}

fn keep(connection: &mut SqliteConnection, origin: &str, next: &Cosigned, at: Micros) -> Result<()> {
    let values = (
        cosigned::size.eq(i64::try_from(next.size).unwrap_or(i64::MAX)),
        cosigned::root.eq(&next.root[..]),
        cosigned::note.eq(&next.note),
        cosigned::at.eq(at),
    );
    diesel::insert_into(cosigned::table)
        .values((cosigned::origin.eq(origin), values))
        .on_conflict(cosigned::origin)
        .do_update()
        .set(values)
        .execute(connection)?;
    Ok(())
}

/// False: it was kept before, or too much is kept.
fn keep_refused(connection: &mut SqliteConnection, origin: &str, note: &RefusedNote, at: Micros) -> Result<bool> {
    let proven = i16::from(note.weight == Weight::Proven);
    let alike = refused::table.filter(refused::origin.eq(origin).and(refused::proven.eq(proven)));
    let count: i64 = alike.count().get_result(connection)?;
    if count >= REFUSALS {
        return Ok(false);
    }
    let inserted = diesel::insert_into(refused::table)
        .values((
            refused::origin.eq(origin),
            refused::size.eq(i64::try_from(note.size).unwrap_or(i64::MAX)),
            refused::root.eq(&note.root[..]),
            refused::status.eq(i16::try_from(note.status).unwrap_or(i16::MAX)),
            refused::cosigned_size.eq(i64::try_from(note.cosigned).unwrap_or(i64::MAX)),
            refused::proven.eq(proven),
            refused::evidence.eq(&note.evidence),
            refused::at.eq(at),
        ))
        .on_conflict_do_nothing()
        .execute(connection)?;
    Ok(inserted > 0)
}
