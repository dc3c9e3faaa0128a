//! `/v1/subject-requests`: people's requests, brought by a trusted system of the controller.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::id::{SubjectRequestId, TaskId};
use crate::domain::personal::Personal;
use crate::domain::subject_request::{RequestKind, RequestState};
use crate::gateway::access;
use crate::gateway::consent::Repeatable;
use crate::gateway::subject_request::{
    Asked, AskedIdentifier, Case, Opened, Opener, StoredCase, StoredRequest, StoredTask,
};
use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

use super::consents::idempotency_key;
use super::said::{self, Identifier};

/// How long the answer waits for the work; what takes longer goes on without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a person asks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectRequestRequest {
    /// The rights: `access`, `erasure`. An erasure waits until the package was fetched.
    kinds: Vec<String>,
    /// By what the person can be found; the caller vouches for them.
    identifiers: Vec<Identifier>,
    /// BCP 47 tag of the language to answer in.
    language: Option<String>,
    /// The person's words; sealed.
    message: Option<String>,
}

/// A case as it is opened.
#[derive(Serialize, ToSchema)]
pub struct CaseAnswer {
    /// What people call it by.
    #[schema(example = "AM-7K3Q-9F2M-XC")]
    reference: String,
    /// One entry per right.
    requests: Vec<RequestAnswer>,
    /// The local day on which the clock started.
    received_on: String,
    /// The last day of the period (Art. 12(3)).
    due_on: String,
    /// Whom a person can turn to.
    contact: Contact,
}

/// Whom a person can turn to.
#[derive(Serialize, ToSchema)]
pub struct Contact {
    /// The controller.
    controller: String,
    /// Its data protection officer.
    data_protection_officer: String,
}

/// A request as it stands.
#[derive(Serialize, ToSchema)]
pub struct RequestAnswer {
    /// Its id.
    id: String,
    /// `access` or `erasure`.
    kind: String,
    /// `received`, `scheduled`, `running`, `answered` or `closed`.
    state: String,
    /// How it ended: `fulfilled`, `partly_fulfilled`, `no_data`, `duplicate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
}

/// A request with its clock and its tasks.
#[derive(Serialize, ToSchema)]
pub struct RequestView {
    /// The case.
    reference: String,
    /// The request.
    #[serde(flatten)]
    request: RequestAnswer,
    /// The local day on which the clock started.
    received_on: String,
    /// Our own aim.
    target_date: String,
    /// The last day before it is moved to a working day.
    nominal_due: String,
    /// The last day of the period.
    due_on: String,
    /// When the person was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    answered_at: Option<Timestamp>,
    /// When every task had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    /// What was promised to whom, and how far it is.
    tasks: Vec<TaskView>,
}

/// The tasks of a request.
#[derive(Serialize, ToSchema)]
pub struct Tasks {
    /// One entry per target and verb.
    tasks: Vec<TaskView>,
}

/// A task.
#[derive(Serialize, ToSchema)]
pub struct TaskView {
    /// Its id.
    id: String,
    /// `gateway/…` or `recipient/…`.
    target: String,
    /// What it asks: `access`, `suppress`, `erase`.
    verb: String,
    /// What became of it.
    outcome: String,
    /// Whether nothing more will happen.
    terminal: bool,
    /// What the outcome rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    /// Tries made.
    attempts: u32,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    settled_at: Option<Timestamp>,
}

/// What became of a task by a recipient's result.
#[derive(Serialize, ToSchema)]
pub struct Acknowledged {
    /// The task's outcome now.
    outcome: String,
}

/// `POST /v1/subject-requests`: opens a case and carries it out.
#[utoipa::path(post, path = "/v1/subject-requests", tag = "subject requests", request_body = SubjectRequestRequest,
    responses((status = 202, description = "Opened; carried out as far as it can go now", body = CaseAnswer)))]
pub(in crate::http) async fn open(call: Call) -> Result<Answer, Problem> {
    let opener = opener(&call)?;
    let key = idempotency_key(&call)?;
    let asked = asked(call.json()?)?;
    let house = &call.app.house;
    let case = match key {
        None => house.open_case(asked, opener).await?,
        Some(key) => match house.open_case_once(asked, opener, &Repeatable { key, body_hash: call.body_hash() }).await?
        {
            Opened::Case(case) => case,
            Opened::KeyReused => return Err(Problem::new(Code::IdempotencyMismatch)),
        },
    };
    // The work goes on if the caller goes away; what fails here is taken up again by the desk.
    let (worker, id) = (house.clone(), case.case.id);
    let work = tokio::spawn(async move {
        if let Err(error) = worker.carry_out_case(id).await {
            tracing::warn!(error = crate::telemetry::cause(&error), "a case could not be carried out yet");
        }
    });
    if tokio::time::timeout(PATIENCE, work).await.is_err() {
        tracing::debug!("a case takes longer than its caller waits");
    }
    let case = house.case(&case.case.reference).await?;
    let controller = &house.policy().policy.controller;
    Answer::json_with(202, &case_answer(&case, controller))
}

/// `GET /v1/subject-requests/{id}`.
#[utoipa::path(get, path = "/v1/subject-requests/{id}", tag = "subject requests", params(("id" = String, Path)),
    responses((status = 200, description = "How it stands", body = RequestView), (status = 404, description = "Not known, or another service's")))]
pub(in crate::http) async fn show(call: Call) -> Result<Answer, Problem> {
    let (case, request) = own(&call).await?;
    let tasks = call.app.house.tasks(request.id).await?;
    Answer::json(&RequestView {
        reference: case.reference,
        request: request_answer(&request),
        received_on: case.trigger_day.to_string(),
        target_date: request.target_date.to_string(),
        nominal_due: request.nominal_due.to_string(),
        due_on: request.statutory_due.to_string(),
        answered_at: request.answered_at.map(|at| at.timestamp()),
        closed_at: request.closed_at.map(|at| at.timestamp()),
        tasks: tasks.iter().map(task_view).collect(),
    })
}

/// `GET /v1/subject-requests/{id}/tasks`.
#[utoipa::path(get, path = "/v1/subject-requests/{id}/tasks", tag = "subject requests", params(("id" = String, Path)),
    responses((status = 200, description = "What was promised to whom", body = Tasks)))]
pub(in crate::http) async fn tasks(call: Call) -> Result<Answer, Problem> {
    let (_, request) = own(&call).await?;
    let tasks = call.app.house.tasks(request.id).await?;
    Answer::json(&Tasks { tasks: tasks.iter().map(task_view).collect() })
}

/// `GET /v1/subject-requests/{id}/package`: `package.json`, 30 days long.
#[utoipa::path(get, path = "/v1/subject-requests/{id}/package", tag = "subject requests", params(("id" = String, Path)),
    responses((status = 200, description = "Everything held, as `/schemas/access-package-1.schema.json` says"), (status = 410, description = "Its time is over")))]
pub(in crate::http) async fn package(call: Call) -> Result<Answer, Problem> {
    let (_, request) = own(&call).await?;
    if request.kind != RequestKind::Access {
        return Err(Problem::new(Code::RequestNotFound));
    }
    match call.app.house.fetch_package(request.id, opener(&call)?).await {
        Ok(text) => Ok(Answer::bytes("application/json", text.to_vec())),
        Err(crate::gateway::Error::NotFound) => Err(Problem::new(Code::PackageExpired)),
        Err(other) => Err(other.into()),
    }
}

/// `GET /v1/subject-requests/{id}/receipt`: the receipt of an erasure, for an hour after it was given
/// first; afterwards nobody here has it. With `?of=arrival` the receipt that the request came in, of any
/// right and at any time.
#[utoipa::path(get, path = "/v1/subject-requests/{id}/receipt", tag = "subject requests",
    params(
        ("id" = String, Path),
        ("of" = Option<String>, Query, description = "`arrival`: that the request came in, and when; the erasure if absent"),
    ),
    responses((status = 200, description = "A file of the format `amanat-receipt/1`"), (status = 409, description = "No checkpoint covers it yet")))]
pub(in crate::http) async fn receipt(call: Call) -> Result<Answer, Problem> {
    let (_, request) = own(&call).await?;
    let text = match call.query("of").as_deref() {
        None => call.app.house.erasure_receipt(request.id).await?,
        Some("arrival") => call.app.house.arrival_receipt(request.id).await?,
        Some(_) => {
            return Err(Problem::new(Code::MalformedRequest)
                .detail("a receipt is of the erasure, or asked for with ?of=arrival"));
        }
    };
    Ok(Answer::bytes("application/json", text.into_bytes()))
}

/// `POST /v1/tasks/{task}/acknowledgements`: a recipient's result for a task of its own.
#[utoipa::path(post, path = "/v1/tasks/{task}/acknowledgements", tag = "subject requests", params(("task" = String, Path)),
    responses((status = 200, description = "Taken", body = Acknowledged), (status = 403, description = "The nonce is not that of the newest try")))]
pub(in crate::http) async fn acknowledge(call: Call) -> Result<Answer, Problem> {
    let recipient = call.service()?.recipient.clone().ok_or(Problem::new(Code::ForbiddenScope))?;
    let task = call.path_id("task", TaskId::parse)?;
    match call.app.house.acknowledge(&recipient, task, &call.body).await {
        Ok(outcome) => Answer::json(&Acknowledged { outcome: outcome.as_str().to_owned() }),
        Err(crate::gateway::Error::Unacceptable(_)) => Err(Problem::new(Code::ConfirmationInvalid)),
        Err(other) => Err(other.into()),
    }
}

/// `GET /schemas/{name}`: the schemas that our documents name.
pub(in crate::http) async fn schema(call: Call) -> Result<Answer, Problem> {
    if call.path("name") != access::SCHEMA_NAME {
        return Err(Problem::new(Code::NotFound));
    }
    Ok(Answer::bytes("application/schema+json", access::SCHEMA.as_bytes().to_vec()))
}

/// A request of the calling service. Another service's is not known to it.
async fn own(call: &Call) -> Result<(StoredCase, StoredRequest), Problem> {
    let unknown = || Problem::new(Code::RequestNotFound);
    let id = SubjectRequestId::parse(call.path("id")).ok_or_else(unknown)?;
    let found = match call.app.house.request(id).await {
        Ok(found) => found,
        Err(crate::gateway::Error::NotFound) => return Err(unknown()),
        Err(other) => return Err(other.into()),
    };
    if found.0.opened_by == opener(call)?.spelling() { Ok(found) } else { Err(unknown()) }
}

fn opener(call: &Call) -> Result<Opener, Problem> {
    Ok(Opener::Service(call.service()?.token))
}

fn asked(body: SubjectRequestRequest) -> Result<Asked, Problem> {
    let kinds = body
        .kinds
        .iter()
        .map(|kind| RequestKind::parse(kind))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Problem::new(Code::InvalidContent).detail("kinds are `access` and `erasure`"))?;
    let identifiers = said::identifiers(body.identifiers)?
        .into_iter()
        .map(|raw| AskedIdentifier { kind: raw.kind, namespace: raw.namespace, text: raw.text })
        .collect();
    Ok(Asked { kinds, identifiers, language: body.language, message: body.message.map(Personal::new) })
}

fn case_answer(case: &Case, controller: &crate::domain::policy::Controller) -> CaseAnswer {
    CaseAnswer {
        reference: case.case.reference.clone(),
        requests: case.requests.iter().map(request_answer).collect(),
        received_on: case.case.trigger_day.to_string(),
        due_on: case.requests.first().map(|request| request.statutory_due.to_string()).unwrap_or_default(),
        contact: Contact {
            controller: controller.name.clone(),
            data_protection_officer: controller.dpo_contact.clone(),
        },
    }
}

fn request_answer(request: &StoredRequest) -> RequestAnswer {
    RequestAnswer {
        id: request.id.to_string(),
        kind: request.kind.as_str().to_owned(),
        state: request.state.as_str().to_owned(),
        outcome: request
            .outcome
            .filter(|_| request.state == RequestState::Closed)
            .map(|outcome| outcome.as_str().to_owned()),
    }
}

fn task_view(task: &StoredTask) -> TaskView {
    TaskView {
        id: task.id.to_string(),
        target: task.target.spelling(),
        verb: task.verb.clone(),
        outcome: task.outcome.as_str().to_owned(),
        terminal: task.outcome.is_terminal(),
        proof: task.proof.clone(),
        attempts: task.attempts,
        next_at: task.next_at.map(|at| at.timestamp()),
        settled_at: task.settled_at.map(|at| at.timestamp()),
    }
}
