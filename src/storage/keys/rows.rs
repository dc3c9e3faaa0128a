//! The keys of people, and of the cases, packages, documents and tasks about them.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Integer, SmallInt, Text};

use crate::storage::backend::{bulk_insert, on};
use crate::storage::sql_types::{Id16, Instant, Micros, Uuid16};
use crate::storage::{Connection, Error, Result};

use super::schema::{audit_key, owned_key, subject_key};
use super::tombstones::erased_whole;

/// A person's data key, wrapped.
#[derive(Clone)]
pub struct StoredSubjectKey {
    /// Whose it is.
    pub subject: Id16,
    /// Its version, from 1.
    pub version: u32,
    /// The KEK it is wrapped under.
    pub kek_version: u32,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Micros,
}

/// An audit key, wrapped.
#[derive(Clone)]
pub struct StoredAuditKey {
    /// Its id, which sealed parts name.
    pub id: Id16,
    /// 1 subject, 2 officer, 3 installation.
    pub holder_kind: i16,
    /// The holder.
    pub holder: Id16,
    /// Class of the events it seals.
    pub class: i16,
    /// The KEK it is wrapped under.
    pub kek_version: u32,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Micros,
}

/// A key of a case, a package, a document or a task, wrapped.
#[derive(Clone)]
pub struct StoredOwnedKey {
    /// Its id.
    pub id: Id16,
    /// `case`, `request-package`, `document`, `task`.
    pub purpose: String,
    /// What it belongs to.
    pub owner: Id16,
    /// Its version.
    pub version: u32,
    /// The KEK it is wrapped under.
    pub kek_version: u32,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Micros,
}

pub(super) fn number(version: u32) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

pub(super) fn version(number: i32) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::Malformed { table: "key store" })
}

bulk_insert! {
    pub(super) fn insert_subject_key_rows(row: StoredSubjectKey) into subject_key {
        subject: Uuid16 = row.subject,
        version: Integer = number(row.version),
        kek_version: Integer = number(row.kek_version),
        wrapped: Binary = row.wrapped.as_slice(),
        created_at: Instant = row.created_at,
    }
}

bulk_insert! {
    pub(super) fn insert_audit_key_rows(row: StoredAuditKey) into audit_key {
        id: Uuid16 = row.id,
        holder_kind: SmallInt = row.holder_kind,
        holder: Uuid16 = row.holder,
        class: SmallInt = row.class,
        kek_version: Integer = number(row.kek_version),
        wrapped: Binary = row.wrapped.as_slice(),
        created_at: Instant = row.created_at,
    }
}

bulk_insert! {
    pub(super) fn insert_owned_key_rows(row: StoredOwnedKey) into owned_key {
        id: Uuid16 = row.id,
        purpose: Text = row.purpose.as_str(),
        owner: Uuid16 = row.owner,
        version: Integer = number(row.version),
        kek_version: Integer = number(row.kek_version),
        wrapped: Binary = row.wrapped.as_slice(),
        created_at: Instant = row.created_at,
    }
}

/// Writes data keys. A subject that was erased as a whole gets none.
///
/// # Errors
/// [`Error::Refused`] for an erased subject; when the store cannot be written.
pub fn insert_subject_keys(connection: &mut Connection, rows: &[StoredSubjectKey]) -> Result<()> {
    for row in rows {
        if erased_whole(connection, row.subject)? {
            return Err(Error::Refused("no key is made for an erased person"));
        }
    }
    insert_subject_key_rows(connection, &rows.iter().collect::<Vec<_>>())
}

/// Writes audit keys. A holder that was erased as a whole gets none.
///
/// # Errors
/// [`Error::Refused`] for an erased holder; when the store cannot be written.
pub fn insert_audit_keys(connection: &mut Connection, rows: &[StoredAuditKey]) -> Result<()> {
    for row in rows {
        if erased_whole(connection, row.holder)? {
            return Err(Error::Refused("no key is made for an erased person"));
        }
    }
    insert_audit_key_rows(connection, &rows.iter().collect::<Vec<_>>())
}

/// Writes keys of cases, packages, documents and tasks.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_owned_keys(connection: &mut Connection, rows: &[StoredOwnedKey]) -> Result<()> {
    insert_owned_key_rows(connection, &rows.iter().collect::<Vec<_>>())
}

/// One version of a person's data key.
///
/// # Errors
/// When the store cannot be read.
pub fn subject_key(connection: &mut Connection, subject: Id16, key_version: u32) -> Result<Option<StoredSubjectKey>> {
    let row: Option<DekRow> = on!(connection, c => subject_key::table
        .find((subject, number(key_version)))
        .select((subject_key::subject, subject_key::version, subject_key::kek_version, subject_key::wrapped, subject_key::created_at))
        .first(c)
        .optional())?;
    row.map(stored_dek).transpose()
}

/// All versions of the data keys of these subjects.
///
/// # Errors
/// When the store cannot be read.
pub fn subject_keys(connection: &mut Connection, subjects: &[Id16]) -> Result<Vec<StoredSubjectKey>> {
    let rows: Vec<DekRow> = on!(connection, c => subject_key::table
        .filter(subject_key::subject.eq_any(subjects))
        .order((subject_key::subject, subject_key::version))
        .select((subject_key::subject, subject_key::version, subject_key::kek_version, subject_key::wrapped, subject_key::created_at))
        .load(c))?;
    rows.into_iter().map(stored_dek).collect()
}

/// A page of all data keys, for sweeping keys without a subject.
///
/// # Errors
/// When the store cannot be read.
pub fn subject_key_page(connection: &mut Connection, after: Id16, limit: i64) -> Result<Vec<StoredSubjectKey>> {
    let rows: Vec<DekRow> = on!(connection, c => subject_key::table
        .filter(subject_key::subject.gt(after))
        .order((subject_key::subject, subject_key::version))
        .limit(limit)
        .select((subject_key::subject, subject_key::version, subject_key::kek_version, subject_key::wrapped, subject_key::created_at))
        .load(c))?;
    rows.into_iter().map(stored_dek).collect()
}

type DekRow = (Id16, i32, i32, Vec<u8>, Micros);

fn stored_dek((subject, key_version, kek_version, wrapped, created_at): DekRow) -> Result<StoredSubjectKey> {
    Ok(StoredSubjectKey {
        subject,
        version: version(key_version)?,
        kek_version: version(kek_version)?,
        wrapped,
        created_at,
    })
}

/// Destroys the data keys of a subject, all versions or only those below `below`.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_subject_keys(connection: &mut Connection, subject: Id16, below: Option<u32>) -> Result<usize> {
    let below = below.map_or(i32::MAX, number);
    Ok(
        on!(connection, c => diesel::delete(subject_key::table.filter(subject_key::subject.eq(subject).and(subject_key::version.lt(below).or(subject_key::version.eq(i32::MAX)))))
        .execute(c))?,
    )
}

/// Destroys one version of a subject's data key.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_subject_key(connection: &mut Connection, subject: Id16, key_version: u32) -> Result<usize> {
    Ok(on!(connection, c => diesel::delete(subject_key::table.find((subject, number(key_version)))).execute(c))?)
}

/// Destroys one audit key.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_audit_key(connection: &mut Connection, id: Id16) -> Result<usize> {
    Ok(on!(connection, c => diesel::delete(audit_key::table.find(id)).execute(c))?)
}

/// The audit keys of a holder.
///
/// # Errors
/// When the store cannot be read.
pub fn audit_keys_of(connection: &mut Connection, holder_kind: i16, holder: Id16) -> Result<Vec<StoredAuditKey>> {
    let rows: Vec<AuditRow> = on!(connection, c => audit_key::table
        .filter(audit_key::holder_kind.eq(holder_kind).and(audit_key::holder.eq(holder)))
        .order(audit_key::class)
        .select((audit_key::id, audit_key::holder_kind, audit_key::holder, audit_key::class, audit_key::kek_version, audit_key::wrapped, audit_key::created_at))
        .load(c))?;
    rows.into_iter().map(stored_audit).collect()
}

/// The audit keys with these ids.
///
/// # Errors
/// When the store cannot be read.
pub fn audit_keys_by_ids(connection: &mut Connection, ids: &[Id16]) -> Result<Vec<StoredAuditKey>> {
    let rows: Vec<AuditRow> = on!(connection, c => audit_key::table
        .filter(audit_key::id.eq_any(ids))
        .select((audit_key::id, audit_key::holder_kind, audit_key::holder, audit_key::class, audit_key::kek_version, audit_key::wrapped, audit_key::created_at))
        .load(c))?;
    rows.into_iter().map(stored_audit).collect()
}

/// A page of all audit keys of people, by id.
///
/// # Errors
/// When the store cannot be read.
pub fn audit_key_page(connection: &mut Connection, after: Id16, limit: i64) -> Result<Vec<StoredAuditKey>> {
    let rows: Vec<AuditRow> = on!(connection, c => audit_key::table
        .filter(audit_key::id.gt(after).and(audit_key::holder_kind.eq(1_i16)))
        .order(audit_key::id)
        .limit(limit)
        .select((audit_key::id, audit_key::holder_kind, audit_key::holder, audit_key::class, audit_key::kek_version, audit_key::wrapped, audit_key::created_at))
        .load(c))?;
    rows.into_iter().map(stored_audit).collect()
}

type AuditRow = (Id16, i16, Id16, i16, i32, Vec<u8>, Micros);

fn stored_audit(
    (id, holder_kind, holder, class, kek_version, wrapped, created_at): AuditRow,
) -> Result<StoredAuditKey> {
    Ok(StoredAuditKey { id, holder_kind, holder, class, kek_version: version(kek_version)?, wrapped, created_at })
}

/// Destroys the audit keys of a holder.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_audit_keys(connection: &mut Connection, holder_kind: i16, holder: Id16) -> Result<usize> {
    Ok(
        on!(connection, c => diesel::delete(audit_key::table.filter(audit_key::holder_kind.eq(holder_kind).and(audit_key::holder.eq(holder))))
        .execute(c))?,
    )
}

/// A key of a case, package, document or task.
///
/// # Errors
/// When the store cannot be read.
pub fn owned_key(connection: &mut Connection, id: Id16) -> Result<Option<StoredOwnedKey>> {
    let row: Option<(Id16, String, Id16, i32, i32, Vec<u8>, Micros)> = on!(connection, c => owned_key::table
        .find(id)
        .select((owned_key::id, owned_key::purpose, owned_key::owner, owned_key::version, owned_key::kek_version, owned_key::wrapped, owned_key::created_at))
        .first(c)
        .optional())?;
    row.map(|(id, purpose, owner, key_version, kek_version, wrapped, created_at)| {
        Ok(StoredOwnedKey {
            id,
            purpose,
            owner,
            version: version(key_version)?,
            kek_version: version(kek_version)?,
            wrapped,
            created_at,
        })
    })
    .transpose()
}

/// Destroys a key of a case, package, document or task.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_owned_key(connection: &mut Connection, id: Id16) -> Result<usize> {
    Ok(on!(connection, c => diesel::delete(owned_key::table.find(id)).execute(c))?)
}

/// Destroys all keys of these owners.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_owned_keys_of(connection: &mut Connection, owners: &[Id16]) -> Result<usize> {
    Ok(on!(connection, c => diesel::delete(owned_key::table.filter(owned_key::owner.eq_any(owners))).execute(c))?)
}
