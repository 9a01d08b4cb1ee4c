//! In hyper alone: one function answers all requests, and hands those below `/ws` to the pond.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use mounted::Database;
use pondsocket::{EitherBody, PondService};
use tower_service::Service;

type Answer = Response<EitherBody<Full<Bytes>>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    let service = pond.service();
    let app = tower::service_fn(move |request| answer(request, database.clone(), service.clone()));

    let (stopped, drained) = mounted::end_at_signal(pond)?;
    mounted::run(mounted::serve(mounted::listen().await?, app, stopped), drained).await
}

async fn answer(request: Request<Incoming>, database: Database, mut pond: PondService) -> Result<Answer, Infallible> {
    if request.uri().path().starts_with("/ws/") {
        return Ok(pond.call(request).await?.map(EitherBody::Ours));
    }
    let own = match request.uri().path() {
        "/messages" => Response::new(Full::from(database.messages_as_json())),
        _ => not_found(),
    };
    Ok(own.map(EitherBody::Inner))
}

fn not_found() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("not found"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
