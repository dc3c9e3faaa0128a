//! Leaves that are pruned: below the minimum index nothing is shown any more, and rows may go.

use diesel::dsl::not;
use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::schema::{audit_leaf, audit_log, audit_prune};
use crate::storage::{Connection, Result, Transaction};

use super::LOG;
use super::leaves::is_key_rotation;

/// Raises the minimum index from `from` to `to`. False: it is not `from`. Only in the commit of the
/// leaf that says so.
///
/// # Errors
/// When the store cannot be written.
pub fn raise_minimum_index(transaction: &mut Transaction<'_>, from: u64, to: u64) -> Result<bool> {
    let [from, to] = [from, to].map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let head = audit_log::table.filter(audit_log::log.eq(LOG).and(audit_log::minimum_index.eq(from)));
    let raised = on!(transaction.connection(), c => diesel::update(head)
        .set(audit_log::minimum_index.eq(to))
        .execute(c))?;
    Ok(raised == 1)
}

/// Remembers that the rows of leaves below `until` go.
///
/// # Errors
/// When the store cannot be written.
pub fn begin_deletion(transaction: &mut Transaction<'_>, until: u64) -> Result<()> {
    let until = i64::try_from(until).unwrap_or(i64::MAX);
    on!(transaction.connection(), c => diesel::insert_into(audit_prune::table)
        .values((audit_prune::log.eq(LOG), audit_prune::until.eq(until)))
        .on_conflict(audit_prune::log)
        .do_update()
        .set(audit_prune::until.eq(until))
        .execute(c))?;
    Ok(())
}

/// Below which leaf rows are being deleted, if they are.
///
/// # Errors
/// When the store cannot be read.
pub fn deletion(connection: &mut Connection) -> Result<Option<u64>> {
    let until: Option<i64> =
        on!(connection, c => audit_prune::table.find(LOG).select(audit_prune::until).first(c).optional())?;
    Ok(until.map(|until| u64::try_from(until).unwrap_or(0)))
}

/// Deletes the rows of the lowest leaves below `until`, at most `limit`, and says how many went; when
/// none is left the deletion is forgotten. The rows of leaf 0 and of the rotations of the log's key
/// stay: they name the log, its first policy and its keys, and can still be proved.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_leaves(transaction: &mut Transaction<'_>, until: u64, limit: i64) -> Result<usize> {
    let connection = transaction.connection();
    let until = i64::try_from(until).unwrap_or(i64::MAX);
    let below = || {
        audit_leaf::table
            .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.gt(0)).and(audit_leaf::seq.lt(until)))
            .filter(not(is_key_rotation()))
    };
    let lowest: Option<i64> = on!(&mut *connection, c => below().select(diesel::dsl::min(audit_leaf::seq)).first(c))?;
    let Some(lowest) = lowest else {
        on!(connection, c => diesel::delete(audit_prune::table.find(LOG)).execute(c))?;
        return Ok(0);
    };
    let page = below().filter(audit_leaf::seq.lt(lowest.saturating_add(limit)));
    Ok(on!(connection, c => diesel::delete(page).execute(c))?)
}
