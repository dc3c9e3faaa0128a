//! Stage 1, identify: identifiers are normalised and turned into blind index values.

use jiff::Timestamp;

use crate::domain::collected::{Collected, CollectedKind, RawIdentifier};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::{Access, Personal};
use crate::domain::policy::{Policy, Trust};
use crate::gateway::Gateway;
use crate::gateway::meeting::Handle;

use super::Arrival;

const TO_INDEX: Access = Access::because("an identifier is normalised so that its person can be found by blind index");
const TO_RECOGNISE: Access = Access::because("a message id is hashed so that a repetition can be recognised");

/// Why an event is not taken although it could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No usable identifier, and the last one was not of its kind.
    IdentifierInvalid,
    /// No usable identifier, and the last one was a placeholder.
    IdentifierBlocked,
    /// Only a server key may say that two user ids are one person.
    NeedsServerKey,
    /// A value or the record as a whole is too large.
    TooLarge,
}

/// An event whose identifiers are known by their index values.
pub(super) struct Identified {
    /// Its place in the request.
    pub(super) position: usize,
    pub(super) event: Collected,
    /// The identifier that says whose event it is.
    pub(super) owner: Handle,
    /// The device it came from, if the owner is a person and a device is named too.
    pub(super) device: Option<Handle>,
    /// Further identifiers of the owner.
    pub(super) others: Vec<Handle>,
    /// The keyed mark by which a repetition is recognised.
    pub(super) mark: Option<[u8; 32]>,
    only: (),
}

impl Identified {
    pub(super) fn new(
        house: &Gateway,
        arrival: &Arrival<'_>,
        position: usize,
        mut event: Collected,
    ) -> Result<Self, Flaw> {
        let mut raw = std::mem::take(&mut event.identifiers);
        raw.extend(named_by_fields(&arrival.policy.policy, &event));
        let previous = event.previous.take();
        let is_alias = event.kind == CollectedKind::Alias;
        if arrival.rules.trust == Trust::Public
            && previous.as_ref().is_some_and(|previous| previous.kind != IdentifierKind::AnonymousId)
            && is_alias
        {
            return Err(Flaw::NeedsServerKey);
        }
        let mut flaw = Flaw::IdentifierInvalid;
        let mut handles: Vec<Handle> = Vec::with_capacity(raw.len() + 1);
        for identifier in raw.into_iter().chain(previous) {
            match house.handle(arrival.policy, arrival.rules.default_region.as_deref(), identifier) {
                Ok(handle) if handles.iter().all(|known| known.value != handle.value) => handles.push(handle),
                Ok(_) => {}
                Err(found) => flaw = found,
            }
        }
        handles.sort_by_key(Handle::priority);
        let mut handles = handles.into_iter();
        let owner = handles.next().ok_or(flaw)?;
        let (mut devices, others): (Vec<_>, Vec<_>) = handles.partition(Handle::is_device);
        let device = if owner.is_device() || devices.is_empty() { None } else { Some(devices.remove(0)) };
        let mark = event.message_id.as_ref().map(|id| {
            house.keyholder.secrets().tokens.duplicate(
                arrival.rules.id.as_str(),
                "",
                id.reveal(&TO_RECOGNISE),
                &event.content_hash,
            )
        });
        let others = others.into_iter().chain(devices).collect();
        Ok(Self { position, event, owner, device, others, mark, only: () })
    }

    /// When it happened.
    pub(super) const fn occurred_at(&self) -> Timestamp {
        let () = self.only;
        self.event.occurred_at
    }
}

/// Identifiers that stand in declared fields, such as an e-mail address among the traits.
fn named_by_fields(policy: &Policy, event: &Collected) -> Vec<RawIdentifier> {
    event
        .values
        .iter()
        .filter_map(|(path, value)| {
            let identifies = policy.fields.get(path)?.identifies.as_ref()?;
            let json = value.reveal(&TO_INDEX);
            let text = match json.as_bytes().first()? {
                b'"' => serde_json::from_str::<String>(json).ok()?,
                // A whole number is its decimal text; anything else identifies nobody.
                _ if json.bytes().all(|byte| byte.is_ascii_digit()) => json.clone(),
                _ => return None,
            };
            (!text.is_empty()).then(|| RawIdentifier {
                kind: identifies.kind.clone(),
                namespace: identifies.namespace.clone(),
                text: Personal::new(text),
                pointer: "",
            })
        })
        .collect()
}
