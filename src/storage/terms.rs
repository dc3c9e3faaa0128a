//! Numbers for the names of fields and categories. Append-only: what a number meant when something
//! was sealed, it means for ever.

use diesel::prelude::*;

use super::backend::on;
use super::schema::term;
use super::{Connection, Error, Result, Transaction};

/// What a number names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TermKind {
    /// A field path.
    Field,
    /// A DPV-PD category.
    Category,
}

impl TermKind {
    const fn code(self) -> i16 {
        match self {
            Self::Field => 1,
            Self::Category => 2,
        }
    }
}

/// All terms.
///
/// # Errors
/// When the store cannot be read.
pub fn all(connection: &mut Connection) -> Result<Vec<(TermKind, u16, String)>> {
    let rows: Vec<(i16, i32, String)> = on!(connection, c => term::table.order((term::kind, term::number)).select((term::kind, term::number, term::text)).load(c))?;
    rows.into_iter()
        .map(|(kind, number, text)| {
            let malformed = || Error::Malformed { table: "term" };
            let kind = match kind {
                1 => TermKind::Field,
                2 => TermKind::Category,
                _ => return Err(malformed()),
            };
            Ok((kind, u16::try_from(number).map_err(|_| malformed())?, text))
        })
        .collect()
}

/// Gives the names that have no number yet the next free ones.
///
/// # Errors
/// When the store cannot be written or 65,535 names of a kind are used up.
pub fn learn(transaction: &mut Transaction<'_>, kind: TermKind, texts: &[String]) -> Result<()> {
    let connection = transaction.connection();
    for text in texts {
        let known: Option<i32> = on!(connection, c => term::table
            .filter(term::kind.eq(kind.code()).and(term::text.eq(text)))
            .select(term::number)
            .first(c)
            .optional())?;
        if known.is_some() {
            continue;
        }
        let last: Option<i32> = on!(connection, c => term::table
            .filter(term::kind.eq(kind.code()))
            .select(diesel::dsl::max(term::number))
            .first(c))?;
        let number = last.unwrap_or(0).saturating_add(1);
        if number > i32::from(u16::MAX) {
            return Err(Error::Refused("no number is left for a further field or category"));
        }
        on!(connection, c => diesel::insert_into(term::table)
            .values((term::kind.eq(kind.code()), term::number.eq(number), term::text.eq(text)))
            .execute(c))?;
    }
    Ok(())
}
