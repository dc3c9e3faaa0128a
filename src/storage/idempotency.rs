//! Answers kept so that a repeated call gets the same one, for a day.
//!
//! A row is written in the commit of the change that it answers, so a call either happened and is
//! remembered or neither. Nothing here says who somebody is: the mark and the hash of the body are
//! keyed, and the answer holds ids, purposes and states.

use diesel::prelude::*;

use crate::domain::id::SubjectId;

use super::backend::on;
use super::schema::idempotency;
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result};

/// How long an answer is kept, in microseconds.
pub const KEPT_MICROSECONDS: i64 = 24 * 3_600 * 1_000_000;

/// An answer as it is kept.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    /// Keyed mark of the key and the caller who gave it.
    pub mark: [u8; 32],
    /// Keyed hash of the body that it came with.
    pub body_hash: [u8; 32],
    /// The person it is about, so that an erasure finds it.
    pub subject: Option<SubjectId>,
    /// What kind of answer it was; the use-case's own numbering.
    pub status: i32,
    /// The answer without personal data, JSON.
    pub answer: String,
    /// When it was given.
    pub at: Micros,
}

/// Keeps an answer. False: an answer younger than a day stands under this mark already.
///
/// # Errors
/// When the store cannot be written.
pub fn insert(connection: &mut Connection, row: &KeptAnswer) -> Result<bool> {
    let ended = Micros(row.at.0.saturating_sub(KEPT_MICROSECONDS));
    on!(connection, c => diesel::delete(idempotency::table.filter(idempotency::mark.eq(&row.mark[..]).and(idempotency::at.le(ended))))
        .execute(c))?;
    let inserted = on!(connection, c => diesel::insert_into(idempotency::table)
        .values((
            idempotency::mark.eq(&row.mark[..]),
            idempotency::body_hash.eq(&row.body_hash[..]),
            idempotency::subject.eq(row.subject.map(Id16::from)),
            idempotency::status.eq(row.status),
            idempotency::answer.eq(&row.answer),
            idempotency::at.eq(row.at),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(inserted == 1)
}

/// The answer under this mark, if it is younger than a day at `now`.
///
/// # Errors
/// When the store cannot be read or the row is malformed.
pub fn find(connection: &mut Connection, mark: &[u8; 32], now: Micros) -> Result<Option<KeptAnswer>> {
    let ended = Micros(now.0.saturating_sub(KEPT_MICROSECONDS));
    type Row = (Vec<u8>, Option<Id16>, i32, String, Micros);
    let row: Option<Row> = on!(connection, c => idempotency::table
        .find(&mark[..])
        .filter(idempotency::at.gt(ended))
        .select((idempotency::body_hash, idempotency::subject, idempotency::status, idempotency::answer, idempotency::at))
        .first(c)
        .optional())?;
    row.map(|(body_hash, subject, status, answer, at)| {
        let body_hash = body_hash.try_into().map_err(|_| Error::Malformed { table: "idempotency" })?;
        Ok(KeptAnswer { mark: *mark, body_hash, subject: subject.map(Into::into), status, answer, at })
    })
    .transpose()
}

/// Forgets answers given at or before this instant, at most `limit`, for the housekeeping.
///
/// # Errors
/// When the store cannot be written.
pub fn expire(connection: &mut Connection, before: Micros, limit: i64) -> Result<usize> {
    let marks: Vec<Vec<u8>> = on!(connection, c => idempotency::table
        .filter(idempotency::at.le(before))
        .order(idempotency::at)
        .select(idempotency::mark)
        .limit(limit)
        .load(c))?;
    Ok(on!(connection, c => diesel::delete(idempotency::table.filter(idempotency::mark.eq_any(marks))).execute(c))?)
}
