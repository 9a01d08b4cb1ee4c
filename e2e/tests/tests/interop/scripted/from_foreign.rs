//! Messages of a scripted foreign node, and their effects on this server.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::interval;

use super::Flavour;
use super::fixture::ScriptedFixture;
use crate::client::{Identity, are_listed};
use crate::node_pair::{is_gone, is_there};

pub(super) async fn user_message(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    let recipients =
        [json!("ALL_USERS"), json!("ALL_EXCEPT_SENDER"), json!(["nobody"]), json!([cat.identity.id, "nobody"])];
    for (n, recipients) in recipients.into_iter().enumerate() {
        let message = json!({
            "fromUserId": "dan",
            "event": "message",
            "payload": { "n": n },
            "requestId": format!("q{n}"),
            "recipientDescriptor": recipients,
        });
        fixture.foreign_node.send("USER_MESSAGE", message).await;
    }
    let received = cat.receives_many(3, "message").await;
    assert_eq!(received, [json!({ "n": 0 }), json!({ "n": 1 }), json!({ "n": 3 })]);
}

pub(super) async fn presence_update(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    let list = cat.sees("JOIN", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.identity, &fixture.dan]), "{list:?}");
    fixture.foreign_node.update_presence("dan", "UPDATE", "away").await;
    let list = cat.sees("UPDATE", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.identity, &fixture.dan]), "{list:?}");
}

pub(super) async fn presence_removed(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    fixture.foreign_node.untrack("dan").await;
    let list = cat.sees("LEAVE", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.identity]), "{list:?}");
    assert_eq!(cat.state().await["assigns"]["dan"]["username"], "dan");
}

/// Of a user of that node, and of one of this server, from which an incomplete message must remove nothing.
pub(super) async fn assigns_update(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    let assigns = json!({ "username": "dan", "role": "admin" });
    fixture.foreign_node.send("ASSIGNS_UPDATE", json!({ "userId": "dan", "assigns": assigns })).await;
    cat.knows("dan's role", |state| {
        state["assigns"]["dan"]["role"] == "admin" && state["assigns"]["dan"]["username"] == "dan"
    })
    .await;
    let cats = cat.identity.id.clone();
    fixture.foreign_node.update_remote_assign(&cats, json!({ "username": "cat" }), "role", json!("guest")).await;
    cat.knows("her role", |state| state["assigns"][&cats]["role"] == "guest").await;
    assert_eq!(cat.state().await["assigns"][&cats]["username"], "cat");
    fixture
        .foreign_node
        .receives("ASSIGNS_UPDATE", |message| {
            message["userId"] == *cats
                && message["assigns"]["role"] == "guest"
                && message["assigns"]["username"] == "cat"
        })
        .await;
}

/// Of a user of that node, who then is gone: JavaScript sends no other message about it. And of a user of this server.
pub(super) async fn evict_user(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    fixture.foreign_node.send("EVICT_USER", json!({ "userId": "dan", "reason": "spam" })).await;
    cat.sees("LEAVE", &fixture.dan).await;
    cat.knows("that dan is removed", |state| is_gone(state, &fixture.dan)).await;
    let cats = cat.identity.id.clone();
    fixture.foreign_node.send("EVICT_USER", json!({ "userId": cats, "reason": "spam" })).await;
    cat.is_evicted("spam").await;
    fixture.foreign_node.receives("USER_LEFT", |message| message["userId"] == *cats).await;
}

/// Go evicts with an event and this message; JavaScript sends it only for a removal.
pub(super) async fn user_remove(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    let mut eve = fixture.client("eve").await;
    if fixture.flavour == Flavour::Go {
        let message = json!({
            "fromUserId": "CHANNEL",
            "event": "evicted",
            "payload": { "reason": "spam" },
            "requestId": "q1",
            "recipientDescriptor": [eve.identity.id],
        });
        fixture.foreign_node.send("USER_MESSAGE", message).await;
        eve.is_evicted("spam").await;
    }
    fixture.foreign_node.send("USER_REMOVE", json!({ "userId": eve.identity.id })).await;
    let list = cat.sees("LEAVE", &eve.identity).await;
    assert!(are_listed(&list, &[&cat.identity, &fixture.dan]), "{list:?}");
    let eves = eve.identity.id.clone();
    fixture.foreign_node.receives("USER_LEFT", |message| message["userId"] == *eves).await;
}

/// Only the node that has the user answers.
pub(super) async fn user_get_request(fixture: ScriptedFixture) {
    let cat = fixture.cat_with_dan().await;
    for user in ["dan", "nobody", &cat.identity.id] {
        let request = json!({ "userId": user, "requestId": format!("q-{user}"), "fromNode": "other" });
        fixture.foreign_node.send("USER_GET_REQUEST", request).await;
    }
    let answer = fixture.foreign_node.receives("USER_GET_RESPONSE", |_| true).await;
    assert_eq!(
        (&answer["userId"], &answer["requestId"]),
        (&json!(cat.identity.id), &json!(format!("q-{}", cat.identity.id)))
    );
    assert_eq!((&answer["assigns"]["username"], &answer["presence"]["username"]), (&json!("cat"), &json!("cat")));
}

/// Of a user in a channel without members on this node. Go omits the presence of a user that is not tracked.
pub(super) async fn user_get_response(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let (foreign_node, channel) = fixture.foreign_node_elsewhere();
    cat.send("user", json!({ "userId": "eve", "channel": channel })).await;
    let request = foreign_node.receives("USER_GET_REQUEST", |_| true).await;
    let mut answer = json!({ "userId": "eve", "requestId": request["requestId"], "assigns": { "username": "eve" } });
    if fixture.flavour == Flavour::JavaScript {
        answer["presence"] = json!({});
    }
    foreign_node.send("USER_GET_RESPONSE", answer).await;
    let user = cat.receives("user").await;
    assert_eq!((&user["id"], &user["assigns"]), (&json!("eve"), &json!({ "username": "eve" })));
}

pub(super) async fn user_joined(fixture: ScriptedFixture) {
    let mut cat = fixture.cat().await;
    let joined = json!({ "userId": "dan", "presence": {}, "assigns": { "username": "dan", "list": [1] } });
    fixture.foreign_node.send("USER_JOINED", joined).await;
    let assigns = json!({ "username": "dan", "list": [1] });
    cat.knows("dan", |state| state["assigns"]["dan"] == assigns && state["presence"]["dan"].is_null()).await;
}

pub(super) async fn user_left(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    fixture.foreign_node.remove_user("dan").await;
    let list = cat.sees("LEAVE", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.identity]), "{list:?}");
    cat.knows("that dan is removed", |state| is_gone(state, &fixture.dan)).await;
    assert_eq!(cat.changes("LEAVE", &fixture.dan).len(), 1);
}

/// The answer has only the node's own users.
pub(super) async fn state_request(fixture: ScriptedFixture) {
    let cat = fixture.cat_with_dan().await;
    fixture.foreign_node.send("STATE_REQUEST", json!({ "fromNode": "other" })).await;
    let answer = fixture.foreign_node.receives("STATE_RESPONSE", |_| true).await;
    let users = answer["users"].as_array().expect("a list");
    assert_eq!((users.len(), &users[0]["id"]), (1, &json!(cat.identity.id)), "{answer}");
    assert_eq!((&users[0]["assigns"]["username"], &users[0]["presence"]["username"]), (&json!("cat"), &json!("cat")));
}

/// JavaScript also lists users of other nodes that it knows: cat, and eve, who has left since.
pub(super) async fn state_response(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    let eve = fixture.client("eve").await;
    let eves = eve.identity.clone();
    cat.knows("eve", |state| is_there(state, &eves)).await;
    eve.reset();
    cat.sees("LEAVE", &eves).await;
    let user =
        |id: &str, name: &str| json!({ "id": id, "assigns": { "username": name }, "presence": { "username": name } });
    let mut users = vec![user("dan", "dan"), user("fay", "fay")];
    if fixture.flavour == Flavour::JavaScript {
        users.extend([user(&cat.identity.id, "cat"), user(&eves.id, "eve")]);
    }
    fixture.foreign_node.send("STATE_RESPONSE", json!({ "users": users })).await;
    let fay = Identity { id: "fay".into(), name: "fay".into() };
    let list = cat.sees("JOIN", &fay).await;
    assert!(are_listed(&list, &[&cat.identity, &fixture.dan, &fay]), "{list:?}");
    assert!(is_gone(&cat.state().await, &eves), "a ghost");
}

/// Users of a node that is silent for 90 s are removed; users of a node that sends heartbeats stay.
pub(super) async fn node_heartbeat(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    let other = fixture.another_foreign_node();
    other.add_user("eve").await;
    let is_eve = |state: &Value| state["assigns"]["eve"]["username"] == "eve";
    cat.knows("eve", is_eve).await;
    let alive = async {
        let mut beat = interval(Duration::from_secs(30));
        loop {
            beat.tick().await;
            other.send_heartbeat().await;
        }
    };
    let dies = cat.knows_within(Duration::from_secs(110), "that dan is removed", |state| {
        assert!(is_eve(state), "eve's node lives");
        is_gone(state, &fixture.dan)
    });
    tokio::select! {
        () = dies => {}
        () = alive => {}
    }
    let list = cat.sees("LEAVE", &fixture.dan).await;
    assert_eq!(list.len(), 2, "{list:?}");
}

pub(super) async fn order(fixture: ScriptedFixture) {
    let mut cat = fixture.cat_with_dan().await;
    for n in 0..50 {
        let message = json!({
            "fromUserId": "dan",
            "event": "message",
            "payload": { "n": n },
            "requestId": format!("q{n}"),
            "recipientDescriptor": "ALL_USERS",
        });
        fixture.foreign_node.send("USER_MESSAGE", message).await;
    }
    let received: Vec<_> = cat.receives_many(50, "message").await.iter().map(|payload| payload["n"].as_u64()).collect();
    assert_eq!(received, (0..50).map(Some).collect::<Vec<_>>());
}
