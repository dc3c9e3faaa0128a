//! E4: the rows go, at most 10,000 a commit, each commit with a leaf that counts the sealed parts of
//! the log it deletes. The last commit reads back that nothing is left and commits to the receipt.

use std::collections::BTreeMap;

use crate::audit::leaf::{Counts, Fact};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{PurposeId, SubjectId};
use crate::domain::subject::SubjectStatus;
use crate::domain::subject_request::{Target, TaskOutcome};
use crate::gateway::leaf::amend;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::erasures::{self, StoredErasure};
use crate::storage::subject_requests::{self as stored, StoredCase, StoredRequest};
use crate::storage::{Expected, Id16, Outcome as Committed, Step, Transaction, Unit, audit_log, subjects};

use super::ErasureStep;
use super::ledger::WrittenPlan;

/// Rows deleted in one commit.
pub(super) const ROWS_PER_COMMIT: i64 = 10_000;
/// How often the last commit is prepared again because rows came or went meanwhile.
const TRIES: usize = 16;

/// Rows per table.
type Deleted = BTreeMap<String, u64>;

impl Gateway {
    /// E4.
    pub(super) async fn delete_rows(
        &self,
        case: &StoredCase,
        request: &StoredRequest,
        ledger: StoredErasure,
    ) -> Result<()> {
        let plan = WrittenPlan::of(&ledger)?;
        let holders = plan.holders()?;
        let mut tries = 0;
        while tries < TRIES {
            let (subjects, counted, id) = (ledger.subjects.clone(), holders.clone(), ledger.request);
            let (now, rows, parts) = self
                .database
                .read(move |c| {
                    Ok((
                        erasures::find(c, id)?,
                        erasures::count_rows(c, &subjects)?,
                        audit_log::count_parts_of(c, &counted)?,
                    ))
                })
                .await
                .map_err(Error::store)?;
            let Some(now) = now.filter(|ledger| ledger.completed_at.is_none()) else { return Ok(()) };
            let left: i64 = rows.iter().map(|(_, rows)| *rows).sum::<i64>().saturating_add(parts);
            if left > ROWS_PER_COMMIT {
                self.delete_page(&ledger, &holders).await?;
                continue;
            }
            tries += 1;
            if self.delete_last(case, request, &now, &plan, &holders, rows).await? {
                for subject in &ledger.subjects {
                    self.keyholder.evict(*subject);
                }
                self.forget(ledger.subjects.iter().copied());
                self.forget_identifiers();
                return self.database.flush_deleted().await.map_err(Error::store);
            }
        }
        Err(Error::Contention)
    }

    /// One commit of many: leaf 701.
    async fn delete_page(&self, ledger: &StoredErasure, holders: &[Id16]) -> Result<()> {
        let leaf =
            self.leaf(Event::ErasureProgressed, Outcome::Done)?.fact(Fact::Deleted(Counts::default())).finish()?;
        let (subjects, holders, id) = (ledger.subjects.clone(), holders.to_vec(), ledger.request);
        let unit = Unit::change(locked(&subjects), vec![leaf], move |transaction, leaves| {
            let deleted = gone(erasures::delete_rows(transaction, &subjects, ROWS_PER_COMMIT)?);
            let rows: u64 = deleted.values().sum();
            let left = ROWS_PER_COMMIT.saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX));
            let parts = if left > 0 { audit_log::delete_parts(transaction, &holders, left)? } else { [0; 3] };
            let connection = transaction.connection();
            let Some(ledger) = erasures::find(connection, id)? else { return Ok(Step::Stale) };
            let all = written(&with(&ledger, &deleted)?)?;
            erasures::advance(connection, id, ErasureStep::KeysDestroyed.number(), None, &all, None)?;
            amend(leaves, vec![Fact::Deleted(parts.into())])?;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map_err(Error::store)?;
        Ok(())
    }

    /// The last commit: leaf 702. False: what was counted is not what was there.
    async fn delete_last(
        &self,
        case: &StoredCase,
        request: &StoredRequest,
        ledger: &StoredErasure,
        plan: &WrittenPlan,
        holders: &[Id16],
        rows: Vec<(&'static str, i64)>,
    ) -> Result<bool> {
        let expected: Deleted =
            gone(rows.into_iter().map(|(table, rows)| (table, usize::try_from(rows).unwrap_or(0))).collect());
        let total = with(ledger, &expected).map_err(Error::store)?;
        let receipt = self.commit_to_receipt(case, request, ledger, plan, &total).await?;
        let (subjects, holders, id) = (ledger.subjects.clone(), holders.to_vec(), ledger.request);
        let fingerprints = ledger.fingerprints.clone();
        let all = written(&total).map_err(Error::store)?;
        let kept: Vec<(SubjectId, u32)> =
            subjects.iter().filter_map(|subject| Some((*subject, plan.kept_version(*subject)?))).collect();
        let purpose = plan.kept.first().map(|kept| PurposeId::new(&kept.purpose));
        let grounds: Vec<String> = plan.kept.iter().map(|kept| kept.ground.clone()).collect();
        let (leaf, sealed, at) = (receipt.leaf, receipt.sealed, receipt.completed.into());
        let unit = Unit::change(locked(&subjects), vec![leaf], move |transaction, leaves| {
            if erasures::find(transaction.connection(), id)?.is_none_or(|ledger| ledger.completed_at.is_some()) {
                return Ok(Step::Stale);
            }
            let deleted = gone(erasures::delete_rows(transaction, &subjects, 2 * ROWS_PER_COMMIT)?);
            if deleted != expected {
                return Ok(Step::Stale);
            }
            let parts = audit_log::delete_parts(transaction, &holders, 4 * ROWS_PER_COMMIT)?;
            let connection = transaction.connection();
            let left = erasures::count_rows(connection, &subjects)?.iter().map(|(_, rows)| *rows).sum::<i64>()
                + audit_log::count_parts_of(connection, &holders)?;
            if left != 0 {
                return Ok(Step::Stale);
            }
            for subject in &subjects {
                let version = kept.iter().find(|(id, _)| id == subject).map(|(_, version)| *version);
                end_subject(transaction, *subject, version, purpose.as_ref())?;
            }
            let connection = transaction.connection();
            stored::forget_subjects(connection, &subjects)?;
            let own = Target::Gateway("erase".to_owned());
            stored::end_own_tasks(connection, id, &own, TaskOutcome::VerifiedErased, "read_back", at)?;
            for ground in &grounds {
                let target = Target::Gateway(format!("retained:{ground}"));
                stored::end_own_tasks(connection, id, &target, TaskOutcome::RetainedWithGround, "statement", at)?;
            }
            erasures::complete(connection, id, ErasureStep::RowsDeleted.number(), &all, &sealed, at)?;
            amend(leaves, vec![Fact::Deleted(parts.into()), Fact::Fingerprints(fingerprints.clone())])?;
            Ok(Step::Commit)
        });
        Ok(matches!(self.database.write(unit).await.map_err(Error::store)?, Committed::Committed(_)))
    }
}

/// The state row goes, or stays for the one purpose that what is kept may serve.
pub(super) fn end_subject(
    transaction: &mut Transaction<'_>,
    subject: SubjectId,
    kept: Option<u32>,
    purpose: Option<&PurposeId>,
) -> crate::storage::Result<()> {
    let (Some(version), Some(purpose)) = (kept, purpose) else {
        subjects::delete(transaction, subject)?;
        return Ok(());
    };
    subjects::set_key_version(transaction, subject, version)?;
    subjects::move_to_profile(transaction, subject, subject)?;
    subjects::set_suppressed(transaction, subject, true)?;
    subjects::set_status(transaction, subject, &SubjectStatus::RetainedOnly { purpose: purpose.clone() })
}

/// Locked and read, whatever their version: everything that could raise it is denied since E1.
pub(super) fn locked(subjects: &[SubjectId]) -> Vec<Expected> {
    subjects.iter().map(|subject| Expected { subject: *subject, version: None }).collect()
}

fn gone(rows: Vec<(&'static str, usize)>) -> Deleted {
    let mut deleted = Deleted::new();
    for (table, rows) in rows.into_iter().filter(|(_, rows)| *rows > 0) {
        *deleted.entry(table.to_owned()).or_default() += u64::try_from(rows).unwrap_or(u64::MAX);
    }
    deleted
}

/// What was deleted before, and this.
fn with(ledger: &StoredErasure, more: &Deleted) -> crate::storage::Result<Deleted> {
    let mut all: Deleted =
        serde_json::from_str(&ledger.deleted).map_err(|_| crate::storage::Error::Malformed { table: "erasure" })?;
    for (table, rows) in more {
        *all.entry(table.clone()).or_default() += rows;
    }
    Ok(all)
}

fn written(deleted: &Deleted) -> crate::storage::Result<String> {
    serde_json::to_string(deleted).map_err(|_| crate::storage::Error::Malformed { table: "erasure" })
}
