//! Wrapping again, page by page, what lies under older versions of the root key.

use crate::crypto::keyring::{KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::{KeyPurpose, Owner};
use crate::domain::id::SubjectId;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys::{self, Cursor, KeyJob, Rewrappable, WrappedRow};
use crate::telemetry::metrics as figures;

use super::job::Place;
use super::{KIND, Progress};

/// Rows in one transaction of a job.
const BATCH: i64 = 1_000;
/// Passes over the rows before what is left is called unreadable.
const PASSES: usize = 5;

impl Gateway {
    /// Wraps again, from where the job stands. Gives the number of rows that could not be opened.
    pub(super) async fn wrap_again(
        &self,
        job: &mut KeyJob,
        place: &mut Place,
        progress: &(impl Fn(Progress) + Send + Sync),
    ) -> Result<i64> {
        let to = job.to_version;
        progress(Progress { done: job.done, total: job.total });
        for _ in 0..PASSES {
            let mut unreadable = 0;
            while let Some(kind) = Rewrappable::ALL.get(usize::from(place.kind)).copied() {
                let after = place.cursor;
                let rows = self
                    .keyholder
                    .store()
                    .read(move |c| keys::page_to_rewrap(c, kind, to, after, BATCH))
                    .await
                    .map_err(Error::keys)?;
                let Some(last) = rows.last().map(|row| Cursor { id: row.id, version: row.version }) else {
                    place.kind += 1;
                    place.cursor = None;
                    continue;
                };
                let (wrapped, failed) = self.wrap_page(rows).await?;
                unreadable += failed;
                place.cursor = Some(last);
                self.keep_batch(job, place, kind, wrapped).await?;
                progress(Progress { done: job.done, total: job.total.max(job.done) });
                let left = u32::try_from((job.total - job.done).max(0)).unwrap_or(u32::MAX);
                metrics::gauge!(figures::KEY_JOB_LEFT, "kind" => KIND).set(f64::from(left));
            }
            // A key that another instance wrapped just before it switched stands behind the cursor.
            let left = self.keyholder.store().read(move |c| keys::count_to_rewrap(c, to)).await.map_err(Error::keys)?;
            if left <= unreadable {
                metrics::gauge!(figures::KEY_JOB_LEFT, "kind" => KIND).set(0.0);
                return Ok(left);
            }
            *place = Place { noted: true, ..Place::default() };
        }
        self.keyholder.store().read(move |c| keys::count_to_rewrap(c, to)).await.map_err(Error::keys)
    }

    /// Opens and wraps a page on the blocking pool.
    async fn wrap_page(&self, rows: Vec<WrappedRow>) -> Result<(Vec<(WrappedRow, Vec<u8>)>, i64)> {
        let house = self.clone();
        tokio::task::spawn_blocking(move || {
            let keyring = house.keyholder.keyring();
            let mut wrapped = Vec::with_capacity(rows.len());
            let mut failed = 0;
            for row in rows {
                match house.wrap_row(&keyring, &row)? {
                    Some(fresh) => wrapped.push((row, fresh)),
                    None => failed += 1,
                }
            }
            if failed > 0 {
                tracing::error!(count = failed, "wrapped keys cannot be opened and stay under their old version; see the table of faults in operations");
                metrics::counter!(figures::KEY_FAILURES, "kind" => "rewrap").increment(failed);
            }
            Ok((wrapped, i64::try_from(failed).unwrap_or(i64::MAX)))
        })
        .await
        .map_err(|_| Error::Contention)?
    }

    /// `None`: the row cannot be opened.
    fn wrap_row(&self, keyring: &Keyring, row: &WrappedRow) -> Result<Option<Vec<u8>>> {
        let Some(purpose) = KeyPurpose::parse(&row.purpose) else { return Ok(None) };
        let Ok(wrapped) = WrappedKey::parse(&row.wrapped) else { return Ok(None) };
        let owner = row.owner.map(|id| Owner::from(SubjectId::from_bytes(id.0)));
        let place = KeyPlace { installation: self.keyholder.installation, purpose, owner, version: row.version };
        let nonce = self.source.random().map_err(Error::Protection)?;
        Ok(keyring.rewrap(&place, &wrapped, &nonce).ok().map(|fresh| fresh.to_bytes()))
    }

    async fn keep_batch(
        &self,
        job: &mut KeyJob,
        place: &Place,
        kind: Rewrappable,
        wrapped: Vec<(WrappedRow, Vec<u8>)>,
    ) -> Result<()> {
        job.position = place.encode();
        job.lease_until = Some(self.lease_end());
        let (before, to) = (job.done, job.to_version);
        let row = job.clone();
        job.done = self
            .keyholder
            .store()
            .write_for(move |c| {
                let mut row = row.clone();
                row.done = before;
                for (old, fresh) in &wrapped {
                    // A row that was destroyed or wrapped again meanwhile is nobody's loss.
                    row.done += i64::from(keys::replace_wrapped(c, kind, old, fresh, to)?);
                }
                if keys::advance_job(c, &row)? {
                    Ok(row.done)
                } else {
                    Err(crate::storage::Error::Refused("the job belongs to another instance"))
                }
            })
            .await
            .map_err(Error::keys)?;
        Ok(())
    }
}
