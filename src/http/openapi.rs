//! The document of the API (OpenAPI 3.1), made from the types, and the page to read it.

use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use utoipa::OpenApi;

use super::api;

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Amanat",
        description = "A consent and privacy gateway: collectors bring events, recipients get what they may have, people and officers get answers.",
    ),
    paths(
        api::consents::record,
        api::consents::show,
        api::consents::withdraw,
        api::consents::receipt,
        api::decisions::decide,
        api::disclosures::disclose,
        api::subject_requests::open,
        api::subject_requests::show,
        api::subject_requests::tasks,
        api::subject_requests::package,
        api::subject_requests::receipt,
        api::subject_requests::acknowledge,
        api::policy::in_force,
        api::policy::notice,
        api::policy::keys,
        api::policy::global_privacy_control,
        api::tokens::exchange,
        api::audit::checkpoint,
        api::audit::tile,
        api::audit::entries,
        api::audit::entry,
        api::audit::proof,
        api::audit::consistency,
        api::audit::status,
        api::audit::events,
    )
)]
pub struct Document;

/// The document as JSON.
///
/// # Errors
/// When it has no JSON form, which is a mistake in this program.
pub fn json() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json()
}

/// The page that reads `/openapi.json`, served from this program alone.
pub(super) fn page(config: &mut web::ServiceConfig) {
    config.route("/docs", web::get().to(index));
    config.route("/docs/{file}", web::get().to(file));
}

async fn index() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header(("location", "/docs/index.html")).finish()
}

async fn file(request: HttpRequest) -> HttpResponse {
    let name = request.match_info().get("file").unwrap_or_default();
    let config = std::sync::Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(found)) => {
            HttpResponse::Ok().content_type(found.content_type).body(Bytes::from(found.bytes.into_owned()))
        }
        Ok(None) | Err(_) => HttpResponse::NotFound().finish(),
    }
}
