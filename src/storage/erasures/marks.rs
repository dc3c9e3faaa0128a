//! What outlives an erasure: keyed marks of erased people, and the suppression list.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::schema::{late_event, suppression};
use crate::storage::{Connection, Micros, Result};

/// A keyed mark of an erased person's identifier: an event older than the erasure is recognised.
#[derive(Clone, Debug)]
pub struct LateEventMark {
    /// The keyed value.
    pub value: [u8; 32],
    /// When the person was erased.
    pub erased_at: Micros,
    /// Version of the suppression secret.
    pub secret_version: u32,
}

/// A keyed entry of the suppression list.
#[derive(Clone, Debug)]
pub struct Suppression {
    /// The keyed value.
    pub value: [u8; 32],
    /// `direct_marketing` or a purpose.
    pub scope: String,
    /// Spelling of the identifier's kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Version of the secret it was made with.
    pub base_version: u32,
    /// Version of the secret that covers it now.
    pub top_version: u32,
    /// Day it was made, `YYYY-MM-DD`.
    pub day: String,
    /// Why.
    pub reason: String,
    /// Day of review.
    pub review: String,
}

/// Writes marks; one that stands keeps the later instant.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_marks(connection: &mut Connection, marks: &[LateEventMark]) -> Result<()> {
    for mark in marks {
        on!(connection, c => diesel::delete(late_event::table.find(&mark.value[..])).execute(c))?;
        on!(connection, c => diesel::insert_into(late_event::table)
            .values((
                late_event::value.eq(&mark.value[..]),
                late_event::erased_at.eq(mark.erased_at),
                late_event::secret_version.eq(i32::try_from(mark.secret_version).unwrap_or(i32::MAX)),
            ))
            .execute(c))?;
    }
    Ok(())
}

/// When the person behind one of these marks was erased, if any was.
///
/// # Errors
/// When the store cannot be read.
pub fn erased_at(connection: &mut Connection, values: &[[u8; 32]]) -> Result<Option<Micros>> {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    Ok(on!(connection, c => late_event::table
        .filter(late_event::value.eq_any(values))
        .select(diesel::dsl::max(late_event::erased_at))
        .first(c))?)
}

/// Whether the store holds any mark of an erased person at all.
///
/// # Errors
/// When the store cannot be read.
pub fn any_mark(connection: &mut Connection) -> Result<bool> {
    let found: Option<Vec<u8>> = on!(connection, c => late_event::table.select(late_event::value).first(c).optional())?;
    Ok(found.is_some())
}

/// Adds entries to the suppression list; one that stands stays.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_suppressions(connection: &mut Connection, entries: &[Suppression]) -> Result<()> {
    for entry in entries {
        on!(connection, c => diesel::insert_into(suppression::table)
            .values((
                suppression::value.eq(&entry.value[..]),
                suppression::scope.eq(&entry.scope),
                suppression::kind.eq(&entry.kind),
                suppression::namespace.eq(&entry.namespace),
                suppression::base_version.eq(i32::try_from(entry.base_version).unwrap_or(i32::MAX)),
                suppression::top_version.eq(i32::try_from(entry.top_version).unwrap_or(i32::MAX)),
                suppression::normaliser.eq(1_i32),
                suppression::day.eq(&entry.day),
                suppression::reason.eq(&entry.reason),
                suppression::review.eq(&entry.review),
            ))
            .on_conflict_do_nothing()
            .execute(c))?;
    }
    Ok(())
}

/// Whether one of these keyed values is on the list for this scope.
///
/// # Errors
/// When the store cannot be read.
pub fn is_suppressed(connection: &mut Connection, values: &[[u8; 32]], scope: &str) -> Result<bool> {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    let found: Option<Vec<u8>> = on!(connection, c => suppression::table
        .filter(suppression::value.eq_any(values).and(suppression::scope.eq(scope)))
        .select(suppression::value)
        .first(c)
        .optional())?;
    Ok(found.is_some())
}

/// Takes values off the list for a scope: a newer consent of the person ends it.
///
/// # Errors
/// When the store cannot be written.
pub fn lift_suppressions(connection: &mut Connection, values: &[[u8; 32]], scope: &str) -> Result<usize> {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    Ok(
        on!(connection, c => diesel::delete(suppression::table.filter(suppression::value.eq_any(values).and(suppression::scope.eq(scope)))).execute(c))?,
    )
}
