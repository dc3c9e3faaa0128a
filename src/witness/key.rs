//! The key of a witness and the file it lies in: one line, as the signed-note tools write private
//! keys, `PRIVATE+KEY+<name>+<key id>+base64(type ‖ seed)`, readable by its owner only.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use crate::audit::note::{KeyKind, VerifierKey};
use crate::crypto::key::Key;
use crate::crypto::signature::Signing;

const BEGINNING: &str = "PRIVATE+KEY+";
/// The most bytes of a key file that are read.
const LARGEST: u64 = 4 * 1_024;

/// The key a witness signs with, and its public half.
pub struct WitnessKey {
    verifier: VerifierKey,
    signing: Signing,
}

/// What is wrong with a key file. Never the key itself.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("it cannot be used: {0}")]
    File(#[from] std::io::Error),
    /// The file may be read by others.
    #[error("others may read or write it (mode {0:04o}); give it mode 0600")]
    Mode(u32),
    /// The text is no private key of a witness.
    #[error("it holds no private key of a witness (`PRIVATE+KEY+name+id+base64`, type 0x04)")]
    Malformed,
    /// The name cannot be that of a key.
    #[error("the name of a key has no plus sign, no white space and no control character, and is not empty")]
    Name,
}

impl WitnessKey {
    /// The key of this seed under this name.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str, mut seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let signing = Signing::from_seed(&Key::from_bytes(&mut seed));
        let verifier =
            VerifierKey::new(name, KeyKind::Cosignature, signing.public_key()).map_err(|_| KeyError::Name)?;
        Ok(Self { verifier, signing })
    }

    /// Writes the key of this seed into a new file with mode 0600 and gives it back.
    ///
    /// # Errors
    /// If a file stands there, which is never replaced, or cannot be written.
    pub fn make(path: &Path, name: &str, seed: &Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let key = Self::new(name, seed.clone())?;
        let id = HEXLOWER.encode(&key.verifier.id());
        let typed = Zeroizing::new([&[KeyKind::Cosignature.byte()], seed.as_slice()].concat());
        let text = Zeroizing::new(format!("{BEGINNING}{name}+{id}+{}\n", BASE64.encode(&typed)));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(key)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// A [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let file = fs::File::open(path)?;
        // What is checked is the file that was opened, not one that takes its name meanwhile.
        let mode = file.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode(mode));
        }
        let mut text = Zeroizing::new(String::with_capacity(256));
        file.take(LARGEST).read_to_string(&mut text)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, KeyError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let mut pieces = line.strip_prefix(BEGINNING).ok_or(KeyError::Malformed)?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (pieces.next(), pieces.next(), pieces.next()) else {
            return Err(KeyError::Malformed);
        };
        let typed = Zeroizing::new(BASE64.decode(key.as_bytes()).map_err(|_| KeyError::Malformed)?);
        let seed = match typed.split_first() {
            Some((kind, seed)) if *kind == KeyKind::Cosignature.byte() => seed,
            _ => return Err(KeyError::Malformed),
        };
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| KeyError::Malformed)?);
        let key = Self::new(name, seed).map_err(|_| KeyError::Malformed)?;
        if HEXLOWER.encode(&key.verifier.id()) == id { Ok(key) } else { Err(KeyError::Malformed) }
    }

    /// The public key.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub(super) const fn signing(&self) -> &Signing {
        &self.signing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_once_for_its_owner_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness.key");
        let made = WitnessKey::make(&path, "w.example/1", &Zeroizing::new([2; 32])).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(WitnessKey::read(&path).unwrap().verifier(), made.verifier());
        assert!(matches!(WitnessKey::make(&path, "w.example/1", &Zeroizing::new([3; 32])), Err(KeyError::File(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(WitnessKey::read(&path), Err(KeyError::Mode(0o640))));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness.key");
        WitnessKey::make(&path, "w.example/1", &Zeroizing::new([2; 32])).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(WitnessKey::parse(&text).is_ok());
        for wrong in [
            String::new(),
            text.replace("PRIVATE", "PUBLIC"),
            text.replace("w.example/1", "w.example/2"),
            text.replace("+BAIC", "+AQIC"),
            text.replace('\n', " \n"),
            format!("{text}\n"),
            text.replace("+BAIC", "+BAI"),
        ] {
            assert!(matches!(WitnessKey::parse(&wrong), Err(KeyError::Malformed)), "{wrong}");
        }
        assert!(matches!(WitnessKey::new("with space", Zeroizing::new([2; 32])), Err(KeyError::Name)));
    }
}
