//! The append-only stream of consent events.
//!
//! What a person consents to now is not stored: it is folded from the stream by `domain::consent`
//! each time it is read, so there is no second truth that could differ. Events are only ever
//! inserted; nothing updates or deletes them but an erasure and the end of the evidence period.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Binary, Integer, Nullable, SmallInt, Text};

use crate::domain::consent::{ConsentEventKind, NoticeShown, Proof, Scope};
use crate::domain::id::{
    Channel, CollectorId, ConsentEventId, ConsentId, EntryId, InteractionId, NoticeId, PurposeId, SubjectId,
};
use crate::domain::policy::PolicyHash;

use super::backend::{bulk_insert, on};
use super::schema::{consent_event, consent_line};
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Error, Result};

/// A line opened: one purpose, one channel, one scope of one subject.
pub struct NewLine {
    /// Its id, random.
    pub id: ConsentId,
    /// Whose it is.
    pub subject: SubjectId,
    /// The purpose.
    pub purpose: PurposeId,
    /// The channel; `None` if the purpose lists none.
    pub channel: Option<Channel>,
    /// What it covers.
    pub scope: Scope,
    /// When.
    pub created_at: Micros,
    /// The leaf that made it.
    pub entry: EntryId,
}

/// An event recorded.
pub struct NewEvent {
    /// The event as it will be read.
    pub event: StoredEvent,
    /// Evidence, sealed under the person's key.
    pub evidence: Option<Vec<u8>>,
}

/// Who acted, and in which relation to the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The person.
    Myself,
    /// Art. 8.
    Guardian,
    /// Somebody with a mandate.
    Agent,
    /// An officer of the controller.
    Officer,
    /// A collector, with a signal.
    Collector,
    /// The gateway.
    System,
}

/// A line with its events as they are stored.
#[derive(Clone, Debug)]
pub struct StoredLine {
    /// Its id.
    pub id: ConsentId,
    /// Whose it is.
    pub subject: SubjectId,
    /// The purpose.
    pub purpose: PurposeId,
    /// The channel.
    pub channel: Option<Channel>,
    /// What it covers.
    pub scope: Scope,
    /// Its events, in the order of their ids.
    pub events: Vec<StoredEvent>,
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its id (UUIDv7).
    pub id: ConsentEventId,
    /// Its line.
    pub consent: ConsentId,
    /// Whose line it is.
    pub subject: SubjectId,
    /// Shared by all choices of one act.
    pub interaction: InteractionId,
    /// What happened.
    pub kind: ConsentEventKind,
    /// Who acted.
    pub actor: Relation,
    /// What it rests on.
    pub proof: Proof,
    /// The text that was shown.
    pub notice: Option<NoticeShown>,
    /// The policy in force when it was recorded.
    pub policy: PolicyHash,
    /// When it happened, by the collector's claim.
    pub given_at: Micros,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// End of validity.
    pub valid_until: Option<Micros>,
    /// Whether the act was explicit.
    pub explicit: bool,
    /// Who brought it.
    pub collector: CollectorId,
    /// How it was expressed (`click`, `typed`, …); empty for signals.
    pub method: String,
    /// MAC of the row under the person's key: a row that fails it permits nothing.
    pub mac: [u8; 32],
    /// The leaf that made it.
    pub entry: EntryId,
}

bulk_insert! {
    /// Opens lines.
    pub(super) fn insert_lines(row: NewLine) into consent_line {
        id: Uuid16 = Id16::from(row.id),
        subject: Uuid16 = Id16::from(row.subject),
        purpose: Text = row.purpose.as_str(),
        channel: Text = row.channel.as_ref().map_or("", Channel::as_str),
        scope: SmallInt = scope_code(row.scope),
        created_at: Instant = row.created_at,
        entry: Uuid16 = Id16::from(row.entry),
    }
}

bulk_insert! {
    /// Appends events.
    pub(super) fn insert_events(row: NewEvent) into consent_event {
        id: Uuid16 = Id16::from(row.event.id),
        consent: Uuid16 = Id16::from(row.event.consent),
        subject: Uuid16 = Id16::from(row.event.subject),
        interaction: Uuid16 = Id16::from(row.event.interaction),
        kind: SmallInt = kind_code(row.event.kind),
        actor: SmallInt = row.event.actor.code(),
        proof: SmallInt = proof_code(row.event.proof),
        notice: Nullable<Text> = row.event.notice.as_ref().map(|notice| notice.id.as_str()),
        notice_version: Nullable<Integer> = row.event.notice.as_ref().map(|notice| i32::try_from(notice.version).unwrap_or(i32::MAX)),
        notice_language: Nullable<Text> = row.event.notice.as_ref().map(|notice| notice.language.as_str()),
        notice_hash: Nullable<Binary> = row.event.notice.as_ref().map(|notice| &notice.text_hash[..]),
        policy: Binary = &row.event.policy.0[..],
        given_at: Instant = row.event.given_at,
        recorded_at: Instant = row.event.recorded_at,
        valid_until: Nullable<Instant> = row.event.valid_until,
        explicit: SmallInt = i16::from(row.event.explicit),
        collector: Text = row.event.collector.as_str(),
        method: Text = row.event.method.as_str(),
        evidence: Nullable<Binary> = row.evidence.as_deref(),
        mac: Binary = &row.event.mac[..],
        entry: Uuid16 = Id16::from(row.event.entry),
    }
}

macro_rules! line_columns {
    () => {
        (consent_line::id, consent_line::subject, consent_line::purpose, consent_line::channel, consent_line::scope)
    };
}

/// All lines of these subjects with their events.
///
/// # Errors
/// When the store cannot be read or a row is malformed.
pub fn of_subjects(connection: &mut Connection, subjects: &[SubjectId]) -> Result<Vec<StoredLine>> {
    let keys: Vec<Id16> = subjects.iter().copied().map(Id16::from).collect();
    let lines = match connection {
        Connection::Sqlite(c) => {
            // A list in SQLite's text would be prepared anew each time; most people are alone.
            let mut lines: Vec<LineRow> = Vec::new();
            for key in &keys {
                lines.extend(
                    consent_line::table
                        .filter(consent_line::subject.eq(key))
                        .select(line_columns!())
                        .load::<LineRow>(c)?,
                );
            }
            lines.sort_unstable_by_key(|line| line.0);
            lines
        }
        Connection::Postgres(c) => consent_line::table
            .filter(consent_line::subject.eq_any(&keys))
            .order(consent_line::id)
            .select(line_columns!())
            .load(c)?,
    };
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<EventRow> = on!(connection, c => consent_event::table
        .filter(consent_event::subject.eq_any(&keys))
        .order(consent_event::id)
        .select(EventRow::as_select())
        .load(c))?;
    let mut events: HashMap<ConsentId, Vec<StoredEvent>> = HashMap::new();
    for row in rows {
        let event = stored_event(row)?;
        events.entry(event.consent).or_default().push(event);
    }
    lines
        .into_iter()
        .map(|row| {
            let mut line = stored_line(row)?;
            line.events = events.remove(&line.id).unwrap_or_default();
            Ok(line)
        })
        .collect()
}

/// One line with its events.
///
/// # Errors
/// As [`of_subjects`].
pub fn find(connection: &mut Connection, id: ConsentId) -> Result<Option<StoredLine>> {
    let subject: Option<Id16> = on!(connection, c => consent_line::table.find(Id16::from(id)).select(consent_line::subject).first(c).optional())?;
    let Some(subject) = subject else { return Ok(None) };
    Ok(of_subjects(connection, &[subject.into()])?.into_iter().find(|line| line.id == id))
}

/// The events with these ids, those that exist, in no order.
///
/// # Errors
/// When the store cannot be read or a row is malformed.
pub fn events_by_ids(connection: &mut Connection, ids: &[Id16]) -> Result<Vec<StoredEvent>> {
    let rows: Vec<EventRow> = on!(connection, c => consent_event::table.filter(consent_event::id.eq_any(ids)).select(EventRow::as_select()).load(c))?;
    rows.into_iter().map(stored_event).collect()
}

/// The lines with these ids, those that exist, in no order, without their events.
///
/// # Errors
/// When the store cannot be read or a row is malformed.
pub fn lines_by_ids(connection: &mut Connection, ids: &[Id16]) -> Result<Vec<StoredLine>> {
    let rows: Vec<LineRow> =
        on!(connection, c => consent_line::table.filter(consent_line::id.eq_any(ids)).select(line_columns!()).load(c))?;
    rows.into_iter().map(stored_line).collect()
}

impl Relation {
    /// The spelling in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Myself => "self",
            Self::Guardian => "guardian",
            Self::Agent => "agent",
            Self::Officer => "officer",
            Self::Collector => "collector",
            Self::System => "system",
        }
    }

    /// Its number in the column, part of the row's MAC.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Myself => 0,
            Self::Guardian => 1,
            Self::Agent => 2,
            Self::Officer => 3,
            Self::Collector => 4,
            Self::System => 5,
        }
    }

    const fn read(code: i16) -> Option<Self> {
        Some(match code {
            0 => Self::Myself,
            1 => Self::Guardian,
            2 => Self::Agent,
            3 => Self::Officer,
            4 => Self::Collector,
            5 => Self::System,
            _ => return None,
        })
    }
}

/// The number of an event kind in the column, part of the row's MAC.
#[must_use]
pub const fn kind_code(kind: ConsentEventKind) -> i16 {
    match kind {
        ConsentEventKind::Ask => 0,
        ConsentEventKind::Give => 1,
        ConsentEventKind::Confirm => 2,
        ConsentEventKind::Refuse => 3,
        ConsentEventKind::Withdraw => 4,
        ConsentEventKind::Object => 5,
        ConsentEventKind::EndObjection => 6,
        ConsentEventKind::Invalidate => 7,
    }
}

const fn kind_read(code: i16) -> Option<ConsentEventKind> {
    Some(match code {
        0 => ConsentEventKind::Ask,
        1 => ConsentEventKind::Give,
        2 => ConsentEventKind::Confirm,
        3 => ConsentEventKind::Refuse,
        4 => ConsentEventKind::Withdraw,
        5 => ConsentEventKind::Object,
        6 => ConsentEventKind::EndObjection,
        7 => ConsentEventKind::Invalidate,
        _ => return None,
    })
}

/// The number of a proof in the column, part of the row's MAC.
#[must_use]
pub const fn proof_code(proof: Proof) -> i16 {
    match proof {
        Proof::None => 0,
        Proof::Imported => 1,
        Proof::Signal => 2,
        Proof::Act => 3,
    }
}

const fn proof_read(code: i16) -> Option<Proof> {
    Some(match code {
        0 => Proof::None,
        1 => Proof::Imported,
        2 => Proof::Signal,
        3 => Proof::Act,
        _ => return None,
    })
}

/// The number of a scope in the column.
#[must_use]
pub const fn scope_code(scope: Scope) -> i16 {
    match scope {
        Scope::Person => 0,
        Scope::Device => 1,
    }
}

type LineRow = (Id16, Id16, String, String, i16);

fn stored_line((id, subject, purpose, channel, scope): LineRow) -> Result<StoredLine> {
    Ok(StoredLine {
        id: id.into(),
        subject: subject.into(),
        purpose: PurposeId::new(&purpose),
        channel: (!channel.is_empty()).then(|| Channel::new(&channel)),
        scope: match scope {
            0 => Scope::Person,
            1 => Scope::Device,
            _ => return Err(Error::Malformed { table: "consent_line" }),
        },
        events: Vec::new(),
    })
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = consent_event)]
struct EventRow {
    id: Id16,
    consent: Id16,
    subject: Id16,
    interaction: Id16,
    kind: i16,
    actor: i16,
    proof: i16,
    notice: Option<String>,
    notice_version: Option<i32>,
    notice_language: Option<String>,
    notice_hash: Option<Vec<u8>>,
    policy: Vec<u8>,
    given_at: Micros,
    recorded_at: Micros,
    valid_until: Option<Micros>,
    explicit: i16,
    collector: String,
    method: String,
    mac: Vec<u8>,
    entry: Id16,
}

fn stored_event(row: EventRow) -> Result<StoredEvent> {
    let malformed = || Error::Malformed { table: "consent_event" };
    let notice = match (row.notice, row.notice_version, row.notice_language, row.notice_hash) {
        (Some(id), Some(version), Some(language), Some(hash)) => Some(NoticeShown {
            id: NoticeId::new(&id),
            version: u32::try_from(version).map_err(|_| malformed())?,
            language,
            text_hash: hash.try_into().map_err(|_| malformed())?,
        }),
        (None, None, None, None) => None,
        _ => return Err(malformed()),
    };
    Ok(StoredEvent {
        id: row.id.into(),
        consent: row.consent.into(),
        subject: row.subject.into(),
        interaction: row.interaction.into(),
        kind: kind_read(row.kind).ok_or_else(malformed)?,
        actor: Relation::read(row.actor).ok_or_else(malformed)?,
        proof: proof_read(row.proof).ok_or_else(malformed)?,
        notice,
        policy: PolicyHash(row.policy.try_into().map_err(|_| malformed())?),
        given_at: row.given_at,
        recorded_at: row.recorded_at,
        valid_until: row.valid_until,
        explicit: row.explicit != 0,
        collector: CollectorId::new(&row.collector),
        method: row.method,
        mac: row.mac.try_into().map_err(|_| malformed())?,
        entry: row.entry.into(),
    })
}
