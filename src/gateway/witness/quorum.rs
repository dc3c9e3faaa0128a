//! The quorum: which checkpoint is shown, and what the log says of its witnesses.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::audit::checkpoint::with_cosignatures;
use crate::audit::leaf::Fact;
use crate::audit::note::{Note, VerifierKey};
use crate::audit::trust::Trust;
use crate::audit::witness::{CosignatureLine, cosignatures};
use crate::domain::event::{Event, Outcome};
use crate::gateway::checkpoint::Published;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::audit_log::{self, Witnessing};
use crate::storage::{self, Connection, LeafRow, Micros, Step, Unit};
use crate::telemetry::metrics as figures;

/// A cosignature counts for so long: witnesses are asked every minute, and one answer may be lost.
const FRESH: SignedDuration = SignedDuration::from_secs(180);
/// A quorum that is missed for so long is told to the log.
const TOLD_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Checkpoints that are looked through for the newest with a quorum.
const SEARCHED: i64 = 100;

/// How a witness stands to the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WitnessStanding {
    /// Its name in the trust policy.
    pub name: String,
    /// The size it cosigned last; none: it never did.
    pub size: Option<u64>,
    /// When it was heard last.
    pub heard: Option<Timestamp>,
}

impl Gateway {
    /// Shows the newest checkpoint with its cosignatures, or the newest that has the quorum where the
    /// operator wants that.
    pub(in crate::gateway) async fn show(&self) -> Result<()> {
        let Some(newest) = self.log.newest() else { return Ok(()) };
        let keys = self.witnesses.keys();
        let wanted = self.witnesses.quorum().filter(|_| self.witnesses.must_wait()).cloned();
        let shown = self
            .database
            .read(move |connection| match wanted {
                None => cosigned(connection, newest.size, &newest.note, &keys).map(|(shown, _)| Some(shown)),
                Some(trust) => newest_witnessed(connection, &trust, &keys),
            })
            .await
            .map_err(Error::store)?;
        if let Some(shown) = shown {
            self.log.show(shown);
        }
        Ok(())
    }

    /// Tells the log that the trust policy is another than it told last (event 106).
    pub(super) async fn note_trust(&self) -> Result<()> {
        let trust = self.witnesses.digest;
        let told = self.database.read(audit_log::witnessing).await.map_err(Error::store)?;
        let is_told = match told {
            Some(told) => told.trust == trust,
            // A log that never had witnesses does not say that it has none.
            None => self.witnesses.trust.is_none(),
        };
        if is_told {
            return Ok(());
        }
        let leaf = self.leaf(Event::LogTrustChanged, Outcome::Done)?.fact(Fact::Digest(trust)).finish()?;
        self.tell_log(leaf, told, Witnessing { trust, unwitnessed_since: None }).await
    }

    /// What each witness of the policy cosigned last, and since when the quorum is missed, if the log
    /// told so.
    pub(in crate::gateway) async fn witness_standing(&self) -> Result<(Vec<WitnessStanding>, Option<Timestamp>)> {
        let trust = self.witnesses.trust.clone();
        self.database
            .read(move |connection| {
                let mut standing = Vec::new();
                for witness in trust.iter().flat_map(|trust| trust.witnesses()) {
                    let last = audit_log::newest_cosignature(connection, &witness.key.to_string())?;
                    let heard = last.as_ref().map(|last| last.time.timestamp());
                    standing.push(WitnessStanding {
                        name: witness.name.clone(),
                        size: last.map(|last| last.size),
                        heard,
                    });
                }
                let told = audit_log::witnessing(connection)?;
                Ok((standing, told.and_then(|told| told.unwitnessed_since).map(Micros::timestamp)))
            })
            .await
            .map_err(Error::store)
    }

    /// Measures how long the quorum is missed, and tells the log when that is ten minutes and when it
    /// is over (events 107, 108).
    pub(super) async fn judge_quorum(&self, published: &Published) -> Result<()> {
        let Some(trust) = self.witnesses.quorum() else { return Ok(()) };
        let now = self.source.now();
        let size = published.size;
        let stored = self.database.read(move |connection| audit_log::cosignatures_of(connection, size)).await;
        let fresh = stored.map_err(Error::store)?;
        let fresh = fresh.iter().filter(|row| now.duration_since(row.time.timestamp()) <= FRESH);
        let keys: Vec<VerifierKey> = fresh.filter_map(|row| VerifierKey::parse(&row.witness).ok()).collect();
        let is_met = trust.is_met_by(&keys);

        let told = self.database.read(audit_log::witnessing).await.map_err(Error::store)?;
        // The row is made with event 106, before anything is asked.
        let Some(told) = told else { return Ok(()) };
        let met_at = self.note_met(is_met, now);
        let since = told.unwitnessed_since.map_or(met_at, Micros::timestamp);
        let missed = now.duration_since(since);
        let seconds = if is_met { 0.0 } else { missed.as_secs_f64() };
        metrics::gauge!(figures::AUDIT_UNWITNESSED).set(seconds);

        if is_met && told.unwitnessed_since.is_some() {
            let leaf = self.leaf(Event::LogWitnessed, Outcome::Done)?;
            let leaf = leaf.fact(Fact::LogSize(size)).fact(Fact::Until(micros(now))).finish()?;
            tracing::info!(size, "the quorum of witnesses signs again");
            return self.tell_log(leaf, Some(told), Witnessing { unwitnessed_since: None, ..told }).await;
        }
        if !is_met && told.unwitnessed_since.is_none() && missed >= TOLD_AFTER {
            let leaf = self.leaf(Event::LogUnwitnessed, Outcome::Failed)?;
            let leaf = leaf.fact(Fact::LogSize(size)).fact(Fact::From(micros(since))).finish()?;
            tracing::error!(size, "no quorum of witnesses has signed the log for ten minutes");
            let next = Witnessing { unwitnessed_since: Some(since.into()), ..told };
            return self.tell_log(leaf, Some(told), next).await;
        }
        Ok(())
    }

    /// When the quorum was met last; while it never was, since this process looks.
    fn note_met(&self, is_met: bool, now: Timestamp) -> Timestamp {
        let mut met_at = match self.witnesses.met_at.lock() {
            Ok(met_at) => met_at,
            Err(poisoned) => poisoned.into_inner(),
        };
        if is_met {
            *met_at = Some(now);
        }
        *met_at.get_or_insert(now)
    }

    /// Appends a leaf about the witnesses, unless another instance told the same.
    async fn tell_log(&self, leaf: LeafRow, seen: Option<Witnessing>, next: Witnessing) -> Result<()> {
        let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
            let connection = transaction.connection();
            if audit_log::witnessing(connection)? != seen {
                return Ok(Step::Stale);
            }
            audit_log::set_witnessing(connection, &next)?;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map(drop).map_err(Error::store)
    }
}

fn micros(at: Timestamp) -> u64 {
    u64::try_from(at.as_microsecond()).unwrap_or(0)
}

/// A checkpoint with its stored cosignatures, those that hold: whoever writes the database must not
/// be able to spoil what is shown.
fn cosigned(
    connection: &mut Connection,
    size: u64,
    note: &str,
    keys: &[VerifierKey],
) -> storage::Result<(Published, Vec<CosignatureLine>)> {
    let stored: String = audit_log::cosignatures_of(connection, size)?.into_iter().map(|row| row.line).collect();
    let text = Note::parse(note.as_bytes()).map_or("", |note| note.text);
    let lines = cosignatures(stored.as_bytes(), text, keys);
    let note = with_cosignatures(note, lines.iter().map(|line| line.line.as_str()));
    Ok((Published { size, note }, lines))
}

fn newest_witnessed(
    connection: &mut Connection,
    trust: &Trust,
    keys: &[VerifierKey],
) -> storage::Result<Option<Published>> {
    for (size, note) in audit_log::cosigned_checkpoints(connection, SEARCHED)? {
        let (shown, lines) = cosigned(connection, size, &note, keys)?;
        if trust.is_met_by(lines.iter().map(|line| &line.key)) {
            return Ok(Some(shown));
        }
    }
    Ok(None)
}
