//! Keys are made durable before the person they are for. A crash between the two commits leaves a
//! key that nobody needs; a day later it goes.

use jiff::SignedDuration;

use crate::audit::leaf::Fact;
use crate::domain::event::{Event, Outcome};
use crate::domain::id::SubjectId;
use crate::gateway::keyholder::HOLDER_SUBJECT;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys;
use crate::storage::{Id16, Step, Unit, subjects};

/// Younger keys may be waiting for their person.
const AGE: SignedDuration = SignedDuration::from_hours(24);
/// Keys looked at in one read.
const PAGE: i64 = 1_000;

impl Gateway {
    /// Deletes keys older than a day whose person was never stored, and says how many people's.
    ///
    /// # Errors
    /// When a store cannot be read or written.
    pub async fn sweep_keys(&self) -> Result<u64> {
        let now = self.source.now();
        let before = now.checked_sub(AGE).unwrap_or(now).into();
        let mut after = Id16([0; 16]);
        let mut swept = 0_u64;
        loop {
            let page = self
                .keyholder
                .store()
                .read(move |c| keys::subject_key_page(c, after, PAGE))
                .await
                .map_err(Error::keys)?;
            let Some(last) = page.last() else { break };
            after = last.subject;
            let mut old: Vec<Id16> = page.iter().filter(|row| row.created_at < before).map(|row| row.subject).collect();
            old.dedup();
            let asked: Vec<SubjectId> = old.iter().map(|id| SubjectId::from_bytes(id.0)).collect();
            let stored = self.database.read(move |c| subjects::existing(c, &asked)).await.map_err(Error::store)?;
            let orphans: Vec<Id16> =
                old.into_iter().filter(|id| !stored.contains(&SubjectId::from_bytes(id.0))).collect();
            if orphans.is_empty() {
                continue;
            }
            swept += u64::try_from(orphans.len()).unwrap_or(0);
            self.keyholder
                .store()
                .write(move |c| {
                    for orphan in &orphans {
                        keys::delete_subject_keys(c, *orphan, None)?;
                        keys::delete_audit_keys(c, HOLDER_SUBJECT, *orphan)?;
                    }
                    Ok(())
                })
                .await
                .map_err(Error::keys)?;
        }
        if swept > 0 {
            let leaf = self.leaf(Event::KeySwept, Outcome::Done)?.fact(Fact::Number(swept)).finish()?;
            self.commit_change(move || Unit::change(Vec::new(), vec![leaf.clone()], |_, _| Ok(Step::Commit))).await?;
            self.keyholder.store().flush_destroyed().await.map_err(Error::keys)?;
        }
        Ok(swept)
    }
}
