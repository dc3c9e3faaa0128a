//! The sealed details of the log after a restore: those that were deleted since the copy was made go
//! again, those that were made since are gone and are counted, so that anyone can balance again
//! (`audit-log.md` §8.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::audit::leaf::{Counts, Fact, Leaf};
use crate::domain::event::{Event, Outcome, Role};
use crate::gateway::{Error, Gateway, Result};
use crate::storage::audit_log::{self, RestoreState};
use crate::storage::{self, Connection, Id16, Step, Transaction, Unit, keys};

/// Sealed rows in one commit.
const ROWS: i64 = 2_000;
/// Leaves or ids in one read.
const PAGE: i64 = 1_000;

impl Gateway {
    /// Deletes the sealed parts that were deleted before and came back with the copy. Leaves that were
    /// brought back count them already.
    pub(super) async fn drop_returned_parts(&self, before: RestoreState) -> Result<()> {
        for (class, until) in self.log_parts_over() {
            self.delete_again(move |transaction| audit_log::delete_parts_before(transaction, class, until, ROWS))
                .await?;
        }
        let signed = self.keyholder.store().read(keys::last_signed).await.map_err(Error::keys)?;
        // A key is durable before anything that is sealed under it. So in a key store that is younger
        // than the copy a key that is not there was destroyed; an older one may never have had it.
        if signed.is_none_or(|signed| signed.size <= before.size) {
            return Ok(());
        }
        let mut after = Id16([0; 16]);
        loop {
            let page = self.database.read(move |c| audit_log::holders(c, after, PAGE)).await.map_err(Error::store)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            let asked = page.clone();
            let living =
                self.keyholder.store().read(move |c| keys::audit_keys_by_ids(c, &asked)).await.map_err(Error::keys)?;
            let gone: Vec<Id16> =
                page.into_iter().filter(|holder| living.iter().all(|key| key.id != *holder)).collect();
            self.delete_again(move |transaction| audit_log::delete_parts(transaction, &gone, ROWS)).await?;
        }
    }

    /// Deletes sealed rows in commits whose leaves do not count them a second time.
    async fn delete_again(
        &self,
        delete: impl Fn(&mut Transaction<'_>) -> storage::Result<[u64; 3]> + Clone + Send + 'static,
    ) -> Result<()> {
        loop {
            let leaf =
                self.leaf(Event::ErasureProgressed, Outcome::Done)?.fact(Fact::Deleted(Counts::default())).finish()?;
            let rows = Arc::new(AtomicU64::new(0));
            let (slot, delete) = (Arc::clone(&rows), delete.clone());
            let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
                let gone: u64 = delete(transaction)?.iter().sum();
                slot.store(gone, Ordering::Relaxed);
                Ok(if gone == 0 { Step::Stale } else { Step::Commit })
            });
            self.database.write(unit).await.map_err(Error::store)?;
            if rows.load(Ordering::Relaxed) < ROWS.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Sealed parts that leaves name, that no leaf counts as deleted, and that are not there: by class.
    pub(super) async fn missing_parts(&self) -> Result<[u64; 3]> {
        self.database.read(missing).await.map_err(Error::store)
    }
}

fn missing(connection: &mut Connection) -> storage::Result<[u64; 3]> {
    let head = audit_log::head(connection)?.ok_or(storage::Error::DamagedLog("the head is missing"))?;
    let mut expected = [0_i64; 3];
    let mut from = head.minimum_index;
    loop {
        let page = audit_log::leaves(connection, from, PAGE)?;
        let Some(last) = page.last() else { break };
        from = last.seq.saturating_add(1);
        for leaf in page.iter().filter_map(|stored| Leaf::decode(&stored.leaf).ok()) {
            expect(&mut expected, &leaf, head.minimum_index > 0);
        }
    }
    let there = audit_log::part_counts(connection)?.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    let mut missing = [0; 3];
    for ((missing, expected), there) in missing.iter_mut().zip(expected).zip(there) {
        *missing = u64::try_from(expected.saturating_sub(there)).unwrap_or(0);
    }
    Ok(missing)
}

/// Adds what a leaf says of sealed rows: its own parts, less those that it counts as deleted.
fn expect(expected: &mut [i64; 3], leaf: &Leaf, is_pruned: bool) {
    let class = usize::from(leaf.event.class().number()).saturating_sub(1);
    if let Some(slot) = expected.get_mut(class) {
        let kept = leaf.parts.iter().filter(|part| part.role != Role::Receipt).count();
        *slot = slot.saturating_add(i64::try_from(kept).unwrap_or(i64::MAX));
    }
    // What a prune counts are parts of leaves that are not seen here; their deletion is.
    let sign = match leaf.event {
        Event::LogPruned if is_pruned => 1,
        Event::LogPruned => 0,
        _ => -1,
    };
    let counts = leaf.facts.deleted().unwrap_or_default();
    for (slot, count) in expected.iter_mut().zip(<[u64; 3]>::from(counts)) {
        *slot = slot.saturating_add(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(sign));
    }
}
