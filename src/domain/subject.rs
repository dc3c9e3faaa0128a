//! Where a person stands: the state that comes before any consent.

use super::consent::ConsentLine;
use super::id::{FieldPath, PurposeId, SubjectId};

/// The status of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectStatus {
    /// Nothing stands in the way.
    Active,
    /// An erasure has begun; every decision denies from here.
    Erasing,
    /// Only data kept under Art. 17(3) is left, for one purpose.
    RetainedOnly {
        /// The locked purpose.
        purpose: PurposeId,
    },
    /// Tombstone.
    Erased,
}

/// A restriction (Art. 18).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Restriction {
    /// The whole person.
    Person,
    /// One purpose.
    Purpose(PurposeId),
    /// One field.
    Field(FieldPath),
}

/// Everything a decision needs to know about a person: the member subject in question and what
/// holds for the whole profile (all subjects joined by live links). Only narrowing crosses a link
/// that is merely claimed.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The strongest status of any member.
    pub status: SubjectStatus,
    /// The restrictions of all members.
    pub restrictions: Vec<Restriction>,
    /// Whether an identifier stands on the suppression list for direct marketing.
    pub suppressed: bool,
    /// The consent lines of all members.
    pub lines: Vec<MemberLine>,
}

/// A consent line and how its subject is joined to the subject in question.
#[derive(Clone, Debug)]
pub struct MemberLine {
    /// Whose line it is.
    pub subject: SubjectId,
    /// Whether a yes on this line counts for the subject in question: its own lines, and those
    /// joined by an asserted or verified link.
    pub may_grant: bool,
    /// The line.
    pub line: ConsentLine,
}
