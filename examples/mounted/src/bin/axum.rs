//! In axum: below a prefix of the router, with the layers of tower-http around all of it.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use mounted::{Database, Said};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

#[tokio::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    let app = Router::new()
        .route("/messages", get(messages))
        .with_state(database)
        .nest_service("/ws", pond.service())
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(1)))
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http())
        .into_make_service_with_connect_info::<SocketAddr>();

    let (stopped, drained) = mounted::end_at_signal(pond)?;
    // Small events of an event stream must not wait for the acknowledgement of earlier ones.
    let listener = mounted::listen().await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let host = axum::serve(listener, app).with_graceful_shutdown(stopped);
    mounted::run(host.into_future(), drained).await
}

async fn messages(State(database): State<Database>) -> Json<Vec<Said>> {
    Json(database.messages())
}
