//! The queue of one recipient: what is due, claiming it, settling it.
//!
//! Per person the queue is first in, first out: only the first promise that is not settled may go.
//! It is swept in the order in which promises come due, a bounded stretch at a time, so that one
//! person with a hundred thousand promises costs the others nothing. Promises behind one that waits
//! for its next try are moved to that time when they are met, so they are looked at once a try and
//! not at every sweep.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::domain::id::{DeliveryId, InstanceId, RecipientId, SubjectId};

use super::backend::on;
use super::deliveries::{DeliveryRow, DeliveryState, StoredDelivery, stored};
use super::schema::delivery;
use super::sql_types::{Id16, Micros};
use super::{Connection, Result};

/// Where a sweep over the due promises of a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    next_at: Micros,
    id: DeliveryId,
}

/// One stretch of a sweep.
#[derive(Debug, Default)]
pub struct Stretch {
    /// Promises that may be claimed, each the first of its person.
    pub heads: Vec<StoredDelivery>,
    /// People whose first promise waits for its next try, and until when.
    pub held_up: Vec<(SubjectId, Micros)>,
    /// Where to go on; `None`: the sweep came to the end.
    pub next: Option<Position>,
}

/// How many rows of a stretch are read for each promise that is wanted, at most.
const ROWS_PER_HEAD: usize = 8;

/// The next promises to a recipient that may be claimed, at most `limit`, from `from` on. A sweep
/// begins with what was left on the wire when its lease ended.
///
/// # Errors
/// When the store cannot be read.
pub fn stretch(
    connection: &mut Connection,
    recipient: &RecipientId,
    now: Micros,
    from: Option<Position>,
    limit: usize,
) -> Result<Stretch> {
    let mut found = Stretch::default();
    if from.is_none() {
        found.heads = left_on_the_wire(connection, recipient, now, limit)?;
    }
    let mut at = from;
    let mut read = 0;
    let mut behind: Vec<SubjectId> = Vec::new();
    loop {
        let wanted = limit.saturating_sub(found.heads.len());
        if wanted == 0 || read >= limit.saturating_mul(ROWS_PER_HEAD) {
            found.next = at;
            break;
        }
        let rows = due_after(connection, recipient, now, at, wanted)?;
        let is_end = rows.len() < wanted;
        read += rows.len();
        for (row, is_first) in rows {
            let row = stored(row)?;
            at = Some(Position { next_at: row.next_at, id: row.id });
            if is_first {
                found.heads.push(row);
            } else {
                behind.push(row.subject);
            }
        }
        if is_end {
            break;
        }
    }
    behind.sort_unstable();
    behind.dedup();
    found.held_up = waiting_firsts(connection, recipient, now, &behind)?;
    Ok(found)
}

/// Due promises after a position, in the order of their time, each with whether it is the first of
/// its person that is not settled.
fn due_after(
    connection: &mut Connection,
    recipient: &RecipientId,
    now: Micros,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<(DeliveryRow, bool)>> {
    // Before everything: no time is negative and no id is zero.
    let after = after.unwrap_or(Position { next_at: Micros(i64::from(i32::MIN)), id: DeliveryId::from_bytes([0; 16]) });
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(on!(connection, c => delivery::table
        .filter(due()
            .and(delivery::recipient.eq(recipient.as_str()))
            .and(delivery::next_at.le(now))
            .and(delivery::next_at.ge(after.next_at))
            .and(delivery::next_at.gt(after.next_at).or(delivery::id.gt(Id16::from(after.id)))))
        .order((delivery::next_at, delivery::id))
        .limit(limit)
        .select((DeliveryRow::as_select(), is_first()))
        .load(c))?)
}

/// Promises whose lease ended before they were settled: nobody knows what became of them.
fn left_on_the_wire(
    connection: &mut Connection,
    recipient: &RecipientId,
    now: Micros,
    limit: usize,
) -> Result<Vec<StoredDelivery>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<DeliveryRow> = on!(connection, c => delivery::table
        .filter(sending()
            .and(delivery::recipient.eq(recipient.as_str()))
            .and(delivery::lease_until.le(now)))
        .order(delivery::lease_until)
        .limit(limit)
        .select(DeliveryRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored).collect()
}

/// Of these people, those whose first promise waits for its next try, and until when.
fn waiting_firsts(
    connection: &mut Connection,
    recipient: &RecipientId,
    now: Micros,
    subjects: &[SubjectId],
) -> Result<Vec<(SubjectId, Micros)>> {
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let rows: Vec<(Id16, Micros)> = on!(connection, c => delivery::table
        .filter(open()
            .and(delivery::subject.eq_any(keys))
            .and(delivery::recipient.eq(recipient.as_str()))
            .and(due())
            .and(delivery::next_at.gt(now))
            .and(is_first()))
        .select((delivery::subject, delivery::next_at))
        .load(c))?;
    Ok(rows.into_iter().map(|(subject, at)| (subject.into(), at)).collect())
}

/// Moves the promises that wait behind somebody's first one to its next try.
///
/// # Errors
/// When the store cannot be written.
pub fn hold_up(connection: &mut Connection, recipient: &RecipientId, held_up: &[(SubjectId, Micros)]) -> Result<()> {
    for (subject, until) in held_up {
        on!(connection, c => diesel::update(delivery::table.filter(open()
                .and(delivery::subject.eq(Id16::from(*subject)))
                .and(delivery::recipient.eq(recipient.as_str()))
                .and(due())
                .and(delivery::next_at.lt(until))))
            .set(delivery::next_at.eq(until))
            .execute(c))?;
    }
    Ok(())
}

/// Claims promises: `sending` until the lease ends. False: one of them is no longer what was seen,
/// and nothing may come of it.
///
/// # Errors
/// When the store cannot be written.
pub fn claim(
    connection: &mut Connection,
    seen: &[StoredDelivery],
    holder: InstanceId,
    lease_until: Micros,
) -> Result<bool> {
    let mut alike: BTreeMap<(i16, u32), Vec<Id16>> = BTreeMap::new();
    for row in seen {
        alike.entry((row.state.code(), row.attempts)).or_default().push(Id16::from(row.id));
    }
    for ((state, attempts), ids) in alike {
        let attempts = i32::try_from(attempts).unwrap_or(i32::MAX);
        let wanted = ids.len();
        let claimed = on!(connection, c => diesel::update(
            delivery::table.filter(delivery::id.eq_any(ids)
                .and(delivery::state.eq(state))
                .and(delivery::attempts.eq(attempts))))
            .set((
                delivery::state.eq(DeliveryState::Sending.code()),
                delivery::attempts.eq(attempts.saturating_add(1)),
                delivery::lease_until.eq(Some(lease_until)),
                delivery::holder.eq(Some(Id16::from(holder))),
            ))
            .execute(c))?;
        if claimed != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A try that is over.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Of which promise.
    pub id: DeliveryId,
    /// The number of the try, as it was claimed.
    pub attempt: u32,
    /// What becomes of the promise.
    pub settlement: Settlement,
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
    /// It will be tried again and this try does not count: nothing was sent, or the recipient refused
    /// our credentials.
    Uncounted {
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

/// Ends or postpones promises that these tries hold. A promise that its try no longer holds stays as
/// it is: somebody else took it over.
///
/// # Errors
/// When the store cannot be written.
pub fn settle(connection: &mut Connection, holder: InstanceId, tries: &[Settled]) -> Result<()> {
    let mut alike: Vec<(u32, &Settlement, Vec<Id16>)> = Vec::new();
    for settled in tries {
        match alike
            .iter_mut()
            .find(|(attempt, settlement, _)| *attempt == settled.attempt && **settlement == settled.settlement)
        {
            Some((.., ids)) => ids.push(Id16::from(settled.id)),
            None => alike.push((settled.attempt, &settled.settlement, vec![Id16::from(settled.id)])),
        }
    }
    for (attempt, settlement, ids) in alike {
        let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
        let (state, attempts, next_at, reason, settled_at) = match settlement {
            Settlement::Delivered { at } => (DeliveryState::Delivered, attempt, *at, None, Some(*at)),
            Settlement::Again { at, reason } => (DeliveryState::Due, attempt, *at, Some(reason), None),
            Settlement::Uncounted { at, reason } => {
                (DeliveryState::Due, attempt.saturating_sub(1), *at, Some(reason), None)
            }
            Settlement::Dead { at, reason } => (DeliveryState::Dead, attempt, *at, Some(reason), Some(*at)),
        };
        on!(connection, c => diesel::update(
            delivery::table.filter(delivery::id.eq_any(ids)
                .and(delivery::state.eq(DeliveryState::Sending.code()))
                .and(delivery::attempts.eq(attempt))
                .and(delivery::holder.eq(Some(Id16::from(holder))))))
            .set((
                delivery::state.eq(state.code()),
                delivery::attempts.eq(attempts),
                delivery::next_at.eq(next_at),
                delivery::reason.eq(reason.cloned()),
                delivery::settled_at.eq(settled_at),
                delivery::lease_until.eq(None::<Micros>),
            ))
            .execute(c))?;
    }
    Ok(())
}

/// How a promise ends without a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It may no longer be kept.
    Dropped,
    /// It cannot be kept.
    Dead,
}

/// Ends a promise without a try. False: it is no longer what was seen.
///
/// # Errors
/// When the store cannot be written.
pub fn end(connection: &mut Connection, seen: &StoredDelivery, end: End, reason: &str, at: Micros) -> Result<bool> {
    let state = match end {
        End::Dropped => DeliveryState::Dropped,
        End::Dead => DeliveryState::Dead,
    };
    let ended = on!(connection, c => diesel::update(
        delivery::table.filter(delivery::id.eq(Id16::from(seen.id))
            .and(delivery::state.eq(seen.state.code()))
            .and(delivery::attempts.eq(i32::try_from(seen.attempts).unwrap_or(i32::MAX)))))
        .set((
            delivery::state.eq(state.code()),
            delivery::reason.eq(Some(reason)),
            delivery::settled_at.eq(Some(at)),
            delivery::lease_until.eq(None::<Micros>),
        ))
        .execute(c))?;
    Ok(ended == 1)
}

/// Dead letters of a recipient (of all, if none is named), oldest first, those after `after`.
///
/// # Errors
/// When the store cannot be read.
pub fn dead(
    connection: &mut Connection,
    recipient: Option<&RecipientId>,
    after: Option<DeliveryId>,
    limit: i64,
) -> Result<Vec<StoredDelivery>> {
    let after = Id16::from(after.unwrap_or(DeliveryId::from_bytes([0; 16])));
    let rows: Vec<DeliveryRow> = on!(connection, c => {
        let query = delivery::table
            .filter(dead_letter().and(delivery::id.gt(after)))
            .order(delivery::id)
            .limit(limit)
            .select(DeliveryRow::as_select());
        match recipient {
            Some(recipient) => query.filter(delivery::recipient.eq(recipient.as_str())).load(c),
            None => query.load(c),
        }
    })?;
    rows.into_iter().map(stored).collect()
}

/// Makes dead letters due again, under the same ids, and says how many still were dead.
///
/// # Errors
/// When the store cannot be written.
pub fn replay(connection: &mut Connection, ids: &[DeliveryId], at: Micros) -> Result<usize> {
    let ids: Vec<Id16> = ids.iter().copied().map(Id16::from).collect();
    Ok(on!(connection, c => diesel::update(
        delivery::table.filter(delivery::id.eq_any(ids).and(delivery::state.eq(DeliveryState::Dead.code()))))
        .set((
            delivery::state.eq(DeliveryState::Due.code()),
            delivery::attempts.eq(0_i32),
            delivery::next_at.eq(at),
            delivery::lease_until.eq(None::<Micros>),
            delivery::reason.eq(None::<String>),
            delivery::settled_at.eq(None::<Micros>),
        ))
        .execute(c))?)
}

// Literals, because a partial index serves a query only if its condition stands there literally.
fn open() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("delivery.state IN (0, 1)")
}

fn due() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("delivery.state = 0")
}

fn sending() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("delivery.state = 1")
}

fn dead_letter() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("delivery.state = 4")
}

/// Whether no earlier promise to the same recipient about the same person is open.
fn is_first() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql(
        "NOT EXISTS (SELECT 1 FROM delivery AS earlier WHERE earlier.subject = delivery.subject \
         AND earlier.recipient = delivery.recipient AND earlier.state IN (0, 1) AND earlier.id < delivery.id)",
    )
}
