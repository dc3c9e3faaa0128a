//! How long the log keeps what it says about people: sealed parts go by age, each commit with a leaf
//! that counts them, so that anyone can balance what is there. The leaves stay.
//!
//! Keys stay too: the audit key of a living person guards what the log will say tomorrow. It goes with
//! the person (`erase`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::audit::leaf::{Counts, Fact};
use crate::domain::event::{Class, Event, Outcome};
use crate::domain::id::RetentionClassId;
use crate::storage::{Micros, Step, Transaction, Unit, audit_log};

use super::leaf::amend;
use super::{Error, Gateway, Result};

/// The classes of `retention.toml` that say how long parts of a class of events are kept.
const KEPT: [(Class, &str); 2] = [(Class::Operation, "audit_operation"), (Class::Evidence, "audit_evidence")];
/// Sealed rows in one commit: other work waits no longer than for so many.
const ROWS: i64 = 2_000;
/// Commits in one round, so that a round ends.
const COMMITS: usize = 1_000;

impl Gateway {
    /// Deletes the sealed parts of the log whose time is over, and says how many went.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn expire_log_parts(&self) -> Result<u64> {
        let mut total = 0;
        for (class, before) in self.log_parts_over() {
            total += self
                .delete_counted(move |transaction| audit_log::delete_parts_before(transaction, class, before, ROWS))
                .await?;
        }
        Ok(total)
    }

    /// Before which instant the sealed parts of a class of events are over.
    pub(super) fn log_parts_over(&self) -> Vec<(u8, Micros)> {
        let policy = self.policy();
        let zone = &policy.policy.controller.time_zone;
        let over = KEPT.iter().filter_map(|(class, name)| {
            let kept = policy.policy.retention.get(&RetentionClassId::new(name))?;
            Some((class.number(), Micros::from(kept.over_before(self.source.now(), zone)?)))
        });
        over.collect()
    }

    /// Has `delete` delete sealed rows until none is left, each time in a commit of its own whose leaf
    /// counts them, with rests. Gives their number.
    pub(super) async fn delete_counted(
        &self,
        delete: impl Fn(&mut Transaction<'_>) -> crate::storage::Result<[u64; 3]> + Clone + Send + 'static,
    ) -> Result<u64> {
        let mut total = 0;
        for _ in 0..COMMITS {
            let began = Instant::now();
            let leaf =
                self.leaf(Event::RetentionExpired, Outcome::Done)?.fact(Fact::Deleted(Counts::default())).finish()?;
            let gone = Arc::new(AtomicU64::new(0));
            let (slot, delete) = (Arc::clone(&gone), delete.clone());
            let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, leaves| {
                let counts = delete(transaction)?;
                let rows = counts.iter().sum();
                slot.store(rows, Ordering::Relaxed);
                if rows == 0 {
                    return Ok(Step::Stale);
                }
                amend(leaves, vec![Fact::Deleted(counts.into())])?;
                Ok(Step::Commit)
            });
            self.database.write(unit).await.map_err(Error::store)?;
            let rows = gone.load(Ordering::Relaxed);
            total += rows;
            if rows < ROWS.unsigned_abs() {
                break;
            }
            tokio::time::sleep(began.elapsed().saturating_mul(9)).await;
        }
        Ok(total)
    }
}
