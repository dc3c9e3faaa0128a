//! Which path of which protocol a request means. A missing or doubled slash is served, never
//! redirected: clients turn a redirected POST into a GET, or count it as success.

use crate::domain::policy::Protocol;

/// A path of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// One event of this type (`/v1/track`, `/v1/t`).
    Event(Call),
    /// `{"batch": […]}` (`/v1/batch`, `/v1/b`, `/v1/import`, `/beacon/v1/batch`).
    Batch,
    /// RudderStack's `/v1/merge`.
    Merge,
    /// `/v1/m`: the SDK's own metrics, answered 200 and thrown away.
    Metrics,
    /// RudderStack's `GET /pixel/v1/{track,page}`; needs the collector's `get`.
    Pixel(Call),
    /// Segment's `GET /v1/projects/{key}/settings`, asked before anything is sent.
    Settings {
        /// The write key in the path.
        key: &'a str,
    },
    /// RudderStack's `GET /sourceConfig/`.
    SourceConfig,
    /// CloudEvents, `/v1/events`.
    Events,
}

/// The call types of Segment's specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Facts about a person.
    Identify,
    /// Something a person did.
    Track,
    /// A page viewed.
    Page,
    /// A screen viewed.
    Screen,
    /// Membership in a group.
    Group,
    /// Two identifiers of one person.
    Alias,
    /// RudderStack's way to say the same, with identifiers of any kind.
    Merge,
}

impl Call {
    /// Reads the `type` of an item; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "identify" => Self::Identify,
            "track" => Self::Track,
            "page" => Self::Page,
            "screen" => Self::Screen,
            "group" => Self::Group,
            "alias" => Self::Alias,
            "merge" => Self::Merge,
            _ => return None,
        })
    }
}

/// Finds the route of a path; `None` is 404 (RudderStack's `/v1/webhook` and `/v1/audiencelist`
/// among them, which would bypass consent).
#[must_use]
pub fn find(path: &str) -> Option<Route<'_>> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let route = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        ("v1", Some("projects"), Some(key), Some("settings")) => Route::Settings { key },
        ("v1", Some(name), None, None) => version_one(name)?,
        ("beacon", Some("v1"), Some("batch"), None) => Route::Batch,
        ("pixel", Some("v1"), Some("track"), None) => Route::Pixel(Call::Track),
        ("pixel", Some("v1"), Some("page"), None) => Route::Pixel(Call::Page),
        ("sourceConfig", None, None, None) => Route::SourceConfig,
        _ => return None,
    };
    parts.next().is_none().then_some(route)
}

fn version_one(name: &str) -> Option<Route<'static>> {
    Some(match name {
        "i" => Route::Event(Call::Identify),
        "t" => Route::Event(Call::Track),
        "p" => Route::Event(Call::Page),
        "s" => Route::Event(Call::Screen),
        "g" => Route::Event(Call::Group),
        "a" => Route::Event(Call::Alias),
        "b" | "batch" | "import" => Route::Batch,
        "m" => Route::Metrics,
        "merge" => Route::Merge,
        "events" => Route::Events,
        name => Route::Event(Call::parse(name)?),
    })
}

impl Route<'_> {
    /// The method it is served with, besides `OPTIONS`.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Pixel(_) | Self::Settings { .. } | Self::SourceConfig => "GET",
            _ => "POST",
        }
    }

    /// Whether collectors of this protocol have it. RudderStack's is a superset of Segment's; a key
    /// of the wrong protocol is answered like an unknown one.
    #[must_use]
    pub const fn serves(&self, protocol: Protocol) -> bool {
        match self {
            Self::Event(_) | Self::Batch | Self::Metrics => {
                matches!(protocol, Protocol::Segment | Protocol::Rudderstack)
            }
            Self::Settings { .. } => matches!(protocol, Protocol::Segment),
            Self::Merge | Self::Pixel(_) | Self::SourceConfig => {
                matches!(protocol, Protocol::Rudderstack)
            }
            Self::Events => matches!(protocol, Protocol::CloudEvents),
        }
    }

    /// The template that logs and metrics may name; never the path itself.
    #[must_use]
    pub const fn template(&self) -> &'static str {
        match self {
            Self::Event(_) => "/v1/{type}",
            Self::Batch => "/v1/batch",
            Self::Merge => "/v1/merge",
            Self::Metrics => "/v1/m",
            Self::Pixel(_) => "/pixel/v1/{type}",
            Self::Settings { .. } => "/v1/projects/{key}/settings",
            Self::SourceConfig => "/sourceConfig",
            Self::Events => "/v1/events",
        }
    }
}
