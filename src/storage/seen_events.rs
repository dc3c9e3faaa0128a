//! Marks of events already taken in, so that a client's repetition stores nothing.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_types::{Array, Binary};

use super::backend::{Statement, on};
use super::schema::seen_event;
use super::sql_types::{Instant, Micros};
use super::{Connection, Result};

/// Writes the marks that do not stand yet and gives, per unit, the positions of those that do. A
/// unit with such positions has none of its own marks left behind.
pub(super) fn insert_new(connection: &mut Connection, units: &[(&[[u8; 32]], Micros)]) -> Result<Vec<Vec<usize>>> {
    match connection {
        Connection::Sqlite(c) => {
            let mut repeated = Vec::with_capacity(units.len());
            for (marks, at) in units {
                let mut again = Vec::new();
                for (position, mark) in marks.iter().enumerate() {
                    let values = (IntoSql::into_sql::<Binary>(&mark[..]), IntoSql::into_sql::<Instant>(*at));
                    let inserted = Statement::<seen_event::table, _>::new(
                        "INSERT INTO seen_event (mark, at) VALUES (",
                        values,
                        ") ON CONFLICT DO NOTHING",
                    )
                    .execute(c)?;
                    if inserted == 0 {
                        again.push(position);
                    }
                }
                if !again.is_empty() {
                    for (position, mark) in marks.iter().enumerate() {
                        if !again.contains(&position) {
                            diesel::delete(seen_event::table.find(&mark[..])).execute(c)?;
                        }
                    }
                }
                repeated.push(again);
            }
            Ok(repeated)
        }
        Connection::Postgres(c) => {
            let all: Vec<&[u8]> = units.iter().flat_map(|(marks, _)| marks.iter().map(|mark| &mark[..])).collect();
            let times: Vec<Micros> = units.iter().flat_map(|(marks, at)| marks.iter().map(|_| *at)).collect();
            let columns = (IntoSql::into_sql::<Array<Binary>>(all), IntoSql::into_sql::<Array<Instant>>(times));
            // Sorted, so that two instances lock the same marks in the same order.
            let inserted: Vec<Vec<u8>> = Statement::<seen_event::table, _, Binary>::new(
                "INSERT INTO seen_event (mark, at) SELECT * FROM unnest(",
                columns,
                ") AS given (mark, at) ORDER BY mark ON CONFLICT DO NOTHING RETURNING mark",
            )
            .load(c)?;
            let mut fresh: HashSet<Vec<u8>> = inserted.into_iter().collect();
            let mut repeated = Vec::with_capacity(units.len());
            for (marks, _) in units {
                let again: Vec<usize> = marks
                    .iter()
                    .enumerate()
                    // Removed when claimed: a second unit of the batch with the same mark repeats it.
                    .filter(|(_, mark)| !fresh.remove(&mark[..]))
                    .map(|(position, _)| position)
                    .collect();
                if !again.is_empty() {
                    // This unit is turned away, so what it claimed is free for the next one.
                    fresh.extend(
                        marks
                            .iter()
                            .enumerate()
                            .filter(|(position, _)| !again.contains(position))
                            .map(|(_, mark)| mark.to_vec()),
                    );
                }
                repeated.push(again);
            }
            if !fresh.is_empty() {
                let undo: Vec<Vec<u8>> = fresh.into_iter().collect();
                diesel::sql_query("DELETE FROM seen_event WHERE mark = ANY($1)")
                    .bind::<Array<Binary>, _>(undo)
                    .execute(c)?;
            }
            Ok(repeated)
        }
    }
}

/// Forgets marks older than `before`, at most `limit`, and says how many went.
///
/// # Errors
/// When the store cannot be written.
pub(crate) fn forget(connection: &mut Connection, before: Micros, limit: i64) -> Result<usize> {
    let old: Vec<Vec<u8>> = on!(connection, c => seen_event::table
        .filter(seen_event::at.lt(before))
        .select(seen_event::mark)
        .limit(limit)
        .load(c))?;
    Ok(on!(connection, c => diesel::delete(seen_event::table.filter(seen_event::mark.eq_any(old))).execute(c))?)
}
