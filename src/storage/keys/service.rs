//! What belongs to the service and to nobody: the versions of the root key, the secrets, and what the
//! log's key signed last.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::sql_types::Micros;
use crate::storage::{Connection, Error, Result};

use super::rows::{number, version};
use super::schema::{kek, last_signed, secret};

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

/// Destroys versions of a secret that were replaced; of those that are left the oldest is current.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_secrets(connection: &mut Connection, purpose: &str, versions: &[u32]) -> Result<()> {
    let of_purpose = || secret::table.filter(secret::purpose.eq(purpose));
    let versions: Vec<i32> = versions.iter().copied().map(number).collect();
    on!(&mut *connection, c => diesel::delete(of_purpose().filter(secret::version.eq_any(versions.clone()))).execute(c))?;
    let left: Option<i32> =
        on!(&mut *connection, c => of_purpose().select(diesel::dsl::min(secret::version)).first(c))?;
    on!(connection, c => diesel::update(of_purpose().filter(secret::version.nullable().eq(left)))
        .set(secret::state.eq("current"))
        .execute(c))?;
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
