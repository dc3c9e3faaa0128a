//! Finding a person without storing their identifiers in the clear, and remembering those who must
//! not be contacted or created again (`cryptography.md` §6, §7).

use std::collections::BTreeMap;

use super::Error;
use super::key::{Key, Secret};
use super::mac::{Context, derive, first_sixteen, mac};
use crate::domain::identifier::IdentifierKind;

/// A kind of identifier and its namespace, `""` where none is named.
pub type Slot = (IdentifierKind, String);

/// The index keys of one version of the blind-index secret, one per kind and namespace.
///
/// The namespaces of a policy are few and known, so their keys are derived once; any other is
/// derived when it is asked for.
pub struct BlindIndex {
    secret: Secret,
    /// Two levels, so that a look-up copies no text.
    keys: BTreeMap<IdentifierKind, BTreeMap<String, Key>>,
}

impl BlindIndex {
    /// The index of this secret, with keys ready for `slots`.
    #[must_use]
    pub fn new(secret: Secret, slots: impl IntoIterator<Item = Slot>) -> Self {
        let mut index = Self { secret, keys: BTreeMap::new() };
        for (kind, namespace) in slots {
            let key = index.derive(&kind, &namespace);
            index.keys.entry(kind).or_default().insert(namespace, key);
        }
        index
    }

    /// The version of the secret.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.secret.version()
    }

    /// The index value of a canonical identifier.
    #[must_use]
    pub fn value(&self, kind: &IdentifierKind, namespace: &str, canonical: &str) -> [u8; 16] {
        let context = Context::BlindIndex { value: canonical.as_bytes() };
        let ready = self.keys.get(kind).and_then(|namespaces| namespaces.get(namespace));
        first_sixteen(&match ready {
            Some(key) => mac(key, &context),
            None => mac(&self.derive(kind, namespace), &context),
        })
    }

    fn derive(&self, kind: &IdentifierKind, namespace: &str) -> Key {
        derive(self.secret.key(), &Context::BlindIndexKey { kind: &kind.spelling(), namespace })
    }
}

/// The suppression list and the late-event marks under every version of their secret still in use.
pub struct Suppressions {
    versions: BTreeMap<u32, SuppressionVersion>,
}

/// The keys of one version of the suppression secret.
struct SuppressionVersion {
    secret: Secret,
    layer: Key,
}

impl Suppressions {
    /// The suppression secrets in use, in any order.
    #[must_use]
    pub fn new(secrets: Vec<Secret>) -> Self {
        let versions = secrets.into_iter().map(|secret| {
            let layer = derive(secret.key(), &Context::SuppressionLayerKey);
            (secret.version(), SuppressionVersion { secret, layer })
        });
        Self { versions: versions.collect() }
    }

    /// The newest version: what new entries are made under.
    #[must_use]
    pub fn newest(&self) -> Option<u32> {
        self.versions.keys().next_back().copied()
    }

    /// The entry of an identifier, based on `base` and wrapped in every later version up to `top`.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`] if one of the versions is not held.
    pub fn entry(
        &self,
        base: u32,
        top: u32,
        kind: &IdentifierKind,
        namespace: &str,
        canonical: &str,
    ) -> Result<[u8; 32], Error> {
        let secret = &self.version(base)?.secret;
        let spelling = kind.spelling();
        let key = derive(secret.key(), &Context::SuppressionKey { kind: &spelling, namespace });
        let mut entry = mac(&key, &Context::Suppression { value: canonical.as_bytes() });
        for version in (base..=top).skip(1) {
            entry = self.layer(version, &entry)?;
        }
        Ok(entry)
    }

    /// Wraps an entry in one more version, without the identifier.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`].
    pub fn layer(&self, version: u32, entry: &[u8; 32]) -> Result<[u8; 32], Error> {
        Ok(mac(&self.version(version)?.layer, &Context::SuppressionLayer { entry }))
    }

    /// The late-event mark of an identifier.
    ///
    /// # Errors
    /// [`Error::UnknownVersion`].
    pub fn late_event(
        &self,
        version: u32,
        kind: &IdentifierKind,
        namespace: &str,
        canonical: &str,
    ) -> Result<[u8; 32], Error> {
        let secret = &self.version(version)?.secret;
        let spelling = kind.spelling();
        let key = derive(secret.key(), &Context::LateEventKey { kind: &spelling, namespace });
        Ok(mac(&key, &Context::LateEvent { value: canonical.as_bytes() }))
    }

    fn version(&self, version: u32) -> Result<&SuppressionVersion, Error> {
        self.versions.get(&version).ok_or(Error::UnknownVersion(version))
    }
}
