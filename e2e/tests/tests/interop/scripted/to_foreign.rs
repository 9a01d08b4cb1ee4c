//! Messages of our node, as a scripted foreign node receives them.

use serde_json::{Value, json};

use super::fixture::Fixture;

pub(super) async fn user_message(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    let cats = cat.who.id.clone();
    let payload = json!({ "text": "é👋\u{0}", "list": [1, -0.5, null] });
    cat.say("message", payload.clone()).await;
    cat.say("typing", payload.clone()).await;
    cat.say("private", json!({ "to": "dan", "text": "psst" })).await;
    for (event, to, payload) in [
        ("message", json!("ALL_USERS"), payload.clone()),
        ("typing", json!("ALL_EXCEPT_SENDER"), payload),
        ("private", json!(["dan"]), json!({ "from": cats, "text": "psst" })),
    ] {
        let said = fixture.stranger.hears("USER_MESSAGE", |message| message["event"] == event).await;
        assert_eq!((&said["recipientDescriptor"], &said["payload"]), (&to, &payload));
        assert_eq!(said["fromUserId"], *cats);
    }
}

pub(super) async fn presence_update(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.who.id.clone();
    cat.say("status", json!({ "status": "away" })).await;
    for status in ["online", "away"] {
        let is = |message: &Value| message["userId"] == *cats && message["presence"]["status"] == status;
        fixture.stranger.hears("PRESENCE_UPDATE", is).await;
    }
}

pub(super) async fn presence_removed(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.who.id.clone();
    cat.say("untrack", json!({})).await;
    fixture.stranger.hears("PRESENCE_REMOVED", |message| message["userId"] == *cats).await;
}

/// Always all of them.
pub(super) async fn assigns_update(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.who.id.clone();
    cat.say("assign", json!({ "key": "role", "value": "admin" })).await;
    let is = |message: &Value| message["userId"] == *cats && !message["assigns"]["role"].is_null();
    let said = fixture.stranger.hears("ASSIGNS_UPDATE", is).await;
    assert_eq!((&said["assigns"]["username"], &said["assigns"]["role"]), (&json!("cat"), &json!("admin")));
    // Of a user there, of whom this node only knows what was said.
    fixture.stranger.lets_in("dan").await;
    cat.knows("dan", |state| state["assigns"]["dan"]["username"] == "dan").await;
    cat.say("assign", json!({ "userId": "dan", "key": "role", "value": "guest" })).await;
    let said = fixture.stranger.hears("ASSIGNS_UPDATE", |message| message["userId"] == "dan").await;
    assert_eq!((&said["assigns"]["username"], &said["assigns"]["role"]), (&json!("dan"), &json!("guest")));
}

pub(super) async fn evict_user(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    cat.say("evict", json!({ "userId": "dan", "reason": "spam" })).await;
    let said = fixture.stranger.hears("EVICT_USER", |message| message["userId"] == "dan").await;
    assert_eq!(said["reason"], "spam");
    fixture.stranger.lets_go("dan").await;
    cat.sees("LEAVE", &fixture.dan).await;
}

pub(super) async fn user_remove(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    cat.say("remove", json!({ "userId": "dan", "reason": "moved" })).await;
    fixture.stranger.hears("USER_REMOVE", |message| message["userId"] == "dan").await;
    fixture.stranger.lets_go("dan").await;
    cat.sees("LEAVE", &fixture.dan).await;
}

/// Only in a channel that nobody on our node is in others are asked.
pub(super) async fn user_get_request(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let (stranger, channel) = fixture.stranger_elsewhere();
    cat.say("user", json!({ "userId": "eve", "channel": channel })).await;
    let said = stranger.hears("USER_GET_REQUEST", |_| true).await;
    assert_eq!(said["userId"], "eve");
}

pub(super) async fn user_get_response(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.who.id.clone();
    cat.say("untrack", json!({})).await;
    cat.knows("that she is hidden", |state| state["presence"][&cats].is_null()).await;
    fixture.stranger.says("USER_GET_REQUEST", json!({ "userId": cats, "requestId": "q1", "fromNode": "me" })).await;
    let said = fixture.stranger.hears("USER_GET_RESPONSE", |message| message["requestId"] == "q1").await;
    assert_eq!((&said["assigns"]["username"], &said["presence"]), (&json!("cat"), &json!({})));
}

pub(super) async fn user_joined(fixture: Fixture) {
    let cat = fixture.cat().await;
    let cats = cat.who.id.clone();
    let said = fixture.stranger.hears("USER_JOINED", |message| message["userId"] == *cats).await;
    assert_eq!((&said["presence"], &said["assigns"]["username"]), (&json!({}), &json!("cat")));
}

/// Servers which show nobody that a user has gone hear that it shows nothing any more, first.
pub(super) async fn user_left(fixture: Fixture) {
    let cat = fixture.cat().await;
    let cats = cat.who.id.clone();
    cat.cut();
    let hidden = fixture.stranger.hears("PRESENCE_REMOVED", |message| message["userId"] == *cats).await;
    let left = fixture.stranger.hears("USER_LEFT", |message| message["userId"] == *cats).await;
    let order = fixture.order_of(&[&hidden, &left]);
    assert!(order.is_sorted(), "{order:?}");
}

pub(super) async fn state_request(fixture: Fixture) {
    fixture.cat().await;
}

pub(super) async fn state_response(fixture: Fixture) {
    let _cat = fixture.cat().await;
    fixture.stranger.says("STATE_REQUEST", json!({ "fromNode": "somebody" })).await;
    fixture.stranger.hears("STATE_RESPONSE", |message| message["users"][0]["assigns"]["username"] == "cat").await;
}

pub(super) async fn node_heartbeat(fixture: Fixture) {
    let said = fixture.stranger.hears("NODE_HEARTBEAT", |_| true).await;
    assert_eq!(said["nodeId"], said["sourceNodeId"]);
}

pub(super) async fn order(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let mut said = Vec::new();
    for n in 0..50 {
        cat.say("message", json!({ "n": n })).await;
    }
    for n in 0..50 {
        said.push(fixture.stranger.hears("USER_MESSAGE", |message| message["payload"]["n"] == n).await);
    }
    let order = fixture.order_of(&said.iter().collect::<Vec<_>>());
    assert!(order.is_sorted(), "{order:?}");
}
