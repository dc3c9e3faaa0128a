//! The log for other systems: one leaf a line, in the form that the other system reads.
//!
//! A line names the log, the position, the entry and the hash of the leaf, so that a copy elsewhere
//! can be held against a checkpoint. Only what a checkpoint covers is exported. The position of the
//! last line is where the next export begins, so a line may come twice and none is left out.

mod objects;
mod text;

use crate::domain::event::{Event, Outcome};
use crate::gateway::prove::StoredLog;
use crate::gateway::rendering::{LeafBytes, Rendered, rendered};
use crate::gateway::{Error, Result};
use crate::storage::audit_log;

/// Leaves in memory at a time.
const PAGE: i64 = 1_000;
/// The enterprise number for documentation (RFC 5612).
const DOCUMENTATION: u32 = 32_473;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// JSON of our own.
    Ndjson,
    /// Open Cybersecurity Schema Framework 1.3.
    Ocsf,
    /// `CloudEvents` 1.0, in its JSON format.
    CloudEvents,
    /// Syslog (RFC 5424).
    Syslog,
    /// Common Event Format.
    Cef,
    /// Elastic Common Schema.
    Ecs,
}

/// What lines are wanted.
#[derive(Clone, Copy, Debug)]
pub struct LineOrder {
    /// Their form.
    pub format: LineFormat,
    /// The position behind which they begin; `None`: at the oldest leaf.
    pub after: Option<u64>,
    /// Whether the bytes of leaves come along, where the form has room for them.
    pub bytes: LeafBytes,
    /// The private enterprise number of the structured data of syslog.
    pub enterprise: Option<u32>,
}

impl StoredLog {
    /// Hands out the published leaves behind a position, each as a line without its line feed, until
    /// the last one or until `sink` breaks off. Gives the number of lines.
    ///
    /// # Errors
    /// [`Error::Unacceptable`] if the log is not so long; what `sink` fails with.
    pub fn lines(&mut self, order: &LineOrder, mut sink: impl FnMut(&str) -> Result<()>) -> Result<u64> {
        let connection = self.connection();
        let head = audit_log::head(connection).map_err(Error::store)?.ok_or(Error::NotFound)?;
        let newest = audit_log::newest_checkpoint(connection).map_err(Error::store)?;
        let size = newest.map_or(0, |(size, _)| size);
        if order.after.is_some_and(|after| after >= size) {
            return Err(Error::Unacceptable("the published log has no entry at this position"));
        }
        let mut next = order.after.map_or(0, |after| after + 1).max(head.minimum_index);
        let mut count = 0;
        while next < size {
            let limit = PAGE.min(i64::try_from(size - next).unwrap_or(PAGE));
            let leaves = audit_log::leaves(connection, next, limit).map_err(Error::store)?;
            let Some(last) = leaves.last().map(|leaf| leaf.seq) else { break };
            for leaf in rendered(connection, leaves).map_err(Error::store)? {
                if leaf.stored.seq < size {
                    sink(&Line { leaf: &leaf, origin: &head.origin }.format(order))?;
                    count += 1;
                }
            }
            next = last + 1;
        }
        Ok(count)
    }
}

/// A leaf that becomes a line.
struct Line<'a> {
    leaf: &'a Rendered,
    origin: &'a str,
}

impl Line<'_> {
    fn format(&self, order: &LineOrder) -> String {
        match order.format {
            LineFormat::Ndjson => self.ndjson(order.bytes),
            LineFormat::Ocsf => self.ocsf(),
            LineFormat::CloudEvents => self.cloudevents(order.bytes),
            LineFormat::Syslog => self.syslog(order.enterprise.unwrap_or(DOCUMENTATION)),
            LineFormat::Cef => self.cef(),
            LineFormat::Ecs => self.ecs(),
        }
    }

    fn event(&self) -> Option<Event> {
        self.leaf.leaf.as_ref().map(|leaf| leaf.event)
    }

    /// The name of the event; one that this version does not know has none.
    fn event_name(&self) -> &'static str {
        self.event().map_or("unknown", Event::as_str)
    }

    /// A leaf that cannot be read says nothing of how its event ended.
    fn outcome(&self) -> Outcome {
        self.leaf.leaf.as_ref().map_or(Outcome::Unknown, |leaf| leaf.outcome)
    }

    fn class_name(&self) -> &'static str {
        self.event().map_or("unknown", |event| event.class().as_str())
    }

    /// The host and, behind it, the path of the log.
    fn host(&self) -> &str {
        self.origin.split('/').next().unwrap_or_default()
    }

    fn milliseconds(&self) -> i64 {
        self.leaf.stored.time.0.div_euclid(1_000)
    }
}

/// One of three numbers by how an event ended: as usual, refused by a rule, failed.
const fn weigh<T: Copy>(outcome: Outcome, usual: T, refused: T, failed: T) -> T {
    match outcome {
        Outcome::Done | Outcome::Unknown => usual,
        Outcome::Refused => refused,
        Outcome::Failed => failed,
    }
}

#[cfg(test)]
mod tests;
