//! One consistent read of everything that is held about the people a request names.

use std::sync::Arc;

use crate::audit::leaf::Leaf;
use crate::audit::payload;
use crate::crypto::blind_index::Suppressions;
use crate::crypto::mac::audit::AuditPlace;
use crate::domain::event::{Event, Role};
use crate::domain::id::SubjectId;
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::{Access, Personal};
use crate::domain::subject::SubjectStatus;
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::person::Person;
use crate::gateway::subject_request::Contents;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::audit_log::{StoredLeaf, StoredPart};
use crate::storage::consents::StoredLine;
use crate::storage::deliveries::StoredDelivery;
use crate::storage::disclosures::Disclosure;
use crate::storage::identities::StoredIdentifier;
use crate::storage::records::StoredRecord;
use crate::storage::subject_requests::{StoredCase, StoredRequest};
use crate::storage::{
    Connection, Micros, audit_log, consents, deliveries, disclosures, erasures, identities, records, subject_requests,
};

const TO_SEARCH_LISTS: Access = Access::because("an access answer names keyed marks of the person's own addresses");

/// Records read at once.
const PAGE: i64 = 500;
/// Events that are a look at, or a hand-over of, a person's data.
const LOOKS: [Event; 4] =
    [Event::OfficerLooked, Event::OfficerRevealed, Event::SubjectLooked, Event::DisclosureReleased];

/// Everything held.
#[derive(Default)]
pub(super) struct Held {
    /// The people, each with keys.
    pub(super) people: Vec<Arc<PersonKeys>>,
    pub(super) identifiers: Vec<Identifier>,
    pub(super) records: Vec<StoredRecord>,
    pub(super) lines: Vec<StoredLine>,
    pub(super) disclosures: Vec<Disclosure>,
    pub(super) open: Vec<StoredDelivery>,
    pub(super) requests: Vec<(StoredCase, StoredRequest)>,
    pub(super) consultations: Vec<Consultation>,
    /// Kinds of addresses that stand, keyed, on the list of those not to be contacted.
    pub(super) suppressed: Vec<String>,
    pub(super) at: Option<Micros>,
}

/// An identifier, opened.
pub(super) struct Identifier {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) value: Personal<String>,
    pub(super) added_at: Micros,
}

/// Somebody looked at, or was given, the person's data.
pub(super) struct Consultation {
    pub(super) at: Micros,
    pub(super) event: Event,
    pub(super) payload: payload::Value,
}

/// The rows of one snapshot.
struct Rows {
    identifiers: Vec<StoredIdentifier>,
    records: Vec<StoredRecord>,
    lines: Vec<StoredLine>,
    disclosures: Vec<Disclosure>,
    open: Vec<StoredDelivery>,
    requests: Vec<(StoredCase, StoredRequest)>,
    looks: Vec<(StoredLeaf, StoredPart)>,
}

impl Gateway {
    /// Reads everything about the people a case names. Nobody: everything is empty.
    pub(super) async fn gather(&self, _case: &StoredCase, contents: &Contents) -> Result<Held> {
        let at = Some(self.source.now().into());
        let mut wanted: Vec<(SubjectId, u32)> = Vec::new();
        for subject in self.subjects_named(contents).await? {
            let Some(person) = self.person_now(subject).await? else { continue };
            wanted.extend(
                believed(&person).filter(|(id, _)| wanted.iter().all(|(known, _)| known != id)).collect::<Vec<_>>(),
            );
        }
        if wanted.is_empty() {
            return Ok(Held { at, ..Held::default() });
        }
        let people = self.keyholder.people(wanted).await?;
        let ids: Vec<SubjectId> = people.iter().map(|keys| keys.subject).collect();
        let holders = people.iter().flat_map(|keys| [keys.operation.id, keys.evidence.id]).collect::<Vec<_>>();
        let rows = self
            .database
            .snapshot(move |connection| {
                Ok(Rows {
                    identifiers: all(&ids, |id| identities::of_subject(connection, id))?,
                    records: records_of(connection, &ids)?,
                    lines: consents::of_subjects(connection, &ids)?,
                    disclosures: disclosures::of_subjects(connection, &ids)?,
                    open: deliveries::open_of_subjects(connection, &ids)?,
                    requests: requests_of(connection, &ids)?,
                    looks: audit_log::parts_about(connection, &holders, &LOOKS.map(Event::number))?,
                })
            })
            .await
            .map_err(Error::store)?;
        let identifiers = self.opened(&people, rows.identifiers)?;
        let suppressed = self.on_the_list(&identifiers).await?;
        let consultations =
            rows.looks.into_iter().filter_map(|(leaf, part)| self.opened_look(&people, &leaf, &part)).collect();
        Ok(Held {
            identifiers,
            records: rows.records,
            lines: rows.lines,
            disclosures: rows.disclosures,
            open: rows.open,
            requests: rows.requests,
            consultations,
            suppressed,
            at,
            people,
        })
    }

    fn opened(&self, people: &[Arc<PersonKeys>], stored: Vec<StoredIdentifier>) -> Result<Vec<Identifier>> {
        let policy = self.policy();
        stored
            .into_iter()
            .map(|row| {
                let keys = people.iter().find(|keys| keys.subject == row.subject).ok_or(Error::MissingKey)?;
                let (_, original) = self.open_identifier(&policy.terms, keys, &row)?;
                Ok(Identifier { kind: row.kind, namespace: row.namespace, value: original, added_at: row.added_at })
            })
            .collect()
    }

    /// Kinds of the person's addresses that stand on the suppression list.
    async fn on_the_list(&self, identifiers: &[Identifier]) -> Result<Vec<String>> {
        let secrets = self.keyholder.secrets();
        let Some(version) = secrets.suppressions.newest() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for identifier in identifiers {
            let Some(entry) = entry(&secrets.suppressions, version, identifier)? else { continue };
            let listed = self
                .database
                .read(move |c| erasures::is_suppressed(c, &[entry], "direct_marketing"))
                .await
                .map_err(Error::store)?;
            if listed && !found.contains(&identifier.kind) {
                found.push(identifier.kind.clone());
            }
        }
        Ok(found)
    }

    /// A look as far as its sealed part tells; one that cannot be opened is not guessed at.
    fn opened_look(&self, people: &[Arc<PersonKeys>], leaf: &StoredLeaf, part: &StoredPart) -> Option<Consultation> {
        let decoded = Leaf::decode(&leaf.leaf).ok()?;
        let bound = decoded.parts.iter().find(|bound| bound.role == Role::Subject)?;
        let key = people.iter().flat_map(|keys| [&keys.operation, &keys.evidence]).find(|key| key.id == part.holder)?;
        let place = AuditPlace {
            role: part.role,
            entry: leaf.entry,
            event: decoded.event.number(),
            class: decoded.event.class().number(),
            origin: &self.origin,
        };
        let opened = key.key.open(&place, &part.sealed, &bound.commitment).ok()?;
        let payload = payload::Value::decode(opened.payload()).ok()?;
        Some(Consultation { at: leaf.time, event: decoded.event, payload })
    }
}

/// The members of a profile whose data may be shown together: joined by an asserted or proven link.
fn believed(person: &Person) -> impl Iterator<Item = (SubjectId, u32)> {
    person
        .members
        .iter()
        .filter(|member| person.may_grant.contains(&member.id) && member.status == SubjectStatus::Active)
        .map(|member| (member.id, member.key_version))
}

fn entry(suppressions: &Suppressions, version: u32, identifier: &Identifier) -> Result<Option<[u8; 32]>> {
    let Some(kind) = IdentifierKind::parse(&identifier.kind) else { return Ok(None) };
    let context = crate::domain::identifier::NormaliseContext {
        namespace: &identifier.namespace,
        default_region: None,
        subaddress: crate::domain::identifier::Subaddress::Keep,
        blocked: &[],
    };
    let text = identifier.value.reveal(&TO_SEARCH_LISTS);
    let crate::domain::identifier::Normalised::Canonical(canonical) =
        crate::domain::identifier::normalise(&kind, text, &context)
    else {
        return Ok(None);
    };
    suppressions
        .entry(version, version, &kind, &identifier.namespace, canonical.reveal(&TO_SEARCH_LISTS))
        .map(Some)
        .map_err(Error::Protection)
}

fn all<T>(
    ids: &[SubjectId],
    mut read: impl FnMut(SubjectId) -> crate::storage::Result<Vec<T>>,
) -> crate::storage::Result<Vec<T>> {
    let mut found = Vec::new();
    for id in ids {
        found.extend(read(*id)?);
    }
    Ok(found)
}

fn records_of(connection: &mut Connection, ids: &[SubjectId]) -> crate::storage::Result<Vec<StoredRecord>> {
    let mut found = Vec::new();
    for id in ids {
        let mut after = None;
        loop {
            let page = records::of_subject(connection, *id, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            found.extend(page);
        }
    }
    found.sort_by_key(|record| (record.collected_at, record.id));
    Ok(found)
}

fn requests_of(
    connection: &mut Connection,
    ids: &[SubjectId],
) -> crate::storage::Result<Vec<(StoredCase, StoredRequest)>> {
    let mut found = Vec::new();
    for request in subject_requests::requests_of_subjects(connection, ids)? {
        if let Some(case) = subject_requests::case(connection, request.case)? {
            found.push((case, request));
        }
    }
    Ok(found)
}
