//! The rows of the key store.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Integer, SmallInt, Text};

use crate::storage::backend::{bulk_insert, on};
use crate::storage::sql_types::{Id16, Instant, Micros, Uuid16};
use crate::storage::{Connection, Error, Result};

use super::schema::{audit_key, kek, key_tombstone, last_signed, owned_key, secret, subject_key};

/// A version of the root key, as the store knows it: never the key.
#[derive(Clone, Debug)]
pub struct StoredKek {
    /// Its version.
    pub version: u32,
    /// `staged`, `active`, `retired`, `destroyed`.
    pub state: String,
    /// The commitment by which the key is recognised.
    pub commitment: Vec<u8>,
    /// When it was made.
    pub created_at: Micros,
    /// When it was retired.
    pub retired_at: Option<Micros>,
}

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

/// A secret of the service, wrapped.
#[derive(Clone)]
pub struct StoredSecret {
    /// What it is for.
    pub purpose: String,
    /// Its version.
    pub version: u32,
    /// The KEK it is wrapped under.
    pub kek_version: u32,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// `building`, `current`, `previous`, `destroyed`.
    pub state: String,
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

/// That a key was destroyed.
#[derive(Clone, Debug)]
pub struct StoredTombstone {
    /// `dek` or `audit`.
    pub purpose: String,
    /// Whose key it was.
    pub holder: Id16,
    /// Its version (audit keys: the class).
    pub version: u32,
    /// Its fingerprint.
    pub commitment: [u8; 32],
    /// Whether the person was erased as a whole.
    pub whole: bool,
    /// When.
    pub erased_at: Micros,
}

/// What the log's key signed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSigned {
    /// Size of the log.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
    /// The signed note.
    pub note: String,
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

/// Whether this version of a person's data key was destroyed.
///
/// # Errors
/// When the store cannot be read.
pub fn destroyed(connection: &mut Connection, subject: Id16, key_version: u32) -> Result<bool> {
    let found: Option<i16> = on!(connection, c => key_tombstone::table
        .find(("dek", subject, number(key_version)))
        .select(key_tombstone::whole)
        .first(c)
        .optional())?;
    Ok(found.is_some())
}

/// Whether a subject was erased as a whole.
///
/// # Errors
/// When the store cannot be read.
pub fn erased_whole(connection: &mut Connection, holder: Id16) -> Result<bool> {
    let found: Option<i16> = on!(connection, c => key_tombstone::table
        .filter(key_tombstone::holder.eq(holder).and(key_tombstone::whole.eq(1_i16)))
        .select(key_tombstone::whole)
        .first(c)
        .optional())?;
    Ok(found.is_some())
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

/// Sets tombstones; one that stands stays.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_tombstones(connection: &mut Connection, rows: &[StoredTombstone]) -> Result<()> {
    for row in rows {
        on!(connection, c => diesel::insert_into(key_tombstone::table)
            .values((
                key_tombstone::purpose.eq(&row.purpose),
                key_tombstone::holder.eq(row.holder),
                key_tombstone::version.eq(number(row.version)),
                key_tombstone::commitment.eq(&row.commitment[..]),
                key_tombstone::whole.eq(i16::from(row.whole)),
                key_tombstone::erased_at.eq(row.erased_at),
            ))
            .on_conflict_do_nothing()
            .execute(c))?;
    }
    Ok(())
}

/// Those of these fingerprints that belong to a key which lives: a key that was destroyed and came
/// back. The commitment is the last 32 bytes of a wrapped key.
///
/// # Errors
/// When the store cannot be read.
pub fn fingerprints_alive(connection: &mut Connection) -> Result<Vec<Id16>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Uuid16)]
        holder: Id16,
    }
    let sql = match connection {
        Connection::Sqlite(_) => {
            "SELECT k.subject AS holder FROM subject_key k JOIN key_tombstone t ON t.commitment = substr(k.wrapped, 67, 32) \
             UNION SELECT k.holder FROM audit_key k JOIN key_tombstone t ON t.commitment = substr(k.wrapped, 67, 32)"
        }
        Connection::Postgres(_) => {
            "SELECT k.subject AS holder FROM subject_key k JOIN key_tombstone t ON t.commitment = substring(k.wrapped from 67 for 32) \
             UNION SELECT k.holder FROM audit_key k JOIN key_tombstone t ON t.commitment = substring(k.wrapped from 67 for 32)"
        }
    };
    let rows: Vec<Row> = on!(connection, c => diesel::sql_query(sql).load(c))?;
    Ok(rows.into_iter().map(|row| row.holder).collect())
}

/// The subjects erased as a whole.
///
/// # Errors
/// When the store cannot be read.
pub fn tombstoned_subjects(connection: &mut Connection) -> Result<Vec<Id16>> {
    Ok(on!(connection, c => key_tombstone::table
        .filter(key_tombstone::whole.eq(1_i16).and(key_tombstone::purpose.eq("dek")))
        .select(key_tombstone::holder)
        .distinct()
        .load(c))?)
}

/// The secrets of the service that are not destroyed.
///
/// # Errors
/// When the store cannot be read.
pub fn secrets(connection: &mut Connection) -> Result<Vec<StoredSecret>> {
    let rows: Vec<(String, i32, i32, Vec<u8>, String, Micros)> = on!(connection, c => secret::table
        .filter(secret::state.ne("destroyed"))
        .order((secret::purpose, secret::version))
        .select((secret::purpose, secret::version, secret::kek_version, secret::wrapped, secret::state, secret::created_at))
        .load(c))?;
    rows.into_iter()
        .map(|(purpose, key_version, kek_version, wrapped, state, created_at)| {
            Ok(StoredSecret {
                purpose,
                version: version(key_version)?,
                kek_version: version(kek_version)?,
                wrapped,
                state,
                created_at,
            })
        })
        .collect()
}

/// Writes a secret; one that stands stays.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_secret(connection: &mut Connection, row: &StoredSecret) -> Result<()> {
    on!(connection, c => diesel::insert_into(secret::table)
        .values((
            secret::purpose.eq(&row.purpose),
            secret::version.eq(number(row.version)),
            secret::kek_version.eq(number(row.kek_version)),
            secret::wrapped.eq(&row.wrapped),
            secret::state.eq(&row.state),
            secret::created_at.eq(row.created_at),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Changes the state of a secret.
///
/// # Errors
/// When the store cannot be written.
pub fn set_secret_state(connection: &mut Connection, purpose: &str, key_version: u32, state: &str) -> Result<()> {
    on!(connection, c => diesel::update(secret::table.find((purpose, number(key_version)))).set(secret::state.eq(state)).execute(c))?;
    Ok(())
}

/// The versions of the root key.
///
/// # Errors
/// When the store cannot be read.
pub fn keks(connection: &mut Connection) -> Result<Vec<StoredKek>> {
    let rows: Vec<(i32, String, Vec<u8>, Micros, Option<Micros>)> = on!(connection, c => kek::table
        .order(kek::version)
        .select((kek::version, kek::state, kek::commitment, kek::created_at, kek::retired_at))
        .load(c))?;
    rows.into_iter()
        .map(|(key_version, state, commitment, created_at, retired_at)| {
            Ok(StoredKek { version: version(key_version)?, state, commitment, created_at, retired_at })
        })
        .collect()
}

/// Writes a version of the root key; one that stands stays.
///
/// # Errors
/// When the store cannot be written.
pub fn insert_kek(connection: &mut Connection, row: &StoredKek) -> Result<()> {
    on!(connection, c => diesel::insert_into(kek::table)
        .values((
            kek::version.eq(number(row.version)),
            kek::state.eq(&row.state),
            kek::commitment.eq(&row.commitment),
            kek::wraps.eq(0_i64),
            kek::created_at.eq(row.created_at),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Changes the state of a version of the root key.
///
/// # Errors
/// When the store cannot be written.
pub fn set_kek_state(connection: &mut Connection, key_version: u32, state: &str, at: Micros) -> Result<()> {
    on!(connection, c => diesel::update(kek::table.find(number(key_version))).set(kek::state.eq(state)).execute(c))?;
    match state {
        "retired" => {
            on!(connection, c => diesel::update(kek::table.find(number(key_version))).set(kek::retired_at.eq(Some(at))).execute(c))?;
        }
        "destroyed" => {
            on!(connection, c => diesel::update(kek::table.find(number(key_version))).set(kek::destroyed_at.eq(Some(at))).execute(c))?;
        }
        _ => {}
    }
    Ok(())
}

/// What the log's key signed last.
///
/// # Errors
/// When the store cannot be read.
pub fn last_signed(connection: &mut Connection) -> Result<Option<LastSigned>> {
    let row: Option<(i64, Vec<u8>, String)> = on!(connection, c => last_signed::table.find(1_i16).select((last_signed::size, last_signed::root, last_signed::note)).first(c).optional())?;
    row.map(|(size, root, note)| {
        let malformed = || Error::Malformed { table: "last_signed" };
        Ok(LastSigned {
            size: u64::try_from(size).map_err(|_| malformed())?,
            root: root.try_into().map_err(|_| malformed())?,
            note,
        })
    })
    .transpose()
}

/// Replaces what was signed last, if it still is what the caller saw. False: another instance was
/// faster.
///
/// # Errors
/// When the store cannot be written.
pub fn compare_and_sign(connection: &mut Connection, seen: Option<&LastSigned>, next: &LastSigned) -> Result<bool> {
    let size = i64::try_from(next.size).unwrap_or(i64::MAX);
    let changed = match seen {
        None => on!(connection, c => diesel::insert_into(last_signed::table)
            .values((last_signed::log.eq(1_i16), last_signed::size.eq(size), last_signed::root.eq(&next.root[..]), last_signed::note.eq(&next.note)))
            .on_conflict_do_nothing()
            .execute(c))?,
        Some(seen) => on!(connection, c => diesel::update(last_signed::table.filter(last_signed::log.eq(1_i16)
                .and(last_signed::size.eq(i64::try_from(seen.size).unwrap_or(i64::MAX)))
                .and(last_signed::root.eq(&seen.root[..]))))
            .set((last_signed::size.eq(size), last_signed::root.eq(&next.root[..]), last_signed::note.eq(&next.note)))
            .execute(c))?,
    };
    Ok(changed == 1)
}
