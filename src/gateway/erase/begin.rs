//! E1: one transaction. The person is `erasing`, the ledger knows, the marks stand, what is retained
//! is replaced, the recipients' tasks are promised, the queue is dropped.

use crate::audit::payload::{Actor, Payload, Value};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::subject::SubjectStatus;
use crate::domain::subject_request::RequestState;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::erasures::{self, StoredErasure};
use crate::storage::subject_requests::{self as stored, Move, StoredCase, StoredRequest};
use crate::storage::{
    LeafRow, Outcome as Committed, Step, Unit, deliveries, disclosures, identities, records, subjects,
};

use super::ErasureStep;
use super::plan::Plan;

impl Gateway {
    /// E1. `None`: something the plan rests on has changed; plan again.
    pub(super) async fn begin_erasure(
        &self,
        case: &StoredCase,
        request: &StoredRequest,
        plan: &Plan,
    ) -> Result<Option<StoredErasure>> {
        let ledger = StoredErasure {
            request: request.id,
            subjects: plan.subjects(),
            step: ErasureStep::Begun.number(),
            plan_hash: plan.hash()?.to_vec(),
            plan: plan.written.to_text()?,
            fingerprints: plan.fingerprints.clone(),
            deleted: "{}".to_owned(),
            key: Some(plan.receipt_key),
            sealed: None,
            started_at: plan.now.into(),
            completed_at: None,
            handed_out_at: None,
        };
        let unit = self.begin_unit(case, request, plan, &ledger)?;
        match self.database.write(unit).await.map_err(Error::store)? {
            Committed::Committed(_) => {
                self.forget(plan.everybody());
                self.forget_identifiers();
                Ok(Some(ledger))
            }
            Committed::Stale | Committed::Duplicates(_) | Committed::IdentifierTaken => Ok(None),
        }
    }

    fn begin_unit(
        &self,
        case: &StoredCase,
        request: &StoredRequest,
        plan: &Plan,
        ledger: &StoredErasure,
    ) -> Result<Unit> {
        let leaves = self.begin_leaves(case, request, plan)?;
        let entry = leaves.first().map(|leaf| leaf.draft.entry()).ok_or(Error::Contention)?;
        let ledger = ledger.clone();
        let subjects = plan.subjects();
        let counts: Vec<_> =
            plan.members.iter().map(|member| (member.subject.id, member.records, member.identifiers)).collect();
        let retained: Vec<_> = plan.members.iter().flat_map(|member| member.retained.clone()).collect();
        let (marks, suppressions, tasks) = (plan.marks.clone(), plan.suppressions.clone(), plan.tasks.clone());
        let (recipients, open, left_out) = (plan.recipients.clone(), plan.open_deliveries, plan.left_out.clone());
        let at = plan.now.into();
        let to = Move { seen: request.version, state: RequestState::Running, outcome: None, at };
        let id = request.id;
        Ok(Unit::change(plan.rests_on.clone(), leaves, move |transaction, _| {
            let connection = transaction.connection();
            if !stored::move_request(connection, id, &to)? {
                return Ok(Step::Stale);
            }
            // A record, an identifier or a disclosure that came meanwhile is not in the plan.
            for (subject, records, identifiers) in &counts {
                if records::count(connection, *subject)? != *records
                    || identities::of_subject(connection, *subject)?.len() != *identifiers
                {
                    return Ok(Step::Stale);
                }
            }
            let disclosed = disclosures::of_subjects(connection, &subjects)?;
            if disclosed.iter().any(|disclosure| !recipients.contains(&disclosure.recipient)) {
                return Ok(Step::Stale);
            }
            erasures::begin(connection, &ledger, entry)?;
            erasures::insert_marks(connection, &marks)?;
            erasures::insert_suppressions(connection, &suppressions)?;
            for record in &retained {
                if !records::retain(connection, record)? {
                    return Ok(Step::Stale);
                }
            }
            stored::insert_tasks(connection, &tasks, entry)?;
            let dropped = deliveries::cancel_all(connection, &subjects, "erased", at)?;
            if dropped > 0 && open == 0 {
                // Its leaf was not prepared.
                return Ok(Step::Stale);
            }
            for subject in &subjects {
                subjects::set_status(transaction, *subject, &SubjectStatus::Erasing)?;
            }
            // Those who stay must not share the fate of those who go.
            if let Some(root) = left_out.first() {
                for subject in &left_out {
                    subjects::move_to_profile(transaction, *subject, *root)?;
                }
            }
            Ok(Step::Commit)
        })
        .under(plan.policy.policy.hash))
    }

    /// Leaf 700 for each subject, 503 where promises are dropped, and 621.
    fn begin_leaves(&self, case: &StoredCase, request: &StoredRequest, plan: &Plan) -> Result<Vec<LeafRow>> {
        let mut leaves = Vec::with_capacity(plan.members.len() + 2);
        for member in &plan.members {
            let payload = Payload {
                subject: Some(*member.subject.id.as_bytes()),
                actor: Some(Actor { kind: "scheduler", id: Value::from("gateway") }),
                policy: Some(plan.policy.policy.hash.0),
                request: Some(case.reference.clone()),
                more: vec![("plan", Value::from(&plan.hash()?[..]))],
                ..Payload::default()
            };
            leaves.push(
                self.leaf(Event::ErasureStarted, Outcome::Done)?
                    .part(&self.source, Role::Subject, member.keys.audit(Event::ErasureStarted.class()), &payload)?
                    .finish()?,
            );
        }
        if let Some(member) = plan.members.first().filter(|_| plan.open_deliveries > 0) {
            let payload = Payload {
                subject: Some(*member.subject.id.as_bytes()),
                request: Some(case.reference.clone()),
                reason: Some("erased".to_owned()),
                ..Payload::default()
            };
            leaves.push(
                self.leaf(Event::DeliveryCancelled, Outcome::Done)?
                    .part(&self.source, Role::Subject, member.keys.audit(Event::DeliveryCancelled.class()), &payload)?
                    .finish()?,
            );
        }
        leaves.push(self.request_leaf(Event::RequestStarted, case, request.kind, None, Vec::new())?);
        Ok(leaves)
    }
}
