//! Segment's HTTP tracking protocol, and the events of RudderStack's, which is a superset of it
//! (`ecosystem.md` 1.6, 1.7).

use crate::domain::collected::{Collected, CollectedKind, RawIdentifier};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;
use crate::domain::policy::{Protocol, Trust};
use crate::domain::signal::Signal;
use crate::signal::categories::Preferences;

use super::event::{ContentHash, Identifier, Values, identifier, moment, plain_text};
use super::json::{Document, Kind, Value, quoted};
use super::refusal::{Flaw, Refusal};
use super::reply::Reply;
use super::route::Call;
use super::split;
use super::{Form, Parsed, Rejected, Setting, rudderstack, said, time};

/// The name of the track event by which Segment's consent tools say that a choice was made.
pub const PREFERENCE_UPDATED: &str = "Segment Consent Preference Updated";

/// One event that is the whole body.
pub(super) fn single(body: &[u8], call: Call, setting: Setting<'_>) -> Result<Parsed, Refusal> {
    super::single(item(body, 0, Some(call), None, setting))
}

/// `{"batch": […]}`: what stands beside `batch` holds for every item.
pub(super) fn batch(body: &[u8], setting: Setting<'_>) -> Result<Parsed, Refusal> {
    let envelope = split::envelope(body, setting.limits.batch)?;
    let items = envelope.items.ok_or(Refusal::Malformed)?;
    let context = part_document(envelope.context)?;
    let integrations = part_document(envelope.integrations)?;
    let sent_at = part_document(envelope.sent_at)?;
    let context = context.as_ref().and_then(Document::root);
    let integrations = integrations.as_ref().and_then(Document::root);
    let signals = said::signals(context, setting.rules);
    let general = General {
        context,
        integrations,
        sent_at: moment(sent_at.as_ref().and_then(Document::root)),
        signals: &signals,
        hash: general_hash(context, integrations),
    };
    let items =
        items.into_iter().enumerate().map(|(index, raw)| item(raw, index, None, Some(general), setting)).collect();
    Ok(Parsed { items, form: Form::Batch })
}

/// One line of a file, with the time it says it happened at.
pub(super) fn line(raw: &[u8], setting: Setting<'_>) -> Result<super::line::Dated, Flaw> {
    let event = item(raw, 0, None, None, setting).map_err(|rejected| rejected.flaw)?;
    let document = Document::read(raw)?;
    let members = document.root().map(Members::of).unwrap_or_default();
    Ok((event, moment(members.timestamp_of(setting))))
}

/// The most bytes of a part that a batch gives to all its items, and the most keys in it: each item
/// takes a copy of what it lacks, so that a small request must not become a large one.
const GENERAL_BYTES: usize = 8 << 10;
const GENERAL_KEYS: usize = 128;

/// What a batch says for all its items, read once.
#[derive(Clone, Copy)]
struct General<'d, 'a> {
    context: Option<Value<'d, 'a>>,
    integrations: Option<Value<'d, 'a>>,
    sent_at: Option<jiff::Timestamp>,
    signals: &'d [Signal],
    /// Of `context` and `integrations`; `None` if there are none, so that an event has the same
    /// content hash alone and in a batch.
    hash: Option<[u8; 32]>,
}

fn general_hash(context: Option<Value<'_, '_>>, integrations: Option<Value<'_, '_>>) -> Option<[u8; 32]> {
    if context.is_none() && integrations.is_none() {
        return None;
    }
    let mut hash = ContentHash::default();
    for (key, value) in [("context", context), ("integrations", integrations)] {
        if let Some(value) = value {
            hash.add(key, value.raw());
        }
    }
    Some(hash.finish())
}

/// Reads a part of the envelope. A flaw there is outside the items and refuses the whole.
fn part_document(part: Option<&[u8]>) -> Result<Option<Document<'_>>, Refusal> {
    let Some(part) = part else {
        return Ok(None);
    };
    if part.len() > GENERAL_BYTES {
        return Err(Refusal::Event(Flaw::EventTooLarge));
    }
    Document::read_bounded(part, GENERAL_KEYS).map(Some).map_err(Refusal::Event)
}

fn item(
    raw: &[u8],
    index: usize,
    call: Option<Call>,
    general: Option<General<'_, '_>>,
    setting: Setting<'_>,
) -> Result<Collected, Rejected> {
    let rejected = |message_id, flaw| Rejected { index, message_id, flaw };
    if raw.len() > setting.event_limit() {
        return Err(rejected(None, Flaw::EventTooLarge));
    }
    let document = Document::read(raw).map_err(|flaw| rejected(None, flaw))?;
    let root =
        document.root().filter(|root| root.kind() == Kind::Object).ok_or_else(|| rejected(None, Flaw::Malformed))?;
    let members = Members::of(root);
    let message_id = members.message_id.filter(|value| !value.is_blank()).and_then(plain_text);
    if message_id.as_ref().is_some_and(|id| id.len() > setting.limits.message_id) {
        return Err(rejected(None, Flaw::EventTooLarge));
    }
    match read(root, &members, call, general, setting) {
        Ok(event) => Ok(Collected { index, message_id: message_id.map(Personal::new), ..event }),
        Err(flaw) => Err(rejected(message_id.map(Personal::new), flaw)),
    }
}

/// The members the protocol gives a meaning, found in one walk over the event.
#[derive(Default)]
struct Members<'d, 'a> {
    kind: Option<Value<'d, 'a>>,
    message_id: Option<Value<'d, 'a>>,
    user_id: Option<Value<'d, 'a>>,
    anonymous_id: Option<Value<'d, 'a>>,
    previous_id: Option<Value<'d, 'a>>,
    group_id: Option<Value<'d, 'a>>,
    event: Option<Value<'d, 'a>>,
    timestamp: Option<Value<'d, 'a>>,
    original_timestamp: Option<Value<'d, 'a>>,
    sent_at: Option<Value<'d, 'a>>,
    context: Option<Value<'d, 'a>>,
    integrations: Option<Value<'d, 'a>>,
    merge: Option<Value<'d, 'a>>,
}

impl<'d, 'a> Members<'d, 'a> {
    fn of(root: Value<'d, 'a>) -> Self {
        let mut members = Self::default();
        for (key, value) in root.members() {
            let place = match key.as_ref() {
                "type" => &mut members.kind,
                "messageId" => &mut members.message_id,
                "userId" => &mut members.user_id,
                "anonymousId" => &mut members.anonymous_id,
                "previousId" => &mut members.previous_id,
                "groupId" => &mut members.group_id,
                "event" => &mut members.event,
                "timestamp" => &mut members.timestamp,
                "originalTimestamp" => &mut members.original_timestamp,
                "sentAt" => &mut members.sent_at,
                "context" => &mut members.context,
                "integrations" => &mut members.integrations,
                "mergeProperties" => &mut members.merge,
                _ => continue,
            };
            *place = Some(value);
        }
        members
    }
}

/// Reads one event. Its index and message id are the caller's.
fn read(
    root: Value<'_, '_>,
    members: &Members<'_, '_>,
    call: Option<Call>,
    general: Option<General<'_, '_>>,
    setting: Setting<'_>,
) -> Result<Collected, Flaw> {
    let call = match call {
        Some(call) => call,
        None => members.kind.and_then(Value::text).and_then(|text| Call::parse(&text)).ok_or(Flaw::Malformed)?,
    };
    let parties = parties(call, members, setting)?;
    let kind = kind(call, members, setting)?;
    let (occurred_at, has_time) = time::occurred(
        moment(members.timestamp_of(setting)),
        moment(members.sent_at).or(general.and_then(|general| general.sent_at)),
        setting.received_at,
    );
    // A consent signal never takes a time after its reception.
    let occurred_at = match kind {
        CollectedKind::ConsentPreference => occurred_at.min(setting.received_at),
        _ => occurred_at,
    };
    let values = values(call, root, members, general, setting);
    Ok(Collected {
        kind,
        index: 0,
        message_id: None,
        content_hash: content_hash(root, general),
        occurred_at,
        has_time,
        identifiers: parties.identifiers,
        previous: parties.previous,
        values: values.kept,
        undeclared: values.undeclared,
        signals: signals(members, general, setting),
        narrowing: said::narrowing(
            [general.and_then(|general| general.integrations), members.integrations],
            setting.rules,
        ),
        purposes: None,
        consent_record: None,
    })
}

impl<'d, 'a> Members<'d, 'a> {
    /// RudderStack's time is `originalTimestamp`; what it calls `timestamp` is a server's.
    fn timestamp_of(&self, setting: Setting<'_>) -> Option<Value<'d, 'a>> {
        match setting.rules.protocol {
            Protocol::Rudderstack => self.original_timestamp.or(self.timestamp),
            Protocol::Segment | Protocol::CloudEvents | Protocol::Native => self.timestamp,
        }
    }
}

/// Whom an event names.
struct Parties {
    identifiers: Vec<RawIdentifier>,
    previous: Option<RawIdentifier>,
}

fn parties(call: Call, members: &Members<'_, '_>, setting: Setting<'_>) -> Result<Parties, Flaw> {
    if call == Call::Merge {
        if setting.rules.protocol != Protocol::Rudderstack {
            return Err(Flaw::Malformed);
        }
        let (one, other) = rudderstack::merged(members.merge)?;
        if setting.rules.trust == Trust::Public {
            return Err(Flaw::NeedsServerKey);
        }
        return Ok(Parties { identifiers: vec![one], previous: Some(other) });
    }
    let user = identifier(members.user_id, IdentifierKind::UserId, "/userId");
    let anonymous = identifier(members.anonymous_id, IdentifierKind::AnonymousId, "/anonymousId");
    let invalid = matches!(user, Identifier::Invalid) || matches!(anonymous, Identifier::Invalid);
    let names_user = matches!(user, Identifier::Named(_));
    let previous = match call {
        Call::Alias => previous(members)?,
        _ => None,
    };
    let joins_users = names_user && previous.as_ref().is_some_and(|previous| previous.kind == IdentifierKind::UserId);
    if joins_users && setting.rules.trust == Trust::Public {
        return Err(Flaw::NeedsServerKey);
    }
    let mut identifiers = Vec::with_capacity(2);
    for named in [user, anonymous] {
        if let Identifier::Named(named) = named {
            identifiers.push(named);
        }
    }
    if identifiers.is_empty() {
        return Err(if invalid { Flaw::IdentifierInvalid } else { Flaw::Malformed });
    }
    Ok(Parties { identifiers, previous })
}

/// The older identifier of an alias. The same as the event's own user id joins nobody: some SDKs
/// send that when a known user is aliased again.
fn previous(members: &Members<'_, '_>) -> Result<Option<RawIdentifier>, Flaw> {
    let text = |value: Option<Value<'_, '_>>| value.filter(|value| !value.is_blank()).and_then(plain_text);
    let named = members.previous_id.filter(|value| !value.is_blank()).ok_or(Flaw::Malformed)?;
    let previous = plain_text(named).ok_or(Flaw::IdentifierInvalid)?;
    if text(members.user_id).as_ref() == Some(&previous) {
        return Ok(None);
    }
    let kind = if text(members.anonymous_id).as_ref() == Some(&previous) {
        IdentifierKind::AnonymousId
    } else {
        IdentifierKind::UserId
    };
    Ok(Some(RawIdentifier { kind, namespace: String::new(), text: Personal::new(previous), pointer: "/previousId" }))
}

fn kind(call: Call, members: &Members<'_, '_>, setting: Setting<'_>) -> Result<CollectedKind, Flaw> {
    Ok(match call {
        Call::Identify => CollectedKind::Identify,
        Call::Page => CollectedKind::Page,
        Call::Screen => CollectedKind::Screen,
        Call::Alias | Call::Merge => CollectedKind::Alias,
        Call::Group => {
            let group = members.group_id.filter(|value| !value.is_blank());
            group.and_then(plain_text).ok_or(Flaw::Malformed)?;
            CollectedKind::Group
        }
        Call::Track => {
            let event = members.event.filter(|value| !value.is_blank());
            let name = event.and_then(Value::text).ok_or(Flaw::Malformed)?;
            if setting.rules.protocol == Protocol::Segment && name == PREFERENCE_UPDATED {
                // Without a readable object there is no choice in it that could be recorded.
                match said::preferences(members.context) {
                    Preferences::Stated(_) => {}
                    Preferences::Absent | Preferences::Unreadable => return Err(Flaw::Malformed),
                }
                CollectedKind::ConsentPreference
            } else {
                CollectedKind::Track
            }
        }
    })
}

/// The values, under the paths that `fields.toml` uses: `context.traits` folds into `traits`, and a
/// group's own traits are `group.traits`.
fn values<'p>(
    call: Call,
    root: Value<'_, '_>,
    members: &Members<'_, '_>,
    general: Option<General<'_, '_>>,
    setting: Setting<'p>,
) -> Values<'p> {
    let mut values = Values::new(setting.fields);
    for (key, value) in root.members() {
        match key.as_ref() {
            "traits" if call == Call::Group => values.take("group.traits", value),
            "context" | "integrations" | "writeKey" | "_metadata" | "mergeProperties" => {}
            "type" | "messageId" | "userId" | "anonymousId" | "previousId" | "timestamp" | "originalTimestamp"
            | "sentAt" | "receivedAt" | "channel" | "version" => {
                values.take_if_declared(&key, value);
            }
            path => values.take(path, value),
        }
    }
    // After the event's own members, so that its own traits stand before its context's.
    if let Some(context) = members.context {
        take_context(&mut values, context, |values, path, value| values.take(path, value));
    }
    if let Some(context) = general.and_then(|general| general.context) {
        take_context(&mut values, context, |values, path, value| {
            let name = path.strip_prefix("context.").unwrap_or(path);
            let own = members.context.and_then(|context| context.member(name));
            values.take_missing(path, value, own);
        });
    }
    values
}

fn take_context<'d, 'a>(
    values: &mut Values<'_>,
    context: Value<'d, 'a>,
    take: impl Fn(&mut Values<'_>, &str, Value<'d, 'a>),
) {
    let mut path = String::with_capacity(32);
    for (key, value) in context.members() {
        match key.as_ref() {
            "traits" => take(values, "traits", value),
            // What these say is read by `signals`.
            "consent" | "consentManagement" => {}
            key => {
                path.clear();
                path.push_str("context.");
                path.push_str(key);
                take(values, &path, value);
            }
        }
    }
}

fn signals(members: &Members<'_, '_>, general: Option<General<'_, '_>>, setting: Setting<'_>) -> Vec<Signal> {
    let mut signals = said::signals(members.context, setting.rules);
    signals.extend(general.into_iter().flat_map(|general| general.signals.iter().cloned()));
    signals
}

/// Over the event's members in their order, without those that a client writes anew when it sends
/// again, and over what the batch says for it: a withdrawal there must not pass for a repetition.
fn content_hash(root: Value<'_, '_>, general: Option<General<'_, '_>>) -> [u8; 32] {
    let mut hash = ContentHash::default();
    for (key, _, value) in root.members_raw() {
        if !matches!(key, "sentAt" | "_metadata" | "writeKey") {
            hash.add(key, value.raw());
        }
    }
    if let Some(general) = general.and_then(|general| general.hash) {
        hash.add_bytes("", &general);
    }
    hash.finish()
}

/// The answer to `GET /v1/projects/{key}/settings`. `remotePlugins` stays empty: no page loads a
/// destination behind the gateway's back.
///
/// `host` is where the SDK sends to, without a scheme and with `/v1`; `scheme` is `https` or `http`;
/// `categories` are the ids the consent tools ask about.
#[must_use]
pub fn settings(key: &str, host: &str, scheme: &str, categories: &[&str]) -> Reply {
    let categories: Vec<String> = categories.iter().map(|id| quoted(id)).collect();
    let body = format!(
        concat!(
            r#"{{"integrations":{{"Segment.io":{{"apiKey":{key},"apiHost":{host},"protocol":{scheme},"#,
            r#""unbundledIntegrations":[],"addBundledMetadata":true}}}},"#,
            r#""plan":{{}},"edgeFunction":{{}},"analyticsNextEnabled":true,"middlewareSettings":{{}},"#,
            r#""enabledMiddleware":{{}},"metrics":{{"sampleRate":0}},"legacyVideoPluginsEnabled":false,"#,
            r#""remotePlugins":[],"consentSettings":{{"allCategories":[{categories}]}}}}"#
        ),
        key = quoted(key),
        host = quoted(host),
        scheme = quoted(scheme),
        categories = categories.join(",")
    );
    Reply::settings(body)
}
