//! A file is loaded through the same path as live traffic.
//!
//! Rows come ready from an adapter, in batches; the place reached is stored after each batch, so
//! that a load that was cut short goes on where it stopped. What lies between is sent again and is
//! recognised by its message id. A row without a sure time counts as older than any erasure: an old
//! export must not bring an erased person back (`cryptography.md` §7).

use std::collections::BTreeMap;

use crate::audit::leaf::Fact;
use crate::audit::payload::Payload;
use crate::domain::collected::Collected;
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{CollectorId, EntryId};
use crate::storage::imports::{self, StoredImport};
use crate::storage::{Id16, Outcome as Committed, Step, Unit};

use super::collect::{Flaw, Untimed, Verdict};
use super::policy::operator;
use super::{Error, Gateway, Result};

/// A load in progress.
#[derive(Clone, Debug)]
pub struct Import {
    row: StoredImport,
}

/// How a load stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Rows done.
    pub position: u64,
    /// Lines of the file.
    pub total: u64,
    /// Rows stored, or stored before.
    pub accepted: u64,
    /// Rows refused by policy.
    pub refused: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// Whether the load has ended.
    pub is_ended: bool,
}

/// A row of a file: what was read, or the code of why it could not be.
pub struct ImportRow {
    /// Its number in the file, from 1.
    pub number: u64,
    /// The event, if the row can be read.
    pub event: std::result::Result<Collected, &'static str>,
}

/// A row that was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its number in the file.
    pub number: u64,
    /// A code or the reasons of the policy.
    pub codes: Vec<&'static str>,
}

impl Import {
    /// How it stands.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        Tally {
            position: self.row.position,
            total: self.row.total,
            accepted: self.row.accepted,
            refused: self.row.refused,
            rejected: self.row.rejected,
            is_ended: self.row.is_ended,
        }
    }
}

impl Gateway {
    /// Begins to load a file, or takes up a load of it that was begun before. `digest` is the
    /// file's SHA-256, `total` the number of its lines.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the policy in force has no such collector; errors of the store.
    pub async fn begin_import(&self, collector: &CollectorId, digest: &[u8; 32], total: u64) -> Result<Import> {
        if !self.policy().policy.collectors.contains_key(collector) {
            return Err(Error::NotFound);
        }
        // Keyed, so that neither the table nor the log tells who else has the same file.
        let file_mark = self.keyholder.secrets().tokens.duplicate(collector.as_str(), "", "import", digest);
        if let Some(row) = self.database.read(move |c| imports::find(c, &file_mark)).await.map_err(Error::store)? {
            return Ok(Import { row });
        }
        let payload = Payload { collector: Some(collector.as_str().to_owned()), ..operator() };
        let leaf =
            self.installation_leaf(Event::ImportStarted, Outcome::Done, &payload, vec![Fact::Digest(file_mark)])?;
        let row = StoredImport {
            id: Id16(*self.source.random_id().map_err(Error::Protection)?.as_bytes()),
            file_mark,
            collector: collector.clone(),
            position: 0,
            total,
            accepted: 0,
            refused: 0,
            rejected: 0,
            is_ended: false,
            started_at: self.source.now().into(),
            entry: EntryId::from_bytes(*leaf.draft.entry().as_bytes()),
        };
        let stored = row.clone();
        let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
            Ok(if imports::begin(transaction, &stored)? { Step::Commit } else { Step::Stale })
        });
        match self.database.write(unit).await.map_err(Error::store)? {
            Committed::Committed(_) => Ok(Import { row }),
            _ => Err(Error::WrongState("another process loads the same file")),
        }
    }

    /// Loads a batch of rows and stores the place reached. Gives the rows that were not stored.
    ///
    /// # Errors
    /// [`Error::WrongState`] when another process loads the same file or the load has ended; store
    /// errors. Then the place is not moved, and the same rows should come again.
    pub async fn import(&self, import: &mut Import, rows: Vec<ImportRow>) -> Result<Vec<LeftOut>> {
        self.has_room()?;
        if import.row.is_ended {
            return Err(Error::WrongState("this file was loaded before, to its end"));
        }
        let mut next = import.row.clone();
        let mut left_out = Vec::new();
        let (mut numbers, mut events) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in rows {
            next.position = next.position.max(row.number);
            match row.event {
                Ok(event) => {
                    numbers.push(row.number);
                    events.push(event);
                }
                Err(code) => {
                    next.rejected += 1;
                    left_out.push(LeftOut { number: row.number, codes: vec![code] });
                }
            }
        }
        let taken = self.take_in(&next.collector, events, self.source.now(), Untimed::IsOld).await?;
        for (number, verdict) in numbers.into_iter().zip(taken.verdicts) {
            let codes = match verdict {
                Verdict::Accepted | Verdict::Duplicate => {
                    next.accepted += 1;
                    continue;
                }
                Verdict::Refused(reasons) => {
                    next.refused += 1;
                    reasons.iter().map(|reason| reason.as_str()).collect()
                }
                Verdict::Rejected(flaw) => {
                    next.rejected += 1;
                    vec![code(flaw)]
                }
                // Some rows of the batch are stored and will be duplicates when it comes again.
                Verdict::Later => return Err(Error::StoreUnavailable(crate::storage::Error::Overloaded)),
            };
            left_out.push(LeftOut { number, codes });
        }
        left_out.sort_by_key(|row| row.number);
        self.keep_import(&import.row, &next, Vec::new()).await?;
        import.row = next;
        Ok(left_out)
    }

    /// Ends a load.
    ///
    /// # Errors
    /// As [`Gateway::import`].
    pub async fn finish_import(&self, import: &mut Import) -> Result<Tally> {
        if import.row.is_ended {
            return Ok(import.tally());
        }
        let next = StoredImport { is_ended: true, ..import.row.clone() };
        let counts =
            BTreeMap::from([("accepted", next.accepted), ("refused", next.refused), ("rejected", next.rejected)]);
        let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let payload = Payload {
            collector: Some(next.collector.as_str().to_owned()),
            reason: Some(words.join(", ")),
            ..operator()
        };
        let facts = vec![Fact::Digest(next.file_mark), Fact::Number(next.accepted)];
        let leaf = self.installation_leaf(Event::ImportFinished, Outcome::Done, &payload, facts)?;
        self.keep_import(&import.row, &next, vec![leaf]).await?;
        import.row = next;
        Ok(import.tally())
    }

    async fn keep_import(
        &self,
        before: &StoredImport,
        next: &StoredImport,
        leaves: Vec<crate::storage::LeafRow>,
    ) -> Result<()> {
        let (position, next) = (before.position, next.clone());
        let unit = Unit::change(Vec::new(), leaves, move |transaction, _| {
            Ok(if imports::advance(transaction, position, &next)? { Step::Commit } else { Step::Stale })
        });
        match self.database.write(unit).await.map_err(Error::store)? {
            Committed::Committed(_) => Ok(()),
            _ => Err(Error::WrongState("another process loads the same file")),
        }
    }
}

/// The code of a flaw that the use-case found, spelt as the collectors' answers spell it.
const fn code(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::IdentifierInvalid => "identifier_invalid",
        Flaw::IdentifierBlocked => "identifier_blocked",
        Flaw::NeedsServerKey => "needs_server_key",
        Flaw::TooLarge => "event_too_large",
    }
}
