//! A PondSocket server mounted in Rocket.
//!
//! ```
//! # use pondsocket::PondSocket;
//! # fn launch(pond: PondSocket) {
//! let rocket = rocket::build().mount("/ws", pondsocket_rocket::routes(&pond));
//! # }
//! ```
//!
//! The pond receives the full path, the peer's address and the headers. Rocket writes responses in tasks of its own, so
//! the end of an event stream's client is noticed at the next write, after `ping_interval` at the latest. At a shutdown
//! drain the pond first, then shut Rocket down: see the example `mounted`.

mod request;
mod response;

use pondsocket::{HostUpgrade, PondService, PondSocket};
use rocket::http::Method;
use rocket::route::{Handler, Outcome};
use rocket::{Data, Request, Route};
use tokio::io::duplex;
use tower_service::Service;

/// The capacity, in each direction and in bytes, of the stream between the pond and Rocket. It bounds the memory of a
/// WebSocket whose client reads slowly.
const BUFFER: usize = 64 * 1024;

/// Routes that pass every request below their base path to the pond. Requests that match no endpoint are answered with
/// 404.
pub fn routes(pond: &PondSocket) -> Vec<Route> {
    let pond = Mounted(pond.service());
    let methods = [Method::Get, Method::Post, Method::Delete, Method::Options];
    methods.map(|method| Route::new(method, "/<path..>", pond.clone())).into()
}

#[derive(Clone)]
struct Mounted(PondService);

#[rocket::async_trait]
impl Handler for Mounted {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let mut pond = self.0.clone();
        // GET requests may be upgrades, and have no body. Requests to event streams with other methods have one.
        if request.method() != Method::Get {
            let (converted, feed) = request::with_body(request, data);
            // The body is fed while the pond handles the request, because the pond may read it.
            return tokio::select! {
                Ok(response) = pond.call(converted) => Outcome::Success(response::plain(response)),
                () = feed => unreachable!("feeding a body never completes"),
            };
        }
        // Rocket upgrades a connection only by its response, so the pond is given a stream that this response is
        // connected to.
        let (pond_end, host_end) = duplex(BUFFER);
        let mut converted = request::head(request).map(|()| String::new());
        converted.extensions_mut().insert(HostUpgrade::new(async { Ok(pond_end) }));
        let Ok(response) = pond.call(converted).await;
        Outcome::Success(match response.status() {
            http::StatusCode::SWITCHING_PROTOCOLS => response::upgraded(response, host_end),
            _ => response::plain(response),
        })
    }
}
