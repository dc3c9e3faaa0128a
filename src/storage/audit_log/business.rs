//! The rows of business beside the leaves that made them: every audited row names its leaf in `entry`.

use std::collections::HashSet;

use diesel::prelude::*;

use crate::domain::id::EntryId;
use crate::storage::backend::on;
use crate::storage::schema::{
    audit_leaf, audit_sealed, consent_event, consent_line, delivery, disclosure, identifier, record, subject,
};
use crate::storage::{Connection, Id16, Micros, Result};

use super::LOG;

/// A table whose rows name their leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the table of that name")]
pub enum AuditedTable {
    Subject,
    Identifier,
    Record,
    ConsentLine,
    ConsentEvent,
    Delivery,
    Disclosure,
}

impl AuditedTable {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Subject,
        Self::Identifier,
        Self::Record,
        Self::ConsentLine,
        Self::ConsentEvent,
        Self::Delivery,
        Self::Disclosure,
    ];
    /// Those whose rows are kept for as long as their leaf says anything about the person.
    pub const WITNESSED: [Self; 2] = [Self::ConsentEvent, Self::Disclosure];

    /// The table's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Identifier => "identifier",
            Self::Record => "record",
            Self::ConsentLine => "consent_line",
            Self::ConsentEvent => "consent_event",
            Self::Delivery => "delivery",
            Self::Disclosure => "disclosure",
        }
    }
}

/// How many rows of a table name an entry that has no leaf; only rows dated from `since` on, if it is
/// given.
///
/// # Errors
/// When the store cannot be read.
pub fn rows_without_leaf(connection: &mut Connection, table: AuditedTable, since: Option<Micros>) -> Result<u64> {
    let since = since.unwrap_or(Micros(0));
    macro_rules! count {
        ($table:ident . $time:ident) => {
            on!(connection, c => $table::table
                .filter(diesel::dsl::not(diesel::dsl::exists(
                    audit_leaf::table.filter(audit_leaf::entry.eq($table::entry)),
                )))
                .filter($table::$time.ge(since))
                .count()
                .get_result(c))?
        };
    }
    let rows: i64 = match table {
        AuditedTable::Subject => count!(subject.created_at),
        AuditedTable::Identifier => count!(identifier.added_at),
        AuditedTable::Record => count!(record.collected_at),
        AuditedTable::ConsentLine => count!(consent_line.created_at),
        AuditedTable::ConsentEvent => count!(consent_event.recorded_at),
        AuditedTable::Delivery => count!(delivery.created_at),
        AuditedTable::Disclosure => count!(disclosure.at),
    };
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// Id and entry of the rows of a witnessed table behind the row of this id, in the order of the ids;
/// nothing of any other table.
///
/// # Errors
/// When the store cannot be read.
pub fn entries_of_rows(
    connection: &mut Connection,
    table: AuditedTable,
    after: [u8; 16],
    limit: i64,
) -> Result<Vec<([u8; 16], EntryId)>> {
    macro_rules! page {
        ($table:ident) => {
            on!(connection, c => $table::table
                .filter($table::id.gt(Id16(after)))
                .order($table::id)
                .limit(limit)
                .select(($table::id, $table::entry))
                .load(c))?
        };
    }
    let rows: Vec<(Id16, Id16)> = match table {
        AuditedTable::ConsentEvent => page!(consent_event),
        AuditedTable::Disclosure => page!(disclosure),
        _ => Vec::new(),
    };
    Ok(rows.into_iter().map(|(id, entry)| (id.0, entry.into())).collect())
}

/// Position and entry of the leaves of these events from `from` to below `to`, in order.
///
/// # Errors
/// When the store cannot be read.
pub fn entries_of_events(
    connection: &mut Connection,
    events: &[i16],
    from: u64,
    to: u64,
) -> Result<Vec<(u64, EntryId)>> {
    let [from, to] = [from, to].map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let rows: Vec<(i64, Id16)> = on!(connection, c => audit_leaf::table
        .filter(audit_leaf::log.eq(LOG).and(audit_leaf::seq.ge(from)).and(audit_leaf::seq.lt(to)))
        .filter(audit_leaf::event.eq_any(events))
        .order(audit_leaf::seq)
        .select((audit_leaf::seq, audit_leaf::entry))
        .load(c))?;
    Ok(rows.into_iter().map(|(seq, entry)| (u64::try_from(seq).unwrap_or(0), entry.into())).collect())
}

/// Those of these entries that still have their sealed part about a person.
///
/// # Errors
/// When the store cannot be read.
pub fn entries_with_subject_part(connection: &mut Connection, entries: &[EntryId]) -> Result<HashSet<EntryId>> {
    let mut found = HashSet::new();
    for chunk in entries.chunks(500) {
        let keys: Vec<Id16> = chunk.iter().copied().map(Id16::from).collect();
        let rows: Vec<Id16> = on!(connection, c => audit_sealed::table
            .filter(audit_sealed::entry.eq_any(keys).and(audit_sealed::role.eq(1_i16)))
            .select(audit_sealed::entry)
            .load(c))?;
        found.extend(rows.into_iter().map(EntryId::from));
    }
    Ok(found)
}
