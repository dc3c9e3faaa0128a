//! Bulk loads, each with the place it has reached.

use diesel::prelude::*;

use crate::domain::id::{CollectorId, EntryId};

use super::backend::on;
use super::schema::import_job;
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result, Transaction};

/// A bulk load.
#[derive(Clone, Debug)]
pub struct StoredImport {
    /// Its id.
    pub id: Id16,
    /// Keyed mark of the file and the collector.
    pub file_mark: [u8; 32],
    /// The collector the file comes through.
    pub collector: CollectorId,
    /// Rows of the file that are done, the rejected ones too.
    pub position: u64,
    /// Lines of the file.
    pub total: u64,
    /// Rows stored, or stored before.
    pub accepted: u64,
    /// Rows refused by policy.
    pub refused: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// Whether it has ended.
    pub is_ended: bool,
    /// When it began.
    pub started_at: Micros,
    /// The leaf that says so.
    pub entry: EntryId,
}

const RUNNING: i16 = 1;
const ENDED: i16 = 2;

type Row = (Id16, Vec<u8>, String, i64, i64, i64, i64, i64, i16, Micros, Id16);

/// The load of a file, if it was begun before.
///
/// # Errors
/// When the store cannot be read.
pub fn find(connection: &mut Connection, file_mark: &[u8; 32]) -> Result<Option<StoredImport>> {
    let row: Option<Row> = on!(connection, c => import_job::table
        .filter(import_job::file_hash.eq(&file_mark[..]))
        .select((
            import_job::id,
            import_job::file_hash,
            import_job::collector,
            import_job::position,
            import_job::total,
            import_job::accepted,
            import_job::refused,
            import_job::rejected,
            import_job::state,
            import_job::started_at,
            import_job::entry,
        ))
        .first(c)
        .optional())?;
    row.map(stored).transpose()
}

/// Begins a load. False: the file's load was begun by somebody else meanwhile.
///
/// # Errors
/// When the store cannot be written.
pub fn begin(transaction: &mut Transaction<'_>, row: &StoredImport) -> Result<bool> {
    let begun = on!(transaction.connection(), c => diesel::insert_into(import_job::table)
        .values((
            import_job::id.eq(row.id),
            import_job::file_hash.eq(&row.file_mark[..]),
            import_job::collector.eq(row.collector.as_str()),
            import_job::position.eq(signed(row.position)),
            import_job::total.eq(signed(row.total)),
            import_job::accepted.eq(signed(row.accepted)),
            import_job::refused.eq(signed(row.refused)),
            import_job::rejected.eq(signed(row.rejected)),
            import_job::state.eq(RUNNING),
            import_job::started_at.eq(row.started_at),
            import_job::entry.eq(Id16::from(row.entry)),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(begun == 1)
}

/// Notes how far a load has come, if it still stands at `before`. False: somebody else loads the
/// same file.
///
/// # Errors
/// When the store cannot be written.
pub fn advance(transaction: &mut Transaction<'_>, before: u64, row: &StoredImport) -> Result<bool> {
    let state = if row.is_ended { ENDED } else { RUNNING };
    let advanced = on!(transaction.connection(), c => diesel::update(import_job::table
            .filter(import_job::id.eq(row.id).and(import_job::position.eq(signed(before))).and(import_job::state.eq(RUNNING))))
        .set((
            import_job::position.eq(signed(row.position)),
            import_job::accepted.eq(signed(row.accepted)),
            import_job::refused.eq(signed(row.refused)),
            import_job::rejected.eq(signed(row.rejected)),
            import_job::state.eq(state),
        ))
        .execute(c))?;
    Ok(advanced == 1)
}

fn stored(row: Row) -> Result<StoredImport> {
    let (id, mark, collector, position, total, accepted, refused, rejected, state, started_at, entry) = row;
    let malformed = || Error::Malformed { table: "import_job" };
    let count = |number: i64| u64::try_from(number).map_err(|_| malformed());
    Ok(StoredImport {
        id,
        file_mark: mark.try_into().map_err(|_| malformed())?,
        collector: CollectorId::new(&collector),
        position: count(position)?,
        total: count(total)?,
        accepted: count(accepted)?,
        refused: count(refused)?,
        rejected: count(rejected)?,
        is_ended: state == ENDED,
        started_at,
        entry: entry.into(),
    })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
