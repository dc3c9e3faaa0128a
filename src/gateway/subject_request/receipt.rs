//! The receipt that a request came in. From that day on the period of Art. 12(3) runs, so whoever asked
//! can prove when they did, without us and against us.

use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::SubjectRequestId;
use crate::gateway::opened::Shown;
use crate::gateway::prove::Wanted;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::subject_requests as stored;
use crate::storage::{Step, Unit};

impl Gateway {
    /// The receipt that a request was received: a file of the format `amanat-receipt/1`. That it was handed
    /// out is an event of its own (331), about nobody: what it shows names the case alone.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such request; [`Error::Pending`] until a checkpoint covers it.
    pub async fn arrival_receipt(&self, id: SubjectRequestId) -> Result<String> {
        let entry = self.database.read(move |c| stored::entry_of_request(c, id)).await.map_err(Error::store)?;
        let entry = Wanted::Entry(entry.ok_or(Error::NotFound)?);
        let (_, receipt) = self.receipt_of_entry(Shown { entry, role: Role::Installation }).await?;
        let leaf = self.leaf(Event::ReceiptIssued, Outcome::Done)?.finish()?;
        self.commit_change(move || Unit::change(Vec::new(), vec![leaf.clone()], |_, _| Ok(Step::Commit))).await?;
        serde_json::to_string_pretty(&receipt).map_err(|_| Error::WrongState("the receipt cannot be written"))
    }
}
