//! Beginning and end of a membership.

use pondsocket_common::ChannelState;
use published_rust_client::{Peer, chat_room, server};
use serde_json::{Value, json};

#[tokio::test]
async fn joins() {
    let ann = Peer::joined("ann", &chat_room()).await;
    assert_eq!(ann.channel.decline_reason().await, None);
}

#[tokio::test]
async fn the_decline_carries_its_reason() {
    let room = chat_room();
    let ann = Peer::with_params("ann", &server(), &room, json!({})).await;
    ann.client.connect().await.expect("the server lets us in");
    ann.channel.join().await;
    ann.reaches(ChannelState::Declined).await;
    let reason = Value::Object(ann.channel.decline_reason().await.expect("a reason"));
    assert_eq!((&reason["code"], &reason["message"]), (&json!(403), &json!("username required")));
}

#[tokio::test]
async fn an_unknown_channel_is_declined_and_the_connection_stays_usable() {
    let mut ann = Peer::new("ann", &server(), "/nowhere/1").await;
    ann.client.connect().await.expect("the server lets us in");
    ann.channel.join().await;
    ann.reaches(ChannelState::Declined).await;
    let reason = ann.channel.decline_reason().await.expect("a reason");
    assert_eq!(reason["code"], json!(404));

    ann.choose(&chat_room()).await;
    ann.channel.join().await;
    ann.reaches(ChannelState::Joined).await;
}

#[tokio::test]
async fn a_member_that_has_left_can_join_again() {
    let room = chat_room();
    let (ann, mut bob) = (Peer::joined("ann", &room).await, Peer::joined("bob", &room).await);
    for _ in 0..3 {
        bob.channel.leave().await;
        assert_eq!(bob.channel.state(), ChannelState::Closed);
        ann.sees(&["ann"]).await;
        bob.choose(&room).await;
        bob.channel.join().await;
        bob.reaches(ChannelState::Joined).await;
        ann.sees(&["ann", "bob"]).await;
    }
    ann.send("message", json!({ "n": 1 })).await;
    bob.receives("message", 1).await;
}

#[tokio::test]
async fn eviction_closes_the_channel() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    let user_id = bob.user_id().await;
    let told = [json!({ "reason": "spam", "userId": user_id })];
    ann.send("evict", json!({ "userId": user_id, "reason": "spam" })).await;
    bob.reaches(ChannelState::Closed).await;
    ann.sees(&["ann"]).await;
    assert_eq!(bob.received("evicted"), told);
    assert_eq!(ann.received("user_evicted"), told);
}
