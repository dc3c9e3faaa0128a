//! Who this installation is, and the policy in force.

use diesel::prelude::*;

use crate::domain::id::{EntryId, InstallationId};
use crate::domain::policy::PolicyHash;

use super::backend::on;
use super::schema::{installation, policy_version};
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result, Transaction, audit_log};

/// The installation's id, if the store was ever set up.
///
/// # Errors
/// When the store cannot be read.
pub fn id(connection: &mut Connection) -> Result<Option<InstallationId>> {
    let id: Option<Id16> = on!(connection, c => installation::table.select(installation::id).first(c).optional())?;
    Ok(id.map(Into::into))
}

/// The hash of the policy in force.
///
/// # Errors
/// When the store cannot be read or was never set up.
pub fn policy(connection: &mut Connection) -> Result<PolicyHash> {
    let hash: Vec<u8> = on!(connection, c => installation::table.select(installation::policy).first(c))?;
    Ok(PolicyHash(hash.try_into().map_err(|_| Error::Malformed { table: "installation" })?))
}

/// Sets the store up: the installation's id, no policy yet, an empty log. One transaction. Does
/// nothing if another instance was faster.
///
/// # Errors
/// When the store cannot be written.
pub fn set_up(connection: &mut Connection, id: InstallationId, origin: &str, at: Micros) -> Result<()> {
    connection.execute_script(if matches!(connection, Connection::Sqlite(_)) { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
    let done = (|| {
        if let Connection::Postgres(_) = connection {
            connection.execute_script("SELECT pg_advisory_xact_lock(710023)")?;
        }
        if self::id(connection)?.is_some() {
            return Ok(());
        }
        on!(connection, c => diesel::insert_into(installation::table)
            .values((
                installation::id.eq(Id16::from(id)),
                installation::created_at.eq(at),
                installation::policy.eq(&[0_u8; 32][..]),
            ))
            .execute(c))?;
        audit_log::open(connection, origin)
    })();
    connection.execute_script(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

/// Puts a policy in force: from this commit on, what was decided under another is decided again.
///
/// # Errors
/// When the store cannot be written.
pub fn activate_policy(
    transaction: &mut Transaction<'_>,
    hash: PolicyHash,
    files: &[u8],
    at: Micros,
    entry: EntryId,
) -> Result<()> {
    let connection = transaction.connection();
    let known: Option<Vec<u8>> =
        on!(connection, c => policy_version::table.find(&hash.0[..]).select(policy_version::hash).first(c).optional())?;
    if known.is_none() {
        on!(connection, c => diesel::insert_into(policy_version::table)
            .values((
                policy_version::hash.eq(&hash.0[..]),
                policy_version::files.eq(files),
                policy_version::activated_at.eq(at),
                policy_version::entry.eq(Id16::from(entry)),
            ))
            .execute(c))?;
    }
    on!(connection, c => diesel::update(installation::table).set(installation::policy.eq(&hash.0[..])).execute(c))?;
    transaction.policy = hash;
    Ok(())
}

/// The schema that the log was told of last, as its digest.
///
/// # Errors
/// When the store cannot be read.
pub fn schema_told(connection: &mut Connection) -> Result<Option<Vec<u8>>> {
    Ok(on!(connection, c => installation::table.select(installation::schema_told).first(c))?)
}

/// Remembers that the log is told of this schema.
///
/// # Errors
/// When the store cannot be written.
pub fn note_schema_told(transaction: &mut Transaction<'_>, digest: &[u8; 32]) -> Result<()> {
    on!(transaction.connection(), c => diesel::update(installation::table)
        .set(installation::schema_told.eq(&digest[..]))
        .execute(c))?;
    Ok(())
}

/// The files of a policy that was in force once, in their canonical form.
///
/// # Errors
/// When the store cannot be read.
pub fn policy_files(connection: &mut Connection, hash: PolicyHash) -> Result<Option<Vec<u8>>> {
    Ok(on!(connection, c => policy_version::table
        .find(&hash.0[..])
        .select(policy_version::files)
        .first(c)
        .optional())?)
}

/// When this policy was put in force last.
///
/// # Errors
/// When the store cannot be read.
pub fn policy_activated_at(connection: &mut Connection, hash: PolicyHash) -> Result<Option<Micros>> {
    Ok(on!(connection, c => policy_version::table
        .find(&hash.0[..])
        .select(policy_version::activated_at)
        .first(c)
        .optional())?)
}
