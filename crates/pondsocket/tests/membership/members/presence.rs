//! Presence and assigns of members.

use std::sync::{Arc, Mutex};

use pondsocket::{EventContext, LeaveContext, Payload, Presence};
use serde_json::json;
use testkit::{Peer, eventually, serve};

use super::{Profile, change, moods, pond};

#[tokio::test]
async fn presence_reaches_tracked_members_with_the_whole_list() {
    let (pond, _, lobby) = pond();
    lobby
        .on_event("mood", async |ctx: EventContext, Payload(mood): Payload<String>| {
            let who = ctx.user_id().to_owned();
            ctx.update_presence(&Profile { who, mood })
        })
        .on_event("hide", async |ctx: EventContext| ctx.untrack())
        .on_event("mine", async |ctx: EventContext, Presence(mine): Presence<Profile>| ctx.reply("mine", &mine));
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    let own = ada.next().await;
    assert_eq!((change(&own), moods(&own)), (("JOIN", "ada", "calm"), vec!["calm".to_owned()]));

    let mut untracked = Peer::connect(address, "/?user=eve").await;
    untracked.join("/c/1", json!({})).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "glad" })).await;
    for peer in [&mut ada, &mut bob] {
        let joined = peer.next().await;
        assert_eq!(
            (change(&joined), moods(&joined)),
            (("JOIN", "bob", "glad"), vec!["calm".to_owned(), "glad".to_owned()])
        );
    }

    bob.event("/c/1", "mood", json!("sad")).await;
    for peer in [&mut ada, &mut bob] {
        let updated = peer.next().await;
        assert_eq!(
            (change(&updated), moods(&updated)),
            (("UPDATE", "bob", "sad"), vec!["calm".to_owned(), "sad".to_owned()])
        );
    }
    bob.event("/c/1", "mine", json!({})).await;
    assert_eq!(bob.next().await["payload"], json!({ "who": "bob", "mood": "sad" }));

    bob.event("/c/1", "hide", json!({})).await;
    let left = ada.next().await;
    assert_eq!((change(&left), moods(&left)), (("LEAVE", "bob", "sad"), vec!["calm".to_owned()]));
    bob.event("/c/1", "mine", json!({})).await;
    assert_eq!(bob.next().await["payload"]["code"], 404, "nothing else came, and it is tracked no more");
    bob.event("/c/1", "mood", json!("back")).await;
    assert_eq!(change(&ada.next().await), ("JOIN", "bob", "back"), "an update shows who was not tracked");

    drop(bob);
    let gone = ada.next().await;
    assert_eq!((change(&gone), moods(&gone)), (("LEAVE", "bob", "back"), vec!["calm".to_owned()]));
    untracked.nothing_before_reply("/c/1", "echo").await;
}

#[tokio::test]
async fn a_user_with_several_connections_is_one_member() {
    let (pond, endpoint, lobby) = pond();
    lobby
        .on_event("others", async |ctx: EventContext| ctx.broadcast_from("others", &()))
        .on_event("to", async |ctx: EventContext, Payload(users): Payload<Vec<String>>| {
            ctx.broadcast_to(users, "to", &())
        });
    let left = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&left);
    lobby.on_leave(move |ctx: LeaveContext| {
        log.lock().expect("no panic").push((ctx.user_id().to_owned(), ctx.reason().to_string(), ctx.remaining()));
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "glad" })).await;
    bob.until("JOIN").await;
    let mut one = Peer::connect(address, "/?user=ada").await;
    one.join("/c/1", json!({ "mood": "calm" })).await;
    one.until("JOIN").await;
    assert_eq!(change(&bob.next().await), ("JOIN", "ada", "calm"));

    // The same presence from another connection: no message for the others, the list for itself.
    let mut two = Peer::connect(address, "/?user=ada").await;
    two.join("/c/1", json!({ "mood": "calm" })).await;
    let list = two.next().await;
    assert_eq!((change(&list), moods(&list)), (("JOIN", "ada", "calm"), vec!["calm".to_owned(), "glad".to_owned()]));
    // Another presence: an update for the others, the list for itself.
    let mut three = Peer::connect(address, "/?user=ada").await;
    three.join("/c/1", json!({ "mood": "wild" })).await;
    assert_eq!(change(&three.next().await), ("JOIN", "ada", "wild"));
    for peer in [&mut bob, &mut one, &mut two] {
        assert_eq!(change(&peer.next().await), ("UPDATE", "ada", "wild"));
    }
    assert_eq!(room.member_count(), 2);

    // All but the sending connection.
    one.event("/c/1", "others", json!({})).await;
    for peer in [&mut bob, &mut two, &mut three] {
        assert_eq!(peer.next().await["event"], "others");
    }
    one.nothing_before_reply("/c/1", "echo").await;
    // A user id addresses all its connections, and unknown ids are ignored.
    bob.event("/c/1", "to", json!(["ada", "nobody", "ada"])).await;
    for peer in [&mut one, &mut two, &mut three] {
        assert_eq!(peer.next().await["event"], "to");
    }
    assert_eq!(room.broadcast_from("ada", "b", &()).expect("room").local, 1);
    assert_eq!(bob.next().await["event"], "b");

    // Only the end of the last connection is a leave.
    two.leave("/c/1").await;
    drop(one);
    bob.nothing_before_reply("/c/1", "echo").await;
    drop(three);
    assert_eq!(change(&bob.next().await), ("LEAVE", "ada", "wild"));
    eventually("the leave handler", || !left.lock().expect("no panic").is_empty()).await;
    assert_eq!(*left.lock().expect("no panic"), [("ada".to_owned(), "connection_closed".to_owned(), 1)]);
}
