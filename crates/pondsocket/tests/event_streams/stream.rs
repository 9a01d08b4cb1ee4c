//! The events of a stream, and its end.

use std::time::Duration;

use hyper::StatusCode;
use pondsocket::{EventContext, Options};
use serde_json::{Value, json};
use testkit::{EventPeer, Peer, eventually};

use super::{served, served_with};

#[tokio::test]
async fn streams_and_websockets_are_in_one_channel() {
    let served = served().await;
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    ann.until("hello").await;
    let mut bob = Peer::connect(served.address, "/?name=bob").await;
    bob.until("hello").await;
    ann.join("/room/1", json!({})).await;
    let shown = ann.until("JOIN").await;
    assert_eq!(shown["payload"]["changed"], json!({ "name": "ann" }));
    bob.join("/room/1", json!({})).await;
    let shown = ann.until("JOIN").await;
    assert_eq!(shown["payload"]["changed"], json!({ "name": "bob" }));
    assert_eq!(shown["payload"]["presence"].as_array().map(Vec::len), Some(2));
    bob.until("JOIN").await;

    for n in 0..50 {
        match n % 2 {
            0 => ann.event("/room/1", "say", json!({ "n": n })).await,
            _ => bob.event("/room/1", "say", json!({ "n": n })).await,
        };
    }
    let mut heard = (Vec::new(), Vec::new());
    for _ in 0..50 {
        heard.0.push(ann.next().await);
        heard.1.push(bob.next().await);
    }
    assert_eq!(heard.0, heard.1, "both hear the same, in the same order");
    let id = ann.event("/room/1", "echo", json!({ "for": "ann" })).await;
    let reply = ann.next().await;
    assert_eq!((&reply["requestId"], &reply["payload"]), (&json!(id), &json!({ "for": "ann" })));
    bob.nothing_before_reply("/room/1", "echo").await;
}

#[tokio::test]
async fn an_event_is_one_line_for_any_text() {
    let served = served().await;
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    ann.until("hello").await;
    ann.join("/room/1", json!({})).await;
    ann.until("JOIN").await;
    let text = "a\nb\r\nc\rd\u{2028}e\n\ndata: f\n\n: g\u{0}\u{feff}";
    ann.event("/room/1", "say", json!({ "text": text, "\n": "\r" })).await;
    assert_eq!(ann.next().await["payload"], json!({ "text": text, "\n": "\r" }));
    // Line breaks between its parts, as the client may send them.
    let pretty = "{\n \"action\": \"BROADCAST\",\r\"event\": \"say\", \"channelName\": \"/room/1\",\n\n \"requestId\": \"q\", \
                  \"payload\": {\r\n\n\"a\":\r[\n1\n]}}";
    assert_eq!(ann.text(pretty).await, StatusCode::ACCEPTED);
    assert_eq!(ann.next().await["payload"], json!({ "a": [1] }));
    let large = "é".repeat(200_000);
    ann.event("/room/1", "say", json!({ "large": large })).await;
    assert_eq!(ann.next().await["payload"], json!({ "large": large }));
}

#[tokio::test]
async fn a_silent_stream_receives_keep_alives_and_is_never_closed_for_silence() {
    let often = Options::default().ping_interval(Duration::from_millis(30)).pong_wait(Duration::from_millis(60));
    let served = served_with(often).await;
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    ann.until("hello").await;
    for _ in 0..6 {
        ann.comment().await;
    }
    ann.join("/room/1", json!({})).await;
    assert_eq!(served.counted.of("connection_closed"), [""; 0]);
}

#[tokio::test]
async fn a_client_that_goes_leaves_at_once() {
    let served = served().await;
    let mut bob = Peer::connect(served.address, "/?name=bob").await;
    bob.until("hello").await;
    bob.join("/room/1", json!({})).await;
    bob.until("JOIN").await;
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    ann.until("hello").await;
    ann.join("/room/1", json!({})).await;
    bob.until("JOIN").await;
    drop(ann);
    let left = bob.next().await;
    assert_eq!((&left["event"], &left["payload"]["presence"]), (&json!("LEAVE"), &json!([{ "name": "bob" }])));
    assert_eq!(served.log.next().await, ["ann left"]);
    eventually("it is counted", || !served.counted.of("connection_closed").is_empty()).await;
    assert_eq!(served.counted.of("connection_closed"), ["/ ann 0s 1005 client"]);
    assert_eq!(served.counted.of("connection_error"), [""; 0]);
    assert_eq!(served.counted.of("error"), [""; 0], "that a stream ends is no failure of HTTP");
}

#[tokio::test]
async fn a_disconnected_client_receives_all_earlier_messages_and_a_proper_end() {
    let served = served().await;
    served.lobby.on_event("farewell", async |ctx: EventContext| {
        (0..100).try_for_each(|n| ctx.broadcast("said", &json!({ "n": n })).map(drop))?;
        ctx.reply("bye", &json!({}))
    });
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    ann.until("hello").await;
    ann.join("/room/1", json!({})).await;
    ann.until("JOIN").await;
    ann.event("/room/1", "farewell", json!({})).await;
    eventually("it is handled", || served.counted.of("message_broadcast").len() == 100).await;
    served.endpoint.connections()[0].disconnect();
    let messages = ann.ended().await;
    let numbers: Vec<_> = messages.iter().filter_map(|message| message["payload"]["n"].as_u64()).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!(messages.last().map(|message| &message["event"]), Some(&json!("bye")));
    eventually("it is counted", || !served.counted.of("connection_closed").is_empty()).await;
    assert_eq!(served.counted.of("connection_closed"), ["/ ann 0s 1000 server"]);
}

#[tokio::test]
async fn a_broadcast_in_another_framing_is_the_same_text() {
    let served = served().await;
    let mut peers = Vec::new();
    for name in ["a", "b", "c"] {
        let mut peer = EventPeer::connect(served.address, &format!("/?name={name}")).await;
        peer.until("hello").await;
        peer.join("/room/1", json!({})).await;
        peers.push(peer);
    }
    served.endpoint.channel("/room/1").expect("ours").broadcast("news", &json!({ "of": "all" })).expect("room");
    let mut heard: Vec<Value> = Vec::new();
    for peer in &mut peers {
        heard.push(peer.until("news").await);
    }
    assert!(heard.iter().all(|message| *message == heard[0]), "{heard:?}");
}
