//! Promises: one record for one recipient and one purpose, due until settled.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, SmallInt, Text};

use crate::domain::id::{DeliveryId, EntryId, InstanceId, PurposeId, RecipientId, RecordId, SubjectId};

use super::backend::{bulk_insert, on, same};
use super::schema::{delivery, pseudonym, recipient_state};
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

    const fn code(self) -> i16 {
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

/// The promises to a recipient that may be claimed now: for each person only the first unsettled
/// one, if it is due and its time has come. At most `limit`, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn claimable(connection: &mut Connection, recipient: &RecipientId, now: Micros, limit: i64) -> Result<Vec<StoredDelivery>> {
    // Enough open rows to find `limit` heads of queues even when some people have several waiting.
    let window = limit.saturating_mul(8);
    let rows: Vec<DeliveryRow> = on!(connection, c => delivery::table
        .filter(delivery::recipient.eq(recipient.as_str()).and(open()))
        .order(delivery::id)
        .limit(window)
        .select(DeliveryRow::as_select())
        .load(c))?;
    let mut seen = std::collections::HashSet::new();
    let mut heads = Vec::new();
    for row in rows {
        let row = stored(row)?;
        if !seen.insert(row.subject) {
            continue;
        }
        let lease_over = row.lease_until.is_none_or(|until| until <= now);
        if row.next_at <= now && (row.state == DeliveryState::Due || lease_over) {
            heads.push(row);
        }
        if i64::try_from(heads.len()).unwrap_or(i64::MAX) >= limit {
            break;
        }
    }
    if heads.is_empty() {
        return due_beyond(connection, recipient, now, limit);
    }
    Ok(heads)
}

/// When the oldest open rows all wait for a retry, looks past them for rows whose time has come and
/// that are the first of their person.
fn due_beyond(connection: &mut Connection, recipient: &RecipientId, now: Micros, limit: i64) -> Result<Vec<StoredDelivery>> {
    let rows: Vec<DeliveryRow> = on!(connection, c => delivery::table
        .filter(delivery::recipient.eq(recipient.as_str())
            .and(open())
            .and(delivery::next_at.le(now))
            .and(delivery::lease_until.is_null().or(delivery::lease_until.le(now))))
        .order(delivery::id)
        .limit(limit.saturating_mul(4))
        .select(DeliveryRow::as_select())
        .load(c))?;
    let mut heads: Vec<StoredDelivery> = Vec::new();
    for row in rows {
        let row = stored(row)?;
        if heads.iter().any(|head| head.subject == row.subject) {
            continue;
        }
        let first: Option<Id16> = on!(connection, c => delivery::table
            .filter(delivery::subject.eq(Id16::from(row.subject))
                .and(delivery::recipient.eq(recipient.as_str()))
                .and(open()))
            .order(delivery::id)
            .select(delivery::id)
            .first(c)
            .optional())?;
        if first == Some(Id16::from(row.id)) {
            heads.push(row);
        }
        if i64::try_from(heads.len()).unwrap_or(i64::MAX) >= limit {
            break;
        }
    }
    Ok(heads)
}

/// Claims a promise: `sending` until the lease ends. False: somebody else has it, or it ended.
///
/// # Errors
/// When the store cannot be written.
pub fn claim(connection: &mut Connection, id: DeliveryId, seen: &StoredDelivery, holder: InstanceId, lease_until: Micros) -> Result<bool> {
    let attempts = i32::try_from(seen.attempts).unwrap_or(i32::MAX);
    let claimed = on!(connection, c => diesel::update(
        delivery::table.filter(delivery::id.eq(Id16::from(id))
            .and(delivery::state.eq(seen.state.code()))
            .and(delivery::attempts.eq(attempts))))
        .set((
            delivery::state.eq(DeliveryState::Sending.code()),
            delivery::attempts.eq(attempts.saturating_add(1)),
            delivery::lease_until.eq(Some(lease_until)),
            delivery::holder.eq(Some(Id16::from(holder))),
        ))
        .execute(c))?;
    Ok(claimed == 1)
}

/// Ends or postpones a promise that this try holds. False: the try no longer holds it.
///
/// # Errors
/// When the store cannot be written.
pub fn settle(connection: &mut Connection, id: DeliveryId, attempt: u32, holder: InstanceId, settlement: &Settlement) -> Result<bool> {
    let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
    let (state, next_at, reason, settled_at) = match settlement {
        Settlement::Delivered { at } => (DeliveryState::Delivered, *at, None, Some(*at)),
        Settlement::Again { at, reason } => (DeliveryState::Due, *at, Some(reason.clone()), None),
        Settlement::Dead { at, reason } => (DeliveryState::Dead, *at, Some(reason.clone()), Some(*at)),
    };
    let settled = on!(connection, c => diesel::update(
        delivery::table.filter(delivery::id.eq(Id16::from(id))
            .and(delivery::state.eq(DeliveryState::Sending.code()))
            .and(delivery::attempts.eq(attempt))
            .and(delivery::holder.eq(Some(Id16::from(holder))))))
        .set((
            delivery::state.eq(state.code()),
            delivery::next_at.eq(next_at),
            delivery::reason.eq(reason),
            delivery::settled_at.eq(settled_at),
            delivery::lease_until.eq(None::<Micros>),
        ))
        .execute(c))?;
    Ok(settled == 1)
}

/// What becomes of a promise after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The recipient confirmed.
    Delivered {
        /// When.
        at: Micros,
    },
    /// It will be tried again.
    Again {
        /// When.
        at: Micros,
        /// Why, in our words.
        reason: String,
    },
    /// It is given up.
    Dead {
        /// When.
        at: Micros,
        /// Why: a code of ours or the recipient's status.
        reason: String,
    },
}

/// Drops a due promise because it may no longer be kept. False: it is no longer due.
///
/// # Errors
/// When the store cannot be written.
pub fn drop_due(connection: &mut Connection, seen: &StoredDelivery, reason: &str, at: Micros) -> Result<bool> {
    let dropped = on!(connection, c => diesel::update(
        delivery::table.filter(delivery::id.eq(Id16::from(seen.id)).and(delivery::state.eq(seen.state.code()))
            .and(delivery::attempts.eq(i32::try_from(seen.attempts).unwrap_or(i32::MAX)))))
        .set((
            delivery::state.eq(DeliveryState::Dropped.code()),
            delivery::reason.eq(Some(reason)),
            delivery::settled_at.eq(Some(at)),
        ))
        .execute(c))?;
    Ok(dropped == 1)
}

/// Drops everything that is due for these subjects and says how many promises that were.
///
/// # Errors
/// When the store cannot be written.
pub fn cancel_all(connection: &mut Connection, subjects: &[SubjectId], reason: &str, at: Micros) -> Result<usize> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    Ok(on!(connection, c => diesel::update(
        delivery::table.filter(delivery::subject.eq_any(keys).and(delivery::state.eq(DeliveryState::Due.code()))))
        .set((
            delivery::state.eq(DeliveryState::Dropped.code()),
            delivery::reason.eq(Some(reason)),
            delivery::settled_at.eq(Some(at)),
        ))
        .execute(c))?)
}

/// The promises of these subjects that are on the wire and whose lease has not ended.
///
/// # Errors
/// When the store cannot be read.
pub fn on_the_wire(connection: &mut Connection, subjects: &[SubjectId], now: Micros) -> Result<Vec<StoredDelivery>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let rows: Vec<DeliveryRow> = on!(connection, c => delivery::table
        .filter(delivery::subject.eq_any(keys)
            .and(on_wire())
            .and(delivery::lease_until.gt(now)))
        .order(delivery::id)
        .select(DeliveryRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored).collect()
}

/// Dead letters of a recipient (of all, if none is named), oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn dead(connection: &mut Connection, recipient: Option<&RecipientId>, limit: i64) -> Result<Vec<StoredDelivery>> {
    let rows: Vec<DeliveryRow> = on!(connection, c => {
        let query = delivery::table.filter(dead_letter()).order(delivery::id).limit(limit).select(DeliveryRow::as_select());
        match recipient {
            Some(recipient) => query.filter(delivery::recipient.eq(recipient.as_str())).load(c),
            None => query.load(c),
        }
    })?;
    rows.into_iter().map(stored).collect()
}

/// Makes a dead letter due again, under the same id. False: it was not dead.
///
/// # Errors
/// When the store cannot be written.
pub fn replay(connection: &mut Connection, id: DeliveryId, at: Micros) -> Result<bool> {
    let replayed = on!(connection, c => diesel::update(
        delivery::table.filter(delivery::id.eq(Id16::from(id)).and(delivery::state.eq(DeliveryState::Dead.code()))))
        .set((
            delivery::state.eq(DeliveryState::Due.code()),
            delivery::attempts.eq(0_i32),
            delivery::next_at.eq(at),
            delivery::lease_until.eq(None::<Micros>),
            delivery::reason.eq(None::<String>),
            delivery::settled_at.eq(None::<Micros>),
        ))
        .execute(c))?;
    Ok(replayed == 1)
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

/// The recipients with open promises.
///
/// # Errors
/// When the store cannot be read.
pub fn recipients_with_open(connection: &mut Connection) -> Result<Vec<RecipientId>> {
    let rows: Vec<String> = on!(connection, c => delivery::table
        .filter(open())
        .select(delivery::recipient)
        .distinct()
        .load(c))?;
    Ok(rows.iter().map(|recipient| RecipientId::new(recipient)).collect())
}

/// Remembers the pseudonym by which a recipient knows a subject.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_pseudonym(connection: &mut Connection, recipient: &RecipientId, value: &str, subject: SubjectId, version: u32) -> Result<()> {
    let version = i32::try_from(version).unwrap_or(i32::MAX);
    on!(connection, c => diesel::insert_into(pseudonym::table)
        .values((
            pseudonym::recipient.eq(recipient.as_str()),
            pseudonym::value.eq(value),
            pseudonym::subject.eq(Id16::from(subject)),
            pseudonym::version.eq(version),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// The pseudonyms by which recipients know these subjects.
///
/// # Errors
/// When the store cannot be read.
pub fn pseudonyms_of(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<(RecipientId, SubjectId, String)>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let rows: Vec<(String, Id16, String)> = on!(connection, c => pseudonym::table
        .filter(pseudonym::subject.eq_any(keys))
        .order((pseudonym::recipient, pseudonym::value))
        .select((pseudonym::recipient, pseudonym::subject, pseudonym::value))
        .load(c))?;
    Ok(rows.into_iter().map(|(recipient, subject, value)| (RecipientId::new(&recipient), subject.into(), value)).collect())
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
pub fn subject_of_pseudonym(connection: &mut Connection, recipient: &RecipientId, value: &str) -> Result<Option<SubjectId>> {
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
pub fn set_recipient_state(connection: &mut Connection, recipient: &RecipientId, state: RecipientState, reason: &str, at: Micros, entry: EntryId) -> Result<()> {
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
fn open() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("delivery.state IN (0, 1)")
}

fn on_wire() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("delivery.state IN (0, 1) AND delivery.state = 1")
}

fn dead_letter() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("delivery.state = 4")
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = delivery)]
struct DeliveryRow {
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

fn stored(row: DeliveryRow) -> Result<StoredDelivery> {
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
