//! What a browser, a consent banner or an SDK said, purpose by purpose.
//!
//! A signal is not a consent event: it can deny, and it can allow only where the collector's rules
//! let it. Absence never allows.

use super::id::PurposeId;
use super::policy::SignalKind;

/// One decoded signal, mapped to purposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Where it came from.
    pub kind: SignalKind,
    /// What it says of each purpose it is mapped to. Purposes not listed: silent.
    pub says: Vec<(PurposeId, Says)>,
    /// Ids that the collector's rules do not map; counted, never interpreted.
    pub unmapped: usize,
}

/// What a signal says of one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// An explicit no: stored.
    Denies,
    /// A no by omission: holds for this record alone.
    Omits,
    /// A yes.
    Allows,
    /// It could not be read, so it denies.
    Undecodable,
}
