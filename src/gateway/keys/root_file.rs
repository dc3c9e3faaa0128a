//! `root.key` on disk: who may read it, and how it is replaced so that no crash and no second
//! process leaves half of one (`cryptography.md` §2).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::crypto::key::Key;
use crate::crypto::keyring::{Kek, Keyring};
use crate::crypto::root_key::{self, KekState, RootKey};
use crate::gateway::source::Source;
use crate::gateway::{Error, KeyringSource, Result, set_up};

/// The largest file that is read as one of root keys, in bytes.
const LARGEST: u64 = 64 << 10;

/// Where this process has its root keys from, and may read them again.
#[derive(Clone, Debug)]
pub enum RootSource {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether the gateway rotates it, or the operator.
        managed: bool,
    },
    /// The environment, which does not change while the process lives.
    Environment,
    /// A test.
    Given,
}

impl RootSource {
    /// Where these keys come from, without the keys.
    #[must_use]
    pub fn of(source: &KeyringSource) -> Self {
        match source {
            KeyringSource::File { path, managed } => Self::File { path: path.clone(), managed: *managed },
            KeyringSource::Environment(_) => Self::Environment,
            KeyringSource::Given(_) => Self::Given,
        }
    }
}

/// The root keys as their source gives them: with their states where it has states.
pub(in crate::gateway) enum Found {
    /// Lines of a file or of the environment.
    Keys(Vec<RootKey>),
    /// Made by a test.
    Ring(Keyring),
}

/// Whether a store of ours holds anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Stores {
    /// Both are empty: a first start.
    New,
    /// One of them names an installation.
    InUse,
}

/// Reads the root keys, making the first one only where both stores are new.
pub(in crate::gateway) fn find(from: KeyringSource, stores: Stores, source: &Source) -> Result<Found> {
    match from {
        KeyringSource::Given(keyring) => Ok(Found::Ring(keyring)),
        KeyringSource::Environment(text) => {
            let keys = root_key::parse_environment(&text)
                .map_err(|error| Error::RootKey(format!("keys.root in the environment: {error}")))?;
            Ok(Found::Keys(keys))
        }
        KeyringSource::File { path, managed } => {
            // A link that points nowhere is a file that is lost, not one to be made.
            let lost = match fs::symlink_metadata(&path) {
                Ok(_) => false,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
                Err(source) => return Err(unreadable(&path, source)),
            };
            match (lost, stores) {
                (false, _) => {}
                (true, Stores::InUse) => {
                    return Err(Error::RootKey(format!(
                        "{} does not exist, but the key store holds keys wrapped under it. Nothing was changed. Bring the file \
                         back from its copy (keys.copies); without it nobody can read what is stored",
                        path.display()
                    )));
                }
                (true, Stores::New) if !managed => {
                    return Err(Error::RootKey(format!(
                        "{} does not exist and keys.managed is false, so it is the operator who makes it",
                        path.display()
                    )));
                }
                (true, Stores::New) => make(&path, source)?,
            }
            Ok(Found::Keys(read(&path, managed)?))
        }
    }
}

/// Writes a first root key. Another process may be doing the same: then its key stands.
fn make(path: &Path, source: &Source) -> Result<()> {
    let key = Key::random(&mut |bytes| source.fill(bytes)).map_err(Error::Protection)?;
    let keys = [RootKey { created: Some(source.now()), state: KekState::Active, kek: Kek::new(1, key) }];
    let text = root_key::format_file(&keys);
    let folder = folder_of(path);
    set_up::make_private_folder(folder)?;
    let unique: [u8; 8] = source.random().map_err(Error::Protection)?;
    let temporary = path.with_extension(format!("key.{}", data_encoding::HEXLOWER.encode(&unique)));
    let failed = |source| Error::File { what: "cannot write the root key", path: path.display().to_string(), source };
    write_new(&temporary, &text).map_err(failed)?;
    // A rename would replace the key of a process that was faster; a second name for the file is
    // refused where one stands.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(failed)?;
    match linked {
        Ok(()) => {
            sync_folder(folder).map_err(failed)?;
            tracing::warn!(
                file = %path.display(),
                "a root key was made; without this file nothing can be read, so keep a copy of it elsewhere, never with a backup"
            );
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Replaces a file of root keys: temporary file with mode 0600, fsync, rename, fsync of the folder,
/// read back, compare.
pub(in crate::gateway) fn write(path: &Path, keys: &[RootKey]) -> Result<()> {
    let failed = |source| Error::File { what: "cannot write the root key", path: path.display().to_string(), source };
    let text = root_key::format_file(keys);
    let folder = folder_of(path);
    set_up::make_private_folder(folder)?;
    let temporary = path.with_extension("key.new");
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    write_new(&temporary, &text).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    sync_folder(folder).map_err(failed)?;
    let written = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    if *written != *text {
        return Err(Error::RootKey(format!("{} does not hold what was written to it", path.display())));
    }
    Ok(())
}

/// The file at a place for copies, which may be a folder.
#[must_use]
pub(in crate::gateway) fn copy_at(place: &Path) -> PathBuf {
    if place.is_dir() { place.join("root.key") } else { place.to_path_buf() }
}

/// Reads a file of root keys after checking that nobody else may.
pub(in crate::gateway) fn read(path: &Path, managed: bool) -> Result<Vec<RootKey>> {
    let mut file = fs::File::open(path).map_err(|source| unreadable(path, source))?;
    // What is checked is the file that was opened, not one that takes its name meanwhile.
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    let refused = |what: String| Err(Error::RootKey(format!("{} {what}", path.display())));
    if !metadata.is_file() {
        return refused("is not a file".to_owned());
    }
    let mode = metadata.permissions().mode() & 0o777;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if managed && !ours {
        return refused(format!(
            "belongs to user {} and not to the user of this process; change its owner, or set keys.managed = false if the operator \
             keeps it",
            metadata.uid()
        ));
    }
    let mounted = !managed && matches!(mode, 0o400 | 0o440 | 0o600 | 0o640);
    if mode & 0o077 != 0 && !mounted {
        return refused(format!("may be read or written by others (mode {mode:04o}); give it mode 0600"));
    }
    if metadata.len() > LARGEST {
        return refused("is too large for a file of root keys".to_owned());
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.read_to_string(&mut text).map_err(|source| unreadable(path, source))?;
    root_key::parse_file(&text).map_err(|error| Error::RootKey(format!("{}: {error}", path.display())))
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::File { what: "cannot read the root key", path: path.display().to_string(), source }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
