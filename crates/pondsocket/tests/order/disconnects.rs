//! Connections that end while messages and joins are on their way.

use std::collections::HashSet;
use std::sync::Arc;

use pondsocket::{EventContext, JoinContext, Joined, LeaveContext, Payload};
use serde_json::{Value, json};
use testkit::{DEADLINE, Peer, eventually, serve};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Journal, Said, gate, open_pond, pass, plain, tracked};

#[tokio::test(flavor = "multi_thread")]
async fn messages_received_before_the_close_are_handled_and_the_membership_ends_at_once() {
    let (pond, endpoint) = open_pond();
    let gate = gate();
    let lobby = endpoint.create_channel("/room", tracked);
    let at_gate = Arc::clone(&gate);
    lobby.on_event("say", move |ctx: EventContext, Payload(said): Payload<Said>| {
        let gate = Arc::clone(&at_gate);
        async move {
            pass(&gate).await;
            assert_eq!(ctx.user().expect("as it was when it left").id(), "ada");
            ctx.broadcast("said", &said)?;
            // A broadcast without recipients is no error.
            ctx.reply("say", &json!({}))
        }
    });
    lobby.on_leave(async |ctx: LeaveContext| {
        assert_eq!(ctx.presence::<Value>().expect("as it was"), json!({ "user": "ada" }));
        ctx.channel().broadcast("bye", &json!({ "reason": ctx.reason().to_string(), "remaining": ctx.remaining() }))
    });
    let (_server, address) = serve(&pond).await;
    let channel = endpoint.channel("/room").expect("ours");
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    witness.until("JOIN").await;
    for politely in [true, false] {
        let mut peer = Peer::connect(address, "/?user=ada").await;
        peer.join("/room", json!({})).await;
        peer.until("JOIN").await;
        assert_eq!(witness.next().await["event"], "JOIN");
        for number in 0..5 {
            peer.event("/room", "say", json!({ "sender": 1, "number": number })).await;
        }
        if politely {
            peer.socket.close(None).await.expect("open");
        }
        drop(peer);

        // While the first handler still waits, the membership has ended for all members.
        let message = witness.next().await;
        assert_eq!((&message["event"], &message["payload"]["changed"]), (&json!("LEAVE"), &json!({ "user": "ada" })));
        assert_eq!(message["payload"]["presence"], json!([{ "user": "witness" }]));
        assert_eq!(channel.member_count(), 1);
        assert!(endpoint.connections().iter().all(|connection| connection.user_id() != "ada"));

        gate.add_permits(5);
        for number in 0..5 {
            let message = witness.next().await;
            assert_eq!((&message["event"], &message["payload"]["number"]), (&json!("said"), &json!(number)));
        }
        let bye = witness.next().await;
        assert_eq!(bye["payload"], json!({ "reason": "connection_closed", "remaining": 1 }));
    }
    // There is exactly one leave handler for each membership, so only the own message is left.
    channel.broadcast("end", &json!({})).expect("there is room");
    assert_eq!(witness.next().await["event"], "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leave_handler_runs_once_for_each_membership() {
    let (pond, endpoint) = open_pond();
    let journal = Journal::default();
    let notes = journal.clone();
    endpoint.create_channel("/room", plain).on_leave(move |ctx: LeaveContext| {
        notes.note(format!("{} {}", ctx.user_id(), ctx.reason()));
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let channel = endpoint.channel("/room").expect("ours");
    let mut expected = HashSet::new();
    for (user, reason) in [
        ("leaver", "explicit_leave"),
        ("closer", "connection_closed"),
        ("evicted", "evicted:go"),
        ("removed", "gone"),
        ("twice", "evicted:go"),
    ] {
        let mut peer = Peer::connect(address, &format!("/?user={user}")).await;
        peer.join("/room", json!({})).await;
        match user {
            "leaver" => peer.leave("/room").await,
            "evicted" => channel.evict(user, "go").await.expect("a member"),
            "removed" => channel.remove(user, "gone").await.expect("a member"),
            "twice" => {
                channel.evict(user, "go").await.expect("a member");
                peer.until("EVICTED").await;
                peer.leave("/room").await;
            }
            _ => {}
        }
        expected.insert(format!("{user} {reason}"));
        // Each connection also disconnects after its membership has ended in one of the ways.
        peer.socket.close(None).await.expect("open");
        eventually("all connections go", || endpoint.connections().is_empty()).await;
    }
    eventually("every leave handler has run", || journal.len() >= expected.len()).await;
    assert_eq!(journal.len(), expected.len());
    assert_eq!(journal.entries().into_iter().collect::<HashSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_still_being_decided_leaves_nothing_behind() {
    /// Adds a permit when the handler's future is dropped.
    struct Dropped(Arc<Semaphore>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let (pond, endpoint) = open_pond();
    let (begun, dropped, journal) = (gate(), gate(), Journal::default());
    let (started, ended) = (Arc::clone(&begun), Arc::clone(&dropped));
    let lobby = endpoint.create_channel("/room", move |ctx: JoinContext| {
        let (started, ended) = (Arc::clone(&started), Arc::clone(&ended));
        async move {
            let user = ctx.user_id().to_owned();
            if user == "ada" {
                let _dropped = Dropped(ended);
                started.add_permits(1);
                std::future::pending::<()>().await;
            }
            Ok::<Joined, pondsocket::Error>(ctx.accept().track(&json!({ "user": user })))
        }
    });
    let notes = journal.clone();
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("ask", &json!({})));
    lobby.on_event("say", move |_: EventContext| {
        notes.note("said");
        async {}
    });
    let notes = journal.clone();
    lobby.on_leave(move |_: LeaveContext| {
        notes.note("left");
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    witness.until("JOIN").await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/room", json!({})).await;
    peer.event("/room", "say", json!({})).await;
    timeout(DEADLINE, pass(&begun)).await.expect("the join handler runs");
    peer.socket.close(None).await.expect("open");
    timeout(DEADLINE, pass(&dropped)).await.expect("the join handler is dropped");
    eventually("the connection is gone", || endpoint.connections().len() == 1).await;
    assert_eq!(endpoint.channel("/room").expect("ours").member_count(), 1);
    witness.nothing_before_reply("/room", "ask").await;
    assert_eq!(journal.entries(), Vec::<String>::new());
}
