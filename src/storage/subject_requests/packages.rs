//! Access packages: the sealed copy that answers a request, until it is fetched or over.

use diesel::prelude::*;

use crate::domain::id::{EntryId, FileId, SubjectId, SubjectRequestId};
use crate::storage::backend::on;
use crate::storage::schema::package;
use crate::storage::sql_types::{Id16, Micros};
use crate::storage::{Connection, Error, Result};

/// An access package.
#[derive(Clone)]
pub struct StoredPackage {
    /// Its id, which is the id of its sealed file.
    pub id: FileId,
    /// The request it answers.
    pub request: SubjectRequestId,
    /// Whose it is; `None`: nobody was found.
    pub subject: Option<SubjectId>,
    /// Id of its key.
    pub key: [u8; 16],
    /// SHA-256 of its content.
    pub manifest_hash: [u8; 32],
    /// The sealed file.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub made_at: Micros,
    /// When it goes.
    pub expires_at: Micros,
    /// When it was handed over first.
    pub fetched_at: Option<Micros>,
}

/// Stores a package.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_package(connection: &mut Connection, row: &StoredPackage, entry: EntryId) -> Result<()> {
    on!(connection, c => diesel::insert_into(package::table)
        .values((
            package::id.eq(Id16::from(row.id)),
            package::request.eq(Id16::from(row.request)),
            package::subject.eq(row.subject.map(Id16::from)),
            package::key.eq(Id16(row.key)),
            package::manifest_hash.eq(&row.manifest_hash[..]),
            package::sealed.eq(&row.sealed),
            package::made_at.eq(row.made_at),
            package::expires_at.eq(row.expires_at),
            package::fetched_at.eq(row.fetched_at),
            package::entry.eq(Id16::from(entry)),
        ))
        .execute(c))?;
    Ok(())
}

/// The package of a request.
///
/// # Errors
/// When the store cannot be read or the row is malformed.
pub fn package(connection: &mut Connection, request: SubjectRequestId) -> Result<Option<StoredPackage>> {
    let row: Option<PackageRow> = on!(connection, c => package::table
        .filter(package::request.eq(Id16::from(request)))
        .select(PackageRow::as_select())
        .first(c)
        .optional())?;
    row.map(stored_package).transpose()
}

/// Ids of the packages of these subjects, each with the id of its key.
///
/// # Errors
/// When the store cannot be read.
pub fn package_keys_of(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<Id16>> {
    let keys: Vec<Option<Id16>> = subjects.iter().copied().map(|id| Some(Id16::from(id))).collect();
    Ok(on!(connection, c => package::table.filter(package::subject.eq_any(keys)).select(package::key).load(c))?)
}

/// Packages whose time is over: id and id of the key.
///
/// # Errors
/// When the store cannot be read.
pub fn expired_packages(connection: &mut Connection, now: Micros, limit: i64) -> Result<Vec<(FileId, Id16)>> {
    let rows: Vec<(Id16, Id16)> = on!(connection, c => package::table
        .filter(package::expires_at.le(now))
        .select((package::id, package::key))
        .limit(limit)
        .load(c))?;
    Ok(rows.into_iter().map(|(id, key)| (id.into(), key)).collect())
}

/// Deletes a package.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_package(connection: &mut Connection, id: FileId) -> Result<usize> {
    Ok(on!(connection, c => diesel::delete(package::table.find(Id16::from(id))).execute(c))?)
}

/// Notes that a package was handed over; the first time stays.
///
/// # Errors
/// When the store cannot be written.
pub fn note_fetched(connection: &mut Connection, id: FileId, at: Micros) -> Result<()> {
    on!(connection, c => diesel::update(package::table.filter(package::id.eq(Id16::from(id)).and(package::fetched_at.is_null())))
        .set(package::fetched_at.eq(Some(at)))
        .execute(c))?;
    Ok(())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = package)]
struct PackageRow {
    id: Id16,
    request: Id16,
    subject: Option<Id16>,
    key: Id16,
    manifest_hash: Vec<u8>,
    sealed: Vec<u8>,
    made_at: Micros,
    expires_at: Micros,
    fetched_at: Option<Micros>,
}

fn stored_package(row: PackageRow) -> Result<StoredPackage> {
    Ok(StoredPackage {
        id: row.id.into(),
        request: row.request.into(),
        subject: row.subject.map(Into::into),
        key: row.key.0,
        manifest_hash: row.manifest_hash.try_into().map_err(|_| Error::Malformed { table: "package" })?,
        sealed: row.sealed,
        made_at: row.made_at,
        expires_at: row.expires_at,
        fetched_at: row.fetched_at,
    })
}
