//! The HTTP server: workers, limits, and the way it ends.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::guard::fn_guard;
use actix_web::{App as Routes, HttpServer, web};

use super::app::App;
use super::collect::route;
use super::{collect_door, routes};

/// Threads for blocking work of one worker at most.
const BLOCKING_THREADS: usize = 16;

/// Starts serving on a listener. The server ends when its handle is told so, after work that was
/// accepted, at most `grace`.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(app: Arc<App>, listener: TcpListener, workers: Option<usize>, grace: Duration) -> std::io::Result<Server> {
    let data = web::Data::from(app);
    let mut server = HttpServer::new(move || {
        Routes::new()
            .app_data(data.clone())
            // First, because they are called a thousand times as often as all others together, and
            // each pattern of the table that is tried before costs as much as parsing an event.
            .service(
                web::scope("")
                    .guard(fn_guard(|context| route::find(context.head().uri.path()).is_some()))
                    .default_service(web::route().to(collect_door::serve)),
            )
            .configure(super::openapi::page)
            .configure(routes::configure)
            .default_service(web::route().to(collect_door::serve))
    })
    .disable_signals()
    .shutdown_timeout(grace.as_secs())
    .keep_alive(Duration::from_secs(75))
    .client_request_timeout(Duration::from_secs(10))
    .backlog(1024)
    // Blocking work is reading, and waits for a connection of the pool: more threads would only wait.
    .worker_max_blocking_threads(BLOCKING_THREADS);
    if let Some(workers) = workers {
        server = server.workers(workers);
    }
    Ok(server.listen(listener)?.run())
}
