//! MACs that make a stored row say no when somebody else wrote it.

use super::key::{Key, Secret};
use super::mac::{Context, RecordKind, RowId, equal, mac};

/// The chain of the journal of stops: each line's MAC covers the MAC of the line before.
pub struct JournalChain<'a>(&'a Secret);

impl<'a> JournalChain<'a> {
    /// The chain under the journal secret.
    #[must_use]
    pub fn new(secret: &'a Secret) -> Self {
        Self(secret)
    }

    /// The MAC of a line; `before` is 32 zero bytes for the first.
    #[must_use]
    pub fn mac(&self, before: &[u8; 32], line: &[u8]) -> [u8; 32] {
        mac(self.0.key(), &Context::Journal { before, line })
    }

    /// Whether a line follows the line whose MAC is `before`.
    #[must_use]
    pub fn follows(&self, before: &[u8; 32], line: &[u8], found: &[u8]) -> bool {
        equal(&self.mac(before, line), found)
    }
}

/// MAC of a state row under the person's key (`amanat/row-mac/v1`).
pub(in crate::crypto) fn row_mac(key: &Key, kind: RecordKind, record: RowId, row: &[u8]) -> [u8; 32] {
    mac(key, &Context::RowMac { kind, record, row })
}
