//! A proof that came as a file.

use crate::audit::checkpoint::{self, Checkpoint, Verified};
use crate::audit::finding::{Code, Finding, Report};
use crate::audit::leaf::{Leaf, Refusal, leaf_hash};
use crate::audit::proof::LogProof;
use crate::audit::tree::verify_inclusion;
use crate::audit::trust::Trust;

use super::known::code;

/// Checks a proof and fills the report. Gives the checkpoint in it if a trust policy says whose it
/// must be and its signatures hold.
pub(super) fn check(text: &str, trust: Option<&Trust>, report: &mut Report) -> Result<Option<Verified>, Finding> {
    let malformed = |what: &str| Finding::whole(Code::Malformed, what);
    let proof = LogProof::parse(text).map_err(|_| malformed("The proof is malformed."))?;
    let leaf = proof.leaf.as_deref().ok_or_else(|| malformed("The proof does not hold its leaf."))?;
    let note = proof.checkpoint.as_bytes();
    let (said, verified) = match trust {
        Some(trust) => {
            let verified = checkpoint::open(note, None, trust.logs(), &trust.witness_keys()).map_err(|error| {
                Finding::whole(code(error), format!("The checkpoint of the proof is refused: {error}."))
            })?;
            (verified.checkpoint.clone(), Some(verified))
        }
        None => {
            let said = Checkpoint::of_note(note);
            (said.map_err(|_| malformed("The checkpoint of the proof is malformed."))?, None)
        }
    };
    report.origin = Some(said.origin.clone());
    report.size = said.size;
    let decoded = match Leaf::decode(leaf) {
        Ok(leaf) => Some(leaf),
        Err(Refusal::Malformed) => return Err(Finding::at(Code::Malformed, proof.index, "The leaf is malformed.")),
        Err(Refusal::UnknownVersion) => {
            report.findings.push(Finding::at(Code::UnknownVersion, proof.index, "The leaf has an unknown version."));
            None
        }
        Err(Refusal::UnknownEvent) => {
            report.findings.push(Finding::at(Code::UnknownEvent, proof.index, "The leaf tells an unknown event."));
            None
        }
    };
    if decoded.as_ref().is_some_and(|leaf| leaf.seq != proof.index) {
        return Err(Finding::at(Code::LeafAltered, proof.index, "The leaf says another position than its proof."));
    }
    report.newest = decoded.map(|leaf| leaf.time);
    verify_inclusion(proof.index, said.size, &leaf_hash(leaf), &proof.hashes, &said.root)
        .map_err(|error| Finding::at(Code::RootMismatch, proof.index, format!("The proof does not hold: {error}.")))?;
    report.checked = 1;
    Ok(verified)
}
