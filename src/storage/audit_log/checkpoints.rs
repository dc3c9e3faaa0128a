//! The signed checkpoints of the log.

use std::collections::BTreeSet;

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::schema::{audit_anchor, audit_checkpoint};
use crate::storage::{Connection, Micros, Result};

use super::LOG;
use super::leaves::key_rotations;

/// The newest checkpoints, newest first: size, note, and when it was signed.
///
/// # Errors
/// When the store cannot be read.
pub fn checkpoints(connection: &mut Connection, limit: i64) -> Result<Vec<(u64, String, Micros)>> {
    let rows: Vec<(i64, String, Micros)> = on!(connection, c => audit_checkpoint::table
        .filter(audit_checkpoint::log.eq(LOG))
        .order(audit_checkpoint::size.desc())
        .limit(limit)
        .select((audit_checkpoint::size, audit_checkpoint::note, audit_checkpoint::signed_at))
        .load(c))?;
    Ok(rows.into_iter().map(|(size, note, at)| (u64::try_from(size).unwrap_or(0), note, at)).collect())
}

/// The newest checkpoint that covers position `seq`, if one was signed.
///
/// # Errors
/// When the store cannot be read.
pub fn newest_checkpoint(connection: &mut Connection) -> Result<Option<(u64, String)>> {
    Ok(checkpoints(connection, 1)?.pop().map(|(size, note, _)| (size, note)))
}

/// Size and note of the `newest` newest checkpoints, and of about `others` of those before them,
/// spread over the sizes of the log.
///
/// # Errors
/// When the store cannot be read.
pub fn checkpoint_sample(connection: &mut Connection, newest: i64, others: i64) -> Result<Vec<(u64, String)>> {
    let mut sample: Vec<(u64, String)> =
        checkpoints(connection, newest)?.into_iter().map(|(size, note, _)| (size, note)).collect();
    let Some((oldest, _)) = sample.last() else { return Ok(sample) };
    let oldest = i64::try_from(*oldest).unwrap_or(i64::MAX);
    let before =
        || audit_checkpoint::table.filter(audit_checkpoint::log.eq(LOG).and(audit_checkpoint::size.lt(oldest)));
    let count: i64 = on!(&mut *connection, c => before().count().get_result(c))?;
    let step = count.checked_div(others).unwrap_or(0) + 1;
    let rows: Vec<(i64, String)> = on!(connection, c => before()
        .filter(diesel::dsl::sql::<diesel::sql_types::Bool>(&format!("size % {step} = 0")))
        .order(audit_checkpoint::size.desc())
        .limit(others.saturating_mul(2))
        .select((audit_checkpoint::size, audit_checkpoint::note))
        .load(c))?;
    sample.extend(rows.into_iter().map(|(size, note)| (u64::try_from(size).unwrap_or(0), note)));
    Ok(sample)
}

/// Size and time of every stored checkpoint, by size.
///
/// # Errors
/// When the store cannot be read.
pub fn checkpoint_times(connection: &mut Connection) -> Result<Vec<(u64, Micros)>> {
    let rows: Vec<(i64, Micros)> = on!(connection, c => audit_checkpoint::table
        .filter(audit_checkpoint::log.eq(LOG))
        .order(audit_checkpoint::size)
        .select((audit_checkpoint::size, audit_checkpoint::signed_at))
        .load(c))?;
    Ok(rows.into_iter().map(|(size, at)| (u64::try_from(size).unwrap_or(0), at)).collect())
}

/// The notes of the checkpoints of these sizes, by size; sizes without one are left out.
///
/// # Errors
/// When the store cannot be read.
pub fn checkpoint_notes(connection: &mut Connection, sizes: &BTreeSet<u64>) -> Result<Vec<(u64, String)>> {
    let sizes: Vec<i64> = sizes.iter().filter_map(|size| i64::try_from(*size).ok()).collect();
    let mut notes = Vec::with_capacity(sizes.len());
    for chunk in sizes.chunks(500) {
        let rows: Vec<(i64, String)> = on!(&mut *connection, c => audit_checkpoint::table
            .filter(audit_checkpoint::log.eq(LOG).and(audit_checkpoint::size.eq_any(chunk.to_vec())))
            .order(audit_checkpoint::size)
            .select((audit_checkpoint::size, audit_checkpoint::note))
            .load(c))?;
        notes.extend(rows.into_iter().map(|(size, note)| (u64::try_from(size).unwrap_or(0), note)));
    }
    Ok(notes)
}

/// Stores a signed checkpoint.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_checkpoint(connection: &mut Connection, size: u64, note: &str, signed_at: Micros) -> Result<()> {
    on!(connection, c => diesel::insert_into(audit_checkpoint::table)
        .values((
            audit_checkpoint::log.eq(LOG),
            audit_checkpoint::size.eq(i64::try_from(size).unwrap_or(i64::MAX)),
            audit_checkpoint::note.eq(note),
            audit_checkpoint::signed_at.eq(signed_at),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Deletes old checkpoints so that of those signed before `before` only one an hour stays, and
/// those that a time-stamp is on (without its text a time-stamp says nothing) or where one key handed
/// over to the next.
///
/// # Errors
/// When the store cannot be written.
pub fn thin_checkpoints(connection: &mut Connection, before: Micros) -> Result<usize> {
    let rows: Vec<(i64, Micros)> = on!(connection, c => audit_checkpoint::table
        .filter(audit_checkpoint::log.eq(LOG).and(audit_checkpoint::signed_at.lt(before)))
        .filter(diesel::dsl::not(diesel::dsl::exists(audit_anchor::table.filter(
            audit_anchor::log.eq(audit_checkpoint::log).and(audit_anchor::size.eq(audit_checkpoint::size)),
        ))))
        .order(audit_checkpoint::size)
        .select((audit_checkpoint::size, audit_checkpoint::signed_at))
        .load(c))?;
    let handovers: BTreeSet<i64> =
        key_rotations(connection)?.into_iter().filter_map(|(seq, _)| i64::try_from(seq + 1).ok()).collect();
    let mut hours = std::collections::HashSet::new();
    let mut deleted = 0;
    for (size, signed_at) in rows {
        if !hours.insert(signed_at.0 / 3_600_000_000) && !handovers.contains(&size) {
            deleted += on!(connection, c => diesel::delete(audit_checkpoint::table.find((LOG, size))).execute(c))?;
        }
    }
    if deleted > 0 {
        super::forget_cosignatures(connection)?;
    }
    Ok(deleted)
}
