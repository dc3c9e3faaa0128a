//! A unit of work: what it rests on, what it does, and the leaves it leaves behind.
//!
//! A unit may be run twice (its batch failed because of another unit; the connection was lost), so
//! inside it there is no I/O, no clock and no randomness: ids, times of its rows, sealed bytes and
//! leaf drafts are made before it is handed over.

use std::collections::BTreeMap;

use crate::audit::leaf::Draft;
use crate::domain::id::{EntryId, SubjectId};
use crate::domain::policy::PolicyHash;

use super::backend::Connection;
use super::consents::{NewEvent, NewLine};
use super::deliveries::NewDelivery;
use super::identities::{NewEdge, NewIdentifier};
use super::log_clock::LogClock;
use super::records::NewRecord;
use super::sql_types::{Id16, Micros};
use super::subjects::{NewSubject, Version};
use super::{Result, audit_log, consents, identities, subjects};

/// Work for the committer.
pub struct Unit {
    /// The subjects it touches, each with the version that was seen when it was decided. Their rows
    /// are locked before anything runs, in one ordered statement for the whole batch.
    pub rests_on: Vec<Expected>,
    /// The policy it was decided under, if it decided.
    pub policy: Option<PolicyHash>,
    /// The leaves it leaves, with their sealed parts.
    pub leaves: Vec<LeafRow>,
    /// What it does.
    pub body: Body,
}

/// What a unit does.
pub(super) use body::Body;

mod body {
    use super::{Change, Collect};

    /// The two shapes of work.
    pub enum Body {
        /// The hot path: a fixed list of set-based statements.
        Collect(Box<Collect>),
        /// Anything rarer.
        Change(Change),
    }
}

/// A subject and the version of its state row that a unit rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The subject.
    pub subject: SubjectId,
    /// The version seen; `None`: locked and read, whatever it is.
    pub version: Option<Version>,
}

/// The rows of one person's events of one request, at most 64 events.
#[derive(Default)]
pub struct Collect {
    /// When the events were received.
    pub at: Option<Micros>,
    /// Keyed marks of the events; one that stands already sends the unit back.
    pub marks: Vec<[u8; 32]>,
    /// People met for the first time.
    pub subjects: Vec<NewSubject>,
    /// Identifiers learnt; an index value that stands already sends the unit back.
    pub identifiers: Vec<NewIdentifier>,
    /// Links made.
    pub edges: Vec<NewEdge>,
    /// Subjects whose profile or state changes, and their profile from now on.
    pub raised: Vec<(SubjectId, SubjectId)>,
    /// Consent lines opened by signals.
    pub lines: Vec<NewLine>,
    /// Consent events brought by signals.
    pub events: Vec<NewEvent>,
    /// The records.
    pub records: Vec<NewRecord>,
    /// The deliveries promised.
    pub deliveries: Vec<NewDelivery>,
}

/// A change as a closure. It may amend the facts of its own leaves (counts of rows), nothing else.
pub type Change = Box<dyn FnMut(&mut Transaction<'_>, &mut Vec<LeafRow>) -> Result<Step> + Send>;

/// Whether a change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keep what was done.
    Commit,
    /// Undo it, leave no leaf, and tell the caller that what it rested on has changed.
    Stale,
}

/// A leaf on its way into the log, with the rows of its sealed parts.
#[derive(Clone)]
pub struct LeafRow {
    /// Everything of the leaf but its position, predecessor and time.
    pub draft: Draft,
    /// The sealed parts that are kept.
    pub sealed: Vec<SealedPart>,
}

/// A sealed part of a leaf.
#[derive(Clone)]
pub struct SealedPart {
    /// Its role within the leaf.
    pub role: u8,
    /// Id of the audit key it is sealed under.
    pub holder: Id16,
    /// Class of the event (1 operation, 2 evidence, 3 system).
    pub class: u8,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

/// What became of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Committed(Committed),
    /// A subject's version, the policy or a condition of the change is no longer what the unit
    /// rested on: prepare it again.
    Stale,
    /// Some of its events were taken in before (positions in [`Collect::marks`]): prepare it again
    /// without them.
    Duplicates(Vec<usize>),
    /// An identifier was given to a person by somebody else meanwhile: prepare it again.
    IdentifierTaken,
}

/// Where the leaves of a unit came to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Time of the commit.
    pub time: Micros,
    /// Entry and position of each leaf, in the unit's order.
    pub leaves: Vec<(EntryId, u64)>,
}

/// An open transaction of the committer.
pub struct Transaction<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) versions: BTreeMap<SubjectId, Version>,
    /// The policy in force in this transaction.
    pub(super) policy: PolicyHash,
    pub(super) clock: &'a LogClock,
    /// The time of the batch, if the clock was corrected in it.
    pub(super) corrected: Option<Micros>,
}

/// How the clock of the log was corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The time of the newest leaf before.
    pub before: Micros,
    /// The time from here on.
    pub after: Micros,
    /// The epoch from here on.
    pub epoch: i64,
}

impl Transaction<'_> {
    /// Takes the clock as right, whatever the newest leaf says, and raises the epoch of the log. The
    /// leaf of this change must be the only one of its batch.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn correct_clock(&mut self) -> Result<Correction> {
        let (head, database) = audit_log::take_head(self.connection)?;
        let epoch = head.epoch.saturating_add(1);
        let after = self.clock.correct(epoch, database);
        audit_log::raise_epoch(self.connection)?;
        self.corrected = Some(after);
        Ok(Correction { before: head.last_time, after, epoch })
    }

    /// Raises the epoch of the log: whoever wrote it before looks at it anew.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn raise_epoch(&mut self) -> Result<()> {
        audit_log::raise_epoch(self.connection)
    }

    /// The connection, for the query functions of this room.
    pub(crate) const fn connection(&mut self) -> &mut Connection {
        self.connection
    }

    /// Writes what a change met and recorded: people, identifiers, consent lines and events. False: an
    /// identifier was given to a person by somebody else meanwhile, so the change is stale.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn insert_people(&mut self, rows: &Collect) -> Result<bool> {
        let connection = self.connection();
        if !rows.identifiers.is_empty() && !identities::insert_index(connection, &rows.identifiers)? {
            return Ok(false);
        }
        subjects::insert(connection, &rows.subjects.iter().collect::<Vec<_>>())?;
        identities::insert(connection, &rows.identifiers.iter().collect::<Vec<_>>())?;
        consents::insert_lines(connection, &rows.lines.iter().collect::<Vec<_>>())?;
        consents::insert_events(connection, &rows.events.iter().collect::<Vec<_>>())?;
        Ok(true)
    }

    /// The version of a subject that this transaction locked; `None` if there is no such subject.
    #[must_use]
    pub fn version(&self, subject: SubjectId) -> Option<Version> {
        self.versions.get(&subject).copied()
    }
}

impl Unit {
    /// A unit of the hot path.
    #[must_use]
    pub fn collect(rests_on: Vec<Expected>, policy: PolicyHash, rows: Collect, leaves: Vec<LeafRow>) -> Self {
        Self { rests_on, policy: Some(policy), leaves, body: Body::Collect(Box::new(rows)) }
    }

    /// A unit that is a closure.
    #[must_use]
    pub fn change(
        rests_on: Vec<Expected>,
        leaves: Vec<LeafRow>,
        change: impl FnMut(&mut Transaction<'_>, &mut Vec<LeafRow>) -> Result<Step> + Send + 'static,
    ) -> Self {
        Self { rests_on, policy: None, leaves, body: Body::Change(Box::new(change)) }
    }

    /// The same unit, resting on a policy too.
    #[must_use]
    pub const fn under(mut self, policy: PolicyHash) -> Self {
        self.policy = Some(policy);
        self
    }
}
