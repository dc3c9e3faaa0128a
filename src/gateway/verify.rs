//! Verifying a live database: every leaf is hashed again, every checkpoint that is known is tried.
//!
//! It needs no key but the log's public one, opens the stores so that it cannot write, believes no
//! stored hash, and holds one page of leaves in memory at a time. Deliberately absent: a [`Gateway`](super::Gateway)
//! (`super::Gateway`); an auditor with a copy of the data file has none.

mod anchors;
mod bundle;
mod known;
mod leaves;
mod proof;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::audit::attest::{Freshness, attest};
use crate::audit::finding::{Code, Finding, Report};
use crate::audit::receipt::TrustSource;
use crate::audit::trust::Trust;
use crate::audit::verify::{Start, Verifier};
use crate::crypto::signature::certificate::Roots;
use crate::storage::audit_log::{self, LogHead};
use crate::storage::{self, Connection, Location};

use self::anchors::Anchors;
pub use self::bundle::{BundleVerification, notes_of_bundle, verify_bundle};
use self::known::Known;
pub(in crate::gateway) use self::known::claimed_keys;
use self::leaves::Reading;
use super::checkpoint::frontier_at;
use super::{Error, Result};

/// What to verify, and against what.
pub struct Verification {
    /// The data store.
    pub database: Location,
    /// The key store, if its word on what was signed last is wanted.
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
    /// Also ask whether every business row has its leaf.
    pub business: bool,
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
    let mut findings = Vec::new();
    let head = head(connection, &mut findings)?;
    // Everything that was signed is read before the leaves: they can only be more than it covers.
    let known = Known::collect(verification, connection, head.as_ref(), &mut findings)?;
    let total =
        audit_log::stored_size(connection).map_err(Error::store)?.max(head.as_ref().map_or(0, |head| head.size));
    let first = head.as_ref().map_or(0, |head| head.minimum_index);
    let frontier = match frontier_at(connection, first) {
        Ok(frontier) => frontier,
        Err(storage::Error::DamagedLog(what)) => {
            findings.push(Finding::whole(
                Code::LeafMissing,
                format!("The leaves before the first one are pruned, and {what}."),
            ));
            crate::audit::tree::Frontier::new()
        }
        Err(error) => return Err(Error::store(error)),
    };

    let reading = Reading::new(connection, frontier.clone(), total);
    let verifier = Verifier::new(Start {
        origin: known.origin.clone(),
        frontier,
        checkpoints: known.checkpoints.clone(),
        entries: reading.watch(),
    });
    let mut report = reading.run(verifier, head.as_ref(), progress, &mut findings)?;
    if verification.business {
        findings.extend(without_leaf(connection)?);
    }
    report.findings.append(&mut findings);
    hold_anchors(&mut report, &known, connection, &verification.anchor_roots)?;

    let own = verification.trust.as_ref();
    if let Some(trust) = own.or(known.claimed.as_ref()) {
        let source = own.map_or(TrustSource::Receipt, TrustSource::Own);
        attest(&mut report, &known.verified, trust, source, freshness(verification.maximum_age, verification.now));
    }
    report.conclude();
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

fn without_leaf(connection: &mut Connection) -> Result<Vec<Finding>> {
    let tables = audit_log::rows_without_leaf(connection).map_err(Error::store)?;
    let finding = |found: audit_log::WithoutLeaf| {
        let text = format!("{} rows of {} name an entry that has no leaf.", found.rows, found.table);
        Finding::whole(Code::BusinessRowWithoutLeaf, text)
    };
    Ok(tables.into_iter().map(finding).collect())
}

fn freshness(maximum_age: Option<Duration>, now: Timestamp) -> Option<Freshness> {
    let now = u64::try_from(now.as_second()).unwrap_or(0);
    maximum_age.map(|age| Freshness { now, maximum_age: age.as_secs() })
}
