//! The view of a person that decisions are made on: the state rows of the whole profile, the consent
//! lines of its members, and the versions by which staleness is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::crypto::mac::RowId;
use crate::domain::consent::{ConsentEvent, ConsentLine, Scope, fold};
use crate::domain::id::{Channel, ConsentId, PurposeId, SubjectId};
use crate::domain::legal_basis::LegalBasis;
use crate::domain::policy::Policy;
use crate::domain::subject::{MemberLine, Standing, SubjectStatus};
use crate::storage::consents::{self, StoredEvent, StoredLine};
use crate::storage::identities::{self, LinkProof, StoredEdge};
use crate::storage::subjects::{self, StoredSubject};
use crate::storage::{Connection, Expected};

use super::keyholder::{Keyholder, PersonKeys};
use super::{Error, Result, rows};

/// A person as last seen: one subject and everybody its links join it to.
#[derive(Clone)]
pub struct Person {
    /// The subject in question.
    pub subject: StoredSubject,
    /// All members of the profile, the subject included, ordered by id.
    pub members: Vec<StoredSubject>,
    /// Members whose yes counts for the subject in question.
    pub may_grant: BTreeSet<SubjectId>,
    /// The consent lines of all members.
    pub lines: Vec<Line>,
}

/// A consent line with its events.
#[derive(Clone)]
pub struct Line {
    /// Its id.
    pub id: ConsentId,
    /// Whose it is.
    pub subject: SubjectId,
    /// The purpose.
    pub purpose: PurposeId,
    /// The channel, if the purpose lists channels.
    pub channel: Option<Channel>,
    /// What it covers.
    pub scope: Scope,
    /// Its events. An event whose row fails its MAC and would allow is left out.
    pub events: Vec<ConsentEvent>,
}

impl Line {
    /// A stored line as far as it is believed: a no counts from any row, everything else only from a
    /// row that was not altered.
    #[must_use]
    pub fn believed(stored: StoredLine, verifies: impl Fn(&StoredEvent) -> bool) -> Self {
        let counts = |event: &&StoredEvent| event.kind.denial().is_some() || verifies(event);
        Self {
            id: stored.id,
            subject: stored.subject,
            purpose: stored.purpose,
            channel: stored.channel,
            scope: stored.scope,
            events: stored.events.iter().filter(counts).map(domain_event).collect(),
        }
    }

    /// What the line says now, as a decision reads it.
    #[must_use]
    pub fn ruled(&self, policy: &Policy, may_grant: bool) -> MemberLine {
        MemberLine {
            subject: self.subject,
            may_grant,
            line: ConsentLine {
                id: self.id,
                purpose: self.purpose.clone(),
                channel: self.channel.clone(),
                scope: self.scope,
                ruling: fold(&self.events, basis_of(policy, &self.purpose)),
            },
        }
    }
}

/// Whether the row of an event is as it was written under its person's key.
#[must_use]
pub fn verifies(keys: &PersonKeys, event: &StoredEvent) -> bool {
    keys.dek.row_verifies(rows::CONSENT_EVENT, RowId::from(event.id), &rows::consent_event(event), &event.mac)
}

impl Person {
    /// Reads a person. `None`: there is no such subject (any more).
    ///
    /// # Errors
    /// When a store cannot be read or a key is missing.
    pub fn read(
        data: &mut Connection,
        keys: &mut Connection,
        keyholder: &Keyholder,
        id: SubjectId,
    ) -> Result<Option<Self>> {
        Ok(Self::read_many(data, keys, keyholder, &[id])?.pop())
    }

    /// Reads several people at once. Who no longer exists is left out.
    ///
    /// # Errors
    /// As [`Person::read`].
    pub fn read_many(
        data: &mut Connection,
        keys: &mut Connection,
        keyholder: &Keyholder,
        ids: &[SubjectId],
    ) -> Result<Vec<Self>> {
        let everybody = subjects::with_profiles(data, ids).map_err(Error::store)?;
        let all: Vec<SubjectId> = everybody.iter().map(|member| member.id).collect();
        let mut lines: BTreeMap<SubjectId, Vec<Line>> = BTreeMap::new();
        for stored in consents::of_subjects(data, &all).map_err(Error::store)? {
            let Some(owner) = everybody.iter().find(|member| member.id == stored.subject) else { continue };
            lines.entry(owner.id).or_default().push(believed_line(keys, keyholder, owner, stored)?);
        }
        let mut people = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(subject) = everybody.iter().find(|member| member.id == *id).cloned() else { continue };
            let members: Vec<StoredSubject> = everybody
                .iter()
                .filter(|member| member.profile == subject.profile || member.id == subject.profile)
                .cloned()
                .collect();
            let lines = members.iter().filter_map(|member| lines.get(&member.id)).flatten().cloned().collect();
            let may_grant = if members.len() == 1 { BTreeSet::from([*id]) } else { believed(data, *id, &members)? };
            people.push(Self { subject, members, may_grant, lines });
        }
        Ok(people)
    }

    /// A person who is being met and has no row yet.
    #[must_use]
    pub fn unmet(subject: StoredSubject) -> Self {
        let id = subject.id;
        Self { members: vec![subject.clone()], subject, may_grant: BTreeSet::from([id]), lines: Vec::new() }
    }

    /// What a decision needs to know.
    #[must_use]
    pub fn standing(&self, policy: &Policy) -> Standing {
        Standing {
            status: self
                .members
                .iter()
                .map(|member| &member.status)
                .max_by_key(|status| strength(status))
                .cloned()
                .unwrap_or(SubjectStatus::Erased),
            restrictions: Vec::new(),
            suppressed: self.members.iter().any(|member| member.suppressed),
            lines: self.lines.iter().map(|line| line.ruled(policy, self.may_grant.contains(&line.subject))).collect(),
        }
    }

    /// The versions that whatever is decided on this view rests on.
    #[must_use]
    pub fn rests_on(&self) -> Vec<Expected> {
        self.members.iter().map(|member| Expected { subject: member.id, version: Some(member.version) }).collect()
    }

    /// The line of a subject for a purpose, channel and scope.
    #[must_use]
    pub fn line(
        &self,
        subject: SubjectId,
        purpose: &PurposeId,
        channel: Option<&Channel>,
        scope: Scope,
    ) -> Option<&Line> {
        self.lines.iter().find(|line| {
            line.subject == subject
                && line.purpose == *purpose
                && line.channel.as_ref() == channel
                && line.scope == scope
        })
    }

    /// The same person as seen from another member.
    #[must_use]
    pub fn seen_from(self: &Arc<Self>, id: SubjectId) -> Option<StoredSubject> {
        self.members.iter().find(|member| member.id == id).cloned()
    }
}

/// The basis of a purpose that a line speaks of; a purpose that left the policy permits nothing
/// anyway.
#[must_use]
pub fn basis_of(policy: &Policy, purpose: &PurposeId) -> LegalBasis {
    policy.purposes.get(purpose).map_or(LegalBasis::Consent, |purpose| purpose.basis)
}

/// A stored event as the fold reads it.
#[must_use]
pub fn domain_event(event: &StoredEvent) -> ConsentEvent {
    ConsentEvent {
        id: event.id,
        kind: event.kind,
        proof: event.proof,
        notice: event.notice.clone(),
        given_at: event.given_at.timestamp(),
        recorded_at: event.recorded_at.timestamp(),
        valid_until: event.valid_until.map(|until| until.timestamp()),
        explicit: event.explicit,
    }
}

/// A stored line without the events that would allow something and whose rows do not verify.
fn believed_line(
    keys: &mut Connection,
    keyholder: &Keyholder,
    owner: &StoredSubject,
    stored: StoredLine,
) -> Result<Line> {
    let keys = match keyholder.person_blocking(keys, owner.id, owner.key_version) {
        Ok(keys) => Some(keys),
        // Without keys a row cannot be verified, so what it allows does not count.
        Err(Error::NotFound | Error::MissingKey) => None,
        Err(other) => return Err(other),
    };
    Ok(Line::believed(stored, |event| keys.as_ref().is_some_and(|keys| verifies(keys, event))))
}

const fn strength(status: &SubjectStatus) -> u8 {
    match status {
        SubjectStatus::Active => 0,
        SubjectStatus::RetainedOnly { .. } => 1,
        SubjectStatus::Erasing => 2,
        SubjectStatus::Erased => 3,
    }
}

/// The members reached from `id` over links that are asserted or verified.
fn believed(data: &mut Connection, id: SubjectId, members: &[StoredSubject]) -> Result<BTreeSet<SubjectId>> {
    let mut pairs: BTreeMap<(SubjectId, SubjectId), StoredEdge> = BTreeMap::new();
    for member in members {
        for edge in identities::edges(data, member.id).map_err(Error::store)? {
            let pair = if edge.subject_a < edge.subject_b {
                (edge.subject_a, edge.subject_b)
            } else {
                (edge.subject_b, edge.subject_a)
            };
            let proof = pairs.get(&pair).map_or(edge.proof, |known| known.proof.max(edge.proof));
            // The newest operation of a pair counts; an older, stronger proof of it does not weaken.
            pairs.insert(pair, StoredEdge { proof: if edge.joined { proof } else { edge.proof }, ..edge });
        }
    }
    let mut reached = BTreeSet::from([id]);
    let mut frontier = vec![id];
    while let Some(at) = frontier.pop() {
        for ((a, b), edge) in &pairs {
            if !edge.joined || edge.proof < LinkProof::Asserted {
                continue;
            }
            for next in [(*a == at).then_some(*b), (*b == at).then_some(*a)].into_iter().flatten() {
                if reached.insert(next) {
                    frontier.push(next);
                }
            }
        }
    }
    Ok(reached)
}

/// The state row of somebody who is being met now.
#[must_use]
pub fn fresh_subject(id: SubjectId, device: bool, suppressed: bool, now: Timestamp) -> StoredSubject {
    StoredSubject {
        id,
        profile: id,
        version: 0,
        status: SubjectStatus::Active,
        device,
        key_version: 1,
        suppressed,
        created_at: now.into(),
    }
}
