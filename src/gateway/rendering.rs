//! Leaves as JSON. JSON renders the leaf, it is never what was hashed: that is its bytes.

use std::collections::HashSet;

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Map, Value, json};

use crate::audit::leaf::{Fact, Leaf, leaf_hash};
use crate::audit::tree::Hash;
use crate::domain::event::Role;
use crate::domain::id::EntryId;
use crate::storage::audit_log::{self, StoredLeaf};
use crate::storage::{self, Connection};

/// A leaf with everything that is shown of it.
pub(super) struct Rendered {
    /// As it is stored.
    pub(super) stored: StoredLeaf,
    /// The hash of its bytes.
    pub(super) hash: Hash,
    /// What it says; `None` if this version cannot read it.
    pub(super) leaf: Option<Leaf>,
    /// Its parts and whether they are `sealed`, `erased` or `given`.
    pub(super) parts: Vec<(Role, &'static str)>,
}

/// Whether the bytes of a leaf are shown with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafBytes {
    /// In base64.
    Included,
    /// Its hash stands for them.
    Left,
}

/// Reads what leaves say and which of their parts are still there.
pub(super) fn rendered(connection: &mut Connection, leaves: Vec<StoredLeaf>) -> storage::Result<Vec<Rendered>> {
    let entries: Vec<EntryId> = leaves.iter().map(|leaf| leaf.entry).collect();
    let kept: HashSet<(EntryId, u8)> =
        audit_log::parts_of(connection, &entries)?.into_iter().map(|part| (part.entry, part.role)).collect();
    let render = |stored: StoredLeaf| {
        let leaf = Leaf::decode(&stored.leaf).ok();
        let state = |role: Role| match role {
            Role::Receipt => "given",
            _ if kept.contains(&(stored.entry, role.number())) => "sealed",
            _ => "erased",
        };
        let parts = leaf.iter().flat_map(|leaf| &leaf.parts).map(|part| (part.role, state(part.role))).collect();
        Rendered { hash: leaf_hash(&stored.leaf), leaf, parts, stored }
    };
    Ok(leaves.into_iter().map(render).collect())
}

impl Rendered {
    /// The leaf as JSON; of one that this version cannot read, its place and hash.
    pub(super) fn json(&self, origin: &str, bytes: LeafBytes) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("origin", json!(origin));
        put("seq", json!(self.stored.seq));
        put("entry", json!(self.entry()));
        put("leaf_hash", json!(self.hash()));
        if bytes == LeafBytes::Included {
            put("leaf", json!(BASE64.encode(&self.stored.leaf)));
        }
        if let Some(leaf) = &self.leaf {
            put("time", json!(self.stored.time.timestamp()));
            put("event", json!(leaf.event.as_str()));
            put("code", json!(leaf.event.number()));
            put("outcome", json!(leaf.outcome.as_str()));
            put("class", json!(leaf.event.class().as_str()));
            put(
                "parts",
                self.parts.iter().map(|(role, state)| json!({"role": role.as_str(), "state": state})).collect(),
            );
            put("facts", Value::Object(leaf.facts.as_slice().iter().map(fact).collect()));
        }
        members
    }

    /// The entry in hexadecimal digits.
    pub(super) fn entry(&self) -> String {
        HEXLOWER.encode(self.stored.entry.as_bytes())
    }

    /// The hash in hexadecimal digits.
    pub(super) fn hash(&self) -> String {
        HEXLOWER.encode(&self.hash)
    }
}

/// A fact by name, as JSON.
fn fact(fact: &Fact) -> (String, Value) {
    let time = |micros: u64| json!(storage::Micros(i64::try_from(micros).unwrap_or(i64::MAX)).timestamp());
    let (name, value) = match fact {
        Fact::PolicyHash(hash) => ("policy", json!(HEXLOWER.encode(hash))),
        Fact::Digest(hash) => ("digest", json!(HEXLOWER.encode(hash))),
        Fact::Deleted(counts) => {
            ("deleted", json!({"operation": counts.operation, "evidence": counts.evidence, "system": counts.system}))
        }
        Fact::Number(number) => ("number", json!(number)),
        Fact::Fingerprints(fingerprints) => {
            ("fingerprints", fingerprints.iter().map(|fingerprint| HEXLOWER.encode(fingerprint)).collect())
        }
        Fact::Cause(cause) => ("reason", json!(cause.as_str())),
        Fact::LogSize(size) => ("size", json!(size)),
        Fact::Root(root) => ("root", json!(BASE64.encode(root))),
        Fact::Verifier(typed) => ("verifier", json!(BASE64.encode(typed))),
        Fact::Origin(origin) => ("origin", json!(origin)),
        Fact::From(micros) => ("from", time(*micros)),
        Fact::Until(micros) => ("until", time(*micros)),
        Fact::Epoch(epoch) => ("epoch", json!(epoch)),
        Fact::HeartbeatSeconds(seconds) => ("heartbeat_seconds", json!(seconds)),
        Fact::KeptClasses(classes) => ("kept_classes", json!(classes)),
        Fact::ReplacedVerifier(typed) => ("replaced_verifier", json!(BASE64.encode(typed))),
    };
    (name.to_owned(), value)
}
