//! Logs that a test writes by itself, leaf by leaf, and signs with keys of its own: histories that no gateway of ours
//! would make, and that whoever has the log's key can.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use amanat::audit::bundle::Manifest;
use amanat::audit::checkpoint::Checkpoint;
use amanat::audit::leaf::{Draft, Fact, Facts, NO_PREVIOUS, leaf_hash};
use amanat::audit::note::{KeyKind, VerifierKey};
use amanat::audit::tile::{TileKind, TilePath, put_entry};
use amanat::audit::tree::{Frontier, Hash};
use amanat::crypto::key::Key;
use amanat::crypto::signature::Signing;
use amanat::domain::event::{Event, Outcome};
use amanat::domain::id::EntryId;
use amanat::policy::{Files, content_hash};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::harness::shipped_policy;
use crate::log::bundles::Unpacked;

/// The name of every log that is made here.
pub const ORIGIN: &str = "made.test/log";
/// 2026-01-01, in microseconds.
pub const START: u64 = 1_767_225_600_000_000;
/// In microseconds.
pub const HOUR: u64 = 3_600_000_000;

/// A key of a log.
pub struct MadeKey {
    pub verifier: VerifierKey,
    signing: Signing,
}

impl MadeKey {
    pub fn new(seed: u8) -> Self {
        let signing = Signing::from_seed(&Key::from_bytes(&mut Zeroizing::new([seed; 32])));
        Self { verifier: VerifierKey::new(ORIGIN, KeyKind::Ed25519, signing.public_key()).expect("key"), signing }
    }
}

/// A log under way.
#[derive(Clone)]
pub struct MadeLog {
    pub leaves: Vec<Vec<u8>>,
    hashes: Vec<Hash>,
    /// The time of the next leaf, in microseconds since 1970 UTC.
    pub time: u64,
    /// Signed notes by size.
    pub notes: BTreeMap<u64, String>,
    policies: Vec<Files>,
    anchors: BTreeMap<u64, Vec<u8>>,
    /// Says which of two logs an entry belongs to.
    branch: u64,
}

impl MadeLog {
    /// A log that was opened, heartbeats announced each hour, under the policy that ships.
    pub fn opened(key: &MadeKey) -> Self {
        Self::opened_with(key, Vec::new())
    }

    /// The same with more to say in its first leaf.
    pub fn opened_with(key: &MadeKey, more: Vec<Fact>) -> Self {
        let policy = shipped_policy();
        let mut facts = vec![
            Fact::PolicyHash(content_hash(&policy).0),
            Fact::Verifier(key.verifier.typed()),
            Fact::Origin(ORIGIN.to_owned()),
            Fact::HeartbeatSeconds(3_600),
        ];
        facts.extend(more);
        let mut log = Self {
            leaves: Vec::new(),
            hashes: Vec::new(),
            time: START,
            notes: BTreeMap::new(),
            policies: vec![policy],
            anchors: BTreeMap::new(),
            branch: 0,
        };
        log.push(Event::LogOpened, Outcome::Done, facts);
        log
    }

    /// A log of this many leaves, a heartbeat each half hour.
    pub fn of(key: &MadeKey, size: usize) -> Self {
        let mut log = Self::opened(key);
        log.beat(size - 1);
        log
    }

    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Appends a leaf, and half an hour passes.
    pub fn push(&mut self, event: Event, outcome: Outcome, facts: Vec<Fact>) {
        let seq = self.size();
        let digest = leaf_hash(&[seq.to_be_bytes(), self.branch.to_be_bytes()].concat());
        let entry = EntryId::from_bytes(*digest.first_chunk().expect("bytes"));
        let draft = Draft::new(entry, event, outcome, Vec::new(), Facts::new(facts)).expect("a leaf by the rules");
        let mut leaf = Vec::new();
        draft.encode(seq, self.hashes.last().unwrap_or(&NO_PREVIOUS), self.time, &mut leaf);
        self.hashes.push(leaf_hash(&leaf));
        self.leaves.push(leaf);
        self.time += HOUR / 2;
    }

    /// Appends heartbeats.
    pub fn beat(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(Event::LogHeartbeat, Outcome::Done, Vec::new()));
    }

    /// Another history from this size on: what was signed of more leaves is not shown.
    pub fn cut(&self, size: u64) -> Self {
        let mut log = self.clone();
        log.branch += 1;
        let count = usize::try_from(size).expect("size");
        log.leaves.truncate(count);
        log.hashes.truncate(count);
        log.notes.retain(|signed, _| *signed <= size);
        log.anchors.retain(|dated, _| *dated <= size);
        log
    }

    pub fn root_at(&self, size: u64) -> Hash {
        let mut frontier = Frontier::new();
        self.hashes.iter().take(usize::try_from(size).expect("size")).for_each(|hash| frontier.append(hash));
        frontier.root()
    }

    /// The checkpoint of a size.
    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), size, root: self.root_at(size) }
    }

    /// The note of the present size, signed by these keys, which the bundle will hold.
    pub fn sign(&mut self, keys: &[&MadeKey]) -> String {
        let note = self.note(self.size(), keys);
        self.notes.insert(self.size(), note.clone());
        note
    }

    /// The note of a size, signed by these keys.
    pub fn note(&self, size: u64, keys: &[&MadeKey]) -> String {
        let checkpoint = self.checkpoint(size);
        let mut note = checkpoint.text() + "\n";
        for key in keys {
            note += &key.verifier.signature_line(&key.signing.sign(checkpoint.text().as_bytes()));
        }
        note
    }

    /// What an authority replied of a size.
    pub fn dated(&mut self, size: u64, reply: Vec<u8>) {
        self.anchors.insert(size, reply);
    }

    /// Another policy that leaves name; its hash.
    pub fn add_policy(&mut self, files: Files) -> Hash {
        let hash = content_hash(&files).0;
        self.policies.push(files);
        hash
    }

    /// Takes the policies out that the bundle would hold.
    pub fn without_policies(mut self) -> Self {
        self.policies.clear();
        self
    }

    /// Writes the bundle to a folder below this one. Its newest note is the newest that was signed.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let (size, newest) = self.notes.last_key_value().expect("a signed note");
        let mut files = BTreeMap::new();
        let manifest = Manifest::new(ORIGIN.to_owned(), *size, 0, *size);
        let mut list = Vec::new();
        manifest.write(&mut list).expect("list");
        files.insert("bundle.json".to_owned(), list);
        files.insert("trust.txt".to_owned(), trust(&[&MadeKey::new(1)]).into_bytes());
        files.insert("checkpoint".to_owned(), newest.clone().into_bytes());
        for (size, note) in self.notes.iter().rev().skip(1) {
            files.insert(format!("checkpoints/{size}"), note.clone().into_bytes());
        }
        let count = usize::try_from(*size).expect("size");
        for (index, (leaves, hashes)) in self.leaves[..count].chunks(256).zip(self.hashes.chunks(256)).enumerate() {
            let path = |kind| {
                let width = u16::try_from(leaves.len()).expect("width");
                TilePath { kind, index: index as u64, width }.to_string()
            };
            let mut entries = Vec::new();
            leaves.iter().for_each(|leaf| put_entry(&mut entries, leaf).expect("short"));
            files.insert(path(TileKind::Entries), entries);
            files.insert(path(TileKind::Hashes(0)), hashes[..leaves.len()].concat());
        }
        for policy in &self.policies {
            let hash = HEXLOWER.encode(&content_hash(policy).0);
            files.extend(policy.iter().map(|(path, bytes)| (format!("policy/{hash}/{path}"), bytes.clone())));
        }
        let anchors = self.anchors.iter().filter(|(dated, _)| *dated <= size);
        files.extend(anchors.map(|(size, reply)| (format!("anchor/{size}.tsr"), reply.clone())));
        Unpacked(files).write(folder)
    }
}

/// A policy that trusts these keys and asks for no witness.
pub fn trust(keys: &[&MadeKey]) -> String {
    let lines: String = keys.iter().map(|key| format!("log {}\n", key.verifier)).collect();
    lines + "quorum none\n"
}
