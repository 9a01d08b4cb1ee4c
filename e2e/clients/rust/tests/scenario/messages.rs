//! Messages between members, and requests with their replies.

use published_rust_client::{Peer, chat_room, settle};
use serde_json::{Value, json};

#[tokio::test]
async fn each_message_reaches_all_once() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    ann.send("message", json!({ "of": "ann" })).await;
    bob.receives("message", 1).await;
    bob.send("message", json!({ "of": "bob" })).await;
    ann.receives("message", 2).await;
    bob.receives("message", 2).await;
    settle().await;
    for peer in [&ann, &bob] {
        assert_eq!(peer.received("message"), [json!({ "of": "ann" }), json!({ "of": "bob" })]);
    }
}

#[tokio::test]
async fn two_hundred_messages_arrive_once_each_in_order() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    // In rounds, since the client keeps no more than 100 events for a slow reader.
    for round in 1..=4 {
        for n in (round - 1) * 50..round * 50 {
            ann.send("message", json!({ "n": n })).await;
        }
        ann.receives("message", round * 50).await;
        bob.receives("message", round * 50).await;
    }
    let expected: Vec<Value> = (0..200).map(|n| json!({ "n": n })).collect();
    assert_eq!(ann.received("message"), expected);
    assert_eq!(bob.received("message"), expected);
}

#[tokio::test]
async fn a_broadcast_from_the_sender_leaves_the_sender_out() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    ann.send("typing", json!({ "on": true })).await;
    bob.receives("typing", 1).await;
    settle().await;
    assert_eq!((ann.received("typing"), bob.received("typing")), (vec![], vec![json!({ "on": true })]));
}

#[tokio::test]
async fn a_private_message_reaches_that_user_alone() {
    let [ann, bob, cat] = Peer::joined_peers(["ann", "bob", "cat"]).await;
    ann.send("private", json!({ "to": bob.user_id().await, "text": "psst" })).await;
    bob.receives("private", 1).await;
    settle().await;
    assert_eq!(bob.received("private"), [json!({ "from": ann.user_id().await, "text": "psst" })]);
    assert_eq!((ann.received("private"), cat.received("private")), (vec![], vec![]));
}

#[tokio::test]
async fn unicode_and_256_kib_arrive_as_sent() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    let text = "é 日本語 👩\u{200d}👩\u{200d}👧 \u{0} \u{2028} \" \\ \n";
    let payload = json!({ "text": text, "long": "é€x".repeat(256 * 1024 / 6) });
    ann.send("message", payload.clone()).await;
    bob.receives("message", 1).await;
    assert!(bob.received("message") == [payload]);
}

#[tokio::test]
async fn fifty_requests_each_get_their_own_reply() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    let ann = std::sync::Arc::new(ann);
    let requests: Vec<_> = (0..50)
        .map(|n| {
            let ann = ann.clone();
            tokio::spawn(async move { (n, ann.ask("echo", json!({ "n": n })).await) })
        })
        .collect();
    for request in requests {
        let (n, reply) = request.await.expect("the request does not panic");
        assert_eq!(reply, json!({ "n": n }));
    }
    settle().await;
    assert_eq!((ann.received("echo"), bob.received("echo")), (vec![], vec![]));
}

#[tokio::test]
async fn errors_resolve_the_request() {
    let ann = Peer::joined("ann", &chat_room()).await;
    for (event, code) in [("fail", 422), ("panic", 500), ("no-such-event", 404)] {
        assert_eq!(ann.ask(event, json!({})).await["code"], json!(code), "{event}");
    }
    assert_eq!(ann.ask("echo", json!({ "n": 1 })).await, json!({ "n": 1 }));
}

#[tokio::test]
async fn a_slow_reply_does_not_hold_up_other_members() {
    let [ann, bob] = Peer::joined_peers(["ann", "bob"]).await;
    let slow = tokio::spawn(async move { ann.ask("slow", json!({ "ms": 1000 })).await });
    assert_eq!(bob.ask("echo", json!({ "n": 1 })).await, json!({ "n": 1 }));
    assert!(!slow.is_finished());
    slow.await.expect("the reply comes");
}
