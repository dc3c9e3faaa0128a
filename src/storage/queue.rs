//! The queue of one recipient: what is due, claiming it, settling it.
//!
//! Per person the queue is first in, first out: only the first promise that is not settled may go.
//! It is swept in the order in which promises come due, a bounded stretch at a time. So that one
//! person with a hundred thousand promises costs the others nothing, what stands in the way of a sweep
//! is set aside when it is met: behind a promise that waits for its next try, until then; behind a
//! long queue of one person, for an hour, and whatever ends the first of them calls the next one.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, SmallInt, Text};

use crate::domain::id::{DeliveryId, InstanceId, RecipientId, SubjectId};

use super::backend::on;
use super::deliveries::{DeliveryRow, DeliveryState, StoredDelivery, due, on_the_way, open, stored};
use super::schema::delivery;
use super::sql_types::{Id16, Instant, Micros, Uuid16};
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
    /// Promises that wait behind others and would be met by every sweep, and until when they need
    /// not be looked at.
    pub held_up: BTreeMap<Micros, Vec<DeliveryId>>,
    /// Where to go on; `None`: the sweep came to the end.
    pub next: Option<Position>,
}

/// How many rows of a stretch are read for each promise that is wanted, at most.
const ROWS_PER_HEAD: usize = 8;
/// How many promises of one person may stand in the way of one stretch.
const LONG_QUEUE: usize = 64;
/// How long the rest of a long queue is set aside, unless it is called before.
const ASIDE: i64 = 60 * 60 * 1_000_000;

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
    let mut behind: BTreeMap<SubjectId, Vec<DeliveryId>> = BTreeMap::new();
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
                behind.entry(row.subject).or_default().push(row.id);
            }
        }
        if is_end {
            break;
        }
    }
    for (subject, waits_until) in firsts(connection, recipient, behind.keys().copied().collect())? {
        let Some(ids) = behind.remove(&subject) else { continue };
        let until = match waits_until {
            Some(until) if until > now => until,
            _ if ids.len() > LONG_QUEUE => Micros(now.0.saturating_add(ASIDE)),
            _ => continue,
        };
        found.held_up.entry(until).or_default().extend(ids);
    }
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
        .filter(on_the_way()
            .and(delivery::recipient.eq(recipient.as_str()))
            .and(delivery::lease_until.le(now)))
        .order(delivery::lease_until)
        .limit(limit)
        .select(DeliveryRow::as_select())
        .load(c))?;
    rows.into_iter().map(stored).collect()
}

/// The first open promise of each of these people: until when it waits, or `None` if it is on the wire.
fn firsts(
    connection: &mut Connection,
    recipient: &RecipientId,
    subjects: Vec<SubjectId>,
) -> Result<Vec<(SubjectId, Option<Micros>)>> {
    let mut found: Vec<(Id16, i16, Micros)> = Vec::with_capacity(subjects.len());
    match connection {
        Connection::Sqlite(c) => {
            for subject in subjects {
                let first: Option<(Id16, i16, Micros)> = delivery::table
                    .filter(
                        open()
                            .and(delivery::subject.eq(Id16::from(subject)))
                            .and(delivery::recipient.eq(recipient.as_str())),
                    )
                    .order(delivery::id)
                    .select((delivery::subject, delivery::state, delivery::next_at))
                    .first(c)
                    .optional()?;
                found.extend(first);
            }
        }
        Connection::Postgres(c) => {
            #[derive(QueryableByName)]
            struct First {
                #[diesel(sql_type = Uuid16)]
                subject: Id16,
                #[diesel(sql_type = SmallInt)]
                state: i16,
                #[diesel(sql_type = Instant)]
                next_at: Micros,
            }
            let keys: Vec<Id16> = subjects.into_iter().map(Id16::from).collect();
            let rows: Vec<First> = diesel::sql_query(
                "SELECT first.subject, first.state, first.next_at FROM unnest($1) AS wanted (subject) CROSS JOIN LATERAL \
                 (SELECT subject, state, next_at FROM delivery WHERE delivery.subject = wanted.subject AND recipient = $2 \
                 AND state IN (0, 1) ORDER BY id LIMIT 1) AS first",
            )
            .bind::<Array<Uuid16>, _>(keys)
            .bind::<Text, _>(recipient.as_str())
            .load(c)?;
            found.extend(rows.into_iter().map(|row| (row.subject, row.state, row.next_at)));
        }
    }
    let is_due = |state: i16| state == DeliveryState::Due.code();
    Ok(found.into_iter().map(|(subject, state, at)| (subject.into(), is_due(state).then_some(at))).collect())
}

/// Sets promises aside that wait behind others. One that has become the first of its person
/// meanwhile stays.
///
/// # Errors
/// When the store cannot be written.
pub fn hold_up(connection: &mut Connection, held_up: &BTreeMap<Micros, Vec<DeliveryId>>) -> Result<()> {
    for (until, ids) in held_up {
        let ids: Vec<Id16> = ids.iter().copied().map(Id16::from).collect();
        on!(connection, c => diesel::update(delivery::table.filter(delivery::id.eq_any(ids).and(due()).and(diesel::dsl::not(is_first()))))
            .set(delivery::next_at.eq(until))
            .execute(c))?;
    }
    Ok(())
}

/// Calls the promises that are now the first of these people, should they have been set aside.
///
/// # Errors
/// When the store cannot be written.
pub fn call_next(
    connection: &mut Connection,
    recipient: &RecipientId,
    subjects: &[SubjectId],
    now: Micros,
) -> Result<()> {
    match connection {
        Connection::Sqlite(c) => {
            for subject in subjects {
                diesel::sql_query(
                    "UPDATE delivery SET next_at = ?1 WHERE state = 0 AND next_at > ?1 AND id = (SELECT first.id FROM delivery AS first \
                     WHERE first.subject = ?2 AND first.recipient = ?3 AND first.state IN (0, 1) ORDER BY first.id LIMIT 1)",
                )
                .bind::<Instant, _>(now)
                .bind::<Uuid16, _>(Id16::from(*subject))
                .bind::<Text, _>(recipient.as_str())
                .execute(c)?;
            }
        }
        Connection::Postgres(c) => {
            let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
            diesel::sql_query(
                "UPDATE delivery SET next_at = $1 FROM unnest($2) AS wanted (subject) WHERE state = 0 AND next_at > $1 \
                 AND id = (SELECT first.id FROM delivery AS first WHERE first.subject = wanted.subject \
                 AND first.recipient = $3 AND first.state IN (0, 1) ORDER BY first.id LIMIT 1)",
            )
            .bind::<Instant, _>(now)
            .bind::<Array<Uuid16>, _>(keys)
            .bind::<Text, _>(recipient.as_str())
            .execute(c)?;
        }
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

fn dead_letter() -> SqlLiteral<Bool> {
    sql("delivery.state = 4")
}

/// Whether no earlier promise to the same recipient about the same person is open.
fn is_first() -> SqlLiteral<Bool> {
    sql("NOT EXISTS (SELECT 1 FROM delivery AS earlier WHERE earlier.subject = delivery.subject \
         AND earlier.recipient = delivery.recipient AND earlier.state IN (0, 1) AND earlier.id < delivery.id)")
}
