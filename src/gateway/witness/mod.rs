//! Having the log witnessed: every published checkpoint is shown to witnesses outside, who cosign it
//! only if it extends what they cosigned before.
//!
//! Witnesses never hold up the log: they are asked beside the publisher, and a witness that is down
//! costs nobody anything but its line. What stops the log is a note that its own key signed and that
//! it does not extend: then it was rolled back or forked, and nothing more may be written to it. The
//! bare word of a witness stops nothing, or one of them could.

mod ask;
mod quorum;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;
use url::Url;

use crate::audit::note::VerifierKey;
use crate::audit::trust::Trust;
use crate::audit::witness::{CosignatureLine, log_name};
use crate::delivery::witness::WitnessClient;
use crate::storage::audit_log::{self, StoredCosignature};
use crate::storage::{Step, Unit};

use super::checkpoint::Published;
use super::{Error, Gateway, Result};
use ask::Said;
pub use quorum::WitnessStanding;

/// How often an unchanged log is shown again, and a witness that did not cosign asked again.
const AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether there is anything to show.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whom the operator trusts to watch the log.
#[derive(Clone, Debug, Default)]
pub struct TrustSettings {
    /// The trust policy, as its file says (C2SP tlog-policy).
    pub policy: Option<String>,
    /// What is shown while the quorum is missed.
    pub when_unwitnessed: WhenUnwitnessed,
}

/// What is shown of the log while no quorum of witnesses has signed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnwitnessed {
    /// Every checkpoint at once; cosignatures are added as they come.
    #[default]
    Publish,
    /// The newest checkpoint that has the quorum.
    Wait,
}

/// The witnesses of this house.
pub struct Witnesses {
    trust: Option<Arc<Trust>>,
    /// SHA-256 of the trust policy; of nothing where there is none.
    digest: [u8; 32],
    when_unwitnessed: WhenUnwitnessed,
    asked: Vec<Asked>,
    client: Option<WitnessClient>,
    /// By witness: what became of the last try. Locked for a whole turn, so there is one at a time.
    tries: tokio::sync::Mutex<HashMap<String, Try>>,
    /// When the quorum was met last, as far as this process knows.
    met_at: Mutex<Option<Timestamp>>,
}

/// A witness that is asked.
struct Asked {
    name: String,
    key: VerifierKey,
    add_checkpoint: Url,
    checkpoint: String,
}

/// The last try with a witness.
#[derive(Clone, Copy)]
struct Try {
    size: u64,
    at: Timestamp,
    failed: bool,
}

impl Witnesses {
    /// The witnesses of a trust policy that have an address.
    ///
    /// # Errors
    /// [`Error::Trust`] for a policy that cannot be read or an address that is none.
    pub fn of(settings: &TrustSettings) -> Result<Self> {
        let text = settings.policy.as_deref();
        let trust = text.map(Trust::parse).transpose().map_err(|error| Error::Trust(error.to_string()))?;
        let asked = trust.iter().flat_map(Trust::witnesses).filter_map(|witness| {
            let address = witness.url.as_deref()?;
            Some(Asked::new(&witness.name, &witness.key, address))
        });
        let asked = asked.collect::<Result<Vec<_>>>()?;
        let addresses: Vec<Url> = asked.iter().map(|asked| asked.add_checkpoint.clone()).collect();
        let client = (!asked.is_empty()).then(|| WitnessClient::new(&addresses)).transpose();
        Ok(Self {
            trust: trust.map(Arc::new),
            digest: super::hash_of(text.unwrap_or_default().as_bytes()),
            when_unwitnessed: settings.when_unwitnessed,
            asked,
            client: client.map_err(|error| Error::Trust(error.to_string()))?,
            tries: tokio::sync::Mutex::default(),
            met_at: Mutex::default(),
        })
    }

    /// Whether checkpoints stay hidden until the quorum is met.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        self.when_unwitnessed == WhenUnwitnessed::Wait && self.quorum().is_some()
    }

    /// Whether the operator's trust policy has this key of the log; `None` where there is no policy.
    #[must_use]
    pub fn trusts_log(&self, key: &VerifierKey) -> Option<bool> {
        self.trust.as_ref().map(|trust| trust.logs().contains(key))
    }

    /// The policy, if it asks for a quorum.
    fn quorum(&self) -> Option<&Arc<Trust>> {
        self.trust.as_ref().filter(|trust| trust.asks_for_quorum())
    }

    fn keys(&self) -> Vec<VerifierKey> {
        self.trust.as_ref().map_or_else(Vec::new, |trust| trust.witness_keys())
    }
}

impl Asked {
    fn new(name: &str, key: &VerifierKey, address: &str) -> Result<Self> {
        let address = address.trim_end_matches('/');
        let wrong = || Error::Trust(format!("the address of the witness {name} must begin with https:// or http://"));
        let add_checkpoint = Url::parse(&format!("{address}/add-checkpoint")).map_err(|_| wrong())?;
        if !matches!(add_checkpoint.scheme(), "https" | "http") || !add_checkpoint.has_host() {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), key: key.clone(), add_checkpoint, checkpoint: address.to_owned() })
    }

    /// Where it shows what it cosigned last of a log.
    fn checkpoint_of(&self, origin: &str) -> Result<Url> {
        let address = format!("{}/{}/checkpoint", self.checkpoint, log_name(origin));
        Url::parse(&address).map_err(|_| Error::Trust(format!("the witness {} has no usable address", self.name)))
    }
}

impl Gateway {
    /// Shows what is published to the witnesses, at once and again every minute, until `stop` becomes
    /// true; then once more.
    ///
    /// # Errors
    /// [`Error::LogRefused`] when a witness has a note of ours that the log does not extend.
    pub(super) async fn run_witnessing(&self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut is_trust_told = false;
        loop {
            let is_last = *stop.borrow();
            if !is_trust_told {
                let told = self.note_trust().await;
                is_trust_told = told.is_ok();
                self.note_failure(told, "the trust policy could not be told to the log")?;
            }
            self.note_failure(self.witness_once().await, "the log could not be witnessed")?;
            if is_last {
                return Ok(());
            }
            tokio::select! {
                changed = stop.changed() => {
                    // A publisher that is gone publishes nothing more.
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = self.log.published_again() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Shows the newest checkpoint to every witness that has not cosigned it lately, keeps the
    /// cosignatures, and judges the quorum. Ends after five seconds, whoever is silent.
    ///
    /// # Errors
    /// As [`Gateway::run_witnessing`]; or when a store cannot be used.
    pub async fn witness_once(&self) -> Result<()> {
        let mut tries = self.witnesses.tries.lock().await;
        if let Some(refusal) = self.log_refusal() {
            return Err(refusal.into());
        }
        let Some(published) = self.log.newest() else { return Ok(()) };
        let due = self.due(&published, &tries).await?;
        let said = join_all(due.iter().map(|(asked, old)| self.ask(asked, &published, *old))).await;
        let now = self.source.now();
        let mut kept = Vec::new();
        let mut refusal = None;
        for ((asked, _), said) in due.iter().zip(said) {
            let before = tries.get(&asked.name).is_some_and(|before| before.failed);
            let failed = !matches!(said, Said::Cosigned(_));
            match said {
                Said::Cosigned(lines) => kept.extend(lines),
                Said::Contradiction(found) => refusal = Some(found),
                // Said once, and not again with every publication.
                Said::Failed(_) if before => {}
                Said::Failed(error) if error.is_for_the_operator() => {
                    tracing::error!(witness = %asked.name, error = crate::telemetry::cause(&error), "a witness refuses the log; it is asked again");
                }
                Said::Failed(error) => {
                    tracing::warn!(witness = %asked.name, error = crate::telemetry::cause(&error), "a witness did not cosign; it is asked again");
                }
            }
            tries.insert(asked.name.clone(), Try { size: published.size, at: now, failed });
        }
        self.keep_cosignatures(published.size, kept).await?;
        if let Some(refusal) = refusal {
            return Err(self.refuse_log(refusal));
        }
        self.show().await?;
        self.judge_quorum(&published).await
    }

    /// Before anything is served: what each witness cosigned last must be part of the log. A witness
    /// that does not answer in time says nothing.
    ///
    /// # Errors
    /// [`Error::LogRefused`]; or when a store cannot be read.
    pub(super) async fn check_witnesses(&self) -> Result<()> {
        let ours = self.log_verifier()?;
        if self.witnesses.trusts_log(&ours) == Some(false) {
            tracing::warn!(
                "the trust policy has no log line with the key of this log, so nobody can verify with it; `amanat audit vkey` prints the key"
            );
        }
        for found in join_all(self.witnesses.asked.iter().map(|asked| self.contradiction(asked))).await {
            if let Some(refusal) = found? {
                return Err(refusal.into());
            }
        }
        self.show().await
    }

    /// The witnesses to ask, and the size each cosigned last.
    async fn due(&self, published: &Published, tries: &HashMap<String, Try>) -> Result<Vec<(&Asked, u64)>> {
        let now = self.source.now();
        let mut due = Vec::new();
        for asked in &self.witnesses.asked {
            let tried = tries.get(&asked.name);
            if tried.is_some_and(|tried| tried.size == published.size && is_recent(tried.at, now)) {
                continue;
            }
            let key = asked.key.to_string();
            let read = self.database.read(move |connection| audit_log::newest_cosignature(connection, &key)).await;
            let last = read.map_err(Error::store)?;
            let is_fresh = last.as_ref().is_some_and(|last| {
                // Another instance may have asked, perhaps about a newer checkpoint than ours.
                let time = last.time.timestamp();
                last.size > published.size || (last.size == published.size && is_recent(time, now))
            });
            if !is_fresh {
                due.push((asked, last.map_or(0, |last| last.size)));
            }
        }
        Ok(due)
    }

    async fn keep_cosignatures(&self, size: u64, lines: Vec<CosignatureLine>) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // Our own clock says when it was heard: a witness whose clock is wrong is heard all the same.
        let time = self.source.now().into();
        let stored =
            |line: CosignatureLine| StoredCosignature { size, witness: line.key.to_string(), line: line.line, time };
        let rows: Arc<[StoredCosignature]> = lines.into_iter().map(stored).collect();
        self.commit_change(move || {
            let rows = Arc::clone(&rows);
            Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                audit_log::keep_cosignatures(transaction.connection(), &rows)?;
                Ok(Step::Commit)
            })
        })
        .await
        .map(drop)
    }
}

/// Within the last minute. A clock that was set back must not silence a witness for longer.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < AGAIN)
}
