//! Wrapping again: pages of what another version of the root key wraps, and their replacement.
//!
//! A replacement compares what it replaces and never inserts, so a key that was destroyed meanwhile
//! does not come back.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::sql_types::Id16;
use crate::storage::{Connection, Error, Result};

use super::rows::{number, version};
use super::schema::{audit_key, owned_key, secret, subject_key};

/// A kind of wrapped row that a new KEK version must take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrappable {
    /// Secrets of the service.
    Secrets,
    /// Data keys.
    SubjectKeys,
    /// Audit keys.
    AuditKeys,
    /// Keys of cases, packages, documents, tasks.
    OwnedKeys,
}

impl Rewrappable {
    /// Every kind, in the order in which a job takes them.
    pub const ALL: [Self; 4] = [Self::Secrets, Self::SubjectKeys, Self::AuditKeys, Self::OwnedKeys];
}

/// A wrapped row, with what its place needs.
#[derive(Clone)]
pub struct WrappedRow {
    /// Purpose of the key.
    pub purpose: String,
    /// Owner of the key, if it has one.
    pub owner: Option<Id16>,
    /// Id of the row (audit and owned keys).
    pub id: Id16,
    /// Version of the key (audit keys: the class).
    pub version: u32,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
}

/// The last row a job has seen of a kind: its id and its version, the order of the pages. Secrets,
/// a handful, are always one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Id of the row, or the subject.
    pub id: Id16,
    /// Its version.
    pub version: u32,
}

/// How many rows are wrapped under a KEK version.
///
/// # Errors
/// When the store cannot be read.
pub fn wrapped_under(connection: &mut Connection, kek_version: u32) -> Result<i64> {
    let kek_version = number(kek_version);
    let deks: i64 = on!(connection, c => subject_key::table.filter(subject_key::kek_version.eq(kek_version)).count().get_result(c))?;
    let audit: i64 =
        on!(connection, c => audit_key::table.filter(audit_key::kek_version.eq(kek_version)).count().get_result(c))?;
    let own: i64 =
        on!(connection, c => owned_key::table.filter(owned_key::kek_version.eq(kek_version)).count().get_result(c))?;
    let secrets: i64 = on!(connection, c => secret::table
        .filter(secret::kek_version.eq(kek_version).and(secret::state.ne("destroyed")))
        .count()
        .get_result(c))?;
    Ok(deks + audit + own + secrets)
}

/// How many rows are wrapped under any other KEK version than this.
///
/// # Errors
/// When the store cannot be read.
pub fn count_to_rewrap(connection: &mut Connection, kek_version: u32) -> Result<i64> {
    let kek_version = number(kek_version);
    let deks: i64 = on!(connection, c => subject_key::table.filter(subject_key::kek_version.ne(kek_version)).count().get_result(c))?;
    let audit: i64 =
        on!(connection, c => audit_key::table.filter(audit_key::kek_version.ne(kek_version)).count().get_result(c))?;
    let own: i64 =
        on!(connection, c => owned_key::table.filter(owned_key::kek_version.ne(kek_version)).count().get_result(c))?;
    let secrets: i64 = on!(connection, c => secret::table
        .filter(secret::kek_version.ne(kek_version).and(secret::state.ne("destroyed")))
        .count()
        .get_result(c))?;
    Ok(deks + audit + own + secrets)
}

/// Up to `limit` rows of a kind after `after` that are not wrapped under `kek_version` yet.
///
/// # Errors
/// When the store cannot be read.
pub fn page_to_rewrap(
    connection: &mut Connection,
    kind: Rewrappable,
    kek_version: u32,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<WrappedRow>> {
    let target = number(kek_version);
    let (id, at) = after.map_or((Id16([0; 16]), -1), |cursor| (cursor.id, number(cursor.version)));
    match kind {
        Rewrappable::Secrets => {
            if after.is_some() {
                return Ok(Vec::new());
            }
            let rows: Vec<(String, i32, Vec<u8>)> = on!(connection, c => secret::table
                .filter(secret::kek_version.ne(target).and(secret::state.ne("destroyed")))
                .order((secret::purpose, secret::version))
                .select((secret::purpose, secret::version, secret::wrapped))
                .load(c))?;
            rows.into_iter()
                .map(|(purpose, key_version, wrapped)| {
                    Ok(WrappedRow { purpose, owner: None, id: Id16([0; 16]), version: version(key_version)?, wrapped })
                })
                .collect()
        }
        Rewrappable::SubjectKeys => {
            let rows: Vec<(Id16, i32, Vec<u8>)> = on!(connection, c => subject_key::table
                .filter(subject_key::kek_version.ne(target))
                .filter(subject_key::subject.gt(id).or(subject_key::subject.eq(id).and(subject_key::version.gt(at))))
                .order((subject_key::subject, subject_key::version))
                .limit(limit)
                .select((subject_key::subject, subject_key::version, subject_key::wrapped))
                .load(c))?;
            rows.into_iter()
                .map(|(subject, key_version, wrapped)| {
                    Ok(WrappedRow {
                        purpose: "dek".to_owned(),
                        owner: Some(subject),
                        id: subject,
                        version: version(key_version)?,
                        wrapped,
                    })
                })
                .collect()
        }
        Rewrappable::AuditKeys => {
            let rows: Vec<(Id16, Id16, i16, Vec<u8>)> = on!(connection, c => audit_key::table
                .filter(audit_key::kek_version.ne(target).and(audit_key::id.gt(id)))
                .order(audit_key::id)
                .limit(limit)
                .select((audit_key::id, audit_key::holder, audit_key::class, audit_key::wrapped))
                .load(c))?;
            rows.into_iter()
                .map(|(id, holder, class, wrapped)| {
                    Ok(WrappedRow {
                        purpose: "audit".to_owned(),
                        owner: Some(holder),
                        id,
                        version: version(i32::from(class))?,
                        wrapped,
                    })
                })
                .collect()
        }
        Rewrappable::OwnedKeys => {
            let rows: Vec<(Id16, String, Id16, i32, Vec<u8>)> = on!(connection, c => owned_key::table
                .filter(owned_key::kek_version.ne(target).and(owned_key::id.gt(id)))
                .order(owned_key::id)
                .limit(limit)
                .select((owned_key::id, owned_key::purpose, owned_key::owner, owned_key::version, owned_key::wrapped))
                .load(c))?;
            rows.into_iter()
                .map(|(id, purpose, owner, key_version, wrapped)| {
                    Ok(WrappedRow { purpose, owner: Some(owner), id, version: version(key_version)?, wrapped })
                })
                .collect()
        }
    }
}

/// Replaces the wrapped form of a key, comparing what it replaces. True if it was replaced.
///
/// # Errors
/// When the store cannot be written.
pub fn replace_wrapped(
    connection: &mut Connection,
    kind: Rewrappable,
    old: &WrappedRow,
    wrapped: &[u8],
    kek_version: u32,
) -> Result<bool> {
    let target = number(kek_version);
    if wrapped.len() != old.wrapped.len() {
        return Err(Error::Malformed { table: "key store" });
    }
    let replaced = match kind {
        Rewrappable::SubjectKeys => on!(connection, c => diesel::update(subject_key::table
                .filter(subject_key::subject.eq(old.id).and(subject_key::version.eq(number(old.version))).and(subject_key::wrapped.eq(&old.wrapped))))
            .set((subject_key::wrapped.eq(wrapped), subject_key::kek_version.eq(target)))
            .execute(c))?,
        Rewrappable::AuditKeys => on!(connection, c => diesel::update(audit_key::table
                .filter(audit_key::id.eq(old.id).and(audit_key::wrapped.eq(&old.wrapped))))
            .set((audit_key::wrapped.eq(wrapped), audit_key::kek_version.eq(target)))
            .execute(c))?,
        Rewrappable::OwnedKeys => on!(connection, c => diesel::update(owned_key::table
                .filter(owned_key::id.eq(old.id).and(owned_key::wrapped.eq(&old.wrapped))))
            .set((owned_key::wrapped.eq(wrapped), owned_key::kek_version.eq(target)))
            .execute(c))?,
        Rewrappable::Secrets => on!(connection, c => diesel::update(secret::table
                .filter(secret::purpose.eq(&old.purpose).and(secret::version.eq(number(old.version))).and(secret::wrapped.eq(&old.wrapped))))
            .set((secret::wrapped.eq(wrapped), secret::kek_version.eq(target)))
            .execute(c))?,
    };
    Ok(replaced == 1)
}
