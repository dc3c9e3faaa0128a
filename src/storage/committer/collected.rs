//! The fixed list of statements of the hot path: what a batch collected, inserted together.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;

use crate::storage::backend::on;
use crate::storage::schema::seen_event;
use crate::storage::sql_types::Micros;
use crate::storage::unit::{Body, Transaction};
use crate::storage::{
    Collect, Connection, Outcome, Result, Unit, consents, deliveries, identities, records, seen_events, subjects,
};

/// Inserts the rows of all collected units that still stand.
pub(super) fn insert_collected(
    transaction: &mut Transaction<'_>,
    units: &[&mut Unit],
    verdicts: &mut [Option<Outcome>],
) -> Result<()> {
    let mut standing: Vec<(usize, &Collect)> = units
        .iter()
        .enumerate()
        .filter_map(|(position, unit)| match &unit.body {
            Body::Collect(rows) => Some((position, &**rows)),
            Body::Change(_) => None,
        })
        .filter(|(position, _)| verdicts.get(*position).is_some_and(Option::is_none))
        .collect();
    if standing.is_empty() {
        return Ok(());
    }
    let marks: Vec<(&[[u8; 32]], Micros)> =
        standing.iter().map(|(_, rows)| (rows.marks.as_slice(), rows.at.unwrap_or(Micros(0)))).collect();
    let repeated = seen_events::insert_new(transaction.connection, &marks)?;
    let mut turned_away = BTreeMap::new();
    for ((position, _), again) in standing.iter().zip(repeated) {
        if !again.is_empty() {
            turned_away.insert(*position, Outcome::Duplicates(again));
        }
    }
    for (position, rows) in &standing {
        if turned_away.contains_key(position) || rows.identifiers.is_empty() {
            continue;
        }
        if !identities::insert_index(transaction.connection, &rows.identifiers)? {
            forget_marks(transaction.connection, &rows.marks)?;
            turned_away.insert(*position, Outcome::IdentifierTaken);
        }
    }
    // A mark that met one of this very batch repeats nothing if that unit is turned away itself:
    // whoever was told `duplicate` now would be told of an event that no store holds.
    let withdrawn: BTreeSet<[u8; 32]> = standing
        .iter()
        .filter(|(position, _)| turned_away.get(position) == Some(&Outcome::IdentifierTaken))
        .flat_map(|(_, rows)| rows.marks.iter().copied())
        .collect();
    for (position, rows) in &standing {
        let Some(Outcome::Duplicates(again)) = turned_away.get(position) else { continue };
        if again.iter().filter_map(|at| rows.marks.get(*at)).any(|mark| withdrawn.contains(mark)) {
            turned_away.insert(*position, Outcome::Stale);
        }
    }
    for (position, outcome) in &turned_away {
        if let Some(verdict) = verdicts.get_mut(*position) {
            *verdict = Some(outcome.clone());
        }
    }
    standing.retain(|(position, _)| !turned_away.contains_key(position));

    let connection = &mut *transaction.connection;
    subjects::insert(connection, &all(&standing, |rows| &rows.subjects))?;
    identities::insert(connection, &all(&standing, |rows| &rows.identifiers))?;
    identities::insert_edges(connection, &all(&standing, |rows| &rows.edges))?;
    for met in all(&standing, |rows| &rows.subjects) {
        // Nobody else can know a row of this transaction, so it counts as locked.
        transaction.versions.insert(met.id, 1);
    }
    for (subject, profile) in all(&standing, |rows| &rows.raised) {
        subjects::move_to_profile(transaction, *subject, *profile)?;
    }
    let connection = &mut *transaction.connection;
    consents::insert_lines(connection, &all(&standing, |rows| &rows.lines))?;
    consents::insert_events(connection, &all(&standing, |rows| &rows.events))?;
    records::insert(connection, &all(&standing, |rows| &rows.records))?;
    deliveries::insert(connection, &all(&standing, |rows| &rows.deliveries))
}

/// The rows of one kind of all units.
fn all<'a, T>(standing: &[(usize, &'a Collect)], rows: impl Fn(&'a Collect) -> &'a Vec<T>) -> Vec<&'a T> {
    standing.iter().flat_map(|(_, collect)| rows(collect)).collect()
}

fn forget_marks(connection: &mut Connection, marks: &[[u8; 32]]) -> Result<()> {
    for mark in marks {
        on!(connection, c => diesel::delete(seen_event::table.find(&mark[..])).execute(c))?;
    }
    Ok(())
}
