//! The row of a rotation: where it stands, and to whom it belongs.

use jiff::SignedDuration;

use crate::gateway::keys::versions::id16;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::keys::{self, Cursor, KeyJob};
use crate::storage::{Id16, Micros};

use super::KIND;

/// How long a job belongs to its instance after its last batch.
const LEASE: SignedDuration = SignedDuration::from_secs(20);

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The new version is being brought to every place and instance.
    Staging,
    /// The new version is active.
    Rewrapping,
}

impl Phase {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Rewrapping => "rewrapping",
        }
    }

    pub(super) fn of(job: &KeyJob) -> Self {
        if job.state == Self::Staging.as_str() { Self::Staging } else { Self::Rewrapping }
    }
}

/// The place of a job: whether the leaf of its phase stands, the kind of row it is at, and the last
/// row it saw of that kind. 2 bytes, then 16 and 4 where a row was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) noted: bool,
    pub(super) kind: u8,
    pub(super) cursor: Option<Cursor>,
}

impl Place {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.noted), self.kind];
        if let Some(cursor) = &self.cursor {
            bytes.extend_from_slice(&cursor.id.0);
            bytes.extend_from_slice(&cursor.version.to_be_bytes());
        }
        bytes
    }

    /// What does not parse is the beginning: doing rows twice harms nothing.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let Some(([noted, kind], rest)) = bytes.split_first_chunk::<2>() else { return Self::default() };
        let cursor = rest.split_first_chunk::<16>().and_then(|(id, rest)| {
            let version = u32::from_be_bytes(*rest.first_chunk::<4>()?);
            Some(Cursor { id: Id16(*id), version })
        });
        Self { noted: *noted == 1, kind: *kind, cursor }
    }
}

impl Gateway {
    pub(super) async fn open_rotation(&self) -> Result<Option<KeyJob>> {
        self.keyholder.store().read(|c| keys::open_job(c, KIND)).await.map_err(Error::keys)
    }

    pub(super) async fn begin_job(&self, from: u32, to: u32, phase: Phase, total: i64) -> Result<KeyJob> {
        let now = self.source.now();
        let job = KeyJob {
            id: Id16(self.source.random().map_err(Error::Protection)?),
            kind: KIND.to_owned(),
            from_version: from,
            to_version: to,
            position: Place::default().encode(),
            total,
            done: 0,
            state: phase.as_str().to_owned(),
            holder: Some(id16(self.instance)),
            lease_until: Some(self.lease_end()),
            created_at: now.into(),
        };
        let row = job.clone();
        let begun = self.keyholder.store().write_for(move |c| keys::begin_job(c, &row)).await.map_err(Error::keys)?;
        if begun { Ok(job) } else { Err(Error::WrongState("another process begins a rotation at this moment")) }
    }

    /// Takes the lease of a job that somebody began.
    pub(super) async fn take(&self, mut job: KeyJob) -> Result<KeyJob> {
        let (id, own, now, until) = (job.id, id16(self.instance), Micros::from(self.source.now()), self.lease_end());
        let taken = self
            .keyholder
            .store()
            .write_for(move |c| keys::take_job(c, id, own, now, until))
            .await
            .map_err(Error::keys)?;
        if !taken {
            return Err(Error::WrongState(
                "another process works at this rotation; if it was killed, its lease ends within 20 seconds",
            ));
        }
        self.read_root_keys_again().await?;
        job.holder = Some(own);
        job.lease_until = Some(until);
        Ok(job)
    }

    pub(super) fn lease_end(&self) -> Micros {
        let now = self.source.now();
        now.checked_add(LEASE).unwrap_or(now).into()
    }

    /// Notes where the job stands together with a change, and keeps its lease.
    pub(super) async fn keep(
        &self,
        job: &mut KeyJob,
        place: &Place,
        mut change: impl FnMut(&mut crate::storage::Connection) -> crate::storage::Result<()> + Send + 'static,
    ) -> Result<()> {
        job.position = place.encode();
        job.lease_until = Some(self.lease_end());
        let row = job.clone();
        let kept = self
            .keyholder
            .store()
            .write_for(move |c| {
                if !keys::advance_job(c, &row)? {
                    return Ok(false);
                }
                change(c)?;
                Ok(true)
            })
            .await
            .map_err(Error::keys)?;
        if kept { Ok(()) } else { Err(Error::WrongState("another process took this rotation over")) }
    }
}
