//! The rows that an erasure deletes, and the register of tables that hold something of a person.

use diesel::prelude::*;

use crate::domain::id::SubjectId;
use crate::storage::backend::on;
use crate::storage::schema::{
    consent_event, consent_line, delivery, disclosure, idempotency, identifier, identifier_index, identity_edge,
    package, pseudonym, record,
};
use crate::storage::{Connection, Id16, Result, Transaction, deliveries};

/// Every table with data of a person, and what an erasure does about it. A test compares this
/// register with both catalogues: a table with a subject or sealed column that stands neither here
/// nor among the exemptions fails.
pub const ERASABLE: &[&str] = &[
    "record",
    "identifier",
    "identifier_index",
    "identity_edge",
    "consent_line",
    "consent_event",
    "delivery",
    "pseudonym",
    "idempotency",
    "package",
    "subject",
    "audit_sealed",
    "disclosure",
    "subject_case",
    "subject_request",
    "task",
    "erasure",
];

macro_rules! delete_some {
    ($connection:expr, $subjects:expr, $limit:expr, $table:ident . $subject:ident, $key:ident $(, $which:expr)?) => {{
        let keys: Vec<Id16> = on!($connection, c => $table::table
            .filter($table::$subject.eq_any($subjects)$(.and($which))?)
            .select($table::$key)
            .limit($limit)
            .load(c))?;
        on!($connection, c => diesel::delete($table::table.filter($table::$key.eq_any(keys))).execute(c))?
    }};
}

/// Deletes up to about `limit` rows of these subjects, table after table, and says how many went from
/// which. When nothing is left the answer is empty. The state rows, the sealed parts of the log and
/// the ledger of disclosures are not touched here.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_rows(
    transaction: &mut Transaction<'_>,
    subjects: &[SubjectId],
    limit: i64,
) -> Result<Vec<(&'static str, usize)>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let connection = transaction.connection();
    let mut deleted = Vec::new();
    let mut left = limit;
    macro_rules! step {
        ($name:literal, $delete:expr) => {
            if left > 0 {
                let rows = $delete;
                if rows > 0 {
                    deleted.push(($name, rows));
                    left = left.saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX));
                }
            }
        };
    }
    step!("delivery", delete_some!(connection, &keys, left, delivery.subject, id, deliveries::open()));
    step!("delivery", delete_some!(connection, &keys, left, delivery.subject, id, deliveries::settled()));
    step!("record", {
        // What the law obliges to keep was replaced before and stays.
        let rows: Vec<Id16> = on!(connection, c => record::table
            .filter(record::subject.eq_any(&keys).and(record::retained.is_null()))
            .select(record::id)
            .limit(left)
            .load(c))?;
        on!(connection, c => diesel::delete(record::table.filter(record::id.eq_any(rows))).execute(c))?
    });
    step!("consent_event", delete_some!(connection, &keys, left, consent_event.subject, id));
    step!("consent_line", delete_some!(connection, &keys, left, consent_line.subject, id));
    step!("identity_edge", delete_some!(connection, &keys, left, identity_edge.subject_a, id));
    step!("identity_edge", delete_some!(connection, &keys, left, identity_edge.subject_b, id));
    if left > 0 {
        let rows = delete_some!(connection, &keys, left, identifier.subject, id);
        if rows > 0 {
            deleted.push(("identifier", rows));
        }
    }
    let rows = on!(connection, c => diesel::delete(identifier_index::table.filter(identifier_index::subject.eq_any(&keys))).execute(c))?;
    if rows > 0 {
        deleted.push(("identifier_index", rows));
    }
    let rows =
        on!(connection, c => diesel::delete(pseudonym::table.filter(pseudonym::subject.eq_any(&keys))).execute(c))?;
    if rows > 0 {
        deleted.push(("pseudonym", rows));
    }
    let rows = on!(connection, c => diesel::delete(idempotency::table.filter(idempotency::subject.eq_any(nullable(&keys)))).execute(c))?;
    if rows > 0 {
        deleted.push(("idempotency", rows));
    }
    let packages: Vec<Id16> = on!(connection, c => package::table.filter(package::subject.eq_any(nullable(&keys))).select(package::id).load(c))?;
    let rows = on!(connection, c => diesel::delete(package::table.filter(package::id.eq_any(&packages))).execute(c))?;
    if rows > 0 {
        deleted.push(("package", rows));
    }
    // A record that came from an erased device but belongs to somebody else forgets the device.
    on!(connection, c => diesel::update(record::table.filter(record::device.eq_any(nullable(&keys))))
        .set(record::device.eq(None::<Id16>))
        .execute(c))?;
    Ok(deleted)
}

fn nullable(keys: &[Id16]) -> Vec<Option<Id16>> {
    keys.iter().copied().map(Some).collect()
}

/// Rows that an erasure of these subjects would delete, per table; also what must be zero afterwards.
///
/// # Errors
/// When the store cannot be read.
pub fn count_rows(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<(&'static str, i64)>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    macro_rules! count {
        ($name:literal, $table:ident . $column:ident $(, $which:expr)?) => {
            ($name, on!(connection, c => $table::table
                .filter($table::$column.eq_any(&keys)$(.and($which))?)
                .count()
                .get_result::<i64>(c))?)
        };
    }
    Ok(vec![
        (
            "record",
            on!(connection, c => record::table
            .filter(record::subject.eq_any(&keys).and(record::retained.is_null()))
            .count()
            .get_result::<i64>(c))?,
        ),
        count!("identifier", identifier.subject),
        count!("identifier_index", identifier_index.subject),
        count!("consent_line", consent_line.subject),
        count!("consent_event", consent_event.subject),
        count!("delivery", delivery.subject, deliveries::open()),
        count!("delivery", delivery.subject, deliveries::settled()),
        count!("pseudonym", pseudonym.subject),
        (
            "identity_edge",
            on!(connection, c => identity_edge::table
            .filter(identity_edge::subject_a.eq_any(&keys).or(identity_edge::subject_b.eq_any(&keys)))
            .count()
            .get_result::<i64>(c))?,
        ),
        (
            "idempotency",
            on!(connection, c => idempotency::table
            .filter(idempotency::subject.eq_any(nullable(&keys)))
            .count()
            .get_result::<i64>(c))?,
        ),
        (
            "package",
            on!(connection, c => package::table
            .filter(package::subject.eq_any(nullable(&keys)))
            .count()
            .get_result::<i64>(c))?,
        ),
    ])
}

/// Replaces the detailed ledger of disclosures of erased subjects by nothing, once their requests are
/// closed.
///
/// # Errors
/// When the store cannot be written.
pub fn delete_disclosures(connection: &mut Connection, subjects: &[SubjectId]) -> Result<usize> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    Ok(on!(connection, c => diesel::delete(disclosure::table.filter(disclosure::subject.eq_any(keys))).execute(c))?)
}
