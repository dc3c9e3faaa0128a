//! Lines that are JSON objects: our own, OCSF, `CloudEvents`, ECS.

use serde_json::{Value, json};

use crate::domain::event::{Event, Outcome};
use crate::gateway::rendering::LeafBytes;

use super::{Line, weigh};

const OCSF_VERSION: &str = "1.3.0";
const ECS_VERSION: &str = "8.11.0";
/// OCSF's *API Activity*; the other class of the list is *Entity Management*.
const API_ACTIVITY: u16 = 6003;

impl Line<'_> {
    pub(super) fn ndjson(&self, bytes: LeafBytes) -> String {
        Value::Object(self.leaf.json(self.origin, bytes)).to_string()
    }

    pub(super) fn cloudevents(&self, bytes: LeafBytes) -> String {
        json!({
            "specversion": "1.0",
            "id": self.leaf.entry(),
            "source": format!("https://{}", self.origin),
            "type": format!("amanat.audit.{}", self.event_name()),
            "time": self.leaf.stored.time.timestamp(),
            "subject": self.leaf.stored.seq.to_string(),
            "datacontenttype": "application/json",
            "amanatleaf": self.leaf.hash(),
            "data": self.leaf.json(self.origin, bytes),
        })
        .to_string()
    }

    pub(super) fn ocsf(&self) -> String {
        // What this version cannot read is an API activity of another kind.
        let (class, activity) = self.event().map_or((API_ACTIVITY, 99), |event| {
            let rule = event.rule();
            (rule.ocsf_class, rule.ocsf_activity)
        });
        let mut unmapped = self.leaf.json(self.origin, LeafBytes::Left);
        for mapped in ["origin", "seq", "entry", "time", "code"] {
            unmapped.remove(mapped);
        }
        let mut object = json!({
            "class_uid": class,
            "category_uid": class / 1_000,
            "activity_id": activity,
            "activity_name": activity_name(activity).unwrap_or_else(|| self.event_name()),
            "type_uid": u32::from(class) * 100 + u32::from(activity),
            "time": self.milliseconds(),
            "severity_id": weigh(self.outcome(), 1, 2, 3),
            "status_id": match self.outcome() {
                Outcome::Done => 1,
                Outcome::Refused | Outcome::Failed => 2,
                Outcome::Unknown => 0,
            },
            "metadata": {
                "version": OCSF_VERSION,
                "product": {"name": "Amanat", "vendor_name": "Amanat", "version": env!("CARGO_PKG_VERSION")},
                "uid": self.leaf.entry(),
                "event_code": self.leaf.stored.event.to_string(),
                "sequence": self.leaf.stored.seq,
                "log_name": self.origin,
            },
            "unmapped": unmapped,
        });
        let more = if class == API_ACTIVITY {
            json!({
                "api": {"operation": self.event_name()},
                "actor": {"app_name": "amanat"},
                "src_endpoint": {"name": self.host()},
            })
        } else {
            json!({"entity": {"type": self.noun(), "uid": self.leaf.entry()}})
        };
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object.to_string()
    }

    pub(super) fn ecs(&self) -> String {
        let rule = self.event().map(Event::rule);
        json!({
            "@timestamp": self.leaf.stored.time.timestamp(),
            "ecs": {"version": ECS_VERSION},
            "event": {
                "kind": "event",
                "category": [match rule.map(|rule| rule.ocsf_class) {
                    Some(API_ACTIVITY) | None => "api",
                    Some(_) => "configuration",
                }],
                "type": [match rule.map(|rule| (rule.ocsf_class, rule.ocsf_activity)) {
                    Some((API_ACTIVITY, 2)) => "access",
                    Some((_, 1)) => "creation",
                    Some((_, 3)) => "change",
                    Some((_, 4)) => "deletion",
                    _ => "info",
                }],
                "action": self.event_name(),
                "code": self.leaf.stored.event.to_string(),
                "outcome": match self.outcome() {
                    Outcome::Done => "success",
                    Outcome::Refused | Outcome::Failed => "failure",
                    Outcome::Unknown => "unknown",
                },
                "id": self.leaf.entry(),
                "sequence": self.leaf.stored.seq,
                "hash": self.leaf.hash(),
            },
            "labels": {"origin": self.origin},
        })
        .to_string()
    }

    /// What an event is about, the first word of its name.
    fn noun(&self) -> &'static str {
        self.event_name().split('.').next().unwrap_or_default()
    }
}

/// What OCSF 1.3 calls an activity of our two classes. Another one (99) has the name that its source
/// gives it.
const fn activity_name(activity: u8) -> Option<&'static str> {
    Some(match activity {
        1 => "Create",
        2 => "Read",
        3 => "Update",
        4 => "Delete",
        8 => "Enable",
        9 => "Disable",
        10 => "Activate",
        11 => "Deactivate",
        _ => return None,
    })
}
