//! Evidence out of what a verification met: two notes signed by the log's own key that cannot both be
//! true.

use crate::audit::checkpoint::Verified;
use crate::audit::evidence::{Evidence, Kind, contradict, fork_proof};
use crate::audit::note::VerifierKey;
use crate::audit::tree::{self, HashSource};

/// The strongest evidence there is, if the notes alone give any; what is stored is only used to prove
/// one note with another.
pub(super) fn of<S: HashSource>(
    hashes: &S,
    mut signed: Vec<(&Verified, &String)>,
    log_keys: &[VerifierKey],
    size: u64,
) -> Vec<Evidence> {
    signed.sort_by_key(|(verified, _)| verified.checkpoint.size);
    let found = same_size(&signed)
        .or_else(|| other_size(hashes, &signed, size).unwrap_or_default())
        .or_else(|| shorter(&signed, size));
    // What a stranger would not take for evidence is none.
    found.filter(|evidence| evidence.judge(log_keys).is_ok()).into_iter().collect()
}

fn same_size(signed: &[(&Verified, &String)]) -> Option<Evidence> {
    signed.windows(2).find_map(|pair| match pair {
        [(one, first), (other, second)] if contradict(one, other) => Some(Evidence {
            kind: Kind::Fork,
            notes: [String::clone(first), String::clone(second)],
            proof: None,
            why: format!("The log signed two roots for its first {} leaves.", one.checkpoint.size),
        }),
        _ => None,
    })
}

/// A note that the stored tree does not hold, and a later one that is signed over that tree.
fn other_size<S: HashSource>(
    hashes: &S,
    signed: &[(&Verified, &String)],
    size: u64,
) -> std::result::Result<Option<Evidence>, S::Error> {
    let mut apart = None;
    for (verified, note) in signed.iter().filter(|(verified, _)| verified.checkpoint.size <= size) {
        let checkpoint = &verified.checkpoint;
        let is_stored = tree::root(checkpoint.size, hashes)? == checkpoint.root;
        match apart {
            None if !is_stored => apart = Some((checkpoint.size, *note)),
            Some((older, first)) if is_stored => {
                let proof = fork_proof(older, checkpoint.size, hashes)?;
                let why = format!(
                    "The tree of {} leaves that the second note signs has another root at {older} leaves than the first note.",
                    checkpoint.size
                );
                let notes = [String::clone(first), String::clone(note)];
                return Ok(Some(Evidence { kind: Kind::Fork, notes, proof, why }));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// A note over more leaves than there are, beside the newest that the leaves reach.
fn shorter(signed: &[(&Verified, &String)], size: u64) -> Option<Evidence> {
    let (longest, first) = signed.last().filter(|(verified, _)| verified.checkpoint.size > size)?;
    let (_, second) = signed.iter().rfind(|(verified, _)| verified.checkpoint.size <= size)?;
    let signed = longest.checkpoint.size;
    let why = format!("The log signed {signed} leaves; it was shown with {size} and the second note.");
    Some(Evidence { kind: Kind::Rollback, notes: [String::clone(first), String::clone(second)], proof: None, why })
}
