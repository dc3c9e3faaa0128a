//! Choices as a caller sends them.

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::personal::Personal;
use crate::gateway::consent::{Act, Action, Actor, Choice, Interaction, NoticeGiven};
use crate::http::api::said::{self, Identifier};
use crate::http::problem::{Code, Problem, Violation};

/// The most choices in one interaction.
const CHOICES: usize = 100;

/// The longest text of the evidence, in bytes.
const EVIDENCE_BYTES: usize = 1_024;

/// All the choices made in one act.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// Who chose.
    identifiers: Vec<Identifier>,
    /// Who acts for whom; nobody named: the person.
    #[serde(default)]
    actor: ActorGiven,
    /// What was shown.
    notice: Option<NoticeShown>,
    /// The choices.
    choices: Vec<ChoiceGiven>,
    /// How they were made; a no needs none of it.
    #[serde(default)]
    act: ActGiven,
}

/// Who acts.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActorGiven {
    /// `self`, `guardian` or `agent`.
    relation: Option<String>,
    /// How a guardian or agent was verified.
    method: Option<String>,
    /// Reference of the proof.
    reference: Option<String>,
    /// What an agent's mandate covers.
    authority: Option<Authority>,
}

/// What an agent's mandate covers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// `give` if it covers a yes.
    scope: String,
}

/// What was shown: the snapshot token, or the text by name and hash.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoticeShown {
    /// The token that `GET /v1/policy/notices/{id}` gave with the text.
    snapshot: Option<String>,
    /// The notice.
    id: Option<String>,
    /// Its version.
    version: Option<u32>,
    /// BCP 47 tag.
    language: Option<String>,
    /// SHA-256 of the text, hexadecimal.
    sha256: Option<String>,
}

/// One choice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceGiven {
    /// The purpose; `*` in a no stands for all.
    #[schema(example = "newsletter")]
    purpose: String,
    /// The channel.
    channel: Option<String>,
    /// `give`, `refuse`, `withdraw` or `object`.
    #[schema(example = "give")]
    action: String,
}

/// How choices were made.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActGiven {
    /// `click`, `typed`, `signed`, `spoken_recorded`, `device_setting` or `two_step`.
    method: Option<String>,
    /// `unset` or `set`.
    control_before: Option<String>,
    /// Whether it was bundled with terms or another matter.
    bundled: Option<bool>,
    /// Whether a no was offered as plainly.
    refusal_offered: Option<bool>,
    /// When, RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    given_at: Option<Timestamp>,
    /// Whether it was kept on a device and sent later.
    #[serde(default)]
    offline: bool,
    /// The person's stated age in years.
    age_statement: Option<u8>,
    /// Which form, in which version; sealed.
    interface: Option<String>,
    /// The client; sealed.
    user_agent: Option<String>,
    /// The network address, cut to /24 or /48; sealed.
    address: Option<String>,
}

pub(super) fn interaction(body: ConsentRequest) -> Result<Interaction, Problem> {
    let invalid = |detail: &'static str| Problem::new(Code::InvalidContent).detail(detail);
    if body.choices.is_empty() || body.choices.len() > CHOICES {
        return Err(invalid("choices holds 1 to 100 choices"));
    }
    let choices = body
        .choices
        .into_iter()
        .zip(0_usize..)
        .map(|(choice, at)| {
            let action = Action::parse(&choice.action).ok_or_else(|| {
                let wrong = Violation {
                    code: Code::InvalidContent.as_str(),
                    pointer: format!("/choices/{at}/action"),
                    detail: "give, refuse, withdraw or object".into(),
                };
                Problem::new(Code::InvalidContent).violations(vec![wrong])
            })?;
            Ok(Choice { purpose: choice.purpose, channel: choice.channel, action })
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    let notice = match body.notice {
        None => None,
        Some(NoticeShown { snapshot: Some(token), id: None, version: None, language: None, sha256: None }) => {
            Some(NoticeGiven::Snapshot(token))
        }
        Some(NoticeShown {
            snapshot: None,
            id: Some(id),
            version: Some(version),
            language: Some(language),
            sha256: Some(sha256),
        }) => Some(NoticeGiven::Named { id, version, language, sha256 }),
        Some(_) => return Err(invalid("notice is {snapshot} or {id, version, language, sha256}")),
    };
    let sealed = |text: Option<String>| -> Result<Option<Personal<String>>, Problem> {
        match text {
            Some(text) if text.len() > EVIDENCE_BYTES => {
                Err(invalid("interface, user_agent, address and reference hold at most 1024 bytes"))
            }
            text => Ok(text.map(Personal::new)),
        }
    };
    Ok(Interaction {
        identifiers: said::identifiers(body.identifiers)?,
        actor: Actor {
            relation: body.actor.relation,
            method: body.actor.method,
            authority: body.actor.authority.map(|authority| authority.scope),
            reference: sealed(body.actor.reference)?,
        },
        notice,
        choices,
        act: Act {
            method: body.act.method,
            control_before: body.act.control_before,
            bundled: body.act.bundled,
            refusal_offered: body.act.refusal_offered,
            given_at: body.act.given_at,
            offline: body.act.offline,
            age: body.act.age_statement,
            interface: sealed(body.act.interface)?,
            user_agent: sealed(body.act.user_agent)?,
            address: sealed(body.act.address)?,
        },
    })
}
