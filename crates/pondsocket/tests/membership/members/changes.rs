//! Evictions, assigns, and operations on channels from outside.

use std::collections::HashMap;

use pondsocket::{Assigns, EventContext, JoinContext, Joined, LeaveContext, Payload, Remote, Result};
use serde_json::{Value, json};
use testkit::{Peer, eventually, serve};

use super::{Profile, change, pond};

#[tokio::test]
async fn an_evicted_user_is_notified_and_receives_nothing_more() {
    let (pond, endpoint, lobby) = pond();
    let (sender, mut reasons) = tokio::sync::mpsc::unbounded_channel();
    lobby.on_leave(move |ctx: LeaveContext| {
        let left = (ctx.reason().to_string(), ctx.presence::<Profile>().map(|shown| shown.mood).ok());
        sender.send(left).expect("the test listens");
        async {}
    });
    lobby.on_event("evict", async |ctx: EventContext, Payload(user): Payload<String>| ctx.evict(&user, "spam").await);
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "glad" })).await;
    bob.until("JOIN").await;
    ada.until("JOIN").await;
    ada.until("JOIN").await;

    ada.event("/c/1", "evict", json!("bob")).await;
    for event in ["evicted", "EVICTED"] {
        let told = bob.next().await;
        assert_eq!(
            (&told["action"], &told["event"], &told["payload"]),
            (&json!("SYSTEM"), &json!(event), &json!({ "reason": "spam", "userId": "bob" }))
        );
    }
    let others = ada.next().await;
    assert_eq!((&others["event"], &others["payload"]["userId"]), (&json!("user_evicted"), &json!("bob")));
    assert_eq!(change(&ada.next().await), ("LEAVE", "bob", "glad"));
    assert_eq!(reasons.recv().await, Some(("evicted:spam".into(), Some("glad".into()))));
    room.broadcast("news", &()).expect("room");
    let id = bob.event("/c/1", "echo", json!({})).await;
    let refused = bob.next().await;
    assert_eq!((&refused["requestId"], &refused["payload"]["code"]), (&json!(id), &json!(403)));
    bob.join("/c/1", json!({})).await;

    ada.event("/c/1", "evict", json!("nobody")).await;
    ada.until("news").await;
    assert_eq!(ada.until("INTERNAL_ERROR").await["payload"]["code"], 404);

    room.remove("bob", "out of time").await.expect("a member");
    assert_eq!(reasons.recv().await, Some(("out of time".into(), None)));
    bob.event("/c/1", "echo", json!({})).await;
    assert_eq!(bob.next().await["payload"]["code"], 403);
    ada.leave("/c/1").await;
    assert_eq!(reasons.recv().await, Some(("explicit_leave".into(), Some("calm".into()))));
}

#[tokio::test]
async fn assigns_belong_to_the_connection_or_to_the_membership() {
    let (pond, endpoint, lobby) = pond();
    lobby
        .on_event("set", async |ctx: EventContext, Payload((key, value)): Payload<(String, Value)>| {
            ctx.set_assign(&key, &value)
        })
        .on_event("all", async |ctx: EventContext, Assigns(mine): Assigns<HashMap<String, Value>>| {
            ctx.reply("all", &mine)
        });
    endpoint.create_channel("/set", async |ctx: JoinContext| -> Result<Joined> {
        ctx.set_assign("level", &2)?;
        Ok(ctx.accept())
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    peer.join("/c/1", json!({})).await;
    peer.event("/c/1", "set", json!(["role", { "admin": true }])).await;
    peer.event("/c/1", "all", json!({})).await;
    assert_eq!(peer.next().await["payload"], json!({ "level": 1, "joined": true, "role": { "admin": true } }));

    // A join that sets one of the connection's, and one from outside, are seen by later joins.
    peer.join("/set", json!({})).await;
    let connection = endpoint.connection(&peer.id).expect("it is there");
    connection.set_assign("plan", &"gold").expect("JSON");
    peer.join("/c/2", json!({})).await;
    peer.event("/c/2", "all", json!({})).await;
    assert_eq!(peer.next().await["payload"], json!({ "level": 2, "plan": "gold", "joined": true }));

    let room = endpoint.channel("/c/1").expect("a pattern");
    room.update_assigns("ada", "level", &9).await.expect("a member");
    assert_eq!(room.update_assigns("eve", "level", &9).await.expect_err("no member").code(), 404);
    let all: HashMap<String, HashMap<String, Value>> = room.assigns().expect("JSON");
    assert_eq!(all["ada"]["level"], 9);
    assert_eq!(room.user("ada").await.expect("a member").assign::<u32>("level").expect("a number"), 9);
    assert_eq!(connection.user().assign::<u32>("level").expect("a number"), 2);
}

#[tokio::test]
async fn a_channel_can_be_used_from_outside_of_handlers() {
    let (pond, endpoint, _) = pond();
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    assert_eq!(room.broadcast("news", &()).expect("sent").local, 0);
    assert_eq!(room.track("ada", &json!({})).expect_err("no member").code(), 404);

    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({})).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({})).await;
    let delivery = room.broadcast("all", &json!({ "n": 1 })).expect("room");
    assert_eq!((delivery.local, delivery.remote), (2, Remote::None));
    assert_eq!(room.broadcast_to(["bob", "eve"], "some", &()).expect("room").local, 1);
    assert_eq!(room.broadcast_from("bob", "rest", &()).expect("room").local, 1);
    let first = ada.next().await;
    assert_eq!(
        (&first["action"], &first["event"], &first["payload"]),
        (&json!("BROADCAST"), &json!("all"), &json!({ "n": 1 }))
    );
    assert_eq!(first["requestId"].as_str().map(str::len), Some(36));
    assert_eq!(ada.next().await["event"], "rest");
    assert_eq!(bob.next().await["event"], "all");
    assert_eq!(bob.next().await["event"], "some");
    assert_eq!(room.broadcast("bad", &[1]).expect_err("no object").code(), 500);
    assert_eq!(room.broadcast("EVICTED", &()).expect_err("reserved").code(), 500);

    let shown = Profile { who: "ada".into(), mood: "calm".into() };
    room.track("ada", &shown).expect("a member");
    assert_eq!(room.track("ada", &shown).expect_err("tracked").code(), 409);
    room.update_presence("bob", &Profile { who: "bob".into(), mood: "glad".into() }).await.expect("a member");
    let all: HashMap<String, Profile> = room.presence().expect("typed");
    assert_eq!((all.len(), &all["ada"]), (2, &shown));
    room.untrack("ada").expect("a member");
    room.untrack("ada").expect("nothing happens");

    assert_eq!(endpoint.connections().len(), 2);
    assert_eq!(endpoint.disconnect("x").expect_err("no such user").code(), 404);
    endpoint.disconnect(&bob.id).expect("it is there");
    assert_eq!(bob.closed().await.map(|frame| u16::from(frame.code)), Some(1000));
    eventually("bob has gone", || room.member_count() == 1).await;
    room.close();
    assert_eq!(ada.closed().await.map(|frame| u16::from(frame.code)), Some(1000));
    eventually("all have gone", || endpoint.connections().is_empty()).await;
}
