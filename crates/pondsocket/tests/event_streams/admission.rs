//! Admission of event streams.

use pondsocket::{EndpointOptions, Options};
use serde_json::json;
use testkit::{EventPeer, Peer, request};

use super::{served, served_with};

/// The status of a request for an event stream with these additional headers, and the text of a refusal.
async fn ask(address: std::net::SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut asked = hyper::Request::get(path);
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    let answer = request(address, asked.body(String::new()).expect("a request")).await;
    let status = answer.status().as_u16();
    if status < 400 {
        return (status, String::new());
    }
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a whole answer").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

const STREAM: (&str, &str) = ("accept", "text/event-stream");

#[tokio::test]
async fn a_stream_begins_with_the_messages_of_a_websocket_and_a_secret() {
    let served = served().await;
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    let header = |name: &str| ann.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none");
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("connection"), "keep-alive");
    assert_eq!(header("x-connection-id"), ann.id);
    assert!(ann.id.len() == 32 && ann.id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", ann.id);
    let hello = ann.next().await;
    assert_eq!((&hello["event"], &hello["payload"]), (&json!("hello"), &json!({ "name": "ann" })));

    let known = served.endpoint.connections().remove(0);
    assert_ne!(known.id().replace('-', ""), ann.id, "others may learn the connection's id");
    assert_eq!(served.counted.of("connection_opened"), ["/ ann"]);
    let again = EventPeer::connect(served.address, "/?name=ann").await;
    assert_ne!(again.id, ann.id);
}

#[tokio::test]
async fn the_handler_the_origin_and_the_limits_decide_before_the_stream() {
    let options = Options::default().max_connections(2).max_connections_per_ip(1).check_origin(true);
    let served = served_with(options.allowed_origins(["https://example.org"])).await;
    assert_eq!(ask(served.address, "/", &[STREAM]).await, (401, "who are you?\n".into()));
    let evil = ("origin", "https://evil.example");
    assert_eq!(ask(served.address, "/?name=ann", &[STREAM, evil]).await, (403, "origin not allowed\n".into()));
    assert_eq!(ask(served.address, "/nowhere?name=ann", &[STREAM]).await.0, 404);
    let _ann = EventPeer::connect(served.address, "/?name=ann").await;
    assert_eq!(ask(served.address, "/?name=bob", &[STREAM]).await.0, 429);
    assert_eq!(Peer::refused(served.address, "/?name=bob").await.0, 429, "streams and WebSockets are counted together");
    let declined = served.counted.of("connection_declined");
    assert_eq!(declined, ["/ 401 handler", "/ 403 origin", "/ 429 address_limit", "/ 429 address_limit"]);
}

#[tokio::test]
async fn the_permit_of_a_stream_is_released_when_it_ends() {
    let served = served_with(Options::default().max_connections(1)).await;
    let ann = EventPeer::connect(served.address, "/?name=ann").await;
    assert_eq!(ask(served.address, "/?name=bob", &[STREAM]).await.0, 503);
    drop(ann);
    testkit::eventually("the place is free", || served.pond.snapshot().endpoints[0].admitted == 0).await;
    EventPeer::connect(served.address, "/?name=bob").await;
}

#[tokio::test]
async fn a_stream_is_opened_only_on_request() {
    let served = served().await;
    for (accept, status) in [
        ("text/event-stream", 200),
        ("TEXT/event-stream; charset=utf-8", 200),
        ("text/html,  text/event-stream;q=0.9, */*", 200),
        ("*/*", 426),
        ("text/event-streams", 426),
        ("application/json", 426),
    ] {
        assert_eq!(ask(served.address, "/?name=ann", &[("accept", accept)]).await.0, status, "{accept}");
    }
    let upgrade = [
        STREAM,
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(ask(served.address, "/?name=ann", &upgrade).await.0, 101, "an upgrade wins");
}

#[tokio::test]
async fn an_endpoint_may_have_no_streams() {
    let served = served().await;
    let without = EndpointOptions { event_streams: Some(false), ..Default::default() };
    let _sockets = served.pond.create_endpoint("/sockets", super::connect).options(without);
    let _raw = served.pond.create_websocket("/raw", async |_| {});
    for path in ["/sockets?name=ann", "/raw"] {
        assert_eq!(ask(served.address, path, &[STREAM]).await.0, 426, "{path}");
        for method in ["POST", "DELETE", "OPTIONS", "PUT"] {
            let asked = hyper::Request::builder().method(method).uri(path).header("x-connection-id", "0".repeat(32));
            let answer = request(served.address, asked.body(String::new()).expect("a request")).await;
            let allowed = answer.headers().get("allow").and_then(|allowed| allowed.to_str().ok());
            assert_eq!((answer.status().as_u16(), allowed), (405, Some("GET")), "{method} {path}");
        }
    }
    Peer::connect(served.address, "/sockets?name=ann").await;
}

#[tokio::test]
async fn clients_are_refused_during_a_shutdown() {
    let served = served().await;
    let pond = served.pond.clone();
    pond.shutdown(std::time::Duration::from_secs(5)).await;
    assert_eq!(ask(served.address, "/?name=ann", &[STREAM]).await.0, 503);
}
