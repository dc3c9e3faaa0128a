//! What the ledger of erasures remembers of a plan: counts, names of things, never a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crypto;
use crate::domain::id::SubjectId;
use crate::gateway::{Error, Result};
use crate::storage::Id16;
use crate::storage::erasures::StoredErasure;

/// The plan of an erasure as it is stored and hashed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct WrittenPlan {
    /// Rows to be deleted, per table, when the plan was made.
    pub(super) rows: BTreeMap<String, u64>,
    /// What a law obliges to keep.
    pub(super) kept: Vec<Kept>,
    /// Subjects that keep something, with the version of the key that seals only that.
    pub(super) keep: Vec<(String, u32)>,
    /// Ids of the audit keys that are destroyed: sealed parts of the log lie under them.
    pub(super) holders: Vec<String>,
    /// Entries of the suppression list that were made.
    pub(super) suppressions: Vec<String>,
    /// How many marks keep old events away.
    pub(super) marks: u64,
    /// The recipients that are told.
    pub(super) recipients: Vec<String>,
    /// Subjects of the profile that are left out, because their link is only claimed and a device is
    /// shared.
    pub(super) left_out: u64,
    /// Content hash of the policy.
    pub(super) policy: String,
}

/// One group of data that is kept (Art. 17(3)).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The retention class.
    pub(super) what: String,
    /// The ground, `17(3)(b)`.
    pub(super) ground: String,
    /// The law.
    pub(super) law: String,
    /// The one purpose it still serves.
    pub(super) purpose: String,
    /// The last day, if the class names one.
    pub(super) until: Option<String>,
    /// How many records hold some of it.
    pub(super) rows: u64,
}

impl WrittenPlan {
    /// The text that is stored and hashed.
    pub(super) fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|_| Error::WrongState("the plan of an erasure cannot be written"))
    }

    /// Reads the plan of a ledger row.
    pub(super) fn of(ledger: &StoredErasure) -> Result<Self> {
        serde_json::from_str(&ledger.plan)
            .map_err(|_| Error::Store(crate::storage::Error::Malformed { table: "erasure" }))
    }

    /// Ids of the audit keys that are destroyed.
    pub(super) fn holders(&self) -> Result<Vec<Id16>> {
        self.holders.iter().map(|text| sixteen(text).map(Id16)).collect()
    }

    /// The key version that a subject keeps, if it keeps anything.
    pub(super) fn kept_version(&self, subject: SubjectId) -> Option<u32> {
        self.keep.iter().find(|(id, _)| *id == subject.to_string()).map(|(_, version)| *version)
    }
}

fn sixteen(text: &str) -> Result<[u8; 16]> {
    data_encoding::HEXLOWER
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Error::DataUnreadable(crypto::Error::Corrupted))
}
