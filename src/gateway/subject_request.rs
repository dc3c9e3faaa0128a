//! A person asks for their rights: a case is opened, its requests are carried out, told and closed.
//!
//! In this first form a trusted system of the controller opens cases and says who the person is
//! (`asserted_by_controller`), so a request is scheduled in the commit that opens it. What was asked
//! is sealed under a key of the case's own: asking creates no person, and erasing the person does not
//! destroy the proof that they were answered.
//!
//! Deliberately absent: questions, refusals, officers and mails.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::audit::payload::{Actor, Payload, Value};
use crate::crypto::envelope::{Dek, Field, RecordPlace};
use crate::crypto::mac::{KeyPurpose, Owner, RowId};
use crate::crypto::sealed::Sealed;
use crate::domain::clock::{self, Calendar, Deadlines, Profile};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{CaseId, SubjectId, SubjectRequestId, TokenId};
use crate::domain::identifier::{IdentifierKind, NormaliseContext, Normalised, Subaddress, normalise};
use crate::domain::personal::{Access, Personal};
use crate::domain::subject_request::{
    Assurance, RequestKind, RequestOutcome, RequestState, TaskOutcome, outcome, parse_reference, reference,
};
use crate::storage::idempotency::{self, KeptAnswer};
use crate::storage::subject_requests::{self as stored, Move};
use crate::storage::{LeafRow, Step, Unit, erasures, keys};

use super::consent::Repeatable;
use super::identifiers::{own_category, own_term};
use super::{Error, Gateway, Result, rows};

const TO_FIND: Access = Access::because("an identifier of a request is normalised and looked up");
const TO_SEAL: Access = Access::because("what a person asked is sealed under the key of the case");
const TO_ACT: Access = Access::because("a request is carried out for the identifiers it names");

pub use crate::storage::subject_requests::{StoredCase, StoredRequest, StoredTask};

/// Identifiers in one case at most.
const IDENTIFIERS: usize = 10;
/// Bytes of a person's message at most.
const MESSAGE_BYTES: usize = 16 * 1024;
/// The field that holds what the house seals of its own.
pub(super) const OWN_TEXT: &str = "own.text";

/// What a person asks, as a trusted system brings it.
pub struct Asked {
    /// The rights.
    pub kinds: Vec<RequestKind>,
    /// By what the person can be found.
    pub identifiers: Vec<AskedIdentifier>,
    /// BCP 47 tag of the language to answer in.
    pub language: Option<String>,
    /// The person's words.
    pub message: Option<Personal<String>>,
}

/// An identifier as it stands in a request.
pub struct AskedIdentifier {
    /// Its kind.
    pub kind: IdentifierKind,
    /// Its namespace; empty where none is named.
    pub namespace: String,
    /// The text as it was typed.
    pub text: Personal<String>,
}

/// Who opened a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// A service, by its token.
    Service(TokenId),
    /// The operator, at the command line.
    Operator,
}

/// What a repeatable call came to.
pub enum Opened {
    /// The case, opened now or by the first call.
    Case(Case),
    /// The key was used with another body within a day.
    KeyReused,
}

/// A case with its requests.
pub struct Case {
    /// The case.
    pub case: StoredCase,
    /// Its requests.
    pub requests: Vec<StoredRequest>,
}

/// The identifiers and words of a case, opened.
#[derive(Serialize, Deserialize, Zeroize, zeroize::ZeroizeOnDrop)]
pub(super) struct Contents {
    pub(super) identifiers: Vec<NamedIdentifier>,
    pub(super) message: Option<String>,
}

/// An identifier of a case: as typed, and as it is looked up.
#[derive(Serialize, Deserialize, Zeroize, zeroize::ZeroizeOnDrop)]
pub(super) struct NamedIdentifier {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) value: String,
    pub(super) canonical: String,
}

impl Asked {
    /// The same, for a second try.
    fn again(&self) -> Self {
        let copy = |text: &Personal<String>| Personal::new(text.reveal(&TO_SEAL).clone());
        Self {
            kinds: self.kinds.clone(),
            identifiers: self
                .identifiers
                .iter()
                .map(|identifier| AskedIdentifier {
                    kind: identifier.kind.clone(),
                    namespace: identifier.namespace.clone(),
                    text: copy(&identifier.text),
                })
                .collect(),
            language: self.language.clone(),
            message: self.message.as_ref().map(copy),
        }
    }
}

impl Opener {
    fn channel(self) -> &'static str {
        match self {
            Self::Service(_) => "api",
            Self::Operator => "bulk",
        }
    }

    /// The spelling in rows.
    #[must_use]
    pub fn spelling(self) -> String {
        match self {
            Self::Service(token) => format!("service:{token}"),
            Self::Operator => "operator:local".to_owned(),
        }
    }

    pub(super) fn actor(self) -> Actor {
        match self {
            Self::Service(token) => Actor { kind: "service", id: Value::from(&token.as_bytes()[..]) },
            Self::Operator => Actor { kind: "operator", id: Value::from("local") },
        }
    }
}

impl Gateway {
    /// Opens a case and schedules its requests; nothing is carried out yet.
    ///
    /// # Errors
    /// [`Error::Unacceptable`] when it asks nothing, names nobody, or an identifier is not of its kind.
    pub async fn open_case(&self, asked: Asked, opener: Opener) -> Result<Case> {
        self.open_case_with(asked, opener, None).await
    }

    /// As [`Gateway::open_case`]; a repeated call with the same key gets the case that the first one
    /// opened.
    ///
    /// # Errors
    /// As [`Gateway::open_case`].
    pub async fn open_case_once(&self, asked: Asked, opener: Opener, repeatable: &Repeatable) -> Result<Opened> {
        let kept = self.kept_opening(opener, repeatable);
        for _ in 0..2 {
            let (mark, now) = (kept.mark, self.source.now().into());
            let before = self.database.read(move |c| idempotency::find(c, &mark, now)).await.map_err(Error::store)?;
            if let Some(before) = before {
                if !crate::crypto::mac::equal(&before.body_hash, &kept.body_hash) {
                    return Ok(Opened::KeyReused);
                }
                return Ok(Opened::Case(self.case(&before.answer).await?));
            }
            match self.open_case_with(asked.again(), opener, Some(kept.clone())).await {
                // The same call came twice at once, and the other one was faster.
                Err(Error::Contention) => {}
                opened => return opened.map(Opened::Case),
            }
        }
        Err(Error::Contention)
    }

    fn kept_opening(&self, opener: Opener, repeatable: &Repeatable) -> KeptAnswer {
        let secrets = self.keyholder.secrets();
        let caller = opener.spelling();
        KeptAnswer {
            mark: secrets.tokens.duplicate("idempotency-requests", &caller, &repeatable.key, &[0; 32]),
            body_hash: secrets.tokens.duplicate("idempotency-requests-body", &caller, "", &repeatable.body_hash),
            subject: None,
            status: 0,
            answer: String::new(),
            at: self.source.now().into(),
        }
    }

    async fn open_case_with(&self, asked: Asked, opener: Opener, kept: Option<KeptAnswer>) -> Result<Case> {
        let now = self.source.now();
        let (contents, subject) = self.identify_asker(&asked).await?;
        let id = CaseId::from_uuid(self.source.random_id().map_err(Error::Protection)?);
        let owner = Owner::from(id);
        let key_id = self.source.random().map_err(Error::Protection)?;
        let (key, key_row) = self.keyholder.make_owned(key_id, KeyPurpose::Case, owner, now)?;
        self.keyholder
            .store()
            .write(move |connection| keys::insert_owned_keys(connection, std::slice::from_ref(&key_row)))
            .await
            .map_err(Error::keys)?;
        let text = Zeroizing::new(
            serde_json::to_string(&contents).map_err(|_| Error::Unacceptable("the request cannot be kept"))?,
        );
        let sealed = self.seal_own(&key, owner, rows::CASE, RowId::from(id), &text)?;

        let policy = self.policy();
        let controller = &policy.policy.controller;
        let trigger_day = clock::trigger_day(now, &controller.time_zone);
        let due = clock::deadlines(&Profile::gdpr(), trigger_day, &[], None, &Calendar::of(&controller.country));
        let language = asked
            .language
            .filter(|language| controller.languages.contains(language))
            .or_else(|| controller.languages.first().cloned())
            .unwrap_or_default();
        let case = StoredCase {
            id,
            reference: reference(&self.source.random().map_err(Error::Protection)?),
            channel: opener.channel().to_owned(),
            opened_by: opener.spelling(),
            language,
            received_at: now.into(),
            trigger_day,
            key: key_id,
            sealed: sealed.into_bytes(),
        };
        let mut requests = Vec::with_capacity(asked.kinds.len());
        let mut leaves = Vec::with_capacity(2 * asked.kinds.len());
        for kind in asked.kinds {
            let request = self.scheduled(&case, kind, subject, &due, now)?;
            leaves.push(self.request_leaf(Event::RequestReceived, &case, kind, Some(opener.actor()), Vec::new())?);
            leaves.push(self.request_leaf(Event::RequestAccepted, &case, kind, None, Vec::new())?);
            requests.push(request);
        }
        let opened = Case { case: case.clone(), requests: requests.clone() };
        let kept = kept.map(|kept| KeptAnswer { answer: case.reference.clone(), ..kept });
        self.commit_change(move || {
            let (case, requests, kept) = (case.clone(), requests.clone(), kept.clone());
            let entries: Vec<_> = leaves.iter().step_by(2).map(|leaf| leaf.draft.entry()).collect();
            Unit::change(Vec::new(), leaves.clone(), move |transaction, _| {
                let connection = transaction.connection();
                if let Some(kept) = &kept
                    && !idempotency::insert(connection, kept)?
                {
                    return Ok(Step::Stale);
                }
                if let Some(first) = entries.first() {
                    stored::insert_case(connection, &case, *first)?;
                }
                for (request, entry) in requests.iter().zip(&entries) {
                    stored::insert_request(connection, request, *entry)?;
                }
                Ok(Step::Commit)
            })
        })
        .await?;
        Ok(opened)
    }

    /// Carries out what can be carried out of a case now.
    ///
    /// # Errors
    /// When a store fails; what was begun is resumed by [`Gateway::run_due_requests`].
    pub async fn carry_out_case(&self, case: CaseId) -> Result<()> {
        let requests = self.database.read(move |c| stored::requests_of_case(c, case)).await.map_err(Error::store)?;
        for request in requests {
            self.carry_out(request.id).await?;
        }
        Ok(())
    }

    /// Carries out one request as far as it can go now. Does nothing to one that is answered.
    ///
    /// # Errors
    /// As [`Gateway::carry_out_case`].
    pub async fn carry_out(&self, id: SubjectRequestId) -> Result<()> {
        let (_, request) = self.request(id).await?;
        if matches!(request.state, RequestState::Answered | RequestState::Closed) {
            return self.close_if_settled(id).await;
        }
        match request.kind {
            RequestKind::Access => self.answer_access(&request).await,
            RequestKind::Erasure if self.waits_for_package(&request).await? => Ok(()),
            RequestKind::Erasure => self.erase(id).await,
        }
    }

    /// Carries out every request whose turn has come: what a crash interrupted, and erasures whose
    /// package was handed over. Gives how many were touched.
    ///
    /// # Errors
    /// When the store cannot be read. A request that fails is logged and stays for the next time.
    pub async fn run_due_requests(&self) -> Result<usize> {
        let states = [RequestState::Scheduled, RequestState::Running];
        let due = self.database.read(move |c| stored::in_states(c, &states, 1_000)).await.map_err(Error::store)?;
        let count = due.len();
        for request in due {
            if let Err(error) = self.carry_out(request.id).await {
                tracing::warn!(request = %request.id, error = crate::telemetry::cause(&error), "a request could not be carried out yet");
            }
        }
        Ok(count)
    }

    /// A request and its case.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn request(&self, id: SubjectRequestId) -> Result<(StoredCase, StoredRequest)> {
        self.database
            .read(move |c| {
                let Some(request) = stored::request(c, id)? else { return Ok(None) };
                Ok(stored::case(c, request.case)?.map(|case| (case, request)))
            })
            .await
            .map_err(Error::store)?
            .ok_or(Error::NotFound)
    }

    /// A case by its reference, as a person may type it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn case(&self, reference: &str) -> Result<Case> {
        let reference = parse_reference(reference).ok_or(Error::NotFound)?;
        self.database
            .read(move |c| {
                let Some(case) = stored::case_by_reference(c, &reference)? else { return Ok(None) };
                let requests = stored::requests_of_case(c, case.id)?;
                Ok(Some(Case { case, requests }))
            })
            .await
            .map_err(Error::store)?
            .ok_or(Error::NotFound)
    }

    /// The newest requests with their cases, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn newest_requests(&self, limit: i64) -> Result<Vec<(StoredCase, StoredRequest)>> {
        self.database
            .read(move |c| {
                let mut found = Vec::new();
                for request in stored::newest(c, limit)? {
                    if let Some(case) = stored::case(c, request.case)? {
                        found.push((case, request));
                    }
                }
                Ok(found)
            })
            .await
            .map_err(Error::store)
    }

    /// The tasks of a request.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn tasks(&self, id: SubjectRequestId) -> Result<Vec<StoredTask>> {
        self.database.read(move |c| stored::tasks(c, id)).await.map_err(Error::store)
    }

    /// Closes an answered request once every task is terminal, and then lets go of what was kept for
    /// it: the ledger of disclosures of an erased person.
    pub(super) async fn close_if_settled(&self, id: SubjectRequestId) -> Result<()> {
        let (case, request) = self.request(id).await?;
        if request.state != RequestState::Answered {
            return Ok(());
        }
        let ends: Vec<TaskOutcome> = self.tasks(id).await?.iter().map(|task| task.outcome).collect();
        let Some(ended) = outcome(&ends) else { return Ok(()) };
        let leaf = self.request_leaf(
            Event::RequestClosed,
            &case,
            request.kind,
            None,
            vec![("outcome", Value::from(ended.as_str()))],
        )?;
        let at = self.source.now().into();
        let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
            let connection = transaction.connection();
            let to = Move { seen: request.version, state: RequestState::Closed, outcome: Some(ended), at };
            let ends: Vec<TaskOutcome> = stored::tasks(connection, id)?.iter().map(|task| task.outcome).collect();
            if outcome(&ends) != Some(ended) || !stored::move_request(connection, id, &to)? {
                return Ok(Step::Stale);
            }
            if let Some(erasure) = erasures::find(connection, id)? {
                erasures::delete_disclosures(connection, &erasure.subjects)?;
            }
            Ok(Step::Commit)
        });
        // Stale: somebody else closed it, or a task was reopened.
        self.database.write(unit).await.map_err(Error::store)?;
        Ok(())
    }

    /// Closes a request because an older one of the same person asks the same.
    pub(super) async fn close_as_duplicate(&self, case: &StoredCase, request: &StoredRequest) -> Result<()> {
        let more = vec![("outcome", Value::from(RequestOutcome::Duplicate.as_str()))];
        let leaf = self.request_leaf(Event::RequestCancelled, case, request.kind, None, more)?;
        let (id, seen, at) = (request.id, request.version, self.source.now().into());
        let unit = Unit::change(Vec::new(), vec![leaf], move |transaction, _| {
            let to = Move { seen, state: RequestState::Closed, outcome: Some(RequestOutcome::Duplicate), at };
            Ok(if stored::move_request(transaction.connection(), id, &to)? { Step::Commit } else { Step::Stale })
        });
        self.database.write(unit).await.map_err(Error::store)?;
        Ok(())
    }

    /// The subjects that the identifiers of a case name, each once.
    pub(super) async fn subjects_named(&self, contents: &Contents) -> Result<Vec<SubjectId>> {
        let mut found = Vec::new();
        for identifier in &contents.identifiers {
            let Some(kind) = IdentifierKind::parse(&identifier.kind) else { continue };
            if let Some(subject) = self.find_subject(&kind, &identifier.namespace, &identifier.canonical).await?
                && !found.contains(&subject)
            {
                found.push(subject);
            }
        }
        Ok(found)
    }

    /// Opens what a case holds.
    pub(super) async fn contents(&self, case: &StoredCase) -> Result<Contents> {
        let owner = Owner::from(case.id);
        let key = self.keyholder.owned(case.key, KeyPurpose::Case, owner).await?;
        let text = self.open_own(&key, owner, rows::CASE, RowId::from(case.id), case.sealed.clone())?;
        serde_json::from_str(text.reveal(&TO_ACT)).map_err(|_| Error::DataUnreadable(crate::crypto::Error::NotJson))
    }

    /// A leaf about a request. Its part belongs to the installation and names no subject, so that it
    /// outlives the person's keys: it proves that they were answered.
    pub(super) fn request_leaf(
        &self,
        event: Event,
        case: &StoredCase,
        kind: RequestKind,
        actor: Option<Actor>,
        more: Vec<(&'static str, Value)>,
    ) -> Result<LeafRow> {
        let mut payload = Payload {
            actor: Some(actor.unwrap_or(Actor { kind: "scheduler", id: Value::from("gateway") })),
            request: Some(case.reference.clone()),
            more,
            ..Payload::default()
        };
        payload.more.push(("kind", Value::from(kind.as_str())));
        self.installation_leaf(event, Outcome::Done, &payload, Vec::new())
    }

    /// Seals a text of the house's own under a case, package, document or task key.
    pub(super) fn seal_own(
        &self,
        key: &Dek,
        owner: Owner,
        kind: crate::crypto::mac::RecordKind,
        record: RowId,
        json: &str,
    ) -> Result<Sealed> {
        let policy = self.policy();
        let field = own_term(&policy.terms, OWN_TEXT)?;
        let category = own_category(&policy.terms)?;
        let place = RecordPlace { installation: self.keyholder.installation, owner, kind, record };
        key.seal(&place, &[Field { field, category, json }], &mut |bytes| self.source.fill(bytes))
            .map_err(Error::Protection)
    }

    /// Opens what [`Gateway::seal_own`] sealed.
    pub(super) fn open_own(
        &self,
        key: &Dek,
        owner: Owner,
        kind: crate::crypto::mac::RecordKind,
        record: RowId,
        sealed: Vec<u8>,
    ) -> Result<Personal<String>> {
        let policy = self.policy();
        let place = RecordPlace { installation: self.keyholder.installation, owner, kind, record };
        let sealed = Sealed::parse(sealed).map_err(Error::DataUnreadable)?;
        let opener = key.open(&place, &sealed).map_err(Error::DataUnreadable)?;
        opener.field(own_term(&policy.terms, OWN_TEXT)?, super::policy::OWN_CATEGORY).map_err(Error::DataUnreadable)
    }

    /// Normalises what a request names and finds the person, if there is one here.
    async fn identify_asker(&self, asked: &Asked) -> Result<(Contents, Option<SubjectId>)> {
        if asked.kinds.is_empty()
            || asked.kinds.iter().enumerate().any(|(at, kind)| asked.kinds.iter().take(at).any(|other| other == kind))
        {
            return Err(Error::Unacceptable("name each right once, and at least one"));
        }
        if asked.identifiers.is_empty() || asked.identifiers.len() > IDENTIFIERS {
            return Err(Error::Unacceptable("name 1 to 10 identifiers"));
        }
        let message = asked.message.as_ref().map(|message| message.reveal(&TO_SEAL).clone());
        if message.as_ref().is_some_and(|message| message.len() > MESSAGE_BYTES) {
            return Err(Error::Unacceptable("the message is longer than 16 KiB"));
        }
        let policy = self.policy();
        let mut contents = Contents { identifiers: Vec::with_capacity(asked.identifiers.len()), message };
        for identifier in &asked.identifiers {
            let context = NormaliseContext {
                namespace: &identifier.namespace,
                default_region: Some(&policy.policy.controller.country),
                subaddress: if policy.policy.controller.strip_email_subaddress {
                    Subaddress::Strip
                } else {
                    Subaddress::Keep
                },
                blocked: &policy.blocked,
            };
            let canonical = match normalise(&identifier.kind, identifier.text.reveal(&TO_FIND), &context) {
                Normalised::Canonical(canonical) => canonical,
                Normalised::Invalid(_) | Normalised::Blocked => {
                    return Err(Error::Unacceptable("an identifier is not of its kind, or names nobody"));
                }
            };
            contents.identifiers.push(NamedIdentifier {
                kind: identifier.kind.spelling().into_owned(),
                namespace: identifier.namespace.clone(),
                value: identifier.text.reveal(&TO_SEAL).clone(),
                canonical: canonical.reveal(&TO_SEAL).clone(),
            });
        }
        let subject = self.subjects_named(&contents).await?.first().copied();
        Ok((contents, subject))
    }

    async fn find_subject(&self, kind: &IdentifierKind, namespace: &str, canonical: &str) -> Result<Option<SubjectId>> {
        let value = self.keyholder.secrets().index.value(kind, namespace, canonical);
        let canonical = Zeroizing::new(canonical.to_owned());
        self.find_identifier(kind.spelling().into_owned(), namespace.to_owned(), value, move || canonical.to_string())
            .await
    }

    fn scheduled(
        &self,
        case: &StoredCase,
        kind: RequestKind,
        subject: Option<SubjectId>,
        due: &Deadlines,
        now: Timestamp,
    ) -> Result<StoredRequest> {
        Ok(StoredRequest {
            id: SubjectRequestId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?),
            case: case.id,
            kind,
            state: RequestState::Scheduled,
            outcome: None,
            subject,
            assurance: Assurance::AssertedByController,
            version: 1,
            target_date: due.target_date,
            nominal_due: due.nominal_due,
            statutory_due: due.statutory_due,
            created_at: now.into(),
            answered_at: None,
            closed_at: None,
        })
    }

    /// "Send me my data, then delete it": the erasure waits until the package was handed over, or is
    /// over.
    async fn waits_for_package(&self, request: &StoredRequest) -> Result<bool> {
        let (case, now) = (request.case, self.source.now().into());
        self.database
            .read(move |c| {
                for other in stored::requests_of_case(c, case)? {
                    if other.kind != RequestKind::Access {
                        continue;
                    }
                    if matches!(other.state, RequestState::Received | RequestState::Scheduled | RequestState::Running) {
                        return Ok(true);
                    }
                    if let Some(package) = stored::package(c, other.id)?
                        && package.fetched_at.is_none()
                        && package.expires_at > now
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
            .await
            .map_err(Error::store)
    }
}

/// The day on which something ends that lasts `days` from `at`, in the controller's zone.
pub(super) fn day_after(at: Timestamp, days: u32, zone: &jiff::tz::TimeZone) -> Date {
    let span = jiff::Span::new().days(i64::from(days));
    clock::trigger_day(at, zone).saturating_add(span)
}
