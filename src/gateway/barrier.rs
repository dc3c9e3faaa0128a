//! The send barrier: the answer to a stop waits for parcels that are on the wire.
//!
//! A stop takes effect when it commits. A claim decides again in its own commit, so it either sees
//! the stop or stands as `sending` before it; only those earlier ones are waited for, at most the
//! length of one try.

use std::time::{Duration, Instant};

use crate::domain::id::{RecipientId, SubjectId};
use crate::storage::deliveries;

use super::{Error, Gateway, Result};

impl Gateway {
    /// Waits until no parcel about these subjects (and everybody linked to them) that was claimed
    /// before now is on the wire. Gives the recipients whose receipt is still unknown at the end.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn wait_for_the_wire(&self, subjects: &[SubjectId]) -> Result<Vec<RecipientId>> {
        let mut all: Vec<SubjectId> = Vec::new();
        for subject in subjects {
            if let Some(person) = self.person_now(*subject).await? {
                all.extend(person.members.iter().map(|member| member.id));
            }
            all.push(*subject);
        }
        all.sort_unstable();
        all.dedup();
        let began = Instant::now();
        let mut earlier: Option<Vec<crate::domain::id::DeliveryId>> = None;
        loop {
            let (ids, now) = (all.clone(), self.source.now());
            let wire = self
                .database
                .read(move |c| deliveries::on_the_wire(c, &ids, now.into()))
                .await
                .map_err(Error::store)?;
            // What is claimed after the stop was decided after it, and needs no waiting.
            let waited_for = earlier.get_or_insert_with(|| wire.iter().map(|delivery| delivery.id).collect());
            let mut open: Vec<RecipientId> = wire
                .into_iter()
                .filter(|delivery| waited_for.contains(&delivery.id))
                .map(|delivery| delivery.recipient)
                .collect();
            open.sort_unstable();
            open.dedup();
            if open.is_empty() || began.elapsed() >= self.settings.delivery_time_limit {
                return Ok(open);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
