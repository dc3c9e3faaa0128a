//! What a bundle shows beside the log: sealed and opened parts, policies, time-stamps.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;

use crate::audit::bundle::BundlePath;
use crate::audit::finding::{Code, Finding};
use crate::audit::leaf::{Leaf, Skeleton};
use crate::audit::payload::read_plaintext;
use crate::audit::proof::OpenedPart;
use crate::audit::tree::Hash;
use crate::audit::verify::Pruned;
use crate::crypto::mac;
use crate::crypto::mac::audit::TagKey;
use crate::domain::event::{Class, Role};
use crate::domain::id::EntryId;
use crate::domain::policy::PolicyHash;
use crate::gateway::Result;
use crate::gateway::verify::pruned;
use crate::policy::{Files, content_hash};

use super::{Bundle, malformed};

/// The parts that a bundle holds, and what became of them.
pub(super) struct Parts {
    has_sealed: bool,
    shown: BTreeMap<(EntryId, Role), OpenedPart>,
    /// The tag keys of one person.
    tags: BTreeMap<Class, TagKey>,
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
        let mut parts = Parts { has_sealed, shown: BTreeMap::new(), tags: self.tags(findings)?, opened: 0 };
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

    /// Reads the tag keys.
    fn tags(&mut self, findings: &mut Vec<Finding>) -> Result<BTreeMap<Class, TagKey>> {
        let mut tags = BTreeMap::new();
        for class in Class::ALL {
            let Some(text) = self.take(&BundlePath::Tags(*class), findings)? else { continue };
            let text = text.strip_suffix(b"\n").unwrap_or(&text);
            match HEXLOWER.decode(text).ok().and_then(|key| key.try_into().ok()) {
                Some(key) => drop(tags.insert(*class, TagKey::from_shown(key))),
                None => findings.push(malformed("A tag key cannot be read.".to_owned())),
            }
        }
        Ok(tags)
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
            let bound = Leaf::decode(leaf).ok().filter(|leaf| part.is_bound_to(leaf, &self.manifest.origin));
            let Some(bound) = bound else {
                let text = "An opened part is not what the leaf commits to.";
                findings.push(Finding::at(Code::PartUnbound, seq, text));
                continue;
            };
            parts.opened += 1;
            // Whoever has the tag key of a person finds every leaf about them: what is opened must be theirs.
            let named = bound.parts.iter().find(|named| named.role == *role && *role == Role::Subject);
            let key = parts.tags.get(&bound.event.class());
            if let (Some(named), Some(key)) = (named, key)
                && named.tag != key.tag(role.number(), entry)
            {
                findings.push(Finding::at(Code::TagMismatch, seq, "An opened part is of somebody else."));
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

    /// Reads what is left to be read, so that every file is held against the list, and judges prunes by
    /// their policies.
    pub(super) fn read_rest(&mut self, prunes: &[Pruned], findings: &mut Vec<Finding>) -> Result<()> {
        self.take(&BundlePath::Readme, findings)?;
        let mut policies: BTreeSet<Hash> = BTreeSet::new();
        let rest: Vec<BundlePath> = self.files.left_over().filter_map(BundlePath::parse).collect();
        for path in rest {
            // Nothing else may be left over.
            if let BundlePath::Policy(hash, _) = path {
                policies.insert(hash);
            }
        }
        let mut unread: Vec<&Pruned> = prunes.iter().collect();
        for hash in policies {
            let files = self.read_policy(hash, findings)?;
            let policy = pruned::read(&files, PolicyHash(hash));
            let of_policy = unread.extract_if(.., |prune| prune.policy == hash);
            findings.extend(of_policy.flat_map(|prune| pruned::judge_one(prune, policy.as_ref())));
        }
        findings.extend(unread.into_iter().flat_map(|prune| pruned::judge_one(prune, None)));
        Ok(())
    }

    /// A policy is known by the hash over its files.
    fn read_policy(&mut self, hash: Hash, findings: &mut Vec<Finding>) -> Result<Files> {
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
            let shown = HEXLOWER.encode(&hash);
            findings.push(malformed(format!("The files below policy/{shown} are not the policy of that hash.")));
        }
        Ok(files)
    }
}
