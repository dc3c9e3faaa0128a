//! Write keys of collectors and API tokens of services: stored as keyed hashes, with a MAC over the
//! row, so that whoever may write the database still cannot plant one.

use diesel::prelude::*;

use crate::domain::id::{CollectorId, EntryId, RecipientId, TokenId};

use super::backend::on;
use super::schema::token;
use super::sql_types::{Id16, Micros};
use super::{Connection, Error, Result};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A collector's key that only a server has.
    ServerKey,
    /// A collector's key that stands in pages.
    PublicKey,
    /// A service's token.
    Api,
}

/// A token as it is stored.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub kind: TokenKind,
    /// The name people gave it.
    pub name: String,
    /// The keyed hash of its text.
    pub hash: [u8; 32],
    /// The last four characters of its text.
    pub last_four: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The collector whose key it is.
    pub collector: Option<CollectorId>,
    /// The recipient that it speaks for.
    pub recipient: Option<RecipientId>,
    /// Version of the token secret that keyed the hash.
    pub secret_version: u32,
    /// When it was made.
    pub created_at: Micros,
    /// When it ends.
    pub expires_at: Option<Micros>,
    /// When it was disabled.
    pub disabled_at: Option<Micros>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<Micros>,
    /// MAC over the row.
    pub mac: [u8; 32],
}

impl TokenKind {
    /// Its number in the column, part of the row's MAC.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::ServerKey => 1,
            Self::PublicKey => 2,
            Self::Api => 3,
        }
    }
}

/// Stores a token.
///
/// # Errors
/// When the store cannot be written.
pub fn insert(connection: &mut Connection, row: &StoredToken, entry: EntryId) -> Result<()> {
    on!(connection, c => diesel::insert_into(token::table)
        .values((
            token::id.eq(Id16::from(row.id)),
            token::kind.eq(row.kind.code()),
            token::name.eq(&row.name),
            token::hash.eq(&row.hash[..]),
            token::last_four.eq(&row.last_four),
            token::scopes.eq(row.scopes.join(" ")),
            token::collector.eq(row.collector.as_ref().map_or("", CollectorId::as_str)),
            token::recipient.eq(row.recipient.as_ref().map_or("", RecipientId::as_str)),
            token::secret_version.eq(i32::try_from(row.secret_version).unwrap_or(i32::MAX)),
            token::created_at.eq(row.created_at),
            token::expires_at.eq(row.expires_at),
            token::mac.eq(&row.mac[..]),
            token::entry.eq(Id16::from(entry)),
        ))
        .execute(c))?;
    Ok(())
}

/// All tokens, disabled ones too, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn all(connection: &mut Connection) -> Result<Vec<StoredToken>> {
    let rows: Vec<Row> = on!(connection, c => token::table.order(token::id).select(Row::as_select()).load(c))?;
    rows.into_iter().map(stored).collect()
}

/// Disables a token. False: it was disabled before, or there is none.
///
/// # Errors
/// When the store cannot be written.
pub fn disable(connection: &mut Connection, id: TokenId, at: Micros) -> Result<bool> {
    let disabled = on!(connection, c => diesel::update(token::table.filter(token::id.eq(Id16::from(id)).and(token::disabled_at.is_null())))
        .set(token::disabled_at.eq(Some(at)))
        .execute(c))?;
    Ok(disabled == 1)
}

/// Notes the hour in which a token was used.
///
/// # Errors
/// When the store cannot be written.
pub fn note_use(connection: &mut Connection, id: TokenId, hour: Micros) -> Result<()> {
    on!(connection, c => diesel::update(token::table.find(Id16::from(id))).set(token::last_used_at.eq(Some(hour))).execute(c))?;
    Ok(())
}

/// Replaces hash and MAC of a token, for a rotation of the token secret.
///
/// # Errors
/// When the store cannot be written.
pub fn renew(connection: &mut Connection, row: &StoredToken) -> Result<()> {
    on!(connection, c => diesel::update(token::table.find(Id16::from(row.id)))
        .set((
            token::hash.eq(&row.hash[..]),
            token::mac.eq(&row.mac[..]),
            token::secret_version.eq(i32::try_from(row.secret_version).unwrap_or(i32::MAX)),
        ))
        .execute(c))?;
    Ok(())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = token)]
struct Row {
    id: Id16,
    kind: i16,
    name: String,
    hash: Vec<u8>,
    last_four: String,
    scopes: String,
    collector: String,
    recipient: String,
    secret_version: i32,
    created_at: Micros,
    expires_at: Option<Micros>,
    disabled_at: Option<Micros>,
    last_used_at: Option<Micros>,
    mac: Vec<u8>,
}

fn stored(row: Row) -> Result<StoredToken> {
    let malformed = || Error::Malformed { table: "token" };
    Ok(StoredToken {
        id: row.id.into(),
        kind: match row.kind {
            1 => TokenKind::ServerKey,
            2 => TokenKind::PublicKey,
            3 => TokenKind::Api,
            _ => return Err(malformed()),
        },
        name: row.name,
        hash: row.hash.try_into().map_err(|_| malformed())?,
        last_four: row.last_four,
        scopes: row.scopes.split_whitespace().map(str::to_owned).collect(),
        collector: (!row.collector.is_empty()).then(|| CollectorId::new(&row.collector)),
        recipient: (!row.recipient.is_empty()).then(|| RecipientId::new(&row.recipient)),
        secret_version: u32::try_from(row.secret_version).map_err(|_| malformed())?,
        created_at: row.created_at,
        expires_at: row.expires_at,
        disabled_at: row.disabled_at,
        last_used_at: row.last_used_at,
        mac: row.mac.try_into().map_err(|_| malformed())?,
    })
}
