//! What witnesses said of the log's checkpoints, and how the log stands with them.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::schema::{audit_checkpoint, audit_cosignature, audit_witnessing};
use crate::storage::{Connection, Error, Micros, Result};

use super::LOG;

/// A cosignature of one of our checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCosignature {
    /// The size of the checkpoint.
    pub size: u64,
    /// The verifier key of the witness, as text.
    pub witness: String,
    /// The line under the note, with its newline.
    pub line: String,
    /// When the witness cosigned, by its own clock.
    pub time: Micros,
}

/// How the log stands with its witnesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witnessing {
    /// SHA-256 of the trust policy that the log told of last.
    pub trust: [u8; 32],
    /// Since when the quorum is missed, if the log told so.
    pub unwitnessed_since: Option<Micros>,
}

type CosignatureColumns = (i64, String, String, Micros);

fn stored((size, witness, line, time): CosignatureColumns) -> StoredCosignature {
    StoredCosignature { size: u64::try_from(size).unwrap_or(0), witness, line, time }
}

/// Keeps cosignatures; a newer one of the same witness and size replaces the older.
///
/// # Errors
/// When the store cannot be written.
pub fn keep_cosignatures(connection: &mut Connection, cosignatures: &[StoredCosignature]) -> Result<()> {
    for cosignature in cosignatures {
        let size = i64::try_from(cosignature.size).unwrap_or(i64::MAX);
        let values = (audit_cosignature::line.eq(&cosignature.line), audit_cosignature::time.eq(cosignature.time));
        on!(&mut *connection, c => diesel::insert_into(audit_cosignature::table)
            .values((
                audit_cosignature::log.eq(LOG),
                audit_cosignature::size.eq(size),
                audit_cosignature::witness.eq(&cosignature.witness),
                values,
            ))
            .on_conflict((audit_cosignature::log, audit_cosignature::size, audit_cosignature::witness))
            .do_update()
            .set(values)
            .execute(c))?;
    }
    Ok(())
}

/// The cosignatures of the checkpoint of one size.
///
/// # Errors
/// When the store cannot be read.
pub fn cosignatures_of(connection: &mut Connection, size: u64) -> Result<Vec<StoredCosignature>> {
    let rows: Vec<CosignatureColumns> = on!(connection, c => audit_cosignature::table
        .filter(audit_cosignature::log.eq(LOG).and(audit_cosignature::size.eq(i64::try_from(size).unwrap_or(i64::MAX))))
        .order(audit_cosignature::witness)
        .select((audit_cosignature::size, audit_cosignature::witness, audit_cosignature::line, audit_cosignature::time))
        .load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}

/// The newest cosignature of one witness.
///
/// # Errors
/// When the store cannot be read.
pub fn newest_cosignature(connection: &mut Connection, witness: &str) -> Result<Option<StoredCosignature>> {
    let row: Option<CosignatureColumns> = on!(connection, c => audit_cosignature::table
        .filter(audit_cosignature::log.eq(LOG).and(audit_cosignature::witness.eq(witness)))
        .order(audit_cosignature::size.desc())
        .select((audit_cosignature::size, audit_cosignature::witness, audit_cosignature::line, audit_cosignature::time))
        .first(c)
        .optional())?;
    Ok(row.map(stored))
}

/// Size and note of the newest checkpoints that anybody cosigned, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn cosigned_checkpoints(connection: &mut Connection, limit: i64) -> Result<Vec<(u64, String)>> {
    let cosigned =
        || audit_cosignature::table.filter(audit_cosignature::log.eq(LOG)).select(audit_cosignature::size).distinct();
    let rows: Vec<(i64, String)> = on!(connection, c => audit_checkpoint::table
        .filter(audit_checkpoint::log.eq(LOG).and(audit_checkpoint::size.eq_any(cosigned())))
        .order(audit_checkpoint::size.desc())
        .limit(limit)
        .select((audit_checkpoint::size, audit_checkpoint::note))
        .load(c))?;
    Ok(rows.into_iter().map(|(size, note)| (u64::try_from(size).unwrap_or(0), note)).collect())
}

/// Deletes the cosignatures of checkpoints that are no longer kept.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_cosignatures(connection: &mut Connection) -> Result<usize> {
    let kept = || audit_checkpoint::table.filter(audit_checkpoint::log.eq(LOG)).select(audit_checkpoint::size);
    Ok(on!(connection, c => diesel::delete(
            audit_cosignature::table.filter(audit_cosignature::log.eq(LOG).and(audit_cosignature::size.ne_all(kept()))))
        .execute(c))?)
}

/// How the log stands with its witnesses; `None` while it never told.
///
/// # Errors
/// When the store cannot be read.
pub fn witnessing(connection: &mut Connection) -> Result<Option<Witnessing>> {
    let row: Option<(Vec<u8>, Option<Micros>)> = on!(connection, c => audit_witnessing::table
        .find(LOG)
        .select((audit_witnessing::trust, audit_witnessing::unwitnessed_since))
        .first(c)
        .optional())?;
    row.map(|(trust, unwitnessed_since)| {
        let trust = trust.try_into().map_err(|_| Error::Malformed { table: "audit_witnessing" })?;
        Ok(Witnessing { trust, unwitnessed_since })
    })
    .transpose()
}

/// Remembers how the log stands with its witnesses.
///
/// # Errors
/// When the store cannot be written.
pub fn set_witnessing(connection: &mut Connection, next: &Witnessing) -> Result<()> {
    let values =
        (audit_witnessing::trust.eq(&next.trust[..]), audit_witnessing::unwitnessed_since.eq(next.unwitnessed_since));
    on!(connection, c => diesel::insert_into(audit_witnessing::table)
        .values((audit_witnessing::log.eq(LOG), values))
        .on_conflict(audit_witnessing::log)
        .do_update()
        .set(values)
        .execute(c))?;
    Ok(())
}
