//! What is left of a destroyed key: that it was destroyed, and the fingerprint by which it would be
//! recognised if it came back.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::sql_types::{Id16, Micros, Uuid16};
use crate::storage::{Connection, Result};

use super::rows::number;
use super::schema::key_tombstone;

/// That a key was destroyed.
#[derive(Clone, Debug)]
pub struct StoredTombstone {
    /// `dek` or `audit`.
    pub purpose: String,
    /// Whose key it was.
    pub holder: Id16,
    /// Its version (audit keys: the class).
    pub version: u32,
    /// Its fingerprint.
    pub commitment: [u8; 32],
    /// Whether the person was erased as a whole.
    pub whole: bool,
    /// When.
    pub erased_at: Micros,
}

/// Whether this version of a person's data key was destroyed.
///
/// # Errors
/// When the store cannot be read.
pub fn destroyed(connection: &mut Connection, subject: Id16, key_version: u32) -> Result<bool> {
    let found: Option<i16> = on!(connection, c => key_tombstone::table
        .find(("dek", subject, number(key_version)))
        .select(key_tombstone::whole)
        .first(c)
        .optional())?;
    Ok(found.is_some())
}

/// Whether a subject was erased as a whole.
///
/// # Errors
/// When the store cannot be read.
pub fn erased_whole(connection: &mut Connection, holder: Id16) -> Result<bool> {
    let found: Option<i16> = on!(connection, c => key_tombstone::table
        .filter(key_tombstone::holder.eq(holder).and(key_tombstone::whole.eq(1_i16)))
        .select(key_tombstone::whole)
        .first(c)
        .optional())?;
    Ok(found.is_some())
}

/// The subjects erased as a whole.
///
/// # Errors
/// When the store cannot be read.
pub fn tombstoned_subjects(connection: &mut Connection) -> Result<Vec<Id16>> {
    Ok(on!(connection, c => key_tombstone::table
        .filter(key_tombstone::whole.eq(1_i16).and(key_tombstone::purpose.eq("dek")))
        .select(key_tombstone::holder)
        .distinct()
        .load(c))?)
}

/// Those of these fingerprints that belong to a key which lives: a key that was destroyed and came
/// back. The commitment is the last 32 bytes of a wrapped key.
///
/// # Errors
/// When the store cannot be read.
pub fn fingerprints_alive(connection: &mut Connection) -> Result<Vec<Id16>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Uuid16)]
        holder: Id16,
    }
    let sql = match connection {
        Connection::Sqlite(_) => {
            "SELECT k.subject AS holder FROM subject_key k JOIN key_tombstone t ON t.commitment = substr(k.wrapped, 67, 32) \
             UNION SELECT k.holder FROM audit_key k JOIN key_tombstone t ON t.commitment = substr(k.wrapped, 67, 32)"
        }
        Connection::Postgres(_) => {
            "SELECT k.subject AS holder FROM subject_key k JOIN key_tombstone t ON t.commitment = substring(k.wrapped from 67 for 32) \
             UNION SELECT k.holder FROM audit_key k JOIN key_tombstone t ON t.commitment = substring(k.wrapped from 67 for 32)"
        }
    };
    let rows: Vec<Row> = on!(connection, c => diesel::sql_query(sql).load(c))?;
    Ok(rows.into_iter().map(|row| row.holder).collect())
}

/// Sets tombstones; one that stands stays.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_tombstones(connection: &mut Connection, rows: &[StoredTombstone]) -> Result<()> {
    for row in rows {
        on!(connection, c => diesel::insert_into(key_tombstone::table)
            .values((
                key_tombstone::purpose.eq(&row.purpose),
                key_tombstone::holder.eq(row.holder),
                key_tombstone::version.eq(number(row.version)),
                key_tombstone::commitment.eq(&row.commitment[..]),
                key_tombstone::whole.eq(i16::from(row.whole)),
                key_tombstone::erased_at.eq(row.erased_at),
            ))
            .on_conflict_do_nothing()
            .execute(c))?;
    }
    Ok(())
}
