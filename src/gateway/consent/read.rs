//! One line as it stands now with its events, and its withdrawal by one call.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::consent::Scope;
use crate::domain::id::ConsentId;
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::person::{Line, verifies};
use crate::gateway::{Error, Gateway, Result};
use crate::storage::consents::{self, StoredEvent, StoredLine};
use crate::storage::subjects::{self, StoredSubject};

use super::known::Known;
use super::record;
use super::state::Now;
use super::{Act, Actor, Caller, Consented, Interaction, TRIES};

/// A consent line.
#[derive(Clone, Debug)]
pub struct LineView {
    /// Its id.
    pub id: String,
    /// The purpose.
    pub purpose: String,
    /// The channel.
    pub channel: Option<String>,
    /// `person` or `device`.
    pub scope: &'static str,
    /// The state now.
    pub state: &'static str,
    /// The consent status of DPV 2.3, without prefix.
    pub dpv_status: &'static str,
    /// End of validity, if a yes rules.
    pub valid_until: Option<Timestamp>,
    /// From when the person may be asked again, if a no rules.
    pub may_ask_again_at: Option<Timestamp>,
    /// Its events, oldest first.
    pub events: Vec<LineEvent>,
}

/// An event of a line.
#[derive(Clone, Debug)]
pub struct LineEvent {
    /// Its id.
    pub id: String,
    /// Shared by all choices of the act.
    pub interaction: String,
    /// What happened.
    pub kind: &'static str,
    /// Who acted.
    pub actor: &'static str,
    /// What it rests on.
    pub proof: &'static str,
    /// Notice, version, language and SHA-256 of the text shown.
    pub notice: Option<(String, u32, String, String)>,
    /// Content hash of the policy in force.
    pub policy: String,
    /// When, by the caller's clock.
    pub given_at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// End of validity.
    pub valid_until: Option<Timestamp>,
    /// Who brought it.
    pub collector: String,
    /// How it was expressed; empty for signals.
    pub method: String,
    /// The leaf of the log.
    pub entry: String,
    /// Whether the row's MAC holds; one that does not permits nothing.
    pub verified: bool,
}

/// What became of a withdrawal by one call.
#[derive(Clone, Debug)]
pub struct Withdrawn {
    /// The line after it.
    pub line: LineView,
    /// Recipients whose receipt of a parcel was still unknown in the end.
    pub unsettled: Vec<crate::domain::id::RecipientId>,
}

impl Gateway {
    /// One line with its events, folded now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such line.
    pub async fn consent_line(&self, id: ConsentId) -> Result<LineView> {
        let (stored, _, keys) = self.stored_line(id).await?;
        let events = stored.events.iter().map(|event| event_view(event, verifies(&keys, event))).collect();
        let line = Line::believed(stored, |event| verifies(&keys, event));
        let now = Now::of(&self.policy().policy, &line, self.source.now());
        Ok(LineView {
            id: line.id.to_string(),
            purpose: line.purpose.as_str().to_owned(),
            channel: line.channel.as_ref().map(|channel| channel.as_str().to_owned()),
            scope: Scope::as_str(line.scope),
            state: now.state,
            dpv_status: now.dpv_status,
            valid_until: now.valid_until,
            may_ask_again_at: now.may_ask_again_at,
            events,
        })
    }

    /// A line as it is stored, whose it is, and their keys. Of somebody who is being erased nothing is
    /// shown any more.
    pub(super) async fn stored_line(&self, id: ConsentId) -> Result<(StoredLine, StoredSubject, Arc<PersonKeys>)> {
        let found = self
            .database
            .read(move |c| {
                let Some(line) = consents::find(c, id)? else { return Ok(None) };
                let subject = subjects::find(c, line.subject)?;
                Ok(Some((line, subject)))
            })
            .await
            .map_err(Error::store)?;
        let Some((line, Some(subject))) = found else { return Err(Error::NotFound) };
        let mut keys = self.keyholder.people(vec![(subject.id, subject.key_version)]).await?;
        let keys = keys.pop().ok_or(Error::MissingKey)?;
        Ok((line, subject, keys))
    }

    /// Withdraws (or, for another basis than consent, objects) by the id of the line alone: no more
    /// is needed than the id that the yes was answered with. Withdrawing twice is the same answer.
    ///
    /// # Errors
    /// As [`Gateway::consent_line`] and [`Gateway::consent`].
    pub async fn withdraw_line(&self, caller: &Caller, id: ConsentId) -> Result<Withdrawn> {
        for attempt in 0..TRIES {
            let line = self.line_to_withdraw(id).await?;
            let policy = self.policy();
            let now = self.source.now();
            let interaction = Interaction {
                identifiers: Vec::new(),
                actor: Actor::default(),
                notice: None,
                choices: Vec::new(),
                act: Act::default(),
            };
            let known = Known::look_at_line(self, &policy, &line, attempt > 0, now).await?;
            let prepared = record::prepare_withdrawal(self, &policy, caller, &interaction, known, &line, now)?;
            if let Some(Consented::Recorded { unsettled, .. }) =
                self.commit_interaction(&policy, caller, prepared, None, now).await?
            {
                return Ok(Withdrawn { line: self.consent_line(id).await?, unsettled });
            }
        }
        Err(Error::Contention)
    }

    /// The line without its events.
    async fn line_to_withdraw(&self, id: ConsentId) -> Result<Line> {
        let stored =
            self.database.read(move |c| consents::find(c, id)).await.map_err(Error::store)?.ok_or(Error::NotFound)?;
        Ok(Line {
            id: stored.id,
            subject: stored.subject,
            purpose: stored.purpose,
            channel: stored.channel,
            scope: stored.scope,
            events: Vec::new(),
        })
    }
}

fn event_view(event: &StoredEvent, verified: bool) -> LineEvent {
    LineEvent {
        id: event.id.to_string(),
        interaction: event.interaction.to_string(),
        kind: event.kind.as_str(),
        actor: event.actor.as_str(),
        proof: event.proof.as_str(),
        notice: event.notice.as_ref().map(|notice| {
            (
                notice.id.as_str().to_owned(),
                notice.version,
                notice.language.clone(),
                data_encoding::HEXLOWER.encode(&notice.text_hash),
            )
        }),
        policy: data_encoding::HEXLOWER.encode(&event.policy.0),
        given_at: event.given_at.timestamp(),
        recorded_at: event.recorded_at.timestamp(),
        valid_until: event.valid_until.map(|until| until.timestamp()),
        collector: event.collector.as_str().to_owned(),
        method: event.method.clone(),
        entry: event.entry.to_string(),
        verified,
    }
}
