//! What the configuration means: every option with its real type, and what only the whole shows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::options::{
    Anchor, Audit, Delivery, Journal, Keys, Limits, Log, Metrics, Policy, Recipient, Section, Server, Storage,
};
use super::raw::Reading;
use super::setting::{KeySource, RecipientKind};
use crate::domain::id::RecipientId;

/// The whole set-up.
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[storage]`.
    pub storage: Storage,
    /// `[keys]`.
    pub keys: Keys,
    /// `[audit]`.
    pub audit: Audit,
    /// `[anchors.<name>]`.
    pub anchors: BTreeMap<String, Anchor>,
    /// `[journal]`.
    pub journal: Journal,
    /// `[policy]`.
    pub policy: Policy,
    /// `[limits]`.
    pub limits: Limits,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[recipients.<id>]`. Whether an id is a recipient of the policy is checked when both are
    /// read.
    pub recipients: BTreeMap<RecipientId, Recipient>,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[log]`.
    pub log: Log,
}

impl Config {
    /// The address under which others reach this gateway, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> String {
        match &self.server.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.server.listen),
        }
    }
}

/// Reads every section and then compares them. `None` if an option was wrong.
pub(super) fn check(reading: &mut Reading<'_>) -> Option<Config> {
    let server = Server::read(reading, "server");
    let storage = Storage::read(reading, "storage");
    let keys = Keys::read(reading, "keys");
    let audit = Audit::read(reading, "audit");
    let anchors = read_named(reading, "anchors");
    let journal = Journal::read(reading, "journal");
    let policy = Policy::read(reading, "policy");
    let limits = Limits::read(reading, "limits");
    let delivery = Delivery::read(reading, "delivery");
    let recipients = read_named(reading, "recipients");
    let metrics = Metrics::read(reading, "metrics");
    let log = Log::read(reading, "log");
    let config = Config {
        server: server?,
        storage: storage?,
        keys: keys?,
        audit: audit?,
        anchors: anchors?,
        journal: journal?,
        policy: policy?,
        limits: limits?,
        delivery: delivery?,
        recipients: recipients?.into_iter().map(|(id, recipient)| (RecipientId::new(&id), recipient)).collect(),
        metrics: metrics?,
        log: log?,
    };
    check_stores(&config, reading);
    check_times(&config, reading);
    check_recipients(&config, reading);
    Some(config)
}

/// Reads every section below `prefix` under the name that the operator gave it.
fn read_named<T: Section>(reading: &mut Reading<'_>, prefix: &str) -> Option<BTreeMap<String, T>> {
    let mut sections = BTreeMap::new();
    let mut all_read = true;
    for name in reading.named_sections(prefix) {
        match T::read(reading, &format!("{prefix}.{name}")) {
            Some(section) => {
                sections.insert(name, section);
            }
            None => all_read = false,
        }
    }
    all_read.then_some(sections)
}

fn check_stores(config: &Config, reading: &mut Reading<'_>) {
    if config.storage.database.reveal() == config.keys.database.reveal() {
        reading.contradiction(
            "keys.database",
            "is the same as storage.database; keys live apart, so that a backup of the data alone is unreadable",
        );
    }
    match (config.keys.source, &config.keys.root) {
        (KeySource::Environment, None) => {
            reading.contradiction("keys.source", "is \"environment\", but AMANAT__KEYS__ROOT is not set")
        }
        (KeySource::File, Some(_)) => reading.contradiction(
            "keys.root",
            "is set, but keys.source is \"file\"; remove it, or set keys.source to \"environment\"",
        ),
        _ => {}
    }
    if config.journal.places.is_empty() {
        reading.contradiction("journal.places", "is empty; without a journal a restore would bring erased people back");
    }
    if config.server.public_url.as_ref().is_some_and(|url| url.query().is_some() || url.fragment().is_some()) {
        reading.contradiction("server.public_url", "must not have a query or a fragment");
    }
}

fn check_times(config: &Config, reading: &mut Reading<'_>) {
    let between = Duration::from_millis(100)..=Duration::from_secs(60);
    if !between.contains(&config.audit.checkpoint_every) {
        reading.contradiction("audit.checkpoint_every", "must be between 100ms and 60s");
    }
    if config.delivery.lease <= config.delivery.time_limit {
        reading.contradiction(
            "delivery.lease",
            "must be longer than delivery.time_limit, or a second instance takes parcels that are on their way",
        );
    }
    let moments = [
        ("audit.heartbeat_every", config.audit.heartbeat_every),
        ("audit.scrub_every", config.audit.scrub_every),
        ("delivery.time_limit", config.delivery.time_limit),
        ("limits.body_time", config.limits.body_time),
    ];
    for (key, length) in moments {
        if length.is_zero() {
            reading.contradiction(key, "must be longer than nothing");
        }
    }
}

fn check_recipients(config: &Config, reading: &mut Reading<'_>) {
    for (id, recipient) in &config.recipients {
        match recipient.kind {
            RecipientKind::File => {}
            RecipientKind::Webhook => {
                let of_webhook = |option: &str| format!("recipients.{id}.{option}");
                if recipient.secret.is_none() {
                    reading.contradiction(
                        &of_webhook("secret"),
                        "a webhook is signed: name the secret's file as `secret_file`, or set it in the environment",
                    );
                }
                match &recipient.url {
                    None => reading.contradiction(&of_webhook("url"), "a webhook needs an address"),
                    Some(url) if url.scheme() == "http" && !config.delivery.allow_loopback => {
                        reading.contradiction(
                            &of_webhook("url"),
                            "must begin with https://; http:// to this machine needs delivery.allow_loopback",
                        );
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
