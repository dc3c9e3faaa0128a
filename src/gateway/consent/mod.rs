//! Choices of a person are recorded: give, refuse, withdraw, object (GDPR Art. 4(11), 7, 21).
//!
//! One interaction is all or nothing: its events, the people it meets, its leaves and the answer that
//! is kept for a repetition are one commit. A yes is checked against everything that makes a consent
//! valid; a no needs identifiers and choices alone, for saying no must never need more than saying
//! yes. Stops are in the journal, and waited for on the wire, before the answer.
//!
//! Deliberately absent: a stored state. What a person consents to is folded from the stream each
//! time it is read.

mod check;
mod known;
mod making;
mod marketing;
mod notice;
mod people;
mod read;
mod receipt;
mod record;
mod state;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::collected::RawIdentifier;
use crate::domain::consent::ConsentEventKind;
use crate::domain::event::Event;
use crate::domain::id::{CollectorId, RecipientId, SubjectId};
use crate::domain::personal::Personal;
use crate::domain::policy::Trust;
use crate::storage::idempotency::{self, KeptAnswer};
use crate::storage::{Outcome, Step, Unit};

use super::journal::Stop;
use super::policy::PolicyInForce;
use super::tokens::{Collector, Service};
use super::{Error, Gateway, Result};

pub use check::{Code, Violation};
pub use notice::HandedOut;
pub use read::{LineEvent, LineView, Withdrawn};
pub(super) use record::MARKETING;

/// How often an interaction is prepared again when others change the same person meanwhile.
const TRIES: usize = 8;

/// Who brings choices.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its id: that of a collector, or `token:` and the id of a service's token.
    pub id: CollectorId,
    /// Whether its word about a person counts.
    pub trust: Trust,
    /// The region of national phone numbers.
    pub default_region: Option<String>,
}

/// All the choices made in one act.
pub struct Interaction {
    /// Who chose, in the spelling received.
    pub identifiers: Vec<RawIdentifier>,
    /// Who acts for whom.
    pub actor: Actor,
    /// What was shown.
    pub notice: Option<NoticeGiven>,
    /// The choices.
    pub choices: Vec<Choice>,
    /// How they were made.
    pub act: Act,
}

/// Who acts.
#[derive(Default)]
pub struct Actor {
    /// `self`, `guardian`, `agent`; `None`: the person.
    pub relation: Option<String>,
    /// How a guardian or agent was verified.
    pub method: Option<String>,
    /// `give` if an agent's mandate covers a yes.
    pub authority: Option<String>,
    /// Reference of the proof.
    pub reference: Option<Personal<String>>,
}

/// Which text was shown, by the caller's word.
#[derive(Clone, Debug)]
pub enum NoticeGiven {
    /// A token that this gateway handed out with the text.
    Snapshot(String),
    /// The caller names the text and its hash.
    Named {
        /// The notice.
        id: String,
        /// Its version.
        version: u32,
        /// BCP 47 tag.
        language: String,
        /// SHA-256 of the text, hexadecimal.
        sha256: String,
    },
}

/// One choice.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The purpose; `*` stands for all in a no.
    pub purpose: String,
    /// The channel; `None`: the only one, and in a no all of them.
    pub channel: Option<String>,
    /// What was chosen.
    pub action: Action,
}

/// What somebody chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Yes.
    Give,
    /// No.
    Refuse,
    /// No longer (Art. 7(3)).
    Withdraw,
    /// Art. 21.
    Object,
}

impl Action {
    /// The spelling in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Give => "give",
            Self::Refuse => "refuse",
            Self::Withdraw => "withdraw",
            Self::Object => "object",
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Give, Self::Refuse, Self::Withdraw, Self::Object].into_iter().find(|action| action.as_str() == text)
    }
}

/// How choices were made.
#[derive(Default)]
pub struct Act {
    /// `click`, `typed`, `signed`, `spoken_recorded`, `device_setting`, `two_step`.
    pub method: Option<String>,
    /// What the control said before the person touched it: `unset` or `set`.
    pub control_before: Option<String>,
    /// Whether the consent was bundled with terms or another matter.
    pub bundled: Option<bool>,
    /// Whether a no was offered as plainly as the yes.
    pub refusal_offered: Option<bool>,
    /// When, by the caller's clock.
    pub given_at: Option<Timestamp>,
    /// Whether it was kept on a device and sent later.
    pub offline: bool,
    /// The person's stated age in years.
    pub age: Option<u8>,
    /// Which form, in which version.
    pub interface: Option<Personal<String>>,
    /// The client.
    pub user_agent: Option<Personal<String>>,
    /// The network address, already cut to /24 or /48.
    pub address: Option<Personal<String>>,
}

/// A key by which a repeated call is recognised.
#[derive(Clone)]
pub struct Repeatable {
    /// The caller's `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
}

/// What became of an interaction.
#[derive(Debug)]
pub enum Consented {
    /// It is recorded.
    Recorded {
        /// What is recorded.
        recorded: Recorded,
        /// Recipients whose receipt of a parcel was still unknown when the answer had waited as long
        /// as it may.
        unsettled: Vec<RecipientId>,
    },
    /// Nothing is recorded but the refusal, with everything that is wrong, worst first.
    Refused(Vec<Violation>),
    /// The key was used with another body within a day.
    KeyReused,
}

/// An interaction as it is answered and kept for repetitions. No personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Shared by all choices of the act.
    pub interaction: String,
    /// One entry per choice.
    pub consents: Vec<RecordedConsent>,
    /// Stops that this act made: kind, purpose or keyed value. Written again to the journal when the
    /// call is repeated, for the first try may have ended between commit and journal.
    #[serde(default)]
    stops: Vec<(String, String, String)>,
}

/// A choice as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedConsent {
    /// The line; `None` where a public key may not learn it.
    pub id: Option<String>,
    /// The purpose.
    pub purpose: String,
    /// The channel.
    pub channel: Option<String>,
    /// The state now; `accepted` where a public key may not learn it.
    pub state: String,
    /// End of validity.
    pub valid_until: Option<Timestamp>,
    /// From when somebody who said no may be asked again.
    pub may_ask_again_at: Option<Timestamp>,
}

/// Kinds of kept answers.
const KEPT_RECORDED: i32 = 1;
const KEPT_REFUSED: i32 = 2;

impl Gateway {
    /// The caller that a collector's key stands for; `None` when the policy has no such collector.
    #[must_use]
    pub fn consent_collector(&self, collector: &Collector) -> Option<Caller> {
        let policy = self.policy();
        let rules = policy.policy.collectors.get(&collector.id)?;
        Some(Caller { id: rules.id.clone(), trust: rules.trust, default_region: rules.default_region.clone() })
    }

    /// The caller that a service's token stands for.
    #[must_use]
    pub fn consent_service(&self, service: &Service) -> Caller {
        let country = self.policy().policy.controller.country.clone();
        Caller {
            id: CollectorId::new(&format!("token:{}", service.token)),
            trust: Trust::Server,
            default_region: Some(country),
        }
    }

    /// Records one interaction, all or nothing.
    ///
    /// # Errors
    /// Store errors; [`Error::Contention`] when others change the same person again and again.
    pub async fn consent(
        &self,
        caller: &Caller,
        interaction: &Interaction,
        repeatable: Option<&Repeatable>,
    ) -> Result<Consented> {
        let kept = repeatable.map(|repeatable| self.kept(caller, repeatable));
        for attempt in 0..TRIES {
            let now = self.source.now();
            if let Some(kept) = &kept
                && let Some(answer) = self.answered_before(kept, caller, now).await?
            {
                return Ok(answer);
            }
            let policy = self.policy();
            let shown = notice::shown(self, &policy, caller, interaction.notice.as_ref(), now);
            let handles = self.handles(&policy, caller, interaction);
            let mut violations = check::violations(&policy.policy, caller, interaction, &shown, &handles, now);
            if violations.is_empty() {
                let known =
                    known::Known::look(self, &policy, caller, interaction, &shown, handles, attempt > 0, now).await?;
                violations = check::against_person(interaction, &known);
                if violations.is_empty() {
                    let prepared = record::prepare(self, &policy, caller, interaction, &shown, known, now)?;
                    if let Some(answer) = self.commit_interaction(&policy, caller, prepared, kept.as_ref(), now).await?
                    {
                        return Ok(answer);
                    }
                    continue;
                }
            }
            if self.refuse(&policy, caller, interaction, &violations, kept.as_ref(), now).await? {
                return Ok(Consented::Refused(violations));
            }
        }
        Err(Error::Contention)
    }

    /// Commits what was prepared; `None`: it must be prepared again.
    async fn commit_interaction(
        &self,
        policy: &PolicyInForce,
        caller: &Caller,
        prepared: record::Prepared,
        kept: Option<&KeptAnswer>,
        now: Timestamp,
    ) -> Result<Option<Consented>> {
        let record::Prepared { unit, new_keys, stops, touched, recorded, subject } = prepared;
        let recorded = Recorded { stops: stops.iter().map(written).collect(), ..recorded };
        let keep = kept.map(|kept| -> Result<KeptAnswer> {
            let answer = serde_json::to_string(&recorded).map_err(|_| Error::WrongState("an answer cannot be kept"))?;
            Ok(KeptAnswer { subject: Some(subject), status: KEPT_RECORDED, answer, at: now.into(), ..kept.clone() })
        });
        let unit = unit(keep.transpose()?).under(policy.policy.hash);
        // A key is durable before anything that is sealed under it.
        self.keyholder.store_new(new_keys).await?;
        match self.database.write(unit).await.map_err(Error::store)? {
            Outcome::Committed(_) => {
                self.forget(touched.iter().copied());
                let unsettled = self.stopped(caller, stops).await?;
                Ok(Some(Consented::Recorded { recorded, unsettled }))
            }
            Outcome::Stale | Outcome::Duplicates(_) | Outcome::IdentifierTaken => {
                self.forget(touched);
                self.follow_policy().await?;
                Ok(None)
            }
        }
    }

    /// Brings stops into the journal and waits for the wire. A public key's answer does not wait, for
    /// the time it takes would tell that the person is known.
    async fn stopped(&self, caller: &Caller, stops: Vec<Stop>) -> Result<Vec<RecipientId>> {
        if stops.is_empty() {
            return Ok(Vec::new());
        }
        let mut subjects: Vec<SubjectId> = stops.iter().map(|stop| stop.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        self.journal.write(stops).await?;
        match caller.trust {
            Trust::Server => self.wait_for_the_wire(&subjects).await,
            Trust::Public => Ok(Vec::new()),
        }
    }

    /// Leaves the leaf of a refused interaction. False: the answer stood already, look again.
    async fn refuse(
        &self,
        policy: &PolicyInForce,
        caller: &Caller,
        interaction: &Interaction,
        violations: &[Violation],
        kept: Option<&KeptAnswer>,
        now: Timestamp,
    ) -> Result<bool> {
        let leaf = record::refusal(self, policy, caller, interaction, violations)?;
        let keep = kept.map(|kept| -> Result<KeptAnswer> {
            let answer =
                serde_json::to_string(violations).map_err(|_| Error::WrongState("an answer cannot be kept"))?;
            Ok(KeptAnswer { status: KEPT_REFUSED, answer, at: now.into(), ..kept.clone() })
        });
        let keep = keep.transpose()?;
        let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
            Ok(match &keep {
                Some(keep) if !idempotency::insert(transaction.connection(), keep)? => Step::Stale,
                _ => Step::Commit,
            })
        });
        Ok(matches!(self.database.write(unit).await.map_err(Error::store)?, Outcome::Committed(_)))
    }

    /// The mark of a call, and the keyed hash of its body: a body names people, so its plain hash
    /// could be guessed.
    fn kept(&self, caller: &Caller, repeatable: &Repeatable) -> KeptAnswer {
        let secrets = self.keyholder.secrets();
        KeptAnswer {
            mark: secrets.tokens.duplicate("idempotency", caller.id.as_str(), &repeatable.key, &[0; 32]),
            body_hash: secrets.tokens.duplicate("idempotency-body", caller.id.as_str(), "", &repeatable.body_hash),
            subject: None,
            status: 0,
            answer: String::new(),
            at: crate::storage::Micros(0),
        }
    }

    /// The answer that was given before under this key.
    async fn answered_before(&self, kept: &KeptAnswer, caller: &Caller, now: Timestamp) -> Result<Option<Consented>> {
        let mark = kept.mark;
        let found = self.database.read(move |c| idempotency::find(c, &mark, now.into())).await.map_err(Error::store)?;
        let Some(found) = found else { return Ok(None) };
        if !crate::crypto::mac::equal(&found.body_hash, &kept.body_hash) {
            return Ok(Some(Consented::KeyReused));
        }
        let unreadable = |_| Error::WrongState("a kept answer cannot be read");
        if found.status == KEPT_REFUSED {
            return Ok(Some(Consented::Refused(serde_json::from_str(&found.answer).map_err(unreadable)?)));
        }
        let recorded: Recorded = serde_json::from_str(&found.answer).map_err(unreadable)?;
        let stops = recorded.stops.iter().filter_map(|stop| read_back(stop, found.at.timestamp())).collect();
        let unsettled = self.stopped(caller, stops).await?;
        Ok(Some(Consented::Recorded { recorded, unsettled }))
    }
}

/// The event of the log that tells of a choice.
pub(super) const fn told_as(kind: ConsentEventKind) -> Event {
    match kind {
        ConsentEventKind::Give => Event::ConsentGiven,
        ConsentEventKind::Withdraw => Event::ConsentWithdrawn,
        ConsentEventKind::Object => Event::ObjectionRaised,
        _ => Event::ConsentRefused,
    }
}

fn written(stop: &Stop) -> (String, String, String) {
    (stop.kind.as_str().to_owned(), stop.subject.to_string(), stop.what.clone())
}

fn read_back((kind, subject, what): &(String, String, String), at: Timestamp) -> Option<Stop> {
    use super::journal::StopKind;
    Some(Stop { kind: StopKind::parse(kind)?, subject: SubjectId::parse(subject)?, what: what.clone(), at })
}
