//! The members of `package.json`, in the order in which people read them. Its contract is the schema
//! beside this file; a test holds one against the other.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The document.
#[derive(Serialize)]
pub(super) struct Document {
    pub(super) meta: Value,
    /// Art. 15(1).
    pub(super) confirmation: Value,
    /// Art. 15(1)(a).
    pub(super) purposes: Value,
    /// Art. 15(1)(b).
    pub(super) categories: Value,
    /// Art. 15(1)(c).
    pub(super) recipients: Value,
    /// Art. 15(1)(d).
    pub(super) retention: Value,
    /// Art. 15(1)(e).
    pub(super) rights: Value,
    /// Art. 15(1)(f).
    pub(super) complaint: Value,
    /// Art. 15(1)(g).
    pub(super) source: Value,
    /// Art. 15(1)(h).
    pub(super) automated_decisions: Value,
    /// Art. 15(2).
    pub(super) safeguards: Value,
    /// Art. 15(3).
    pub(super) copy: CopyOrNot,
    pub(super) consents: Value,
    pub(super) consultations: Value,
    pub(super) requests: Value,
    pub(super) processors: Value,
    pub(super) withheld: Vec<Value>,
}

/// The copy, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum CopyOrNot {
    Copy(Copy),
    Not(Value),
}

/// Everything stored, value by value.
#[derive(Serialize)]
pub(super) struct Copy {
    pub(super) identifiers: Vec<IdentifierCopy>,
    pub(super) records: Vec<RecordCopy>,
}

/// An identifier in the spelling it came in.
#[derive(Serialize)]
pub(super) struct IdentifierCopy {
    pub(super) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    pub(super) value: String,
    pub(super) since: String,
}

/// A record.
#[derive(Serialize)]
pub(super) struct RecordCopy {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) happened: String,
    pub(super) collected: String,
    pub(super) collector: String,
    pub(super) state: &'static str,
    pub(super) fields: Vec<FieldCopy>,
}

/// A field with its value exactly as it was received.
#[derive(Serialize)]
pub(super) struct FieldCopy {
    pub(super) path: String,
    pub(super) description: String,
    pub(super) category: String,
    pub(super) origin: &'static str,
    pub(super) value: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) meaning: Option<String>,
}

/// Why a required part has nothing to say.
pub(super) fn not_applicable(reason: &str) -> Value {
    serde_json::json!({ "not_applicable": true, "reason": reason })
}

/// The list, or why it is empty.
pub(super) fn list_or(items: Vec<Value>, reason: &str) -> Value {
    if items.is_empty() { not_applicable(reason) } else { Value::Array(items) }
}
