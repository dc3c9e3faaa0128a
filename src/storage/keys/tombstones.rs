//! What is left of a destroyed key: that it was destroyed, and the fingerprint by which it would be
//! recognised if it came back.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::sql_types::{Id16, Micros, Uuid16};
use crate::storage::{Connection, Error, Result};

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

/// Holders of keys that live although they, or their holder as a whole, were destroyed here.
///
/// # Errors
/// When the store cannot be read.
pub fn returned_holders(connection: &mut Connection) -> Result<Vec<Id16>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Uuid16)]
        holder: Id16,
    }
    // The commitment is the last 32 bytes of a wrapped key. By holder, which both tables are ordered by,
    // so that the cost is that of the tombstones and not that of all keys.
    let sql = match connection {
        Connection::Sqlite(_) => {
            "SELECT k.subject AS holder FROM key_tombstone t JOIN subject_key k ON k.subject = t.holder \
               WHERE t.whole = 1 OR t.commitment = substr(k.wrapped, 67, 32) \
             UNION SELECT k.holder FROM key_tombstone t JOIN audit_key k ON k.holder_kind = 1 AND k.holder = t.holder \
               WHERE t.whole = 1 OR t.commitment = substr(k.wrapped, 67, 32)"
        }
        Connection::Postgres(_) => {
            "SELECT k.subject AS holder FROM key_tombstone t JOIN subject_key k ON k.subject = t.holder \
               WHERE t.whole = 1 OR t.commitment = substring(k.wrapped from 67 for 32) \
             UNION SELECT k.holder FROM key_tombstone t JOIN audit_key k ON k.holder_kind = 1 AND k.holder = t.holder \
               WHERE t.whole = 1 OR t.commitment = substring(k.wrapped from 67 for 32)"
        }
    };
    let rows: Vec<Row> = on!(connection, c => diesel::sql_query(sql).load(c))?;
    Ok(rows.into_iter().map(|row| row.holder).collect())
}

/// Those of these fingerprints that no tombstone holds: this store knows nothing of their destruction.
///
/// # Errors
/// When the store cannot be read.
pub fn without_tombstone(connection: &mut Connection, fingerprints: &[[u8; 32]]) -> Result<Vec<[u8; 32]>> {
    let mut left = Vec::new();
    for chunk in fingerprints.chunks(500) {
        let wanted: Vec<Vec<u8>> = chunk.iter().map(|fingerprint| fingerprint.to_vec()).collect();
        let known: Vec<Vec<u8>> = on!(&mut *connection, c => key_tombstone::table
            .filter(key_tombstone::commitment.eq_any(wanted))
            .select(key_tombstone::commitment)
            .load(c))?;
        left.extend(chunk.iter().filter(|fingerprint| !known.iter().any(|known| known == *fingerprint)));
    }
    Ok(left)
}

/// The fingerprints of a holder's destroyed keys.
///
/// # Errors
/// When the store cannot be read.
pub fn fingerprints_of(connection: &mut Connection, holder: Id16) -> Result<Vec<[u8; 32]>> {
    let found: Vec<Vec<u8>> = on!(connection, c => key_tombstone::table
        .filter(key_tombstone::holder.eq(holder))
        .order(key_tombstone::commitment)
        .select(key_tombstone::commitment)
        .load(c))?;
    found.into_iter().map(|bytes| bytes.try_into().map_err(|_| Error::Malformed { table: "key_tombstone" })).collect()
}

/// Remembers fingerprints of destroyed keys whose holder nobody knows any more, so that they need not be
/// looked for among all keys again.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_fingerprints(connection: &mut Connection, fingerprints: &[[u8; 32]], at: Micros) -> Result<()> {
    let of_nobody = |commitment: &[u8; 32]| {
        let [holder @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *commitment;
        StoredTombstone {
            purpose: "unknown".to_owned(),
            holder: Id16(holder),
            version: 0,
            commitment: *commitment,
            whole: false,
            erased_at: at,
        }
    };
    insert_tombstones(connection, &fingerprints.iter().map(of_nobody).collect::<Vec<_>>())
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
