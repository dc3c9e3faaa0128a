//! A witness: what a data protection officer, an auditor or a works council runs beside a gateway, on
//! a machine that the gateway's operator does not have.
//!
//! It remembers of each log that its trust policy names the last checkpoint it cosigned, and cosigns
//! nothing that is not proven to extend it (C2SP tlog-witness). It reads no entries and learns
//! nothing about anybody.
//!
//! Deliberately absent: the gateway, its stores, its keys, its configuration.

mod key;

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::audit::checkpoint::{Checkpoint, cosigned_message, with_cosignatures};
use crate::audit::evidence::{Evidence, Kind, Weight};
use crate::audit::note::VerifierKey;
use crate::audit::trust::Trust;
use crate::audit::witness::{Claim, Cosigned, log_name};
use crate::storage;
use crate::storage::witness::{Decided, RefusedNote, WitnessStore};

pub use crate::audit::witness::{MAXIMUM_BODY, Refusal, SIZE_TYPE};
pub use key::{KeyError, WitnessKey};

/// A witness. It decides about one request at a time: an answer is on disk before the next one is
/// looked at.
pub struct Witness {
    key: WitnessKey,
    trust: Trust,
    store: Mutex<WitnessStore>,
    /// Told of every note that was refused although its log had signed it, once.
    tell: Tell,
}

/// What is done with evidence besides keeping it in the store.
pub type Tell = Arc<dyn Fn(&Evidence, Weight) + Send + Sync>;

/// What can go wrong in a witness. The caller is not told; nothing was cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error("the store of the witness failed")]
    Store(#[from] storage::Error),
    /// A request before this one ended in the middle.
    #[error("the store of the witness is not believed any more; start the witness again")]
    Poisoned,
}

/// What a request comes to: the lines of the cosignature, or why there are none.
pub type Answer = Result<String, Refusal>;

impl Witness {
    /// A witness with this key, for the logs of this policy.
    #[must_use]
    pub fn new(key: WitnessKey, trust: Trust, store: WitnessStore, tell: Tell) -> Self {
        Self { key, trust, store: Mutex::new(store), tell }
    }

    /// Its key, as others write it into their trust policies.
    #[must_use]
    pub fn verifier(&self) -> String {
        self.key.verifier().to_string()
    }

    /// The logs it knows.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.trust.logs().iter().map(VerifierKey::name)
    }

    /// Decides a request to cosign. When this gives a cosignature, it is on disk that it was given.
    ///
    /// # Errors
    /// When the store failed; then nothing was decided.
    pub fn add_checkpoint(&self, body: &[u8], now: Timestamp) -> Result<Answer, Error> {
        let claim = match Claim::open(body, self.trust.logs()) {
            Ok(claim) => claim,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let line = self.cosign(&claim.text, seconds);
        let mut answer = Ok(line.clone());
        let mut evidence = None;
        let origin = &claim.verified.checkpoint.origin;
        let decided = self.store()?.decide(origin, now.into(), |last| match claim.follows(last) {
            Ok(()) => Decided::Cosigned(next(&claim, &line)),
            Err(refusal) => {
                answer = Err(refusal);
                evidence = last.and_then(|last| evidence_of(&claim, last, refusal));
                evidence.as_ref().zip(last).map_or(Decided::Dropped, |(evidence, last)| {
                    Decided::Refused(refused(&claim, last, evidence, self.trust.logs()))
                })
            }
        })?;
        if let (Decided::Refused(note), Some(evidence)) = (decided, evidence) {
            (self.tell)(&evidence, note.weight);
        }
        Ok(answer)
    }

    /// What was cosigned last of the log of this name ([`log_name`]), with our line.
    ///
    /// # Errors
    /// When the store failed.
    pub fn checkpoint(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(origin) = self.origins().find(|origin| log_name(origin) == name) else { return Ok(None) };
        Ok(self.store()?.last(origin)?.map(|last| last.note))
    }

    fn store(&self) -> Result<std::sync::MutexGuard<'_, WitnessStore>, Error> {
        self.store.lock().map_err(|_| Error::Poisoned)
    }

    /// The line under the note. Whether it leaves this process is decided by the store.
    fn cosign(&self, text: &str, seconds: u64) -> String {
        let signature = self.key.signing().sign(&cosigned_message(seconds, text));
        let bytes = [seconds.to_be_bytes().as_slice(), &signature].concat();
        self.key.verifier().signature_line(&bytes)
    }
}

/// The note as it is shown from now on: the log's own lines and ours.
fn next(claim: &Claim, line: &str) -> Cosigned {
    let Checkpoint { size, root, .. } = claim.verified.checkpoint;
    let bare = format!("{}\n{}", claim.text, claim.lines.concat());
    Cosigned { size, root, note: with_cosignatures(&bare, [line]) }
}

fn refused(claim: &Claim, last: &Cosigned, evidence: &Evidence, logs: &[VerifierKey]) -> RefusedNote {
    let Checkpoint { size, root, .. } = claim.verified.checkpoint;
    let status = if evidence.kind == Kind::Fork { 422 } else { 409 };
    let weight = evidence.judge(logs).unwrap_or(Weight::Claimed);
    RefusedNote { size, root, status, cosigned: last.size, weight, evidence: evidence.to_json() }
}

/// What a refused note shows beside the one cosigned last. The log signed both.
fn evidence_of(claim: &Claim, last: &Cosigned, refusal: Refusal) -> Option<Evidence> {
    let size = claim.verified.checkpoint.size;
    let (kind, why) = match refusal {
        Refusal::Inconsistent => (Kind::Fork, "offered with a proof that does not hold"),
        // A caller that knows more than it may have missed an answer: that is how logs catch up.
        Refusal::Conflict { .. } if size < last.size => (Kind::Rollback, "offered after the first was cosigned"),
        Refusal::Conflict { .. } if size == last.size && claim.verified.checkpoint.root != last.root => {
            (Kind::Fork, "offered at the size that was cosigned with another root")
        }
        Refusal::Conflict { .. } | Refusal::Malformed | Refusal::UnknownLog | Refusal::Signature => return None,
    };
    // Where the old size is a power of two the offered proof leaves out the root it starts from, and
    // shows nothing to others.
    let proof = claim.proof();
    let is_whole = kind == Kind::Fork && size > last.size && !last.size.is_power_of_two() && !proof.is_empty();
    Some(Evidence {
        kind,
        notes: [last.note.clone(), claim.note().to_owned()],
        proof: is_whole.then(|| proof.to_vec()),
        why: format!("The second note, of {size} leaves, was {why}, of {} leaves.", last.size),
    })
}
