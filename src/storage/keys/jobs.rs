//! Jobs on keys, which one instance works at a time, and the instances that hold keys.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::sql_types::{Id16, Micros};
use crate::storage::{Connection, Result};

use super::rows::{number, version};
use super::schema::{instance, key_job};

/// A job on keys that can be resumed.
#[derive(Clone, Debug)]
pub struct KeyJob {
    /// Its id.
    pub id: Id16,
    /// What is done.
    pub kind: String,
    /// From which version.
    pub from_version: u32,
    /// To which version.
    pub to_version: u32,
    /// Where it stands: the last key done.
    pub position: Vec<u8>,
    /// How many rows there were at the start.
    pub total: i64,
    /// How many are done.
    pub done: i64,
    /// `staging`, `rewrapping`, `ended`.
    pub state: String,
    /// Who works at it.
    pub holder: Option<Id16>,
    /// Until when nobody else may.
    pub lease_until: Option<Micros>,
    /// When it began.
    pub created_at: Micros,
}

/// Begins a job. False: one of this kind is open already.
///
/// # Errors
/// When the store cannot be written.
pub fn begin_job(connection: &mut Connection, row: &KeyJob) -> Result<bool> {
    let begun = on!(connection, c => diesel::insert_into(key_job::table)
        .values((
            key_job::id.eq(row.id),
            key_job::kind.eq(&row.kind),
            key_job::from_version.eq(number(row.from_version)),
            key_job::to_version.eq(number(row.to_version)),
            key_job::position.eq(&row.position),
            key_job::total.eq(row.total),
            key_job::done.eq(row.done),
            key_job::state.eq(&row.state),
            key_job::holder.eq(row.holder),
            key_job::lease_until.eq(row.lease_until),
            key_job::created_at.eq(row.created_at),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(begun == 1)
}

/// Takes or keeps the lease of an open job. False: another instance works at it, or it has ended.
///
/// # Errors
/// When the store cannot be written.
pub fn take_job(connection: &mut Connection, id: Id16, holder: Id16, now: Micros, until: Micros) -> Result<bool> {
    let taken = on!(connection, c => diesel::update(key_job::table
            .filter(key_job::id.eq(id).and(key_job::state.ne("ended")))
            .filter(key_job::holder.is_null().or(key_job::holder.eq(holder)).or(key_job::lease_until.lt(now)).or(key_job::lease_until.is_null())))
        .set((key_job::holder.eq(holder), key_job::lease_until.eq(until)))
        .execute(c))?;
    Ok(taken == 1)
}

/// Notes how far a job has come and keeps its lease. False: it belongs to somebody else by now, and
/// what was done in the same transaction must not stand.
///
/// # Errors
/// When the store cannot be written.
pub fn advance_job(connection: &mut Connection, row: &KeyJob) -> Result<bool> {
    let advanced = on!(connection, c => diesel::update(key_job::table
            .filter(key_job::id.eq(row.id).and(key_job::state.ne("ended")).and(key_job::holder.eq(row.holder))))
        .set((
            key_job::position.eq(&row.position),
            key_job::total.eq(row.total),
            key_job::done.eq(row.done),
            key_job::state.eq(&row.state),
            key_job::lease_until.eq(row.lease_until),
        ))
        .execute(c))?;
    Ok(advanced == 1)
}

/// Ends a job.
///
/// # Errors
/// When the store cannot be written.
pub fn end_job(connection: &mut Connection, id: Id16) -> Result<()> {
    on!(connection, c => diesel::update(key_job::table.find(id))
        .set((key_job::state.eq("ended"), key_job::holder.eq(None::<Id16>), key_job::lease_until.eq(None::<Micros>)))
        .execute(c))?;
    Ok(())
}

type JobRow = (Id16, String, i32, i32, Vec<u8>, i64, i64, String, Option<Id16>, Option<Micros>, Micros);

macro_rules! columns {
    () => {
        (
            key_job::id,
            key_job::kind,
            key_job::from_version,
            key_job::to_version,
            key_job::position,
            key_job::total,
            key_job::done,
            key_job::state,
            key_job::holder,
            key_job::lease_until,
            key_job::created_at,
        )
    };
}

/// The job of a kind that has not ended.
///
/// # Errors
/// When the store cannot be read.
pub fn open_job(connection: &mut Connection, kind: &str) -> Result<Option<KeyJob>> {
    let row: Option<JobRow> = on!(connection, c => key_job::table
        .filter(key_job::kind.eq(kind).and(key_job::state.ne("ended")))
        .select(columns!())
        .first(c)
        .optional())?;
    row.map(stored_job).transpose()
}

/// A job.
///
/// # Errors
/// When the store cannot be read.
pub fn job(connection: &mut Connection, id: Id16) -> Result<Option<KeyJob>> {
    let row: Option<JobRow> = on!(connection, c => key_job::table.find(id).select(columns!()).first(c).optional())?;
    row.map(stored_job).transpose()
}

fn stored_job(
    (id, kind, from, to, position, total, done, state, holder, lease_until, created_at): JobRow,
) -> Result<KeyJob> {
    let (from_version, to_version) = (version(from)?, version(to)?);
    Ok(KeyJob { id, kind, from_version, to_version, position, total, done, state, holder, lease_until, created_at })
}

/// A process that has the key store open.
#[derive(Clone, Debug)]
pub struct StoredInstance {
    /// Which.
    pub id: Id16,
    /// The newest version of the root key that it holds.
    pub kek_version: u32,
    /// When it started.
    pub started_at: Micros,
    /// When it said so last.
    pub seen_at: Micros,
}

/// Notes that a process is alive and which version of the root key it holds.
///
/// # Errors
/// When the store cannot be written.
pub fn note_instance(connection: &mut Connection, row: &StoredInstance) -> Result<()> {
    on!(connection, c => diesel::insert_into(instance::table)
        .values((
            instance::id.eq(row.id),
            instance::kek_version.eq(number(row.kek_version)),
            instance::started_at.eq(row.started_at),
            instance::seen_at.eq(row.seen_at),
        ))
        .on_conflict(instance::id)
        .do_update()
        .set((instance::kek_version.eq(number(row.kek_version)), instance::seen_at.eq(row.seen_at)))
        .execute(c))?;
    Ok(())
}

/// The processes seen since an instant.
///
/// # Errors
/// When the store cannot be read.
pub fn instances(connection: &mut Connection, since: Micros) -> Result<Vec<StoredInstance>> {
    let rows: Vec<(Id16, i32, Micros, Micros)> = on!(connection, c => instance::table
        .filter(instance::seen_at.ge(since))
        .order(instance::started_at)
        .select((instance::id, instance::kek_version, instance::started_at, instance::seen_at))
        .load(c))?;
    rows.into_iter()
        .map(|(id, held, started_at, seen_at)| {
            Ok(StoredInstance { id, kek_version: version(held)?, started_at, seen_at })
        })
        .collect()
}

/// Forgets processes not seen since an instant, or one that stops now.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_instances(connection: &mut Connection, before: Micros, stopping: Option<Id16>) -> Result<usize> {
    let old = on!(connection, c => diesel::delete(instance::table.filter(instance::seen_at.lt(before))).execute(c))?;
    let own = match stopping {
        Some(id) => on!(connection, c => diesel::delete(instance::table.find(id)).execute(c))?,
        None => 0,
    };
    Ok(old + own)
}
