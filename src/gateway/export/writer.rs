//! Writing the zip of a bundle: one file after the other, once through, each with its hash noted.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::audit::bundle::container::{self, Member};
use crate::audit::bundle::{BundlePath, FileHash, MAXIMUM_FILES, MAXIMUM_UNPACKED, Manifest};
use crate::audit::tree::Hash;
use crate::gateway::{Error, Result};

const TOO_LARGE: Error =
    Error::Unacceptable("the bundle would be larger than 4 GiB or a million files; export a range of it");

/// A bundle under way. In memory: name and hash of each file.
pub(super) struct BundleWriter {
    out: BufWriter<File>,
    path: String,
    digest: Sha256,
    /// Bytes of the container, and of the files in it.
    written: u64,
    unpacked: u64,
    members: Vec<Member>,
    manifest: Manifest,
}

impl BundleWriter {
    /// Begins a bundle in a file that is made or emptied.
    pub(super) fn create(path: &Path, manifest: Manifest) -> Result<Self> {
        let shown = path.display().to_string();
        let file = File::create(path).map_err(|source| failed(&shown, source))?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, file),
            path: shown,
            digest: Sha256::new(),
            written: 0,
            unpacked: 0,
            members: Vec::new(),
            manifest,
        })
    }

    /// Adds a file.
    pub(super) fn put(&mut self, path: &BundlePath, bytes: &[u8]) -> Result<()> {
        let name = path.to_string();
        self.manifest.files.insert(name.clone(), FileHash(Sha256::digest(bytes).into()));
        self.begin(name, u64::try_from(bytes.len()).unwrap_or(u64::MAX), crc32fast::hash(bytes))?;
        self.append(bytes)
    }

    /// Adds the list of files, ends the container and makes it durable. Gives its SHA-256.
    pub(super) fn finish(mut self) -> Result<Hash> {
        let mut measure = Measure::default();
        self.manifest.write(&mut measure).map_err(|source| failed(&self.path, source))?;
        self.begin(BundlePath::Manifest.to_string(), measure.length, measure.checksum.finalize())?;
        // Twice instead of once into memory: a bundle has up to a million lines of it.
        let manifest = std::mem::replace(&mut self.manifest, Manifest::new(String::new(), 0, 0, 0));
        manifest.write(&mut self).map_err(|source| failed(&self.path, source))?;
        drop(manifest);

        let offset = small(self.written)?;
        let members = std::mem::take(&mut self.members);
        for member in &members {
            self.append(&container::directory_entry(member))?;
        }
        let files = u64::try_from(members.len()).unwrap_or(u64::MAX);
        self.append(&container::end(files, small(self.written - u64::from(offset))?, offset))?;
        let file = self.out.into_inner().map_err(|error| failed(&self.path, error.into_error()))?;
        file.sync_all().map_err(|source| failed(&self.path, source))?;
        Ok(self.digest.finalize().into())
    }

    fn begin(&mut self, path: String, length: u64, checksum: u32) -> Result<()> {
        self.unpacked += length;
        if self.unpacked > MAXIMUM_UNPACKED || self.members.len() >= MAXIMUM_FILES {
            return Err(TOO_LARGE);
        }
        let member = Member { path, length: small(length)?, checksum, offset: small(self.written)? };
        self.append(&container::header(&member))?;
        self.members.push(member);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|source| failed(&self.path, source))
    }
}

impl Write for BundleWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write_all(bytes)?;
        self.digest.update(bytes);
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Length and checksum of what would be written.
#[derive(Default)]
struct Measure {
    length: u64,
    checksum: crc32fast::Hasher,
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.checksum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A place or length in a container, which ends below 4 GiB.
fn small(number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|_| TOO_LARGE)
}

fn failed(path: &str, source: std::io::Error) -> Error {
    Error::File { what: "cannot write the bundle", path: path.to_owned(), source }
}
