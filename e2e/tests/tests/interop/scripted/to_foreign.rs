//! Messages of this server, as a scripted foreign node receives them.

use serde_json::{Value, json};

use super::fixture::ScriptedFixture;

pub(super) async fn user_message(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    let cats = cat.identity.id.clone();
    let payload = json!({ "text": "é👋\u{0}", "list": [1, -0.5, null] });
    cat.send("message", payload.clone()).await;
    cat.send("typing", payload.clone()).await;
    cat.send("private", json!({ "to": "dan", "text": "psst" })).await;
    for (event, to, payload) in [
        ("message", json!("ALL_USERS"), payload.clone()),
        ("typing", json!("ALL_EXCEPT_SENDER"), payload),
        ("private", json!(["dan"]), json!({ "from": cats, "text": "psst" })),
    ] {
        let message_to_foreign =
            fixture.foreign_node.receives("USER_MESSAGE", |message| message["event"] == event).await;
        assert_eq!((&message_to_foreign["recipientDescriptor"], &message_to_foreign["payload"]), (&to, &payload));
        assert_eq!(message_to_foreign["fromUserId"], *cats);
    }
}

pub(super) async fn presence_update(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.identity.id.clone();
    cat.send("status", json!({ "status": "away" })).await;
    for status in ["online", "away"] {
        let is = |message: &Value| message["userId"] == *cats && message["presence"]["status"] == status;
        fixture.foreign_node.receives("PRESENCE_UPDATE", is).await;
    }
}

pub(super) async fn presence_removed(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.identity.id.clone();
    cat.send("untrack", json!({})).await;
    fixture.foreign_node.receives("PRESENCE_REMOVED", |message| message["userId"] == *cats).await;
}

/// The message always has all assigns.
pub(super) async fn assigns_update(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.identity.id.clone();
    cat.send("assign", json!({ "key": "role", "value": "admin" })).await;
    let is = |message: &Value| message["userId"] == *cats && !message["assigns"]["role"].is_null();
    let message_to_foreign = fixture.foreign_node.receives("ASSIGNS_UPDATE", is).await;
    assert_eq!(
        (&message_to_foreign["assigns"]["username"], &message_to_foreign["assigns"]["role"]),
        (&json!("cat"), &json!("admin"))
    );
    // Of a user of that node, of which this server knows only the published assigns.
    fixture.foreign_node.add_user("dan").await;
    cat.knows("dan", |state| state["assigns"]["dan"]["username"] == "dan").await;
    cat.send("assign", json!({ "userId": "dan", "key": "role", "value": "guest" })).await;
    let message_to_foreign =
        fixture.foreign_node.receives("ASSIGNS_UPDATE", |message| message["userId"] == "dan").await;
    assert_eq!(
        (&message_to_foreign["assigns"]["username"], &message_to_foreign["assigns"]["role"]),
        (&json!("dan"), &json!("guest"))
    );
}

pub(super) async fn evict_user(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    cat.send("evict", json!({ "userId": "dan", "reason": "spam" })).await;
    let message_to_foreign = fixture.foreign_node.receives("EVICT_USER", |message| message["userId"] == "dan").await;
    assert_eq!(message_to_foreign["reason"], "spam");
    fixture.foreign_node.remove_user("dan").await;
    cat.sees("LEAVE", &fixture.dan).await;
}

pub(super) async fn user_remove(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    cat.send("remove", json!({ "userId": "dan", "reason": "moved" })).await;
    fixture.foreign_node.receives("USER_REMOVE", |message| message["userId"] == "dan").await;
    fixture.foreign_node.remove_user("dan").await;
    cat.sees("LEAVE", &fixture.dan).await;
}

/// Other nodes are asked only about a channel without members on this node.
pub(super) async fn user_get_request(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let (foreign_node, channel) = fixture.foreign_node_elsewhere();
    cat.send("user", json!({ "userId": "eve", "channel": channel })).await;
    let message_to_foreign = foreign_node.receives("USER_GET_REQUEST", |_| true).await;
    assert_eq!(message_to_foreign["userId"], "eve");
}

pub(super) async fn user_get_response(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let cats = cat.identity.id.clone();
    cat.send("untrack", json!({})).await;
    cat.knows("that she is hidden", |state| state["presence"][&cats].is_null()).await;
    fixture.foreign_node.send("USER_GET_REQUEST", json!({ "userId": cats, "requestId": "q1", "fromNode": "me" })).await;
    let message_to_foreign =
        fixture.foreign_node.receives("USER_GET_RESPONSE", |message| message["requestId"] == "q1").await;
    assert_eq!(
        (&message_to_foreign["assigns"]["username"], &message_to_foreign["presence"]),
        (&json!("cat"), &json!({}))
    );
}

pub(super) async fn user_joined(fixture: ScriptedFixture) {
    let cat = fixture.cat().await;
    let cats = cat.identity.id.clone();
    let message_to_foreign = fixture.foreign_node.receives("USER_JOINED", |message| message["userId"] == *cats).await;
    assert_eq!(
        (&message_to_foreign["presence"], &message_to_foreign["assigns"]["username"]),
        (&json!({}), &json!("cat"))
    );
}

/// An untrack is sent first, for servers that do not update presence when a user leaves.
pub(super) async fn user_left(fixture: ScriptedFixture) {
    let cat = fixture.cat().await;
    let cats = cat.identity.id.clone();
    cat.reset();
    let hidden = fixture.foreign_node.receives("PRESENCE_REMOVED", |message| message["userId"] == *cats).await;
    let left = fixture.foreign_node.receives("USER_LEFT", |message| message["userId"] == *cats).await;
    let order = fixture.order_of(&[&hidden, &left]);
    assert!(order.is_sorted(), "{order:?}");
}

pub(super) async fn state_request(fixture: ScriptedFixture) {
    fixture.cat().await;
}

pub(super) async fn state_response(fixture: ScriptedFixture) {
    let _cat = fixture.cat().await;
    fixture.foreign_node.send("STATE_REQUEST", json!({ "fromNode": "other" })).await;
    fixture
        .foreign_node
        .receives("STATE_RESPONSE", |message| message["users"][0]["assigns"]["username"] == "cat")
        .await;
}

pub(super) async fn node_heartbeat(fixture: ScriptedFixture) {
    let message_to_foreign = fixture.foreign_node.receives("NODE_HEARTBEAT", |_| true).await;
    assert_eq!(message_to_foreign["nodeId"], message_to_foreign["sourceNodeId"]);
}

pub(super) async fn order(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let mut message_to_foreign = Vec::new();
    for n in 0..50 {
        cat.send("message", json!({ "n": n })).await;
    }
    for n in 0..50 {
        message_to_foreign
            .push(fixture.foreign_node.receives("USER_MESSAGE", |message| message["payload"]["n"] == n).await);
    }
    let order = fixture.order_of(&message_to_foreign.iter().collect::<Vec<_>>());
    assert!(order.is_sorted(), "{order:?}");
}
