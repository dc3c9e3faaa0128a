//! A person asks for their rights: a case is opened, its requests are carried out, told and closed.
//!
//! In this first form a trusted system of the controller opens cases and says who the person is
//! (`asserted_by_controller`), so a request is scheduled in the commit that opens it. What was asked
//! is sealed under a key of the case's own: asking creates no person, and erasing the person does not
//! destroy the proof that they were answered.
//!
//! Deliberately absent: questions, refusals, officers and mails.

mod contents;
mod opening;
mod receipt;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::audit::payload::{Actor, Payload, Value};
use crate::domain::clock;
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{CaseId, SubjectRequestId, TokenId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;
use crate::domain::subject_request::{
    RequestKind, RequestOutcome, RequestState, TaskOutcome, outcome, parse_reference,
};
use crate::storage::subject_requests::{self as stored, Move};
use crate::storage::{LeafRow, Step, Unit, erasures};

use super::{Error, Gateway, Result};

pub(super) use contents::{Contents, NamedIdentifier, OWN_TEXT};

pub use crate::storage::subject_requests::{StoredCase, StoredRequest, StoredTask};

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
