//! What of the log leaves the house: a bundle for an authority, lines for other systems.
//!
//! Everything is read page by page from what a published checkpoint covers. Nothing that is exported
//! opens a sealed part, unless it was named and a reason was given.

mod contents;
mod lines;
mod readme;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::leaf::Fact;
use crate::audit::payload::{Payload, Value};
use crate::audit::tree::Hash;
use crate::domain::event::{Event, Outcome};
use crate::storage::{Connection, Step, Unit};

use super::policy::operator;
use super::prove::StoredLog;
use super::{Error, Gateway, Result};

pub use super::opened::Shown;
use contents::Besides;
pub use contents::{BundleOrder, SealedParts};
pub use lines::{LineFormat, LineOrder};

/// How often a bundle is begun again because sealed parts were deleted meanwhile.
const TRIES: usize = 20;

/// A bundle that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The leaves that its checkpoint covers.
    pub size: u64,
    /// The first leaf whose entry is in it.
    pub from: u64,
    /// The first behind them.
    pub to: u64,
    /// SHA-256 of the file.
    pub digest: Hash,
}

/// Parts to be shown in a bundle, and why.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Which.
    pub parts: Vec<Shown>,
    /// Why. Stands in the log.
    pub reason: String,
}

impl Gateway {
    /// Writes a bundle of everything published to a new file, and says so in the log. The file has
    /// its name only once the leaf is durable: no export without a leaf.
    ///
    /// # Errors
    /// [`Error::Unacceptable`] for a range that the log does not have, or that is too large;
    /// [`Error::NotFound`] for a part that is not there to be shown; [`Error::File`].
    pub async fn export_bundle(
        &self,
        order: BundleOrder,
        opening: Opening,
        out: &Path,
        progress: impl FnMut(u64, u64) + Clone + Send + 'static,
    ) -> Result<Exported> {
        let unfinished = unfinished(out)?;
        let written = self.write_bundle(&order, &opening, &unfinished, progress).await;
        let logged = match written {
            Ok(exported) => self.note_export(&exported, &opening).await.map(|()| exported),
            Err(error) => Err(error),
        };
        settle(&unfinished, out, logged)
    }

    async fn write_bundle(
        &self,
        order: &BundleOrder,
        opening: &Opening,
        out: &Path,
        progress: impl FnMut(u64, u64) + Clone + Send + 'static,
    ) -> Result<Exported> {
        let mut tries = 0;
        loop {
            // Nothing is exported that no checkpoint covers, so that everything stands in the bundle
            // that stands in the log now.
            self.publish_once().await?;
            match self.witness_once().await {
                Err(error @ Error::LogRefused { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        error = crate::telemetry::cause(&error),
                        "the exported checkpoint could not be witnessed"
                    );
                }
                Ok(()) => {}
            }
            let (house, order, opening, out) = (self.clone(), order.clone(), opening.clone(), out.to_path_buf());
            let mut progress = progress.clone();
            let work = move || {
                let mut connection = house.database.reader().map_err(Error::store)?;
                let besides = Besides {
                    keys: house.verifiers_of(u64::MAX),
                    trust: house.settings.trust.policy.clone(),
                    opened: house.opened_parts(&mut connection, &opening.parts)?,
                };
                in_snapshot(&mut connection, &order, &besides, &out, &mut progress)
            };
            let done = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Contention)?;
            match done {
                Err(Error::Pending { wait }) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(wait).await;
                }
                done => return done,
            }
        }
    }

    /// The leaf 110, and a checkpoint that covers it.
    async fn note_export(&self, exported: &Exported, opening: &Opening) -> Result<()> {
        let mut payload = operator();
        if !opening.parts.is_empty() {
            let shown = u64::try_from(opening.parts.len()).unwrap_or(u64::MAX);
            payload =
                Payload { reason: Some(opening.reason.clone()), more: vec![("opened", Value::Uint(shown))], ..payload };
        }
        let facts = vec![
            Fact::Digest(exported.digest),
            Fact::Number(exported.to - exported.from),
            Fact::LogSize(exported.size),
        ];
        let leaf = self.installation_leaf(Event::LogExported, Outcome::Done, &payload, facts)?;
        self.commit_change(move || Unit::change(Vec::new(), vec![leaf.clone()], |_, _| Ok(Step::Commit))).await?;
        self.publish_once().await.map(drop)
    }
}

impl StoredLog {
    /// Writes a bundle of a store that is only looked at, to a new file. No leaf says so: whoever has
    /// a copy of the store can read it without one.
    ///
    /// # Errors
    /// As [`Gateway::export_bundle`]; [`Error::Pending`] if the store is copied from the midst of an
    /// erasure and sealed parts are wanted.
    pub fn export_bundle(
        &mut self,
        order: &BundleOrder,
        out: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Exported> {
        let unfinished = unfinished(out)?;
        let besides = Besides::default();
        let written = in_snapshot(self.connection(), order, &besides, &unfinished, &mut progress);
        settle(&unfinished, out, written)
    }
}

/// Writes the bundle; with sealed parts, as everything stands at one instant.
fn in_snapshot(
    connection: &mut Connection,
    order: &BundleOrder,
    besides: &Besides,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported> {
    // Leaves and hashes never change, and a snapshot keeps the writer from shortening its log.
    if order.sealed == SealedParts::Left {
        return contents::write(connection, order, besides, out, progress);
    }
    connection.begin_snapshot().map_err(Error::store)?;
    let written = match contents::is_balanced(connection) {
        Ok(true) => contents::write(connection, order, besides, out, progress),
        Ok(false) => Err(Error::Pending { wait: Duration::from_millis(200) }),
        Err(error) => Err(error),
    };
    connection.end_snapshot().map_err(Error::store)?;
    written
}

/// The name under which a bundle is written until it is whole.
fn unfinished(out: &Path) -> Result<PathBuf> {
    match out.try_exists() {
        Ok(false) => {}
        Ok(true) => return Err(Error::Unacceptable("there is a file of that name already")),
        Err(source) => {
            return Err(Error::File { what: "cannot make", path: out.display().to_string(), source });
        }
    }
    let mut name = out.file_name().ok_or(Error::Unacceptable("the bundle needs a file name"))?.to_owned();
    name.push(".unfinished");
    Ok(out.with_file_name(name))
}

/// Gives a finished bundle its name; removes what failed.
fn settle(unfinished: &Path, out: &Path, written: Result<Exported>) -> Result<Exported> {
    let failed = |source| Error::File { what: "cannot make", path: out.display().to_string(), source };
    match written {
        Ok(exported) => std::fs::rename(unfinished, out).map(|()| exported).map_err(failed),
        Err(error) => {
            if let Err(source) = std::fs::remove_file(unfinished)
                && source.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(file = %unfinished.display(), error = %source, "an unfinished bundle cannot be removed");
            }
            Err(error)
        }
    }
}
