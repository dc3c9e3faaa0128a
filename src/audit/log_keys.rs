//! Which key may sign which sizes of a log.
//!
//! Leaf 0 names the first key. A leaf `log.key_rotated` at position s names the next one: the
//! checkpoint of size s + 1 has the signatures of both, smaller sizes only that of the key before,
//! larger ones only that of the new one.

use super::leaf::{Fact, Leaf};
use super::note::{KeyKind, VerifierKey};
use crate::domain::event::Event;

/// The keys of a log, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogKeys(Vec<ValidKey>);

/// The sizes for which a key of the log may sign, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValidKey {
    /// Type byte and public key.
    pub(super) typed: [u8; 33],
    pub(super) from: u64,
    pub(super) to: u64,
}

impl LogKeys {
    /// Takes what a leaf says about keys: leaf 0 and rotations, in their order. Others say nothing, and
    /// neither does a rotation of another key than the newest.
    pub fn hear(&mut self, leaf: &Leaf) {
        match leaf.event {
            Event::LogOpened if self.0.is_empty() => {
                let first = leaf.facts.as_slice().iter().filter_map(verifier);
                self.0.extend(first.map(|typed| ValidKey { typed, from: 0, to: u64::MAX }));
            }
            Event::LogKeyRotated => {
                let size = leaf.seq.saturating_add(1);
                let Some((replaced, typed)) = rotation(leaf) else { return };
                if let Some(newest) = self.0.last_mut().filter(|newest| newest.typed == replaced) {
                    newest.to = size;
                    self.0.push(ValidKey { typed, from: size, to: u64::MAX });
                }
            }
            _ => {}
        }
    }

    /// Whether no leaf named a key yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this key (type byte and public key) may sign a checkpoint of this size.
    #[must_use]
    pub fn may_sign(&self, typed: &[u8; 33], size: u64) -> bool {
        self.0.iter().any(|key| key.typed == *typed && (key.from..=key.to).contains(&size))
    }

    /// The keys that sign a checkpoint of this size, each as type byte and public key, the older first.
    pub fn signing(&self, size: u64) -> impl Iterator<Item = &[u8; 33]> {
        self.0.iter().filter(move |key| (key.from..=key.to).contains(&size)).map(|key| &key.typed)
    }

    /// Every key, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = &[u8; 33]> {
        self.0.iter().map(|key| &key.typed)
    }

    /// The sizes whose checkpoints have the signatures of two keys, ascending.
    pub fn handovers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|key| key.from).filter(|from| *from > 0)
    }

    /// The key that signs whatever comes.
    #[must_use]
    pub fn newest(&self) -> Option<&[u8; 33]> {
        self.0.last().map(|key| &key.typed)
    }

    pub(super) fn as_slice(&self) -> &[ValidKey] {
        &self.0
    }
}

impl FromIterator<ValidKey> for LogKeys {
    fn from_iter<T: IntoIterator<Item = ValidKey>>(keys: T) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl<'a> FromIterator<&'a Leaf> for LogKeys {
    fn from_iter<T: IntoIterator<Item = &'a Leaf>>(leaves: T) -> Self {
        let mut keys = Self::default();
        leaves.into_iter().for_each(|leaf| keys.hear(leaf));
        keys
    }
}

/// The verifier key of a log from the bytes in which a leaf names it: type byte and public key.
#[must_use]
pub fn verifier_key(origin: &str, typed: &[u8; 33]) -> Option<VerifierKey> {
    let (kind, public) = typed.split_first()?;
    let public = public.try_into().ok()?;
    if *kind != KeyKind::Ed25519.byte() {
        return None;
    }
    VerifierKey::new(origin, KeyKind::Ed25519, public).ok()
}

/// What a checkpoint right behind a rotation teaches a reader who knows one of its two keys: both.
///
/// `leaf` is the last one that the checkpoint covers, which the reader must hash into its root before
/// believing anything; `signed_by` are the known keys that signed it.
#[must_use]
pub fn handed_over(origin: &str, leaf: &Leaf, size: u64, signed_by: &[VerifierKey]) -> Option<[VerifierKey; 2]> {
    if leaf.event != Event::LogKeyRotated || leaf.seq.checked_add(1) != Some(size) {
        return None;
    }
    let (replaced, typed) = rotation(leaf)?;
    let both = [verifier_key(origin, &replaced)?, verifier_key(origin, &typed)?];
    both.iter().any(|key| signed_by.contains(key)).then_some(both)
}

/// The key that a rotation replaces, and the new one.
fn rotation(leaf: &Leaf) -> Option<([u8; 33], [u8; 33])> {
    let facts = leaf.facts.as_slice();
    let replaced = facts.iter().find_map(|fact| match fact {
        Fact::ReplacedVerifier(typed) => Some(*typed),
        _ => None,
    })?;
    Some((replaced, facts.iter().find_map(verifier)?))
}

fn verifier(fact: &Fact) -> Option<[u8; 33]> {
    match fact {
        Fact::Verifier(typed) => Some(*typed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; 33] = [1; 33];
    const NEW: [u8; 33] = [2; 33];

    fn rotated_at_9() -> LogKeys {
        [ValidKey { typed: OLD, from: 0, to: 10 }, ValidKey { typed: NEW, from: 10, to: u64::MAX }]
            .into_iter()
            .collect()
    }

    #[test]
    fn one_size_has_two_signatures() {
        let keys = rotated_at_9();
        let signing = |size| keys.signing(size).copied().collect::<Vec<_>>();
        assert_eq!((signing(9), signing(10), signing(11)), (vec![OLD], vec![OLD, NEW], vec![NEW]));
        assert_eq!(keys.handovers().collect::<Vec<_>>(), [10]);
        assert!(keys.may_sign(&OLD, 10) && !keys.may_sign(&OLD, 11) && !keys.may_sign(&NEW, 9));
        assert_eq!(keys.newest(), Some(&NEW));
    }
}
