//! What the store gets rid of by itself, in small steps, and how much room it has.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::backend::on;
use super::schema::idempotency;
use super::sql_types::Micros;
use super::{Connection, Result, Transaction, audit_log, deliveries, seen_events};

/// Something that is forgotten when it is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Marks by which a repeated event is recognised.
    SeenEvents,
    /// Promises that were kept or dropped; the disclosure ledger keeps what was sent.
    SettledDeliveries,
    /// Answers kept for a repeated call with the same `Idempotency-Key`.
    IdempotentAnswers,
    /// Checkpoints but one an hour.
    Checkpoints,
}

/// Forgets what is older than `before`, at most `limit` rows, and says how many went.
///
/// # Errors
/// When the store cannot be written.
pub fn forget(transaction: &mut Transaction<'_>, what: Forgotten, before: Micros, limit: i64) -> Result<usize> {
    let connection = transaction.connection();
    match what {
        Forgotten::SeenEvents => seen_events::forget(connection, before, limit),
        Forgotten::SettledDeliveries => deliveries::forget_settled(connection, before, limit),
        Forgotten::IdempotentAnswers => forget_answers(connection, before, limit),
        Forgotten::Checkpoints => audit_log::thin_checkpoints(connection, before),
    }
}

fn forget_answers(connection: &mut Connection, before: Micros, limit: i64) -> Result<usize> {
    let old: Vec<Vec<u8>> = on!(connection, c => idempotency::table
        .filter(idempotency::at.lt(before))
        .select(idempotency::mark)
        .limit(limit)
        .load(c))?;
    Ok(on!(connection, c => diesel::delete(idempotency::table.filter(idempotency::mark.eq_any(old))).execute(c))?)
}

/// Bytes of free pages inside a SQLite file: they are used before the file grows. PostgreSQL keeps
/// its own house.
///
/// # Errors
/// When the store cannot be read.
pub fn free_inside(connection: &mut Connection) -> Result<u64> {
    match connection {
        Connection::Postgres(_) => Ok(0),
        Connection::Sqlite(c) => {
            let bytes: i64 = diesel::select(diesel::dsl::sql::<BigInt>(
                "(SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)",
            ))
            .get_result(c)?;
            Ok(u64::try_from(bytes).unwrap_or(0))
        }
    }
}
