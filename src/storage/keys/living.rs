//! Pages of the keys that live and of those that were destroyed, to hold one against the other.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::sql_types::Id16;
use crate::storage::{Connection, Result};

use super::schema::{audit_key, key_tombstone, owned_key, subject_key};

/// Keys in one place of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTable {
    /// Data keys of people.
    Subject,
    /// Audit keys of people, officers and the installation.
    Audit,
    /// Keys of cases, packages, documents and tasks.
    Owned,
}

impl KeyTable {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Subject, Self::Audit, Self::Owned];
}

/// Id and wrapped form of the keys in a table, from this id on, in the order of the ids, at most
/// `limit`. Rows of one id are few, so a page that is full and begins with the last id of the page
/// before always goes on.
///
/// # Errors
/// When the store cannot be read.
pub fn living_keys(
    connection: &mut Connection,
    table: KeyTable,
    from: Id16,
    limit: i64,
) -> Result<Vec<(Id16, Vec<u8>)>> {
    macro_rules! page {
        ($table:ident . $id:ident) => {
            on!(connection, c => $table::table
                .filter($table::$id.ge(from))
                .order($table::$id)
                .limit(limit)
                .select(($table::$id, $table::wrapped))
                .load(c))?
        };
    }
    Ok(match table {
        KeyTable::Subject => page!(subject_key.subject),
        KeyTable::Audit => page!(audit_key.id),
        KeyTable::Owned => page!(owned_key.id),
    })
}

/// Holder and fingerprint of destroyed keys, paged as [`living_keys`].
///
/// # Errors
/// When the store cannot be read.
pub fn destroyed_keys(connection: &mut Connection, from: Id16, limit: i64) -> Result<Vec<(Id16, Vec<u8>)>> {
    Ok(on!(connection, c => key_tombstone::table
        .filter(key_tombstone::holder.ge(from))
        .order(key_tombstone::holder)
        .limit(limit)
        .select((key_tombstone::holder, key_tombstone::commitment))
        .load(c))?)
}
