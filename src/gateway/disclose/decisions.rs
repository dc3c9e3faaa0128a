//! Questions of services: may they, and why not. The answer is in the log before it is given.

use crate::domain::decision::decide;
use crate::domain::event::{Event, Outcome as Ended, Role};
use crate::domain::id::{Channel, PurposeId, RecipientId};
use crate::gateway::consent::Violation;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::tokens::Service;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::{Expected, LeafRow, Outcome, Step, Unit};

use super::{Found, TRIES, Verdict, Whose, fields_of, payload, question};

/// One question.
pub struct Asked {
    /// About whom.
    pub whose: Whose,
    /// For what.
    pub purpose: String,
    /// By which channel.
    pub channel: Option<String>,
    /// By whom; `None`: by the token's own recipient, or the controller itself.
    pub recipient: Option<String>,
    /// Which fields; `None`: all that come into question.
    pub fields: Option<Vec<String>>,
}

/// What a service is told.
#[derive(Debug)]
pub enum Answered {
    /// One verdict per question.
    Verdicts(Vec<Verdict>),
    /// An identifier is none: which question, and what.
    Unreadable(usize, Violation),
    /// The token speaks for another recipient.
    Forbidden,
}

impl Gateway {
    /// Answers questions; every answer is a leaf first. While a store is away every answer is no,
    /// with `store_unavailable`, and leaves no leaf, for there is nowhere to write.
    ///
    /// # Errors
    /// Errors that are not a store's absence.
    pub async fn decisions(&self, service: &Service, questions: &[Asked]) -> Result<Answered> {
        match self.try_decisions(service, questions).await {
            Err(error @ (Error::StoreUnavailable(_) | Error::KeysUnavailable(_))) => {
                tracing::warn!(
                    error = crate::telemetry::cause(&error),
                    count = questions.len(),
                    "a store is away; decisions are denied without a leaf"
                );
                let verdicts = questions
                    .iter()
                    .map(|asked| Verdict::unavailable(&asked.purpose, recipient_of(service, asked).as_ref()))
                    .collect();
                Ok(Answered::Verdicts(verdicts))
            }
            answered => answered,
        }
    }

    async fn try_decisions(&self, service: &Service, questions: &[Asked]) -> Result<Answered> {
        let foreign = |asked: &Asked| match (&service.recipient, &asked.recipient) {
            (Some(own), Some(asked)) => own.as_str() != asked,
            _ => false,
        };
        if questions.iter().any(foreign) {
            return Ok(Answered::Forbidden);
        }
        for attempt in 0..TRIES {
            let policy = self.policy();
            let mut verdicts = Vec::with_capacity(questions.len());
            let mut leaves = Vec::with_capacity(questions.len());
            let mut rests_on: Vec<Expected> = Vec::new();
            for (asked, at) in questions.iter().zip(0_usize..) {
                let recipient = recipient_of(service, asked);
                let found = match self.find(&policy, recipient.as_ref(), &asked.whose, attempt > 0).await? {
                    Ok(found) => found,
                    Err(violation) => return Ok(Answered::Unreadable(at, violation)),
                };
                let (verdict, leaf) = self.answer(&policy, service, asked, recipient.as_ref(), &found).await?;
                rests_on.extend(found.rests_on());
                verdicts.push(verdict);
                leaves.push(leaf);
            }
            rests_on.sort_unstable_by_key(|expected| (expected.subject, expected.version));
            rests_on.dedup();
            let touched: Vec<_> = rests_on.iter().map(|expected| expected.subject).collect();
            let unit = Unit::change(rests_on, leaves, |_, _| Ok(Step::Commit)).under(policy.policy.hash);
            if let Outcome::Committed(_) = self.database.write(unit).await.map_err(Error::store)? {
                return Ok(Answered::Verdicts(verdicts));
            }
            self.forget(touched);
            self.follow_policy().await?;
        }
        Err(Error::Contention)
    }

    async fn answer(
        &self,
        policy: &PolicyInForce,
        service: &Service,
        asked: &Asked,
        recipient: Option<&RecipientId>,
        found: &Found,
    ) -> Result<(Verdict, LeafRow)> {
        let purpose = PurposeId::new(&asked.purpose);
        let channel = asked.channel.as_deref().map(Channel::new);
        let fields = fields_of(&policy.policy, &purpose, recipient, asked.fields.as_deref());
        let standing = found.standing(&policy.policy);
        let question = question(found, &purpose, channel.as_ref(), recipient, &fields);
        let decision = decide(&policy.policy, &standing, &question, self.source.now());
        let (event, ended) = if decision.allowed.is_empty() {
            (Event::DecisionRefused, Ended::Refused)
        } else {
            (Event::DecisionGranted, Ended::Done)
        };
        let payload = payload(policy, service, found, channel.as_ref(), &decision);
        let mut leaf = self.leaf(event, ended)?;
        if let Some(person) = &found.person {
            match self.keyholder.people(vec![(person.subject.id, person.subject.key_version)]).await {
                Ok(keys) => {
                    let keys = keys.first().ok_or(Error::MissingKey)?;
                    leaf = leaf.part(&self.source, Role::Subject, keys.audit(event.class()), &payload)?;
                }
                // The person is being erased: the leaf stands without a part.
                Err(Error::NotFound) => {}
                Err(other) => return Err(other),
            }
        }
        Ok((Verdict::of(&decision), leaf.finish()?))
    }
}

fn recipient_of(service: &Service, asked: &Asked) -> Option<RecipientId> {
    asked.recipient.as_deref().map(RecipientId::new).or_else(|| service.recipient.clone())
}
