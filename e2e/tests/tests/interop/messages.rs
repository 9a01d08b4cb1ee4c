//! Cases about messages to other members.

use serde_json::json;

use crate::node_pair::NodePair;

pub(crate) async fn message(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    let payload = json!({ "text": "é👋\u{0}\u{2028}", "list": [1, -0.5, null, { "deep": [] }] });
    ann.send("message", payload.clone()).await;
    assert_eq!(bob.receives("message").await, payload);
    assert_eq!(ann.receives("message").await, payload);
    // A duplicate would have been received before the answers.
    ann.state().await;
    bob.state().await;
    assert_eq!((ann.messages("message").len(), bob.messages("message").len()), (1, 1), "how often");
}

/// Bob sends after he has received ann's message, so ann has received everything before.
pub(crate) async fn all_but_the_sender(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    ann.send("typing", json!({ "on": true })).await;
    assert_eq!(bob.receives("typing").await, json!({ "on": true }));
    bob.send("message", json!({ "n": 1 })).await;
    ann.receives("message").await;
    assert!(ann.messages("typing").is_empty(), "the sender has received its own message");
}

pub(crate) async fn to_one_user(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    let mut cat = node_pair.there("cat").await;
    ann.send("private", json!({ "to": bob.identity.id, "text": "psst" })).await;
    assert_eq!(bob.receives("private").await, json!({ "from": ann.identity.id, "text": "psst" }));
    bob.send("message", json!({ "n": 1 })).await;
    for other in [&mut ann, &mut cat] {
        other.receives("message").await;
        assert!(other.messages("private").is_empty(), "another member has received it");
    }
}

pub(crate) async fn order(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    for n in 0..50 {
        ann.send("message", json!({ "n": n })).await;
    }
    let received: Vec<_> = bob.receives_many(50, "message").await.iter().map(|payload| payload["n"].as_u64()).collect();
    assert_eq!(received, (0..50).map(Some).collect::<Vec<_>>());
}
