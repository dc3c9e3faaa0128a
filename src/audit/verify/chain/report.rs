//! What only the end of the log can tell: which leaves changed places, and which checkpoints fit.

use crate::audit::finding::{Code, Finding};
use crate::audit::verify::Findings;

use super::Chain;

impl Chain {
    pub(super) fn report_misplaced(&mut self, findings: &mut Findings) {
        let misplaced = std::mem::take(&mut self.misplaced);
        let pairs: std::collections::BTreeSet<(u64, u64)> = misplaced.iter().copied().collect();
        for (position, claimed) in misplaced {
            if !pairs.contains(&(claimed, position)) {
                let text = "The leaf says another position than the one it stands in.";
                findings.push(Finding::at(Code::LeafAltered, position, text));
            } else if position < claimed {
                let text = "Two leaves changed places.";
                findings.push(Finding::between(Code::OrderChanged, position, claimed, text));
            }
        }
    }

    pub(super) fn report_checkpoints(&self, findings: &mut Findings) {
        for pair in self.checkpoints.windows(2) {
            if let [one, other] = pair
                && one.size == other.size
                && one.root != other.root
            {
                let text = "Two signed checkpoints of one size have different roots.";
                findings.push(Finding::at(Code::Fork, one.size, text));
            }
        }
        if let Some(first) = self.mismatching.first() {
            if self.matching.is_some_and(|matching| matching >= *first) {
                let text = "The leaves fit a later signed checkpoint and not this one.";
                findings.push(Finding::at(Code::Fork, *first, text));
            } else {
                let from = self.matching.unwrap_or(0);
                let text =
                    "The leaves do not hash to the signed root; the last checkpoint that fits is where this begins.";
                let to = first.saturating_sub(1);
                findings.push(Finding::between(Code::RootMismatch, from, to, text));
            }
        }
        if let Some(largest) = self.checkpoints.last()
            && largest.size > self.next
        {
            let text = "The log has fewer leaves than it once signed.";
            let to = largest.size - 1;
            findings.push(Finding::between(Code::Rollback, self.next, to, text));
        }
    }
}
