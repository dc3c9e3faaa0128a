//! State rows: one a person, whose version rises with everything that can change a decision.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, SmallInt};

use crate::domain::id::{EntryId, PurposeId, SubjectId};
use crate::domain::subject::SubjectStatus;

use super::backend::{Statement, bulk_insert, on, same};
use super::schema::subject;
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Error, Result, Transaction};

/// Version of a state row, from 1.
pub type Version = i64;

/// A person met for the first time.
pub struct NewSubject {
    /// The id.
    pub id: SubjectId,
    /// The profile it joins; its own id if none.
    pub profile: SubjectId,
    /// Whether it stands for a device or browser and not for a person as such.
    pub device: bool,
    /// Whether an identifier of it stands on the suppression list for direct marketing.
    pub suppressed: bool,
    /// When.
    pub created_at: Micros,
    /// The leaf that made it.
    pub entry: EntryId,
}

/// A state row.
#[derive(Clone, Debug)]
pub struct StoredSubject {
    /// The id.
    pub id: SubjectId,
    /// The profile.
    pub profile: SubjectId,
    /// The version.
    pub version: Version,
    /// The status.
    pub status: SubjectStatus,
    /// Whether it stands for a device.
    pub device: bool,
    /// Version of the data key in use.
    pub key_version: u32,
    /// Whether an identifier of it stands on the suppression list for direct marketing.
    pub suppressed: bool,
    /// When it was met.
    pub created_at: Micros,
}

bulk_insert! {
    /// Inserts state rows at version 1.
    pub(super) fn insert(row: NewSubject) into subject {
        id: Uuid16 = Id16::from(row.id),
        profile: Uuid16 = Id16::from(row.profile),
        version: BigInt = same(row, 1_i64),
        status: SmallInt = same(row, 0_i16),
        device: SmallInt = i16::from(row.device),
        key_version: Integer = same(row, 1_i32),
        suppressed: SmallInt = i16::from(row.suppressed),
        created_at: Instant = row.created_at,
        entry: Uuid16 = Id16::from(row.entry),
    }
}

/// Locks the rows of these subjects in the order of their ids and gives their versions.
pub(super) fn lock(
    connection: &mut Connection,
    ids: &[SubjectId],
    known: &mut KnownVersions,
) -> Result<BTreeMap<SubjectId, Version>> {
    match connection {
        // SQLite has one writer: whoever is in the transaction holds every row.
        Connection::Sqlite(c) => {
            known.follow(c)?;
            let mut versions = BTreeMap::new();
            for id in ids {
                let version = match known.versions.get(id) {
                    Some(version) => Some(*version),
                    None => subject::table.find(Id16::from(*id)).select(subject::version).first(c).optional()?,
                };
                versions.extend(version.map(|version| (*id, version)));
            }
            Ok(versions)
        }
        Connection::Postgres(c) => {
            let keys: Vec<Id16> = ids.iter().copied().map(Id16::from).collect();
            let rows: Vec<(Id16, Version)> = Statement::<Lock, _, (Uuid16, BigInt)>::new(
                "SELECT id, version FROM subject WHERE id = ANY(",
                (IntoSql::into_sql::<Array<Uuid16>>(keys),),
                ") ORDER BY id FOR NO KEY UPDATE",
            )
            .load(c)?;
            Ok(rows.into_iter().map(|(id, version)| (id.into(), version)).collect())
        }
    }
}

struct Lock;

/// Versions that are remembered at most.
const KNOWN_VERSIONS: usize = 50_000;

/// The versions of state rows as the committer of a SQLite store last read or wrote them, so that the
/// hot path does not read a row an event. Good until another connection commits, which SQLite tells.
#[derive(Default)]
pub(super) struct KnownVersions {
    data_version: i32,
    versions: HashMap<SubjectId, Version>,
    /// What the open transaction leaves behind if it commits.
    noted: Vec<(SubjectId, Option<Version>)>,
}

impl KnownVersions {
    /// Forgets everything if another connection has committed since the last transaction.
    fn follow(&mut self, connection: &mut SqliteConnection) -> Result<()> {
        let data_version = Statement::<Self, _, Integer>::new("PRAGMA data_version", (), "").get_result(connection)?;
        if self.data_version != data_version {
            self.data_version = data_version;
            self.versions.clear();
        }
        Ok(())
    }

    /// Notes what a transaction locked and left, for when it is on disk.
    pub(super) fn note(&mut self, locked: Vec<SubjectId>, left: &BTreeMap<SubjectId, Version>) {
        self.noted = locked.into_iter().map(|id| (id, left.get(&id).copied())).collect();
    }

    /// The transaction is on disk: what was noted holds.
    pub(super) fn keep(&mut self) {
        if self.versions.len() > KNOWN_VERSIONS {
            self.versions.clear();
        }
        for (id, version) in self.noted.drain(..) {
            match version {
                Some(version) => self.versions.insert(id, version),
                None => self.versions.remove(&id),
            };
        }
    }

    /// Forgets everything, because a transaction was rolled back or went another way.
    pub(super) fn forget(&mut self) {
        self.noted.clear();
        self.versions.clear();
    }
}

/// Raises the version of a subject: whatever was decided on the old one must be decided again.
///
/// # Errors
/// [`Error::Refused`] if the subject was not locked by the unit.
pub fn raise(transaction: &mut Transaction<'_>, id: SubjectId) -> Result<Version> {
    let version =
        transaction.version(id).ok_or(Error::Refused("a subject must be locked before its version is raised"))?;
    let raised = version.saturating_add(1);
    on!(transaction.connection(), c => diesel::update(subject::table.find(Id16::from(id)))
        .set(subject::version.eq(raised))
        .execute(c))?;
    transaction.versions.insert(id, raised);
    Ok(raised)
}

/// Moves a subject to a profile and raises its version.
///
/// # Errors
/// As [`raise`].
pub fn move_to_profile(transaction: &mut Transaction<'_>, id: SubjectId, profile: SubjectId) -> Result<()> {
    raise(transaction, id)?;
    on!(transaction.connection(), c => diesel::update(subject::table.find(Id16::from(id)))
        .set(subject::profile.eq(Id16::from(profile)))
        .execute(c))?;
    Ok(())
}

/// Sets the status and raises the version.
///
/// # Errors
/// As [`raise`].
pub fn set_status(transaction: &mut Transaction<'_>, id: SubjectId, status: &SubjectStatus) -> Result<()> {
    raise(transaction, id)?;
    let (code, purpose) = written(status);
    on!(transaction.connection(), c => diesel::update(subject::table.find(Id16::from(id)))
        .set((subject::status.eq(code), subject::retained_purpose.eq(purpose.as_deref())))
        .execute(c))?;
    Ok(())
}

/// Says that an identifier of the subject stands on the suppression list, or no longer does.
///
/// # Errors
/// As [`raise`].
pub fn set_suppressed(transaction: &mut Transaction<'_>, id: SubjectId, suppressed: bool) -> Result<()> {
    raise(transaction, id)?;
    on!(transaction.connection(), c => diesel::update(subject::table.find(Id16::from(id)))
        .set(subject::suppressed.eq(i16::from(suppressed)))
        .execute(c))?;
    Ok(())
}

/// Sets the version of the data key and raises the version.
///
/// # Errors
/// As [`raise`].
pub fn set_key_version(transaction: &mut Transaction<'_>, id: SubjectId, key_version: u32) -> Result<()> {
    raise(transaction, id)?;
    let key_version = i32::try_from(key_version).map_err(|_| Error::Refused("no further key version"))?;
    on!(transaction.connection(), c => diesel::update(subject::table.find(Id16::from(id)))
        .set(subject::key_version.eq(key_version))
        .execute(c))?;
    Ok(())
}

type Row = (Id16, Id16, Version, i16, i16, i32, Option<String>, i16, Micros);

macro_rules! columns {
    () => {
        (
            subject::id,
            subject::profile,
            subject::version,
            subject::status,
            subject::device,
            subject::key_version,
            subject::retained_purpose,
            subject::suppressed,
            subject::created_at,
        )
    };
}

fn stored(row: Row) -> Result<StoredSubject> {
    let (id, profile, version, status, device, key_version, retained_purpose, suppressed, created_at) = row;
    let malformed = Error::Malformed { table: "subject" };
    let status = match (status, retained_purpose) {
        (0, None) => SubjectStatus::Active,
        (1, None) => SubjectStatus::Erasing,
        (2, Some(purpose)) => SubjectStatus::RetainedOnly { purpose: PurposeId::new(&purpose) },
        (3, None) => SubjectStatus::Erased,
        _ => return Err(malformed),
    };
    Ok(StoredSubject {
        id: id.into(),
        profile: profile.into(),
        version,
        status,
        device: device != 0,
        key_version: u32::try_from(key_version).map_err(|_| malformed)?,
        suppressed: suppressed != 0,
        created_at,
    })
}

fn written(status: &SubjectStatus) -> (i16, Option<String>) {
    match status {
        SubjectStatus::Active => (0, None),
        SubjectStatus::Erasing => (1, None),
        SubjectStatus::RetainedOnly { purpose } => (2, Some(purpose.as_str().to_owned())),
        SubjectStatus::Erased => (3, None),
    }
}

/// The state row of a subject.
///
/// # Errors
/// When the store cannot be read.
pub fn find(connection: &mut Connection, id: SubjectId) -> Result<Option<StoredSubject>> {
    let row: Option<Row> =
        on!(connection, c => subject::table.find(Id16::from(id)).select(columns!()).first(c).optional())?;
    row.map(stored).transpose()
}

/// Which of these subjects are left only because a law obliges to keep something of them.
///
/// # Errors
/// When the store cannot be read.
pub fn retained_among(connection: &mut Connection, ids: &[SubjectId]) -> Result<std::collections::BTreeSet<SubjectId>> {
    let ids: Vec<Id16> = ids.iter().copied().map(Id16::from).collect();
    let found: Vec<Id16> = on!(connection, c => subject::table
        .filter(subject::id.eq_any(ids).and(subject::retained_purpose.is_not_null()))
        .select(subject::id)
        .load(c))?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// Which of these subjects have a state row.
///
/// # Errors
/// When the store cannot be read.
pub fn existing(connection: &mut Connection, ids: &[SubjectId]) -> Result<std::collections::BTreeSet<SubjectId>> {
    let ids: Vec<Id16> = ids.iter().copied().map(Id16::from).collect();
    let found: Vec<Id16> =
        on!(connection, c => subject::table.filter(subject::id.eq_any(&ids)).select(subject::id).load(c))?;
    Ok(found.into_iter().map(SubjectId::from).collect())
}

/// The state rows of all subjects of the profile that `id` belongs to, itself included.
///
/// # Errors
/// When the store cannot be read.
pub fn profile_of(connection: &mut Connection, id: SubjectId) -> Result<Vec<StoredSubject>> {
    let Some(own) = find(connection, id)? else { return Ok(Vec::new()) };
    let profile = Id16::from(own.profile);
    // The root's row is found by its id and the others by the partial index, which leaves roots out.
    let rows: Vec<Row> = on!(connection, c => subject::table
        .filter(subject::id.eq(profile).or(subject::profile.eq(profile).and(subject::profile.ne(subject::id))))
        .order(subject::id)
        .select(columns!())
        .load(c))?;
    rows.into_iter().map(stored).collect()
}

/// The state rows of these subjects and of everybody in their profiles, ordered by id. Who no longer
/// exists is left out.
///
/// # Errors
/// When the store cannot be read.
pub fn with_profiles(connection: &mut Connection, ids: &[SubjectId]) -> Result<Vec<StoredSubject>> {
    let own: Vec<Id16> = ids.iter().copied().map(Id16::from).collect();
    let mut rows: Vec<Row> =
        on!(connection, c => subject::table.filter(subject::id.eq_any(&own)).select(columns!()).load(c))?;
    let profiles: Vec<Id16> = rows.iter().map(|row| row.1).collect();
    let roots: Vec<Id16> = profiles.iter().filter(|profile| !own.contains(profile)).copied().collect();
    if !roots.is_empty() {
        let found: Vec<Row> =
            on!(connection, c => subject::table.filter(subject::id.eq_any(roots)).select(columns!()).load(c))?;
        rows.extend(found);
    }
    // The partial index leaves roots out.
    let others: Vec<Row> = on!(connection, c => subject::table
        .filter(subject::profile.eq_any(profiles).and(subject::profile.ne(subject::id)))
        .select(columns!())
        .load(c))?;
    rows.extend(others);
    rows.sort_unstable_by_key(|row| row.0);
    rows.dedup_by_key(|row| row.0);
    rows.into_iter().map(stored).collect()
}

/// Subjects in the state of being erased, for the resumption of what was interrupted.
///
/// # Errors
/// When the store cannot be read.
pub fn erasing(connection: &mut Connection) -> Result<Vec<SubjectId>> {
    let rows: Vec<Id16> = on!(connection, c => subject::table
        .filter(subject::status.eq(1_i16))
        .select(subject::id)
        .order(subject::id)
        .load(c))?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// How many people are stored.
///
/// # Errors
/// When the store cannot be read.
pub fn count(connection: &mut Connection) -> Result<i64> {
    Ok(on!(connection, c => subject::table.count().get_result(c))?)
}

/// Deletes the state row, the last row of an erasure.
///
/// # Errors
/// When the store cannot be written.
pub fn delete(transaction: &mut Transaction<'_>, id: SubjectId) -> Result<usize> {
    transaction.versions.remove(&id);
    Ok(on!(transaction.connection(), c => diesel::delete(subject::table.find(Id16::from(id))).execute(c))?)
}
