//! Putting a policy in force.
//!
//! What is in force stands in the data store: with several instances each follows it there, and a
//! decision made under another policy is turned away at commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::audit::leaf::Fact;
use crate::audit::payload::{Actor, Payload, Value};
use crate::crypto::blind_index::Slot;
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{FieldPath, NoticeId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::policy::{Policy, PolicyHash};
use crate::policy::{Files, KnownNotices};
use crate::storage::terms::{self, TermKind};
use crate::storage::{Database, Location, Outcome as Committed, Step, Unit, installation};

use super::{Error, Gateway, Result};

/// The policy in force, with what is looked up for every event.
pub struct PolicyInForce {
    /// The policy.
    pub policy: Policy,
    /// Numbers of fields and categories.
    pub terms: Terms,
    /// Its files, as they were read.
    pub files: Files,
    /// The policy's own list of placeholders, as the normaliser takes it.
    pub blocked: Vec<String>,
}

/// Numbers of field paths and categories in sealed records.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    fields: HashMap<Arc<str>, u16>,
    categories: HashMap<Arc<str>, u16>,
    field_texts: HashMap<u16, Arc<str>>,
    category_texts: HashMap<u16, Arc<str>>,
}

impl Terms {
    /// The terms of these rows.
    #[must_use]
    pub fn new(rows: Vec<(TermKind, u16, String)>) -> Self {
        let mut terms = Self::default();
        for (kind, number, text) in rows {
            let text: Arc<str> = text.into();
            let (numbers, texts) = match kind {
                TermKind::Field => (&mut terms.fields, &mut terms.field_texts),
                TermKind::Category => (&mut terms.categories, &mut terms.category_texts),
            };
            numbers.insert(Arc::clone(&text), number);
            texts.insert(number, text);
        }
        terms
    }

    /// The number of a field path.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<u16> {
        self.fields.get(path).copied()
    }

    /// The number of a category.
    #[must_use]
    pub fn category(&self, term: &str) -> Option<u16> {
        self.categories.get(term).copied()
    }

    /// The field path of a number.
    #[must_use]
    pub fn field_text(&self, number: u16) -> Option<&str> {
        self.field_texts.get(&number).map(|text| &**text)
    }

    /// The category of a number.
    #[must_use]
    pub fn category_text(&self, number: u16) -> Option<&str> {
        self.category_texts.get(&number).map(|text| &**text)
    }
}

/// Fields that every sealed identifier has, whatever the policy declares.
pub const IDENTIFIER_FIELDS: [&str; 2] = ["identifier.canonical", "identifier.original"];
/// Fields that hold what the house itself seals about a person's requests and evidence.
pub const OWN_FIELDS: [&str; 3] = ["own.text", "own.contact", "own.evidence"];
/// The category of the house's own sealed fields.
pub const OWN_CATEGORY: &str = "Identifying";

impl PolicyInForce {
    /// A policy with its terms.
    #[must_use]
    pub fn new(policy: Policy, terms: Terms, files: Files) -> Self {
        let blocked = policy.blocked_identifiers.iter().cloned().collect();
        Self { policy, terms, files, blocked }
    }

    /// The kinds and namespaces of identifiers that the policy names, for the blind index.
    #[must_use]
    pub fn slots(&self) -> Vec<Slot> {
        slots(&self.policy)
    }
}

/// The kinds and namespaces of identifiers that a policy names.
#[must_use]
pub fn slots(policy: &Policy) -> Vec<Slot> {
    let mut slots: Vec<Slot> = policy
        .fields
        .values()
        .filter_map(|field| field.identifies.as_ref())
        .map(|identifies| (identifies.kind.clone(), identifies.namespace.clone()))
        .collect();
    for kind in [IdentifierKind::UserId, IdentifierKind::AnonymousId, IdentifierKind::Email, IdentifierKind::Phone] {
        slots.push((kind, String::new()));
    }
    slots.sort();
    slots.dedup();
    slots
}

impl Gateway {
    /// Checks these files against what was published before and puts them in force, refused whole if
    /// anything is wrong: what is in force then stays. Says whether anything changed.
    ///
    /// # Errors
    /// [`Error::Policy`] with every mistake, which is a leaf too.
    pub async fn reload_policy(&self, files: Files) -> Result<bool> {
        let current = self.policy();
        let known = published(&current.policy);
        let policy = match crate::policy::load(&files, &known) {
            Ok(policy) => policy,
            Err(mistakes) => {
                let hash = crate::policy::content_hash(&files);
                let payload = Payload { reason: Some(format!("{} mistakes", mistakes.len())), ..operator() };
                let leaf = self.installation_leaf(
                    Event::PolicyRejected,
                    Outcome::Refused,
                    &payload,
                    vec![Fact::Digest(hash.0)],
                )?;
                self.commit_change(move || Unit::change(Vec::new(), vec![leaf.clone()], |_, _| Ok(Step::Commit)))
                    .await?;
                return Err(Error::Policy(mistakes));
            }
        };
        if policy.hash == current.policy.hash {
            return Ok(false);
        }
        self.activate(policy, files).await?;
        Ok(true)
    }

    /// Puts a checked policy in force, in the store and in this process.
    pub(super) async fn activate(&self, policy: Policy, files: Files) -> Result<()> {
        let hash = policy.hash;
        let payload = Payload { policy: Some(hash.0), ..operator() };
        let leaf =
            self.installation_leaf(Event::PolicyActivated, Outcome::Done, &payload, vec![Fact::PolicyHash(hash.0)])?;
        let (fields, categories) = names(&policy);
        let encoded = encode(&files);
        let at = self.source.now().into();
        self.commit_change(move || {
            let (fields, categories, encoded) = (fields.clone(), categories.clone(), encoded.clone());
            let entry = leaf.draft.entry();
            Unit::change(Vec::new(), vec![leaf.clone()], move |transaction, _| {
                terms::learn(transaction, TermKind::Field, &fields)?;
                terms::learn(transaction, TermKind::Category, &categories)?;
                installation::activate_policy(transaction, hash, &encoded, at, entry)?;
                Ok(Step::Commit)
            })
        })
        .await?;
        self.take_policy(policy, files).await
    }

    /// Follows the policy in the store, where another instance or the command line may have put
    /// another one in force.
    ///
    /// # Errors
    /// When the store cannot be read or holds a policy that this version refuses.
    pub async fn follow_policy(&self) -> Result<()> {
        let own = self.policy().policy.hash;
        let found = self
            .database
            .read(move |connection| {
                let hash = installation::policy(connection)?;
                if hash == own {
                    return Ok(None);
                }
                installation::policy_files(connection, hash)
            })
            .await
            .map_err(Error::store)?;
        let Some(files) = found.as_deref().and_then(decode) else { return Ok(()) };
        let policy = crate::policy::load(&files, &KnownNotices::new()).map_err(Error::Policy)?;
        self.take_policy(policy, files).await
    }

    /// When the policy in force was put in force.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn policy_since(&self) -> Result<Option<jiff::Timestamp>> {
        let hash = self.policy().policy.hash;
        let at = self.database.read(move |c| installation::policy_activated_at(c, hash)).await.map_err(Error::store)?;
        Ok(at.map(|at| at.timestamp()))
    }

    /// Uses a policy that the store says is in force.
    async fn take_policy(&self, policy: Policy, files: Files) -> Result<()> {
        let rows = self.database.read(terms::all).await.map_err(Error::store)?;
        self.keyholder.reload_secrets(slots(&policy)).await?;
        self.policy.store(Arc::new(PolicyInForce::new(policy, Terms::new(rows), files)));
        // What people are remembered by was folded under the policy before.
        self.people.clear();
        Ok(())
    }

    /// Commits a change that rests on nothing that others change.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn commit_change(&self, unit: impl Fn() -> Unit) -> Result<crate::storage::Committed> {
        match self.database.write(unit()).await.map_err(Error::store)? {
            Committed::Committed(committed) => Ok(committed),
            Committed::Stale | Committed::Duplicates(_) | Committed::IdentifierTaken => Err(Error::Contention),
        }
    }
}

/// The files of the policy in force, read beside a running gateway. `None`: no store is set up yet.
///
/// # Errors
/// When the data store cannot be read.
pub fn files_in_force(settings: &super::Settings) -> Result<Option<Files>> {
    if let Location::Sqlite(path) = &settings.database
        && !path.exists()
    {
        return Ok(None);
    }
    Database::migrate(&settings.database).map_err(Error::store)?;
    let mut connection = settings.database.connect().map_err(Error::store)?;
    if installation::id(&mut connection).map_err(Error::store)?.is_none() {
        return Ok(None);
    }
    let hash = installation::policy(&mut connection).map_err(Error::store)?;
    let stored = installation::policy_files(&mut connection, hash).map_err(Error::store)?;
    Ok(stored.as_deref().and_then(decode))
}

/// The payload of something the operator did at the command line or by a signal.
#[must_use]
pub fn operator() -> Payload {
    Payload { actor: Some(Actor { kind: "operator", id: Value::from("local") }), ..Payload::default() }
}

/// The names that need numbers.
fn names(policy: &Policy) -> (Vec<String>, Vec<String>) {
    let mut fields: Vec<String> = policy.fields.keys().map(|path: &FieldPath| path.as_str().to_owned()).collect();
    fields.extend(IDENTIFIER_FIELDS.iter().chain(&OWN_FIELDS).map(|&name| name.to_owned()));
    let mut categories: Vec<String> = policy.fields.values().map(|field| field.category.as_str().to_owned()).collect();
    categories.push(OWN_CATEGORY.to_owned());
    categories.sort();
    categories.dedup();
    (fields, categories)
}

/// The texts that a policy publishes: from now on none of them may change.
#[must_use]
pub fn published(policy: &Policy) -> KnownNotices {
    let mut known = KnownNotices::new();
    for ((id, version, language), notice) in &policy.notices {
        let id: NoticeId = id.clone();
        known.insert((id, *version, language.clone()), notice.text_hash);
    }
    known
}

/// The files one after the other: path and content, each with its length (u32, big-endian).
#[must_use]
pub fn encode(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, content) in files {
        for part in [path.as_bytes(), content] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

/// Reads what [`encode`] wrote; `None` if it is cut short or a path is not UTF-8.
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Option<Files> {
    let mut files = BTreeMap::new();
    let part = |bytes: &mut &[u8]| -> Option<Vec<u8>> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        *bytes = rest;
        Some(content.to_vec())
    };
    while !bytes.is_empty() {
        let path = String::from_utf8(part(&mut bytes)?).ok()?;
        files.insert(path, part(&mut bytes)?);
    }
    Some(files)
}

/// The hash by which a policy that is not in force would be known.
#[must_use]
pub fn hash_of(files: &Files) -> PolicyHash {
    crate::policy::content_hash(files)
}
