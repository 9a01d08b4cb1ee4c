//! The pond within other HTTP servers: it sees the full path and the peer, and takes nothing that is not its own.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use hyper_util::rt::TokioIo;
use pondsocket::{Connected, ConnectionContext, EventContext, JoinContext, Joined, PondSocket, Result};
use serde_json::json;
use testkit::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let from = ctx.remote_addr().is_some_and(|address| address.ip().is_loopback());
    Ok(ctx.accept().assign("local", &from))
}

fn pond() -> PondSocket {
    let pond = PondSocket::new();
    let lobby = pond.create_endpoint("/ws/api/socket", connect).create_channel("/c", async |ctx: JoinContext| {
        let local: bool = ctx.assign("local")?;
        Ok(ctx.accept().reply("local", &json!({ "local": local }))) as Result<Joined>
    });
    lobby.on_event("say", async |ctx: EventContext| ctx.broadcast("said", &json!({ "text": "x".repeat(100_000) })));
    pond
}

/// Joins, and lets two members hear a large broadcast.
async fn works(address: SocketAddr, local: bool) {
    let mut one = Peer::connect(address, "/ws/api/socket").await;
    one.join("/c", json!({})).await;
    assert_eq!(one.next().await["payload"]["local"], local);
    let mut two = Peer::connect(address, "/ws/api/socket").await;
    two.join("/c", json!({})).await;
    two.next().await;
    one.event("/c", "say", json!({})).await;
    for peer in [&mut one, &mut two] {
        assert_eq!(peer.next().await["payload"]["text"].as_str().map(str::len), Some(100_000));
    }
}

async fn status(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn in_axum_as_the_fallback() {
    let app = Router::new().route("/hello", get(|| async { "hello" })).fallback_service(pond().service());
    let address = serve(app).await;
    works(address, true).await;
    assert!(status(address, "/hello").await.ends_with("hello"));
    assert!(status(address, "/nowhere").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn in_axum_below_a_prefix_that_is_stripped() {
    let address = serve(Router::new().nest_service("/ws", pond().service())).await;
    works(address, true).await;
}

#[tokio::test]
async fn in_axum_as_a_layer_that_passes_other_requests_inward() {
    let inner = Router::new().route("/hello", get(|| async { "hello" })).fallback(|| async { "the host's own" });
    let address = serve(inner.layer(pond().layer())).await;
    works(address, true).await;
    assert!(status(address, "/hello").await.ends_with("hello"));
    assert!(status(address, "/nowhere").await.ends_with("the host's own"));
    assert!(status(address, "/ws/api/socket").await.starts_with("HTTP/1.1 426"));
}

#[tokio::test]
async fn over_streams_that_are_no_sockets() {
    // A proxy in this process: TCP outside, an in-memory stream between it and the server.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let pond = pond();
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let (mut near, far) = tokio::io::duplex(1000);
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut outside, &mut near).await });
            let pond = pond.clone();
            let service =
                hyper::service::service_fn(move |request| tower_service::Service::call(&mut pond.service(), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    works(address, false).await;
}
