//! The receipt of a choice: what the log committed to when it was recorded, opened and proven.
//!
//! Whoever holds it can show, without us and against us, that the choice stood in the log at that
//! place. It opens the person's own part of that one leaf and nothing else.

use crate::audit::payload::{Payload, Value};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{ConsentEventId, ConsentId};
use crate::gateway::opened::Shown;
use crate::gateway::prove::Wanted;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::{Expected, Outcome as Written, Step, Unit};

use super::making::actor;
use super::{Caller, TRIES};

impl Gateway {
    /// The receipt of an event of a line, of its newest if none is named: a file of the format
    /// `amanat-receipt/1`. That it was handed out is an event of its own (331).
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such line or event, or what shows it was destroyed;
    /// [`Error::Pending`] until a checkpoint covers the event.
    pub async fn consent_receipt(
        &self,
        caller: &Caller,
        id: ConsentId,
        event: Option<ConsentEventId>,
    ) -> Result<String> {
        for _ in 0..TRIES {
            let (line, subject, keys) = self.stored_line(id).await?;
            let told = match event {
                Some(event) => line.events.iter().find(|stored| stored.id == event),
                None => line.events.last(),
            };
            let entry = Wanted::Entry(told.ok_or(Error::NotFound)?.entry);
            let (proof, receipt) = self.receipt_of_entry(Shown { entry, role: Role::Subject }).await?;

            let payload = Payload {
                subject: Some(*subject.id.as_bytes()),
                actor: Some(actor(caller)),
                consent: Some(*id.as_bytes()),
                more: vec![("position", Value::Uint(proof.index))],
                ..Payload::default()
            };
            let leaf = self
                .leaf(Event::ReceiptIssued, Outcome::Done)?
                .part(&self.source, Role::Subject, &keys.evidence, &payload)?
                .finish()?;
            // The keys of somebody who is erased meanwhile must not seal anything more.
            let rests_on = vec![Expected { subject: subject.id, version: Some(subject.version) }];
            let unit = Unit::change(rests_on, vec![leaf], |_, _| Ok(Step::Commit));
            if matches!(self.database.write(unit).await.map_err(Error::store)?, Written::Committed(_)) {
                return serde_json::to_string_pretty(&receipt)
                    .map_err(|_| Error::WrongState("the receipt cannot be written"));
            }
        }
        Err(Error::Contention)
    }
}
