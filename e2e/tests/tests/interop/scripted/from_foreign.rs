//! Messages of a scripted foreign node, and their effects on ours.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::interval;

use super::Flavour;
use super::fixture::Fixture;
use crate::client::{Who, are_listed};
use crate::meeting::{is_gone, is_there};

pub(super) async fn user_message(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    let recipients = [json!("ALL_USERS"), json!("ALL_EXCEPT_SENDER"), json!(["nobody"]), json!([cat.who.id, "nobody"])];
    for (n, recipients) in recipients.into_iter().enumerate() {
        let message = json!({
            "fromUserId": "dan",
            "event": "message",
            "payload": { "n": n },
            "requestId": format!("q{n}"),
            "recipientDescriptor": recipients,
        });
        fixture.stranger.says("USER_MESSAGE", message).await;
    }
    let heard = cat.hears_many(3, "message").await;
    assert_eq!(heard, [json!({ "n": 0 }), json!({ "n": 1 }), json!({ "n": 3 })]);
}

pub(super) async fn presence_update(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    let list = cat.sees("JOIN", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.who, &fixture.dan]), "{list:?}");
    fixture.stranger.shows("dan", "UPDATE", "away").await;
    let list = cat.sees("UPDATE", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.who, &fixture.dan]), "{list:?}");
}

pub(super) async fn presence_removed(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    fixture.stranger.hides("dan").await;
    let list = cat.sees("LEAVE", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.who]), "{list:?}");
    assert_eq!(cat.state().await["assigns"]["dan"]["username"], "dan");
}

/// Of a user there, and of one of ours, of whom a list that is not complete must take nothing away.
pub(super) async fn assigns_update(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    let assigns = json!({ "username": "dan", "role": "admin" });
    fixture.stranger.says("ASSIGNS_UPDATE", json!({ "userId": "dan", "assigns": assigns })).await;
    cat.knows("dan's role", |state| {
        state["assigns"]["dan"]["role"] == "admin" && state["assigns"]["dan"]["username"] == "dan"
    })
    .await;
    let cats = cat.who.id.clone();
    fixture.stranger.assigns_elsewhere(&cats, json!({ "username": "cat" }), "role", json!("guest")).await;
    cat.knows("her role", |state| state["assigns"][&cats]["role"] == "guest").await;
    assert_eq!(cat.state().await["assigns"][&cats]["username"], "cat");
    fixture
        .stranger
        .hears("ASSIGNS_UPDATE", |message| {
            message["userId"] == *cats
                && message["assigns"]["role"] == "guest"
                && message["assigns"]["username"] == "cat"
        })
        .await;
}

/// Of a user there, who then has gone: JavaScript does not say more of it. And of one of ours.
pub(super) async fn evict_user(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    fixture.stranger.says("EVICT_USER", json!({ "userId": "dan", "reason": "spam" })).await;
    cat.sees("LEAVE", &fixture.dan).await;
    cat.knows("that dan has gone", |state| is_gone(state, &fixture.dan)).await;
    let cats = cat.who.id.clone();
    fixture.stranger.says("EVICT_USER", json!({ "userId": cats, "reason": "spam" })).await;
    cat.is_told("spam").await;
    fixture.stranger.hears("USER_LEFT", |message| message["userId"] == *cats).await;
}

/// Go evicts by a message and this. JavaScript only removes.
pub(super) async fn user_remove(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    let mut eve = fixture.client("eve").await;
    if fixture.flavour == Flavour::Go {
        let message = json!({
            "fromUserId": "CHANNEL",
            "event": "evicted",
            "payload": { "reason": "spam" },
            "requestId": "q1",
            "recipientDescriptor": [eve.who.id],
        });
        fixture.stranger.says("USER_MESSAGE", message).await;
        eve.is_told("spam").await;
    }
    fixture.stranger.says("USER_REMOVE", json!({ "userId": eve.who.id })).await;
    let list = cat.sees("LEAVE", &eve.who).await;
    assert!(are_listed(&list, &[&cat.who, &fixture.dan]), "{list:?}");
    let eves = eve.who.id.clone();
    fixture.stranger.hears("USER_LEFT", |message| message["userId"] == *eves).await;
}

/// Only who has the user answers.
pub(super) async fn user_get_request(fixture: Fixture) {
    let cat = fixture.cat_with_dan().await;
    for user in ["dan", "nobody", &cat.who.id] {
        let request = json!({ "userId": user, "requestId": format!("q-{user}"), "fromNode": "somebody" });
        fixture.stranger.says("USER_GET_REQUEST", request).await;
    }
    let answer = fixture.stranger.hears("USER_GET_RESPONSE", |_| true).await;
    assert_eq!((&answer["userId"], &answer["requestId"]), (&json!(cat.who.id), &json!(format!("q-{}", cat.who.id))));
    assert_eq!((&answer["assigns"]["username"], &answer["presence"]["username"]), (&json!("cat"), &json!("cat")));
}

/// Of a user in a channel that nobody on our node is in. Go leaves a presence out that is not shown.
pub(super) async fn user_get_response(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let (stranger, channel) = fixture.stranger_elsewhere();
    cat.say("user", json!({ "userId": "eve", "channel": channel })).await;
    let request = stranger.hears("USER_GET_REQUEST", |_| true).await;
    let mut answer = json!({ "userId": "eve", "requestId": request["requestId"], "assigns": { "username": "eve" } });
    if fixture.flavour == Flavour::JavaScript {
        answer["presence"] = json!({});
    }
    stranger.says("USER_GET_RESPONSE", answer).await;
    let user = cat.hears("user").await;
    assert_eq!((&user["id"], &user["assigns"]), (&json!("eve"), &json!({ "username": "eve" })));
}

pub(super) async fn user_joined(fixture: Fixture) {
    let mut cat = fixture.cat().await;
    let joined = json!({ "userId": "dan", "presence": {}, "assigns": { "username": "dan", "list": [1] } });
    fixture.stranger.says("USER_JOINED", joined).await;
    let assigns = json!({ "username": "dan", "list": [1] });
    cat.knows("dan", |state| state["assigns"]["dan"] == assigns && state["presence"]["dan"].is_null()).await;
}

pub(super) async fn user_left(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    fixture.stranger.lets_go("dan").await;
    let list = cat.sees("LEAVE", &fixture.dan).await;
    assert!(are_listed(&list, &[&cat.who]), "{list:?}");
    cat.knows("that dan has gone", |state| is_gone(state, &fixture.dan)).await;
    assert_eq!(cat.changes("LEAVE", &fixture.dan).len(), 1);
}

/// Only one's own users are told.
pub(super) async fn state_request(fixture: Fixture) {
    let cat = fixture.cat_with_dan().await;
    fixture.stranger.says("STATE_REQUEST", json!({ "fromNode": "somebody" })).await;
    let answer = fixture.stranger.hears("STATE_RESPONSE", |_| true).await;
    let users = answer["users"].as_array().expect("a list");
    assert_eq!((users.len(), &users[0]["id"]), (1, &json!(cat.who.id)), "{answer}");
    assert_eq!((&users[0]["assigns"]["username"], &users[0]["presence"]["username"]), (&json!("cat"), &json!("cat")));
}

/// JavaScript also lists those of others whom it knows: cat, and eve, who has left since.
pub(super) async fn state_response(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    let eve = fixture.client("eve").await;
    let eves = eve.who.clone();
    cat.knows("eve", |state| is_there(state, &eves)).await;
    eve.cut();
    cat.sees("LEAVE", &eves).await;
    let user =
        |id: &str, name: &str| json!({ "id": id, "assigns": { "username": name }, "presence": { "username": name } });
    let mut users = vec![user("dan", "dan"), user("fay", "fay")];
    if fixture.flavour == Flavour::JavaScript {
        users.extend([user(&cat.who.id, "cat"), user(&eves.id, "eve")]);
    }
    fixture.stranger.says("STATE_RESPONSE", json!({ "users": users })).await;
    let fay = Who { id: "fay".into(), name: "fay".into() };
    let list = cat.sees("JOIN", &fay).await;
    assert!(are_listed(&list, &[&cat.who, &fixture.dan, &fay]), "{list:?}");
    assert!(is_gone(&cat.state().await, &eves), "a ghost");
}

/// Users of a node that is silent for 90 s are removed; users of a node that sends heartbeats stay.
pub(super) async fn node_heartbeat(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    let other = fixture.another_stranger();
    other.lets_in("eve").await;
    let is_eve = |state: &Value| state["assigns"]["eve"]["username"] == "eve";
    cat.knows("eve", is_eve).await;
    let alive = async {
        let mut beat = interval(Duration::from_secs(30));
        loop {
            beat.tick().await;
            other.says_that_it_lives().await;
        }
    };
    let dies = cat.knows_within(Duration::from_secs(110), "that dan has gone", |state| {
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

pub(super) async fn order(fixture: Fixture) {
    let mut cat = fixture.cat_with_dan().await;
    for n in 0..50 {
        let message = json!({
            "fromUserId": "dan",
            "event": "message",
            "payload": { "n": n },
            "requestId": format!("q{n}"),
            "recipientDescriptor": "ALL_USERS",
        });
        fixture.stranger.says("USER_MESSAGE", message).await;
    }
    let heard: Vec<_> = cat.hears_many(50, "message").await.iter().map(|payload| payload["n"].as_u64()).collect();
    assert_eq!(heard, (0..50).map(Some).collect::<Vec<_>>());
}
