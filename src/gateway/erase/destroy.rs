//! E2 and E3: what must outlive the loss of both stores is written to files, then the keys go.

use crate::domain::id::SubjectId;
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::keyholder::HOLDER_SUBJECT;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::erasures::StoredErasure;
use crate::storage::keys::{self, StoredAuditKey, StoredTombstone};
use crate::storage::{Id16, subject_requests};

use super::ledger::WrittenPlan;
use super::plan::fingerprint;

impl Gateway {
    /// E2: a line for each subject and each suppressed address in every place of the journal of
    /// stops, and the fingerprints in the memory of the log. Written again by a resumed run: a line
    /// twice says nothing else than once.
    pub(super) async fn remember_erasure(&self, ledger: &StoredErasure) -> Result<()> {
        let plan = WrittenPlan::of(ledger)?;
        let at = ledger.started_at.timestamp();
        let mut stops: Vec<Stop> = ledger
            .subjects
            .iter()
            .map(|subject| Stop { kind: StopKind::Erasure, subject: *subject, what: String::new(), at })
            .collect();
        if let Some(subject) = ledger.subjects.first() {
            stops.extend(plan.suppressions.iter().map(|value| Stop {
                kind: StopKind::Suppression,
                subject: *subject,
                what: value.clone(),
                at,
            }));
        }
        self.journal.write(stops).await?;
        self.remember_fingerprints(ledger.fingerprints.clone()).await
    }

    /// E3: one transaction of the key store; from here on this process holds the keys no more. Other
    /// processes may hold them until the stated bound, so the receipt waits for it, not the rows.
    pub(super) async fn destroy_keys(&self, ledger: &StoredErasure) -> Result<()> {
        let plan = WrittenPlan::of(ledger)?;
        let now = self.source.now();
        let mut doomed = Vec::with_capacity(ledger.subjects.len());
        for subject in &ledger.subjects {
            let kept_version = plan.kept_version(*subject);
            // Whoever keeps something goes on with audit keys that have said nothing yet.
            let successors = match kept_version {
                Some(_) => self.keyholder.make_audit_keys(*subject, now)?.to_vec(),
                None => Vec::new(),
            };
            doomed.push(Doomed { subject: *subject, kept_version, successors });
        }
        let subjects = ledger.subjects.clone();
        let packages =
            self.database.read(move |c| subject_requests::package_keys_of(c, &subjects)).await.map_err(Error::store)?;
        let fingerprints = ledger.fingerprints.clone();
        self.keyholder
            .store()
            .write(move |connection| {
                for doomed in &doomed {
                    doomed.destroy(connection, &fingerprints, now.into())?;
                }
                for key in &packages {
                    keys::delete_owned_key(connection, *key)?;
                }
                Ok(())
            })
            .await
            .map_err(Error::keys)?;
        self.keyholder.store().flush_destroyed().await.map_err(Error::keys)?;
        for subject in &ledger.subjects {
            self.keyholder.evict(*subject);
        }
        self.forget(ledger.subjects.iter().copied());
        self.forget_identifiers();
        Ok(())
    }
}

/// One subject whose keys go.
struct Doomed {
    subject: SubjectId,
    kept_version: Option<u32>,
    successors: Vec<StoredAuditKey>,
}

impl Doomed {
    /// Deletes every key whose fingerprint stands in the ledger and sets its tombstone. A key that
    /// does not stand there was made by this very step before it was interrupted.
    fn destroy(
        &self,
        connection: &mut crate::storage::Connection,
        fingerprints: &[[u8; 32]],
        at: crate::storage::Micros,
    ) -> crate::storage::Result<()> {
        let holder = Id16::from(self.subject);
        let whole = self.kept_version.is_none();
        let tombstone = |purpose: &str, version: u32, commitment: [u8; 32]| StoredTombstone {
            purpose: purpose.to_owned(),
            holder,
            version,
            commitment,
            whole,
            erased_at: at,
        };
        let mut tombstones = Vec::new();
        for key in keys::subject_keys(connection, &[holder])? {
            if let Some(commitment) = fingerprint(&key.wrapped).filter(|found| fingerprints.contains(found)) {
                tombstones.push(tombstone("dek", key.version, commitment));
            }
        }
        for key in keys::audit_keys_of(connection, HOLDER_SUBJECT, holder)? {
            if let Some(commitment) = fingerprint(&key.wrapped).filter(|found| fingerprints.contains(found)) {
                tombstones.push(tombstone("audit", u32::try_from(key.class).unwrap_or(0), commitment));
            }
        }
        if tombstones.is_empty() {
            return Ok(());
        }
        keys::delete_subject_keys(connection, holder, self.kept_version)?;
        keys::delete_audit_keys(connection, HOLDER_SUBJECT, holder)?;
        keys::insert_tombstones(connection, &tombstones)?;
        keys::insert_audit_keys(connection, &self.successors)
    }
}
