//! A PondSocket server mounted in actix-web.
//!
//! ```
//! use actix_web::{App, web};
//! # use pondsocket::PondSocket;
//!
//! # fn app(pond: PondSocket) {
//! let app = App::new().route("/ws/{path:.*}", pondsocket_actix::route(&pond));
//! # }
//! ```
//!
//! The pond receives the full path, the peer's address and the headers. Two options of actix-web's `HttpServer` should
//! be set: `tcp_nodelay(true)` sends small messages at once, and with `h1_allow_half_closed(false)` the end of an event
//! stream's client is noticed at once, instead of at the next write. At a shutdown drain the pond first, then stop the
//! server: see the example `mounted`.

mod request;
mod response;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use pondsocket::{HostUpgrade, PondService, PondSocket};
use tokio::io::duplex;
use tower_service::Service;

/// The capacity, in each direction and in bytes, of the stream between the pond and actix-web. It bounds the memory of
/// a WebSocket whose client reads slowly.
const BUFFER: usize = 64 * 1024;

/// A route that passes every request to the pond. Requests that match no endpoint are answered with 404.
pub fn route(pond: &PondSocket) -> Route {
    let service = pond.service();
    web::route().to(move |request, payload| respond(service.clone(), request, payload))
}

async fn respond(mut pond: PondService, request: HttpRequest, payload: Payload) -> HttpResponse {
    // Only an upgrade needs the stream below; all other requests have plain responses.
    if !request.head().upgrade() {
        let (converted, feed) = request::with_body(&request, payload);
        let call = pond.call(converted);
        // The body is fed while the pond handles the request, because the pond may read it.
        return tokio::select! {
            Ok(response) = call => response::plain(response),
            () = feed => unreachable!("feeding a body never completes"),
        };
    }
    // actix-web upgrades a connection only by its response, so the pond is given a stream that this response is
    // connected to.
    let (pond_end, host_end) = duplex(BUFFER);
    let mut converted = request::head(&request).map(|()| String::new());
    converted.extensions_mut().insert(HostUpgrade::new(async { Ok(pond_end) }));
    let Ok(response) = pond.call(converted).await;
    match response.status() {
        http::StatusCode::SWITCHING_PROTOCOLS => response::upgraded(response, payload, host_end),
        _ => response::plain(response),
    }
}
