//! Nobody returns (`cryptography.md` §11): a restored copy of either store may bring erased people and
//! destroyed keys back. Before anybody is served, everything that remembers an erasure is held against
//! what lives: the leaves that name destroyed keys, the memory of destroyed keys, the tombstones of the
//! key store, and the journal of stops. Whoever came back is erased again.
//!
//! It may be cut short anywhere and runs again at the next start: what is found is found again as long
//! as a row or a key is left. What a law obliges to keep is kept again, where its keys came back too.

use std::collections::{BTreeSet, HashSet};

use crate::audit::leaf::{Cause, Counts, Fact, Leaf};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{PurposeId, SubjectId};
use crate::domain::subject::SubjectStatus;
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::keyholder::HOLDER_SUBJECT;
use crate::gateway::leaf::amend;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys::{self, StoredAuditKey, StoredSubjectKey, StoredTombstone};
use crate::storage::subjects::StoredSubject;
use crate::storage::{Id16, Micros, Step, Unit, audit_log, deliveries, erasures, records, subject_requests, subjects};

use super::delete::{ROWS_PER_COMMIT, end_subject, locked};
use super::plan::{Member, Plan, fingerprint, locked_purpose};

/// Leaves, keys or ids looked at in one read.
const PAGE: i64 = 2_000;
/// Ids asked for in one statement.
const ASKED: usize = 500;

/// What is known of erasures that ended.
struct Known {
    /// Fingerprints of keys that leaves name as destroyed.
    told: HashSet<[u8; 32]>,
    /// All fingerprints of destroyed keys.
    destroyed: HashSet<[u8; 32]>,
    /// Subjects that the journal of stops says were erased.
    stopped: HashSet<SubjectId>,
}

/// Keys of one subject that came back.
struct Keys {
    deks: Vec<StoredSubjectKey>,
    audit: Vec<StoredAuditKey>,
}

impl Keys {
    const fn is_empty(&self) -> bool {
        self.deks.is_empty() && self.audit.is_empty()
    }

    fn fingerprints(&self) -> Vec<[u8; 32]> {
        let deks = self.deks.iter().map(|key| key.wrapped.as_slice());
        deks.chain(self.audit.iter().map(|key| key.wrapped.as_slice())).filter_map(fingerprint).collect()
    }
}

/// What of one subject goes, and what stays.
struct Burial {
    subject: SubjectId,
    keys: Keys,
    /// The version of the key under which something is kept, and what for.
    kept: Option<u32>,
    purpose: Option<PurposeId>,
    /// Whether its rows go too: it is `erasing`.
    has_rows: bool,
    /// Whether the log counts its sealed parts as deleted already.
    is_told: bool,
}

impl Gateway {
    /// Erases again whoever came back with an old copy of a store, and says how many that were. Must be
    /// done before serving, after interrupted erasures were finished.
    ///
    /// # Errors
    /// When a store, the memory or the journal cannot be used; then nothing must be served.
    pub async fn replay_erasures(&self) -> Result<usize> {
        let known = self.known_erasures().await?;
        let mut people = self.who_came_back(&known).await?;
        people.extend(self.holders_of_forgotten_keys(&known).await?);
        let mut count = 0;
        for subject in people {
            if self.erase_again(subject, &known).await? {
                count += 1;
            }
        }
        if count > 0 {
            tracing::warn!(count, "erased people had come back with an old copy and were erased again");
            self.database.flush_deleted().await.map_err(Error::store)?;
            self.keyholder.store().flush_destroyed().await.map_err(Error::keys)?;
        }
        Ok(count)
    }

    /// Reads everything that remembers erasures.
    async fn known_erasures(&self) -> Result<Known> {
        let told = self.database.read(told_fingerprints).await.map_err(Error::store)?;
        let mut destroyed = self.remembered_fingerprints().await?;
        destroyed.extend(&told);
        let stopped = self
            .journal
            .each(HashSet::new(), |stopped, stop| {
                if stop.kind == StopKind::Erasure {
                    stopped.insert(stop.subject);
                }
            })
            .await?;
        Ok(Known { told, destroyed, stopped })
    }

    /// Erased subjects of whom a row or a key lives, by tombstones and journal.
    async fn who_came_back(&self, known: &Known) -> Result<BTreeSet<SubjectId>> {
        let (whole, returned) = self
            .keyholder
            .store()
            .read(|c| Ok((keys::tombstoned_subjects(c)?, keys::returned_holders(c)?)))
            .await
            .map_err(Error::keys)?;
        let mut back: BTreeSet<SubjectId> = returned.into_iter().map(SubjectId::from).collect();
        let erased: BTreeSet<SubjectId> =
            whole.into_iter().map(SubjectId::from).chain(known.stopped.iter().copied()).collect();
        let erased: Vec<SubjectId> = erased.into_iter().collect();
        for chunk in erased.chunks(ASKED) {
            let asked = chunk.to_vec();
            let (rows, kept) = self
                .database
                .read(move |c| Ok((subjects::existing(c, &asked)?, subjects::retained_among(c, &asked)?)))
                .await
                .map_err(Error::store)?;
            let asked: Vec<Id16> = chunk.iter().copied().map(Id16::from).collect();
            let living =
                self.keyholder.store().read(move |c| keys::subject_keys(c, &asked)).await.map_err(Error::keys)?;
            let living = living.into_iter().map(|key| SubjectId::from(key.subject));
            back.extend(rows.into_iter().chain(living).filter(|subject| !kept.contains(subject)));
        }
        Ok(back)
    }

    /// Holders of living keys that were destroyed, as leaves or the memory say and this key store does
    /// not know: it is older than they are. Otherwise no key is looked at.
    async fn holders_of_forgotten_keys(&self, known: &Known) -> Result<BTreeSet<SubjectId>> {
        let destroyed: Vec<[u8; 32]> = known.destroyed.iter().copied().collect();
        let store = self.keyholder.store();
        let forgotten = store.read(move |c| keys::without_tombstone(c, &destroyed)).await.map_err(Error::keys)?;
        if forgotten.is_empty() {
            return Ok(BTreeSet::new());
        }
        let wanted: HashSet<[u8; 32]> = forgotten.into_iter().collect();
        let (found, mut unknown) = store
            .read(move |connection| {
                let mut found: Vec<(Id16, [u8; 32])> = Vec::new();
                let mut note = |holder: Id16, wrapped: &[u8]| {
                    found.extend(
                        fingerprint(wrapped).filter(|print| wanted.contains(print)).map(|print| (holder, print)),
                    );
                };
                let mut after = Id16([0; 16]);
                loop {
                    let page = keys::subject_key_page(connection, after, PAGE)?;
                    let Some(last) = page.last() else { break };
                    after = last.subject;
                    page.iter().for_each(|key| note(key.subject, &key.wrapped));
                    // The versions of one subject may not all have been in the page.
                    keys::subject_keys(connection, &[after])?.iter().for_each(|key| note(key.subject, &key.wrapped));
                }
                after = Id16([0; 16]);
                loop {
                    let page = keys::audit_key_page(connection, after, PAGE)?;
                    let Some(last) = page.last() else { break };
                    after = last.id;
                    page.iter().for_each(|key| note(key.holder, &key.wrapped));
                }
                Ok((found, wanted))
            })
            .await
            .map_err(Error::keys)?;
        for (_, print) in &found {
            unknown.remove(print);
        }
        let (unknown, at) = (unknown.into_iter().collect::<Vec<_>>(), self.source.now().into());
        store.write(move |c| keys::remember_fingerprints(c, &unknown, at)).await.map_err(Error::keys)?;
        Ok(found.into_iter().map(|(holder, _)| SubjectId::from(holder)).collect())
    }

    /// Erases one subject again. False: nothing of it had come back.
    async fn erase_again(&self, subject: SubjectId, known: &Known) -> Result<bool> {
        let row = self.database.read(move |c| subjects::find(c, subject)).await.map_err(Error::store)?;
        let mut keys = self.keys_of(subject).await?;
        let kept = match &row {
            None => None,
            Some(row) => match row.status {
                // What is kept by law lives under keys of its own; older ones go.
                SubjectStatus::RetainedOnly { .. } => {
                    self.leave_those_in_use(subject, &mut keys, known).await?;
                    Some(row.key_version)
                }
                SubjectStatus::Active => self.begin_again(row.clone()).await?,
                // Cut short: what is kept was sealed anew then.
                SubjectStatus::Erasing | SubjectStatus::Erased => self.kept_before(row).await?,
            },
        };
        let has_rows = row.is_some_and(|row| !matches!(row.status, SubjectStatus::RetainedOnly { .. }));
        if keys.is_empty() && !has_rows {
            return Ok(false);
        }
        keys.deks.retain(|key| Some(key.version) != kept);
        // Sealed parts whose leaf of deletion stands in the log are counted there.
        let is_told = keys.fingerprints().iter().any(|print| known.told.contains(print));
        let purpose = kept.and(locked_purpose(&self.policy().policy));
        if !known.stopped.contains(&subject) {
            let stop = Stop { kind: StopKind::Erasure, subject, what: String::new(), at: self.source.now() };
            self.journal.write(vec![stop]).await?;
        }
        self.bury(Burial { subject, keys, kept, purpose, has_rows, is_told }).await?;
        Ok(true)
    }

    async fn keys_of(&self, subject: SubjectId) -> Result<Keys> {
        let id = Id16::from(subject);
        let read = self.keyholder.store().read(move |c| {
            Ok(Keys { deks: keys::subject_keys(c, &[id])?, audit: keys::audit_keys_of(c, HOLDER_SUBJECT, id)? })
        });
        read.await.map_err(Error::keys)
    }

    /// Leaves those of the keys out that were never destroyed.
    async fn leave_those_in_use(&self, subject: SubjectId, keys: &mut Keys, known: &Known) -> Result<()> {
        let buried = self.buried_fingerprints(subject).await?;
        let is_old = |wrapped: &[u8]| {
            fingerprint(wrapped).is_some_and(|print| known.destroyed.contains(&print) || buried.contains(&print))
        };
        keys.deks.retain(|key| is_old(&key.wrapped));
        keys.audit.retain(|key| is_old(&key.wrapped));
        Ok(())
    }

    async fn buried_fingerprints(&self, subject: SubjectId) -> Result<Vec<[u8; 32]>> {
        let holder = Id16::from(subject);
        self.keyholder.store().read(move |c| keys::fingerprints_of(c, holder)).await.map_err(Error::keys)
    }

    /// Marks the person as `erasing`, sets the marks against old events, and seals anew what a law obliges
    /// to keep. Gives the version of the key that seals it.
    async fn begin_again(&self, row: StoredSubject) -> Result<Option<u32>> {
        let (policy, now, subject) = (self.policy(), self.source.now(), row.id);
        let mut plan = Plan::empty(policy.clone(), now);
        let lock = locked_purpose(&policy.policy);
        let planned = self.plan_member(&mut plan, row, lock.as_ref(), &mut Vec::new()).await;
        let (retained, new_key) = match planned {
            Ok(Member { retained, new_key, .. }) => (retained, new_key),
            // Without its keys nothing can be read, so nothing can be marked or kept.
            Err(Error::NotFound | Error::MissingKey | Error::DataUnreadable(_)) => (Vec::new(), None),
            Err(error) => return Err(error),
        };
        let version = new_key.as_ref().map(|key| key.version);
        if let Some(key) = new_key {
            let store = self.keyholder.store();
            store
                .write(move |c| keys::insert_subject_keys(c, std::slice::from_ref(&key)))
                .await
                .map_err(Error::keys)?;
        }
        let leaf = self.progressed()?;
        let (marks, suppressions) = (plan.marks, plan.suppressions);
        self.commit_change(move || {
            let (marks, suppressions, retained) = (marks.clone(), suppressions.clone(), retained.clone());
            Unit::change(locked(&[subject]), vec![leaf.clone()], move |transaction, _| {
                let connection = transaction.connection();
                erasures::insert_marks(connection, &marks)?;
                erasures::insert_suppressions(connection, &suppressions)?;
                for record in &retained {
                    records::retain(connection, record)?;
                }
                deliveries::cancel_all(connection, &[subject], "erased", now.into())?;
                if let Some(version) = version {
                    subjects::set_key_version(transaction, subject, version)?;
                }
                subjects::set_status(transaction, subject, &SubjectStatus::Erasing)?;
                Ok(Step::Commit)
            })
        })
        .await?;
        self.forget([subject]);
        self.forget_identifiers();
        Ok(version)
    }

    /// The version of the key under which something of a half-erased subject is kept, if anything is.
    async fn kept_before(&self, row: &StoredSubject) -> Result<Option<u32>> {
        let subject = row.id;
        let (all, goes) = self
            .database
            .read(move |c| {
                let goes = erasures::count_rows(c, &[subject])?;
                let goes = goes.iter().find(|(table, _)| *table == "record").map_or(0, |(_, rows)| *rows);
                Ok((records::count(c, subject)?, goes))
            })
            .await
            .map_err(Error::store)?;
        Ok((all > goes).then_some(row.key_version))
    }

    /// Deletes the rows, then the keys, then the state row; the last commit says so in the log.
    async fn bury(&self, burial: Burial) -> Result<()> {
        let Burial { subject, kept, has_rows, .. } = burial;
        let mut fingerprints = burial.keys.fingerprints();
        self.delete_packages(subject).await?;
        while self.delete_page_again(&burial).await? {}
        self.remember_fingerprints(fingerprints.clone()).await?;
        let purpose = burial.purpose.clone();
        self.destroy_again(burial).await?;
        if fingerprints.is_empty() {
            // They went in a run before this one.
            fingerprints = self.buried_fingerprints(subject).await?;
        }
        let leaf = self
            .leaf(Event::ErasureReplayed, Outcome::Done)?
            .fact(Fact::Deleted(Counts::default()))
            .fact(Fact::Fingerprints(fingerprints))
            .fact(Fact::Cause(Cause::Restore))
            .finish()?;
        self.commit_change(move || {
            let purpose = purpose.clone();
            let rests_on = if has_rows { locked(&[subject]) } else { Vec::new() };
            Unit::change(rests_on, vec![leaf.clone()], move |transaction, _| {
                if has_rows {
                    end_subject(transaction, subject, kept, purpose.as_ref())?;
                    let connection = transaction.connection();
                    erasures::delete_disclosures(connection, &[subject])?;
                    subject_requests::forget_subjects(connection, &[subject])?;
                }
                Ok(Step::Commit)
            })
        })
        .await?;
        self.keyholder.evict(subject);
        self.forget([subject]);
        self.forget_identifiers();
        Ok(())
    }

    /// The keys of packages go before their rows.
    async fn delete_packages(&self, subject: SubjectId) -> Result<()> {
        let packages = self
            .database
            .read(move |c| subject_requests::package_keys_of(c, &[subject]))
            .await
            .map_err(Error::store)?;
        self.keyholder
            .store()
            .write(move |c| packages.iter().try_for_each(|key| keys::delete_owned_key(c, *key).map(drop)))
            .await
            .map_err(Error::keys)
    }

    /// Deletes rows and sealed parts in one commit, if any are left.
    async fn delete_page_again(&self, burial: &Burial) -> Result<bool> {
        let Burial { subject, has_rows, is_told, .. } = *burial;
        let holders: Vec<Id16> = burial.keys.audit.iter().map(|key| key.id).collect();
        let counted = holders.clone();
        let left = self
            .database
            .read(move |c| {
                let rows = if has_rows { erasures::count_rows(c, &[subject])? } else { Vec::new() };
                Ok(rows.iter().map(|(_, rows)| *rows).sum::<i64>() + audit_log::count_parts_of(c, &counted)?)
            })
            .await
            .map_err(Error::store)?;
        if left == 0 {
            return Ok(false);
        }
        let leaf = self.progressed()?;
        self.commit_change(move || {
            let holders = holders.clone();
            let rests_on = if has_rows { locked(&[subject]) } else { Vec::new() };
            Unit::change(rests_on, vec![leaf.clone()], move |transaction, leaves| {
                if has_rows {
                    erasures::delete_rows(transaction, &[subject], ROWS_PER_COMMIT)?;
                }
                let parts = audit_log::delete_parts(transaction, &holders, ROWS_PER_COMMIT)?;
                let counted = if is_told { Counts::default() } else { parts.into() };
                amend(leaves, vec![Fact::Deleted(counted)])?;
                Ok(Step::Commit)
            })
        })
        .await?;
        Ok(true)
    }

    /// Destroys the keys and sets their tombstones.
    async fn destroy_again(&self, burial: Burial) -> Result<()> {
        let Burial { subject, keys: Keys { deks, audit }, kept, .. } = burial;
        let now = self.source.now();
        let (holder, at) = (Id16::from(subject), Micros::from(now));
        // Whoever keeps something goes on with audit keys that have said nothing yet.
        let successors = match kept {
            Some(_) => self.keyholder.make_audit_keys(subject, now)?.to_vec(),
            None => Vec::new(),
        };
        let tombstone = move |purpose: &str, version: u32, wrapped: &[u8]| {
            Some(StoredTombstone {
                purpose: purpose.to_owned(),
                holder,
                version,
                commitment: fingerprint(wrapped)?,
                whole: kept.is_none(),
                erased_at: at,
            })
        };
        self.keyholder
            .store()
            .write(move |connection| {
                let mut tombstones = Vec::new();
                for key in &deks {
                    keys::delete_subject_key(connection, key.subject, key.version)?;
                    tombstones.extend(tombstone("dek", key.version, &key.wrapped));
                }
                for key in &audit {
                    keys::delete_audit_key(connection, key.id)?;
                    tombstones.extend(tombstone("audit", u32::try_from(key.class).unwrap_or(0), &key.wrapped));
                }
                keys::insert_tombstones(connection, &tombstones)?;
                let living: Vec<i16> =
                    keys::audit_keys_of(connection, HOLDER_SUBJECT, holder)?.iter().map(|key| key.class).collect();
                let missing: Vec<_> = successors.iter().filter(|key| !living.contains(&key.class)).cloned().collect();
                keys::insert_audit_keys(connection, &missing)
            })
            .await
            .map_err(Error::keys)
    }

    fn progressed(&self) -> Result<crate::storage::LeafRow> {
        self.leaf(Event::ErasureProgressed, Outcome::Done)?.fact(Fact::Deleted(Counts::default())).finish()
    }
}

/// The fingerprints of destroyed keys that leaves name.
fn told_fingerprints(connection: &mut crate::storage::Connection) -> crate::storage::Result<HashSet<[u8; 32]>> {
    let (mut told, mut from) = (HashSet::new(), 0);
    loop {
        let page = audit_log::leaves_of_destroyed_keys(connection, from, PAGE)?;
        let Some(last) = page.last() else { return Ok(told) };
        from = last.seq.saturating_add(1);
        // A leaf that cannot be read is the verifier's business.
        for leaf in page.iter().filter_map(|stored| Leaf::decode(&stored.leaf).ok()) {
            for fact in leaf.facts.as_slice() {
                if let Fact::Fingerprints(fingerprints) = fact {
                    told.extend(fingerprints.iter().copied());
                }
            }
        }
    }
}
