//! Receipts: `*.amanat-receipt.json`, a proof that a person can keep and check without us.

use serde::{Deserialize, Serialize};

use super::cbor::Malformed;
use super::checkpoint::{self, CheckpointError};
use super::finding::{Code, Finding, Report};
use super::leaf::{Leaf, Refusal, leaf_hash};
use super::payload::{Value, read_plaintext};
use super::proof::{LogProof, OpenedPart};
use super::tree::verify_inclusion;
use super::trust::Trust;

/// The only format there is.
const FORMAT: &str = "amanat-receipt/1";

/// A receipt as it stands in the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// `amanat-receipt/1`.
    format: Format,
    /// The gateway's own claim whom to trust, a trust policy.
    pub trust: String,
    /// The proof, a `.tlog-proof` with the leaf as `extra`.
    pub proof: String,
    /// The parts that are shown.
    pub opened: Vec<OpenedPart>,
    /// The payload of the last opened part, to be read by people.
    pub statement: Value,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "amanat-receipt/1")]
    One,
}

/// Whose word it is that the keys are right.
#[derive(Clone, Copy)]
pub enum TrustSource<'a> {
    /// The verifier's own trust policy.
    Own(&'a Trust),
    /// What the receipt says of itself: the verdict is at best "not attested".
    Receipt,
}

impl Receipt {
    /// Makes a receipt.
    #[must_use]
    pub fn new(trust: String, proof: &LogProof, opened: Vec<OpenedPart>, statement: Value) -> Self {
        Self { format: Format::One, trust, proof: proof.to_string(), opened, statement }
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If it is not JSON of this shape, or says a key twice.
    pub fn parse(json: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(json).map_err(|_| Malformed)
    }

    /// The format's name, for documents.
    #[must_use]
    pub const fn format() -> &'static str {
        FORMAT
    }

    /// Checks everything that can be checked without the gateway: signatures, inclusion, that the
    /// leaf commits to the opened parts, that the statement says what they say.
    #[must_use]
    pub fn verify(&self, source: TrustSource<'_>) -> Report {
        let mut report = Report::new();
        if let Err(finding) = self.verify_into(source, &mut report) {
            report.findings.push(finding);
        }
        report.conclude();
        report
    }

    fn verify_into(&self, source: TrustSource<'_>, report: &mut Report) -> Result<(), Finding> {
        let claimed;
        let trust = match source {
            TrustSource::Own(trust) => trust,
            TrustSource::Receipt => {
                claimed = Trust::parse(&self.trust)
                    .map_err(|_| malformed("The trust policy in the receipt cannot be read."))?;
                &claimed
            }
        };
        let proof = LogProof::parse(&self.proof).map_err(|_| malformed("The proof in the receipt cannot be read."))?;
        let witness_keys = trust.witness_keys();
        let note = proof.checkpoint.as_bytes();
        let verified = checkpoint::open(note, None, trust.logs(), &witness_keys)
            .map_err(|error| checkpoint_finding(error, None))?;
        let checkpoint = &verified.checkpoint;
        report.origin = Some(checkpoint.origin.clone());
        report.size = checkpoint.size;

        let Some(bytes) = &proof.leaf else {
            return Err(malformed("The proof holds no leaf."));
        };
        let leaf = Leaf::decode(bytes).map_err(|refusal| refusal_finding(refusal, proof.index))?;
        if leaf.seq != proof.index {
            let text = "The leaf says another position than its proof.";
            return Err(Finding::at(Code::LeafAltered, proof.index, text));
        }
        let included =
            verify_inclusion(proof.index, checkpoint.size, &leaf_hash(bytes), &proof.hashes, &checkpoint.root);
        if included.is_err() {
            let text = "The leaf is not in the tree that the checkpoint signs.";
            return Err(Finding::at(Code::RootMismatch, proof.index, text));
        }
        report.checked = 1;
        report.newest = Some(leaf.time);
        self.verify_parts(&leaf, &checkpoint.origin, report);

        let cosigned = verified.cosignatures.iter().map(|cosignature| &cosignature.key);
        report.findings.extend(attestation(trust, source, trust.is_met_by(cosigned)));
        if trust.asks_for_quorum() && report.findings.iter().all(|f| f.code != Code::Downgrade) {
            report.witnessed_to = Some(checkpoint.size);
        }
        Ok(())
    }

    fn verify_parts(&self, leaf: &Leaf, origin: &str, report: &mut Report) {
        for part in &self.opened {
            if part.is_bound_to(leaf, origin) {
                report.opened += 1;
            } else {
                let text = "An opened part is not what the leaf commits to.";
                report.findings.push(Finding::at(Code::PartUnbound, leaf.seq, text));
            }
        }
        let Some(part) = self.opened.last() else {
            report.findings.push(malformed("The receipt opens no part."));
            return;
        };
        match read_plaintext(&part.plaintext) {
            Ok(payload) if payload.shows(&self.statement) => {}
            Ok(_) => {
                let text = "The statement does not say what was committed to.";
                report.findings.push(Finding::at(Code::StatementDiffers, leaf.seq, text));
            }
            Err(Malformed) => {
                report.findings.push(malformed("The payload of an opened part cannot be read."));
            }
        }
    }
}

/// What follows from the quorum and from whose trust it was.
fn attestation(trust: &Trust, source: TrustSource<'_>, met: bool) -> Option<Finding> {
    match source {
        TrustSource::Own(_) if !met => {
            let text = "Fewer witnesses vouch for the checkpoint than your trust policy asks for.";
            Some(Finding::whole(Code::Downgrade, text))
        }
        TrustSource::Own(_) if trust.asks_for_quorum() => None,
        TrustSource::Own(_) => {
            let text = "Your trust policy asks for no witness.";
            Some(Finding::whole(Code::Unwitnessed, text))
        }
        TrustSource::Receipt => {
            let text = "The keys are the receipt's own claim; bring a trust policy of your own.";
            Some(Finding::whole(Code::Unwitnessed, text))
        }
    }
}

/// The finding that a checkpoint which is not believed leads to.
#[must_use]
pub fn checkpoint_finding(error: CheckpointError, size: Option<u64>) -> Finding {
    let (code, text) = match error {
        CheckpointError::Malformed => (Code::Malformed, "A checkpoint cannot be read."),
        CheckpointError::Origin => (Code::OriginMismatch, "A checkpoint is of another log."),
        CheckpointError::Signature => (Code::CheckpointSignature, "No signature of the log on a checkpoint holds."),
    };
    match size {
        Some(size) => Finding::at(code, size, text),
        None => Finding::whole(code, text),
    }
}

/// The finding that a refused leaf leads to.
#[must_use]
pub fn refusal_finding(refusal: Refusal, seq: u64) -> Finding {
    match refusal {
        Refusal::Malformed => Finding::at(Code::Malformed, seq, "The leaf breaks its format."),
        Refusal::UnknownVersion => Finding::at(Code::UnknownVersion, seq, "The leaf is of a version not known here."),
        Refusal::UnknownEvent => Finding::at(Code::UnknownEvent, seq, "The leaf tells an event not known here."),
    }
}

fn malformed(text: &str) -> Finding {
    Finding::whole(Code::Malformed, text)
}
