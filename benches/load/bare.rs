//! What is compared with: a handler that parses the same JSON and answers the same, and does nothing
//! else. It runs in a process of its own, as the gateway does.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::Value;

/// Serves on this port until the process ends.
pub fn serve(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("port");
    actix_web::rt::System::new().block_on(async move {
        HttpServer::new(|| App::new().default_service(web::route().to(answer)))
            .keep_alive(Duration::from_secs(75))
            .listen(listener)
            .expect("listener")
            .run()
            .await
            .expect("server");
    });
}

async fn answer(body: web::Bytes) -> HttpResponse {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else { return HttpResponse::BadRequest().finish() };
    let events = match body.get("batch").and_then(Value::as_array) {
        Some(batch) => batch.iter().collect(),
        None => vec![&body],
    };
    let mut text = String::from("{\"success\":true,\"results\":[");
    for (index, event) in events.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let id = event.get("messageId").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("{{\"index\":{index},\"messageId\":\"{id}\",\"verdict\":\"accepted\"}}"));
    }
    text.push_str("]}");
    HttpResponse::Ok().content_type("application/json").body(text)
}
