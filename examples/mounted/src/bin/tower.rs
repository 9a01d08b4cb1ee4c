//! In a stack of `tower` layers: the pond is one of them. It answers the requests for its endpoints, and passes all others inward.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use mounted::Database;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

#[tokio::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    let app = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CorsLayer::permissive())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(1)))
        .layer(CompressionLayer::new())
        .layer(pond.layer())
        .service_fn(move |request| answer(request, database.clone()));

    let (stopped, drained) = mounted::end_at_signal(pond)?;
    mounted::run(mounted::serve(mounted::listen().await?, app, stopped), drained).await
}

async fn answer(request: Request<Incoming>, database: Database) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::default();
    match request.uri().path() {
        "/messages" => *response.body_mut() = database.messages_as_json().into(),
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}
