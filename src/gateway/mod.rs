//! The use-cases: what the house does, one file each, read top to bottom. The only place where the
//! rooms meet.
//!
//! Deliberately absent: actix, diesel, status codes, and any printing.

pub mod access;
pub mod anchor;
pub mod barrier;
pub mod checkpoint;
pub mod clock;
pub mod collect;
pub mod consent;
pub mod disclose;
pub mod dispatch;
pub mod door;
pub mod erase;
pub mod evidence;
pub mod export;
pub mod housekeeping;
pub mod identifiers;
pub mod import;
pub mod journal;
pub mod keyholder;
pub mod keys;
pub mod mirror;
pub mod person;
pub mod policy;
pub mod prove;
pub mod prune;
pub mod restore;
pub mod retention;
pub mod rights;
pub mod rows;
pub mod scrub;
pub mod source;
pub mod subject_request;
pub mod tokens;
pub mod verify;
pub mod witness;

mod error;
mod leaf;
mod lease;
mod meeting;
mod opened;
mod rendering;
mod set_up;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use std::time::Duration;

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;

use crate::crypto::keyring::Keyring;
use crate::domain::event::{Class, Event, Outcome, Role};
use crate::domain::id::{InstanceId, SubjectId};
use crate::storage::keys::KeyStore;
use crate::storage::{Connection, Database, Location};

pub use error::{Error, Result};
pub use leaf::{HeldAuditKey, LeafBuilder};
pub use rendering::LeafBytes;

use self::keyholder::Keyholder;
use self::person::Person;
use self::policy::PolicyInForce;
use self::source::Source;
use self::tokens::Tokens;

/// People whose state is remembered at most.
const REMEMBERED_PEOPLE: usize = 50_000;
/// Identifiers whose person is remembered at most.
const REMEMBERED_IDENTIFIERS: usize = 100_000;

/// The house. Cheap to clone: every clone is the same house.
#[derive(Clone)]
pub struct Gateway(Arc<Rooms>);

/// What the use-cases work with.
pub struct Rooms {
    /// The data store.
    pub database: Database,
    /// The keys.
    pub keyholder: Arc<Keyholder>,
    /// Clock, randomness, ids.
    pub source: Source,
    /// The policy in force.
    pub policy: ArcSwap<PolicyInForce>,
    /// Write keys and API tokens.
    pub tokens: ArcSwap<Tokens>,
    /// The origin of the log, fixed in its leaf 0.
    pub origin: String,
    /// The journal of stops.
    pub journal: journal::Journal,
    /// What this process signed, saw and refused of the log.
    pub log: checkpoint::LogWatch,
    /// What this process knows of the mirror of the log.
    pub mirror: mirror::Mirror,
    /// Who dates the log.
    pub anchors: anchor::Anchors,
    /// Who is asked to cosign the log.
    pub witnesses: witness::Witnesses,
    /// Callers who were refused because they proved nothing.
    refusals: door::DoorRefusals,
    /// This process.
    pub instance: InstanceId,
    /// Where the root keys come from.
    pub root_source: keys::RootSource,
    /// Held while this process works at a key job.
    key_work: tokio::sync::Mutex<()>,
    /// When this process last followed what other processes change.
    pub freshness: housekeeping::Freshness,
    /// What the operator set.
    pub settings: Settings,
    people: Cache<SubjectId, Arc<Person>>,
    identifiers: Cache<[u8; 16], SubjectId>,
}

/// What the operator set, as the use-cases need it.
#[derive(Clone)]
pub struct Settings {
    /// The data store.
    pub database: Location,
    /// The key store.
    pub keys: Location,
    /// Connections for reading.
    pub readers: u32,
    /// Units of work in one commit.
    pub batch_units: usize,
    /// Units of work that may wait.
    pub queue: usize,
    /// The public address, `https://…` without a slash at the end.
    pub public_url: String,
    /// The origin of the log, if the operator names one.
    pub origin: Option<String>,
    /// The folder of the checkpoint memory.
    pub memory: PathBuf,
    /// The folder of the mirror of the log, if one is kept.
    pub mirror: Option<PathBuf>,
    /// The folders of the journal of stops.
    pub journal: Vec<PathBuf>,
    /// How long opened keys live.
    pub key_life: Duration,
    /// Whether anyone may read the entries of the log, not only its hashes.
    pub public_entries: bool,
    /// How often a checkpoint is published.
    pub checkpoint_every: Duration,
    /// How often an idle log gets a heartbeat.
    pub heartbeat_every: Duration,
    /// Authorities that date the log.
    pub anchors: Vec<anchor::AnchorSettings>,
    /// Who is asked to cosign the log, and how many must.
    pub trust: witness::TrustSettings,
    /// Length of a whole try of a delivery.
    pub delivery_time_limit: Duration,
    /// How long a claimed promise belongs to its instance.
    pub delivery_lease: Duration,
    /// Days after which backups are unreadable, if KEK epochs run.
    pub stated_age_days: Option<u32>,
    /// SHA-256 of the configuration without secrets.
    pub config_digest: [u8; 32],
    /// Told about every batch of the committer: units, leaves, seconds.
    pub observe: Arc<dyn Fn(usize, usize, f64) + Send + Sync>,
}

impl std::ops::Deref for Gateway {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.0
    }
}

impl Gateway {
    /// Opens the house: migrates both stores, checks that they, the root key and the log belong
    /// together, makes what a first start needs, puts the policy in force.
    ///
    /// # Errors
    /// Whatever stands against serving; the message says the way out.
    pub async fn open(
        settings: Settings,
        keyring: KeyringSource,
        files: crate::policy::Files,
        source: Source,
    ) -> Result<Self> {
        set_up::open(settings, keyring, files, source, clock::Belief::Checked).await
    }

    /// The state of a person as last seen by this process, read if it is not remembered.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub async fn person(&self, id: SubjectId) -> Result<Option<Arc<Person>>> {
        if let Some(person) = self.people.get(&id) {
            return Ok(Some(person));
        }
        self.person_now(id).await
    }

    /// The state of a person, read now.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub async fn person_now(&self, id: SubjectId) -> Result<Option<Arc<Person>>> {
        let house = self.clone();
        tokio::task::spawn_blocking(move || house.person_blocking(id)).await.map_err(|_| Error::Contention)?
    }

    /// As [`Gateway::person_now`], for callers that may block.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub fn person_blocking(&self, id: SubjectId) -> Result<Option<Arc<Person>>> {
        let mut data = self.database.reader().map_err(Error::store)?;
        let mut keys = self.keyholder.store().reader().map_err(Error::keys)?;
        self.read_person(&mut data, &mut keys, id)
    }

    /// As [`Gateway::person_blocking`], within a visit of both stores.
    fn read_person(&self, data: &mut Connection, keys: &mut Connection, id: SubjectId) -> Result<Option<Arc<Person>>> {
        let person = Person::read(data, keys, &self.keyholder, id)?.map(Arc::new);
        match &person {
            Some(person) => self.people.insert(id, Arc::clone(person)),
            None => {
                self.people.remove(&id);
            }
        }
        Ok(person)
    }

    /// Forgets what is remembered about these people, because it changed.
    pub fn forget(&self, subjects: impl IntoIterator<Item = SubjectId>) {
        for subject in subjects {
            self.people.remove(&subject);
        }
    }

    /// Forgets everything that is remembered about identifiers, because one lost its person.
    pub fn forget_identifiers(&self) {
        self.identifiers.clear();
    }

    /// Begins a leaf.
    ///
    /// # Errors
    /// [`Error::Protection`] when no randomness comes.
    pub fn leaf(&self, event: Event, outcome: Outcome) -> Result<LeafBuilder<'_>> {
        Ok(LeafBuilder::new(&self.origin, self.source.entry().map_err(Error::Protection)?, event, outcome))
    }

    /// A leaf of class *system* or about nobody known, with one part of the installation's.
    ///
    /// # Errors
    /// As [`LeafBuilder::part`].
    pub fn installation_leaf(
        &self,
        event: Event,
        outcome: Outcome,
        payload: &crate::audit::payload::Payload,
        facts: Vec<crate::audit::leaf::Fact>,
    ) -> Result<crate::storage::LeafRow> {
        let key = self.keyholder.own().audit(event.class());
        let mut leaf = self.leaf(event, outcome)?.part(&self.source, Role::Installation, key, payload)?;
        for fact in facts {
            leaf = leaf.fact(fact);
        }
        leaf.finish()
    }

    /// The installation's audit key for a class of events.
    #[must_use]
    pub fn own_audit_key(&self, class: Class) -> &HeldAuditKey {
        self.keyholder.own().audit(class)
    }

    /// Whether both stores answer.
    pub async fn stores_answer(&self) -> bool {
        let data = self.database.read(crate::storage::installation::id).await;
        let keys = self.keyholder.store().read(crate::storage::keys::installation).await;
        data.is_ok() && keys.is_ok()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<PolicyInForce> {
        self.policy.load_full()
    }

    /// Ends the writers after what waits is done.
    pub fn close(self) {
        let database = self.database.clone();
        let store: KeyStore = self.keyholder.store().clone();
        drop(self);
        database.close();
        store.close();
    }
}

/// Where the root keys come from.
pub enum KeyringSource {
    /// `root.key`, made at the first start.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether the gateway makes and rotates it.
        managed: bool,
    },
    /// The text of the environment variable, `2:amanat_rk_…,1:amanat_rk_…`.
    Environment(zeroize::Zeroizing<String>),
    /// Keys made by a test.
    Given(Keyring),
}

/// Brings both stores to the schema of this version; gives the numbers of migrations run.
///
/// # Errors
/// When a store cannot be reached or a migration fails.
pub fn migrate(settings: &Settings) -> Result<(usize, usize)> {
    set_up::migrate(settings)
}

/// Titles of things by id, as answers show them.
pub type Titles = BTreeMap<String, String>;

/// SHA-256 of a request's body, for the doors, which know no cryptography.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> [u8; 32] {
    crate::crypto::mac::hash(bytes)
}
