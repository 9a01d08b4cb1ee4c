//! Connecting, being refused, disconnecting.

use pondsocket_client::{ConnectionState, PondClient};
use pondsocket_common::{ChannelState, PresenceEventType};
use published_rust_client::{Peer, chat_room, server};
use serde_json::json;

#[tokio::test]
async fn connects() {
    let peer = Peer::new("ann", &server(), &chat_room()).await;
    peer.client.connect().await.expect("the server lets us in");
    assert_eq!(peer.client.state(), ConnectionState::Connected);
}

#[tokio::test]
async fn is_refused_without_a_token() {
    let client = PondClient::new(server(), None).expect("a WebSocket address");
    let error = client.connect().await.expect_err("the server refuses us");
    assert!(error.to_string().contains("401"), "{error}");
}

#[tokio::test]
async fn a_join_before_connect_is_carried_out() {
    let peer = Peer::new("ann", &server(), &chat_room()).await;
    peer.channel.join().await;
    // connect() returns when the upgrade is done; nothing has been read then.
    peer.client.connect().await.expect("the server lets us in");
    peer.reaches(ChannelState::Joined).await;
}

#[tokio::test]
async fn disconnect_takes_the_user_out_of_the_channel() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    bob.client.disconnect().await;
    ann.sees(&["ann"]).await;
    assert_eq!(ann.names(PresenceEventType::Leave), [json!("bob")]);
}
