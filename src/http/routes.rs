//! The one table: method, path, who may, handler. The permission test walks it, the document of the
//! API is held against it, and a path that stands here with another method is answered 405.

use actix_web::web;

use crate::gateway::tokens::Scope;

use super::call::door;
use super::{api, pages};

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

use Permission::{Anyone, CollectorOr, Metrics, Service, Token};

routes! {
    get "/healthz" Anyone => api::health::healthz;
    get "/readyz" Anyone => api::health::readyz;
    get "/metrics" Metrics => api::health::metrics;
    get "/openapi.json" Anyone => api::document::openapi;
    get "/log/checkpoint" Anyone => api::audit::checkpoint;
    get "/log/tile/{path:.*}" Anyone => api::audit::tile;
    get "/verify" Anyone => pages::verify::page;
    get "/verify/{file}" Anyone => pages::verify::file;
    get "/v1/audit/entries" Service(Scope::AuditRead) => api::audit::entries;
    get "/v1/audit/entries/{entry}" Service(Scope::AuditRead) => api::audit::entry;
    get "/v1/audit/entries/{entry}/proof" Service(Scope::AuditRead) => api::audit::proof;
    get "/v1/audit/consistency" Service(Scope::AuditRead) => api::audit::consistency;
    get "/v1/audit/status" Service(Scope::AuditRead) => api::audit::status;
    get "/v1/audit/events" Service(Scope::AuditRead) => api::audit::events;
    get "/docs/problems" Anyone => api::document::problems;
    get "/v1/policy" Anyone => api::policy::in_force;
    get "/v1/policy/notices/{id}" Anyone => api::policy::notice;
    get "/.well-known/jwks.json" Anyone => api::policy::keys;
    get "/.well-known/gpc.json" Anyone => api::policy::global_privacy_control;
    post "/v1/token" Token => api::tokens::exchange;
    post "/v1/consents" CollectorOr(Scope::Consents) => api::consents::record;
    get "/v1/consents/{id}" CollectorOr(Scope::Consents) => api::consents::show;
    get "/v1/consents/{id}/receipt" CollectorOr(Scope::Consents) => api::consents::receipt;
    post "/v1/consents/{id}/withdraw" CollectorOr(Scope::Consents) => api::consents::withdraw;
    post "/v1/decisions" Service(Scope::Decisions) => api::decisions::decide;
    post "/v1/disclosures" Service(Scope::Disclosures) => api::disclosures::disclose;
    post "/v1/subject-requests" Service(Scope::Requests) => api::subject_requests::open;
    get "/v1/subject-requests/{id}" Service(Scope::Requests) => api::subject_requests::show;
    get "/v1/subject-requests/{id}/tasks" Service(Scope::Requests) => api::subject_requests::tasks;
    get "/v1/subject-requests/{id}/package" Service(Scope::Requests) => api::subject_requests::package;
    get "/v1/subject-requests/{id}/receipt" Service(Scope::Requests) => api::subject_requests::receipt;
    post "/v1/tasks/{task}/acknowledgements" Service(Scope::Tasks) => api::subject_requests::acknowledge;
    get "/schemas/{name}" Anyone => api::subject_requests::schema;
}

/// Whether pages of collectors call this path of the table.
#[must_use]
pub fn is_open_to_pages(path: &str) -> bool {
    TABLE.iter().any(|route| {
        let notices = route.path.starts_with("/v1/policy");
        (notices || matches!(route.permission, Permission::CollectorOr(_))) && fits(route.path, path)
    })
}

/// The methods that a path of the table is served with, if it stands there.
#[must_use]
pub fn methods_of(path: &str) -> Vec<String> {
    let mut methods: Vec<String> =
        TABLE.iter().filter(|route| fits(route.path, path)).map(|route| route.method.to_uppercase()).collect();
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
