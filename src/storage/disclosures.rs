//! The ledger of disclosures: who received which fields of whom, for what, when, under which
//! safeguard (GDPR Art. 15(1)(c), 19).

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use crate::domain::id::{DeliveryId, DisclosureId, EntryId, FieldPath, PurposeId, RecipientId, RecordId, SubjectId};

use super::backend::{bulk_insert, on};
use super::schema::disclosure;
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Result};

/// One disclosure.
#[derive(Clone, Debug)]
pub struct Disclosure {
    /// Its id.
    pub id: DisclosureId,
    /// About whom.
    pub subject: SubjectId,
    /// To whom.
    pub recipient: RecipientId,
    /// For what.
    pub purpose: PurposeId,
    /// Names of the fields, sorted; never a value.
    pub fields: Vec<FieldPath>,
    /// The transfer safeguard relied on; empty within the EEA.
    pub safeguard: String,
    /// The record, if one was disclosed.
    pub record: Option<RecordId>,
    /// The delivery, if it was pushed.
    pub delivery: Option<DeliveryId>,
    /// When the data were released.
    pub at: Micros,
    /// The leaf of the release.
    pub entry: EntryId,
}

bulk_insert! {
    /// Enters disclosures that are not in the ledger yet.
    pub(crate) fn insert_rows(row: Disclosure) into disclosure {
        id: Uuid16 = Id16::from(row.id),
        subject: Uuid16 = Id16::from(row.subject),
        recipient: Text = row.recipient.as_str(),
        purpose: Text = row.purpose.as_str(),
        fields: Text = row.fields.iter().map(FieldPath::as_str).collect::<Vec<_>>().join("\n"),
        safeguard: Text = row.safeguard.as_str(),
        record: Nullable<Uuid16> = row.record.map(Id16::from),
        delivery: Nullable<Uuid16> = row.delivery.map(Id16::from),
        at: Instant = row.at,
        entry: Uuid16 = Id16::from(row.entry),
    }
}

/// Enters a disclosure. A second try of the same delivery enters nothing: it is the same one.
///
/// # Errors
/// When the store cannot be written.
pub fn insert(connection: &mut Connection, row: &Disclosure) -> Result<()> {
    if let Some(delivery) = row.delivery
        && !of_deliveries(connection, &[delivery])?.is_empty()
    {
        return Ok(());
    }
    insert_rows(connection, &[row])
}

/// Those of these deliveries that stand in the ledger already.
///
/// # Errors
/// When the store cannot be read.
pub fn of_deliveries(connection: &mut Connection, deliveries: &[DeliveryId]) -> Result<Vec<DeliveryId>> {
    let keys: Vec<Option<Id16>> = deliveries.iter().map(|id| Some(Id16::from(*id))).collect();
    let found: Vec<Option<Id16>> = on!(connection, c => disclosure::table
        .filter(disclosure::delivery.eq_any(keys))
        .select(disclosure::delivery)
        .load(c))?;
    Ok(found.into_iter().flatten().map(Into::into).collect())
}

macro_rules! columns {
    () => {
        (
            disclosure::id,
            disclosure::subject,
            disclosure::recipient,
            disclosure::purpose,
            disclosure::fields,
            disclosure::safeguard,
            disclosure::record,
            disclosure::delivery,
            disclosure::at,
            disclosure::entry,
        )
    };
}

/// The disclosures of these subjects, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn of_subjects(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<Disclosure>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let rows: Vec<Row> = on!(connection, c => disclosure::table
        .filter(disclosure::subject.eq_any(keys))
        .order(disclosure::id)
        .select(columns!())
        .load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}

/// The disclosures with these ids, those that exist, in no order.
///
/// # Errors
/// When the store cannot be read.
pub fn by_ids(connection: &mut Connection, ids: &[Id16]) -> Result<Vec<Disclosure>> {
    let rows: Vec<Row> =
        on!(connection, c => disclosure::table.filter(disclosure::id.eq_any(ids)).select(columns!()).load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}

type Row = (Id16, Id16, String, String, String, String, Option<Id16>, Option<Id16>, Micros, Id16);

fn stored((id, subject, recipient, purpose, fields, safeguard, record, delivery, at, entry): Row) -> Disclosure {
    Disclosure {
        id: id.into(),
        subject: subject.into(),
        recipient: RecipientId::new(&recipient),
        purpose: PurposeId::new(&purpose),
        fields: fields.lines().map(FieldPath::new).collect(),
        safeguard,
        record: record.map(Into::into),
        delivery: delivery.map(Into::into),
        at,
        entry: entry.into(),
    }
}
