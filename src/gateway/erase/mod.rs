//! A person is erased (GDPR Art. 17).
//!
//! E0 plan → E1 begin → E2 remember → E3 destroy the keys → E4 delete the rows → E5 answer. The
//! ledger row is written in E1, before anything is destroyed; it is the only key of a retry. Each step
//! may run twice, so a gateway that was killed between any two of them resumes from the ledger before
//! it serves, and what began is finished. E6, telling the recipients, is `gateway::rights`; their tasks
//! are promised in E1.
//!
//! From E1 on every decision about the person denies; from E3 on nothing about them opens, here or in
//! any copy; after E4 nothing of them is left but keyed marks, which keep old events from bringing
//! them back, and what a law obliges to keep, under a fresh key, for one purpose.
//!
//! Whoever comes back with an old copy is erased again before anybody is served (`replay`).
//!
//! Deliberately absent: erasure by masking, soft delete, a way back, and holds (they come later and
//! belong inside E1).

mod begin;
mod delete;
mod destroy;
mod ledger;
mod memory;
mod plan;
mod receipt;
mod replay;
#[cfg(test)]
pub(in crate::gateway) mod tests;

use crate::audit::payload::Value;
use crate::domain::event::Event;
use crate::domain::id::SubjectRequestId;
use crate::domain::subject_request::{RequestKind, RequestState, Target, TaskOutcome};
use crate::storage::erasures::{self, StoredErasure};
use crate::storage::subject_requests::{self as stored, Move, StoredCase, StoredRequest};
use crate::storage::{Step, Unit};

use super::{Error, Gateway, Result};

use plan::Planned;

/// How often E0 and E1 are prepared again when others change the same person meanwhile.
const TRIES: usize = 8;

/// The steps, as the ledger and the tests name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErasureStep {
    /// E0: the plan is made; keys for what is retained are durable.
    Planned,
    /// E1: one transaction; the person is `erasing`.
    Begun,
    /// E2: journal of stops and memory of the log.
    Remembered,
    /// E3: the keys are gone.
    KeysDestroyed,
    /// E4: the rows are gone.
    RowsDeleted,
    /// E5: the answer.
    Answered,
}

impl ErasureStep {
    /// The number in the ledger. Only E1 and E4 are noted there: what lies between runs again.
    const fn number(self) -> i16 {
        match self {
            Self::Planned => 0,
            Self::Begun => 1,
            Self::Remembered => 2,
            Self::KeysDestroyed => 3,
            Self::RowsDeleted => 4,
            Self::Answered => 5,
        }
    }
}

impl Gateway {
    /// Erases the person of a request, from wherever an earlier run stopped.
    ///
    /// # Errors
    /// When a store or the journal fails; the next call goes on from there.
    pub async fn erase(&self, request: SubjectRequestId) -> Result<()> {
        self.erase_up_to(request, ErasureStep::Answered).await
    }

    /// Finishes every erasure that an earlier process began. Must be done before serving: a person
    /// whose keys are half destroyed must meet no traffic.
    ///
    /// # Errors
    /// When one of them cannot be finished; then nothing must be served.
    pub async fn resume_erasures(&self) -> Result<usize> {
        let begun = self.database.read(erasures::unfinished).await.map_err(Error::store)?;
        for erasure in &begun {
            self.erase(erasure.request).await?;
        }
        if !begun.is_empty() {
            tracing::info!(count = begun.len(), "erasures that had been interrupted are finished");
        }
        // An answer may be missing although every row is gone.
        let running = self
            .database
            .read(|c| stored::in_states(c, &[RequestState::Running], 1_000))
            .await
            .map_err(Error::store)?;
        for request in running.iter().filter(|request| request.kind == RequestKind::Erasure) {
            self.erase(request.id).await?;
        }
        Ok(begun.len())
    }

    /// As [`Gateway::erase`], but stops after a step as a killed process would.
    pub(crate) async fn erase_up_to(&self, id: SubjectRequestId, last: ErasureStep) -> Result<()> {
        let (case, request) = self.request(id).await?;
        let ledger = match self.database.read(move |c| erasures::find(c, id)).await.map_err(Error::store)? {
            Some(ledger) => ledger,
            None => match self.plan_and_begin(&case, &request, last).await? {
                Some(ledger) => ledger,
                None => return Ok(()),
            },
        };
        if last <= ErasureStep::Begun {
            return Ok(());
        }
        if ledger.completed_at.is_none() {
            // The answer may not overtake a parcel that was on the wire when the erasure began.
            self.wait_for_the_wire(&ledger.subjects).await?;
            self.remember_erasure(&ledger).await?;
            if last == ErasureStep::Remembered {
                return Ok(());
            }
            self.destroy_keys(&ledger).await?;
            if last == ErasureStep::KeysDestroyed {
                return Ok(());
            }
            self.delete_rows(&case, &request, ledger).await?;
        }
        if last == ErasureStep::RowsDeleted {
            return Ok(());
        }
        self.answer_erasure(id).await
    }

    /// E0 and E1, again where the person changed meanwhile. `None`: there is nothing to go on with.
    async fn plan_and_begin(
        &self,
        case: &StoredCase,
        request: &StoredRequest,
        last: ErasureStep,
    ) -> Result<Option<StoredErasure>> {
        for _ in 0..TRIES {
            let (_, request) = self.request(request.id).await?;
            if request.state != RequestState::Scheduled {
                // Another instance has it.
                return Ok(None);
            }
            let plan = match self.plan_erasure(case, &request).await? {
                Planned::Erase(plan) => plan,
                Planned::Nobody => {
                    self.answer_that_nobody_is_here(case, &request).await?;
                    return Ok(None);
                }
                Planned::AlreadyErasing => {
                    self.close_as_duplicate(case, &request).await?;
                    return Ok(None);
                }
            };
            self.store_planned_keys(&plan).await?;
            if last == ErasureStep::Planned {
                return Ok(None);
            }
            if let Some(ledger) = self.begin_erasure(case, &request, &plan).await? {
                return Ok(Some(ledger));
            }
            self.forget(plan.everybody());
        }
        Err(Error::Contention)
    }

    /// E5: the person is told, through the system that asked for them. The receipt follows as soon as
    /// a checkpoint covers the leaf of completion.
    async fn answer_erasure(&self, id: SubjectRequestId) -> Result<()> {
        let (case, request) = self.request(id).await?;
        if request.state == RequestState::Running {
            let leaf = self.request_leaf(Event::RequestAnswered, &case, request.kind, None, Vec::new())?;
            let at = self.source.now().into();
            let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
                let to = Move { seen: request.version, state: RequestState::Answered, outcome: None, at };
                Ok(if stored::move_request(transaction.connection(), id, &to)? { Step::Commit } else { Step::Stale })
            });
            self.database.write(unit).await.map_err(Error::store)?;
        }
        self.close_if_settled(id).await
    }

    /// "We hold nothing" is a proper answer; nobody is created for it.
    async fn answer_that_nobody_is_here(&self, case: &StoredCase, request: &StoredRequest) -> Result<()> {
        let started = self.request_leaf(Event::RequestStarted, case, request.kind, None, Vec::new())?;
        let answered =
            self.request_leaf(Event::RequestAnswered, case, request.kind, None, vec![("found", Value::Bool(false))])?;
        let now = self.source.now();
        let mut task = self.own_task(request.id, &Target::Gateway("erase".to_owned()), "erase", now)?;
        task.outcome = TaskOutcome::VerifiedNoData;
        task.proof = Some("read_back".to_owned());
        task.settled_at = Some(now.into());
        let (id, seen, entry) = (request.id, request.version, started.draft.entry());
        let unit = Unit::change(Vec::new(), vec![started, answered], move |transaction, _| {
            let connection = transaction.connection();
            let to = Move { seen, state: RequestState::Answered, outcome: None, at: now.into() };
            if !stored::move_request(connection, id, &to)? {
                return Ok(Step::Stale);
            }
            stored::insert_tasks(connection, std::slice::from_ref(&task), entry)?;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map_err(Error::store)?;
        self.close_if_settled(id).await
    }
}
