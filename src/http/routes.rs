//! The one table: method, path, who may, handler. The permission test walks it, the document of the
//! API is held against it, and a path that stands here with another method is answered 405.

use actix_web::web;

use crate::gateway::tokens::Scope;

use super::api;
use super::call::door;

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Anyone.
    Anyone,
    /// A service whose token has this scope.
    Service(Scope),
    /// A collector with its write key, or a service whose token has this scope.
    CollectorOr(Scope),
    /// A service with any token: it is exchanged here.
    Token,
    /// This machine, or whoever bears the token for metrics.
    Metrics,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, `{name}` for what varies.
    pub path: &'static str,
    /// Who may call.
    pub permission: Permission,
}

macro_rules! routes {
    ($($method:ident $path:literal $permission:expr => $handler:path;)*) => {
        /// Every route of the gateway's own API. Collector protocols stand in `collect::route`.
        pub const TABLE: &[Route] = &[
            $(Route { method: stringify!($method), path: $path, permission: $permission },)*
        ];

        /// Puts the table into the server.
        pub fn configure(config: &mut web::ServiceConfig) {
            $(config.route($path, web::$method().to(|request, payload, app| door(request, payload, app, $permission, $handler)));)*
        }
    };
}

use Permission::{Anyone, Metrics};

routes! {
    get "/healthz" Anyone => api::health::healthz;
    get "/readyz" Anyone => api::health::readyz;
    get "/metrics" Metrics => api::health::metrics;
    get "/openapi.json" Anyone => api::document::openapi;
    get "/docs/problems" Anyone => api::document::problems;
}

/// The methods that a path of the table is served with, if it stands there.
#[must_use]
pub fn methods_of(path: &str) -> Vec<String> {
    let mut methods: Vec<String> = TABLE
        .iter()
        .filter(|route| fits(route.path, path))
        .map(|route| route.method.to_uppercase())
        .collect();
    methods.sort();
    methods.dedup();
    methods
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        if wanted.starts_with('{') && wanted.ends_with(".*}") {
            return true;
        }
        let Some(part) = parts.next() else { return false };
        if !wanted.starts_with('{') && wanted != part || wanted.starts_with('{') && part.is_empty() {
            return false;
        }
    }
    parts.next().is_none()
}
