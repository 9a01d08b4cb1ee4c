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
//! The pond sees the full path, the peer's address and the headers. What actix-web does not tell is told by options of its
//! `HttpServer`: `tcp_nodelay(true)` sends small messages at once, and with `h1_allow_half_closed(false)` a client of an
//! event stream that goes is noticed at once, and not when it is next written to. At the end drain the pond first, then stop
//! the server: see the example `mounted`.

mod request;
mod response;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use pondsocket::{HostUpgrade, PondService, PondSocket};
use tokio::io::duplex;
use tower_service::Service;

/// How much of either direction of a WebSocket lies between the pond and actix-web at the most.
const BUFFER: usize = 64 * 1024;

/// A route that hands every request to the pond, which answers those that are not for its endpoints with 404.
pub fn route(pond: &PondSocket) -> Route {
    let service = pond.service();
    web::route().to(move |request, payload| answer(service.clone(), request, payload))
}

/// Both are at work until the pond has decided: it may want to read what the client sends.
async fn answer(mut pond: PondService, request: HttpRequest, payload: Payload) -> HttpResponse {
    if !request.head().upgrade() {
        let (asked, feed) = request::with_content(&request, payload);
        let never_failing = pond.call(asked);
        return tokio::select! {
            Ok(answer) = never_failing => response::plain(answer),
            () = feed => unreachable!("it never ends"),
        };
    }
    let (ours, hosts) = duplex(BUFFER);
    let mut asked = request::head(&request).map(|()| String::new());
    asked.extensions_mut().insert(HostUpgrade::new(async { Ok(ours) }));
    let Ok(answer) = pond.call(asked).await;
    match answer.status() {
        http::StatusCode::SWITCHING_PROTOCOLS => response::upgraded(answer, payload, hosts),
        _ => response::plain(answer),
    }
}
