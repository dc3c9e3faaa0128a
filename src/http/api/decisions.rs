//! `POST /v1/decisions`: may these fields of this person be used for this purpose now, and why not.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::gateway::disclose::{Answered, Asked, Verdict, Whose};
use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

use super::said::{self, Identifier};

/// The most questions in one body.
const QUESTIONS: usize = 100;

/// One question, or several.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionsRequest {
    /// The questions.
    questions: Vec<DecisionQuestion>,
}

/// One question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionQuestion {
    /// About whom.
    #[serde(default)]
    identifiers: Vec<Identifier>,
    /// About whom, as the recipient knows them; instead of identifiers.
    pseudonym: Option<String>,
    /// For what.
    #[schema(example = "newsletter")]
    purpose: String,
    /// By which channel.
    channel: Option<String>,
    /// By whom; the token's own recipient if it has one, else the controller itself.
    recipient: Option<String>,
    /// Which fields; all that come into question if none are named.
    fields: Option<Vec<String>>,
}

/// The answers, in the order of the questions.
#[derive(Serialize, ToSchema)]
pub struct DecisionsAnswer {
    /// One per question.
    decisions: Vec<DecisionAnswer>,
}

/// One answer.
#[derive(Serialize, ToSchema)]
pub struct DecisionAnswer {
    /// `allow` or `deny`.
    decision: &'static str,
    /// For what.
    purpose: String,
    /// By whom.
    recipient: Option<String>,
    /// The fields that may be used.
    allowed: Vec<String>,
    /// Fields with reasons of their own against them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denied: Vec<DeniedField>,
    /// Every reason, strongest first, if the answer is no.
    reasons: Vec<&'static str>,
}

/// A field that may not be used.
#[derive(Serialize, ToSchema)]
pub struct DeniedField {
    /// The field.
    field: String,
    /// Why, strongest first.
    reasons: Vec<&'static str>,
}

/// `POST /v1/decisions`.
#[utoipa::path(post, path = "/v1/decisions", tag = "decisions", request_body = DecisionsRequest,
    responses((status = 200, description = "The answers, whatever they are", body = DecisionsAnswer)))]
pub(in crate::http) async fn decide(call: Call) -> Result<Answer, Problem> {
    let body: DecisionsRequest = call.json()?;
    if body.questions.is_empty() || body.questions.len() > QUESTIONS {
        return Err(Problem::new(Code::InvalidContent).detail("questions holds 1 to 100 questions"));
    }
    let mut questions = Vec::with_capacity(body.questions.len());
    for question in body.questions {
        questions.push(Asked {
            whose: whose(question.identifiers, question.pseudonym)?,
            purpose: question.purpose,
            channel: question.channel,
            recipient: question.recipient,
            fields: question.fields,
        });
    }
    match call.app.house.decisions(call.service()?, &questions).await? {
        Answered::Verdicts(verdicts) => {
            Answer::json(&DecisionsAnswer { decisions: verdicts.into_iter().map(DecisionAnswer::from).collect() })
        }
        Answered::Unreadable(at, violation) => Err(said::refused(&[violation], &format!("/questions/{at}"))),
        Answered::Forbidden => Err(Problem::new(Code::ForbiddenScope).detail("the token speaks for another recipient")),
    }
}

/// Whom a question is about: identifiers or a pseudonym, never both.
pub(super) fn whose(identifiers: Vec<Identifier>, pseudonym: Option<String>) -> Result<Whose, Problem> {
    match pseudonym {
        Some(pseudonym) if identifiers.is_empty() => Ok(Whose::Pseudonym(pseudonym)),
        Some(_) => Err(Problem::new(Code::InvalidContent).detail("identifiers or pseudonym, not both")),
        None => Ok(Whose::Identifiers(said::identifiers(identifiers)?)),
    }
}

impl From<Verdict> for DecisionAnswer {
    fn from(verdict: Verdict) -> Self {
        Self {
            decision: if verdict.is_allowed() { "allow" } else { "deny" },
            purpose: verdict.purpose,
            recipient: verdict.recipient,
            allowed: verdict.allowed,
            denied: verdict.denied.into_iter().map(|(field, reasons)| DeniedField { field, reasons }).collect(),
            reasons: verdict.reasons,
        }
    }
}
