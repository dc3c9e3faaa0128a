//! CloudEvents 1.0 over HTTP: binary, structured and batch mode, and the webhook handshake
//! (`ecosystem.md` 1.8). Here alone the media type decides, because the specification says so.

use std::borrow::Cow;

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::domain::collected::{Collected, CollectedKind, Narrowing, RawIdentifier};
use crate::domain::id::PurposeId;
use crate::domain::personal::Personal;
use crate::domain::policy::EventRule;

use super::event::{ContentHash, Values};
use super::json::{Document, Kind, quoted};
use super::refusal::{Flaw, Refusal};
use super::request::Request;
use super::{Form, Parsed, Rejected, Setting, split, time};

/// Reads a request in whichever mode it is.
pub(super) fn parse(request: &Request<'_>, setting: Setting<'_>) -> Result<Parsed, Refusal> {
    match Mode::of(request)? {
        Mode::Batch => {
            let items = split::array(request.body, setting.limits.batch)?;
            let items = items.into_iter().enumerate();
            Ok(Parsed { items: items.map(|(index, raw)| from_json(raw, index, setting)).collect(), form: Form::Batch })
        }
        Mode::Structured => super::single(from_json(request.body, 0, setting)),
        Mode::Binary => super::single(from_headers(request, setting)),
    }
}

/// One line of a file, with the time it says it happened at.
pub(super) fn line(raw: &[u8], setting: Setting<'_>) -> Result<super::line::Dated, Flaw> {
    let event = from_json(raw, 0, setting).map_err(|rejected| rejected.flaw)?;
    let document = Document::read(raw)?;
    let time = document.root().and_then(|root| root.member("time"));
    Ok((event, super::event::moment(time)))
}

enum Mode {
    Batch,
    Structured,
    Binary,
}

impl Mode {
    fn of(request: &Request<'_>) -> Result<Self, Refusal> {
        let media = media_type(request.header("content-type").unwrap_or_default());
        match media.as_str() {
            "application/cloudevents-batch+json" => Ok(Self::Batch),
            "application/cloudevents+json" => Ok(Self::Structured),
            other if other.starts_with("application/cloudevents") => Err(Refusal::MediaType),
            _ if request.lines("ce-specversion").next().is_some() => Ok(Self::Binary),
            _ => Err(Refusal::MediaType),
        }
    }
}

/// The media type without parameters, in lower case.
fn media_type(text: &str) -> String {
    let (media, _) = text.split_once(';').unwrap_or((text, ""));
    media.trim().to_ascii_lowercase()
}

/// An attribute: its name, its text, and its value as JSON.
struct Attribute<'a> {
    name: Cow<'a, str>,
    text: Cow<'a, str>,
    json: Cow<'a, str>,
    is_text: bool,
}

/// An event in either form, before its meaning is read.
struct Event<'a> {
    /// Sorted by name.
    attributes: Vec<Attribute<'a>>,
    data: Data<'a>,
}

/// What an event carries.
enum Data<'a> {
    None,
    /// JSON text, not yet read.
    Json(Cow<'a, [u8]>),
    /// Something that is not JSON, which is dropped.
    Opaque(Cow<'a, [u8]>),
}

fn from_json(raw: &[u8], index: usize, setting: Setting<'_>) -> Result<Collected, Rejected> {
    let rejected = |flaw| Rejected { index, message_id: None, flaw };
    if raw.len() > setting.event_limit() {
        return Err(rejected(Flaw::EventTooLarge));
    }
    let document = Document::read(raw).map_err(rejected)?;
    let event = Event::of_document(&document).map_err(rejected)?;
    event.collect(index, setting)
}

fn from_headers(request: &Request<'_>, setting: Setting<'_>) -> Result<Collected, Rejected> {
    let rejected = |flaw| Rejected { index: 0, message_id: None, flaw };
    if request.body.len() > setting.event_limit() {
        return Err(rejected(Flaw::EventTooLarge));
    }
    Event::of_headers(request).map_err(rejected)?.collect(0, setting)
}

impl<'a> Data<'a> {
    /// Bytes of which only the sender knows what they are. Without a word from it, what begins like
    /// JSON is JSON.
    fn of_bytes(bytes: Cow<'a, [u8]>, content_type: Option<&str>) -> Self {
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        let json = match content_type {
            Some(content_type) => is_json(content_type),
            None => matches!(first, Some(b'{' | b'[' | b'"')),
        };
        if json { Self::Json(bytes) } else { Self::Opaque(bytes) }
    }
}

impl<'a> Event<'a> {
    fn of_document(document: &Document<'a>) -> Result<Self, Flaw> {
        let root = document.root().filter(|root| root.kind() == Kind::Object).ok_or(Flaw::Malformed)?;
        let mut attributes = Vec::new();
        let mut data = None;
        let mut base64 = None;
        for (name, value) in root.members() {
            match name.as_ref() {
                "data" => data = Some(value),
                "data_base64" => base64 = Some(value),
                _ => {
                    let text = match value.kind() {
                        Kind::Null => continue,
                        Kind::Text => value.text().unwrap_or_default(),
                        Kind::True | Kind::False | Kind::Number => Cow::Borrowed(value.raw()),
                        Kind::Object | Kind::Array => return Err(Flaw::Malformed),
                    };
                    attributes.push(Attribute {
                        name: named(name)?,
                        text,
                        json: Cow::Borrowed(value.raw()),
                        is_text: value.kind() == Kind::Text,
                    });
                }
            }
        }
        attributes.sort_by(|one, other| one.name.cmp(&other.name));
        let mut event = Event { attributes, data: Data::None };
        let json = event.text("datacontenttype").is_none_or(is_json);
        event.data = match (data, base64) {
            (Some(_), Some(_)) => return Err(Flaw::Malformed),
            (None, None) => Data::None,
            (Some(data), None) if data.kind() == Kind::Null => Data::None,
            (Some(data), None) if json => Data::Json(Cow::Borrowed(data.raw().as_bytes())),
            (Some(data), None) => Data::Opaque(Cow::Borrowed(data.raw().as_bytes())),
            (None, Some(base64)) => {
                let text = base64.text().ok_or(Flaw::Malformed)?;
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| Flaw::Malformed)?;
                Data::of_bytes(Cow::Owned(bytes), event.text("datacontenttype"))
            }
        };
        Ok(event)
    }

    fn of_headers(request: &Request<'a>) -> Result<Self, Flaw> {
        let mut attributes: Vec<Attribute<'a>> = Vec::new();
        for (header, value) in request.headers {
            let header = header.to_ascii_lowercase();
            let Some(name) = header.strip_prefix("ce-") else {
                continue;
            };
            // Its place is `Content-Type`, and two places could disagree.
            if matches!(name, "datacontenttype" | "data") {
                return Err(Flaw::Malformed);
            }
            let text = decoded(value)?;
            attributes.push(Attribute {
                name: named(Cow::Owned(name.to_owned()))?,
                json: Cow::Owned(quoted(&text)),
                text: Cow::Owned(text),
                is_text: true,
            });
        }
        attributes.sort_by(|one, other| one.name.cmp(&other.name));
        let twice = attributes.windows(2).any(|pair| matches!(pair, [one, other] if one.name == other.name));
        if twice {
            return Err(Flaw::Malformed);
        }
        let data = match request.body {
            [] => Data::None,
            body => Data::of_bytes(Cow::Borrowed(body), request.header("content-type")),
        };
        Ok(Self { attributes, data })
    }

    fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).map(|attribute| attribute.text.as_ref())
    }

    /// A required attribute: a text, and not an empty one.
    fn required(&self, name: &str) -> Result<&str, Flaw> {
        self.attribute(name)
            .filter(|attribute| attribute.is_text && !attribute.text.is_empty())
            .map(|attribute| attribute.text.as_ref())
            .ok_or(Flaw::Malformed)
    }

    fn collect(self, index: usize, setting: Setting<'_>) -> Result<Collected, Rejected> {
        let message_id = self.message_id(setting);
        match self.read(index, setting) {
            Ok(event) => Ok(Collected { message_id: message_id.map(Personal::new), ..event }),
            Err(flaw) => Err(Rejected { index, message_id: message_id.map(Personal::new), flaw }),
        }
    }

    /// An event is known by id and source together. The id goes first and holds no line break, so
    /// that an answer can name it alone.
    fn message_id(&self, setting: Setting<'_>) -> Option<String> {
        let id = self.required("id").ok()?;
        let source = self.required("source").ok()?;
        let usable = id.len() <= setting.limits.message_id && !id.chars().any(char::is_control);
        usable.then(|| format!("{id}\n{source}"))
    }

    fn read(&self, index: usize, setting: Setting<'_>) -> Result<Collected, Flaw> {
        if self.required("specversion")? != "1.0" {
            return Err(Flaw::Malformed);
        }
        let id = self.required("id")?;
        if id.len() > setting.limits.message_id {
            return Err(Flaw::EventTooLarge);
        }
        if id.chars().any(char::is_control) {
            return Err(Flaw::Malformed);
        }
        self.required("source")?;
        let rule = rule(&setting.rules.events, self.required("type")?);
        let (occurred_at, has_time) = time::occurred(self.text("time").and_then(time::read), None, setting.received_at);
        let mut values = Values::new(setting.fields);
        self.take_data(&mut values)?;
        self.take_attributes(&mut values);
        Ok(Collected {
            kind: rule.and_then(|rule| rule.treat_as.as_deref()).map_or(CollectedKind::Record, kind),
            index,
            message_id: None,
            content_hash: self.content_hash(),
            occurred_at,
            has_time,
            identifiers: self.subject(rule).into_iter().collect(),
            previous: None,
            values: values.kept,
            undeclared: values.undeclared,
            signals: Vec::new(),
            narrowing: Narrowing::default(),
            purposes: self.text("consentpurposes").map(purposes),
            consent_record: match self.text("consentrecord") {
                Some(text) => Some(Uuid::try_parse(text).map_err(|_| Flaw::Malformed)?),
                None => None,
            },
        })
    }

    fn take_data(&self, values: &mut Values<'_>) -> Result<(), Flaw> {
        match &self.data {
            Data::None => {}
            Data::Json(text) => {
                let document = Document::read(text)?;
                if let Some(root) = document.root() {
                    values.take("data", root);
                }
            }
            // Its name alone is reported, as of any field that is dropped.
            Data::Opaque(_) => values.take_text("data", "null"),
        }
        Ok(())
    }

    fn take_attributes(&self, values: &mut Values<'_>) {
        for attribute in &self.attributes {
            let path = format!("ce.{}", attribute.name);
            let known = matches!(
                attribute.name.as_ref(),
                "id" | "source"
                    | "type"
                    | "specversion"
                    | "time"
                    | "subject"
                    | "datacontenttype"
                    | "dataschema"
                    | "dsubject"
                    | "consentpurposes"
                    | "consentrecord"
                    | "lawfulbasis"
            );
            if known {
                values.keep(&path, &attribute.json);
            } else {
                values.take_text(&path, &attribute.json);
            }
        }
    }

    /// Whom the event is about. The rule says what kind of identifier `subject` is; `dsubject` takes
    /// its place where `subject` names something else. Without a rule nobody is named.
    fn subject(&self, rule: Option<&EventRule>) -> Option<RawIdentifier> {
        let (kind, namespace) = rule?.subject.as_ref()?;
        let named = |name: &str| self.text(name).filter(|text| !text.is_empty());
        let (text, pointer) = match named("dsubject") {
            Some(text) => (text, "/dsubject"),
            None => (named("subject")?, "/subject"),
        };
        Some(RawIdentifier {
            kind: kind.clone(),
            namespace: namespace.clone(),
            text: Personal::new(text.to_owned()),
            pointer,
        })
    }

    /// The same for all three modes, so that an event that is sent again in another mode is known.
    fn content_hash(&self) -> [u8; 32] {
        let mut hash = ContentHash::default();
        for attribute in &self.attributes {
            // In binary mode it stands in a header of HTTP.
            if attribute.name != "datacontenttype" {
                hash.add(&attribute.name, &attribute.text);
            }
        }
        match &self.data {
            Data::None => {}
            Data::Json(bytes) => hash.add_bytes("data", bytes),
            Data::Opaque(bytes) => hash.add_bytes("data_base64", bytes),
        }
        hash.finish()
    }
}

/// CloudEvents 1.0 §3.1: names are lower-case letters and digits.
fn named(name: Cow<'_, str>) -> Result<Cow<'_, str>, Flaw> {
    let good = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if good && (1..=64).contains(&name.len()) { Ok(name) } else { Err(Flaw::Malformed) }
}

/// Decodes a header's value (CloudEvents HTTP binding §3.1.3.2): a double-quoted string is undone,
/// then percent-encoding, once. Some clients send such values unencoded; guessing what they meant
/// could name the wrong person.
fn decoded(value: &[u8]) -> Result<String, Flaw> {
    let refused = Flaw::CloudeventsAttributeEncoding;
    let text = std::str::from_utf8(value).map_err(|_| refused)?;
    if !text.is_ascii() {
        return Err(refused);
    }
    let mut plain = String::with_capacity(text.len());
    match text.strip_prefix('"') {
        None if text.contains('"') => return Err(refused),
        None => plain.push_str(text),
        Some(inner) => {
            let mut characters = inner.chars();
            loop {
                match characters.next() {
                    Some('\\') => plain.push(characters.next().ok_or(refused)?),
                    Some('"') if characters.as_str().is_empty() => break,
                    Some('"') | None => return Err(refused),
                    Some(other) => plain.push(other),
                }
            }
        }
    }
    for (at, _) in plain.match_indices('%') {
        let digits = plain.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refused);
        }
    }
    let decoded = percent_decode_str(&plain).decode_utf8().map_err(|_| refused)?;
    if decoded.chars().any(char::is_control) {
        return Err(refused);
    }
    Ok(decoded.into_owned())
}

fn is_json(content_type: &str) -> bool {
    let media = media_type(content_type);
    media.is_empty() || media.ends_with("/json") || media.ends_with("+json")
}

/// The first rule whose pattern fits.
fn rule<'r>(rules: &'r [EventRule], name: &str) -> Option<&'r EventRule> {
    rules.iter().find(|rule| match rule.pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == rule.pattern,
    })
}

fn kind(name: &str) -> CollectedKind {
    match name {
        "identify" => CollectedKind::Identify,
        "track" => CollectedKind::Track,
        "page" => CollectedKind::Page,
        "screen" => CollectedKind::Screen,
        "group" => CollectedKind::Group,
        _ => CollectedKind::Record,
    }
}

/// The purposes an event may serve at most. An empty list serves none.
fn purposes(list: &str) -> Vec<PurposeId> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(PurposeId::new).collect()
}
