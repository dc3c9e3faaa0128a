//! Whom an erasure obliges: the gateway itself, and every recipient of the person's data (Art. 19).

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::crypto::mac::{KeyPurpose, Owner, RowId};
use crate::domain::id::{SubjectId, SubjectRequestId, TaskId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::subject_request::{Target, TaskOutcome};
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::subject_requests::StoredTask;
use crate::storage::{Micros, deliveries};

use super::Plan;

impl Gateway {
    /// One task for the gateway, one for each retained group, and for each recipient that received
    /// the person's data one a verb (Art. 19).
    pub(super) async fn plan_tasks(
        &self,
        plan: &mut Plan,
        request: SubjectRequestId,
        ids: &[SubjectId],
        named: &[(IdentifierKind, Zeroizing<String>)],
    ) -> Result<()> {
        let now = plan.now;
        plan.tasks.push(self.own_task(request, &Target::Gateway("erase".to_owned()), "erase", now)?);
        for kept in &plan.written.kept {
            plan.tasks.push(self.own_task(
                request,
                &Target::Gateway(format!("retained:{}", kept.ground)),
                "erase",
                now,
            )?);
        }
        let ids = ids.to_vec();
        let pseudonyms = self.database.read(move |c| deliveries::pseudonyms_of(c, &ids)).await.map_err(Error::store)?;
        for recipient in plan.recipients.clone() {
            let verbs = plan
                .policy
                .policy
                .recipients
                .get(&recipient)
                .map(|recipient| recipient.verbs.clone())
                .unwrap_or_default();
            let known: Vec<&str> =
                pseudonyms.iter().filter(|(known, ..)| *known == recipient).map(|(.., value)| value.as_str()).collect();
            for verb in ["suppress", "erase"] {
                let can = verbs.iter().any(|declared| declared == verb);
                if !can && verb == "suppress" {
                    continue;
                }
                // Ids of one millisecond have no order; stopping comes before erasing.
                let later = jiff::SignedDuration::from_millis(i64::try_from(plan.tasks.len()).unwrap_or(0));
                let at = now.checked_add(later).unwrap_or(now);
                let mut task = self.own_task(request, &Target::Recipient(recipient.clone()), verb, at)?;
                if !can {
                    // Never silence: somebody has to find another way to tell this recipient.
                    task.outcome = TaskOutcome::CapabilityUnresolved;
                    task.proof = Some("no_verb".to_owned());
                } else if known.is_empty() {
                    self.seal_names(plan, &mut task, named)?;
                    task.next_at = Some(Micros::from(now));
                } else {
                    task.pseudonym = Some(known.join("\n"));
                    task.next_at = Some(Micros::from(now));
                }
                plan.tasks.push(task);
            }
        }
        Ok(())
    }

    /// A task of the gateway's own.
    pub(in crate::gateway) fn own_task(
        &self,
        request: SubjectRequestId,
        target: &Target,
        verb: &str,
        now: Timestamp,
    ) -> Result<StoredTask> {
        Ok(StoredTask {
            id: TaskId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?),
            request,
            target: target.clone(),
            verb: verb.to_owned(),
            outcome: TaskOutcome::Pending,
            proof: None,
            attempts: 0,
            next_at: None,
            message: self.source.random().map_err(Error::Protection)?,
            nonce: None,
            pseudonym: None,
            key: None,
            sealed: None,
            settled_at: None,
        })
    }

    /// Seals the identifiers for a recipient that never saw a pseudonym, under a key of the task.
    fn seal_names(
        &self,
        plan: &mut Plan,
        task: &mut StoredTask,
        named: &[(IdentifierKind, Zeroizing<String>)],
    ) -> Result<()> {
        let id = self.source.random().map_err(Error::Protection)?;
        let owner = Owner::from(task.id);
        let (key, row) = self.keyholder.make_owned(id, KeyPurpose::Task, owner, plan.now)?;
        let names: Vec<(String, &str)> =
            named.iter().map(|(kind, value)| (kind.spelling().into_owned(), value.as_str())).collect();
        let json =
            Zeroizing::new(serde_json::to_string(&names).map_err(|_| Error::WrongState("a task cannot be written"))?);
        let sealed = self.seal_own(&key, owner, rows::TASK, RowId::from(task.id), &json)?;
        task.key = Some(id);
        task.sealed = Some(sealed.into_bytes());
        plan.owned_keys.push(row);
        Ok(())
    }
}
