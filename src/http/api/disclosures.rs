//! `POST /v1/disclosures`: a recipient pulls the fields it may have, accounted for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::gateway::disclose::{Disclosed, Wanted, in_the_clear};
use crate::http::call::{Answer, Call};
use crate::http::problem::{Code, Problem};

use super::decisions::{DecisionAnswer, whose};
use super::said::{self, Identifier};

/// What a recipient asks for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisclosureRequest {
    /// About whom.
    #[serde(default)]
    identifiers: Vec<Identifier>,
    /// About whom, as the recipient knows them; instead of identifiers.
    pseudonym: Option<String>,
    /// For what.
    #[schema(example = "order_handling")]
    purpose: String,
    /// By which channel.
    channel: Option<String>,
    /// Which fields; all that it may have for the purpose if none are named.
    fields: Option<Vec<String>>,
}

/// What a recipient gets.
#[derive(Serialize, ToSchema)]
pub struct DisclosureAnswer {
    /// What was decided.
    #[serde(flatten)]
    decision: DecisionAnswer,
    /// The entry in the ledger of disclosures.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The recipient's own name for the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pseudonym: Option<String>,
    /// When the data were released.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The transfer safeguard relied on.
    #[serde(skip_serializing_if = "Option::is_none")]
    safeguard: Option<String>,
    /// The newest value of each field, as it was received.
    #[schema(value_type = Object)]
    fields: BTreeMap<String, Box<RawValue>>,
    /// When the event of each value happened.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    occurred_at: BTreeMap<String, Timestamp>,
}

/// `POST /v1/disclosures`.
#[utoipa::path(post, path = "/v1/disclosures", tag = "disclosures", request_body = DisclosureRequest,
    responses((status = 200, description = "The fields, or why not", body = DisclosureAnswer)))]
pub(in crate::http) async fn disclose(call: Call) -> Result<Answer, Problem> {
    let body: DisclosureRequest = call.json()?;
    let wanted = Wanted {
        whose: whose(body.identifiers, body.pseudonym)?,
        purpose: body.purpose,
        channel: body.channel,
        fields: body.fields,
    };
    let released = match call.app.house.disclose(call.service()?, &wanted).await? {
        Disclosed::Released(released) => released,
        Disclosed::Refused(verdict) => {
            return Answer::json(&DisclosureAnswer {
                decision: verdict.into(),
                id: None,
                pseudonym: None,
                at: None,
                safeguard: None,
                fields: BTreeMap::new(),
                occurred_at: BTreeMap::new(),
            });
        }
        Disclosed::Unreadable(violation) => return Err(said::refused(&[violation], "")),
    };
    let mut fields = BTreeMap::new();
    let mut occurred_at = BTreeMap::new();
    for (path, value, at) in &released.fields {
        let value = RawValue::from_string(in_the_clear(value)).map_err(|_| Problem::new(Code::DataUnreadable))?;
        fields.insert(path.clone(), value);
        occurred_at.insert(path.clone(), *at);
    }
    Answer::json(&DisclosureAnswer {
        decision: released.verdict.into(),
        id: Some(released.id),
        pseudonym: Some(released.pseudonym),
        at: Some(released.at),
        safeguard: Some(released.safeguard).filter(|safeguard| !safeguard.is_empty()),
        fields,
        occurred_at,
    })
}
