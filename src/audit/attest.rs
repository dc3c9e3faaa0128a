//! What others vouch for: quorum, freshness, and whose word it is that the keys are right.

use super::checkpoint::Verified;
use super::finding::{Code, Finding, Report};
use super::receipt::TrustSource;
use super::trust::Trust;

/// How old the newest attested time may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Now, in seconds since 1970 UTC.
    pub now: u64,
    /// The greatest age, in seconds.
    pub maximum_age: u64,
}

/// Adds to a report what the checkpoints attest, and concludes it again.
///
/// `trust` is the policy the checkpoints were opened with; `source` says whether it is the
/// verifier's own. A log whose newest checkpoint is unwitnessed is intact and not attested; a log
/// that no checkpoint attests as the verifier's *own* trust asks for is downgraded.
pub fn attest(
    report: &mut Report,
    checkpoints: &[Verified],
    trust: &Trust,
    source: TrustSource<'_>,
    freshness: Option<Freshness>,
) {
    let is_own = matches!(source, TrustSource::Own(_));
    let newest = checkpoints.iter().map(|verified| verified.checkpoint.size).max();
    let witnessed = checkpoints
        .iter()
        .filter(|verified| trust.asks_for_quorum() && is_met(verified, trust))
        .map(|verified| verified.checkpoint.size)
        .max();
    report.witnessed_to = witnessed;
    let finding = if newest.is_none() {
        Some((Code::Unwitnessed, "There is no checkpoint, so nobody vouches for the log."))
    } else if !trust.asks_for_quorum() {
        Some((Code::Unwitnessed, "The trust policy asks for no witness."))
    } else if witnessed.is_none() && is_own {
        Some((Code::Downgrade, "No checkpoint meets the quorum that your trust policy asks for."))
    } else if witnessed != newest {
        Some((Code::Unwitnessed, "The quorum vouches for an older checkpoint than the newest."))
    } else if !is_own {
        Some((Code::Unwitnessed, "The keys are the log's own claim; bring a trust policy of your own."))
    } else {
        None
    };
    report.findings.extend(finding.map(|(code, text)| Finding::whole(code, text)));

    if let Some(freshness) = freshness
        && freshness.now.saturating_sub(newest_time(report, checkpoints)) > freshness.maximum_age
    {
        let text = "The newest thing the log shows is older than you accept.";
        report.findings.push(Finding::whole(Code::Stale, text));
    }
    report.conclude();
}

fn is_met(verified: &Verified, trust: &Trust) -> bool {
    trust.is_met_by(verified.cosignatures.iter().map(|cosignature| &cosignature.key))
}

/// The newest time that a leaf or a witness says, in seconds since 1970 UTC. Each heartbeat is a
/// leaf, so a log that lives is never old.
fn newest_time(report: &Report, checkpoints: &[Verified]) -> u64 {
    let cosigned = checkpoints.iter().flat_map(|verified| &verified.cosignatures);
    let cosigned = cosigned.map(|cosignature| cosignature.seconds).max().unwrap_or(0);
    report.newest.map_or(0, |newest| newest / 1_000_000).max(cosigned)
}
