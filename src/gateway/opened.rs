//! Opening parts of leaves, for those who may show what the log says of them: in a bundle, in a
//! receipt.

use std::collections::BTreeMap;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::leaf::Leaf;
use crate::audit::payload::read_plaintext;
use crate::audit::proof::{LogProof, OpenedPart};
use crate::audit::receipt::Receipt;
use crate::crypto::mac::audit::AuditPlace;
use crate::domain::event::Role;
use crate::domain::id::EntryId;
use crate::storage::{Connection, audit_log};

use super::prove::{Wanted, find};
use super::{Error, Gateway, Result};

/// A part of an entry that is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The entry.
    pub entry: Wanted,
    /// Whose part of it.
    pub role: Role,
}

impl Gateway {
    /// Opens parts, each with the key that proves what its leaf commits to.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an entry or part that is not there, or whose key was destroyed.
    pub(super) fn opened_parts(
        &self,
        connection: &mut Connection,
        wanted: &[Shown],
    ) -> Result<BTreeMap<(EntryId, Role), OpenedPart>> {
        let mut opened = BTreeMap::new();
        for shown in wanted {
            let stored = find(connection, shown.entry).map_err(Error::store)?.leaf()?;
            let leaf = Leaf::decode(&stored.leaf).map_err(|_| Error::NotFound)?;
            let part = self.opened_part(connection, &leaf, shown.role)?;
            opened.insert((leaf.entry, shown.role), part);
        }
        Ok(opened)
    }

    /// A receipt: a proof that a person can keep and check without us, of one opened part.
    ///
    /// # Errors
    /// [`Error::DataUnreadable`] when the part does not hold a payload.
    pub(super) fn receipt_of(&self, proof: &LogProof, part: OpenedPart) -> Result<Receipt> {
        let statement =
            read_plaintext(&part.plaintext).map_err(|_| Error::DataUnreadable(crate::crypto::Error::Corrupted))?;
        let size = Checkpoint::of_note(proof.checkpoint.as_bytes()).map_or(u64::MAX, |checkpoint| checkpoint.size);
        let logs: String = self.verifiers_of(size).iter().map(|key| format!("log {key}\n")).collect();
        Ok(Receipt::new(logs + "quorum none\n", proof, vec![part], statement))
    }

    /// The proof of an entry, and the receipt that opens one part of it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an entry or part that is not there, or whose key was destroyed;
    /// [`Error::Pending`] until a checkpoint covers it.
    pub(super) async fn receipt_of_entry(&self, shown: Shown) -> Result<(LogProof, Receipt)> {
        let proof = self.prove_entry(shown.entry).await?;
        let house = self.clone();
        let open = move || {
            let mut connection = house.database.reader().map_err(Error::store)?;
            house.opened_part_of(&mut connection, shown)
        };
        let part = tokio::task::spawn_blocking(open).await.map_err(|_| Error::Contention)??;
        let receipt = self.receipt_of(&proof, part)?;
        Ok((proof, receipt))
    }

    /// The part of an entry by itself.
    ///
    /// # Errors
    /// As [`Gateway::opened_parts`].
    pub(super) fn opened_part_of(&self, connection: &mut Connection, shown: Shown) -> Result<OpenedPart> {
        let opened = self.opened_parts(connection, &[shown])?;
        opened.into_values().next().ok_or(Error::NotFound)
    }

    fn opened_part(&self, connection: &mut Connection, leaf: &Leaf, role: Role) -> Result<OpenedPart> {
        let part = leaf.parts.iter().find(|part| part.role == role).ok_or(Error::NotFound)?;
        let stored = audit_log::parts_of(connection, &[leaf.entry]).map_err(Error::store)?;
        let stored = stored.into_iter().find(|stored| stored.role == role.number()).ok_or(Error::NotFound)?;
        let key = self.keyholder.audit_key_blocking(stored.holder)?;
        let place = AuditPlace {
            role: role.number(),
            entry: leaf.entry,
            event: leaf.event.number(),
            class: leaf.event.class().number(),
            origin: &self.origin,
        };
        let opened = key.key.open(&place, &stored.sealed, &part.commitment).map_err(Error::DataUnreadable)?;
        Ok(OpenedPart {
            role: role.number(),
            commit_key: opened.commitment_key.to_shown(),
            plaintext: opened.plaintext.to_vec(),
        })
    }
}
