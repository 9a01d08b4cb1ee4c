use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use testkit::{EventPeer, request_from};

use crate::proxy::{RunningProxy, Settings};
use crate::site::{ENDPOINT, Site, client};

const EVENTS: u32 = 100;

/// The longest average time, on a busy machine. A message that Nagle's algorithm or a buffer delays takes at least 200 ms.
const AT_ONCE: Duration = Duration::from_millis(100);

pub(crate) async fn declined_before_the_stream(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let ask = Request::get("/api/socket").header("accept", "text/event-stream").body(String::new()).expect("a request");
    assert_eq!(request_from(client(1), site.address(), ask).await.status(), StatusCode::UNAUTHORIZED);
}

/// The next message is sent only when the last one was received: a proxy that buffers for more would wait forever.
pub(crate) async fn each_event_is_delivered_at_once(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let mut ann = site.member("/chat/1", "ann").await;
    let mut bob = site.streaming_member("/chat/1", "bob").await;
    assert_eq!(ann.until("JOIN").await["payload"]["changed"]["username"], "bob");
    let begin = Instant::now();
    for n in 0..EVENTS {
        if n % 2 == 0 {
            ann.event("/chat/1", "message", json!({ "n": n })).await;
        } else {
            bob.event("/chat/1", "message", json!({ "n": n })).await;
        }
        assert_eq!(bob.next().await["payload"], json!({ "n": n }));
        assert_eq!(ann.next().await["payload"], json!({ "n": n }));
    }
    assert!(begin.elapsed() < AT_ONCE * EVENTS, "{EVENTS} events took {:?}", begin.elapsed());
}

/// With a client that accepts compressed responses, and a proxy that compresses them where it may.
pub(crate) async fn compression_delays_no_event(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let mut ann = site.member("/chat/1", "ann").await;
    let ask = Request::get(ENDPOINT).header("accept", "text/event-stream").header("accept-encoding", "gzip, deflate");
    let answer = request_from(client(2), site.address(), ask.body(String::new()).expect("a request")).await;
    let id = answer.headers()["x-connection-id"].to_str().expect("text").to_owned();
    let mut body = answer.into_body();
    let join = json!({
        "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": "/chat/1", "requestId": "q",
        "payload": { "username": "bob" },
    });
    let post = Request::post("/api/socket").header("x-connection-id", id).header("content-type", "application/json");
    let post = post.body(join.to_string()).expect("a request");
    assert_eq!(request_from(client(2), site.address(), post).await.status(), StatusCode::ACCEPTED);
    assert_eq!(ann.until("JOIN").await["payload"]["changed"]["username"], "bob");
    // Skips the events of before, compressed or not.
    while tokio::time::timeout(AT_ONCE * 5, body.frame()).await.is_ok() {}
    for n in 0..10 {
        ann.event("/chat/1", "message", json!({ "n": n })).await;
        let frame = tokio::time::timeout(testkit::DEADLINE, body.frame()).await.expect("the event is not delayed");
        assert!(frame.is_some_and(|frame| frame.is_ok()), "it goes on");
    }
}

pub(crate) async fn requests_are_answered(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let mut ann = site.member("/chat/1", "ann").await;
    let mut bob = site.streaming_member("/chat/1", "bob").await;
    assert_eq!(ann.until("JOIN").await["payload"]["changed"]["username"], "bob");
    let large = json!({ "text": "é€".repeat(180_000) });
    // Must be accepted: 202.
    bob.event("/chat/1", "message", large.clone()).await;
    assert!(ann.next().await["payload"] == large, "900 kB arrive whole");
    assert!(bob.next().await["payload"] == large, "also at the stream");
    assert_eq!(bob.text("no JSON").await, StatusCode::ACCEPTED);
    assert_eq!(bob.next().await["payload"]["code"], 400);
    assert_eq!(bob.ask(Method::DELETE, "").await.status(), StatusCode::NO_CONTENT);
    assert!(bob.ended().await.is_empty());
    assert_eq!(ann.until("LEAVE").await["payload"]["changed"]["username"], "bob");
    assert_eq!(bob.text("too late").await, StatusCode::NOT_FOUND);
}

pub(crate) async fn the_end_of_a_client_is_noticed(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let mut ann = site.member("/chat/1", "ann").await;
    drop(site.streaming_member("/chat/1", "bob").await);
    assert_eq!(ann.until("LEAVE").await["payload"]["changed"]["username"], "bob");
}

/// With two servers, of which only one has the stream.
pub(crate) async fn a_message_reaches_its_stream_from_any_address(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open_pair(start).await;
    for number in 1..=8 {
        let mut peer = EventPeer::connect_from(client(number), site.address(), ENDPOINT).await;
        for other in 1..=8 {
            peer.source = Some(client(other));
            // Must be accepted: 202. A repeated join is acknowledged again.
            peer.join("/plain/1", json!({ "username": "x" })).await;
        }
    }
}
