//! What people do about recipients: pause and resume them, look at dead letters and replay them.

use crate::audit::payload::{Actor, Payload, Value};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{DeliveryId, RecipientId};
use crate::gateway::{Error, Gateway, Result};
use crate::storage::deliveries::{self, DeliveryState, RecipientState, StoredDelivery};
use crate::storage::{LeafRow, Step, Unit, queue};

/// Dead letters looked at or replayed in one go.
const PAGE: i64 = 500;

/// The states of all recipients that ever had another one than open, and why.
pub type RecipientStates = Vec<(RecipientId, RecipientState, String)>;

impl Gateway {
    /// Stops deliveries to a recipient until it is resumed. What is on the wire arrives.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the policy has no such recipient; when the store cannot be written.
    pub async fn pause_recipient(&self, recipient: &RecipientId, reason: &str) -> Result<()> {
        self.set_recipient(recipient, RecipientState::Paused, reason).await
    }

    /// Lets deliveries to a recipient flow again; also one that said it was gone.
    ///
    /// # Errors
    /// As [`Gateway::pause_recipient`].
    pub async fn resume_recipient(&self, recipient: &RecipientId, reason: &str) -> Result<()> {
        self.set_recipient(recipient, RecipientState::Open, reason).await
    }

    async fn set_recipient(&self, recipient: &RecipientId, state: RecipientState, reason: &str) -> Result<()> {
        if !self.policy().policy.recipients.contains_key(recipient) {
            return Err(Error::NotFound);
        }
        let leaf = state_leaf(self, recipient, state, reason, "operator")?;
        let at = self.source.now().into();
        let (recipient, reason) = (recipient.clone(), reason.to_owned());
        self.commit_change(move || {
            let (recipient, reason, entry) = (recipient.clone(), reason.clone(), leaf.draft.entry());
            Unit::change(Vec::new(), vec![leaf.clone()], move |transaction, _| {
                deliveries::set_recipient_state(transaction.connection(), &recipient, state, &reason, at, entry)?;
                Ok(Step::Commit)
            })
        })
        .await?;
        Ok(())
    }

    /// The recipients that are not simply open.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn recipient_states(&self) -> Result<RecipientStates> {
        self.database.read(deliveries::recipient_states).await.map_err(Error::store)
    }

    /// How many promises to each recipient are due, on the wire, and dead.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn unsettled_deliveries(&self) -> Result<Vec<(RecipientId, DeliveryState, i64)>> {
        self.database.read(deliveries::unsettled).await.map_err(Error::store)
    }

    /// A page of dead letters, oldest first: those after `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_letters(
        &self,
        recipient: Option<&RecipientId>,
        after: Option<DeliveryId>,
    ) -> Result<Vec<StoredDelivery>> {
        let recipient = recipient.cloned();
        self.database.read(move |c| queue::dead(c, recipient.as_ref(), after, PAGE)).await.map_err(Error::store)
    }

    /// Makes dead letters due again, those of one recipient or for one reason if they are named, and
    /// says how many. They keep their ids and are decided again like everything that is sent.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn replay_dead_letters(&self, recipient: Option<&RecipientId>, reason: Option<&str>) -> Result<usize> {
        let mut after = None;
        let mut replayed = 0;
        loop {
            let page = self.dead_letters(recipient, after).await?;
            let Some(last) = page.last() else { return Ok(replayed) };
            after = Some(last.id);
            let ids: Vec<DeliveryId> = page
                .iter()
                .filter(|letter| reason.is_none_or(|reason| letter.reason.as_deref() == Some(reason)))
                .map(|letter| letter.id)
                .collect();
            if ids.is_empty() {
                continue;
            }
            replayed += ids.len();
            let at = self.source.now().into();
            self.commit_change(move || {
                let ids = ids.clone();
                Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                    queue::replay(transaction.connection(), &ids, at)?;
                    Ok(Step::Commit)
                })
            })
            .await?;
        }
    }
}

/// The leaf of a recipient that is paused, resumed or disabled.
pub(super) fn state_leaf(
    house: &Gateway,
    recipient: &RecipientId,
    state: RecipientState,
    reason: &str,
    actor: &'static str,
) -> Result<LeafRow> {
    let event = match state {
        RecipientState::Open => Event::RecipientResumed,
        RecipientState::Paused => Event::RecipientPaused,
        RecipientState::Disabled => Event::RecipientDisabled,
    };
    let payload = Payload {
        actor: Some(Actor { kind: actor, id: Value::from(if actor == "operator" { "local" } else { "dispatch" }) }),
        recipient: Some(recipient.as_str().to_owned()),
        reason: Some(reason.to_owned()),
        ..Payload::default()
    };
    house.installation_leaf(event, Outcome::Done, &payload, Vec::new())
}
