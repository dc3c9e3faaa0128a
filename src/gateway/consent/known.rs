//! Who an interaction is about, and everything that is known about them, read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};

use crate::domain::consent::ConsentEventKind;
use crate::domain::id::SubjectId;
use crate::domain::identifier::IdentifierKind;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::personal::Access;
use crate::domain::policy::{Policy, Trust};
use crate::domain::purpose::Purpose;
use crate::gateway::collect::Flaw;
use crate::gateway::keyholder::{NewPersonKeys, PersonKeys};
use crate::gateway::meeting::Handle;
use crate::gateway::person::{Line, Person};
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Error, Gateway, Result};
use crate::storage::erasures::Suppression;
use crate::storage::{idempotency, identities};

use super::check::Code;
use super::notice::Shown;
use super::record::MARKETING;
use super::{Action, Caller, Choice, Interaction};

const TO_SUPPRESS: Access =
    Access::because("a keyed mark of each identifier goes on the suppression list (Art. 21(3))");

/// Years after which an entry of the suppression list is reviewed.
const REVIEW_YEARS: i64 = 3;

/// Somebody the choices are about.
pub(super) struct Party {
    pub(super) person: Arc<Person>,
    pub(super) keys: Arc<PersonKeys>,
    pub(super) new: Option<NewPersonKeys>,
}

impl Party {
    pub(super) fn id(&self) -> SubjectId {
        self.person.subject.id
    }
}

/// What is known about the people of an interaction.
pub(super) struct Known {
    pub(super) owner: Party,
    /// The browser that a public key's yes binds, if the choices name a person besides.
    pub(super) browser: Option<Party>,
    /// Other people whom further identifiers name: a no covers them too.
    pub(super) others: Vec<Party>,
    /// The identifiers, most telling first, each with whose it is.
    pub(super) handles: Vec<(Handle, Option<SubjectId>)>,
    /// When somebody whom an unknown identifier names was erased.
    pub(super) erased_at: Option<Timestamp>,
    /// When the choices were made, by the caller's word.
    pub(super) given_at: Timestamp,
    /// Keyed marks of everybody's identifiers, where the suppression list is in question.
    pub(super) marks: Vec<Suppression>,
    /// Mark of the notice token, and whose consent it proved before.
    pub(super) token: Option<([u8; 32], Option<SubjectId>)>,
}

impl Gateway {
    /// The identifiers of an interaction in the form in which they are looked up.
    pub(super) fn handles(
        &self,
        policy: &PolicyInForce,
        caller: &Caller,
        interaction: &Interaction,
    ) -> Vec<std::result::Result<Handle, Flaw>> {
        interaction
            .identifiers
            .iter()
            .map(|raw| self.handle_of(policy, caller.default_region.as_deref(), raw))
            .collect()
    }
}

impl Known {
    #[expect(clippy::too_many_arguments, reason = "everything an interaction rests on, read once")]
    pub(super) async fn look(
        house: &Gateway,
        policy: &PolicyInForce,
        caller: &Caller,
        interaction: &Interaction,
        shown: &std::result::Result<Option<Shown>, Code>,
        handles: Vec<std::result::Result<Handle, Flaw>>,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Self> {
        let mut handles: Vec<Handle> = handles.into_iter().flatten().collect();
        handles.sort_by_key(Handle::priority);
        handles.dedup_by_key(|handle| handle.value);
        let mut known = Vec::with_capacity(handles.len());
        for handle in handles {
            let mut subject = house.subject_of(&handle, fresh).await?;
            if let Some(remembered) = subject
                && house.person(remembered).await?.is_none()
            {
                // Erased since it was remembered.
                subject = house.subject_of(&handle, true).await?;
            }
            known.push((handle, subject));
        }
        let unknown: Vec<&Handle> =
            known.iter().filter(|(_, subject)| subject.is_none()).map(|(handle, _)| handle).collect();
        let (erased_at, suppressed) = if unknown.is_empty() { (None, false) } else { house.marks_of(&unknown).await? };

        let (first, found) = known.first().ok_or(Error::Unacceptable("no usable identifier"))?;
        let owner = house.party(*found, first.is_device(), suppressed, fresh, now).await?;
        let gives = interaction.choices.iter().any(|choice| choice.action == Action::Give);
        let browser = match known.iter().find(|(handle, _)| handle.kind == IdentifierKind::AnonymousId) {
            Some((_, found)) if gives && caller.trust == Trust::Public && !first.is_device() => {
                Some(house.party(*found, true, false, fresh, now).await?)
            }
            _ => None,
        };
        let mut others: Vec<Party> = Vec::new();
        for (_, found) in &known {
            let Some(subject) = found else { continue };
            let is_counted = [Some(&owner), browser.as_ref()]
                .into_iter()
                .flatten()
                .chain(&others)
                .any(|party| party.person.members.iter().any(|member| member.id == *subject));
            if !is_counted {
                others.push(house.party(Some(*subject), false, false, fresh, now).await?);
            }
        }
        let token = match shown {
            Ok(Some(Shown { token: Some((id, _)), .. })) => {
                let mark = house.keyholder.secrets().tokens.duplicate("notice-token", "", id, &[0; 32]);
                let spent = house
                    .database
                    .read(move |c| idempotency::find(c, &mark, now.into()))
                    .await
                    .map_err(Error::store)?;
                Some((mark, spent.and_then(|spent| spent.subject)))
            }
            _ => None,
        };
        let mut found = Self {
            owner,
            browser,
            others,
            handles: known,
            erased_at,
            given_at: interaction.act.given_at.unwrap_or(now),
            marks: Vec::new(),
            token,
        };
        if found.concerns_suppression(&policy.policy, interaction) {
            found.marks = house.marks_for(policy, &found, now).await?;
        }
        Ok(found)
    }

    /// What is known for a withdrawal by the id of a line.
    pub(super) async fn look_at_line(
        house: &Gateway,
        policy: &PolicyInForce,
        line: &Line,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Self> {
        let owner = house.party(Some(line.subject), false, false, fresh, now).await?;
        if owner.new.is_some() {
            return Err(Error::NotFound);
        }
        let mut found = Self {
            owner,
            browser: None,
            others: Vec::new(),
            handles: Vec::new(),
            erased_at: None,
            given_at: now,
            marks: Vec::new(),
            token: None,
        };
        let purpose = policy.policy.purposes.get(&line.purpose);
        if purpose.is_some_and(|purpose| objects_to_marketing(Action::Withdraw, purpose)) {
            found.marks = house.marks_for(policy, &found, now).await?;
        }
        Ok(found)
    }

    pub(super) fn parties(&self) -> impl Iterator<Item = &Party> {
        std::iter::once(&self.owner).chain(&self.browser).chain(&self.others)
    }

    /// Whether the suppression list may change.
    fn concerns_suppression(&self, policy: &Policy, interaction: &Interaction) -> bool {
        let suppressed = self.parties().any(|party| party.person.members.iter().any(|member| member.suppressed));
        interaction.choices.iter().any(|choice| match choice.action {
            Action::Give => suppressed,
            action => named(policy, choice).any(|purpose| objects_to_marketing(action, purpose)),
        })
    }
}

/// Whether a no to this purpose is an objection to direct marketing (Art. 21(2)). Words do not
/// matter for the line; for the list it is enough that either the word or the record says so.
pub(super) fn objects_to_marketing(action: Action, purpose: &Purpose) -> bool {
    let said = action == Action::Object;
    purpose.direct_marketing && (said || protective(action).on(purpose.basis) == ConsentEventKind::Object)
}

pub(super) const fn protective(action: Action) -> ConsentEventKind {
    match action {
        Action::Give => ConsentEventKind::Give,
        Action::Refuse => ConsentEventKind::Refuse,
        Action::Withdraw => ConsentEventKind::Withdraw,
        Action::Object => ConsentEventKind::Object,
    }
}

/// The purposes that a choice names; `*` names all that a person decides about.
pub(super) fn named<'a>(policy: &'a Policy, choice: &Choice) -> impl Iterator<Item = &'a Purpose> {
    let (all, name) = (choice.purpose == "*", choice.purpose.clone());
    policy.purposes.values().filter(move |purpose| {
        let decided =
            !matches!(purpose.basis, LegalBasis::Contract | LegalBasis::LegalObligation | LegalBasis::VitalInterests);
        purpose.id.as_str() == name || (all && decided)
    })
}

impl Gateway {
    async fn party(
        &self,
        found: Option<SubjectId>,
        device: bool,
        suppressed: bool,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Party> {
        let person = match found {
            Some(subject) if fresh => self.person_now(subject).await?,
            Some(subject) => self.person(subject).await?,
            None => None,
        };
        let Some(person) = person else {
            let (person, new) = self.meet(device, suppressed, now)?;
            return Ok(Party { person, keys: Arc::clone(&new.keys), new: Some(new) });
        };
        let keys = match self.keyholder.people(vec![(person.subject.id, person.subject.key_version)]).await {
            Ok(mut keys) => keys.pop().ok_or(Error::MissingKey)?,
            // An erasure is on its way: whoever comes again afterwards is somebody new.
            Err(Error::NotFound) => return Err(Error::Contention),
            Err(other) => return Err(other),
        };
        Ok(Party { person, keys, new: None })
    }

    /// Keyed marks of every identifier of everybody concerned, and of those given.
    async fn marks_for(&self, policy: &PolicyInForce, known: &Known, now: Timestamp) -> Result<Vec<Suppression>> {
        let zone = policy.policy.controller.time_zone.clone();
        let day = now.to_zoned(zone).date();
        let review = day.saturating_add(REVIEW_YEARS.years());
        let mut marks: BTreeMap<[u8; 32], Suppression> = BTreeMap::new();
        let mut add = |kind: &IdentifierKind, namespace: &str, canonical: &str| -> Result<()> {
            let secrets = self.keyholder.secrets();
            let version = secrets.suppressions.newest().ok_or(Error::MissingKey)?;
            let value =
                secrets.suppressions.entry(version, version, kind, namespace, canonical).map_err(Error::Protection)?;
            let mark = Suppression {
                value,
                scope: MARKETING.to_owned(),
                kind: kind.spelling().into_owned(),
                namespace: namespace.to_owned(),
                base_version: version,
                top_version: version,
                day: day.to_string(),
                reason: "objection".to_owned(),
                review: review.to_string(),
            };
            marks.insert(value, mark);
            Ok(())
        };
        for (handle, _) in &known.handles {
            add(&handle.kind, &handle.namespace, handle.canonical.reveal(&TO_SUPPRESS))?;
        }
        for member in known.parties().filter(|party| party.new.is_none()).flat_map(|party| &party.person.members) {
            let id = member.id;
            let stored = self.database.read(move |c| identities::of_subject(c, id)).await.map_err(Error::store)?;
            let mut keys = self.keyholder.people(vec![(id, member.key_version)]).await?;
            let keys = keys.pop().ok_or(Error::MissingKey)?;
            for identifier in stored {
                let Some(kind) = IdentifierKind::parse(&identifier.kind) else { continue };
                let (canonical, _) = self.open_identifier(&policy.terms, &keys, &identifier)?;
                add(&kind, &identifier.namespace, canonical.reveal(&TO_SUPPRESS))?;
            }
        }
        Ok(marks.into_values().collect())
    }
}
