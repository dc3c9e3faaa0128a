//! Two bundles of one log: whether what was signed in both can be true together.

use std::path::Path;

use crate::audit::bundle::BundlePath;
use crate::audit::finding::{Code, Finding};
use crate::audit::tile::TILE_WIDTH;
use crate::audit::tree::{Frontier, Hash};
use crate::gateway::Result;

use super::notes::Notes;
use super::{Bundle, malformed};

impl Bundle {
    /// Holds another bundle against this one. Checkpoints that this one reaches are tried on its
    /// leaves; where the other is the larger, its hashes are tried on this one's checkpoints.
    pub(super) fn hold_against(&mut self, path: &Path, notes: &mut Notes, findings: &mut Vec<Finding>) -> Result<()> {
        let mut noted = Vec::new();
        if let Some(mut other) = Self::open(path, "The other bundle", &mut noted)? {
            let own = notes.checkpoints.clone();
            for path in other.note_paths() {
                let Some(note) = other.take(&path, &mut noted)? else { continue };
                match notes.open(&path.to_string(), &note) {
                    Ok(verified) if verified.checkpoint.size <= self.manifest.size => notes.add(verified),
                    Ok(verified) if path == BundlePath::Checkpoint => {
                        let (size, root) = (verified.checkpoint.size, verified.checkpoint.root);
                        let roots =
                            other.roots(size, &own.iter().map(|own| own.size).collect::<Vec<_>>(), &mut noted)?;
                        if roots.last().is_none_or(|(_, computed)| *computed != root) {
                            noted.push(Finding::at(
                                Code::RootMismatch,
                                size,
                                "Its hashes do not give its signed root.",
                            ));
                            continue;
                        }
                        for (size, root) in roots {
                            if own.iter().any(|own| own.size == size && own.root != root) {
                                let text = "The two bundles are signed views of one log that cannot both be true.";
                                findings.push(Finding::at(Code::Fork, size, text));
                            }
                        }
                    }
                    Ok(_) => {}
                    Err(finding) => noted.push(finding),
                }
            }
        }
        findings.extend(
            noted
                .into_iter()
                .map(|finding| Finding { text: format!("In the other bundle: {}", finding.text), ..finding }),
        );
        Ok(())
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
