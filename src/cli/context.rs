//! What every command shares: the configuration as loaded, and the way to an open house.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::config::{self, Config, Loaded, Sources};
use crate::gateway::anchor::AnchorSettings;
use crate::gateway::source::Source;
use crate::gateway::witness::{TrustSettings, WhenUnwitnessed, Witnesses};
use crate::gateway::{self, Gateway, KeyringSource, Settings};
use crate::policy::{Files, Mistake};
use crate::storage::Location;

/// What the command line was told.
pub struct Context {
    file: Option<PathBuf>,
    set: Vec<String>,
}

/// Why a command could not be done, as the operator reads it.
#[derive(Debug)]
pub struct Failure {
    text: String,
    exit: u8,
}

impl Failure {
    /// Exit code 1.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 1 }
    }

    /// With an exit code of its own.
    #[must_use]
    pub fn with_exit(exit: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), exit }
    }

    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> u8 {
        self.exit
    }

    /// What happened, where, and what to do next.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn print(&self) {
        eprintln!("error: {}", self.text);
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<gateway::Error> for Failure {
    fn from(error: gateway::Error) -> Self {
        match &error {
            gateway::Error::Policy(mistakes) => Self::with_exit(3, policy_mistakes(mistakes)),
            gateway::Error::Anchor(_) => Self::with_exit(3, error.to_string()),
            gateway::Error::LogRefused { exit, what } => Self::with_exit(*exit, what.clone()),
            _ => Self::new(chain(&error)),
        }
    }
}

/// An error with its causes, one a line.
#[must_use]
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str("\n  because: ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// Every mistake of a policy, one a paragraph.
#[must_use]
pub(super) fn policy_mistakes(mistakes: &[Mistake]) -> String {
    let mut text = format!("the policy has {} mistake(s); what is in force stays", mistakes.len());
    for mistake in mistakes {
        if write!(text, "\n  {mistake}").is_err() {
            text.push('\n');
        }
    }
    text
}

impl Context {
    /// Remembers what the command line was told.
    #[must_use]
    pub const fn new(file: Option<PathBuf>, set: Vec<String>) -> Self {
        Self { file, set }
    }

    /// Loads the configuration.
    ///
    /// # Errors
    /// Every mistake in it, with where each value came from (exit code 3).
    pub fn load(&self) -> Result<Loaded, Failure> {
        self.load_with(BTreeMap::new())
    }

    /// Loads the configuration with options that a command decides itself.
    ///
    /// # Errors
    /// As [`Context::load`].
    #[expect(clippy::disallowed_methods, reason = "the composition root reads the environment")]
    pub fn load_with(&self, own: BTreeMap<String, String>) -> Result<Loaded, Failure> {
        let name = self.file.clone().unwrap_or_else(|| PathBuf::from("amanat.toml"));
        let text = match std::fs::read_to_string(&name) {
            Ok(text) => Some(text),
            Err(error) if self.file.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::with_exit(3, format!("{} cannot be read: {error}", name.display()))),
        };
        let shown = name.display().to_string();
        let mut flags = own;
        for set in &self.set {
            let Some((option, value)) = set.split_once('=') else {
                return Err(Failure::with_exit(2, format!("--set {set}: write OPTION=VALUE")));
            };
            flags.insert(option.trim().to_owned(), value.to_owned());
        }
        let sources = Sources {
            file: text.as_deref().map(|text| (shown.as_str(), text)),
            environment: std::env::vars().collect(),
            flags,
            read_file: &|path: &Path| std::fs::read_to_string(path),
        };
        config::load(&sources).map_err(|error| {
            let config::Error::Mistakes(mistakes) = error;
            let mut text = format!("the configuration has {} mistake(s)", mistakes.len());
            for mistake in mistakes {
                if write!(text, "\n  {mistake}").is_err() {
                    text.push('\n');
                }
            }
            Failure::with_exit(3, text)
        })
    }

    /// Opens the house with this configuration.
    ///
    /// # Errors
    /// Whatever stands against it.
    pub async fn open(&self, loaded: &Loaded) -> Result<Gateway, Failure> {
        let files = read_policy(&loaded.config.policy.directory)?;
        self.open_with(loaded, files).await
    }

    /// Opens the house with this configuration and these policy files.
    ///
    /// # Errors
    /// Whatever stands against it.
    pub async fn open_with(&self, loaded: &Loaded, files: Files) -> Result<Gateway, Failure> {
        let settings = settings(loaded)?;
        let keyring = keyring(&loaded.config);
        Ok(Gateway::open(settings, keyring, files, Source::default()).await?)
    }
}

/// The settings of the use-cases out of the configuration.
///
/// # Errors
/// A database URL that cannot be used.
pub(super) fn settings(loaded: &Loaded) -> Result<Settings, Failure> {
    let config = &loaded.config;
    let location =
        |url: &str, key: &str| Location::parse(url).map_err(|error| Failure::with_exit(3, format!("{key}: {error}")));
    let digest = Sha256::digest(config::print_reference(&loaded.values).as_bytes());
    Ok(Settings {
        database: location(config.storage.database.reveal(), "storage.database")?,
        keys: location(config.keys.database.reveal(), "keys.database")?,
        readers: u32::try_from(config.storage.readers.get()).unwrap_or(u32::MAX),
        batch_units: config.storage.batch_units.get(),
        queue: config.storage.queue.get(),
        public_url: config.public_url(),
        origin: config.audit.origin.clone(),
        memory: config.audit.memory.clone(),
        mirror: config.audit.mirror.clone(),
        journal: config.journal.places.clone(),
        key_life: Duration::from_secs(u64::from(config.keys.cache_seconds)),
        public_entries: config.audit.public_entries,
        checkpoint_every: config.audit.checkpoint_every,
        heartbeat_every: config.audit.heartbeat_every,
        anchors: anchors(config)?,
        trust: trust(config)?,
        delivery_time_limit: config.delivery.time_limit,
        delivery_lease: config.delivery.lease,
        stated_age_days: config.keys.copies.as_ref().map(|_| config.keys.epoch_days + config.keys.restore_days),
        config_digest: digest.into(),
        observe: Arc::new(observe),
    })
}

/// The authorities that date the log.
fn anchors(config: &Config) -> Result<Vec<AnchorSettings>, Failure> {
    let guard = super::recipients::guard(config)?;
    let of = |(name, anchor): (&String, &config::Anchor)| {
        let wrong = |what: String| Failure::with_exit(3, format!("anchors.{name}.roots: {what}"));
        let pem = std::fs::read(&anchor.roots)
            .map_err(|error| wrong(format!("{} cannot be read: {error}", anchor.roots.display())))?;
        let roots = gateway::anchor::roots(&pem).map_err(|error| wrong(chain(&error)))?;
        Ok(AnchorSettings { name: name.clone(), url: anchor.url.clone(), roots, guard: guard.clone() })
    };
    config.anchors.iter().map(of).collect()
}

fn trust(config: &Config) -> Result<TrustSettings, Failure> {
    let failed = |path: &Path, what: &dyn std::fmt::Display| {
        Failure::with_exit(3, format!("audit.trust: {}: {what}", path.display()))
    };
    let policy = match &config.audit.trust {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| failed(path, &error))?;
            Some(text)
        }
    };
    let when_unwitnessed = match config.audit.when_unwitnessed {
        config::WhenUnwitnessed::Publish => WhenUnwitnessed::Publish,
        config::WhenUnwitnessed::Wait => WhenUnwitnessed::Wait,
    };
    let settings = TrustSettings { policy, when_unwitnessed };
    if let (Err(error), Some(path)) = (Witnesses::of(&settings), &config.audit.trust) {
        return Err(failed(path, &error));
    }
    Ok(settings)
}

/// Where the root keys come from.
#[must_use]
pub(super) fn keyring(config: &Config) -> KeyringSource {
    match &config.keys.root {
        Some(root) => KeyringSource::Environment(Zeroizing::new(root.reveal().to_owned())),
        None => KeyringSource::File { path: config.keys.root_file.clone(), managed: config.keys.managed },
    }
}

fn observe(units: usize, leaves: usize, seconds: f64) {
    use crate::telemetry::metrics as names;
    metrics::histogram!(names::AUDIT_COMMIT_SECONDS).record(seconds);
    metrics::histogram!(names::AUDIT_BATCH_LEAVES).record(f64::from(u32::try_from(leaves).unwrap_or(u32::MAX)));
    let _ = units;
}

/// Reads a folder of policy files.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read_policy(directory: &Path) -> Result<Files, Failure> {
    let mut files = Files::new();
    read_folder(directory, "", &mut files)?;
    Ok(files)
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Files) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::with_exit(
            3,
            format!("the policy folder {} cannot be read: {error}; name it with policy.directory", folder.display()),
        )
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type().map_err(failed)?.is_dir() {
            read_folder(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.insert(path, std::fs::read(entry.path()).map_err(failed)?);
        }
    }
    Ok(())
}
