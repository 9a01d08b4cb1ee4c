//! Cases about messages to other members.

use serde_json::json;

use crate::meeting::Meeting;

pub(crate) async fn message(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    let payload = json!({ "text": "é👋\u{0}\u{2028}", "list": [1, -0.5, null, { "deep": [] }] });
    ann.say("message", payload.clone()).await;
    assert_eq!(bob.hears("message").await, payload);
    assert_eq!(ann.hears("message").await, payload);
    // Whatever came twice has come before the answers.
    ann.state().await;
    bob.state().await;
    assert_eq!((ann.messages("message").len(), bob.messages("message").len()), (1, 1), "how often");
}

/// Bob speaks after he has heard ann, so ann has heard everything before.
pub(crate) async fn all_but_the_sender(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    ann.say("typing", json!({ "on": true })).await;
    assert_eq!(bob.hears("typing").await, json!({ "on": true }));
    bob.say("message", json!({ "n": 1 })).await;
    ann.hears("message").await;
    assert!(ann.messages("typing").is_empty(), "the sender has heard itself");
}

pub(crate) async fn to_one_user(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    let mut cat = meeting.there("cat").await;
    ann.say("private", json!({ "to": bob.who.id, "text": "psst" })).await;
    assert_eq!(bob.hears("private").await, json!({ "from": ann.who.id, "text": "psst" }));
    bob.say("message", json!({ "n": 1 })).await;
    for other in [&mut ann, &mut cat] {
        other.hears("message").await;
        assert!(other.messages("private").is_empty(), "somebody else has heard it");
    }
}

pub(crate) async fn order(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    for n in 0..50 {
        ann.say("message", json!({ "n": n })).await;
    }
    let heard: Vec<_> = bob.hears_many(50, "message").await.iter().map(|payload| payload["n"].as_u64()).collect();
    assert_eq!(heard, (0..50).map(Some).collect::<Vec<_>>());
}
