//! What a sealed part says: a deterministic CBOR map with text keys, names and ids, never values of
//! personal fields.
//!
//! [`Payload`] is the writer's side, one field for each key. [`Value`] is the reader's: whatever an
//! opened part holds, as a tree that people can be shown.

mod value;

use super::cbor::Malformed;
pub use value::Value;

/// The longest plaintext of a sealed part, padding included, in bytes.
pub const MAXIMUM_PLAINTEXT: usize = 16_384;

/// The payload of one part. Keys that are `None` or empty do not appear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The subject the part is about.
    pub subject: Option<[u8; 16]>,
    /// Who acted.
    pub actor: Option<Actor>,
    /// The rows made, changed or removed.
    pub rows: Vec<Row>,
    /// The collector the data came through.
    pub collector: Option<String>,
    /// The purposes in question.
    pub purposes: Vec<String>,
    /// The consent line.
    pub consent: Option<[u8; 16]>,
    /// Names of fields.
    pub fields: Vec<String>,
    /// What was decided.
    pub decision: Vec<Decided>,
    /// The recipient.
    pub recipient: Option<String>,
    /// The notice that was shown.
    pub notice: Option<Notice>,
    /// Content hash of the policy.
    pub policy: Option<[u8; 32]>,
    /// The request of a person that this belongs to.
    pub request: Option<String>,
    /// A code, or the officer's words.
    pub reason: Option<String>,
    /// The network address, already cut to /24 or /48.
    pub address: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The trace id of the call.
    pub trace: Option<String>,
    /// Members that only some events have, by key; see the documents of those events.
    pub more: Vec<(&'static str, Value)>,
}

/// Who acted, as a part names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `subject`, `officer`, `service`, `collector`, `scheduler`.
    pub kind: &'static str,
    /// The id: 16 bytes of a row, or the name of something in the policy.
    pub id: Value,
}

/// One row that a leaf speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What kind of row, `record`.
    pub kind: &'static str,
    /// Its id.
    pub id: [u8; 16],
    /// SHA-256 of its canonical content.
    pub content_hash: [u8; 32],
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// For what.
    pub purpose: String,
    /// By whom; empty: by the controller itself.
    pub recipient: String,
    /// Whether anything may be used.
    pub allowed: Allowed,
    /// The strongest reason against; empty if there is none.
    pub reason: String,
}

/// Whether a decision permits anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Some field may be used.
    Yes,
    /// None may.
    No,
}

/// Which text a person was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The notice.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// BCP 47 tag.
    pub language: String,
    /// SHA-256 of the text.
    pub text_hash: [u8; 32],
}

impl Payload {
    /// The payload as a tree.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut members = vec![("v".to_owned(), Value::Uint(1))];
        let mut put = |key: &str, value: Value| members.push((key.to_owned(), value));
        if let Some(subject) = &self.subject {
            put("subject", Value::from(subject.as_slice()));
        }
        if let Some(actor) = &self.actor {
            put("actor", Value::Array(vec![Value::from(actor.kind), actor.id.clone()]));
        }
        put_all("rows", &self.rows, Row::to_value, &mut put);
        put_text("collector", self.collector.as_deref(), &mut put);
        put_all("purposes", &self.purposes, |name| Value::from(name.as_str()), &mut put);
        if let Some(consent) = &self.consent {
            put("consent", Value::from(consent.as_slice()));
        }
        put_all("fields", &self.fields, |name| Value::from(name.as_str()), &mut put);
        put_all("decision", &self.decision, Decided::to_value, &mut put);
        put_text("recipient", self.recipient.as_deref(), &mut put);
        if let Some(notice) = &self.notice {
            put("notice", notice.to_value());
        }
        if let Some(policy) = &self.policy {
            put("policy", Value::from(policy.as_slice()));
        }
        put_text("request", self.request.as_deref(), &mut put);
        put_text("reason", self.reason.as_deref(), &mut put);
        put_text("address", self.address.as_deref(), &mut put);
        put_text("session", self.session.as_deref(), &mut put);
        put_text("trace", self.trace.as_deref(), &mut put);
        for (key, value) in &self.more {
            put(key, value.clone());
        }
        Value::Map(members)
    }

    /// The deterministic CBOR that is padded and sealed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_value().encode()
    }
}

fn put_text(key: &str, text: Option<&str>, put: &mut impl FnMut(&str, Value)) {
    if let Some(text) = text {
        put(key, Value::from(text));
    }
}

fn put_all<T>(key: &str, items: &[T], to_value: impl Fn(&T) -> Value, put: &mut impl FnMut(&str, Value)) {
    if !items.is_empty() {
        put(key, Value::Array(items.iter().map(to_value).collect()));
    }
}

impl Row {
    fn to_value(&self) -> Value {
        Value::Array(vec![
            Value::from(self.kind),
            Value::from(self.id.as_slice()),
            Value::from(self.content_hash.as_slice()),
        ])
    }
}

impl Decided {
    fn to_value(&self) -> Value {
        Value::Array(vec![
            Value::from(self.purpose.as_str()),
            Value::from(self.recipient.as_str()),
            Value::Bool(self.allowed == Allowed::Yes),
            Value::from(self.reason.as_str()),
        ])
    }
}

impl Notice {
    fn to_value(&self) -> Value {
        Value::Array(vec![
            Value::from(self.id.as_str()),
            Value::Uint(u64::from(self.version)),
            Value::from(self.language.as_str()),
            Value::from(self.text_hash.as_slice()),
        ])
    }
}

/// A row as a payload that was read names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedRow<'a> {
    /// What kind of row.
    pub kind: &'a str,
    /// Its id.
    pub id: [u8; 16],
    /// SHA-256 of its canonical content.
    pub content_hash: [u8; 32],
}

/// The rows that a payload names.
///
/// # Errors
/// If one of them is not written as rows are.
pub fn named_rows(payload: &Value) -> Result<Vec<NamedRow<'_>>, Malformed> {
    let rows = payload.get("rows").map_or(&[][..], Value::items);
    rows.iter().map(|row| named_row(row.items()).ok_or(Malformed)).collect()
}

fn named_row(items: &[Value]) -> Option<NamedRow<'_>> {
    let [kind, id, content_hash] = items else { return None };
    Some(NamedRow { kind: kind.text()?, id: id.bytes()?, content_hash: content_hash.bytes()? })
}

/// Takes the padding off a plaintext (`payload ‖ 0x80 ‖ zeros`) and reads the payload.
///
/// # Errors
///
/// If the padding or the CBOR is not exactly what a writer makes.
pub fn read_plaintext(plaintext: &[u8]) -> Result<Value, Malformed> {
    if plaintext.len() > MAXIMUM_PLAINTEXT {
        return Err(Malformed);
    }
    let end = plaintext.iter().rposition(|byte| *byte != 0).ok_or(Malformed)?;
    match plaintext.split_at_checked(end) {
        Some((payload, [0x80, ..])) => Value::decode(payload),
        _ => Err(Malformed),
    }
}
