//! Holding the time-stamps of others against the checkpoints that they date.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::anchor::{AnchorError, check};
use crate::audit::checkpoint::Verified;
use crate::audit::finding::{Code, Finding, Report};
use crate::audit::verify::Dated;
use crate::crypto::signature::certificate::Roots;
use crate::gateway::hash_of;

/// The time-stamps of one source, as they come.
pub(super) struct Anchors<'a> {
    roots: &'a Roots,
    /// The texts of the checkpoints by size; two if the log was forked there.
    texts: BTreeMap<u64, BTreeSet<String>>,
    /// What the leaves say has arrived, by size.
    told: BTreeMap<u64, BTreeSet<[u8; 32]>>,
    /// What is here, by size.
    replied: BTreeMap<u64, BTreeSet<[u8; 32]>>,
    findings: Vec<Finding>,
    anchored_to: Option<u64>,
}

impl<'a> Anchors<'a> {
    /// Nothing looked at yet.
    pub(super) fn new(verified: &[Verified], dated: &[Dated], roots: &'a Roots) -> Self {
        let mut texts: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for Verified { checkpoint, .. } in verified {
            texts.entry(checkpoint.size).or_default().insert(checkpoint.text());
        }
        let mut told: BTreeMap<u64, BTreeSet<[u8; 32]>> = BTreeMap::new();
        for dated in dated {
            told.entry(dated.size).or_default().insert(dated.digest);
        }
        Self { roots, texts, told, replied: BTreeMap::new(), findings: Vec::new(), anchored_to: None }
    }

    /// Looks at the reply of an authority for a size.
    pub(super) fn take(&mut self, size: u64, reply: &[u8]) {
        self.replied.entry(size).or_default().insert(hash_of(reply));
        match self.judge(size, reply) {
            Ok(()) => self.anchored_to = self.anchored_to.max(Some(size)),
            Err(error) => {
                let code = if error.is_unvouched() { Code::AnchorPending } else { Code::AnchorInvalid };
                let text = format!("The time-stamp on {size} leaves: {error}.");
                self.findings.push(Finding::at(code, size, text));
            }
        }
    }

    /// Notes that an authority was asked and has not replied.
    pub(super) fn wait(&mut self, size: u64, authority: &str) {
        let text = format!("{authority:?} has not dated the {size} leaves that it was asked for.");
        self.findings.push(Finding::at(Code::AnchorPending, size, text));
    }

    /// What was found, into a report.
    pub(super) fn finish(mut self, report: &mut Report) {
        for (size, told) in &self.told {
            // One that fits is enough: others may have arrived after the leaves were read, and a bundle
            // holds one a size.
            let (code, text) = match self.replied.get(size) {
                Some(replied) if !replied.is_disjoint(told) => continue,
                Some(_) => {
                    let text = "is not the one that the log says has arrived";
                    (Code::AnchorInvalid, format!("The time-stamp on {size} leaves {text}."))
                }
                None => {
                    let text = format!("The log says that a time-stamp on {size} leaves has arrived; it is not here.");
                    (Code::AnchorPending, text)
                }
            };
            self.findings.push(Finding::at(code, *size, text));
        }
        report.anchored_to = self.anchored_to;
        report.findings.append(&mut self.findings);
    }

    /// A token must fit every signed view of its size: of two, it dates one, and the other is not what
    /// was dated.
    fn judge(&self, size: u64, reply: &[u8]) -> Result<(), AnchorError> {
        let texts = self.texts.get(&size).ok_or(AnchorError::OtherText)?;
        let mut judged = Ok(());
        for text in texts {
            match check(reply, text, None, self.roots) {
                Ok(_) => {}
                // One of the views may still be another than the one that was dated.
                Err(error) if error.is_unvouched() => judged = Err(error),
                Err(error) => return Err(error),
            }
        }
        judged
    }
}
