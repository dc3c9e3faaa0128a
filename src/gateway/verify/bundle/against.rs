//! Two bundles of one log: whether what was signed in both can be true together.

use std::path::Path;

use crate::audit::bundle::BundlePath;
use crate::audit::checkpoint::Verified;
use crate::audit::evidence::Evidence;
use crate::audit::finding::{Code, Finding};
use crate::audit::tile::TILE_WIDTH;
use crate::audit::tree::{Frontier, Hash};
use crate::gateway::Result;

use super::notes::Notes;
use super::{Bundle, TiledHashes, malformed};

impl Bundle {
    /// Holds another bundle against this one. Checkpoints that this one reaches are tried on its
    /// leaves; where the other is the larger, its hashes are tried on this one's checkpoints. Gives
    /// what the larger one proves.
    pub(super) fn hold_against(
        &self,
        path: &Path,
        notes: &mut Notes,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Evidence>> {
        let mut noted = Vec::new();
        let mut evidence = Vec::new();
        if let Some(mut other) = Self::open(path, "The other bundle", &mut noted)? {
            other.learn_keys(notes)?;
            for path in other.note_paths() {
                let Some(note) = other.take(&path, &mut noted)? else { continue };
                match notes.open(&path.to_string(), &note) {
                    Ok(verified) if verified.checkpoint.size <= self.manifest.size => {
                        notes.note_evidence(&verified, &note);
                        notes.add(verified);
                    }
                    Ok(verified) if path == BundlePath::Checkpoint => {
                        let forks = other.contradicted(&verified, notes, &mut noted)?;
                        if !forks.is_empty() {
                            notes.note_evidence(&verified, &note);
                            evidence = notes.evidence(&TiledHashes::new(&mut other), verified.checkpoint.size);
                        }
                        findings.extend(forks);
                    }
                    Ok(_) => {}
                    Err(finding) => noted.push(finding),
                }
            }
        }
        let elsewhere =
            |finding: Finding| Finding { text: format!("In the other bundle: {}", finding.text), ..finding };
        findings.extend(noted.into_iter().map(elsewhere));
        Ok(evidence)
    }

    /// The checkpoints among these notes that the tree of this bundle, whose newest note this is, has
    /// another root at.
    fn contradicted(&mut self, newest: &Verified, notes: &Notes, findings: &mut Vec<Finding>) -> Result<Vec<Finding>> {
        let size = newest.checkpoint.size;
        let sizes: Vec<u64> = notes.checkpoints.iter().map(|known| known.size).collect();
        let roots = self.roots(size, &sizes, findings)?;
        if roots.last() != Some(&(size, newest.checkpoint.root)) {
            findings.push(Finding::at(Code::RootMismatch, size, "Its hashes do not give its signed root."));
            return Ok(Vec::new());
        }
        let is_forked = |(size, root): &(u64, Hash)| {
            notes.checkpoints.iter().any(|known| known.size == *size && known.root != *root)
        };
        let text = "The two bundles are signed views of one log that cannot both be true.";
        Ok(roots.into_iter().filter(is_forked).map(|(size, _)| Finding::at(Code::Fork, size, text)).collect())
    }

    /// The roots of the trees of these sizes and of `size`, from the hash tiles, smallest first.
    fn roots(&mut self, size: u64, sizes: &[u64], findings: &mut Vec<Finding>) -> Result<Vec<(u64, Hash)>> {
        let mut roots = Vec::new();
        let mut frontier = Frontier::new();
        for index in 0..size.div_ceil(TILE_WIDTH) {
            let first = index * TILE_WIDTH;
            let width = size.min(first + TILE_WIDTH) - first;
            let Some(hashes) = self.hashes(index, width, findings)? else {
                findings.push(malformed(format!("The hashes of leaves from {first} on are not there.")));
                return Ok(roots);
            };
            for hash in hashes {
                frontier.append(&hash);
                let reached = frontier.size();
                if sizes.contains(&reached) || reached == size {
                    roots.push((reached, frontier.root()));
                }
            }
        }
        Ok(roots)
    }
}
