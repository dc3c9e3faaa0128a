//! Recipients are told (GDPR Art. 19): each task of a request is sent to its recipient, and what the
//! recipient answers becomes the task's outcome.
//!
//! A bare success of the transport never ends a task: only a result that repeats our nonce does, and
//! for an erasure only absence that was looked for. Looking again (`verify_erased`) comes later, so an
//! erasure that a recipient confirms stays open and is shown so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::audit::payload::{Actor, Payload, Value};
use crate::crypto::mac::{KeyPurpose, Owner, RowId};
use crate::delivery::boot_clock::{BootInstant, Deadline};
use crate::delivery::message::message_id;
use crate::delivery::rights::{
    Nonce, PendingReason, RightsCall, RightsCause, RightsEvent, RightsMessage, RightsOutcome, Verb, outcome_of_result,
    read_result, rights_body,
};
use crate::delivery::schedule::{Next, Schedule};
use crate::delivery::{Outcome as Answer, Parcel, ParcelKind};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{RecipientId, TaskId};
use crate::domain::personal::Access;
use crate::domain::subject_request::{Target, TaskOutcome};
use crate::storage::deliveries::RecipientState;
use crate::storage::subject_requests::{self as stored, StoredTask, TaskStep};
use crate::storage::{Id16, Outcome as Committed, Step, Unit, deliveries, keys};

use super::dispatch::{Carriers, Lane};
use super::{Error, Gateway, Result, rows};

const TO_TELL: Access =
    Access::because("a recipient that never saw a pseudonym is told whom to erase by the identifiers it holds");

/// How often due tasks and due requests are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// How often old packages and receipts are looked for.
const FORGET_EVERY: u32 = 60;
/// Tasks sent in one round.
const PAGE: i64 = 100;
/// How long a recipient has to answer.
const ANSWER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// When a recipient that refuses our credentials is asked again.
const REFUSED: SignedDuration = SignedDuration::from_hours(1);

/// The desk that carries requests on and tells recipients, while the house serves.
pub struct RequestDesk {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RequestDesk {
    /// Ends after what it is doing.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if self.task.await.is_err() {
            tracing::error!("the desk of the requests ended with a panic");
        }
    }
}

impl Gateway {
    /// Starts to carry due requests on and to tell recipients.
    #[must_use]
    pub fn mind_requests(&self, carriers: &Carriers) -> RequestDesk {
        let (stop, told) = watch::channel(false);
        RequestDesk { stop, task: tokio::spawn(mind(self.clone(), carriers.clone(), told)) }
    }

    /// Sends every due task whose recipient has an address and is not paused. Gives how many.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn tell_recipients(&self, carriers: &Carriers) -> Result<usize> {
        let now = self.source.now().into();
        let due = self.database.read(move |c| stored::due_tasks(c, now, PAGE)).await.map_err(Error::store)?;
        if due.is_empty() {
            return Ok(0);
        }
        let states = self.database.read(deliveries::recipient_states).await.map_err(Error::store)?;
        let mut told = 0;
        for task in due {
            let Target::Recipient(recipient) = &task.target else { continue };
            let flows = !states.iter().any(|(id, state, _)| id == recipient && *state != RecipientState::Open);
            let Some(lane) = carriers.to(recipient).filter(|_| flows) else { continue };
            if self.tell(lane, &task).await? {
                told += 1;
            }
        }
        Ok(told)
    }

    /// Takes a result that a recipient brings later for a task of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a task that is not this recipient's, [`Error::Unacceptable`] for a
    /// result that does not repeat the nonce of the newest try, [`Error::WrongState`] once it ended.
    pub async fn acknowledge(&self, recipient: &RecipientId, id: TaskId, body: &[u8]) -> Result<TaskOutcome> {
        let task =
            self.database.read(move |c| stored::one_task(c, id)).await.map_err(Error::store)?.ok_or(Error::NotFound)?;
        if task.target != Target::Recipient(recipient.clone()) {
            return Err(Error::NotFound);
        }
        if task.outcome.is_terminal() {
            return Err(Error::WrongState("the task has ended"));
        }
        let nonce = task
            .nonce
            .as_deref()
            .and_then(|nonce| <[u8; 32]>::try_from(nonce).ok())
            .ok_or(Error::WrongState("nothing was asked yet"))?;
        let call = self.call(&task, Nonce::from_random(nonce)).ok_or(Error::NotFound)?;
        let result = read_result(&call, body)
            .map_err(|_| Error::Unacceptable("the result does not answer the newest try of this task"))?;
        let now = self.source.now();
        let answer = Answer::Rights(outcome_of_result(&call, result));
        let step = self.step(&task, &answer, &ParcelKind::Rights(call), task.attempts, now)?;
        self.settle_task(&task, &step).await?;
        Ok(step.outcome)
    }

    /// One try: claim, write, hand over, settle. False: somebody else has the task.
    async fn tell(&self, lane: &Lane, task: &StoredTask) -> Result<bool> {
        let claimed = BootInstant::now();
        let now = self.source.now();
        let random: [u8; 32] = self.source.random().map_err(Error::Protection)?;
        if !self.claim_task(task, random, now).await? {
            return Ok(false);
        }
        let attempt = task.attempts.saturating_add(1);
        let nonce = Nonce::from_random(random);
        let Some(call) = self.call(task, nonce.clone()) else { return Ok(false) };
        let names = self.names(task).await?;
        let identifiers: Vec<(&str, &str)> =
            names.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
        let message_id = message_id(task.message);
        let message = RightsMessage {
            message_id: &message_id,
            timestamp: now,
            installation: self.keyholder.installation,
            event: if call.verb == Verb::Erase { RightsEvent::Erased } else { RightsEvent::Objected },
            cause: RightsCause::Erasure,
            task: task.id,
            attempt,
            nonce: &nonce,
            identifiers: &identifiers,
            purposes: None,
            fields: None,
            cursor: None,
            answer_by: now.checked_add(ANSWER).unwrap_or(now),
        };
        let body = rights_body(&message, lane.carrier.format())
            .map_err(|_| Error::WrongState("a rights message cannot be written"))?;
        let parcel = Parcel {
            message_id: message_id.clone(),
            recipient: lane.recipient.clone(),
            body,
            kind: ParcelKind::Rights(call),
        };
        let deadline = Deadline::of_claim(claimed, self.settings.delivery_time_limit);
        let answer = lane.carrier.hand_over(&parcel, now, deadline).await;
        let step = self.step(task, &answer, &parcel.kind, attempt, self.source.now())?;
        self.settle_task(task, &step).await?;
        Ok(true)
    }

    async fn claim_task(&self, task: &StoredTask, nonce: [u8; 32], now: Timestamp) -> Result<bool> {
        let lease = SignedDuration::try_from(self.settings.delivery_lease).unwrap_or(SignedDuration::from_mins(1));
        let until = now.checked_add(lease).unwrap_or(now);
        let (seen, holder) = (task.clone(), self.instance);
        let unit = Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
            let claimed =
                stored::claim_task(transaction.connection(), &seen, &nonce, holder, now.into(), until.into())?;
            Ok(if claimed { Step::Commit } else { Step::Stale })
        });
        Ok(matches!(self.database.write(unit).await.map_err(Error::store)?, Committed::Committed(_)))
    }

    /// What a recipient's answer is judged by; `None` for a task without a verb of ours.
    fn call(&self, task: &StoredTask, nonce: Nonce) -> Option<RightsCall> {
        let Target::Recipient(recipient) = &task.target else { return None };
        let policy = self.policy();
        let can_verify = policy
            .policy
            .recipients
            .get(recipient)
            .is_some_and(|recipient| recipient.verbs.iter().any(|verb| verb == Verb::VerifyErased.as_str()));
        Some(RightsCall {
            task: task.id,
            verb: Verb::parse(&task.verb)?,
            nonce,
            can_verify,
            address_missing: task.attempts,
        })
    }

    /// By what the recipient knows the person: its pseudonyms, or the identifiers it was given.
    async fn names(&self, task: &StoredTask) -> Result<Vec<(String, Zeroizing<String>)>> {
        if let Some(pseudonyms) = &task.pseudonym {
            return Ok(pseudonyms
                .lines()
                .map(|value| ("pairwise".to_owned(), Zeroizing::new(value.to_owned())))
                .collect());
        }
        let (Some(key), Some(sealed)) = (task.key, task.sealed.clone()) else { return Ok(Vec::new()) };
        let owner = Owner::from(task.id);
        let key = self.keyholder.owned(key, KeyPurpose::Task, owner).await?;
        let text = self.open_own(&key, owner, rows::TASK, RowId::from(task.id), sealed)?;
        let names: Vec<(String, Zeroizing<String>)> =
            serde_json::from_str::<Vec<(String, String)>>(text.reveal(&TO_TELL))
                .map_err(|_| Error::DataUnreadable(crate::crypto::Error::NotJson))?
                .into_iter()
                .map(|(kind, value)| (kind, Zeroizing::new(value)))
                .collect();
        Ok(names)
    }

    /// What an answer makes of the task (`subject-requests.md` §12.2).
    fn step(
        &self,
        task: &StoredTask,
        answer: &Answer,
        kind: &ParcelKind,
        attempt: u32,
        now: Timestamp,
    ) -> Result<TaskStep> {
        let random = u32::from_be_bytes(self.source.random().map_err(Error::Protection)?);
        let again = |outcome, after| match Schedule::Rights.next(attempt, after, random, now, None) {
            Next::At(at) => (outcome, None, Some(at)),
            Next::Never => (TaskOutcome::Failed, Some("schedule"), None),
        };
        let (outcome, proof, next_at) = match answer {
            Answer::Retry { after, .. } => again(TaskOutcome::Retryable, *after),
            Answer::Paused { .. } => (TaskOutcome::Retryable, None, now.checked_add(REFUSED).ok()),
            Answer::RecipientGone => (TaskOutcome::CapabilityUnresolved, Some("recipient_gone"), None),
            Answer::Dead { cause } => (TaskOutcome::Failed, Some(cause.code()), None),
            // The transport took it; nothing was said about the person.
            Answer::Delivered => again(TaskOutcome::Pending, None),
            Answer::Rights(said) => match said {
                RightsOutcome::Acknowledged(_) => (TaskOutcome::Acknowledged, Some("statement"), None),
                RightsOutcome::Erased(_) => (TaskOutcome::Pending, Some("statement"), None),
                RightsOutcome::NotFound => (TaskOutcome::Pending, Some("not_found"), None),
                RightsOutcome::Absent => (TaskOutcome::VerifiedErased, Some("read_back"), None),
                RightsOutcome::Present => (TaskOutcome::Failed, Some("present"), None),
                RightsOutcome::Retained(_) => (TaskOutcome::RetainedWithGround, Some("statement"), None),
                RightsOutcome::More(_) => again(TaskOutcome::Pending, None),
                RightsOutcome::Pending(PendingReason::Written | PendingReason::Accepted) => {
                    (TaskOutcome::Pending, None, None)
                }
                RightsOutcome::Pending(_) => again(TaskOutcome::Pending, None),
                RightsOutcome::CapabilityUnresolved { cause } => {
                    (TaskOutcome::CapabilityUnresolved, Some(cause.code()), None)
                }
                RightsOutcome::Failed { cause } => (TaskOutcome::Failed, Some(cause.code()), None),
            },
        };
        tracing::debug!(identifier = %task.id, outcome = outcome.as_str(), "a recipient answered a task");
        Ok(TaskStep {
            attempt,
            outcome,
            proof: proof.map(str::to_owned),
            counts: answer.uses_a_try(kind),
            next_at: next_at.map(Into::into),
            at: now.into(),
        })
    }

    /// Writes down what became of a try; leaf 510 once nothing more is sent. Then lets go of the key
    /// of an ended task and closes the request if that was its last.
    async fn settle_task(&self, task: &StoredTask, step: &TaskStep) -> Result<()> {
        let (case, request) = self.request(task.request).await?;
        let mut leaves = Vec::new();
        if step.next_at.is_none() {
            let outcome = match step.outcome {
                TaskOutcome::Failed => Outcome::Failed,
                TaskOutcome::CapabilityUnresolved => Outcome::Refused,
                TaskOutcome::Pending => Outcome::Unknown,
                _ => Outcome::Done,
            };
            let Target::Recipient(recipient) = &task.target else { return Ok(()) };
            let payload = Payload {
                actor: Some(Actor { kind: "scheduler", id: Value::from("gateway") }),
                recipient: Some(recipient.as_str().to_owned()),
                request: Some(case.reference.clone()),
                reason: Some(step.outcome.as_str().to_owned()),
                more: vec![("verb", Value::from(task.verb.as_str()))],
                ..Payload::default()
            };
            leaves.push(self.installation_leaf(Event::RecipientNotified, outcome, &payload, Vec::new())?);
        }
        let (id, written) = (task.id, step.clone());
        let unit = Unit::change(Vec::new(), leaves, move |transaction, _| {
            Ok(if stored::settle_task(transaction.connection(), id, &written)? { Step::Commit } else { Step::Stale })
        });
        let settled = self.database.write(unit).await.map_err(Error::store)?;
        if !matches!(settled, Committed::Committed(_)) || !step.outcome.is_terminal() {
            return Ok(());
        }
        if let Some(key) = task.key {
            self.keyholder
                .store()
                .write(move |connection| keys::delete_owned_key(connection, Id16(key)).map(|_| ()))
                .await
                .map_err(Error::keys)?;
        }
        self.close_if_settled(request.id).await
    }
}

/// The rounds of the desk, until it is told to stop.
async fn mind(house: Gateway, carriers: Carriers, mut stop: watch::Receiver<bool>) {
    let mut round = 0_u32;
    while !*stop.borrow() {
        if let Err(error) = once(&house, &carriers, round).await {
            tracing::warn!(
                error = crate::telemetry::cause(&error),
                "requests of people could not be carried on; they come again"
            );
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn once(house: &Gateway, carriers: &Carriers, round: u32) -> Result<()> {
    house.run_due_requests().await?;
    house.tell_recipients(carriers).await?;
    if round.is_multiple_of(FORGET_EVERY) {
        house.forget_packages().await?;
        house.forget_receipts().await?;
    }
    Ok(())
}
