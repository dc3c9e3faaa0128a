//! Verifying a live database: every leaf is hashed again, every checkpoint that is known is tried.
//!
//! It opens the stores so that it cannot write, believes no stored hash, and holds one page of leaves in
//! memory at a time. It needs no key but the log's public one, unless it is given an [`PartOpener`]: then it
//! also reads what is sealed. Deliberately absent: a [`Gateway`](super::Gateway)
//! (`super::Gateway`); an auditor with a copy of the data file has none.

mod anchors;
mod bundle;
mod business;
mod destroyed;
mod evidence;
mod known;
mod leaves;
mod payloads;
mod proof;
mod pruned;
mod tiles;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::audit::attest::{Freshness, attest};
use crate::audit::finding::{Code, Finding, Report, Severity};
use crate::audit::receipt::TrustSource;
use crate::audit::tree::Frontier;
use crate::audit::trust::Trust;
use crate::audit::verify::{Start, Verifier};
use crate::crypto::signature::certificate::Roots;
use crate::storage::audit_log::{self, LogHead, StoredHashes};
use crate::storage::{self, Connection, Location};

use self::anchors::Anchors;
pub use self::bundle::{BundleVerification, notes_of_bundle, verify_bundle};
pub(in crate::gateway) use self::business::Business;
pub(in crate::gateway) use self::destroyed::Destroyed;
use self::known::Known;
pub(in crate::gateway) use self::known::claimed_keys;
pub(in crate::gateway) use self::leaves::{Reading, partitions};
pub use self::payloads::PartOpener;
pub(in crate::gateway) use self::payloads::{Against, Payloads};
pub(in crate::gateway) use self::tiles::WrongTile;
use super::checkpoint::frontier_at;
use super::{Error, Result};

/// What to verify, and against what.
pub struct Verification {
    /// The data store.
    pub database: Location,
    /// The key store, if its word on what was signed last is wanted, or anything below that needs it.
    pub keys: Option<Location>,
    /// The folder of the checkpoint memory, if there is one.
    pub memory: Option<PathBuf>,
    /// Saved checkpoints: a name for each, to be shown, and the note.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// The verifier's own trust policy. Without it the log's own claim is used, and the verdict is at
    /// best "not attested".
    pub trust: Option<Trust>,
    /// How old the newest attested time may be.
    pub maximum_age: Option<Duration>,
    /// Now.
    pub now: Timestamp,
    /// Who vouches for the authorities that dated the log.
    pub anchor_roots: Roots,
    /// Also ask whether every business row has its leaf, and every leaf its rows.
    pub business: bool,
    /// Also hold the keys that were destroyed against those in the key store.
    pub destroyed_keys: bool,
    /// Opens what is sealed, under the keys of the key store. With [`business`](Self::business) the rows
    /// are then held against what their leaves say of them.
    pub opener: Option<PartOpener>,
}

/// Verifies a database. `progress` is told how many leaves are done and how many there are.
///
/// # Errors
/// When a store cannot be read at all; whatever is wrong *in* it is a finding.
pub fn verify(verification: &Verification, mut progress: impl FnMut(u64, u64)) -> Result<Report> {
    let mut connection = verification.database.connect_to_read().map_err(Error::store)?;
    let before = audit_log::stored_size(&mut connection).map_err(Error::store)?;
    let report = pass(verification, &mut connection, &mut progress)?;
    let is_unbalanced =
        report.findings.iter().any(|finding| matches!(finding.code, Code::SealedMissing | Code::FalseErasure));
    let after = audit_log::stored_size(&mut connection).map_err(Error::store)?;
    if !is_unbalanced || after == before {
        return Ok(report);
    }
    // Sealed parts may have been deleted lawfully while the pages went by. A snapshot is not used at
    // once because it keeps the writer from shortening its log for as long as it lasts.
    connection.begin_snapshot().map_err(Error::store)?;
    let report = pass(verification, &mut connection, &mut progress);
    connection.end_snapshot().map_err(Error::store)?;
    report
}

/// Verifies a `.tlog-proof` file by itself: the signatures of its checkpoint and that the leaf in it
/// stands where it says. Without a trust policy nobody says whose signature it must be, so the verdict
/// is at best "not attested".
#[must_use]
pub fn verify_proof(text: &str, trust: Option<&Trust>, maximum_age: Option<Duration>, now: Timestamp) -> Report {
    let mut report = Report::new();
    let verified = match proof::check(text, trust, &mut report) {
        Ok(verified) => verified,
        Err(finding) => {
            report.findings.push(finding);
            report.conclude();
            return report;
        }
    };
    let freshness = freshness(maximum_age, now);
    match (trust, verified) {
        (Some(trust), Some(verified)) => attest(&mut report, &[verified], trust, TrustSource::Own(trust), freshness),
        _ => {
            let text = "No trust policy says whose signature it must be; the signature was not checked.";
            report.findings.push(Finding::whole(Code::Unwitnessed, text));
            report.conclude();
        }
    }
    report
}

fn pass(
    verification: &Verification,
    connection: &mut Connection,
    progress: &mut impl FnMut(u64, u64),
) -> Result<Report> {
    let Begun { head, known, frontier, mut findings } = begin(verification, connection)?;
    let total = total(connection, head.as_ref())?;
    let payloads = match (&verification.opener, &verification.keys, &head) {
        (Some(opener), Some(keys), Some(head)) => {
            let against = if verification.business { Against::Rows } else { Against::LogAlone };
            Some(Payloads::new(opener.clone(), head.origin.clone(), keys, against)?)
        }
        _ => None,
    };
    let reading = Reading::new(connection, frontier.clone(), total)?.opening(payloads);
    let start = Start { frontier, entries: reading.watch(), ..known.start() };
    let mut report = reading.run(Verifier::new(start), head.as_ref(), progress)?;
    if let Some(head) = &head {
        findings.extend(pruned::left(connection, head)?);
    }
    if verification.business {
        findings.extend(business(connection, head.as_ref(), total)?);
    }
    if let (true, Some(keys), Some(head)) = (verification.destroyed_keys, &verification.keys, &head) {
        let memory = (verification.memory.as_deref(), head.origin.as_str());
        let mut destroyed = Destroyed::new(connection, keys, memory, head.minimum_index, total)?;
        while destroyed.step(connection)? {}
        findings.extend(destroyed.findings());
    }
    report.findings.append(&mut findings);
    hold_anchors(&mut report, &known, connection, &verification.anchor_roots)?;

    let own = verification.trust.as_ref();
    if let Some(trust) = own.or(known.claimed.as_ref()) {
        let source = own.map_or(TrustSource::Receipt, TrustSource::Own);
        attest(&mut report, &known.verified, trust, source, freshness(verification.maximum_age, verification.now));
    }
    report.conclude();
    if report.findings.iter().any(|finding| finding.severity == Severity::Forked) {
        let signed = known.verified.iter().zip(&known.notes).collect();
        report.evidence = evidence::of(&StoredHashes::new(connection), signed, &known.log_keys, total);
    }
    Ok(report)
}

/// Holds every stored time-stamp against its checkpoint.
fn hold_anchors(report: &mut Report, known: &Known, connection: &mut Connection, roots: &Roots) -> Result<()> {
    let mut anchors = Anchors::new(&known.verified, &report.dated, roots);
    for size in audit_log::anchored_sizes(connection).map_err(Error::store)? {
        for anchor in audit_log::anchors_of(connection, size).map_err(Error::store)? {
            match anchor.reply {
                Some(reply) => anchors.take(size, &reply),
                None => anchors.wait(size, &anchor.authority),
            }
        }
    }
    anchors.finish(report);
    Ok(())
}

/// What is known before the first leaf is read.
pub(in crate::gateway) struct Begun {
    pub(in crate::gateway) head: Option<LogHead>,
    pub(in crate::gateway) known: Known,
    /// The tree below the first leaf that was not pruned.
    pub(in crate::gateway) frontier: Frontier,
    pub(in crate::gateway) findings: Vec<Finding>,
}

/// Reads the head and everything that was signed. It is read before the leaves: they can only be
/// more than it covers.
pub(in crate::gateway) fn begin(verification: &Verification, connection: &mut Connection) -> Result<Begun> {
    let mut findings = Vec::new();
    let head = head(connection, &mut findings)?;
    let known = Known::collect(verification, connection, head.as_ref(), &mut findings)?;
    let first = head.as_ref().map_or(0, |head| head.minimum_index);
    let frontier = match frontier_at(connection, first) {
        Ok(frontier) => frontier,
        Err(storage::Error::DamagedLog(what)) => {
            let text = format!("The leaves before the first one are pruned, and {what}.");
            findings.push(Finding::whole(Code::LeafMissing, text));
            Frontier::new()
        }
        Err(error) => return Err(Error::store(error)),
    };
    if let Some(head) = &head {
        findings.extend(pruned::judge(connection, head, &frontier)?);
    }
    Ok(Begun { head, known, frontier, findings })
}

/// How many leaves the log has, by its head or by its leaves.
pub(in crate::gateway) fn total(connection: &mut Connection, head: Option<&LogHead>) -> Result<u64> {
    let stored = audit_log::stored_size(connection).map_err(Error::store)?;
    Ok(stored.max(head.map_or(0, |head| head.size)))
}

/// The head, if it can be read; it is compared, never believed.
fn head(connection: &mut Connection, findings: &mut Vec<Finding>) -> Result<Option<LogHead>> {
    match audit_log::head(connection) {
        Ok(Some(head)) => Ok(Some(head)),
        Ok(None) => {
            findings.push(Finding::whole(Code::LeafMissing, "The store has no log."));
            Ok(None)
        }
        Err(storage::Error::DamagedLog(_) | storage::Error::Malformed { .. }) => {
            findings.push(Finding::whole(Code::Malformed, "The head of the log is malformed."));
            Ok(None)
        }
        Err(error) => Err(Error::store(error)),
    }
}

fn business(connection: &mut Connection, head: Option<&LogHead>, total: u64) -> Result<Vec<Finding>> {
    let count = partitions(total);
    let mut business = Business::new(head.map_or(0, |head| head.minimum_index), total, (0, count), count);
    while business.step(connection)? {}
    Ok(business.findings())
}

fn freshness(maximum_age: Option<Duration>, now: Timestamp) -> Option<Freshness> {
    let now = u64::try_from(now.as_second()).unwrap_or(0);
    maximum_age.map(|age| Freshness { now, maximum_age: age.as_secs() })
}
