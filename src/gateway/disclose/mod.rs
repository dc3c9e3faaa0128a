//! May these fields of this person be used, and what are they: the questions of services
//! (`POST /v1/decisions`) and the pulls of recipients (`POST /v1/disclosures`).
//!
//! Both rest on the versions of what they saw, so an answer that a withdrawal overtook is never
//! given: its unit is stale, and it is decided again. Deliberately absent: a cached yes.

mod decisions;
mod release;

use std::sync::Arc;

use crate::audit::payload::{Actor, Allowed, Decided as DecidedLine, Payload, Value};
use crate::domain::collected::RawIdentifier;
use crate::domain::decision::{Decision, Question};
use crate::domain::id::{Channel, FieldPath, PurposeId, RecipientId, SubjectId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::subject::{MemberLine, Standing, SubjectStatus};
use crate::storage::{Expected, deliveries};

use super::consent::{Code, Violation};
use super::meeting::Handle;
use super::person::Person;
use super::policy::PolicyInForce;
use super::tokens::Service;
use super::{Error, Gateway, Result};

pub use decisions::{Answered, Asked};
pub use release::{Disclosed, Released, Wanted, in_the_clear};

/// How often an answer is prepared again when others change the same person meanwhile.
const TRIES: usize = 8;

/// Whom a question is about.
pub enum Whose {
    /// Somebody with these identifiers.
    Identifiers(Vec<RawIdentifier>),
    /// Somebody whom the recipient knows by this pseudonym.
    Pseudonym(String),
}

/// A decision as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// For what.
    pub purpose: String,
    /// By whom; `None`: by the controller itself.
    pub recipient: Option<String>,
    /// The fields that may be used; empty exactly when the answer is no.
    pub allowed: Vec<String>,
    /// Fields with reasons of their own against them.
    pub denied: Vec<(String, Vec<&'static str>)>,
    /// Every reason, strongest first, if the answer is no.
    pub reasons: Vec<&'static str>,
}

impl Verdict {
    /// Whether anything may be used.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        !self.allowed.is_empty()
    }

    fn of(decision: &Decision) -> Self {
        let mut reasons: Vec<Reason> = decision.reasons.clone();
        if decision.allowed.is_empty() && reasons.is_empty() {
            reasons = decision.denied.iter().flat_map(|(_, reasons)| reasons.iter().copied()).collect();
            reasons.sort_unstable();
            reasons.dedup();
        }
        Self {
            purpose: decision.purpose.as_str().to_owned(),
            recipient: decision.recipient.as_ref().map(|id| id.as_str().to_owned()),
            allowed: decision.allowed.iter().map(|path| path.as_str().to_owned()).collect(),
            denied: decision
                .denied
                .iter()
                .map(|(path, reasons)| {
                    (path.as_str().to_owned(), reasons.iter().map(|reason| reason.as_str()).collect())
                })
                .collect(),
            reasons: reasons.into_iter().map(Reason::as_str).collect(),
        }
    }

    fn unavailable(purpose: &str, recipient: Option<&RecipientId>) -> Self {
        Self {
            purpose: purpose.to_owned(),
            recipient: recipient.map(|id| id.as_str().to_owned()),
            allowed: Vec::new(),
            denied: Vec::new(),
            reasons: vec![Reason::StoreUnavailable.as_str()],
        }
    }
}

/// Whoever was found, with everything that narrows.
struct Found {
    person: Option<Arc<Person>>,
    /// Others whom further identifiers name: what they refused counts, what they granted does not.
    others: Vec<Arc<Person>>,
    /// The browser among the identifiers.
    device: Option<SubjectId>,
    suppressed: bool,
    erased: bool,
}

impl Found {
    fn subject(&self) -> SubjectId {
        self.person.as_ref().map_or(SubjectId::from_bytes([0; 16]), |person| person.subject.id)
    }

    /// Somebody unknown stands as somebody would who never chose anything, so that the answer does
    /// not tell whether they are known.
    fn standing(&self, policy: &Policy) -> Standing {
        let mut standing = match &self.person {
            Some(person) => person.standing(policy),
            None => Standing {
                status: if self.erased { SubjectStatus::Erased } else { SubjectStatus::Active },
                restrictions: Vec::new(),
                suppressed: false,
                lines: Vec::new(),
            },
        };
        standing.suppressed |= self.suppressed;
        for other in &self.others {
            let theirs = other.standing(policy);
            standing.suppressed |= theirs.suppressed;
            standing.restrictions.extend(theirs.restrictions);
            if theirs.status != SubjectStatus::Active {
                standing.status = theirs.status;
            }
            standing.lines.extend(theirs.lines.into_iter().map(|line| MemberLine { may_grant: false, ..line }));
        }
        standing
    }

    fn rests_on(&self) -> Vec<Expected> {
        self.person.iter().chain(&self.others).flat_map(|person| person.rests_on()).collect()
    }
}

impl Gateway {
    /// Finds whom a question is about. `Err` within: an identifier is none.
    async fn find(
        &self,
        policy: &PolicyInForce,
        recipient: Option<&RecipientId>,
        whose: &Whose,
        fresh: bool,
    ) -> Result<std::result::Result<Found, Violation>> {
        let mut found = Found { person: None, others: Vec::new(), device: None, suppressed: false, erased: false };
        let raws = match whose {
            Whose::Identifiers(raws) => raws,
            Whose::Pseudonym(value) => {
                let Some(recipient) = recipient.cloned() else { return Ok(Ok(found)) };
                let value = value.clone();
                let subject = self
                    .database
                    .read(move |c| deliveries::subject_of_pseudonym(c, &recipient, &value))
                    .await
                    .map_err(Error::store)?;
                if let Some(subject) = subject {
                    found.person = self.person_now(subject).await?;
                }
                return Ok(Ok(found));
            }
        };
        let region = policy.policy.controller.country.as_str();
        let mut handles: Vec<Handle> = Vec::with_capacity(raws.len());
        for (raw, at) in raws.iter().zip(0_usize..) {
            match self.handle_of(policy, Some(region), raw) {
                Ok(handle) => handles.push(handle),
                Err(super::collect::Flaw::IdentifierBlocked) => {
                    return Ok(Err(Violation {
                        code: Code::IdentifierBlocked,
                        pointer: format!("/identifiers/{at}/value"),
                    }));
                }
                Err(_) => {
                    return Ok(Err(Violation {
                        code: Code::IdentifierInvalid,
                        pointer: format!("/identifiers/{at}/value"),
                    }));
                }
            }
        }
        if handles.is_empty() {
            return Ok(Err(Violation { code: Code::IdentifierInvalid, pointer: "/identifiers".to_owned() }));
        }
        handles.sort_by_key(Handle::priority);
        let mut unknown = Vec::new();
        for handle in &handles {
            let person = match self.subject_of(handle, fresh).await? {
                Some(subject) if fresh => self.person_now(subject).await?,
                Some(subject) => self.person(subject).await?,
                None => None,
            };
            let Some(person) = person else {
                unknown.push(handle);
                continue;
            };
            if handle.kind == IdentifierKind::AnonymousId {
                found.device = found.device.or(Some(person.subject.id));
            }
            let is_counted = found
                .person
                .iter()
                .chain(&found.others)
                .any(|known| known.members.iter().any(|member| member.id == person.subject.id));
            match &found.person {
                None => found.person = Some(person),
                Some(_) if is_counted => {}
                Some(_) => found.others.push(person),
            }
        }
        if !unknown.is_empty() {
            let (erased_at, suppressed) = self.marks_of(&unknown).await?;
            found.suppressed = suppressed;
            found.erased = erased_at.is_some() && found.person.is_none();
        }
        Ok(Ok(found))
    }
}

/// The fields that a question without fields means: all that the recipient may have, or all that the
/// purpose may use.
fn fields_of(
    policy: &Policy,
    purpose: &PurposeId,
    recipient: Option<&RecipientId>,
    asked: Option<&[String]>,
) -> Vec<FieldPath> {
    match (asked, recipient) {
        (Some(asked), _) => asked.iter().map(|path| FieldPath::new(path)).collect(),
        (None, Some(recipient)) => policy
            .recipients
            .get(recipient)
            .and_then(|recipient| recipient.purposes.get(purpose))
            .cloned()
            .unwrap_or_default(),
        (None, None) => policy
            .fields
            .values()
            .filter(|field| field.purposes.contains(purpose))
            .map(|field| field.path.clone())
            .collect(),
    }
}

fn question<'a>(
    found: &Found,
    purpose: &'a PurposeId,
    channel: Option<&'a Channel>,
    recipient: Option<&'a RecipientId>,
    fields: &'a [FieldPath],
) -> Question<'a> {
    Question {
        subject: found.subject(),
        purpose,
        channel,
        recipient,
        fields,
        device: found.device,
        signals: &[],
        collected_at: None,
    }
}

/// What the leaf of a decision says. Text that the policy does not know is not repeated.
fn payload(
    policy: &PolicyInForce,
    service: &Service,
    found: &Found,
    channel: Option<&Channel>,
    decision: &Decision,
) -> Payload {
    let known_purpose = policy.policy.purposes.contains_key(&decision.purpose);
    let purpose = if known_purpose { decision.purpose.as_str() } else { "" };
    let recipient = decision.recipient.as_ref().filter(|id| policy.policy.recipients.contains_key(*id));
    let strongest = decision.strongest();
    let channel = channel.filter(|channel| {
        policy.policy.purposes.get(&decision.purpose).is_some_and(|purpose| purpose.channels.contains(*channel))
    });
    Payload {
        subject: found.person.as_ref().map(|person| *person.subject.id.as_bytes()),
        actor: Some(Actor { kind: "service", id: Value::from(service.token.as_bytes().as_slice()) }),
        purposes: if known_purpose { vec![purpose.to_owned()] } else { Vec::new() },
        fields: decision.allowed.iter().map(|path| path.as_str().to_owned()).collect(),
        decision: vec![DecidedLine {
            purpose: purpose.to_owned(),
            recipient: recipient.map_or_else(String::new, |id| id.as_str().to_owned()),
            allowed: if decision.allowed.is_empty() { Allowed::No } else { Allowed::Yes },
            reason: strongest.map_or("", Reason::as_str).to_owned(),
        }],
        recipient: recipient.map(|id| id.as_str().to_owned()),
        policy: Some(policy.policy.hash.0),
        more: channel.map(|channel| ("channel", Value::from(channel.as_str()))).into_iter().collect(),
        ..Payload::default()
    }
}
