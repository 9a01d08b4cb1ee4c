//! Operations on users of other nodes.

use std::time::Duration;

use pondsocket::testing::Change;
use serde_json::{Value, json};
use tokio::time::Instant;

use std::sync::Arc;

use pondsocket::{Error, EventContext, LeaveContext};
use tokio::sync::{Notify, mpsc};

use crate::{Node, eventually, join, pair};

async fn bob_elsewhere() -> (Vec<Box<dyn std::any::Any>>, Node, Node, pondsocket::testing::Room) {
    let (hub, one, two) = pair().await;
    let (ada, adas) = one.join("ada", "/chat/1").await;
    let (bob, bobs) = two.join("bob", "/chat/1").await;
    eventually("both are seen", || one.shown("/chat/1") == ["ada", "bob"] && two.shown("/chat/1") == ["ada", "bob"])
        .await;
    (vec![Box::new(hub), Box::new(ada), Box::new(adas), Box::new(bob)], one, two, bobs)
}

#[tokio::test(start_paused = true)]
async fn a_remote_user_is_evicted_with_the_reason() {
    let (_kept, one, two, mut bobs) = bob_elsewhere().await;
    one.channel("/chat/1").evict("bob", "spam").await.expect("confirmed");
    assert_eq!(bobs.next("evicted").await.expect("told")["reason"], "spam");
    eventually("bob has gone", || one.shown("/chat/1") == ["ada"]).await;
    assert_eq!(two.channel("/chat/1").member_count(), 0);
    let gone = one.channel("/chat/1").evict("bob", "again").await.expect_err("no such user");
    assert_eq!(gone.code(), 404);
}

#[tokio::test(start_paused = true)]
async fn members_receive_one_eviction_of_a_user_on_several_nodes() {
    let (hub, one, two) = pair().await;
    let three = Node::start(&hub, "three").await;
    let (_ada, mut adas) = one.join("ada", "/plain/1").await;
    let (_zoe, mut zoes) = three.join("zoe", "/plain/1").await;
    let (_tab, _tabs) = one.join("bob", "/plain/1").await;
    let (_other, _others) = two.join("bob", "/plain/1").await;
    let members = |node: &Node| node.channel("/plain/1").member_count();
    eventually("all are known", || members(&one) == 3 && members(&two) == 3 && members(&three) == 3).await;
    for evictor in [&three, &one] {
        evictor.channel("/plain/1").evict("bob", "spam").await.expect("confirmed");
        for room in [&mut adas, &mut zoes] {
            assert_eq!(room.next("user_evicted").await.expect("told")["userId"], "bob");
            room.assert_silence().await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (_tab, _tabs) = one.join("bob", "/plain/1").await;
        let (_other, _others) = two.join("bob", "/plain/1").await;
        eventually("all are known", || members(&one) == 3 && members(&two) == 3 && members(&three) == 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_user_is_removed_without_a_notice() {
    let (_kept, one, _two, mut bobs) = bob_elsewhere().await;
    one.channel("/chat/1").remove("bob", "moved").await.expect("confirmed");
    eventually("bob has gone", || one.shown("/chat/1") == ["ada"]).await;
    while let Ok(change) = bobs.next_presence().await {
        assert_ne!(change.change, Change::Leave, "who was removed hears nothing of it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_user_is_found_and_changed() {
    let (_kept, one, two, _bobs) = bob_elsewhere().await;
    let channel = one.channel("/chat/1");
    let bob = channel.user("bob").await.expect("a member");
    assert_eq!(bob.assigns::<Value>().expect("an object"), json!({ "name": "bob" }));
    assert_eq!(bob.presence::<Value>().expect("tracked")["mood"], "new");
    channel.update_assigns("bob", "role", &"guest").await.expect("confirmed");
    channel.update_presence("bob", &json!({ "mood": "changed" })).await.expect("confirmed");
    let there = two.channel("/chat/1").user("bob").await.expect("a member");
    assert_eq!(there.assign::<String>("role").expect("set"), "guest");
    assert_eq!(there.presence::<Value>().expect("tracked"), json!({ "mood": "changed" }));
    eventually("it is seen here", || {
        channel.presence::<Value>().expect("objects")["bob"] == json!({ "mood": "changed" })
    })
    .await;
    for missing in [
        channel.user("eve").await.map(drop),
        channel.update_assigns("eve", "role", &1).await,
        channel.update_presence("eve", &json!({})).await,
        channel.remove("eve", "?").await,
    ] {
        assert_eq!(missing.expect_err("no such user").code(), 404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_without_local_members_can_be_queried() {
    let (hub, one, two) = pair().await;
    let three = Node::start(&hub, "three").await;
    let (_ada, _adas) = one.join("ada", "/chat/1").await;
    let (_bob, _bobs) = two.join("bob", "/chat/1").await;
    eventually("three knows both", || three.pond.nodes() == ["one", "two"]).await;
    let users = three.channel("/chat/1").users().await;
    let mut names: Vec<_> = users.users.iter().map(|user| user.id()).collect();
    names.sort_unstable();
    assert_eq!((names, users.complete), (vec!["ada", "bob"], true));
    assert_eq!(three.channel("/chat/1").user("bob").await.expect("a member").id(), "bob");
    three.channel("/chat/1").evict("bob", "spam").await.expect("confirmed");
    eventually("bob has gone", || one.shown("/chat/1") == ["ada"]).await;
}

#[tokio::test(start_paused = true)]
async fn requests_to_a_stopped_node_fail_at_once() {
    let (_kept, one, _two, _bobs) = bob_elsewhere().await;
    one.pond.shutdown(Duration::from_secs(1)).await;
    let start = Instant::now();
    assert_eq!(one.channel("/chat/1").evict("bob", "late").await.expect_err("not any more").code(), 503);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_a_lost_connection_does_nothing_to_the_user_who_is_back_on_another_node() {
    let (_hub, one, two) = pair().await;
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (sender, mut codes) = mpsc::unbounded_channel();
    let (begin, wait, say) = (Arc::clone(&begun), Arc::clone(&go), sender.clone());
    let lobby = one.endpoint.create_channel("/late/:room", join);
    two.endpoint.create_channel("/late/:room", join);
    lobby.on_event("wait", move |ctx: EventContext| {
        let (begin, wait, say) = (Arc::clone(&begin), Arc::clone(&wait), say.clone());
        async move {
            begin.notify_one();
            wait.notified().await;
            let (me, old) = (ctx.user_id(), json!({ "mood": "old" }));
            let done = [
                ctx.update_presence(&old),
                ctx.update_presence_for([me], &old).await,
                ctx.channel().update_assigns(me, "name", &"old").await,
                ctx.evict(me, "old").await,
                ctx.remove(me, "old").await,
            ];
            say.send((true, done.map(|done| done.map_err(|error| error.code())).to_vec())).expect("the test listens");
            Ok::<_, Error>(())
        }
    });
    lobby.on_leave(move |ctx: LeaveContext| {
        let say = sender.clone();
        async move {
            let removed = ctx.channel().remove(ctx.user_id(), "old").await.map_err(|error| error.code());
            say.send((ctx.returned(), vec![removed])).expect("the test listens");
        }
    });
    let (_ada, mut adas) = one.join("ada", "/late/1").await;
    adas.next_presence().await.expect("her own");
    let (bob, bobs) = one.join("bob", "/late/1").await;
    assert_eq!(adas.next_presence().await.expect("bob").change, Change::Join);
    bobs.send("wait", json!({}));
    begun.notified().await;
    drop(bobs);
    bob.close();
    assert_eq!(adas.next_presence().await.expect("bob").change, Change::Leave);
    let (_bob, mut bobs) = two.join("bob", "/late/1").await;
    assert_eq!(adas.next_presence().await.expect("bob").change, Change::Join);
    go.notify_one();
    assert_eq!(codes.recv().await, Some((true, vec![Err(404); 5])));
    assert_eq!(codes.recv().await, Some((true, vec![Err(404)])), "the leave handler knows that he is elsewhere");
    adas.assert_silence().await;
    let bob = one.channel("/late/1").user("bob").await.expect("a member");
    assert_eq!(bob.presence::<Value>().expect("tracked")["mood"], "new");
    assert_eq!(bobs.next_presence().await.expect("his own").user_id, "bob");
    // By name the operation applies to the present member.
    one.channel("/late/1").remove("bob", "now").await.expect("confirmed");
    assert_eq!(adas.next_presence().await.expect("bob").change, Change::Leave);
}
