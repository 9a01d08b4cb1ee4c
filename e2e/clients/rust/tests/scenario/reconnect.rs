//! A cut connection. This client does not connect again by itself; told to, it joins again what it had joined.

use pondsocket_client::ConnectionState;
use pondsocket_common::{ChannelState, PresenceEventType};
use published_rust_client::{Peer, Proxy, chat_room, until};
use serde_json::{Value, json};

async fn cut(proxy: &Proxy, peer: &Peer) {
    proxy.cut();
    peer.reaches(ChannelState::Stalled).await;
    until("the client knows", || peer.client.state() == ConnectionState::Disconnected).await;
}

#[tokio::test]
async fn after_connect_the_channel_is_joined_again_and_messages_flow_both_ways() {
    let (proxy, room) = (Proxy::start().await, chat_room());
    let ann = Peer::joined("ann", &room).await;
    let bob = Peer::joined_at("bob", &proxy.url, &room).await;
    ann.sees(&["ann", "bob"]).await;
    let before = bob.user_id().await;

    cut(&proxy, &bob).await;
    ann.sees(&["ann"]).await;
    bob.client.connect().await.expect("the server lets us in again");
    bob.reaches(ChannelState::Joined).await;
    ann.sees(&["ann", "bob"]).await;
    bob.sees(&["ann", "bob"]).await;
    assert_ne!(bob.user_id().await, before);

    ann.send("message", json!({ "of": "ann" })).await;
    bob.receives("message", 1).await;
    bob.send("message", json!({ "of": "bob" })).await;
    for peer in [&ann, &bob] {
        peer.receives("message", 2).await;
        assert_eq!(peer.received("message"), [json!({ "of": "ann" }), json!({ "of": "bob" })]);
    }
    assert_eq!(ann.names(PresenceEventType::Leave), [json!("bob")]);
}

#[tokio::test]
async fn messages_sent_while_stalled_are_sent_after_the_rejoin_in_order() {
    let (proxy, room) = (Proxy::start().await, chat_room());
    let ann = Peer::joined("ann", &room).await;
    let bob = Peer::joined_at("bob", &proxy.url, &room).await;
    cut(&proxy, &bob).await;
    let messages: Vec<Value> = (0..10).map(|n| json!({ "n": n })).collect();
    for message in &messages {
        bob.send("message", message.clone()).await;
    }
    bob.client.connect().await.expect("the server lets us in again");
    ann.receives("message", 10).await;
    assert_eq!(ann.received("message"), messages);
}
