//! Evidence files: what is kept when two signed notes contradict each other.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::audit::evidence::Evidence;

use super::set_up::make_private_folder;
use super::{Error, Result};

/// Writes evidence into a folder, under a name that its notes give it. What stands there is never
/// replaced: the same evidence is written once.
///
/// # Errors
/// [`Error::File`].
pub fn write(folder: &Path, evidence: &Evidence) -> Result<PathBuf> {
    let path = folder.join(evidence.file_name());
    let failed = |source| Error::File { what: "cannot write evidence to", path: path.display().to_string(), source };
    make_private_folder(folder)?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match file {
        Ok(mut file) => {
            file.write_all(evidence.to_json().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(path)
}
