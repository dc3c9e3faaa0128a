//! The one declaration of every option. The types, the reading, the defaults and the printed
//! reference are all made from it, so none can drift from another.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::raw::Reading;
use super::setting::{
    Bytes, DatabaseUrl, EnvironmentSecret, KeySource, LogFormat, MessageFormat, Network, RecipientKind, Secret,
    Setting, WhenUnwitnessed,
};

/// What is known of an option besides its type.
pub(super) struct Declared {
    /// Its name within the section.
    pub(super) option: &'static str,
    /// The value if nobody sets one, as a text (lists separated by commas); empty for none.
    pub(super) default: &'static str,
    /// What it does, from its documentation.
    pub(super) text: &'static str,
    /// What may be written, in words.
    pub(super) kind: &'static str,
}

/// A group of options that can be read under a section's name.
pub(super) trait Section: Sized {
    /// What the group is for.
    const TEXT: &'static str;
    /// Its options in the order of the fields.
    const OPTIONS: &'static [Declared];

    /// Reads every option under `section`; `None` if any was wrong, and then the reading knows.
    fn read(reading: &mut Reading<'_>, section: &str) -> Option<Self>;
}

macro_rules! sections {
    ($(
        $(#[doc = $section_text:literal])+
        $name:ident {
            $($(#[doc = $text:literal])+ $option:ident: $type:ty = $default:literal;)*
        }
    )*) => {$(
        $(#[doc = $section_text])+
        pub struct $name {
            $($(#[doc = $text])+ pub $option: $type,)*
        }

        impl Section for $name {
            const TEXT: &'static str = concat!($($section_text, "\n"),+);
            const OPTIONS: &'static [Declared] = &[$(Declared {
                option: stringify!($option),
                default: $default,
                text: concat!($($text, "\n"),+),
                kind: <$type as Setting>::KIND,
            }),*];

            fn read(reading: &mut Reading<'_>, section: &str) -> Option<Self> {
                let mut declared = Self::OPTIONS.iter();
                // Every option is read before the first failure counts, so that all mistakes show.
                $(let $option = declared.next().and_then(|declared| {
                    reading.option::<$type>(section, Self::TEXT, declared)
                });)*
                Some(Self { $($option: $option?,)* })
            }
        }
    )*};
}

sections! {
    /// The doors: where the gateway listens and how it ends.
    Server {
        /// Address and port of the HTTP server. TLS is the proxy's in front of it.
        listen: SocketAddr = "127.0.0.1:8080";
        /// The address under which others reach this gateway: issuer of access tokens, links,
        /// settings of browser SDKs. `http://` and `listen` if not set.
        public_url: Option<Url> = "";
        /// Threads that serve HTTP; one per processor if not set.
        workers: Option<NonZeroUsize> = "";
        /// How long work that was accepted may go on after a request to stop.
        shutdown_grace: Duration = "30s";
        /// Proxies whose `X-Forwarded-For` is believed.
        trusted_proxies: Vec<Network> = "";
    }

    /// The data: everything but the keys.
    Storage {
        /// The database. `postgres://…` for several instances.
        database: DatabaseUrl = "sqlite:data/amanat.db";
        /// Connections that only read.
        readers: NonZeroUsize = "4";
        /// Units of work committed together at most.
        batch_units: NonZeroUsize = "256";
        /// Units of work that may wait for the writer; above, collectors get 429.
        queue: NonZeroUsize = "4096";
        /// How long the writer waits for company before it commits. Waiting costs throughput.
        commit_linger: Duration = "0ms";
    }

    /// The keys, in a store of their own, so that a backup of the data alone is unreadable.
    Keys {
        /// The key store: another file, schema or database than `storage.database`.
        database: DatabaseUrl = "sqlite:data/keys.db";
        /// Where the root key comes from.
        source: KeySource = "file";
        /// The root key's file, made at the first start with mode 0600.
        root_file: PathBuf = "data/root.key";
        /// The root keys themselves, `3:amanat_rk_…,2:amanat_rk_…`, the first active; only for
        /// `source = "environment"`.
        root: Option<EnvironmentSecret> = "";
        /// Whether the gateway makes and rotates the file's keys; false if the operator does.
        managed: bool = "true";
        /// A second place for the root key. Epochs, which make old backups unreadable, run only if
        /// one is set.
        copies: Option<PathBuf> = "";
        /// Days between two epochs of the root key.
        epoch_days: u32 = "7";
        /// Days a backup stays restorable after its epoch ended.
        restore_days: u32 = "28";
        /// How long an unwrapped key may stay in memory unused.
        cache_seconds: u32 = "30";
    }

    /// The evidence: the audit log.
    Audit {
        /// The log's name in its checkpoints, a host and path without scheme; made from the public
        /// address if not set. Never changes once the log has begun.
        origin: Option<String> = "";
        /// Time between two checkpoints, 100ms to 60s.
        checkpoint_every: Duration = "1s";
        /// Time between two heartbeats in the log.
        heartbeat_every: Duration = "1h";
        /// Whether anyone may read the entries of the log. They name nobody, but their times and kinds
        /// show the rhythm of the house; the hashes are public anyhow.
        public_entries: bool = "false";
        /// The folder that remembers the newest checkpoint; never part of a backup.
        memory: PathBuf = "data/memory";
        /// A folder that gets the whole log as static files (C2SP tlog-tiles) after each checkpoint, on
        /// another disk or a mounted bucket: from it `amanat restore --mirror` brings every entry back.
        mirror: Option<PathBuf> = "";
        /// A trust policy (C2SP tlog-policy): the log, its witnesses with their addresses, and the
        /// quorum of them. Without one nobody outside is asked.
        trust: Option<PathBuf> = "";
        /// What is shown while the quorum is missed: `publish` every checkpoint, or `wait` and show
        /// the newest that has it.
        when_unwitnessed: WhenUnwitnessed = "publish";
        /// Time between two re-readings of the whole log, each at a tenth of a core.
        scrub_every: Duration = "24h";
    }

    /// A time-stamping authority that dates the log once a day (RFC 3161), under a name of your choice.
    Anchor {
        /// Where it takes requests. Internal addresses need `delivery.allow_networks`.
        url: Url = "";
        /// A PEM file with the root certificates that vouch for it.
        roots: PathBuf = "";
    }

    /// The journal of stops (erasures, withdrawals, objections), which a restore replays.
    Journal {
        /// The folders it is written to. More than one disk is better.
        places: Vec<PathBuf> = "data/journal";
    }

    /// The controller's decisions.
    Policy {
        /// The folder of policy files.
        directory: PathBuf = "policies";
    }

    /// How much of anything is accepted at the doors.
    Limits {
        /// Header block of a request; above: 431.
        header_block: Bytes = "16KiB";
        /// Body as received; above: 413.
        body_received: Bytes = "4MiB";
        /// Body after decoding; above: 413.
        body_decoded: Bytes = "4MiB";
        /// Time to receive a body; above: the connection is closed.
        body_time: Duration = "15s";
        /// Events in a batch; above: 400 `batch_too_long`.
        batch_events: NonZeroUsize = "2500";
        /// One event of the Segment protocol; above: the event is rejected.
        event_segment: Bytes = "32KiB";
        /// One event of any other protocol; above: the event is rejected.
        event_other: Bytes = "256KiB";
        /// Levels of nesting in an event.
        event_depth: NonZeroUsize = "64";
        /// Keys in an event.
        event_keys: NonZeroUsize = "2000";
        /// Length of a message id.
        message_id: Bytes = "256B";
        /// Requests a second with one public key; above: 429.
        public_key_rate: NonZeroUsize = "1000";
        /// Requests a second with one server key; above: 429.
        server_key_rate: NonZeroUsize = "10000";
    }

    /// How parcels leave the house.
    Delivery {
        /// Length of a whole try, and so the longest a withdrawal waits for its answer.
        time_limit: Duration = "10s";
        /// How long a claimed parcel belongs to its instance; longer than `time_limit`.
        lease: Duration = "20s";
        /// Whether `http://` to this machine is a permitted recipient; for trying out only.
        allow_loopback: bool = "false";
        /// Internal ranges that recipients may have addresses in.
        allow_networks: Vec<Network> = "";
        /// Ports that recipients may have besides 443.
        allow_ports: Vec<u16> = "";
        /// The folder under which recipients of kind file have theirs.
        files: PathBuf = "data/deliveries";
        /// Parcels on their way to one recipient at the same time.
        concurrency: NonZeroUsize = "4";
    }

    /// The address of one recipient of `recipients.toml`, under the recipient's id.
    Recipient {
        /// How parcels reach it.
        kind: RecipientKind = "";
        /// Where a webhook is sent.
        url: Option<Url> = "";
        /// The webhook's signing secret, `whsec_…`.
        secret: Option<Secret> = "";
        /// The secret before, which also signs while the recipient changes over.
        previous_secret: Option<Secret> = "";
        /// The body of a webhook.
        format: MessageFormat = "standard";
        /// The folder of a recipient of kind file; one under `delivery.files` if not set.
        directory: Option<PathBuf> = "";
    }

    /// Figures for monitoring.
    Metrics {
        /// Who bears this token may read `/metrics`; without one only this machine may.
        token: Option<Secret> = "";
    }

    /// Diagnostics. Evidence is in the audit log.
    Log {
        /// What is worth a line: `error`, `warn`, `info`, `debug`, or filter directives.
        level: String = "info";
        /// The form of a line.
        format: LogFormat = "text";
    }
}
