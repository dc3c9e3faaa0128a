//! What `audit verify` needs for the checks that need keys: a key store, and the root key.

use crate::gateway::Error;
use crate::gateway::verify::PartOpener;
use crate::storage::Location;

use super::super::context::{chain, keyring, settings};
use super::super::{Context, Failure};
use super::{Verify, exists};

/// Refuses those checks of a source that has no key store.
pub(super) fn none_for(wanted: &Verify, source: &str) -> Result<(), Failure> {
    if wanted.payloads || wanted.keys.is_some() {
        let text = format!("--keys and --payloads read a database and its key store; {source} has none");
        return Err(Failure::with_exit(2, text));
    }
    Ok(())
}

/// The key store to verify with: the one that is named, or that of the configured installation.
pub(super) fn store(
    wanted: &Verify,
    configured: Option<Location>,
    context: &Context,
) -> Result<Option<Location>, Failure> {
    let keys = match wanted.keys.as_deref().filter(|named| !named.is_empty()) {
        Some(named) => {
            let wrong = |error| Failure::with_exit(2, format!("--keys={named}: {error}"));
            Some(Location::parse(named).map_err(wrong)?)
        }
        None => configured,
    };
    if keys.as_ref().is_some_and(exists) || !wanted.payloads && wanted.keys.is_none() {
        return Ok(keys);
    }
    let missing = match keys {
        Some(keys) => keys,
        None if wanted.source.is_some() => {
            let text =
                "a database that is named needs its key store named too: --keys=sqlite:PATH, or a PostgreSQL URL";
            return Err(Failure::with_exit(2, text));
        }
        None => settings(&context.load()?)?.keys,
    };
    let path = match missing {
        Location::Sqlite(path) => path.display().to_string(),
        Location::Postgres { .. } => String::new(),
    };
    Err(Failure::new(format!("the key store {path} does not exist; name it with keys.database or --keys=LOCATION")))
}

/// What opens sealed parts: the configured root key.
pub(super) fn opener(keys: &Location, context: &Context) -> Result<PartOpener, Failure> {
    PartOpener::find(keys, keyring(&context.load()?.config)).map_err(|error| match error {
        Error::RootKey(_) | Error::File { .. } => Failure::new(format!(
            "--payloads opens what is sealed, and for that it needs the root key of the installation (keys.root_file or keys.root): {}",
            chain(&error)
        )),
        error => error.into(),
    })
}
