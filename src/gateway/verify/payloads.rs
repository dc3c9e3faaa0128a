//! What the log has sealed, opened: for whoever holds the root key and the key store.
//!
//! Every part whose audit key lives is opened in its place and held against what its leaf commits to.
//! What it says is then held against the rows of business ([`held`]), and against what was said before
//! about the same person ([`releases`]). A page of leaves is in memory at a time, and the opened keys
//! of that page with it; what stays is what [`releases`] must remember.

mod held;
mod releases;

use std::collections::HashMap;
use std::sync::Arc;

use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::Leaf;
use crate::audit::payload::{Value, read_plaintext};
use crate::crypto::audit_seal::AuditKey;
use crate::crypto::keyring::Keyring;
use crate::crypto::mac::audit::AuditPlace;
use crate::crypto::mac::hash;
use crate::crypto::{self, audit_seal};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{EntryId, InstallationId, SubjectId};
use crate::gateway::keyholder::{HOLDER_SUBJECT, Keyholder, open_audit_key_of};
use crate::gateway::keys::root_file::{self, Stores};
use crate::gateway::keys::versions;
use crate::gateway::source::Source;
use crate::gateway::{Error, KeyringSource, Result};
use crate::storage::audit_log::{self, StoredPart};
use crate::storage::keys::{self, StoredAuditKey};
use crate::storage::{Connection, Id16, Location};

use held::HeldRows;
use releases::Releases;

/// Leaves whose parts are in memory at a time.
const PAGE: usize = 500;
/// Ids in one query.
const IDS: usize = 500;
/// Findings that are listed; the others are counted.
const LISTED: usize = 10_000;

/// What opens the parts of a log: the root keys, and the installation they belong to.
#[derive(Clone)]
pub struct PartOpener {
    installation: InstallationId,
    /// Asked anew for every page: a gateway's root keys may be rotated meanwhile.
    keyring: Arc<dyn Fn() -> Arc<Keyring> + Send + Sync>,
}

impl PartOpener {
    /// With these root keys of this installation.
    #[must_use]
    pub fn new(installation: InstallationId, keyring: Arc<Keyring>) -> Self {
        Self { installation, keyring: Arc::new(move || Arc::clone(&keyring)) }
    }

    /// With the root keys from this place, after they were held against the key store.
    ///
    /// # Errors
    /// [`Error::RootKey`] when they are not there or belong to another key store;
    /// [`Error::KeysUnavailable`].
    pub fn find(keys: &Location, from: KeyringSource) -> Result<Self> {
        let mut store = keys.connect_to_read().map_err(Error::keys)?;
        let installation = keys::installation(&mut store).map_err(Error::keys)?.ok_or(Error::NotFound)?;
        let found = root_file::find(from, Stores::InUse, &Source::default())?;
        Ok(Self::new(installation, Arc::new(versions::keyring_of(found, &mut store)?)))
    }

    /// With whatever a running gateway holds.
    pub(in crate::gateway) fn of(keyholder: &Arc<Keyholder>) -> Self {
        let keyholder = Arc::clone(keyholder);
        Self { installation: keyholder.installation, keyring: Arc::new(move || keyholder.keyring()) }
    }

    fn open_key(&self, keyring: &Keyring, row: StoredAuditKey) -> Result<AuditKey> {
        Ok(open_audit_key_of(self.installation, keyring, row)?.key)
    }
}

/// The opening of a log's parts, a page of leaves at a time.
pub(in crate::gateway) struct Payloads {
    opener: PartOpener,
    origin: String,
    keys: Connection,
    rows: Option<HeldRows>,
    releases: Releases,
    opened: u64,
    findings: Listed,
}

/// An opened part.
struct Opened {
    seq: u64,
    entry: EntryId,
    event: Event,
    outcome: Outcome,
    /// The key it is sealed under.
    holder: Id16,
    /// Whose key that is, if it is a person's.
    subject: Option<SubjectId>,
    payload: Value,
}

/// Whether what is opened is held against the rows of business too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Against {
    LogAlone,
    Rows,
}

impl Payloads {
    pub(in crate::gateway) fn new(
        opener: PartOpener,
        origin: String,
        keys: &Location,
        against: Against,
    ) -> Result<Self> {
        Ok(Self {
            opener,
            origin,
            keys: keys.connect_to_read().map_err(Error::keys)?,
            rows: (against == Against::Rows).then(HeldRows::default),
            releases: Releases::default(),
            opened: 0,
            findings: Listed::default(),
        })
    }

    /// How many parts were opened and fit.
    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }

    /// What was found since this was asked last.
    pub(super) fn found(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings.list)
    }

    /// Says how many findings were not listed, if any.
    pub(super) fn unlisted(&self) -> Option<Finding> {
        let count = self.findings.unlisted;
        let text = format!("{count} further findings about sealed parts and rows are not listed.");
        (count > 0).then(|| Finding::whole(Code::Malformed, text))
    }

    /// Opens the parts of these leaves, which come in the order of the log.
    pub(super) fn take(
        &mut self,
        connection: &mut Connection,
        leaves: &[(u64, Leaf)],
        parts: &HashMap<EntryId, Vec<StoredPart>>,
    ) -> Result<()> {
        let opened = self.open(leaves, parts)?;
        self.opened += u64::try_from(opened.len()).unwrap_or(0);
        for part in &opened {
            self.releases.take(connection, part, &mut self.findings)?;
        }
        if let Some(rows) = &mut self.rows {
            rows.hold(connection, &mut self.keys, &self.opener, &self.origin, &opened, &mut self.findings)?;
        }
        Ok(())
    }

    /// Remembers what the leaves from `from` to below `to` said that later ones must keep to, without
    /// judging them again: for a reading that goes on from `to`.
    pub(in crate::gateway) fn look_back(&mut self, connection: &mut Connection, from: u64, to: u64) -> Result<()> {
        let events = releases::REMEMBERED.map(number);
        let leaves = audit_log::leaves_of_events_between(connection, &events, from, to).map_err(Error::store)?;
        for page in leaves.chunks(PAGE) {
            let entries: Vec<EntryId> = page.iter().map(|leaf| leaf.entry).collect();
            let parts = by_entry(audit_log::parts_of(connection, &entries).map_err(Error::store)?);
            let decoded: Vec<(u64, Leaf)> =
                page.iter().filter_map(|stored| Some((stored.seq, Leaf::decode(&stored.leaf).ok()?))).collect();
            let judged = std::mem::take(&mut self.findings);
            for part in &self.open(&decoded, &parts)? {
                self.releases.take(connection, part, &mut self.findings)?;
            }
            self.findings = judged;
        }
        Ok(())
    }

    fn open(&mut self, leaves: &[(u64, Leaf)], parts: &HashMap<EntryId, Vec<StoredPart>>) -> Result<Vec<Opened>> {
        let mut wanted: Vec<Id16> = parts.values().flatten().map(|part| part.holder).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let keyring = (self.opener.keyring)();
        let mut held: HashMap<Id16, (Option<SubjectId>, Option<AuditKey>)> = HashMap::new();
        for chunk in wanted.chunks(IDS) {
            for row in keys::audit_keys_by_ids(&mut self.keys, chunk).map_err(Error::keys)? {
                let subject = (row.holder_kind == HOLDER_SUBJECT).then(|| SubjectId::from(row.holder));
                let id = row.id;
                match self.opener.open_key(&keyring, row) {
                    Ok(key) => held.insert(id, (subject, Some(key))),
                    // Wrapped just now under a root key that this process has yet to learn.
                    Err(Error::DataUnreadable(crypto::Error::UnknownVersion(_))) => None,
                    Err(_) => held.insert(id, (subject, None)),
                };
            }
        }
        let mut opened = Vec::new();
        for (seq, leaf) in leaves {
            for stored in parts.get(&leaf.entry).into_iter().flatten() {
                let Some((subject, key)) = held.get(&stored.holder) else { continue };
                match open_part(key.as_ref(), &self.origin, leaf, stored) {
                    Ok(Some(payload)) => opened.push(Opened {
                        seq: *seq,
                        entry: leaf.entry,
                        event: leaf.event,
                        outcome: leaf.outcome,
                        holder: stored.holder,
                        subject: *subject,
                        payload,
                    }),
                    Ok(None) => {}
                    Err((code, text)) => self.findings.push(Finding::at(code, *seq, text)),
                }
            }
        }
        Ok(opened)
    }
}

/// Opens one part. `None`: it is not the part that the leaf names, which is found without keys.
fn open_part(
    key: Option<&AuditKey>,
    origin: &str,
    leaf: &Leaf,
    stored: &StoredPart,
) -> std::result::Result<Option<Value>, (Code, &'static str)> {
    let Some(part) = leaf.parts.iter().find(|part| part.role.number() == stored.role) else { return Ok(None) };
    if part.role == Role::Receipt || part.sealed_hash != Some(hash(&stored.sealed)) {
        return Ok(None);
    }
    let Some(key) = key else {
        return Err((Code::PartUnbound, "The key of a sealed part is not what it was, so the part does not open."));
    };
    let place = AuditPlace {
        role: part.role.number(),
        entry: leaf.entry,
        event: leaf.event.number(),
        class: leaf.event.class().number(),
        origin,
    };
    let opened: audit_seal::OpenedPart = match key.open(&place, &stored.sealed, &part.commitment) {
        Ok(opened) => opened,
        Err(crypto::Error::Corrupted) => {
            return Err((Code::Malformed, "What a sealed part holds is not padded as it must be."));
        }
        Err(crypto::Error::CommitmentMismatch) => {
            return Err((Code::PartUnbound, "A sealed part opens to something else than its leaf commits to."));
        }
        Err(_) => return Err((Code::PartUnbound, "A sealed part does not open under the key that it names.")),
    };
    if key.tag_key().tag(part.role.number(), leaf.entry) != part.tag {
        return Err((Code::TagMismatch, "The tag of a sealed part is not that of its holder."));
    }
    match read_plaintext(&opened.plaintext) {
        Ok(payload) => Ok(Some(payload)),
        Err(_) => Err((Code::Malformed, "What a sealed part holds cannot be read.")),
    }
}

/// Findings, the first of them listed.
#[derive(Default)]
struct Listed {
    list: Vec<Finding>,
    taken: usize,
    unlisted: u64,
}

impl Listed {
    fn push(&mut self, finding: Finding) {
        if self.taken < LISTED {
            self.taken += 1;
            self.list.push(finding);
        } else {
            self.unlisted += 1;
        }
    }
}

/// Sealed parts by the entry they belong to.
pub(super) fn by_entry(parts: Vec<StoredPart>) -> HashMap<EntryId, Vec<StoredPart>> {
    let mut by_entry: HashMap<EntryId, Vec<StoredPart>> = HashMap::new();
    for part in parts {
        by_entry.entry(part.entry).or_default().push(part);
    }
    by_entry
}

/// The number of an event, as the column beside the leaf has it.
pub(super) fn number(event: Event) -> i16 {
    i16::try_from(event.number()).unwrap_or(i16::MAX)
}
