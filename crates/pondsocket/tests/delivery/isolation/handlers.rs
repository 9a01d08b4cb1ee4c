//! Handlers that wait, panic or take too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::SinkExt;
use pondsocket::{Error, EventContext, JoinContext, Joined, LeaveContext, Options};
use serde_json::json;
use testkit::{DEADLINE, Message, Peer, eventually, serve};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Gate, ask, pond};

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_handler_delays_only_its_connection_in_its_channel() {
    let (pond, _, lobby) = pond(Options::default());
    let gate = Gate::new();
    gate.guard(&lobby);
    let (_server, address) = serve(&pond).await;
    let (mut one, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    for channel in ["/room/1", "/room/2"] {
        one.join(channel, json!({})).await;
        other.join(channel, json!({})).await;
    }
    let first = one.event("/room/1", "wait", json!({})).await;
    let second = one.event("/room/1", "wait", json!({})).await;
    // The same connection in another channel, its pings, and another connection in the same channel go on.
    ask(&mut one, "/room/2").await;
    one.socket.send(Message::Ping("are you there".into())).await.expect("open");
    assert_eq!(one.frame().await, Some(Message::Pong("are you there".into())));
    ask(&mut other, "/room/1").await;
    assert_eq!(gate.reached(), 1, "the second message waits for the first");
    gate.let_through(2);
    for id in [first, second] {
        assert_eq!(one.next().await["requestId"], json!(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_affects_only_its_call() {
    let (pond, endpoint, lobby) = pond(Options::default());
    lobby.on_event("at-once", |_: EventContext| -> std::future::Ready<()> { panic!("on purpose") });
    lobby.on_event("later", async |ctx: EventContext| {
        tokio::task::yield_now().await;
        ctx.channel().broadcast("before", &json!({}))?;
        assert!(ctx.event().is_empty(), "on purpose");
        ctx.reply("later", &json!({}))
    });
    let left = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&left);
    lobby.on_leave(move |ctx: LeaveContext| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { assert!(ctx.user_id().is_empty(), "on purpose") }
    });
    endpoint.create_channel("/closed", async |ctx: JoinContext| {
        assert!(ctx.user_id().is_empty(), "on purpose");
        Ok::<Joined, Error>(ctx.accept())
    });
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    other.join("/room/1", json!({})).await;
    for round in 1..=3 {
        peer.join("/room/1", json!({})).await;
        for event in ["at-once", "later"] {
            let id = peer.event("/room/1", event, json!({})).await;
            let failure = peer.until("INTERNAL_ERROR").await;
            assert_eq!((&failure["requestId"], &failure["payload"]["code"]), (&json!(id), &json!(500)));
            assert!(!failure.to_string().contains("on purpose"), "the text of a panic is for the log: {failure}");
            ask(&mut peer, "/room/1").await;
        }
        assert_eq!(other.next().await["event"], "before");
        assert_eq!(peer.join_declined("/closed", json!({})).await["code"], 500);
        peer.leave("/room/1").await;
        eventually("the leave handler has run", || left.load(Ordering::SeqCst) == round).await;
    }
    ask(&mut other, "/room/1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_handlers_of_a_connection_are_limited() {
    let (pond, _, lobby) = pond(Options::default().max_concurrent_handlers(2));
    let gate = Gate::new();
    gate.guard(&lobby);
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    other.join("/room/1", json!({})).await;
    let mut ids = Vec::new();
    for n in 1..=4 {
        peer.join(&format!("/room/{n}"), json!({})).await;
    }
    for n in 1..=4 {
        ids.push(peer.event(&format!("/room/{n}"), "wait", json!({})).await);
    }
    // The pong shows that everything has been read.
    peer.socket.send(Message::Ping("read".into())).await.expect("open");
    assert_eq!(peer.frame().await, Some(Message::Pong("read".into())));
    ask(&mut other, "/room/1").await;
    assert_eq!(gate.reached(), 2);
    for (through, running) in [(1, 3), (2, 4), (3, 4), (4, 4)] {
        gate.let_through(1);
        let answer = peer.next().await;
        assert!(ids.contains(&answer["requestId"].as_str().expect("checked").to_owned()));
        eventually("the next one runs", || gate.reached() == running).await;
        assert!(gate.reached() <= through + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_of_an_evicted_member_is_cancelled_when_its_client_disconnects() {
    let (pond, endpoint, lobby) = pond(Options::default());
    let (begun, ended) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (start, end) = (Arc::clone(&begun), Arc::clone(&ended));
    lobby.on_event("until-gone", move |ctx: EventContext| {
        let (start, end) = (Arc::clone(&start), Arc::clone(&end));
        async move {
            start.add_permits(1);
            ctx.cancelled().await;
            end.add_permits(1);
        }
    });
    let (_server, address) = serve(&pond).await;
    for evicted in [false, true] {
        let mut peer = Peer::connect(address, "/").await;
        peer.join("/room/1", json!({})).await;
        peer.event("/room/1", "until-gone", json!({})).await;
        timeout(DEADLINE, begun.acquire()).await.expect("it runs").expect("open").forget();
        if evicted {
            endpoint.channel("/room/1").expect("ours").evict(&peer.id, "go").await.expect("a member");
            peer.until("EVICTED").await;
        }
        peer.socket.close(None).await.expect("open");
        let cancelled = timeout(DEADLINE, ended.acquire()).await;
        cancelled.unwrap_or_else(|_| panic!("not cancelled; evicted: {evicted}")).expect("open").forget();
    }
}
