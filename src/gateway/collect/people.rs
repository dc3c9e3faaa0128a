//! The people of a unit: who they are, and how its decisions see them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::consent::{ConsentEvent, Ruling, Scope, fold};
use crate::domain::id::{ConsentId, PurposeId, SubjectId};
use crate::domain::legal_basis::LegalBasis;
use crate::domain::subject::{Standing, SubjectStatus};
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::person::{Line, Person};
use crate::storage::identities::LinkProof;

use super::Arrival;

/// A subject of the unit with everything needed to write about it.
pub(super) struct Party {
    pub(super) person: Arc<Person>,
    pub(super) keys: Arc<PersonKeys>,
    pub(super) is_new: bool,
}

impl Party {
    pub(super) fn id(&self) -> SubjectId {
        self.person.subject.id
    }
}

/// The people of a unit as its decisions see them: what is stored, and what the unit itself adds.
pub(super) struct Seen {
    owner: SubjectId,
    lines: Vec<Line>,
    may_grant: BTreeSet<SubjectId>,
    suppressed: bool,
    status: SubjectStatus,
}

impl Seen {
    pub(super) fn new(owner: &Party, device: Option<&Party>, link: Option<&LinkProof>) -> Self {
        let mut lines = owner.person.lines.clone();
        let mut may_grant = owner.person.may_grant.clone();
        let mut suppressed = owner.person.members.iter().any(|member| member.suppressed);
        let mut status = worst(&owner.person);
        if let Some(device) = device {
            if device.person.subject.profile != owner.person.subject.profile {
                // Narrowing crosses at once, even where no link is made: the event came from there.
                lines.extend(device.person.lines.iter().cloned());
                suppressed |= device.person.members.iter().any(|member| member.suppressed);
                if worst(&device.person) != SubjectStatus::Active {
                    status = worst(&device.person);
                }
            }
            if link == Some(&LinkProof::Asserted) {
                may_grant.extend(device.person.may_grant.iter().copied());
            }
        }
        Self { owner: owner.id(), lines, may_grant, suppressed, status }
    }

    pub(super) fn standing(&self, arrival: &Arrival<'_>) -> Standing {
        let policy = &arrival.policy.policy;
        Standing {
            status: self.status.clone(),
            restrictions: Vec::new(),
            suppressed: self.suppressed,
            lines: self
                .lines
                .iter()
                .map(|line| line.ruled(policy, line.subject == self.owner || self.may_grant.contains(&line.subject)))
                .collect(),
        }
    }

    fn find(&self, subject: SubjectId, purpose: &PurposeId, scope: Scope) -> Option<&Line> {
        self.lines.iter().find(|line| {
            line.subject == subject && line.purpose == *purpose && line.channel.is_none() && line.scope == scope
        })
    }

    pub(super) fn line(&self, subject: SubjectId, purpose: &PurposeId, scope: Scope) -> Option<ConsentId> {
        self.find(subject, purpose, scope).map(|line| line.id)
    }

    pub(super) fn ruling(&self, subject: SubjectId, purpose: &PurposeId, scope: Scope, basis: LegalBasis) -> Ruling {
        self.find(subject, purpose, scope).map_or(Ruling::Unknown, |line| fold(&line.events, basis))
    }

    pub(super) fn add(
        &mut self,
        subject: SubjectId,
        id: ConsentId,
        purpose: &PurposeId,
        scope: Scope,
        event: ConsentEvent,
    ) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.id == id) {
            line.events.push(event);
            return;
        }
        self.lines.push(Line { id, subject, purpose: purpose.clone(), channel: None, scope, events: vec![event] });
    }
}

fn worst(person: &Person) -> SubjectStatus {
    person
        .members
        .iter()
        .map(|member| member.status.clone())
        .find(|status| *status != SubjectStatus::Active)
        .unwrap_or(SubjectStatus::Active)
}
