//! Having the log dated: once a day, and when something happened that rewrites could hide, a checkpoint
//! is shown to time-stamping authorities (RFC 3161), and their replies are kept.
//!
//! An authority that is away costs nobody anything: it is asked again, ever more seldom up to once an
//! hour, and after a day the log itself says that the reply is missing. A reply is kept only if it
//! holds against the roots that the operator named.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::watch;
use url::Url;

use crate::audit::anchor::{self, AnchorError, MAXIMUM_REPLY, QUERY_TYPE};
use crate::audit::leaf::Fact;
use crate::audit::note::Note;
pub use crate::crypto::signature::certificate::Roots;
use crate::delivery::Cause;
use crate::delivery::authority::Authority;
use crate::delivery::guard::GuardRules;
use crate::domain::event::{Event, Outcome};
use crate::storage::audit_log::{self, StoredAnchor};
use crate::storage::{LeafRow, Step, Transaction, Unit};
use crate::telemetry::metrics as figures;

use super::housekeeping::pause;
use super::{Error, Gateway, Result};

/// How often each authority dates the log; also how long a reply may be missing before the log says so.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How often it is looked whether anything is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The pause after the first try that failed; each is twice the one before.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// The longest pause between two tries.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// What is dated at once: a log that goes on after a loss, leaves that go, another key.
const AT_ONCE: [Event; 3] = [Event::LogSucceeded, Event::LogPruned, Event::LogKeyRotated];

/// An authority that the operator trusts to date the log.
#[derive(Clone, Debug)]
pub struct AnchorSettings {
    /// The operator's name for it.
    pub name: String,
    /// Where it takes requests.
    pub url: Url,
    /// Who vouches for it.
    pub roots: Roots,
    /// What the guard lets through.
    pub guard: GuardRules,
}

/// The roots in a PEM file.
///
/// # Errors
/// [`Error::Anchor`] for a text without a certificate.
pub fn roots(pem: &[u8]) -> Result<Roots> {
    Roots::from_pem(pem).map_err(|error| Error::Anchor(error.to_string()))
}

/// The authorities of this house.
#[derive(Default)]
pub struct Anchors {
    asked: Vec<Asked>,
    /// Locked for a whole turn, so there is one at a time.
    turn: tokio::sync::Mutex<BTreeMap<String, Tries>>,
}

struct Asked {
    settings: AnchorSettings,
    way: Authority,
}

/// How the time-stamps of an authority stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnchorStanding {
    /// The operator's name for it.
    pub authority: String,
    /// The size it dated last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dated: Option<u64>,
    /// When that reply arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dated_at: Option<Timestamp>,
    /// Since when it is asked for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owed_since: Option<Timestamp>,
    /// Whether the log was told that no reply came for a day.
    #[serde(rename = "overdue")]
    pub is_overdue: bool,
}

/// What this process knows of an authority besides what is stored.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    failed: u32,
    next: Option<Timestamp>,
    /// Leaves below were looked through for what is dated at once.
    searched: u64,
}

/// Why a try brought no reply.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// There was no answer.
    #[error("the authority did not answer: {0}")]
    Unanswered(Cause),
    /// The answer dates nothing.
    #[error("the answer is refused: {0}")]
    Refused(#[from] AnchorError),
}

impl Anchors {
    /// The authorities of the configuration.
    ///
    /// # Errors
    /// [`Error::Anchor`] for an address that the guard refuses.
    pub fn of(settings: &[AnchorSettings]) -> Result<Self> {
        let asked = settings.iter().map(|settings| {
            let way = Authority::new(settings.url.clone(), &settings.guard);
            let way = way.map_err(|error| {
                // The cause without the words that are meant for recipients.
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Error::Anchor(format!("anchors.{}.url: {why}", settings.name))
            })?;
            Ok(Asked { settings: settings.clone(), way })
        });
        Ok(Self { asked: asked.collect::<Result<_>>()?, turn: tokio::sync::Mutex::default() })
    }

    /// Whether anybody is asked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }
}

/// Asks when it is due, until `stopped`.
pub(super) async fn run(house: Gateway, mut stopped: watch::Receiver<bool>) {
    loop {
        // Cut short where it stands: what was asked is asked again.
        let done = tokio::select! {
            done = house.anchor_once() => done,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match done {
            Err(error) => {
                tracing::warn!(
                    error = crate::telemetry::cause(&error),
                    "the log could not be dated; it is tried again"
                );
            }
            // Nobody is asked, and what was asked of others is forgotten.
            Ok(()) if house.anchors.is_empty() => return,
            Ok(()) => {}
        }
        if pause(&mut stopped, LOOK_EVERY).await {
            return;
        }
    }
}

impl Gateway {
    /// Asks every authority whose time-stamp is due and keeps the replies. Ends within seconds for each,
    /// whoever is silent.
    ///
    /// # Errors
    /// When a store cannot be used. A silent authority is no error: it is asked again.
    pub async fn anchor_once(&self) -> Result<()> {
        let mut turn = self.anchors.turn.lock().await;
        if self.log_refusal().is_some() {
            return Ok(());
        }
        if turn.is_empty() {
            let names: Vec<String> = self.anchors.asked.iter().map(|asked| asked.settings.name.clone()).collect();
            self.write_anchor(Vec::new(), move |transaction| {
                audit_log::forget_unasked(transaction.connection(), &names).map(|_| true)
            })
            .await?;
        }
        let mut failed = None;
        for asked in &self.anchors.asked {
            // What is wrong with one holds up no other.
            let tries = turn.entry(asked.settings.name.clone()).or_default();
            failed = self.anchor_with(asked, tries).await.err().or(failed);
        }
        self.measure_anchors().await?;
        failed.map_or(Ok(()), Err)
    }

    async fn anchor_with(&self, asked: &Asked, tries: &mut Tries) -> Result<()> {
        let now = self.source.now();
        let name = &asked.settings.name;
        let Some(open) = self.owed(name, now, tries).await? else { return Ok(()) };
        if tries.next.is_none_or(|next| now >= next) {
            match self.ask_to_date(asked, open.size).await? {
                Ok(reply) => {
                    *tries = Tries { searched: tries.searched, ..Tries::default() };
                    tracing::info!(authority = %name, size = open.size, "the log is dated");
                    return self.keep_reply(name, open.size, reply).await;
                }
                Err(trouble) => {
                    let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2_i32.pow(tries.failed.min(6)));
                    *tries = Tries { failed: tries.failed + 1, next: now.checked_add(pause).ok(), ..*tries };
                    tracing::warn!(authority = %name, error = crate::telemetry::cause(&trouble), "the log was not dated; the authority is asked again");
                }
            }
        }
        if !open.is_overdue && now.duration_since(open.asked_at.timestamp()) >= EVERY {
            self.tell_overdue(name, open.size).await?;
        }
        Ok(())
    }

    /// The time-stamp that an authority still owes, or owes from now on.
    async fn owed(&self, name: &str, now: Timestamp, tries: &mut Tries) -> Result<Option<StoredAnchor>> {
        let authority = name.to_owned();
        let newest =
            self.database.read(move |c| audit_log::newest_anchor(c, &authority)).await.map_err(Error::store)?;
        let Some(published) = self.published() else { return Ok(None) };
        if let Some(newest) = newest {
            if newest.reply.is_none() {
                return Ok(Some(newest));
            }
            let is_older = newest.size < published.size;
            let is_day_over = now.duration_since(newest.asked_at.timestamp()) >= EVERY;
            if !is_older || !(is_day_over || self.must_be_dated(newest.size, published.size, tries).await?) {
                return Ok(None);
            }
        }
        let (authority, size) = (name.to_owned(), published.size);
        self.write_anchor(Vec::new(), move |transaction| {
            audit_log::insert_anchor(transaction.connection(), size, &authority, now.into()).map(|()| true)
        })
        .await?;
        Ok(Some(StoredAnchor {
            size,
            authority: name.to_owned(),
            asked_at: now.into(),
            reply: None,
            made_at: None,
            is_overdue: false,
        }))
    }

    /// Whether a leaf that is dated at once stands in what was published since.
    async fn must_be_dated(&self, dated: u64, published: u64, tries: &mut Tries) -> Result<bool> {
        let from = tries.searched.max(dated);
        let events = AT_ONCE.map(|event| i16::try_from(event.number()).unwrap_or(i16::MAX));
        let first = self.database.read(move |c| audit_log::first_of_events(c, &events, from)).await;
        let first = first.map_err(Error::store)?;
        if first.is_none_or(|first| first >= published) {
            tries.searched = tries.searched.max(published);
            return Ok(false);
        }
        Ok(true)
    }

    /// One try to have the checkpoint of a size dated.
    async fn ask_to_date(&self, asked: &Asked, size: u64) -> Result<std::result::Result<Vec<u8>, Trouble>> {
        let notes = self.database.read(move |c| audit_log::checkpoint_notes(c, &[size].into())).await;
        let (_, note) =
            notes.map_err(Error::store)?.pop().ok_or(Error::WrongState("the checkpoint to date is gone"))?;
        let text =
            Note::parse(note.as_bytes()).map_err(|_| Error::WrongState("the checkpoint to date is malformed"))?.text;
        let nonce = self.source.random().map_err(Error::Protection)?;
        let query = match anchor::query(text, &nonce) {
            Ok(query) => query,
            Err(error) => return Ok(Err(error.into())),
        };
        let reply = match asked.way.ask(QUERY_TYPE, query, MAXIMUM_REPLY).await {
            Ok(reply) => reply,
            Err(cause) => return Ok(Err(Trouble::Unanswered(cause))),
        };
        let checked = anchor::check(&reply, text, Some(&nonce), &asked.settings.roots);
        Ok(checked.map(|_| reply).map_err(Trouble::Refused))
    }

    /// Keeps a reply, and says so in the log: the log dates the token, the token dates the log.
    async fn keep_reply(&self, name: &str, size: u64, reply: Vec<u8>) -> Result<()> {
        let leaf = self
            .leaf(Event::LogAnchored, Outcome::Done)?
            .fact(Fact::LogSize(size))
            .fact(Fact::Digest(super::hash_of(&reply)))
            .finish()?;
        let (authority, at) = (name.to_owned(), self.source.now().into());
        self.write_anchor(vec![leaf], move |transaction| {
            audit_log::keep_reply(transaction.connection(), size, &authority, &reply, at)
        })
        .await
    }

    /// Says in the log that a reply is missing for a day.
    async fn tell_overdue(&self, name: &str, size: u64) -> Result<()> {
        tracing::error!(authority = %name, size, "a time-stamping authority has not dated the log for a day");
        let leaf = self.leaf(Event::LogAnchored, Outcome::Failed)?.fact(Fact::LogSize(size)).finish()?;
        let authority = name.to_owned();
        self.write_anchor(vec![leaf], move |transaction| {
            audit_log::note_overdue(transaction.connection(), size, &authority)
        })
        .await
    }

    /// Makes a change with its leaf. A change that finds nothing to do was made by another instance.
    async fn write_anchor(
        &self,
        leaves: Vec<LeafRow>,
        mut change: impl FnMut(&mut Transaction<'_>) -> crate::storage::Result<bool> + Send + 'static,
    ) -> Result<()> {
        let unit = Unit::change(Vec::new(), leaves, move |transaction, _| {
            Ok(if change(transaction)? { Step::Commit } else { Step::Stale })
        });
        self.database.write(unit).await.map(drop).map_err(Error::store)
    }

    /// How the time-stamps of each authority stand.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn anchor_standing(&self) -> Result<Vec<AnchorStanding>> {
        let names: Vec<String> = self.anchors.asked.iter().map(|asked| asked.settings.name.clone()).collect();
        let standing = self.database.read(move |c| {
            names
                .into_iter()
                .map(|authority| {
                    let last = audit_log::last_reply(c, &authority)?;
                    let owed = audit_log::newest_anchor(c, &authority)?.filter(|anchor| anchor.reply.is_none());
                    Ok(AnchorStanding {
                        dated: last.map(|(size, _)| size),
                        dated_at: last.map(|(_, at)| at.timestamp()),
                        owed_since: owed.as_ref().map(|owed| owed.asked_at.timestamp()),
                        is_overdue: owed.is_some_and(|owed| owed.is_overdue),
                        authority,
                    })
                })
                .collect()
        });
        standing.await.map_err(Error::store)
    }

    /// How old the newest reply of the slowest authority is; of one that never replied, how long it is
    /// asked.
    async fn measure_anchors(&self) -> Result<()> {
        let now = self.source.now();
        let since =
            self.anchor_standing().await?.into_iter().filter_map(|standing| standing.dated_at.or(standing.owed_since));
        let oldest = since.map(|since| now.duration_since(since)).max().unwrap_or_default();
        if !self.anchors.is_empty() {
            metrics::gauge!(figures::AUDIT_ANCHOR_AGE).set(oldest.max(SignedDuration::ZERO).as_secs_f64());
        }
        Ok(())
    }
}
