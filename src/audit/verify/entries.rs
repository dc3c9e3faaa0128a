//! Whether an entry id stands twice.

use crate::domain::id::EntryId;

/// Watches entries for repetition, in memory: 24 bytes for each entry under watch.
///
/// To bound the memory over a log of any size, split the entries into partitions and read the log
/// once for each: the verifier watches one, a bare `EntryWatch` each of the others.
#[derive(Clone, Debug)]
pub struct EntryWatch {
    partition: u8,
    partitions: u8,
    seen: Vec<([u8; 16], u64)>,
}

impl Default for EntryWatch {
    fn default() -> Self {
        Self::all()
    }
}

impl EntryWatch {
    /// Watches every entry.
    #[must_use]
    pub const fn all() -> Self {
        Self { partition: 0, partitions: 1, seen: Vec::new() }
    }

    /// Watches partition `partition` of `partitions`, counted from 0. No partitions means one.
    #[must_use]
    pub const fn partition(partition: u8, partitions: u8) -> Self {
        let partitions = if partitions == 0 { 1 } else { partitions };
        Self { partition, partitions, seen: Vec::new() }
    }

    /// Whether it watches this entry.
    #[must_use]
    pub const fn watches(&self, entry: EntryId) -> bool {
        let [.., last] = *entry.as_bytes();
        last % self.partitions == self.partition
    }

    /// Notes the entry of a leaf.
    pub fn note(&mut self, entry: EntryId, seq: u64) {
        if self.watches(entry) {
            self.seen.push((*entry.as_bytes(), seq));
        }
    }

    /// The pairs of positions that share an entry, earlier first.
    #[must_use]
    pub fn repeated(mut self) -> Vec<(u64, u64)> {
        self.seen.sort_unstable();
        let mut pairs = Vec::new();
        for pair in self.seen.windows(2) {
            if let [(one, first), (other, second)] = pair
                && one == other
            {
                pairs.push((*first, *second));
            }
        }
        pairs
    }
}
