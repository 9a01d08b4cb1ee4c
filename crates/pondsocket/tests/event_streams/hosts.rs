//! Streams within other HTTP servers, and over HTTP/2.

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pondsocket::{ConnectionContext, Error, EventContext, JoinContext, Joined, Payload, PondSocket};
use serde_json::{Value, json};
use testkit::{EventPeer, eventually, request, serve_in_memory};
use tokio::net::TcpListener;

fn pond() -> PondSocket {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/api/socket", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let lobby = endpoint.create_channel("/room", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    pond
}

async fn host(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn works(address: SocketAddr, pond: &PondSocket) {
    let mut ann = EventPeer::connect(address, "/api/socket?x=1").await;
    ann.join("/room", json!({})).await;
    ann.event("/room", "echo", json!({ "text": "y".repeat(100_000) })).await;
    assert_eq!(ann.next().await["payload"]["text"].as_str().map(str::len), Some(100_000));
    drop(ann);
    eventually("it has gone", || pond.snapshot().endpoints[0].connections == 0).await;
}

#[tokio::test]
async fn in_axum_as_the_fallback_and_below_a_prefix() {
    let fallback = pond();
    works(host(Router::new().fallback_service(fallback.service())).await, &fallback).await;
    let nested = pond();
    works(host(Router::new().nest_service("/api", nested.service())).await, &nested).await;
}

#[tokio::test]
async fn in_axum_as_a_layer_that_passes_other_requests_to_the_host() {
    let pond = pond();
    let address = host(Router::new().fallback(|| async { "the host's own" }).layer(pond.layer())).await;
    works(address, &pond).await;
    for (method, header, status) in [
        ("POST", ("accept", "*/*"), 200),
        ("DELETE", ("accept", "*/*"), 200),
        ("OPTIONS", ("access-control-request-headers", "content-type"), 200),
        ("PUT", ("x-connection-id", "0"), 200),
        ("POST", ("x-connection-id", "0"), 404),
        ("DELETE", ("x-connection-id", "0"), 204),
        ("OPTIONS", ("access-control-request-headers", "content-type,X-Connection-Id"), 204),
    ] {
        let asked = Request::builder().method(method).uri("/api/socket").header(header.0, header.1);
        let answer = request(address, asked.body(String::new()).expect("a request")).await;
        assert_eq!(answer.status(), status, "{method} {header:?}");
    }
}

/// The next event, which is the whole next piece of the body.
async fn event(body: &mut Incoming) -> Value {
    let data = body.frame().await.expect("an event").expect("no failure").into_data().expect("no trailers");
    let text = String::from_utf8(data.to_vec()).expect("text");
    let text = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n")).expect("one event");
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test]
async fn over_http_2_one_connection_carries_the_stream_and_its_requests() {
    let pond = pond();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let service = pond.service();
    tokio::spawn(async move {
        let service =
            hyper::service::service_fn(move |request| tower_service::Service::call(&mut service.clone(), request));
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(theirs), service)
            .await
    });
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let asked = Request::get("http://x/api/socket").header("accept", "text/event-stream");
    let answer =
        sender.send_request(asked.body(Full::<Bytes>::default()).expect("a request")).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("connection")), (200, false));
    let id = answer.headers()["x-connection-id"].to_str().expect("text").to_owned();
    let mut body = answer.into_body();
    assert_eq!(event(&mut body).await["payload"]["connectionId"], json!(id));
    let join = r#"{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/room","requestId":"q","payload":{}}"#;
    for (method, said, status) in [(Method::POST, join, 202), (Method::DELETE, "", 204)] {
        let asked = Request::builder().method(method.clone()).uri("http://x/api/socket").header("x-connection-id", &id);
        let answer = sender.send_request(asked.body(Full::from(said)).expect("a request")).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status);
        if method == Method::POST {
            assert_eq!(event(&mut body).await["event"], "ACKNOWLEDGE");
        }
    }
    assert!(body.collect().await.expect("a proper end").to_bytes().is_empty());
}

/// A host drops a response whose client has gone.
#[tokio::test]
async fn a_stream_whose_body_is_dropped_unread_is_no_connection() {
    let pond = pond();
    let mut stream = serve_in_memory(&pond, 1024);
    let head = b"GET /api/socket HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head).await.expect("it reads");
    drop(stream);
    let mut service = pond.service();
    let asked =
        Request::get("/api/socket").header("accept", "text/event-stream").body(String::new()).expect("a request");
    drop(tower_service::Service::call(&mut service, asked).await);
    eventually("no connection is left", || {
        let endpoint = &pond.snapshot().endpoints[0];
        (endpoint.connections, endpoint.admitted, endpoint.closing) == (0, 0, 0)
    })
    .await;
}
