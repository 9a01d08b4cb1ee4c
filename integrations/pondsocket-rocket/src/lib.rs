//! A PondSocket server mounted in Rocket.
//!
//! ```
//! # use pondsocket::PondSocket;
//! # fn launch(pond: PondSocket) {
//! let rocket = rocket::build().mount("/ws", pondsocket_rocket::routes(&pond));
//! # }
//! ```
//!
//! The pond sees the full path, the peer's address and the headers. Rocket sends what it answers in a task of its own: that a
//! client of an event stream has gone is noticed when it is next written to, after `ping_interval` at the latest. At the end
//! drain the pond first, then shut Rocket down: see the example `mounted`.

mod request;
mod response;

use pondsocket::{HostUpgrade, PondService, PondSocket};
use rocket::http::Method;
use rocket::route::{Handler, Outcome};
use rocket::{Data, Request, Route};
use tokio::io::duplex;
use tower_service::Service;

/// How much of either direction of a WebSocket lies between the pond and Rocket at the most.
const BUFFER: usize = 64 * 1024;

/// Routes that hand every request below the path where they are mounted to the pond, which answers those that are not for
/// its endpoints with 404.
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
        if request.method() != Method::Get {
            let (asked, feed) = request::with_content(request, data);
            return tokio::select! {
                Ok(answer) = pond.call(asked) => Outcome::Success(response::plain(answer)),
                () = feed => unreachable!("it never ends"),
            };
        }
        let (ours, hosts) = duplex(BUFFER);
        let mut asked = request::head(request).map(|()| String::new());
        asked.extensions_mut().insert(HostUpgrade::new(async { Ok(ours) }));
        let Ok(answer) = pond.call(asked).await;
        Outcome::Success(match answer.status() {
            http::StatusCode::SWITCHING_PROTOCOLS => response::upgraded(answer, hosts),
            _ => response::plain(answer),
        })
    }
}
