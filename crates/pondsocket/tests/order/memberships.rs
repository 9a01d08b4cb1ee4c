//! A membership begins with its acknowledgement, and ends at one point.

use futures_util::SinkExt;
use pondsocket::{EventContext, JoinContext, Joined, LeaveContext};
use serde_json::json;
use testkit::{Message, Peer, serve};

use super::{Journal, Noise, open_pond, tracked};

#[tokio::test(flavor = "multi_thread")]
async fn the_acknowledgement_is_first_and_the_chained_messages_follow_directly() {
    let (pond, endpoint) = open_pond();
    endpoint.create_channel("/room", async |ctx: JoinContext| {
        let user = ctx.user_id().to_owned();
        let accepted = ctx.accept().track(&json!({ "user": user })).reply("welcome", &json!({}));
        Ok::<Joined, pondsocket::Error>(accepted.broadcast("hello", &json!({})).broadcast_from("others", &json!({})))
    });
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/").await;
    witness.join("/room", json!({})).await;
    let witness = tokio::spawn(async move { while witness.next().await["event"] != "end" {} });
    let noise = Noise::make(&endpoint, "/room");
    let joiners = (0..4).map(|_| {
        tokio::spawn(async move {
            let mut peer = Peer::connect(address, "/").await;
            for _ in 0..100 {
                // Asserts that the acknowledgement is the first message, so that nothing followed the last leave.
                peer.join("/room", json!({})).await;
                for event in ["JOIN", "welcome", "hello"] {
                    assert_eq!(peer.next().await["event"], event);
                }
                peer.leave("/room").await;
            }
        })
    });
    for joiner in joiners.collect::<Vec<_>>() {
        joiner.await.expect("in order");
    }
    noise.end().await;
    endpoint.channel("/room").expect("ours").broadcast("end", &json!({})).expect("there is room");
    witness.await.expect("it heard the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_channel_follows_the_eviction() {
    let (pond, endpoint) = open_pond();
    endpoint.create_channel("/room", tracked);
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    let witness = tokio::spawn(async move {
        let mut evictions = 0;
        loop {
            match witness.next().await["event"].as_str() {
                Some("user_evicted") => evictions += 1,
                Some("end") => return evictions,
                _ => {}
            }
        }
    });
    let channel = endpoint.channel("/room").expect("ours");
    let noise = Noise::make(&endpoint, "/room");
    let mut peer = Peer::connect(address, "/?user=ada").await;
    for _ in 0..100 {
        peer.join("/room", json!({})).await;
        channel.evict("ada", "go").await.expect("a member");
        peer.until("evicted").await;
        assert_eq!(peer.next().await["event"], "EVICTED");
        // The next message is the next acknowledgement, which `join` asserts.
    }
    noise.end().await;
    channel.broadcast("end", &json!({})).expect("there is room");
    assert_eq!(witness.await.expect("it heard the end"), 100);
}

#[tokio::test]
async fn leaving_and_rejoining_at_once_gives_a_new_membership() {
    let (pond, endpoint) = open_pond();
    let journal = Journal::default();
    let lobby = endpoint.create_channel("/room", tracked);
    let notes = journal.clone();
    lobby.on_event("hello", move |ctx: EventContext| {
        notes.note("hello");
        async move { ctx.reply("hello", &json!({})) }
    });
    let notes = journal.clone();
    lobby.on_leave(move |ctx: LeaveContext| {
        notes.note(format!("leave {}", ctx.reason()));
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    witness.until("JOIN").await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    let envelope = |action: &str, event: &str, id: &str| {
        let text = json!({ "action": action, "event": event, "channelName": "/room", "requestId": id, "payload": {} });
        Message::text(text.to_string())
    };
    for message in [
        envelope("JOIN_CHANNEL", "JOIN_CHANNEL", "join-1"),
        envelope("BROADCAST", "hello", "hello-1"),
        envelope("LEAVE_CHANNEL", "LEAVE_CHANNEL", "leave-1"),
        envelope("JOIN_CHANNEL", "JOIN_CHANNEL", "join-2"),
        envelope("BROADCAST", "hello", "hello-2"),
    ] {
        peer.socket.feed(message).await.expect("buffered");
    }
    peer.socket.flush().await.expect("written in one go");
    for (event, id) in [
        ("ACKNOWLEDGE", Some("join-1")),
        ("JOIN", None),
        ("hello", Some("hello-1")),
        ("EXIT_ACKNOWLEDGE", Some("leave-1")),
        ("ACKNOWLEDGE", Some("join-2")),
        ("JOIN", None),
        ("hello", Some("hello-2")),
    ] {
        let message = peer.next().await;
        assert_eq!(message["event"], event);
        assert!(id.is_none_or(|id| message["requestId"] == id), "{message}");
    }
    assert_eq!(journal.entries(), ["hello", "leave explicit_leave", "hello"]);
    for event in ["JOIN", "LEAVE", "JOIN"] {
        let message = witness.next().await;
        assert_eq!((&message["event"], &message["payload"]["changed"]["user"]), (&json!(event), &json!("ada")));
    }
}
