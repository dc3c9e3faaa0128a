//! Where the daily re-reading of the log stands.

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::schema::audit_scrub;
use crate::storage::{Connection, Micros, Result};

use super::LOG;

/// Where the re-reading stands, and what the last whole one came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubState {
    /// How many were finished.
    pub round: u64,
    /// Leaves below have been read.
    pub position: u64,
    /// What the verifier needs to go on; nothing between two readings.
    pub progress: Option<String>,
    /// The last one that was finished.
    pub last: Option<FinishedScrub>,
}

/// A whole re-reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedScrub {
    /// When it ended.
    pub at: Micros,
    /// Leaves the log had.
    pub size: u64,
    /// What was found wrong.
    pub faults: u64,
    /// The first leaf of which something is wrong, if a fault has a place.
    pub first_fault: Option<u64>,
}

type Row = (i64, i64, Option<String>, Option<Micros>, Option<i64>, Option<i64>, Option<i64>);

/// Where the re-reading stands.
///
/// # Errors
/// When the store cannot be read.
pub fn scrub_state(connection: &mut Connection) -> Result<ScrubState> {
    let row: Option<Row> = on!(connection, c => audit_scrub::table
        .find(LOG)
        .select((
            audit_scrub::round,
            audit_scrub::position,
            audit_scrub::progress,
            audit_scrub::finished_at,
            audit_scrub::finished_size,
            audit_scrub::faults,
            audit_scrub::first_fault,
        ))
        .first(c)
        .optional())?;
    let Some((round, position, progress, at, size, faults, first_fault)) = row else {
        return Ok(ScrubState::default());
    };
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let last = at.zip(size).zip(faults).map(|((at, size), faults)| FinishedScrub {
        at,
        size: number(size),
        faults: number(faults),
        first_fault: first_fault.map(number),
    });
    Ok(ScrubState { round: number(round), position: number(position), progress, last })
}

/// Remembers where the re-reading stands.
///
/// # Errors
/// When the store cannot be written.
pub fn store_scrub(connection: &mut Connection, state: &ScrubState) -> Result<()> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let values = (
        audit_scrub::round.eq(number(state.round)),
        audit_scrub::position.eq(number(state.position)),
        audit_scrub::progress.eq(state.progress.as_deref()),
        audit_scrub::finished_at.eq(state.last.map(|last| last.at)),
        audit_scrub::finished_size.eq(state.last.map(|last| number(last.size))),
        audit_scrub::faults.eq(state.last.map(|last| number(last.faults))),
        audit_scrub::first_fault.eq(state.last.and_then(|last| last.first_fault).map(number)),
    );
    on!(connection, c => diesel::insert_into(audit_scrub::table)
        .values((audit_scrub::log.eq(LOG), values))
        .on_conflict(audit_scrub::log)
        .do_update()
        .set(values)
        .execute(c))?;
    Ok(())
}
