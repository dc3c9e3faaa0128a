//! Promises: one record for one recipient and one purpose, due until settled.

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Integer, SmallInt, Text};

use crate::domain::id::{DeliveryId, EntryId, PurposeId, RecipientId, RecordId, SubjectId};

use super::backend::{bulk_insert, on, same};
use super::schema::{delivery, pseudonym, recipient_state, record};
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Error, Result};

/// A promise made with its record.
pub struct NewDelivery {
    /// Its id (UUIDv7): the order in which a recipient gets what concerns one person.
    pub id: DeliveryId,
    /// To whom.
    pub recipient: RecipientId,
    /// For what.
    pub purpose: PurposeId,
    /// About whom.
    pub subject: SubjectId,
    /// What.
    pub record: RecordId,
    /// 16 random bytes of the message id, the same in every try.
    pub message: [u8; 16],
    /// When it was promised.
    pub created_at: Micros,
    /// The leaf that made it.
    pub entry: EntryId,
}

/// A promise as it is stored.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// To whom.
    pub recipient: RecipientId,
    /// For what.
    pub purpose: PurposeId,
    /// About whom.
    pub subject: SubjectId,
    /// What.
    pub record: RecordId,
    /// 16 random bytes of the message id.
    pub message: [u8; 16],
    /// Where it stands.
    pub state: DeliveryState,
    /// Tries made.
    pub attempts: u32,
    /// When it is due (again).
    pub next_at: Micros,
    /// Until when its holder may be sending it.
    pub lease_until: Option<Micros>,
    /// Why it ended or came back.
    pub reason: Option<String>,
    /// When it was promised.
    pub created_at: Micros,
}

/// Where a promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waiting.
    Due,
    /// Claimed, decided again, on the wire.
    Sending,
    /// The recipient confirmed.
    Delivered,
    /// The second decision said no, or an erasure or the end of retention overtook it.
    Dropped,
    /// Tries used up, or a final error.
    Dead,
}

bulk_insert! {
    /// Makes promises, due at once.
    pub(super) fn insert(row: NewDelivery) into delivery {
        id: Uuid16 = Id16::from(row.id),
        recipient: Text = row.recipient.as_str(),
        purpose: Text = row.purpose.as_str(),
        subject: Uuid16 = Id16::from(row.subject),
        record: Uuid16 = Id16::from(row.record),
        message: Uuid16 = Id16(row.message),
        state: SmallInt = same(row, DeliveryState::Due.code()),
        attempts: Integer = same(row, 0_i32),
        next_at: Instant = row.created_at,
        created_at: Instant = row.created_at,
        entry: Uuid16 = Id16::from(row.entry),
    }
}

impl DeliveryState {
    /// The spelling in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Dead => "dead",
        }
    }

    pub(super) const fn code(self) -> i16 {
        match self {
            Self::Due => 0,
            Self::Sending => 1,
            Self::Delivered => 2,
            Self::Dropped => 3,
            Self::Dead => 4,
        }
    }

    const fn read(code: i16) -> Option<Self> {
        Some(match code {
            0 => Self::Due,
            1 => Self::Sending,
            2 => Self::Delivered,
            3 => Self::Dropped,
            4 => Self::Dead,
            _ => return None,
        })
    }
}

/// Drops everything that is due for these subjects and says how many promises that were.
///
/// # Errors
/// When the store cannot be written.
pub fn cancel_all(connection: &mut Connection, subjects: &[SubjectId], reason: &str, at: Micros) -> Result<usize> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    Ok(on!(connection, c => diesel::update(
        delivery::table.filter(delivery::subject.eq_any(keys).and(open()).and(due())))
        .set((
            delivery::state.eq(DeliveryState::Dropped.code()),
            delivery::reason.eq(Some(reason)),
            delivery::settled_at.eq(Some(at)),
        ))
        .execute(c))?)
}

/// The promises about these subjects, or of records that came from them as devices, that are on the
/// wire and whose lease has not ended.
///
/// # Errors
/// When the store cannot be read.
pub fn on_the_wire(connection: &mut Connection, subjects: &[SubjectId], now: Micros) -> Result<Vec<StoredDelivery>> {
    // Few are on the wire at any time, so all of them are read: somebody's own are many more.
    let rows: Vec<DeliveryRow> = on!(connection, c => delivery::table
        .filter(on_the_way().and(delivery::lease_until.gt(now)))
        .order(delivery::lease_until)
        .select(DeliveryRow::as_select())
        .load(c))?;
    let (mut found, others): (Vec<DeliveryRow>, Vec<DeliveryRow>) =
        rows.into_iter().partition(|row| subjects.contains(&SubjectId::from(row.subject)));
    if !others.is_empty() {
        let records: Vec<Id16> = others.iter().map(|row| row.record).collect();
        let devices: Vec<Option<Id16>> = subjects.iter().map(|subject| Some(Id16::from(*subject))).collect();
        let from_devices: Vec<Id16> = on!(connection, c => record::table
            .filter(record::id.eq_any(records).and(record::device.eq_any(devices)))
            .select(record::id)
            .load(c))?;
        found.extend(others.into_iter().filter(|row| from_devices.contains(&row.record)));
    }
    found.into_iter().map(stored).collect()
}

/// The promises with these ids, those that exist, in no order.
///
/// # Errors
/// When the store cannot be read or a row is malformed.
pub fn by_ids(connection: &mut Connection, ids: &[Id16]) -> Result<Vec<StoredDelivery>> {
    let rows: Vec<DeliveryRow> = on!(connection, c => delivery::table.filter(delivery::id.eq_any(ids)).select(DeliveryRow::as_select()).load(c))?;
    rows.into_iter().map(stored).collect()
}

/// Forgets settled promises older than `before`, at most `limit`; the ledger of disclosures keeps
/// what was sent.
///
/// # Errors
/// When the store cannot be written.
pub fn forget_settled(connection: &mut Connection, before: Micros, limit: i64) -> Result<usize> {
    let old: Vec<Id16> = on!(connection, c => delivery::table
        .filter(delivery::state.eq_any([2_i16, 3_i16]).and(delivery::settled_at.lt(before)))
        .select(delivery::id)
        .limit(limit)
        .load(c))?;
    Ok(on!(connection, c => diesel::delete(delivery::table.filter(delivery::id.eq_any(old))).execute(c))?)
}

/// How many promises stand in each state (due, sending, delivered, dropped, dead).
///
/// # Errors
/// When the store cannot be read.
pub fn counts(connection: &mut Connection) -> Result<[i64; 5]> {
    let rows: Vec<(i16, i64)> = on!(connection, c => delivery::table
        .group_by(delivery::state)
        .select((delivery::state, diesel::dsl::count_star()))
        .load(c))?;
    let mut counts = [0; 5];
    for (state, count) in rows {
        if let Some(slot) = usize::try_from(state).ok().and_then(|state| counts.get_mut(state)) {
            *slot = count;
        }
    }
    Ok(counts)
}

/// How many promises are open (due or sending).
///
/// # Errors
/// When the store cannot be read.
pub fn open_count(connection: &mut Connection) -> Result<i64> {
    Ok(on!(connection, c => delivery::table.filter(open()).count().get_result(c))?)
}

/// How many promises to each recipient are due, on the wire, and dead. One look at the partial
/// indexes, whose length is that of what is not settled.
///
/// # Errors
/// When the store cannot be read.
pub fn unsettled(connection: &mut Connection) -> Result<Vec<(RecipientId, DeliveryState, i64)>> {
    let mut found = Vec::new();
    for (state, literal) in [
        (DeliveryState::Due, "delivery.state = 0"),
        (DeliveryState::Sending, "delivery.state = 1"),
        (DeliveryState::Dead, "delivery.state = 4"),
    ] {
        let rows: Vec<(String, i64)> = on!(connection, c => delivery::table
            .filter(diesel::dsl::sql::<Bool>(literal))
            .group_by(delivery::recipient)
            .select((delivery::recipient, diesel::dsl::count_star()))
            .load(c))?;
        found.extend(rows.into_iter().map(|(recipient, count)| (RecipientId::new(&recipient), state, count)));
    }
    Ok(found)
}

/// A pseudonym by which a recipient knows a subject.
#[derive(Clone, Debug)]
pub struct Pseudonym {
    /// The recipient.
    pub recipient: RecipientId,
    /// The name, `sub_…`.
    pub value: String,
    /// Whose it is.
    pub subject: SubjectId,
    /// Version of the recipient's pseudonyms.
    pub version: u32,
}

/// Remembers pseudonyms; those that are known already stay.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_pseudonyms(connection: &mut Connection, rows: &[Pseudonym]) -> Result<()> {
    let version = |row: &Pseudonym| i32::try_from(row.version).unwrap_or(i32::MAX);
    match connection {
        Connection::Sqlite(c) => {
            for row in rows {
                diesel::insert_into(pseudonym::table)
                    .values((
                        pseudonym::recipient.eq(row.recipient.as_str()),
                        pseudonym::value.eq(row.value.as_str()),
                        pseudonym::subject.eq(Id16::from(row.subject)),
                        pseudonym::version.eq(version(row)),
                    ))
                    .on_conflict_do_nothing()
                    .execute(c)?;
            }
        }
        Connection::Postgres(c) => {
            diesel::sql_query(
                "INSERT INTO pseudonym (recipient, value, subject, version) \
                 SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            )
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.recipient.as_str()).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|row| row.value.as_str()).collect::<Vec<_>>())
            .bind::<Array<Uuid16>, _>(rows.iter().map(|row| Id16::from(row.subject)).collect::<Vec<_>>())
            .bind::<Array<Integer>, _>(rows.iter().map(version).collect::<Vec<_>>())
            .execute(c)?;
        }
    }
    Ok(())
}

/// The pseudonyms by which recipients know these subjects.
///
/// # Errors
/// When the store cannot be read.
pub fn pseudonyms_of(
    connection: &mut Connection,
    subjects: &[SubjectId],
) -> Result<Vec<(RecipientId, SubjectId, String)>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let rows: Vec<(String, Id16, String)> = on!(connection, c => pseudonym::table
        .filter(pseudonym::subject.eq_any(keys))
        .order((pseudonym::recipient, pseudonym::value))
        .select((pseudonym::recipient, pseudonym::subject, pseudonym::value))
        .load(c))?;
    Ok(rows
        .into_iter()
        .map(|(recipient, subject, value)| (RecipientId::new(&recipient), subject.into(), value))
        .collect())
}

/// The promises of these subjects that are due or on the wire, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn open_of_subjects(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<StoredDelivery>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let rows: Vec<DeliveryRow> = on!(connection, c => delivery::table
        .filter(delivery::subject.eq_any(keys).and(open()))
        .order(delivery::id)
        .select(DeliveryRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored).collect()
}

/// The subject that a recipient knows by this pseudonym.
///
/// # Errors
/// When the store cannot be read.
pub fn subject_of_pseudonym(
    connection: &mut Connection,
    recipient: &RecipientId,
    value: &str,
) -> Result<Option<SubjectId>> {
    let id: Option<Id16> = on!(connection, c => pseudonym::table
        .find((recipient.as_str(), value))
        .select(pseudonym::subject)
        .first(c)
        .optional())?;
    Ok(id.map(Into::into))
}

/// Whether a recipient is paused or disabled, and why.
///
/// # Errors
/// When the store cannot be read.
pub fn recipient_states(connection: &mut Connection) -> Result<Vec<(RecipientId, RecipientState, String)>> {
    let rows: Vec<(String, i16, String)> = on!(connection, c => recipient_state::table
        .select((recipient_state::recipient, recipient_state::state, recipient_state::reason))
        .load(c))?;
    rows.into_iter()
        .map(|(recipient, state, reason)| {
            let state = match state {
                0 => RecipientState::Open,
                1 => RecipientState::Paused,
                2 => RecipientState::Disabled,
                _ => return Err(Error::Malformed { table: "recipient_state" }),
            };
            Ok((RecipientId::new(&recipient), state, reason))
        })
        .collect()
}

/// Sets whether deliveries to a recipient flow.
///
/// # Errors
/// When the store cannot be written.
pub fn set_recipient_state(
    connection: &mut Connection,
    recipient: &RecipientId,
    state: RecipientState,
    reason: &str,
    at: Micros,
    entry: EntryId,
) -> Result<()> {
    let code = match state {
        RecipientState::Open => 0_i16,
        RecipientState::Paused => 1,
        RecipientState::Disabled => 2,
    };
    on!(connection, c => diesel::delete(recipient_state::table.find(recipient.as_str())).execute(c))?;
    on!(connection, c => diesel::insert_into(recipient_state::table)
        .values((
            recipient_state::recipient.eq(recipient.as_str()),
            recipient_state::state.eq(code),
            recipient_state::reason.eq(reason),
            recipient_state::changed_at.eq(at),
            recipient_state::entry.eq(Id16::from(entry)),
        ))
        .execute(c))?;
    Ok(())
}

/// Whether deliveries to a recipient flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// They flow.
    Open,
    /// They wait until a person resumes them.
    Paused,
    /// The recipient is gone.
    Disabled,
}

// Literals, because a partial index serves a query only if its condition stands there literally.
// Literals, because a partial index serves a query only if its condition stands there literally.

/// Due or on the wire.
pub(super) fn open() -> SqlLiteral<Bool> {
    sql("delivery.state IN (0, 1)")
}

/// Neither due nor on the wire.
pub(super) fn settled() -> SqlLiteral<Bool> {
    sql("delivery.state NOT IN (0, 1)")
}

pub(super) fn due() -> SqlLiteral<Bool> {
    sql("delivery.state = 0")
}

pub(super) fn on_the_way() -> SqlLiteral<Bool> {
    sql("delivery.state = 1")
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = delivery)]
pub(super) struct DeliveryRow {
    id: Id16,
    recipient: String,
    purpose: String,
    subject: Id16,
    record: Id16,
    message: Id16,
    state: i16,
    attempts: i32,
    next_at: Micros,
    lease_until: Option<Micros>,
    reason: Option<String>,
    created_at: Micros,
}

pub(super) fn stored(row: DeliveryRow) -> Result<StoredDelivery> {
    let malformed = Error::Malformed { table: "delivery" };
    Ok(StoredDelivery {
        id: row.id.into(),
        recipient: RecipientId::new(&row.recipient),
        purpose: PurposeId::new(&row.purpose),
        subject: row.subject.into(),
        record: row.record.into(),
        message: row.message.0,
        state: DeliveryState::read(row.state).ok_or(malformed)?,
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        next_at: row.next_at,
        lease_until: row.lease_until,
        reason: row.reason,
        created_at: row.created_at,
    })
}
