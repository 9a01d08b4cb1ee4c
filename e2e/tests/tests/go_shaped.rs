//! A client that behaves like the Go client, which is not available as a package: it considers itself connected when the upgrade is
//! complete, sends `null` for absent parameters, pings while it waits, disconnects when the pong is late, accepts a reply only with
//! the event name of its request, and loses every frame that has more than one message.

use e2e_tests::ContractServer;
use futures_util::SinkExt;
use serde_json::{Value, json};
use testkit::Peer;
use tokio_tungstenite::tungstenite::Message;

// Go's query is appended to the one that the address already has.
const ENDPOINT: &str = "/api/socket?client=go&token=t";

/// Sends a join before it has read anything, as that client does.
async fn join_at_once(server: &ContractServer, room: &str, username: &str) -> Peer {
    let mut peer = Peer::connect_silently(server.address, ENDPOINT).await;
    let join = peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", room, json!({ "username": username })).await;
    let first = peer.next().await;
    assert_eq!((&first["action"], &first["event"]), (&json!("CONNECT"), &json!("CONNECTION")), "the first frame");
    let second = peer.next().await;
    assert_eq!((&second["event"], &second["requestId"]), (&json!("ACKNOWLEDGE"), &json!(join)), "the second frame");
    peer
}

/// Waits for the answer to a request, which must have the request's event. Other frames are dropped.
async fn reply(peer: &mut Peer, event: &str, request: &str) -> Value {
    loop {
        let message = peer.next().await;
        if message["requestId"] == request {
            assert_eq!((&message["action"], &message["event"]), (&json!("SYSTEM"), &json!(event)));
            return message["payload"].clone();
        }
    }
}

/// Sends a WebSocket ping and waits for its pong, which must be the next frame.
async fn ping(peer: &mut Peer, data: &'static [u8]) {
    peer.socket.send(Message::Ping(data.into())).await.expect("the server reads");
    let answer = peer.frame().await.expect("the connection stays");
    assert_eq!(answer, Message::Pong(data.into()));
}

#[tokio::test]
async fn a_join_before_the_first_message_is_read_is_accepted() {
    let server = ContractServer::start().await;
    let mut peer = join_at_once(&server, "/chat/1", "gopher").await;
    let own = peer.next().await;
    assert_eq!((&own["action"], &own["event"]), (&json!("PRESENCE"), &json!("JOIN")));
    assert_eq!(own["payload"]["presence"][0]["username"], "gopher");
}

#[tokio::test]
async fn null_join_parameters_count_as_absent() {
    let server = ContractServer::start().await;
    let mut peer = Peer::connect(server.address, ENDPOINT).await;
    let declined = peer.join_declined("/chat/1", Value::Null).await;
    assert_eq!((&declined["code"], &declined["message"]), (&json!(403), &json!("username required")));
    peer.join("/chat/1", json!({ "username": "gopher" })).await;
}

#[tokio::test]
async fn a_null_payload_reaches_others_as_an_object() {
    let server = ContractServer::start().await;
    let mut peer = join_at_once(&server, "/plain/1", "gopher").await;
    peer.event("/plain/1", "message", Value::Null).await;
    assert_eq!(peer.until("message").await["payload"], json!({}));
}

#[tokio::test]
async fn an_unknown_channel_is_declined_under_the_id_of_the_join() {
    let server = ContractServer::start().await;
    let mut peer = Peer::connect(server.address, ENDPOINT).await;
    assert_eq!(peer.join_declined("/nowhere/1", Value::Null).await["code"], 404);
}

#[tokio::test]
async fn pings_are_answered_while_a_handler_is_busy() {
    let server = ContractServer::start().await;
    let mut peer = join_at_once(&server, "/plain/1", "gopher").await;
    let slow = peer.event("/plain/1", "slow", json!({ "ms": 1500 })).await;
    for data in [&b"one"[..], b"two", b""] {
        ping(&mut peer, data).await;
    }
    assert_eq!(reply(&mut peer, "slow", &slow).await["ms"], 1500);
}

#[tokio::test]
async fn replies_have_the_event_and_the_id_of_the_request() {
    let server = ContractServer::start().await;
    let mut peer = join_at_once(&server, "/chat/1", "gopher").await;
    let mut requests = Vec::new();
    for n in 0..20 {
        requests.push((n, peer.event("/chat/1", "echo", json!({ "n": n })).await));
    }
    for (n, request) in requests {
        assert_eq!(reply(&mut peer, "echo", &request).await, json!({ "n": n }));
    }
}

#[tokio::test]
async fn a_burst_is_received_in_order_with_one_message_in_each_frame() {
    let server = ContractServer::start().await;
    let mut sender = join_at_once(&server, "/plain/1", "ann").await;
    let mut receiver = join_at_once(&server, "/plain/1", "bob").await;
    for n in 0..300 {
        sender.event("/plain/1", "message", json!({ "n": n })).await;
    }
    for n in 0..300 {
        // `until` reads one frame as one message and panics on anything else.
        assert_eq!(receiver.until("message").await["payload"], json!({ "n": n }));
    }
}

#[tokio::test]
async fn a_large_message_in_one_frame_is_answered() {
    let server = ContractServer::start().await;
    let mut peer = join_at_once(&server, "/plain/1", "gopher").await;
    let payload = json!({ "text": "é€".repeat(100_000) });
    let request = peer.event("/plain/1", "echo", payload.clone()).await;
    assert!(reply(&mut peer, "echo", &request).await == payload, "the payload comes back whole");
}

#[tokio::test]
async fn a_dropped_connection_leaves_and_a_new_one_joins_again() {
    let server = ContractServer::start().await;
    let mut watcher = join_at_once(&server, "/chat/1", "ann").await;
    let peer = join_at_once(&server, "/chat/1", "gopher").await;
    drop(peer);
    let left = watcher.until("LEAVE").await;
    assert_eq!(left["payload"]["changed"]["username"], "gopher");
    assert_eq!(left["payload"]["presence"].as_array().expect("a list").len(), 1);

    let mut again = join_at_once(&server, "/chat/1", "gopher").await;
    assert_eq!(again.until("JOIN").await["payload"]["presence"].as_array().expect("a list").len(), 2);
    watcher.event("/chat/1", "message", json!({ "n": 1 })).await;
    assert_eq!(again.until("message").await["payload"], json!({ "n": 1 }));
}
