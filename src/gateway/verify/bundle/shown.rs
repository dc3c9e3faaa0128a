//! What a bundle shows beside the log: sealed and opened parts, policies, time-stamps.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::bundle::BundlePath;
use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::{Leaf, Skeleton};
use crate::audit::payload::read_plaintext;
use crate::audit::proof::OpenedPart;
use crate::audit::tree::Hash;
use crate::crypto::mac;
use crate::domain::event::Role;
use crate::domain::id::EntryId;
use crate::gateway::Result;
use crate::policy::{Files, content_hash};

use super::{Bundle, malformed};

/// The parts that a bundle holds, and what became of them.
pub(super) struct Parts {
    has_sealed: bool,
    shown: BTreeMap<(EntryId, Role), OpenedPart>,
    opened: u64,
}

impl Parts {
    /// Parts that were opened and fit.
    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }

    /// Tells of opened parts that no leaf in the bundle has.
    pub(super) fn finish(self, findings: &mut Vec<Finding>) {
        for (entry, role) in self.shown.into_keys() {
            let text = format!("{} opens a part of no leaf in the bundle.", BundlePath::Opened(entry, role));
            findings.push(Finding::whole(Code::PartUnbound, text));
        }
    }
}

impl Bundle {
    /// Reads the opened parts; there are few.
    pub(super) fn parts(&mut self, findings: &mut Vec<Finding>) -> Result<Parts> {
        let has_sealed = self.files.paths().any(|path| path.starts_with("sealed/"));
        let opened = self.files.paths().filter(|path| path.starts_with("opened/"));
        let paths: Vec<BundlePath> = opened.filter_map(BundlePath::parse).collect();
        let mut parts = Parts { has_sealed, shown: BTreeMap::new(), opened: 0 };
        for path in paths {
            let BundlePath::Opened(entry, role) = path else { continue };
            let Some(bytes) = self.take(&path, findings)? else { continue };
            match serde_json::from_slice::<OpenedPart>(&bytes) {
                Ok(part) if part.role == role.number() && read_plaintext(&part.plaintext).is_ok() => {
                    parts.shown.insert((entry, role), part);
                }
                _ => findings.push(malformed(format!("{path} is no opened part."))),
            }
        }
        Ok(parts)
    }

    /// Holds the opened parts of a leaf against it and gives role and hash of the sealed ones;
    /// `None` if the bundle has none at all.
    pub(super) fn look_at(
        &mut self,
        parts: &mut Parts,
        leaf: &[u8],
        seq: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Vec<(u8, Hash)>>> {
        if !parts.has_sealed && parts.shown.is_empty() {
            return Ok(None);
        }
        let Some(Skeleton { entry, .. }) = Skeleton::read(leaf) else { return Ok(None) };
        for role in Role::ALL {
            let Some(part) = parts.shown.remove(&(entry, *role)) else { continue };
            if Leaf::decode(leaf).is_ok_and(|leaf| part.is_bound_to(&leaf, &self.manifest.origin)) {
                parts.opened += 1;
            } else {
                let text = "An opened part is not what the leaf commits to.";
                findings.push(Finding::at(Code::PartUnbound, seq, text));
            }
        }
        if !parts.has_sealed {
            return Ok(None);
        }
        let mut sealed = Vec::new();
        for role in Role::ALL {
            if let Some(bytes) = self.take(&BundlePath::Sealed(entry, *role), findings)? {
                sealed.push((role.number(), mac::hash(&bytes)));
            }
        }
        Ok(Some(sealed))
    }

    /// Reads what is left to be read, so that every file is held against the list.
    pub(super) fn read_rest(&mut self, findings: &mut Vec<Finding>) -> Result<()> {
        self.take(&BundlePath::Readme, findings)?;
        let mut policies: BTreeSet<Hash> = BTreeSet::new();
        let rest: Vec<BundlePath> = self.files.left_over().filter_map(BundlePath::parse).collect();
        for path in rest {
            match path {
                BundlePath::Policy(hash, _) => {
                    policies.insert(hash);
                }
                BundlePath::Tags(_) => drop(self.take(&path, findings)?),
                // Nothing else may be left over.
                _ => {}
            }
        }
        policies.into_iter().try_for_each(|hash| self.read_policy(hash, findings))
    }

    /// A policy is known by the hash over its files.
    fn read_policy(&mut self, hash: Hash, findings: &mut Vec<Finding>) -> Result<()> {
        let rest: Vec<BundlePath> = self.files.left_over().filter_map(BundlePath::parse).collect();
        let mut files = Files::new();
        for path in rest {
            let BundlePath::Policy(of, name) = &path else { continue };
            if *of == hash
                && let Some(bytes) = self.take(&path, findings)?
            {
                files.insert(name.clone(), bytes);
            }
        }
        if content_hash(&files).0 != hash {
            let shown = data_encoding::HEXLOWER.encode(&hash);
            findings.push(malformed(format!("The files below policy/{shown} are not the policy of that hash.")));
        }
        Ok(())
    }
}
