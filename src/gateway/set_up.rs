//! From nothing, or from what stands on disk, to an open house.
//!
//! The order matters: the stores are migrated and compared, the root key is found (or made, only
//! where both stores are new), the secrets open, the log is held against what this installation
//! remembers, and only then does anything new get written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;

use crate::audit::leaf::{Cause, Fact};
use crate::audit::payload::Payload;
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{InstallationId, InstanceId};
use crate::domain::policy::Policy;
use crate::policy::{Files, KnownNotices};
use crate::storage::keys::{self, KeyStore};
use crate::storage::{Connection, Database, Options, Step, Unit, audit_log, installation, terms};

use super::clock::Belief;
use super::keyholder::Keyholder;
use super::keys::root_file::{self, RootSource, Stores};
use super::keys::versions;
use super::policy::{PolicyInForce, Terms, slots};
use super::source::Source;
use super::tokens::Tokens;
use super::{Error, Gateway, KeyringSource, REMEMBERED_IDENTIFIERS, REMEMBERED_PEOPLE, Result, Rooms, Settings};

pub(super) async fn open(
    settings: Settings,
    keyring: KeyringSource,
    files: Files,
    source: Source,
    clock: Belief,
) -> Result<Gateway> {
    let (house, policy) = assemble(settings, keyring, &files, source).await?;
    house.begin(policy, files, clock).await?;
    Ok(house)
}

/// The house as the stores have it. Nothing of the log was looked at or written.
pub(super) async fn assemble(
    settings: Settings,
    keyring: KeyringSource,
    files: &Files,
    source: Source,
) -> Result<(Gateway, Policy)> {
    let policy = crate::policy::load(files, &KnownNotices::new()).map_err(Error::Policy)?;
    let anchors = super::anchor::Anchors::of(&settings.anchors)?;
    let witnesses = super::witness::Witnesses::of(&settings.trust)?;
    migrate(&settings)?;
    let store = KeyStore::open(&settings.keys, 2).map_err(Error::keys)?;
    let (installation, stores) = belong_together(&settings, &source)?;
    let root_source = RootSource::of(&keyring);
    let keyring = versions::keyring(root_file::find(keyring, stores, &source)?, &store)?;
    remember_installation(&store, installation, &source).await?;
    versions::learn(&store, &keyring, &source).await?;
    let origin = set_up_data(&settings, installation, &source)?;

    let keyholder =
        Keyholder::open(installation, store, source.clone(), keyring, slots(&policy), settings.key_life).await?;
    let observe = Arc::clone(&settings.observe);
    let database = Database::open(&Options {
        location: settings.database.clone(),
        readers: settings.readers,
        batch_units: settings.batch_units,
        queue: settings.queue,
        observe,
        timekeeper: super::clock::timekeeper(&source),
    })
    .map_err(Error::store)?;
    let rows = database.read(terms::all).await.map_err(Error::store)?;
    let instance = InstanceId::from_uuid(source.random_id().map_err(Error::Protection)?);
    let keyholder = Arc::new(keyholder);
    let journal = super::journal::Journal::open(&settings.journal, Arc::clone(&keyholder))?;
    let house = Gateway(Arc::new(Rooms {
        database,
        journal,
        log: super::checkpoint::LogWatch::default(),
        mirror: super::mirror::Mirror::default(),
        anchors,
        keyholder,
        policy: ArcSwap::from_pointee(PolicyInForce::new(policy.clone(), Terms::new(rows), files.clone())),
        tokens: ArcSwap::from_pointee(Tokens::default()),
        origin,
        witnesses,
        refusals: super::door::DoorRefusals::default(),
        instance,
        root_source,
        key_work: tokio::sync::Mutex::new(()),
        freshness: super::housekeeping::Freshness::default(),
        settings,
        source,
        people: Cache::new(REMEMBERED_PEOPLE),
        identifiers: Cache::new(REMEMBERED_IDENTIFIERS),
    }));
    Ok((house, policy))
}

/// Makes the folders of the stores and runs the migrations they lack.
pub(super) fn migrate(settings: &Settings) -> Result<(usize, usize)> {
    for location in [&settings.database, &settings.keys] {
        make_folder_of(location)?;
    }
    let data = Database::migrate(&settings.database).map_err(Error::store)?;
    let keys = KeyStore::migrate(&settings.keys).map_err(Error::keys)?;
    Ok((data, keys))
}

impl Gateway {
    /// Opens the log if it is new, refuses to go on behind it, puts the policy in force, reads the
    /// tokens.
    async fn begin(&self, policy: Policy, files: Files, clock: Belief) -> Result<()> {
        self.check_log(clock).await?;
        self.check_mirror().await?;
        self.check_restored().await?;
        self.check_witnesses().await?;
        let head = self.database.read(audit_log::head).await.map_err(Error::store)?.ok_or(Error::NotFound)?;
        if head.size == 0 {
            self.open_log(&policy).await?;
        }
        self.tell_schema(head.size == 0).await?;
        let in_force = self.database.read(installation::policy).await.map_err(Error::store)?;
        if in_force == policy.hash {
            // Terms may be missing after a crash between two versions of the program.
            self.take_terms().await?;
        } else {
            // Texts that were published before must not have changed.
            let stored =
                self.database.read(move |c| installation::policy_files(c, in_force)).await.map_err(Error::store)?;
            if let Some(before) = stored.as_deref().and_then(super::policy::decode)
                && let Ok(before) = crate::policy::load(&before, &KnownNotices::new())
            {
                let known = super::policy::published(&before);
                crate::policy::load(&files, &known).map_err(Error::Policy)?;
            }
            self.activate(policy, files).await?;
        }
        self.reload_tokens().await
    }

    /// Notes in the log that the gateway starts to serve.
    ///
    /// # Errors
    /// When the leaf cannot be committed; then nothing must be served.
    pub async fn note_start(&self, cause: Cause) -> Result<()> {
        let facts = vec![
            Fact::PolicyHash(self.policy().policy.hash.0),
            Fact::Digest(self.settings.config_digest),
            Fact::Cause(cause),
        ];
        let leaf = self.installation_leaf(Event::GatewayStarted, Outcome::Done, &super::policy::operator(), facts)?;
        self.commit_change(move || Unit::change(Vec::new(), vec![leaf.clone()], |_, _| Ok(Step::Commit))).await?;
        Ok(())
    }

    /// Notes in the log that the gateway stops in order.
    ///
    /// # Errors
    /// When the leaf cannot be committed.
    pub async fn note_stop(&self) -> Result<()> {
        let leaf = self.leaf(Event::GatewayStopped, Outcome::Done)?.fact(Fact::Cause(Cause::CleanStop)).finish()?;
        self.commit_change(move || Unit::change(Vec::new(), vec![leaf.clone()], |_, _| Ok(Step::Commit))).await?;
        Ok(())
    }

    /// Leaf 0: origin, verifier, policy and heartbeat interval, once and always first.
    async fn open_log(&self, policy: &Policy) -> Result<()> {
        let facts = vec![
            Fact::PolicyHash(policy.hash.0),
            Fact::Verifier(self.log_verifier()?.typed()),
            Fact::Origin(self.origin.clone()),
            Fact::HeartbeatSeconds(self.settings.heartbeat_every.as_secs()),
        ];
        let leaf = self.installation_leaf(Event::LogOpened, Outcome::Done, &Payload::default(), facts)?;
        // Another instance may open it first; then this leaf must not be the second.
        self.database
            .write(Unit::change(Vec::new(), vec![leaf], |transaction, _| {
                let head = audit_log::head(transaction.connection())?;
                Ok(if head.is_some_and(|head| head.size == 0) { Step::Commit } else { Step::Stale })
            }))
            .await
            .map_err(Error::store)?;
        Ok(())
    }

    /// Tells the log that the stores have another schema than it knows of; a new log knows the first.
    async fn tell_schema(&self, is_new: bool) -> Result<()> {
        let names = self.database.read(Connection::migrations).await.map_err(Error::store)?;
        let of_keys = self.keyholder.store().read(Connection::migrations).await.map_err(Error::keys)?;
        let digest = super::hash_of(format!("{}\n\n{}", names.join("\n"), of_keys.join("\n")).as_bytes());
        let told = self.database.read(installation::schema_told).await.map_err(Error::store)?;
        if told.as_deref() == Some(&digest[..]) {
            return Ok(());
        }
        let facts = vec![Fact::Digest(digest)];
        let leaf = self.installation_leaf(Event::SchemaMigrated, Outcome::Done, &super::policy::operator(), facts)?;
        let leaves = if is_new { Vec::new() } else { vec![leaf] };
        // Another instance may have told it meanwhile.
        let unit = Unit::change(Vec::new(), leaves, move |transaction, _| {
            let is_told = installation::schema_told(transaction.connection())?.as_deref() == Some(&digest[..]);
            if is_told {
                return Ok(Step::Stale);
            }
            installation::note_schema_told(transaction, &digest)?;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map(drop).map_err(Error::store)
    }

    async fn take_terms(&self) -> Result<()> {
        let rows = self.database.read(terms::all).await.map_err(Error::store)?;
        let current = self.policy();
        self.policy.store(Arc::new(PolicyInForce::new(
            current.policy.clone(),
            Terms::new(rows),
            current.files.clone(),
        )));
        Ok(())
    }
}

/// The installation's id, the same in both stores; a new one if both are new.
fn belong_together(settings: &Settings, source: &Source) -> Result<(InstallationId, Stores)> {
    let mut data = settings.database.connect().map_err(Error::store)?;
    let mut key = settings.keys.connect().map_err(Error::keys)?;
    let in_data = installation::id(&mut data).map_err(Error::store)?;
    let in_keys = keys::installation(&mut key).map_err(Error::keys)?;
    match (in_data, in_keys) {
        (Some(a), Some(b)) if a == b => Ok((a, Stores::InUse)),
        (Some(_), Some(_)) => Err(Error::Store(crate::storage::Error::ForeignStore)),
        (Some(_), None) => Err(Error::RootKey(
            "the data store has an installation and the key store is empty: restore the key store from its backup"
                .to_owned(),
        )),
        // The key store is written first, so this is a first start that was cut short, or a data
        // store that was lost. The memory of the log tells which.
        (None, Some(b)) => {
            let signed = keys::last_signed(&mut key).map_err(Error::keys)?;
            if signed.is_some_and(|signed| signed.size > 0) {
                return Err(Error::LogRefused {
                    exit: 30,
                    what:
                        "rollback: the key store remembers a signed log and the data store has none; restore the data"
                            .to_owned(),
                });
            }
            Ok((b, Stores::InUse))
        }
        (None, None) => Ok((InstallationId::from_uuid(source.random_id().map_err(Error::Protection)?), Stores::New)),
    }
}

/// The key store is set up first: it must never be the data that names an installation whose keys
/// were not made.
async fn remember_installation(store: &KeyStore, id: InstallationId, source: &Source) -> Result<()> {
    let at = source.now().into();
    store.write(move |connection| keys::set_up(connection, id, at)).await.map_err(Error::keys)
}

fn set_up_data(settings: &Settings, id: InstallationId, source: &Source) -> Result<String> {
    let mut connection = settings.database.connect().map_err(Error::store)?;
    let origin = match &settings.origin {
        Some(origin) => origin.clone(),
        None => default_origin(&settings.public_url, source)?,
    };
    installation::set_up(&mut connection, id, &origin, source.now().into()).map_err(Error::store)?;
    if installation::id(&mut connection).map_err(Error::store)? != Some(id) {
        return Err(Error::Store(crate::storage::Error::ForeignStore));
    }
    let head = audit_log::head(&mut connection).map_err(Error::store)?.ok_or(Error::NotFound)?;
    if settings.origin.as_ref().is_some_and(|wanted| *wanted != head.origin) {
        return Err(Error::LogRefused {
            exit: 1,
            what: format!(
                "audit.origin is another name than the log was opened under ({}); a log never changes its name",
                head.origin
            ),
        });
    }
    Ok(head.origin)
}

/// `<public host>/log`, or a name that nobody can own where there is no public address.
fn default_origin(public_url: &str, source: &Source) -> Result<String> {
    let host = public_url.strip_prefix("https://").unwrap_or_default().trim_end_matches('/');
    if host.is_empty() {
        let random: [u8; 8] = source.random().map_err(Error::Protection)?;
        return Ok(format!("amanat.invalid/{}/log", data_encoding::HEXLOWER.encode(&random)));
    }
    Ok(format!("{host}/log"))
}

fn make_folder_of(location: &crate::storage::Location) -> Result<()> {
    let crate::storage::Location::Sqlite(path) = location else { return Ok(()) };
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    make_private_folder(folder)
}

/// Makes a folder that only its owner may enter, if it does not exist.
pub(super) fn make_private_folder(folder: &Path) -> Result<()> {
    let failed = |source| Error::File { what: "cannot make the folder", path: folder.display().to_string(), source };
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)
}
