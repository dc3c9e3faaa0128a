//! How a person is met: an identifier is normalised, turned into blind index values and looked up;
//! somebody unknown gets an id, keys and a state row of their own. Shared by every use-case that is
//! given identifiers.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::collected::RawIdentifier;
use crate::domain::id::{EntryId, IdentifierId, SubjectId};
use crate::domain::identifier::{IdentifierKind, NormaliseContext, Normalised, Subaddress, normalise};
use crate::domain::personal::{Access, Personal};
use crate::storage::identities::{LinkProof, NewIdentifier};
use crate::storage::{erasures, identities};

use super::collect::Flaw;
use super::keyholder::{NewPersonKeys, PersonKeys};
use super::person::{Person, fresh_subject};
use super::policy::PolicyInForce;
use super::{Error, Gateway, Result};

const TO_INDEX: Access = Access::because("an identifier is normalised so that its person can be found by blind index");
const TO_COMPARE: Access =
    Access::because("a stored identifier is compared with the one looked up, so that a planted index row finds nobody");
const TO_RECOGNISE_ERASED: Access = Access::because("an identifier is held against the keyed marks of erased people");

/// An identifier in the form in which it is looked up.
pub(in crate::gateway) struct Handle {
    pub(in crate::gateway) kind: IdentifierKind,
    pub(in crate::gateway) namespace: String,
    /// Value under the current index.
    pub(in crate::gateway) value: [u8; 16],
    /// Value under an index that is being built.
    pub(in crate::gateway) building: Option<(u32, [u8; 16])>,
    pub(in crate::gateway) canonical: Personal<String>,
    pub(in crate::gateway) original: Personal<String>,
}

impl Handle {
    /// Whether it names a device or browser and not a person as such.
    pub(in crate::gateway) const fn is_device(&self) -> bool {
        matches!(
            self.kind,
            IdentifierKind::AnonymousId
                | IdentifierKind::AdvertisingId
                | IdentifierKind::VendorId
                | IdentifierKind::CookieId
                | IdentifierKind::PushToken
        )
    }

    /// Who keeps the event when several identifiers name people: the lowest.
    pub(in crate::gateway) const fn priority(&self) -> u8 {
        match self.kind {
            IdentifierKind::UserId => 1,
            IdentifierKind::Email => 2,
            IdentifierKind::Phone => 3,
            IdentifierKind::AnonymousId => 5,
            _ => 4,
        }
    }
}

impl Gateway {
    /// Normalises an identifier and computes its index values.
    pub(in crate::gateway) fn handle(
        &self,
        policy: &PolicyInForce,
        default_region: Option<&str>,
        raw: RawIdentifier,
    ) -> std::result::Result<Handle, Flaw> {
        let context = NormaliseContext {
            namespace: &raw.namespace,
            default_region,
            subaddress: if policy.policy.controller.strip_email_subaddress {
                Subaddress::Strip
            } else {
                Subaddress::Keep
            },
            blocked: &policy.blocked,
        };
        let canonical = match normalise(&raw.kind, raw.text.reveal(&TO_INDEX), &context) {
            Normalised::Canonical(canonical) => canonical,
            Normalised::Invalid(_) => return Err(Flaw::IdentifierInvalid),
            Normalised::Blocked => return Err(Flaw::IdentifierBlocked),
        };
        let secrets = self.keyholder.secrets();
        let value = secrets.index.value(&raw.kind, &raw.namespace, canonical.reveal(&TO_INDEX));
        let building = secrets
            .building
            .as_ref()
            .map(|index| (index.version(), index.value(&raw.kind, &raw.namespace, canonical.reveal(&TO_INDEX))));
        Ok(Handle { kind: raw.kind, namespace: raw.namespace, value, building, canonical, original: raw.text })
    }

    /// As [`Gateway::handle`], of an identifier that is still needed afterwards.
    pub(in crate::gateway) fn handle_of(
        &self,
        policy: &PolicyInForce,
        default_region: Option<&str>,
        raw: &RawIdentifier,
    ) -> std::result::Result<Handle, Flaw> {
        let copy = RawIdentifier {
            kind: raw.kind.clone(),
            namespace: raw.namespace.clone(),
            text: Personal::new(raw.text.reveal(&TO_INDEX).clone()),
            pointer: raw.pointer,
        };
        self.handle(policy, default_region, copy)
    }

    /// Somebody met for the first time: an id, keys, and a person without a row yet. The keys are
    /// stored before anything that is sealed under them.
    pub(in crate::gateway) fn meet(
        &self,
        device: bool,
        suppressed: bool,
        now: Timestamp,
    ) -> Result<(Arc<Person>, NewPersonKeys)> {
        let id = SubjectId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?);
        let new = self.keyholder.make(id, now)?;
        Ok((Arc::new(Person::unmet(fresh_subject(id, device, suppressed, now))), new))
    }

    /// The row of an identifier that a person is known by from now on, sealed under their key.
    pub(in crate::gateway) fn new_identifier(
        &self,
        policy: &PolicyInForce,
        handle: &Handle,
        keys: &PersonKeys,
        proof: LinkProof,
        now: Timestamp,
        entry: EntryId,
    ) -> Result<NewIdentifier> {
        let id = IdentifierId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?);
        let sealed = self.seal_identifier(&policy.terms, keys, id, &handle.canonical, &handle.original)?;
        let mut index = vec![(self.keyholder.secrets().index.version(), handle.value)];
        index.extend(handle.building);
        Ok(NewIdentifier {
            id,
            subject: keys.subject,
            kind: handle.kind.spelling().into_owned(),
            namespace: handle.namespace.clone(),
            sealed,
            proof,
            index,
            added_at: now.into(),
            entry,
        })
    }

    /// Whose identifier this is.
    pub(in crate::gateway) async fn subject_of(&self, handle: &Handle, fresh: bool) -> Result<Option<SubjectId>> {
        if !fresh && let Some(subject) = self.identifiers.get(&handle.value) {
            return Ok(Some(subject));
        }
        let found = self
            .find_identifier(handle.kind.spelling().into_owned(), handle.namespace.clone(), handle.value, || {
                handle.canonical.reveal(&TO_COMPARE).clone()
            })
            .await?;
        match found {
            Some(subject) => self.identifiers.insert(handle.value, subject),
            None => {
                self.identifiers.remove(&handle.value);
            }
        }
        Ok(found)
    }

    /// Finds the subject behind a blind index value, and makes sure that the stored identifier is the
    /// one that is looked up: an index row planted by somebody who writes the database finds nobody.
    ///
    /// # Errors
    /// When a store cannot be read, or the identifier behind the row is another one.
    pub(crate) async fn find_identifier(
        &self,
        kind: String,
        namespace: String,
        value: [u8; 16],
        canonical: impl FnOnce() -> String,
    ) -> Result<Option<SubjectId>> {
        let canonical = zeroize::Zeroizing::new(canonical());
        let house = self.clone();
        tokio::task::spawn_blocking(move || house.find_identifier_blocking(&kind, &namespace, &value, &canonical))
            .await
            .map_err(|_| Error::Contention)?
    }

    /// One visit of both stores: what is found is about to be decided on, so the person's keys and
    /// state are read along and remembered.
    fn find_identifier_blocking(
        &self,
        kind: &str,
        namespace: &str,
        value: &[u8; 16],
        canonical: &str,
    ) -> Result<Option<SubjectId>> {
        let version = self.keyholder.secrets().index.version();
        let mut data = self.database.reader().map_err(Error::store)?;
        let found = identities::find(&mut data, kind, namespace, version, value).map_err(Error::store)?;
        let Some(stored) = found else { return Ok(None) };
        let mut keys = self.keyholder.store().reader().map_err(Error::keys)?;
        self.same_identifier(&mut data, &mut keys, &stored, canonical)?;
        self.read_person(&mut data, &mut keys, stored.subject)?;
        Ok(Some(stored.subject))
    }

    /// Looks unknown identifiers up among the keyed marks.
    pub(in crate::gateway) async fn marks_of(&self, unknown: &[&Handle]) -> Result<(Option<Timestamp>, bool)> {
        let secrets = self.keyholder.secrets();
        let version = secrets.suppressions.newest().ok_or(Error::MissingKey)?;
        let mut late = Vec::with_capacity(unknown.len());
        let mut entries = Vec::with_capacity(unknown.len());
        for handle in unknown {
            let canonical = handle.canonical.reveal(&TO_RECOGNISE_ERASED);
            late.push(
                secrets
                    .suppressions
                    .late_event(version, &handle.kind, &handle.namespace, canonical)
                    .map_err(Error::Protection)?,
            );
            entries.push(
                secrets
                    .suppressions
                    .entry(version, version, &handle.kind, &handle.namespace, canonical)
                    .map_err(Error::Protection)?,
            );
        }
        let (erased, suppressed) = self
            .database
            .read(move |c| {
                Ok((erasures::erased_at(c, &late)?, erasures::is_suppressed(c, &entries, "direct_marketing")?))
            })
            .await
            .map_err(Error::store)?;
        Ok((erased.map(|at| at.timestamp()), suppressed))
    }
}
