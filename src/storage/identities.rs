//! Identifiers, the blind index that finds them, and the links between subjects.

use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Integer, SmallInt, Text};

use crate::crypto::sealed::Sealed;
use crate::domain::id::{CollectorId, EntryId, IdentifierId, SubjectId};

use super::backend::{bulk_insert, on};
use super::schema::{identifier, identifier_index, identity_edge};
use super::sql_types::{Id16, Instant, Micros, Uuid16};
use super::{Connection, Error, Result};

/// How far a join or an identifier can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkProof {
    /// A public key said so: narrowing crosses the link, permission does not.
    Claimed,
    /// A server key said so.
    Asserted,
    /// The person proved it.
    Verified,
}

/// An identifier learnt.
pub struct NewIdentifier {
    /// Its id.
    pub id: IdentifierId,
    /// Whose it is.
    pub subject: SubjectId,
    /// The spelling of its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Original and canonical spelling, sealed under the subject's key.
    pub sealed: Sealed,
    /// How far it can be believed.
    pub proof: LinkProof,
    /// Its blind index values, by index version.
    pub index: Vec<(u32, [u8; 16])>,
    /// When.
    pub added_at: Micros,
    /// The leaf that made it.
    pub entry: EntryId,
}

/// An identifier as it is stored.
#[derive(Clone)]
pub struct StoredIdentifier {
    /// Its id.
    pub id: IdentifierId,
    /// Whose it is.
    pub subject: SubjectId,
    /// The spelling of its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Original and canonical spelling, sealed.
    pub sealed: Vec<u8>,
    /// When it was added.
    pub added_at: Micros,
}

/// A link made or ended.
pub struct NewEdge {
    /// Its id (a UUIDv7, which orders the operations of a pair).
    pub id: [u8; 16],
    /// Whether the two are joined or parted.
    pub joined: bool,
    /// One side.
    pub subject_a: SubjectId,
    /// The other side.
    pub subject_b: SubjectId,
    /// Blind index of the identifier on one side.
    pub index_a: [u8; 16],
    /// Blind index of the identifier on the other side.
    pub index_b: [u8; 16],
    /// Kind on one side.
    pub kind_a: String,
    /// Kind on the other side.
    pub kind_b: String,
    /// How far it can be believed.
    pub proof: LinkProof,
    /// Who said so.
    pub collector: CollectorId,
    /// When.
    pub at: Micros,
    /// The leaf that made it.
    pub entry: EntryId,
}

/// A link as it is stored.
#[derive(Clone, Debug)]
pub struct StoredEdge {
    /// Whether the two were joined or parted.
    pub joined: bool,
    /// One side.
    pub subject_a: SubjectId,
    /// The other side.
    pub subject_b: SubjectId,
    /// How far it can be believed.
    pub proof: LinkProof,
}

impl LinkProof {
    /// Its number in the column, part of what leaves cover.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Claimed => 0,
            Self::Asserted => 1,
            Self::Verified => 2,
        }
    }

    const fn read(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Claimed),
            1 => Ok(Self::Asserted),
            2 => Ok(Self::Verified),
            _ => Err(Error::Malformed { table: "identity_edge" }),
        }
    }
}

bulk_insert! {
    /// Inserts identifiers; their index rows come first, by [`insert_index`].
    pub(super) fn insert(row: NewIdentifier) into identifier {
        id: Uuid16 = Id16::from(row.id),
        subject: Uuid16 = Id16::from(row.subject),
        kind: Text = row.kind.as_str(),
        namespace: Text = row.namespace.as_str(),
        sealed: Binary = row.sealed.as_bytes(),
        proof: SmallInt = row.proof.code(),
        added_at: Instant = row.added_at,
        entry: Uuid16 = Id16::from(row.entry),
    }
}

bulk_insert! {
    /// Inserts links made or ended.
    pub(super) fn insert_edges(row: NewEdge) into identity_edge {
        id: Uuid16 = Id16(row.id),
        operation: SmallInt = i16::from(row.joined),
        subject_a: Uuid16 = Id16::from(row.subject_a),
        subject_b: Uuid16 = Id16::from(row.subject_b),
        index_a: Binary = &row.index_a[..],
        index_b: Binary = &row.index_b[..],
        kind_a: Text = row.kind_a.as_str(),
        kind_b: Text = row.kind_b.as_str(),
        proof: SmallInt = row.proof.code(),
        collector: Text = row.collector.as_str(),
        at: Instant = row.at,
        entry: Uuid16 = Id16::from(row.entry),
    }
}

/// Writes the index rows of a unit's identifiers, all or none. False: a value is taken, by another
/// unit that met the same person first.
pub(super) fn insert_index(connection: &mut Connection, identifiers: &[NewIdentifier]) -> Result<bool> {
    let rows: Vec<(&NewIdentifier, i32, &[u8; 16])> = identifiers
        .iter()
        .flat_map(|new| {
            new.index.iter().map(move |(version, value)| (new, i32::try_from(*version).unwrap_or(i32::MAX), value))
        })
        .collect();
    let mut inserted = 0;
    match connection {
        Connection::Sqlite(c) => {
            for (new, version, value) in &rows {
                inserted += diesel::insert_into(identifier_index::table)
                    .values((
                        identifier_index::kind.eq(&new.kind),
                        identifier_index::namespace.eq(&new.namespace),
                        identifier_index::index_version.eq(version),
                        identifier_index::value.eq(&value[..]),
                        identifier_index::identifier.eq(Id16::from(new.id)),
                        identifier_index::subject.eq(Id16::from(new.subject)),
                    ))
                    .on_conflict_do_nothing()
                    .execute(c)?;
            }
        }
        Connection::Postgres(c) => {
            inserted = diesel::sql_query(
                "INSERT INTO identifier_index (kind, namespace, index_version, value, identifier, subject) \
                 SELECT * FROM unnest($1, $2, $3, $4, $5, $6) AS given (kind, namespace, index_version, value, identifier, subject) \
                 ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING",
            )
            .bind::<Array<Text>, _>(rows.iter().map(|(new, ..)| new.kind.as_str()).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(rows.iter().map(|(new, ..)| new.namespace.as_str()).collect::<Vec<_>>())
            .bind::<Array<Integer>, _>(rows.iter().map(|(_, version, _)| *version).collect::<Vec<_>>())
            .bind::<Array<Binary>, _>(rows.iter().map(|(.., value)| &value[..]).collect::<Vec<_>>())
            .bind::<Array<Uuid16>, _>(rows.iter().map(|(new, ..)| Id16::from(new.id)).collect::<Vec<_>>())
            .bind::<Array<Uuid16>, _>(rows.iter().map(|(new, ..)| Id16::from(new.subject)).collect::<Vec<_>>())
            .execute(c)?;
        }
    }
    if inserted == rows.len() {
        return Ok(true);
    }
    for new in identifiers {
        on!(connection, c => diesel::delete(identifier_index::table.filter(identifier_index::identifier.eq(Id16::from(new.id)))).execute(c))?;
    }
    Ok(false)
}

/// The identifier that this blind index value stands for.
///
/// # Errors
/// When the store cannot be read.
pub fn find(
    connection: &mut Connection,
    kind: &str,
    namespace: &str,
    index_version: u32,
    value: &[u8; 16],
) -> Result<Option<StoredIdentifier>> {
    let version = i32::try_from(index_version).unwrap_or(i32::MAX);
    let row: Option<IdentifierRow> = on!(connection, c => identifier_index::table
        .inner_join(identifier::table.on(identifier::id.eq(identifier_index::identifier)))
        .filter(
            identifier_index::kind.eq(kind)
                .and(identifier_index::namespace.eq(namespace))
                .and(identifier_index::index_version.eq(version))
                .and(identifier_index::value.eq(&value[..])),
        )
        .select((identifier::id, identifier::subject, identifier::kind, identifier::namespace, identifier::sealed, identifier::added_at))
        .first(c)
        .optional())?;
    Ok(row.map(stored))
}

/// The identifiers of a subject, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn of_subject(connection: &mut Connection, subject: SubjectId) -> Result<Vec<StoredIdentifier>> {
    let rows: Vec<IdentifierRow> = on!(connection, c => identifier::table
        .filter(identifier::subject.eq(Id16::from(subject)))
        .order(identifier::id)
        .select((identifier::id, identifier::subject, identifier::kind, identifier::namespace, identifier::sealed, identifier::added_at))
        .load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}

/// The identifiers with these ids, those that exist, in no order, each with how far it can be believed.
///
/// # Errors
/// When the store cannot be read or a row is malformed.
pub fn by_ids(connection: &mut Connection, ids: &[Id16]) -> Result<Vec<(StoredIdentifier, LinkProof)>> {
    let rows: Vec<(IdentifierRow, i16)> = on!(connection, c => identifier::table
        .filter(identifier::id.eq_any(ids))
        .select((
            (identifier::id, identifier::subject, identifier::kind, identifier::namespace, identifier::sealed, identifier::added_at),
            identifier::proof,
        ))
        .load(c))?;
    rows.into_iter().map(|(row, proof)| Ok((stored(row), LinkProof::read(proof)?))).collect()
}

/// The blind index values of an identifier of this subject, of every version.
///
/// # Errors
/// When the store cannot be read.
pub fn index_values(connection: &mut Connection, id: IdentifierId, subject: SubjectId) -> Result<Vec<Vec<u8>>> {
    Ok(on!(connection, c => identifier_index::table
        .filter(identifier_index::subject.eq(Id16::from(subject)).and(identifier_index::identifier.eq(Id16::from(id))))
        .select(identifier_index::value)
        .load(c))?)
}

/// A page of all identifiers in the order of their ids, for the rebuilding of an index.
///
/// # Errors
/// When the store cannot be read.
pub fn page(connection: &mut Connection, after: IdentifierId, limit: i64) -> Result<Vec<StoredIdentifier>> {
    let rows: Vec<IdentifierRow> = on!(connection, c => identifier::table
        .filter(identifier::id.gt(Id16::from(after)))
        .order(identifier::id)
        .limit(limit)
        .select((identifier::id, identifier::subject, identifier::kind, identifier::namespace, identifier::sealed, identifier::added_at))
        .load(c))?;
    Ok(rows.into_iter().map(stored).collect())
}

/// The links of a subject, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn edges(connection: &mut Connection, subject: SubjectId) -> Result<Vec<StoredEdge>> {
    let id = Id16::from(subject);
    let rows: Vec<(i16, Id16, Id16, i16)> = on!(connection, c => identity_edge::table
        .filter(identity_edge::subject_a.eq(id).or(identity_edge::subject_b.eq(id)))
        .order(identity_edge::id)
        .select((identity_edge::operation, identity_edge::subject_a, identity_edge::subject_b, identity_edge::proof))
        .load(c))?;
    rows.into_iter()
        .map(|(operation, a, b, proof)| {
            Ok(StoredEdge {
                joined: operation == 1,
                subject_a: a.into(),
                subject_b: b.into(),
                proof: LinkProof::read(proof)?,
            })
        })
        .collect()
}

type IdentifierRow = (Id16, Id16, String, String, Vec<u8>, Micros);

fn stored((id, subject, kind, namespace, sealed, added_at): IdentifierRow) -> StoredIdentifier {
    StoredIdentifier { id: id.into(), subject: subject.into(), kind, namespace, sealed, added_at }
}
