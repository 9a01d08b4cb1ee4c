//! The presence list and its changes.

use pondsocket_common::PresenceEventType::{Join, Leave, Update};
use published_rust_client::{Peer, plain_room, settle, until};
use serde_json::{Value, json};

#[tokio::test]
async fn every_member_gets_the_join_and_the_whole_list() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    assert_eq!(ann.names(Join), [json!("ann"), json!("bob")]);
    assert_eq!(bob.names(Join), [json!("bob")]);
    assert_eq!(bob.channel.presence().await.len(), 2);
}

#[tokio::test]
async fn an_update_reaches_everyone_and_changes_that_one_key() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    bob.send("status", json!({ "status": "away" })).await;
    let expected = json!({ "id": bob.user_id().await, "username": "bob", "status": "away" });
    for peer in [&ann, &bob] {
        until("the update", || peer.changed(Update) == [expected.clone()]).await;
        let list = peer.channel.presence().await.into_iter().map(Value::Object).collect::<Vec<_>>();
        assert!(list.contains(&expected), "{list:?}");
    }
}

#[tokio::test]
async fn untrack_gives_leave_and_keeps_the_member() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    bob.send("untrack", json!({})).await;
    ann.sees(&["ann"]).await;
    ann.send("message", json!({ "n": 1 })).await;
    bob.receives("message", 1).await;
}

#[tokio::test]
async fn leaving_gives_leave_to_the_others() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    bob.channel.leave().await;
    ann.sees(&["ann"]).await;
    assert_eq!(ann.names(Leave), [json!("bob")]);
}

#[tokio::test]
async fn a_channel_without_presence_sends_none() {
    let room = plain_room();
    let (ann, bob) = (Peer::joined("ann", &room).await, Peer::joined("bob", &room).await);
    ann.send("message", json!({ "n": 1 })).await;
    bob.receives("message", 1).await;
    settle().await;
    assert_eq!((ann.changed(Join), bob.changed(Join)), (vec![], vec![]));
}
