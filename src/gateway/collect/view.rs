//! What is known about the people of a unit, from memory or from the stores.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::id::SubjectId;
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::meeting::Handle;
use crate::gateway::person::Person;
use crate::gateway::{Error, Gateway, Result};

use super::Arrival;
use super::identify::Identified;

/// What is known about the people of a unit.
pub(super) struct View {
    pub(super) owner: Side,
    pub(super) device: Option<Side>,
    /// Further identifiers of the events, each with the subject it belongs to, if it belongs to one.
    pub(super) others: Vec<(usize, usize, Option<SubjectId>)>,
    /// When somebody whom the unit's unknown identifiers name was erased.
    pub(super) erased_at: Option<Timestamp>,
    /// Whether an unknown identifier stands on the suppression list for direct marketing.
    pub(super) suppressed: bool,
}

/// One of the two subjects of a unit.
pub(super) enum Side {
    /// Known.
    Known(Arc<Person>, Arc<PersonKeys>),
    /// To be met.
    Unmet,
}

impl Side {
    pub(super) fn known(&self) -> Option<(&Arc<Person>, &Arc<PersonKeys>)> {
        match self {
            Self::Known(person, keys) => Some((person, keys)),
            Self::Unmet => None,
        }
    }
}

impl Gateway {
    /// Looks at the people of a unit. `fresh` forgets what is remembered first, because it turned out
    /// to be old.
    pub(super) async fn view(&self, arrival: &Arrival<'_>, events: &[Identified], fresh: bool) -> Result<View> {
        if !fresh && let Some(view) = self.remembered(events) {
            return Ok(view);
        }
        let Some(first) = events.first() else { return Err(Error::Contention) };
        let _ = arrival;
        let owner = self.side(&first.owner, fresh).await?;
        let device = match &first.device {
            Some(device) => Some(self.side(device, fresh).await?),
            None => None,
        };
        let mut others = Vec::new();
        for (event, at) in events.iter().zip(0..) {
            for (other, place) in event.others.iter().zip(0..) {
                others.push((at, place, self.subject_of(other, fresh).await?));
            }
        }
        let mut erased_at = None;
        let mut suppressed = false;
        let unknown: Vec<&Handle> = [(&owner, Some(&first.owner))]
            .into_iter()
            .chain(device.iter().map(|side| (side, first.device.as_ref())))
            .filter(|(side, _)| side.known().is_none())
            .filter_map(|(_, handle)| handle)
            .chain(
                others
                    .iter()
                    .filter(|(.., subject)| subject.is_none())
                    .filter_map(|(event, place, _)| events.get(*event).and_then(|event| event.others.get(*place))),
            )
            .collect();
        if !unknown.is_empty() {
            (erased_at, suppressed) = self.marks_of(&unknown).await?;
        }
        Ok(View { owner, device, others, erased_at, suppressed })
    }

    /// The view from memory alone: the way of nearly every event.
    fn remembered(&self, events: &[Identified]) -> Option<View> {
        let first = events.first()?;
        let owner = self.remembered_side(&first.owner)?;
        let device = match &first.device {
            Some(device) => Some(self.remembered_side(device)?),
            None => None,
        };
        let mut others = Vec::new();
        for (event, at) in events.iter().zip(0..) {
            for (other, place) in event.others.iter().zip(0..) {
                others.push((at, place, Some(self.identifiers.get(&other.value)?)));
            }
        }
        Some(View { owner, device, others, erased_at: None, suppressed: false })
    }

    fn remembered_side(&self, handle: &Handle) -> Option<Side> {
        let subject = self.identifiers.get(&handle.value)?;
        let person = self.people.get(&subject)?;
        let keys = self.keyholder.cached(subject, person.subject.key_version)?;
        Some(Side::Known(person, keys))
    }

    async fn side(&self, handle: &Handle, fresh: bool) -> Result<Side> {
        let Some(subject) = self.subject_of(handle, fresh).await? else { return Ok(Side::Unmet) };
        let person = if fresh { self.person_now(subject).await? } else { self.person(subject).await? };
        let Some(person) = person else {
            self.identifiers.remove(&handle.value);
            return Ok(Side::Unmet);
        };
        match self.keyholder.people(vec![(subject, person.subject.key_version)]).await {
            Ok(mut keys) => Ok(Side::Known(person, keys.pop().ok_or(Error::MissingKey)?)),
            // An erasure has destroyed the keys and is deleting the rows: the marks know the person.
            Err(Error::NotFound) => Ok(Side::Unmet),
            Err(other) => Err(other),
        }
    }
}
