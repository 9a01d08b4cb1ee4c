//! The usual layers of tower-http around a pond in axum: they work, and harm neither WebSockets nor event streams.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, ORIGIN};
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mounted::Database;
use serde_json::json;
use testkit::{EventPeer, Peer, request};
use tokio::net::TcpListener;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

const ANN: &str = "/ws/socket?token=token-of-ann";
const BOB: &str = "/ws/socket?token=token-of-bob";

/// The limit of an answer's time.
const LIMIT: Duration = Duration::from_secs(1);

/// A host with a route that answers and one that never does, and a pond.
fn host() -> Router {
    let pond = mounted::pond(&Database::default());
    Router::new()
        .route("/long", get(|| async { "long ".repeat(1000) }))
        .route("/never", get(pending::<()>))
        .nest_service("/ws", pond.service())
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// One of each kind, in the room.
async fn people(address: SocketAddr) -> (Peer, EventPeer) {
    let mut ann = Peer::connect(address, ANN).await;
    ann.join("/room", json!({})).await;
    let mut bob = EventPeer::connect(address, BOB).await;
    bob.join("/room", json!({})).await;
    (ann, bob)
}

async fn talk((ann, bob): &mut (Peer, EventPeer)) {
    ann.event("/room", "say", json!({ "text": "from ann" })).await;
    assert_eq!(bob.until("said").await["payload"]["text"], "from ann");
    bob.event("/room", "say", json!({ "text": "from bob" })).await;
    ann.until("said").await;
    assert_eq!(ann.until("said").await["payload"]["text"], "from bob");
    bob.until("said").await;
}

async fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let asked = headers.iter().fold(Request::get(path), |asked, (name, value)| asked.header(*name, *value));
    request(address, asked.body(String::new()).expect("a request")).await
}

#[tokio::test]
async fn traced() {
    let address = serve(host().layer(TraceLayer::new_for_http())).await;
    talk(&mut people(address).await).await;
}

#[tokio::test]
async fn with_cors_of_the_host() {
    let address = serve(host().layer(CorsLayer::permissive())).await;
    talk(&mut people(address).await).await;
    let stream = ask(address, BOB, &[(ACCEPT.as_str(), "text/event-stream"), (ORIGIN.as_str(), "http://page")]).await;
    let allowed: Vec<_> =
        stream.headers().get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().map(|it| it.as_bytes()).collect();
    assert_eq!((stream.status(), allowed), (StatusCode::OK, vec![&b"*"[..]]));
}

#[tokio::test]
async fn with_compression_which_leaves_event_streams_alone() {
    let address = serve(host().layer(CompressionLayer::new())).await;
    talk(&mut people(address).await).await;
    let zip = (ACCEPT_ENCODING.as_str(), "gzip");
    let long = ask(address, "/long", &[zip]).await;
    assert_eq!(long.headers().get(CONTENT_ENCODING).map(|it| it.as_bytes()), Some(&b"gzip"[..]));
    let stream = ask(address, BOB, &[zip, (ACCEPT.as_str(), "text/event-stream")]).await;
    assert_eq!((stream.status(), stream.headers().get(CONTENT_ENCODING)), (StatusCode::OK, None));
    // The first event comes at once, although more could follow.
    let first = stream.into_body().frame().await.expect("an event").expect("no failure").into_data().expect("data");
    assert!(first.starts_with(b"data: ") && first.ends_with(b"\n\n"), "{first:?}");
}

#[tokio::test]
async fn with_a_timeout_that_ends_when_the_response_begins() {
    let address = serve(host().layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, LIMIT))).await;
    let mut people = people(address).await;
    // This answer says that the limit of those who came before it has passed.
    assert_eq!(ask(address, "/never", &[]).await.status(), StatusCode::REQUEST_TIMEOUT);
    talk(&mut people).await;
}
