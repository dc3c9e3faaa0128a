//! A recipient pulls the fields that it may have now.
//!
//! A pull is a send (`ecosystem.md` 2.1): it commits, with its row in the ledger of disclosures and
//! its leaf, before the first byte of the answer, on the very versions that it was decided on. So it
//! commits before a stop, or it sees the stop and is refused; nothing lies in between that a stop
//! would have to wait for.
//!
//! Of each field the newest value is given, by the time of the event and not of its arrival. The
//! answer fails whole if one value cannot be opened: half a person is worse than none.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::audit::payload::{Row, Value};
use crate::crypto::envelope::{RecordPlace, Term};
use crate::crypto::mac::{Owner, RowId};
use crate::crypto::sealed::Sealed;
use crate::domain::decision::{Decision, Question, decide};
use crate::domain::event::{Event, Outcome as Ended, Role};
use crate::domain::id::{Channel, DisclosureId, FieldPath, PurposeId, RecipientId, RecordId, SubjectId};
use crate::domain::personal::{Access, Personal};
use crate::domain::policy::{EEA, Policy};
use crate::gateway::consent::Violation;
use crate::gateway::person::Person;
use crate::gateway::policy::{PolicyInForce, Terms};
use crate::gateway::tokens::Service;
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::deliveries::Pseudonym;
use crate::storage::disclosures::{self, Disclosure};
use crate::storage::records::{self, StoredRecord};
use crate::storage::{Micros, Outcome, Step, Unit, deliveries};

use super::{Found, TRIES, Verdict, Whose, fields_of, payload, question};

/// Records in one read.
const PAGE: i64 = 200;
/// The most records that are looked through for the newest values.
const RECORDS_LOOKED_AT: usize = 10_000;

/// What a recipient asks for.
pub struct Wanted {
    /// About whom.
    pub whose: Whose,
    /// For what.
    pub purpose: String,
    /// By which channel.
    pub channel: Option<String>,
    /// Which fields; `None`: all that it may have for the purpose.
    pub fields: Option<Vec<String>>,
}

/// What a recipient gets.
pub enum Disclosed {
    /// The fields, accounted for.
    Released(Released),
    /// Nothing, and why.
    Refused(Verdict),
    /// An identifier is none.
    Unreadable(Violation),
}

/// Released fields.
pub struct Released {
    /// The row of the ledger.
    pub id: String,
    /// The recipient's own name for the person.
    pub pseudonym: String,
    /// When.
    pub at: Timestamp,
    /// The transfer safeguard relied on; empty within the EEA.
    pub safeguard: String,
    /// The newest value of each field, JSON text as it was received, with the time of its event.
    pub fields: Vec<(String, Personal<String>, Timestamp)>,
    /// What was decided; fields that were allowed and that nobody has given are not among the values.
    pub verdict: Verdict,
}

impl Gateway {
    /// Decides now, enters the ledger, and then gives the values.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a token without recipient; [`Error::DataUnreadable`] where one value
    /// cannot be opened: then nothing is given.
    pub async fn disclose(&self, service: &Service, wanted: &Wanted) -> Result<Disclosed> {
        let recipient = service.recipient.clone().ok_or(Error::NotFound)?;
        match self.try_disclose(service, &recipient, wanted).await {
            Err(error @ (Error::StoreUnavailable(_) | Error::KeysUnavailable(_))) => {
                tracing::warn!(error = crate::telemetry::cause(&error), "a store is away; nothing is disclosed");
                Ok(Disclosed::Refused(Verdict::unavailable(&wanted.purpose, Some(&recipient))))
            }
            disclosed => disclosed,
        }
    }

    async fn try_disclose(&self, service: &Service, recipient: &RecipientId, wanted: &Wanted) -> Result<Disclosed> {
        let purpose = PurposeId::new(&wanted.purpose);
        let channel = wanted.channel.as_deref().map(Channel::new);
        for _ in 0..TRIES {
            let policy = self.policy();
            let now = self.source.now();
            // A release never rests on what is merely remembered.
            let found = match self.find(&policy, Some(recipient), &wanted.whose, true).await? {
                Ok(found) => found,
                Err(violation) => return Ok(Disclosed::Unreadable(violation)),
            };
            let fields = fields_of(&policy.policy, &purpose, Some(recipient), wanted.fields.as_deref());
            let standing = found.standing(&policy.policy);
            let question = question(&found, &purpose, channel.as_ref(), Some(recipient), &fields);
            let mut decision = decide(&policy.policy, &standing, &question, now);
            let person = found.person.clone().filter(|_| !decision.allowed.is_empty());
            let Some(person) = person else {
                // Somebody unknown has nothing; that is no more than a no.
                if !decision.allowed.is_empty() {
                    decision.allowed.clear();
                    decision.reasons.push(crate::domain::reason::Reason::NoConsent);
                }
                if self.refuse_disclosure(&policy, service, &found, &decision).await? {
                    return Ok(Disclosed::Refused(Verdict::of(&decision)));
                }
                continue;
            };
            let values = self.newest_values(&policy, &person, &standing, &question, &decision.allowed, now).await?;
            let released = self
                .release(&policy, service, recipient, channel.as_ref(), &found, &person, &decision, values, now)
                .await?;
            if let Some(released) = released {
                return Ok(Disclosed::Released(released));
            }
        }
        Err(Error::Contention)
    }

    /// Commits ledger and leaf; `None`: something changed, decide again.
    #[expect(clippy::too_many_arguments, reason = "one row and one leaf, written in one place")]
    async fn release(
        &self,
        policy: &PolicyInForce,
        service: &Service,
        recipient: &RecipientId,
        channel: Option<&Channel>,
        found: &Found,
        person: &Person,
        decision: &Decision,
        values: BTreeMap<FieldPath, (Personal<String>, Timestamp)>,
        now: Timestamp,
    ) -> Result<Option<Released>> {
        let subject = person.subject.id;
        let mut keys = self.keyholder.people(vec![(subject, person.subject.key_version)]).await?;
        let keys = keys.pop().ok_or(Error::MissingKey)?;
        let version = policy.policy.recipients.get(recipient).map_or(1, |recipient| recipient.pseudonym_version);
        let pseudonym = keys.dek.pseudonym(subject, version, recipient);
        let entry = self.source.entry().map_err(Error::Protection)?;
        let row = Disclosure {
            id: DisclosureId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?),
            subject,
            recipient: recipient.clone(),
            purpose: decision.purpose.clone(),
            fields: values.keys().cloned().collect(),
            safeguard: safeguard(&policy.policy, recipient),
            record: None,
            delivery: None,
            at: now.into(),
            entry,
        };
        let mut payload = payload(policy, service, found, channel, decision);
        payload.fields = row.fields.iter().map(|path| path.as_str().to_owned()).collect();
        payload.rows =
            vec![Row { kind: "disclosure", id: *row.id.as_bytes(), content_hash: rows::disclosure_hash(&row) }];
        if !row.safeguard.is_empty() {
            payload.more.push(("safeguard", Value::from(row.safeguard.as_str())));
        }
        let leaf = crate::gateway::LeafBuilder::new(&self.origin, entry, Event::DisclosureReleased, Ended::Done)
            .part(&self.source, Role::Subject, &keys.evidence, &payload)?
            .finish()?;
        let (id, safeguard) = (row.id.to_string(), row.safeguard.clone());
        let known = Pseudonym { recipient: recipient.clone(), value: pseudonym.clone(), subject, version };
        let unit = Unit::change(found.rests_on(), vec![leaf], move |transaction, _| {
            let connection = transaction.connection();
            deliveries::remember_pseudonyms(connection, std::slice::from_ref(&known))?;
            disclosures::insert(connection, &row)?;
            Ok(Step::Commit)
        })
        .under(policy.policy.hash);
        if !matches!(self.database.write(unit).await.map_err(Error::store)?, Outcome::Committed(_)) {
            self.follow_policy().await?;
            return Ok(None);
        }
        let fields = values.into_iter().map(|(path, (value, at))| (path.as_str().to_owned(), value, at)).collect();
        Ok(Some(Released { id, pseudonym, at: now, safeguard, fields, verdict: Verdict::of(decision) }))
    }

    /// Leaves the leaf of a refused pull. False: something changed, decide again.
    async fn refuse_disclosure(
        &self,
        policy: &PolicyInForce,
        service: &Service,
        found: &Found,
        decision: &Decision,
    ) -> Result<bool> {
        let payload = payload(policy, service, found, None, decision);
        let mut leaf = self.leaf(Event::DisclosureRefused, Ended::Refused)?;
        if let Some(person) = &found.person {
            match self.keyholder.people(vec![(person.subject.id, person.subject.key_version)]).await {
                Ok(keys) => {
                    let keys = keys.first().ok_or(Error::MissingKey)?;
                    leaf = leaf.part(&self.source, Role::Subject, &keys.evidence, &payload)?;
                }
                Err(Error::NotFound) => {}
                Err(other) => return Err(other),
            }
        }
        let unit =
            Unit::change(found.rests_on(), vec![leaf.finish()?], |_, _| Ok(Step::Commit)).under(policy.policy.hash);
        let committed = matches!(self.database.write(unit).await.map_err(Error::store)?, Outcome::Committed(_));
        if !committed {
            self.follow_policy().await?;
        }
        Ok(committed)
    }

    /// The newest value of each of these fields that may be used of its own record.
    async fn newest_values(
        &self,
        policy: &PolicyInForce,
        person: &Person,
        standing: &crate::domain::subject::Standing,
        question: &Question<'_>,
        allowed: &[FieldPath],
        now: Timestamp,
    ) -> Result<BTreeMap<FieldPath, (Personal<String>, Timestamp)>> {
        // Data of somebody who is merely claimed to be the same person is not this person's data.
        let members: Vec<SubjectId> = person.may_grant.iter().copied().collect();
        let devices: Vec<SubjectId> =
            person.members.iter().filter(|member| member.device).map(|member| member.id).collect();
        let mut wanted: Vec<FieldPath> = allowed.to_vec();
        let mut values = BTreeMap::new();
        let mut before: Option<(Micros, RecordId)> = None;
        let mut looked_at = 0;
        while !wanted.is_empty() && looked_at < RECORDS_LOOKED_AT {
            let (of, until) = (members.clone(), before);
            let page = self.database.read(move |c| records::newest(c, &of, until, PAGE)).await.map_err(Error::store)?;
            let Some(last) = page.last() else { break };
            before = Some((last.occurred_at, last.id));
            looked_at += page.len();
            for record in &page {
                let own_device = devices.contains(&record.subject).then_some(record.subject);
                let asked = Question {
                    fields: &wanted,
                    device: record.device.or(own_device),
                    collected_at: Some(record.collected_at.timestamp()),
                    ..*question
                };
                let usable = decide(&policy.policy, standing, &asked, now).allowed;
                if usable.is_empty() {
                    continue;
                }
                let opened = self.open_fields(policy, person, record, &usable).await?;
                wanted.retain(|path| !opened.iter().any(|(found, _)| found == path));
                values.extend(opened.into_iter().map(|(path, value)| (path, (value, record.occurred_at.timestamp()))));
                if wanted.is_empty() {
                    break;
                }
            }
        }
        Ok(values)
    }

    /// The fields among these that a record has, in the clear.
    async fn open_fields(
        &self,
        policy: &PolicyInForce,
        person: &Person,
        record: &StoredRecord,
        fields: &[FieldPath],
    ) -> Result<Vec<(FieldPath, Personal<String>)>> {
        let owner = person.members.iter().find(|member| member.id == record.subject).ok_or(Error::NotFound)?;
        let sealed = Sealed::parse(record.sealed.clone()).map_err(Error::DataUnreadable)?;
        let plain: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&record.plain).map_err(|_| Error::DataUnreadable(crate::crypto::Error::NotJson))?;
        let mut opened = Vec::new();
        let mut closed: Vec<(&FieldPath, Term<'_>, &str)> = Vec::new();
        for path in fields {
            if let Some(value) = plain.get(path.as_str()) {
                opened.push((path.clone(), Personal::new(value.get().to_owned())));
            } else if let Some(place) = term_of(&policy.terms, &sealed, path)? {
                closed.push((path, place.0, place.1));
            }
        }
        if closed.is_empty() {
            return Ok(opened);
        }
        let mut keys = self.keyholder.people(vec![(owner.id, owner.key_version)]).await?;
        let keys = keys.pop().ok_or(Error::MissingKey)?;
        let place = RecordPlace {
            installation: self.keyholder.installation,
            owner: Owner::from(record.subject),
            kind: rows::RECORD,
            record: RowId::from(record.id),
        };
        let opener = keys.dek.open(&place, &sealed).map_err(Error::DataUnreadable)?;
        for (path, term, category) in closed {
            opened.push((path.clone(), opener.field(term, category).map_err(Error::DataUnreadable)?));
        }
        Ok(opened)
    }
}

/// A released value, for the answer to its recipient.
#[must_use]
pub fn in_the_clear(value: &Personal<String>) -> String {
    const TO_DISCLOSE: Access =
        Access::because("the recipient is given a field that was decided, entered in the ledger and logged");
    value.reveal(&TO_DISCLOSE).clone()
}

/// Number and category of a field in a sealed record, as it was sealed; `None`: the record lacks it.
fn term_of<'a>(terms: &'a Terms, sealed: &Sealed, path: &'a FieldPath) -> Result<Option<(Term<'a>, &'a str)>> {
    let Some(number) = terms.field(path.as_str()) else { return Ok(None) };
    let Some(entry) = sealed.entry(number) else { return Ok(None) };
    // The category of that day, which may have changed since.
    let category =
        terms.category_text(entry.category).ok_or(Error::DataUnreadable(crate::crypto::Error::UnknownFormat))?;
    Ok(Some((Term { number, text: path.as_str() }, category)))
}

/// The ground of a transfer outside the EEA; empty where there is none.
fn safeguard(policy: &Policy, recipient: &RecipientId) -> String {
    policy
        .recipients
        .get(recipient)
        .filter(|recipient| recipient.countries().any(|country| !EEA.contains(&country)))
        .map(|recipient| recipient.safeguard.as_ref().map_or("adequacy", |safeguard| safeguard.as_str()).to_owned())
        .unwrap_or_default()
}
