//! What is in force, for anyone: the policy, its notices, the published keys.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

/// What is in force.
#[derive(Serialize, ToSchema)]
pub struct PolicyAnswer {
    /// Content hash of the policy's files.
    hash: String,
    /// Who answers for it.
    controller: ControllerAnswer,
    /// What data is used for.
    purposes: Vec<PurposeAnswer>,
    /// Who may receive it.
    recipients: Vec<RecipientAnswer>,
}

/// The controller (Art. 13(1)(a)–(b)).
#[derive(Serialize, ToSchema)]
pub struct ControllerAnswer {
    /// Legal name.
    name: String,
    /// Postal address.
    address: String,
    /// ISO 3166-1 alpha-2.
    country: String,
    /// Languages people are answered in.
    languages: Vec<String>,
    /// How to reach the data protection officer.
    dpo_contact: String,
    /// Supervisory authority.
    authority: String,
}

/// A purpose.
#[derive(Serialize, ToSchema)]
pub struct PurposeAnswer {
    /// Its id.
    id: String,
    /// Title per language.
    #[schema(value_type = Object)]
    title: std::collections::BTreeMap<String, String>,
    /// Description per language.
    #[schema(value_type = Object)]
    description: std::collections::BTreeMap<String, String>,
    /// The legal basis.
    basis: &'static str,
    /// DPV term.
    term: String,
    /// Whether it is on.
    active: bool,
    /// The notice that names it.
    notice: Option<String>,
    /// Channels with a consent of their own.
    channels: Vec<String>,
}

/// A recipient (Art. 13(1)(e)).
#[derive(Serialize, ToSchema)]
pub struct RecipientAnswer {
    /// Its id.
    id: String,
    /// Legal name.
    name: String,
    /// ISO 3166-1 alpha-2.
    country: String,
    /// `processor`, `controller` or `joint`.
    role: &'static str,
    /// The transfer safeguard.
    safeguard: Option<&'static str>,
    /// The purposes.
    purposes: Vec<String>,
}

/// A published text.
#[derive(Serialize, ToSchema)]
pub struct NoticeAnswer {
    /// Which notice.
    id: String,
    /// Its version.
    version: u32,
    /// BCP 47 tag.
    language: String,
    /// When it was published.
    #[schema(value_type = String, format = DateTime)]
    published_at: Timestamp,
    /// SHA-256 of the text.
    sha256: String,
    /// The text, Markdown.
    text: String,
    /// The purposes it names.
    purposes: Vec<String>,
    /// The recipients it names.
    recipients: Vec<String>,
    /// The token that proves which text was shown, good for a day, for the key or token that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
}

/// `GET /v1/policy`.
#[utoipa::path(get, path = "/v1/policy", tag = "policy", responses((status = 200, description = "What is in force", body = PolicyAnswer)))]
pub(in crate::http) async fn in_force(call: Call) -> Result<Answer, Problem> {
    let policy = call.app.house.policy();
    let policy = &policy.policy;
    let controller = &policy.controller;
    let answer = PolicyAnswer {
        hash: data_encoding::HEXLOWER.encode(&policy.hash.0),
        controller: ControllerAnswer {
            name: controller.name.clone(),
            address: controller.address.clone(),
            country: controller.country.clone(),
            languages: controller.languages.clone(),
            dpo_contact: controller.dpo_contact.clone(),
            authority: controller.authority.clone(),
        },
        purposes: policy
            .purposes
            .values()
            .map(|purpose| PurposeAnswer {
                id: purpose.id.as_str().to_owned(),
                title: purpose.title.clone(),
                description: purpose.description.clone(),
                basis: purpose.basis.as_str(),
                term: purpose.term.clone(),
                active: purpose.active,
                notice: purpose.notice.as_ref().map(|id| id.as_str().to_owned()),
                channels: purpose.channels.iter().map(|channel| channel.as_str().to_owned()).collect(),
            })
            .collect(),
        recipients: policy
            .recipients
            .values()
            .map(|recipient| RecipientAnswer {
                id: recipient.id.as_str().to_owned(),
                name: recipient.name.clone(),
                country: recipient.country.clone(),
                role: recipient.role.as_str(),
                safeguard: recipient.safeguard.as_ref().map(|safeguard| safeguard.as_str()),
                purposes: recipient.purposes.keys().map(|id| id.as_str().to_owned()).collect(),
            })
            .collect(),
    };
    Ok(Answer::json(&answer)?.header("cache-control", "max-age=60"))
}

/// `GET /v1/policy/notices/{id}?language=`: the newest published text, and for a known caller the
/// token that proves that it was handed out.
#[utoipa::path(get, path = "/v1/policy/notices/{id}", tag = "policy",
    params(("id" = String, Path, description = "The notice"), ("language" = Option<String>, Query, description = "BCP 47 tag")),
    responses((status = 200, description = "The text", body = NoticeAnswer), (status = 404, description = "No such notice")))]
pub(in crate::http) async fn notice(call: Call) -> Result<Answer, Problem> {
    let house = &call.app.house;
    let caller = match call.credentials() {
        None => None,
        Some(text) => Some(match house.collector_of(&text) {
            Some(collector) => house.consent_collector(&collector).ok_or(Problem::new(Code::Unauthenticated))?,
            None => house
                .service_of(&text)
                .map(|service| house.consent_service(&service))
                .ok_or(Problem::new(Code::Unauthenticated))?,
        }),
    };
    let notice = house.notice(call.path("id"), call.query("language").as_deref(), caller.as_ref())?;
    Answer::json(&NoticeAnswer {
        id: notice.id,
        version: notice.version,
        language: notice.language,
        published_at: notice.published_at,
        sha256: notice.sha256,
        text: notice.text,
        purposes: notice.purposes,
        recipients: notice.recipients,
        snapshot: notice.snapshot,
    })
}

/// `GET /.well-known/jwks.json`: the keys that verify access tokens (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "policy", responses((status = 200, description = "The keys")))]
pub(in crate::http) async fn keys(call: Call) -> Result<Answer, Problem> {
    Ok(Answer::json(&call.app.house.published_keys())?.header("cache-control", "max-age=300"))
}

/// `GET /.well-known/gpc.json`: that global privacy control is honoured.
#[utoipa::path(get, path = "/.well-known/gpc.json", tag = "policy", responses((status = 200, description = "That the signal is honoured")))]
pub(in crate::http) async fn global_privacy_control(call: Call) -> Result<Answer, Problem> {
    let house = &call.app.house;
    let policy = house.policy();
    let honoured = policy.policy.collectors.values().any(|rules| !rules.gpc.is_empty());
    let since = house.policy_since().await?.unwrap_or_default();
    let day = since.to_zoned(policy.policy.controller.time_zone.clone()).date();
    let answer = serde_json::json!({ "gpc": honoured, "lastUpdate": day.to_string() });
    Ok(Answer::json(&answer)?.header("cache-control", "max-age=3600"))
}
