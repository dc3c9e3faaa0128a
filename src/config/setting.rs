//! The kinds of values an option may have: how each is written and what it becomes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;
use zeroize::Zeroizing;

/// How a value is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `"text"`.
    Text,
    /// `17`.
    Number,
    /// `true`.
    Switch,
    /// `["a", "b"]`.
    List,
}

/// What an option's type must say of itself.
pub(super) trait Setting: Sized {
    /// How it is written.
    const FORM: Form;
    /// What may be written, in words.
    const KIND: &'static str;
    /// Whether `<option>_file` may name a file that holds the value.
    const FROM_FILE: bool;

    /// The value that these texts mean (none: nobody set it). The error says what would be right
    /// and never repeats the text.
    fn read(texts: &[String]) -> Result<Self, String>;

    /// Whether this text must not stand in the configuration file or on the command line.
    fn is_secret(text: &str) -> bool;
}

/// A single value, from which optional ones and lists are made.
pub(super) trait Scalar: Sized {
    /// As in [`Setting`].
    const FORM: Form = Form::Text;
    /// As in [`Setting`].
    const KIND: &'static str;
    /// As in [`Setting`].
    const FROM_FILE: bool = false;

    /// The value that this text means.
    fn parse(text: &str) -> Option<Self>;

    /// As in [`Setting`].
    fn is_secret(_text: &str) -> bool {
        false
    }
}

impl<T: Scalar> Setting for T {
    const FORM: Form = T::FORM;
    const KIND: &'static str = T::KIND;
    const FROM_FILE: bool = T::FROM_FILE;

    fn read(texts: &[String]) -> Result<Self, String> {
        match texts {
            [text] => T::parse(text).ok_or_else(|| format!("must be {}", T::KIND)),
            _ => Err(format!("must be given: {}", T::KIND)),
        }
    }

    fn is_secret(text: &str) -> bool {
        T::is_secret(text)
    }
}

impl<T: Scalar> Setting for Option<T> {
    const FORM: Form = T::FORM;
    const KIND: &'static str = T::KIND;
    const FROM_FILE: bool = T::FROM_FILE;

    fn read(texts: &[String]) -> Result<Self, String> {
        match texts {
            [] => Ok(None),
            texts => <T as Setting>::read(texts).map(Some),
        }
    }

    fn is_secret(text: &str) -> bool {
        T::is_secret(text)
    }
}

impl<T: Scalar> Setting for Vec<T> {
    const FORM: Form = Form::List;
    const KIND: &'static str = T::KIND;
    const FROM_FILE: bool = false;

    fn read(texts: &[String]) -> Result<Self, String> {
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| T::parse(text).ok_or_else(|| format!("entry {}: must be {}", index + 1, T::KIND)))
            .collect()
    }

    fn is_secret(text: &str) -> bool {
        T::is_secret(text)
    }
}

macro_rules! scalars {
    ($($type:ty, $form:ident, $kind:literal, $parse:expr;)*) => {$(
        impl Scalar for $type {
            const FORM: Form = Form::$form;
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Option<Self> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text)
            }
        }
    )*};
}

scalars! {
    SocketAddr, Text, "an address and a port, \"127.0.0.1:8080\"", |text| text.parse().ok();
    NonZeroUsize, Number, "a whole number, at least 1", |text| text.parse().ok();
    u16, Number, "a whole number from 0 to 65535", |text| text.parse().ok();
    u32, Number, "a whole number, at least 0", |text| text.parse().ok();
    bool, Switch, "true or false", |text| text.parse().ok();
    Duration, Text, "a length of time, \"250ms\", \"10s\", \"5m\", \"1h\" or \"7d\"", parse_duration;
    String, Text, "text", |text| (!text.trim().is_empty()).then(|| text.to_owned());
    PathBuf, Text, "a path", |text| (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text));
    Url, Text, "an address that begins with https:// or http:// and holds no password", parse_web_address;
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(usize);

impl Bytes {
    /// The number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Scalar for Bytes {
    const KIND: &'static str = "a size, \"256B\", \"16KiB\" or \"4MiB\"";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let factor: usize = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        usize::try_from(number).ok()?.checked_mul(factor).map(Self)
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let unit_at = text.find(|symbol: char| !symbol.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

fn parse_web_address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let web = matches!(url.scheme(), "https" | "http") && url.has_host();
    (web && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// A range of addresses, `10.0.0.0/8` or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether the address lies in the range. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Scalar for Network {
    const KIND: &'static str = "an address or a range of addresses, \"10.0.0.0/8\"";

    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(widest), |prefix| prefix.parse().ok())?;
        (prefix <= widest).then_some(Self { address, prefix })
    }
}

/// A text that must not be shown. It has no `Debug`, `Display`, `Clone` or `PartialEq`, and is
/// wiped when dropped.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text, for the one expression that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Scalar for Secret {
    const KIND: &'static str = "a secret: `<option>_file` names the file it stands in, or it is in the environment";
    const FROM_FILE: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    fn is_secret(_text: &str) -> bool {
        true
    }
}

/// A secret that only the environment may carry, because its file is somebody else's: the root
/// key's file is read, written and rotated by the keyring.
pub struct EnvironmentSecret(Secret);

impl EnvironmentSecret {
    /// The text, for the one expression that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl Scalar for EnvironmentSecret {
    const KIND: &'static str = "a secret, in the environment only";

    fn parse(text: &str) -> Option<Self> {
        Secret::parse(text).map(Self)
    }

    fn is_secret(_text: &str) -> bool {
        true
    }
}

/// Which database a URL names. The scheme decides, never a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `sqlite:PATH`.
    Sqlite,
    /// `postgres://…` or `postgresql://…`.
    Postgres,
}

/// The address of a store. It may hold a password, so `Display` shows it without.
pub struct DatabaseUrl {
    backend: Backend,
    text: Zeroizing<String>,
}

impl DatabaseUrl {
    /// Which database it names.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// The whole URL with its password, for the one expression that connects.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The file of a SQLite store.
    #[must_use]
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.text.strip_prefix("sqlite:").map(Path::new)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::parse(&self.text) {
            Ok(url) if self.backend == Backend::Postgres => {
                let host = url.host_str().unwrap_or("");
                write!(f, "postgres://{host}{}", url.path())
            }
            _ => f.write_str(&self.text),
        }
    }
}

impl Scalar for DatabaseUrl {
    const KIND: &'static str = "\"sqlite:PATH\" or \"postgres://user@host/name\"";
    const FROM_FILE: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let backend = match text.split_once(':')? {
            ("sqlite", path) if !path.is_empty() => Backend::Sqlite,
            ("postgres" | "postgresql", _) if Url::parse(text).is_ok() => Backend::Postgres,
            _ => return None,
        };
        let text = Zeroizing::new(text.to_owned());
        Some(Self { backend, text })
    }

    fn is_secret(text: &str) -> bool {
        // libpq also takes the password as a parameter of the query.
        Url::parse(text)
            .is_ok_and(|url| url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password"))
    }
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident, $kind:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl Scalar for $name {
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

choices! {
    /// Where the root key (KEK) comes from.
    KeySource, "\"file\" or \"environment\"" {
        /// A file, by default one that the gateway makes and rotates.
        File = "file";
        /// `AMANAT__KEYS__ROOT`.
        Environment = "environment";
    }
    /// What is shown of the log while no quorum of witnesses has signed it.
    WhenUnwitnessed, "\"publish\" or \"wait\"" {
        /// Every checkpoint at once; cosignatures are added as they come.
        Publish = "publish";
        /// The newest checkpoint that the quorum signed.
        Wait = "wait";
    }
    /// How parcels reach a recipient.
    RecipientKind, "\"webhook\" or \"file\"" {
        /// HTTP, signed by Standard Webhooks 1.0.0.
        Webhook = "webhook";
        /// NDJSON files in a folder of the recipient's.
        File = "file";
    }
    /// The body of a webhook.
    MessageFormat, "\"standard\" or \"cloudevents\"" {
        /// `type`, `timestamp`, `data`.
        Standard = "standard";
        /// CloudEvents 1.0, structured mode.
        CloudEvents = "cloudevents";
    }
    /// The form of diagnostics.
    LogFormat, "\"text\" or \"json\"" {
        /// For people.
        Text = "text";
        /// One JSON object a line.
        Json = "json";
    }
}
