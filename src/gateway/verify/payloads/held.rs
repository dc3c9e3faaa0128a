//! The rows that a leaf names, against the rows there are: gone, or not what they were.
//!
//! A row is suspected page by page and then asked about once more, for rows go lawfully while a log is
//! read: with the person, whose keys were destroyed before the first of them went, and with the part
//! of the leaf itself. Promises go when they are settled, so of them only what is there is compared.

use std::collections::HashMap;

use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::Leaf;
use crate::audit::payload::{Value, named_rows};
use crate::crypto::mac::hash;
use crate::domain::event::Event;
use crate::domain::id::{EntryId, SubjectId};
use crate::gateway::keyholder::HOLDER_SUBJECT;
use crate::gateway::verify::business::has_row;
use crate::gateway::{Error, Result, rows};
use crate::storage::{self, Connection, Id16, audit_log, consents, deliveries, disclosures, identities, keys, records};

use super::{IDS, Listed, Opened, PartOpener, number, open_part};

/// The kinds of rows whose content leaves cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Record,
    ConsentEvent,
    ConsentLine,
    Identifier,
    Delivery,
    Disclosure,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Record, Self::ConsentEvent, Self::ConsentLine, Self::Identifier, Self::Delivery, Self::Disclosure];

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::ConsentEvent => "consent_event",
            Self::ConsentLine => "consent_line",
            Self::Identifier => "identifier",
            Self::Delivery => "delivery",
            Self::Disclosure => "disclosure",
        }
    }
}

/// A row that a leaf names.
struct Named {
    seq: u64,
    entry: EntryId,
    event: Event,
    holder: Id16,
    subject: SubjectId,
    kind: Kind,
    id: Id16,
    content_hash: [u8; 32],
    /// What the leaf says of the device that records came from; `None`: it is covered by their hash,
    /// as older versions wrote it.
    device: Option<Vec<u8>>,
}

/// A row that there is, in every form in which a leaf may cover it.
#[derive(Default)]
struct Found {
    hashes: Vec<[u8; 32]>,
    device: Option<SubjectId>,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Gone,
    Altered,
    /// The device it came from is not named any more.
    DeviceGone,
}

/// Holds rows against what leaves say of them.
#[derive(Default)]
pub(super) struct HeldRows {
    /// The newest leaf so far that tells of deleted rows of erased people.
    erased_to: Option<u64>,
}

impl HeldRows {
    /// Compares the rows that these parts name.
    pub(super) fn hold(
        &mut self,
        connection: &mut Connection,
        keys: &mut Connection,
        opener: &PartOpener,
        origin: &str,
        opened: &[Opened],
        findings: &mut Listed,
    ) -> Result<()> {
        let mut named: Vec<Named> = Vec::new();
        for part in opened {
            let Some(subject) = part.subject else { continue };
            let Ok(rows) = named_rows(&part.payload) else {
                let text = "The rows that a sealed part names cannot be read.";
                findings.push(Finding::at(Code::Malformed, part.seq, text));
                continue;
            };
            let device = match part.payload.get("device") {
                Some(Value::Bytes(mark)) => Some(mark.clone()),
                _ => None,
            };
            named.extend(rows.into_iter().filter_map(|row| {
                Some(Named {
                    seq: part.seq,
                    entry: part.entry,
                    event: part.event,
                    holder: part.holder,
                    subject,
                    kind: Kind::parse(row.kind)?,
                    id: Id16(row.id),
                    content_hash: row.content_hash,
                    device: device.clone(),
                })
            }));
        }
        for kind in Kind::ALL {
            let of_kind: Vec<&Named> = named.iter().filter(|row| row.kind == kind).collect();
            for chunk in of_kind.chunks(IDS) {
                let ids: Vec<Id16> = chunk.iter().map(|row| row.id).collect();
                let found = found(connection, kind, &ids)?;
                for row in chunk {
                    let Some(fault) = fault(connection, row, found.get(&row.id))? else { continue };
                    if !self.is_explained(connection, keys, opener, origin, row, fault)? {
                        findings.push(row.finding(fault));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the row may be gone, or other than it was.
    fn is_explained(
        &mut self,
        connection: &mut Connection,
        keys: &mut Connection,
        opener: &PartOpener,
        origin: &str,
        row: &Named,
        fault: Fault,
    ) -> Result<bool> {
        // A record that came from a device of somebody erased forgets the device.
        if fault == Fault::DeviceGone && self.was_erased_after(connection, row.seq)? {
            return Ok(true);
        }
        // Of an erased person the keys go before the rows, and a part may go by its age.
        let held = keys::audit_keys_of(keys, HOLDER_SUBJECT, Id16::from(row.subject)).map_err(Error::keys)?;
        if !held.iter().any(|key| key.id == row.holder) {
            return Ok(true);
        }
        let parts = audit_log::parts_of(connection, &[row.entry]).map_err(Error::store)?;
        if !parts.iter().any(|part| part.holder == row.holder) {
            return Ok(true);
        }
        // What a law obliges to keep is replaced as the erasure begins, before the keys go.
        let holders: Vec<Id16> = held.iter().map(|key| key.id).collect();
        let begun = [Event::ErasureStarted.number()];
        if !audit_log::parts_about(connection, &holders, &begun).map_err(Error::store)?.is_empty() {
            return Ok(true);
        }
        // A later leaf may say that it went, or was made right (Art. 16).
        let told = [Event::RecordExpired.number(), Event::RecordRectified.number()];
        let keyring = (opener.keyring)();
        for (stored, part) in audit_log::parts_about(connection, &holders, &told).map_err(Error::store)? {
            let key = held.iter().find(|key| key.id == part.holder).cloned();
            let (Ok(leaf), Some(key)) = (Leaf::decode(&stored.leaf), key) else { continue };
            let Ok(key) = opener.open_key(&keyring, key) else { continue };
            let Ok(Some(payload)) = open_part(Some(&key), origin, &leaf, &part) else { continue };
            let names = |named: Vec<crate::audit::payload::NamedRow<'_>>| {
                named.iter().any(|other| other.kind == row.kind.as_str() && other.id == row.id.0)
            };
            if stored.seq > row.seq && named_rows(&payload).is_ok_and(names) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn was_erased_after(&mut self, connection: &mut Connection, seq: u64) -> Result<bool> {
        if self.erased_to.is_none_or(|newest| newest <= seq) {
            let events = [Event::ErasureProgressed, Event::ErasureCompleted, Event::ErasureReplayed].map(number);
            self.erased_to = audit_log::newest_of_events(connection, &events).map_err(Error::store)?;
        }
        Ok(self.erased_to.is_some_and(|newest| newest > seq))
    }
}

impl Named {
    fn finding(&self, fault: Fault) -> Finding {
        let kind = self.kind.as_str();
        match fault {
            Fault::Gone => {
                let text =
                    format!("The leaf tells of a row of {kind} that is not there, and no leaf says that it went.");
                Finding::at(Code::LeafWithoutBusinessRow, self.seq, text)
            }
            Fault::Altered | Fault::DeviceGone => {
                let text = format!("A row of {kind} is not what it was when its leaf was appended.");
                Finding::at(Code::RowAltered, self.seq, text)
            }
        }
    }
}

fn fault(connection: &mut Connection, row: &Named, found: Option<&Found>) -> Result<Option<Fault>> {
    let Some(found) = found else {
        // Settled promises are forgotten; a choice or a disclosure without its row is found by the
        // entry, without keys.
        let is_told = matches!(row.kind, Kind::ConsentEvent | Kind::Disclosure) && has_row(row.event);
        return Ok((row.kind != Kind::Delivery && !is_told).then_some(Fault::Gone));
    };
    let mut fits = found.hashes.contains(&row.content_hash);
    if !fits && row.kind == Kind::Identifier {
        let values = identities::index_values(connection, row.id.into(), row.subject).map_err(Error::store)?;
        fits = values.iter().any(|value| hash(value) == row.content_hash);
    }
    if row.kind != Kind::Record {
        return Ok((!fits).then_some(Fault::Altered));
    }
    let is_of_device = |mark: &Vec<u8>| *mark == rows::device_mark(row.entry, found.device);
    Ok(match (&row.device, fits) {
        (Some(mark), true) if is_of_device(mark) => None,
        (None, true) => None,
        _ if found.device.is_none() && (fits || row.device.is_none()) => Some(Fault::DeviceGone),
        _ => Some(Fault::Altered),
    })
}

/// The rows of these ids that there are.
fn found(connection: &mut Connection, kind: Kind, ids: &[Id16]) -> Result<HashMap<Id16, Found>> {
    match read(connection, kind, ids) {
        Err(error) if error.is_malformed_row() => {}
        read => return read.map_err(Error::store),
    }
    // One of them cannot be read; the others can.
    let mut found = HashMap::new();
    for id in ids {
        match read(connection, kind, &[*id]) {
            Err(error) if error.is_malformed_row() => {
                found.insert(*id, Found::default());
            }
            one => found.extend(one.map_err(Error::store)?),
        }
    }
    Ok(found)
}

fn read(connection: &mut Connection, kind: Kind, ids: &[Id16]) -> storage::Result<HashMap<Id16, Found>> {
    let only = |hash: [u8; 32]| Found { hashes: vec![hash], device: None };
    Ok(match kind {
        Kind::Record => records::contents(connection, ids)?
            .iter()
            .map(|row| {
                let (content, device) = (row.into(), row.record.device);
                let hashes = vec![rows::record_hash(&content, None), rows::record_hash(&content, device)];
                (Id16::from(row.record.id), Found { hashes, device })
            })
            .collect(),
        Kind::ConsentEvent => consents::events_by_ids(connection, ids)?
            .iter()
            .map(|row| (Id16::from(row.id), only(hash(&rows::consent_event(row)))))
            .collect(),
        Kind::ConsentLine => consents::lines_by_ids(connection, ids)?
            .iter()
            .map(|row| {
                let hash = rows::line_hash(row.subject, &row.purpose, row.channel.as_ref(), row.scope);
                (Id16::from(row.id), only(hash))
            })
            .collect(),
        Kind::Identifier => identities::by_ids(connection, ids)?
            .iter()
            .map(|(row, proof)| (Id16::from(row.id), only(rows::identifier_hash(row, *proof))))
            .collect(),
        Kind::Delivery => deliveries::by_ids(connection, ids)?
            .iter()
            .map(|row| (Id16::from(row.id), only(rows::delivery_hash(&rows::promised(row)))))
            .collect(),
        Kind::Disclosure => disclosures::by_ids(connection, ids)?
            .iter()
            .map(|row| (Id16::from(row.id), only(rows::disclosure_hash(row))))
            .collect(),
    })
}
