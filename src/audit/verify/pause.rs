//! Putting a verification down and taking it up again, perhaps in another process.

use serde::{Deserialize, Serialize};

use super::{Chain, Findings, Sense, Start, Verifier};
use crate::audit::tree::Frontier;

/// Where a verification stands. What was found so far is the caller's to keep.
#[derive(Clone, Debug)]
pub struct Paused {
    /// The tree below the leaf that must be fed first.
    pub frontier: Frontier,
    /// What the judged leaves told.
    pub story: Story,
}

/// What the judged leaves told, as far as later ones are held against it. It names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// Leaves below are judged.
    pub(super) judged_to: u64,
    /// The first leaf of the source; above 0 where leaves were pruned.
    pub(super) first: u64,
    /// The largest checkpoint that fitted, and the first that did not.
    pub(super) matching: Option<u64>,
    pub(super) mismatching: Option<u64>,
    pub(super) origin: Option<String>,
    /// Microseconds between two heartbeats.
    pub(super) heartbeat: Option<u64>,
    pub(super) heartbeats: u64,
    pub(super) silences: u64,
    /// Position, time and event of the newest leaf.
    pub(super) last: Option<(u64, u64, u16)>,
    pub(super) closed: Option<u64>,
    /// The keys of the log in hexadecimal digits, and the sizes that each may sign.
    pub(super) keys: Vec<(String, u64, u64)>,
    pub(super) named: [u64; 3],
    pub(super) gone: [u64; 3],
    pub(super) counted: [u64; 3],
    pub(super) last_gone: [Option<u64>; 3],
    pub(super) is_sealed_checked: bool,
}

impl Verifier {
    /// Where the verification stands, if it can be put down here: not while it is in doubt which of
    /// two leaves was altered. The entries that were watched for repetition are not kept.
    #[must_use]
    pub fn pause(&self) -> Option<Paused> {
        let frontier = self.chain.settled()?.clone();
        let mut story = self.sense.story();
        story.judged_to = self.chain.size();
        story.matching = self.chain.matching;
        story.mismatching = self.chain.mismatching.first().copied();
        Some(Paused { frontier, story })
    }

    /// Takes a verification up where it was put down. `start` names everything but the tree; the
    /// leaf to feed first is the one at the size of [`Paused::frontier`].
    #[must_use]
    pub fn resume(start: Start, paused: Paused) -> Self {
        let Paused { frontier, story } = paused;
        let mut chain = Chain::new(frontier, start.checkpoints);
        chain.matching = story.matching;
        chain.mismatching.splice(0..0, story.mismatching);
        Self {
            chain,
            entries: start.entries,
            findings: Findings::default(),
            pruned: story.first,
            checked: 0,
            judged_to: story.judged_to,
            sense: Sense::retold(start.origin, story),
        }
    }
}
