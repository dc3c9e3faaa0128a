//! Leases: which instance does what, fenced by an epoch.
//!
//! Whoever takes a lease that ran out raises its epoch, so that what the holder before still has in
//! its hands is turned away. On PostgreSQL a lease ends by the database's clock, which the instances
//! share; on SQLite there is one process and its own clock will do.

use diesel::prelude::*;

use crate::domain::id::InstanceId;

use super::backend::on;
use super::schema::lease;
use super::sql_types::{Id16, Instant, Micros};
use super::{Connection, Error, Result};

/// A lease as its holder knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is a lease of.
    pub name: String,
    /// Who has it.
    pub holder: InstanceId,
    /// How often it changed hands, from 1.
    pub epoch: i64,
}

/// Takes a lease that is free, ran out or is ours, until `length` microseconds from now. `None`:
/// somebody else has it.
///
/// # Errors
/// When the store cannot be written.
pub fn take(
    connection: &mut Connection,
    name: &str,
    holder: InstanceId,
    now: Micros,
    length: i64,
) -> Result<Option<Lease>> {
    let now = database_clock(connection)?.unwrap_or(now);
    let until = Micros(now.0.saturating_add(length));
    let own = Id16::from(holder);
    let found: Option<(Id16, i64, Micros)> = on!(connection, c => lease::table
        .find(name)
        .select((lease::holder, lease::epoch, lease::until))
        .first(c)
        .optional())?;
    let epoch = match found {
        Some((by, epoch, _)) if by == own => epoch,
        Some((_, epoch, ends)) if ends <= now => epoch.saturating_add(1),
        Some(_) => return Ok(None),
        None => {
            let made = on!(connection, c => diesel::insert_into(lease::table)
                .values((lease::name.eq(name), lease::holder.eq(own), lease::epoch.eq(1_i64), lease::until.eq(until)))
                .on_conflict_do_nothing()
                .execute(c))?;
            return Ok((made == 1).then(|| Lease { name: name.to_owned(), holder, epoch: 1 }));
        }
    };
    let seen = found.map_or(0, |(_, epoch, _)| epoch);
    let taken = on!(connection, c => diesel::update(lease::table.filter(lease::name.eq(name).and(lease::epoch.eq(seen))))
        .set((lease::holder.eq(own), lease::epoch.eq(epoch), lease::until.eq(until)))
        .execute(c))?;
    Ok((taken == 1).then(|| Lease { name: name.to_owned(), holder, epoch }))
}

/// Whether a lease is still its holder's: nobody took it since. Time is not asked: a lease that ran
/// out and that nobody wants is still held.
///
/// # Errors
/// When the store cannot be read.
pub fn is_held(connection: &mut Connection, held: &Lease) -> Result<bool> {
    let found: Option<(Id16, i64)> =
        on!(connection, c => lease::table.find(&held.name).select((lease::holder, lease::epoch)).first(c).optional())?;
    Ok(found == Some((Id16::from(held.holder), held.epoch)))
}

/// Gives a lease back, so that nobody has to wait for its end.
///
/// # Errors
/// When the store cannot be written.
pub fn give_back(connection: &mut Connection, held: &Lease) -> Result<()> {
    on!(connection, c => diesel::update(lease::table.filter(lease::name.eq(&held.name)
            .and(lease::holder.eq(Id16::from(held.holder)))
            .and(lease::epoch.eq(held.epoch))))
        .set(lease::until.eq(Micros(0)))
        .execute(c))?;
    Ok(())
}

/// The clock that the instances share, where they share one.
pub(super) fn database_clock(connection: &mut Connection) -> Result<Option<Micros>> {
    match connection {
        Connection::Sqlite(_) => Ok(None),
        Connection::Postgres(c) => diesel::select(diesel::dsl::sql::<Instant>("clock_timestamp()"))
            .get_result(c)
            .map(Some)
            .map_err(Error::from),
    }
}
