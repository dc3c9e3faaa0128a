//! What happened before: the choices made, who looked, what was asked.

use serde_json::{Value, json};

use crate::domain::consent::fold;
use crate::gateway::access::document::list_or;
use crate::gateway::person::{basis_of, domain_event};

use super::{Writing, put, time};

impl Writing<'_> {
    pub(super) fn consents(&self) -> Value {
        let items = self
            .held
            .lines
            .iter()
            .map(|line| {
                let events: Vec<_> = line.events.iter().map(domain_event).collect();
                let ruling = fold(&events, basis_of(self.policy, &line.purpose));
                let state = self
                    .policy
                    .purposes
                    .get(&line.purpose)
                    .map_or("purpose_unknown", |purpose| ruling.state(self.policy, purpose, None, self.now).as_str());
                let events: Vec<Value> = line
                    .events
                    .iter()
                    .map(|event| {
                        let mut item = json!({
                            "act": event.kind.as_str(),
                            "at": time(event.given_at.timestamp()),
                            "recorded": time(event.recorded_at.timestamp()),
                            "by": event.actor.as_str(),
                            "collector": event.collector.as_str(),
                        });
                        if let Some(notice) = &event.notice {
                            put(&mut item, "text", json!({
                                "notice": notice.id.as_str(),
                                "version": notice.version,
                                "language": notice.language,
                                "sha256": data_encoding::HEXLOWER.encode(&notice.text_hash),
                            }));
                        }
                        if let Some(until) = event.valid_until {
                            put(&mut item, "valid_until", Value::from(time(until.timestamp())));
                        }
                        item
                    })
                    .collect();
                let mut item = json!({ "id": line.id.to_string(), "purpose": line.purpose.as_str(), "state": state, "events": events });
                if let Some(channel) = &line.channel {
                    put(&mut item, "channel", Value::from(channel.as_str()));
                }
                item
            })
            .collect();
        list_or(items, "No choice of yours is recorded.")
    }

    pub(super) fn consultations(&self) -> Value {
        let items = self
            .held
            .consultations
            .iter()
            .map(|look| {
                let text = |key: &str| look.payload.get(key).and_then(|value| serde_json::to_value(value).ok());
                let mut item = json!({ "at": time(look.at.timestamp()), "event": look.event.as_str() });
                put(
                    &mut item,
                    "role",
                    json!(if look.event.as_str().starts_with("officer") { "officer" } else { "recipient" }),
                );
                for key in ["purposes", "recipient", "fields"] {
                    if let Some(value) = text(key) {
                        put(&mut item, key, value);
                    }
                }
                item
            })
            .collect();
        list_or(items, "Nobody looked at your data so far as the log shows.")
    }

    pub(super) fn requests(&self) -> Value {
        let items = self
            .held
            .requests
            .iter()
            .map(|(case, request)| {
                let mut item = json!({
                    "reference": case.reference,
                    "kind": request.kind.as_str(),
                    "state": request.state.as_str(),
                    "received": case.trigger_day.to_string(),
                    "due": request.statutory_due.to_string(),
                });
                if let Some(outcome) = request.outcome {
                    put(&mut item, "outcome", Value::from(outcome.as_str()));
                }
                item
            })
            .collect();
        list_or(items, "You have not asked for anything before.")
    }
}
