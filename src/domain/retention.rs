//! How long data is kept, from when, and what happens then (`retention.toml`; GDPR Art. 5(1)(e)).

use jiff::Span;

use super::id::RetentionClassId;

/// A class of `retention.toml`.
#[derive(Clone, Debug)]
pub struct RetentionClass {
    /// Its id.
    pub id: RetentionClassId,
    /// The period.
    pub period: Span,
    /// From when the period runs.
    pub starts: RetentionStart,
    /// The law that asks for it, if one does.
    pub legal_source: Option<String>,
    /// What happens at an erasure.
    pub on_erasure: OnErasure,
}

/// From when a retention period runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionStart {
    /// When the record was collected.
    Collected,
    /// The person's last contact.
    LastContact,
    /// The end of the contract.
    ContractEnd,
}

/// What an erasure does with data of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnErasure {
    /// It goes.
    Erase,
    /// It stays for one purpose only (Art. 17(3)).
    Keep {
        /// The ground, `17(3)(b)`.
        ground: String,
        /// The law behind it.
        law: String,
    },
}
