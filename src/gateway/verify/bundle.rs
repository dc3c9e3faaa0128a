//! Verifying a bundle: the same verifier as for a database, and no database, network or key.
//!
//! The hash tiles of the whole log are read once, in order, the entries of the range beside them.
//! A tile is held in memory, not the log. Whatever is wrong in the bundle is a finding, and reading
//! goes on behind it wherever that makes sense.

mod against;
mod files;
mod notes;
mod shown;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::audit::attest::attest;
use crate::audit::bundle::{BundlePath, Manifest};
use crate::audit::finding::{Code, Finding, Report, Severity};
use crate::audit::leaf::{Leaf, Skeleton};
use crate::audit::receipt::TrustSource;
use crate::audit::tile::{TILE_WIDTH, TileKind, TilePath, read_entries};
use crate::audit::tree::{Frontier, Hash, HashSource};
use crate::audit::trust::Trust;
use crate::audit::verify::{EntryWatch, LeafRow, Start, Verifier};
use crate::crypto::signature::certificate::Roots;
use crate::gateway::{Error, Result};

use self::files::{BundleFiles, Content, Integrity, Unreadable};
use self::notes::{Notes, Standing};
use self::shown::Parts;
use super::anchors::Anchors;
use super::freshness;

/// The hash tiles of a bundle as a source for proofs.
struct TiledHashes<'a>(RefCell<&'a mut Bundle>);

impl<'a> TiledHashes<'a> {
    const fn new(bundle: &'a mut Bundle) -> Self {
        Self(RefCell::new(bundle))
    }
}

impl HashSource for TiledHashes<'_> {
    type Error = Error;

    /// Reads every tile below: proofs are made of forks only.
    fn hash(&self, level: u32, index: u64) -> Result<Hash> {
        let missing = || Error::Unacceptable("the bundle has not all hashes");
        let count = 1_u64.checked_shl(level).ok_or_else(missing)?;
        let first = index.checked_mul(count).ok_or_else(missing)?;
        let mut bundle = self.0.borrow_mut();
        let size = bundle.manifest.size;
        let mut frontier = Frontier::new();
        for tile in first / TILE_WIDTH..(first + count).div_ceil(TILE_WIDTH) {
            let start = tile * TILE_WIDTH;
            let width = size.min(start + TILE_WIDTH).saturating_sub(start);
            // What is wrong with them was told when they were read for the verdict.
            let hashes = bundle.hashes(tile, width, &mut Vec::new())?.ok_or_else(missing)?;
            let within = (start..).zip(&hashes).filter(|(seq, _)| (first..first + count).contains(seq));
            within.for_each(|(_, hash)| frontier.append(hash));
        }
        if frontier.size() == count { Ok(frontier.root()) } else { Err(missing()) }
    }
}

/// Entries that one pass watches for repetition, 24 bytes each.
const WATCHED: u64 = 1_500_000;

/// A bundle to verify, and against what.
pub struct BundleVerification {
    /// The zip, or the folder it was unpacked to.
    pub bundle: PathBuf,
    /// Another bundle of the same log.
    pub against: Option<PathBuf>,
    /// Saved checkpoints: a name for each, to be shown, and the note.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// The verifier's own trust policy. Without it the bundle's own claim is used, and the verdict is
    /// at best "not attested".
    pub trust: Option<Trust>,
    /// Who vouches for the authorities that dated the log.
    pub anchor_roots: Roots,
    /// How old the newest attested time may be.
    pub maximum_age: Option<Duration>,
    /// Now.
    pub now: Timestamp,
}

/// Verifies a bundle. `progress` is told how many leaves are done and how many there are.
///
/// # Errors
/// When the disk does not give the bundle; whatever is wrong *in* it is a finding.
pub fn verify_bundle(wanted: &BundleVerification, mut progress: impl FnMut(u64, u64)) -> Result<Report> {
    let mut findings = Vec::new();
    let mut report = match Bundle::open(&wanted.bundle, "The bundle", &mut findings)? {
        Some(bundle) => bundle.verify(wanted, &mut progress, &mut findings)?,
        None => Report::new(),
    };
    report.findings.append(&mut findings);
    report.conclude();
    Ok(report)
}

/// The signed notes of a bundle, to hold another source of the same log against: a name for each,
/// and the note.
///
/// # Errors
/// As [`verify_bundle`].
pub fn notes_of_bundle(path: &Path) -> Result<std::result::Result<Vec<(String, Vec<u8>)>, String>> {
    let mut findings = Vec::new();
    let Some(mut bundle) = Bundle::open(path, "The other bundle", &mut findings)? else {
        return Ok(Err(findings.pop().map_or_else(String::new, |finding| finding.text)));
    };
    let names = bundle.note_paths();
    let mut notes = Vec::new();
    for name in names {
        if let Some(note) = bundle.take(&name, &mut findings)? {
            notes.push((format!("{name} of the other bundle"), note));
        }
    }
    Ok(Ok(notes))
}

/// A bundle whose list of files was read.
struct Bundle {
    files: BundleFiles,
    manifest: Manifest,
}

impl Bundle {
    /// Reads the list of files and holds the files against it. `None` if there is no list.
    fn open(path: &Path, who: &str, findings: &mut Vec<Finding>) -> Result<Option<Self>> {
        let mut files = match BundleFiles::open(path) {
            Ok(files) => files,
            Err(Unreadable::Disk(error)) => return Err(error),
            Err(Unreadable::Malformed(what)) => {
                findings.push(Finding::whole(Code::Malformed, format!("{who} cannot be read: {what}.")));
                return Ok(None);
            }
        };
        let manifest = match files.read(&BundlePath::Manifest)? {
            Content::Bytes(bytes, Integrity::Sound) => Manifest::parse(&bytes).ok(),
            _ => None,
        };
        let Some(manifest) = manifest else {
            let text = format!("{who} has no list of its files, or bundle.json is not in the form of one.");
            findings.push(Finding::whole(Code::Malformed, text));
            return Ok(None);
        };
        Ok(Some(Self { files, manifest }))
    }

    fn verify(
        mut self,
        wanted: &BundleVerification,
        progress: &mut dyn FnMut(u64, u64),
        findings: &mut Vec<Finding>,
    ) -> Result<Report> {
        self.compare_names(findings);
        let claimed = self.claim(findings)?;
        let mut notes = self.notes(wanted, claimed, findings)?;
        let mut evidence = match &wanted.against {
            Some(path) => self.hold_against(path, &mut notes, findings)?,
            None => Vec::new(),
        };
        let (size, from, to) = (self.manifest.size, self.manifest.from, self.manifest.to);
        let partitions = u8::try_from((to - from) / WATCHED + 1).unwrap_or(u8::MAX);
        let verifier = Verifier::new(Start {
            origin: Some(notes.origin.clone()),
            checkpoints: notes.checkpoints.clone(),
            entries: EntryWatch::partition(0, partitions),
            ..Start::default()
        });
        let mut parts = self.parts(findings)?;
        let mut report = self.read_leaves(verifier, &mut parts, progress, findings)?;
        for partition in 1..partitions {
            self.watch_partition(partition, partitions, findings)?;
        }
        report.opened = parts.opened();
        parts.finish(findings);
        self.hold_anchors(&notes, wanted, &mut report, findings)?;
        self.read_rest(&report.prunes, findings)?;
        let is_forked = |finding: &Finding| finding.severity == Severity::Forked;
        if evidence.is_empty() && report.findings.iter().chain(&*findings).any(is_forked) {
            evidence = notes.evidence(&TiledHashes::new(&mut self), size);
        }
        report.evidence = evidence;
        for path in self.files.left_over() {
            findings.push(malformed(format!("{path} belongs to nothing that the bundle says it holds.")));
        }
        report.findings.append(findings);
        report.size = report.size.max(size);

        if wanted.trust.is_none() {
            let text = "The keys are the bundle's own claim; bring a trust policy of your own.";
            report.findings.push(Finding::whole(Code::Unwitnessed, text));
        }
        if let Some(trust) = &notes.trust {
            let source = wanted.trust.as_ref().map_or(TrustSource::Receipt, TrustSource::Own);
            attest(&mut report, &notes.verified, trust, source, freshness(wanted.maximum_age, wanted.now));
        }
        Ok(report)
    }

    /// Whether exactly the files are there that are listed.
    fn compare_names(&self, findings: &mut Vec<Finding>) {
        let own = BundlePath::Manifest.to_string();
        for path in self.files.paths().filter(|path| *path != own && !self.manifest.files.contains_key(*path)) {
            findings.push(malformed(format!("{path} is not listed in bundle.json.")));
        }
        for path in self.manifest.files.keys().filter(|path| !self.files.has(path)) {
            // A list may name anything; what it names is shown as a text.
            findings.push(malformed(format!("{path:?} is listed in bundle.json and not there.")));
        }
    }

    /// What the bundle says of its own keys.
    fn claim(&mut self, findings: &mut Vec<Finding>) -> Result<Option<Trust>> {
        let text = self.take(&BundlePath::Trust, findings)?;
        let trust = text.and_then(|text| String::from_utf8(text).ok()).and_then(|text| Trust::parse(&text).ok());
        if trust.is_none() {
            findings.push(malformed("trust.txt is not there or no trust policy.".to_owned()));
        }
        Ok(trust)
    }

    /// Everything signed that the leaves must fit.
    fn notes(
        &mut self,
        wanted: &BundleVerification,
        claimed: Option<Trust>,
        findings: &mut Vec<Finding>,
    ) -> Result<Notes> {
        let mut notes = Notes::new(&self.manifest.origin, wanted.trust.as_ref(), claimed);
        self.learn_keys(&mut notes)?;
        for path in self.note_paths() {
            let Some(note) = self.take(&path, findings)? else { continue };
            let size = self.size_of(&path).unwrap_or_default();
            let standing = if path == BundlePath::Checkpoint { Standing::Evidence } else { Standing::Older };
            match notes.take(&path.to_string(), &note, standing) {
                Ok(said) if said == size => {}
                Ok(said) => findings.push(malformed(format!("{path} is a checkpoint of {said} leaves, not {size}."))),
                Err(finding) => findings.push(finding),
            }
        }
        for (name, note) in &wanted.checkpoints {
            if let Err(finding) = notes.take(name, note, Standing::Evidence) {
                findings.push(finding);
            }
        }
        Ok(notes)
    }

    /// Learns the keys before and after each known one: both sign the checkpoint right behind the leaf at
    /// which one hands over to the other.
    fn learn_keys(&mut self, notes: &mut Notes) -> Result<()> {
        let paths: BTreeSet<u64> = self.note_paths().iter().filter_map(|path| self.size_of(path)).collect();
        let mut handovers = Vec::new();
        for size in paths {
            let path = if size == self.manifest.size { BundlePath::Checkpoint } else { BundlePath::CheckpointOf(size) };
            let Content::Bytes(note, _) = self.files.read(&path)? else { continue };
            if let Some(seq) = size.checked_sub(1).filter(|_| notes.is_handover(&note))
                && let Some(leaf) = self.leaf(seq)?
            {
                handovers.push((note, leaf));
            }
        }
        // Forwards from the keys that are known, and back from the newest of them.
        handovers.iter().chain(handovers.iter().rev()).for_each(|(note, leaf)| notes.learn(note, leaf));
        Ok(())
    }

    /// The size that a path of a note stands for.
    const fn size_of(&self, path: &BundlePath) -> Option<u64> {
        match path {
            BundlePath::Checkpoint => Some(self.manifest.size),
            BundlePath::CheckpointOf(size) => Some(*size),
            _ => None,
        }
    }

    /// A single leaf, if its entry is in the bundle.
    fn leaf(&mut self, seq: u64) -> Result<Option<Leaf>> {
        let Manifest { size, from, to, .. } = self.manifest;
        if !(from..to).contains(&seq) {
            return Ok(None);
        }
        let (index, first) = (seq / TILE_WIDTH, seq / TILE_WIDTH * TILE_WIDTH);
        let Some(path) = tile(TileKind::Entries, index, size.min(first + TILE_WIDTH) - first) else { return Ok(None) };
        let Content::Bytes(bytes, _) = self.files.read(&path)? else { return Ok(None) };
        let place = usize::try_from(seq - first).ok();
        let leaf = place.and_then(|place| read_entries(&bytes).ok()?.get(place).map(|leaf| Leaf::decode(leaf)));
        Ok(leaf.and_then(std::result::Result::ok))
    }

    /// Holds every time-stamp against its checkpoint.
    fn hold_anchors(
        &mut self,
        notes: &Notes,
        wanted: &BundleVerification,
        report: &mut Report,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let mut anchors = Anchors::new(&notes.verified, &report.dated, &wanted.anchor_roots);
        let paths = self.files.paths().filter(|path| path.starts_with("anchor/")).filter_map(BundlePath::parse);
        for path in paths.collect::<Vec<_>>() {
            let BundlePath::Anchor(size) = path else { continue };
            if let Some(reply) = self.take(&path, findings)? {
                anchors.take(size, &reply);
            }
        }
        anchors.finish(report);
        Ok(())
    }

    /// The paths of the signed notes, the newest first.
    fn note_paths(&self) -> Vec<BundlePath> {
        let older = self.files.paths().filter(|path| path.starts_with("checkpoints/")).filter_map(BundlePath::parse);
        std::iter::once(BundlePath::Checkpoint).chain(older).collect()
    }

    /// Hands the log to the verifier: entries where they are, hashes where they are not.
    fn read_leaves(
        &mut self,
        mut verifier: Verifier,
        parts: &mut Parts,
        progress: &mut dyn FnMut(u64, u64),
        findings: &mut Vec<Finding>,
    ) -> Result<Report> {
        let Manifest { size, from, to, .. } = self.manifest;
        for index in 0..size.div_ceil(TILE_WIDTH) {
            let first = index * TILE_WIDTH;
            let end = size.min(first + TILE_WIDTH);
            let hashes = self.hashes(index, end - first, findings)?;
            let entries = if (from..to).contains(&first) { self.entries(index, end - first, findings)? } else { None };
            match entries {
                Some(bytes) => {
                    // The bundle was read once before, to be whole.
                    let leaves = read_entries(&bytes).unwrap_or_default();
                    let hashes = hashes.filter(|hashes| hashes.len() == leaves.len()).unwrap_or_default();
                    for (place, leaf) in leaves.iter().enumerate() {
                        let seq = first + u64::try_from(place).unwrap_or(u64::MAX);
                        let sealed = self.look_at(parts, leaf, seq, findings)?;
                        verifier.feed(&LeafRow {
                            seq,
                            leaf,
                            stored_hash: hashes.get(place).copied(),
                            columns: None,
                            sealed: sealed.as_deref(),
                        });
                    }
                }
                None => {
                    for (seq, hash) in (first..).zip(hashes.unwrap_or_default()) {
                        verifier.pass_over(seq, hash);
                    }
                }
            }
            progress(end, size);
        }
        Ok(verifier.finish())
    }

    /// The leaf hashes of a tile, if it is there and as long as it must be.
    fn hashes(&mut self, index: u64, width: u64, findings: &mut Vec<Finding>) -> Result<Option<Vec<Hash>>> {
        let Some(path) = tile(TileKind::Hashes(0), index, width) else { return Ok(None) };
        let Some(bytes) = self.take(&path, findings)? else { return Ok(None) };
        let (hashes, rest) = bytes.as_chunks::<32>();
        if rest.is_empty() && u64::try_from(hashes.len()) == Ok(width) {
            return Ok(Some(hashes.to_vec()));
        }
        findings.push(in_tile(index, width, format!("{path} does not hold {width} hashes.")));
        Ok(None)
    }

    /// The bytes of an entry bundle that can be read.
    fn entries(&mut self, index: u64, width: u64, findings: &mut Vec<Finding>) -> Result<Option<Vec<u8>>> {
        let Some(path) = tile(TileKind::Entries, index, width) else { return Ok(None) };
        let first = index * TILE_WIDTH;
        let Some(bytes) = self.take(&path, findings)? else {
            let text = format!("{path} is not there.");
            findings.push(Finding::between(Code::LeafMissing, first, first + width - 1, text));
            return Ok(None);
        };
        match read_entries(&bytes).map(|leaves| leaves.len()) {
            Ok(count) if u64::try_from(count) == Ok(width) => {}
            Ok(count) => findings.push(in_tile(index, width, format!("{path} holds {count} entries, not {width}."))),
            Err(_) => {
                findings.push(in_tile(index, width, format!("{path} cannot be read.")));
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }

    /// One more pass over the entries, for those that the first one did not watch.
    fn watch_partition(&mut self, partition: u8, partitions: u8, findings: &mut Vec<Finding>) -> Result<()> {
        let Manifest { size, from, to, .. } = self.manifest;
        let mut watch = EntryWatch::partition(partition, partitions);
        for index in from / TILE_WIDTH..to.div_ceil(TILE_WIDTH) {
            let first = index * TILE_WIDTH;
            let Some(path) = tile(TileKind::Entries, index, size.min(first + TILE_WIDTH) - first) else { continue };
            // What is wrong with it was told by the first pass.
            let Content::Bytes(bytes, _) = self.files.read(&path)? else { continue };
            for (seq, leaf) in (first..).zip(read_entries(&bytes).unwrap_or_default()) {
                if let Some(skeleton) = Skeleton::read(leaf) {
                    watch.note(skeleton.entry, seq);
                }
            }
        }
        for (first, second) in watch.repeated() {
            findings.push(Finding::between(Code::EntryRepeated, first, second, "Two leaves have one entry id."));
        }
        Ok(())
    }

    /// Reads a file and holds it against the list. `None` if it is not there or cannot be one of
    /// that name.
    fn take(&mut self, path: &BundlePath, findings: &mut Vec<Finding>) -> Result<Option<Vec<u8>>> {
        let (bytes, integrity) = match self.files.read(path)? {
            Content::Bytes(bytes, integrity) => (bytes, integrity),
            Content::Absent => return Ok(None),
            Content::TooLong => {
                findings.push(malformed(format!("{path} is longer than it can be.")));
                return Ok(None);
            }
        };
        let listed = self.manifest.files.get(&path.to_string());
        let is_listed = listed.is_none_or(|listed| listed.0 == Hash::from(Sha256::digest(&bytes)));
        if !is_listed || integrity == Integrity::Broken {
            findings.push(malformed(format!("{path} is not the file that bundle.json lists.")));
        }
        Ok(Some(bytes))
    }
}

fn tile(kind: TileKind, index: u64, width: u64) -> Option<BundlePath> {
    u16::try_from(width).ok().map(|width| BundlePath::Tile(TilePath { kind, index, width }))
}

fn malformed(text: String) -> Finding {
    Finding::whole(Code::Malformed, text)
}

fn in_tile(index: u64, width: u64, text: String) -> Finding {
    let first = index * TILE_WIDTH;
    Finding::between(Code::Malformed, first, first + width.saturating_sub(1), text)
}
