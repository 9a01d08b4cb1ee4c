//! Application code that calls the crate from within its callbacks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pondsocket::{EventContext, JoinContext, Joined, LeaveContext, Result};
use serde::Serialize;
use serde_json::{Value, json};
use testkit::{Peer, eventually, serve};

use super::open_pond;

/// A payload whose serialisation publishes.
struct Chatty(pondsocket::Channel);

impl Serialize for Chatty {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.broadcast("inner", &json!({})).map_err(serde::ser::Error::custom)?;
        json!({ "outer": true }).serialize(serializer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_may_call_every_method_while_they_hold_a_lock_of_their_own() {
    let (pond, endpoint) = open_pond();
    let ledger = Arc::new(Mutex::new(0_u64));
    let lobby = endpoint.create_channel("/room", {
        let (ledger, endpoint) = (Arc::clone(&ledger), endpoint.clone());
        move |ctx: JoinContext| {
            let (ledger, endpoint) = (Arc::clone(&ledger), endpoint.clone());
            async move {
                let held = ledger.lock().expect("no panic");
                let channel = endpoint.channel("/room")?;
                channel.broadcast("joining", &json!({ "members": channel.member_count() }))?;
                let accepted = ctx.accept().track(&json!({})).broadcast("joined", &json!({}));
                drop(held);
                Ok::<Joined, pondsocket::Error>(accepted)
            }
        }
    });
    let held = Arc::clone(&ledger);
    lobby.on_event("all", move |ctx: EventContext| {
        let ledger = Arc::clone(&held);
        async move {
            let mut held = ledger.lock().expect("no panic");
            *held += 1;
            let channel = ctx.channel();
            ctx.broadcast("count", &json!({ "count": *held }))?;
            ctx.broadcast("outer", &Chatty(channel.clone()))?;
            ctx.broadcast_from("others", &json!({}))?;
            channel.broadcast_from(ctx.user_id(), "others", &json!({}))?;
            ctx.set_assign("count", &*held)?;
            ctx.update_presence(&json!({ "count": *held }))?;
            ctx.untrack()?;
            ctx.track(&json!({}))?;
            let _ = (channel.presence::<Value>()?, channel.assigns::<Value>()?, ctx.user()?);
            ctx.reply("all", &json!({}))
        }
    });
    let held = Arc::clone(&ledger);
    lobby.on_event("evict-me", move |ctx: EventContext| {
        let ledger = Arc::clone(&held);
        async move {
            let user = ctx.user_id().to_owned();
            ctx.evict(&user, "asked for it").await?;
            let held = ledger.lock().expect("no panic");
            ctx.broadcast("gone", &json!({ "count": *held }))?;
            assert_eq!(ctx.user().expect_err("no member any more").code(), 403);
            // A user that has left gets no reply.
            ctx.reply("evict-me", &json!({}))
        }
    });
    let held = Arc::clone(&ledger);
    lobby.on_event("close-all", move |ctx: EventContext| {
        let ledger = Arc::clone(&held);
        async move {
            let _held = ledger.lock().expect("no panic");
            ctx.channel().close();
            ctx.broadcast("too late", &json!({}))
        }
    });
    let left = Arc::new(AtomicUsize::new(0));
    let (held, count) = (Arc::clone(&ledger), Arc::clone(&left));
    lobby.on_leave(move |ctx: LeaveContext| {
        let (ledger, left) = (Arc::clone(&held), Arc::clone(&count));
        async move {
            let _held = ledger.lock().expect("no panic");
            let told = ctx.channel().broadcast("left", &json!({ "remaining": ctx.remaining() }));
            left.fetch_add(1, Ordering::SeqCst);
            told
        }
    });
    let (_server, address) = serve(&pond).await;
    let peers = (0..6).map(|n| {
        tokio::spawn(async move {
            let mut peer = Peer::connect(address, &format!("/?user=user-{n}")).await;
            for _ in 0..20 {
                peer.join("/room", json!({})).await;
                for _ in 0..5 {
                    peer.event("/room", "all", json!({})).await;
                    peer.until("all").await;
                }
                peer.event("/room", "evict-me", json!({})).await;
                peer.until("EVICTED").await;
            }
            peer.join("/room", json!({})).await;
            peer
        })
    });
    let mut joined = Vec::new();
    for peer in peers.collect::<Vec<_>>() {
        joined.push(peer.await.expect("no deadlock"));
    }
    assert_eq!(*ledger.lock().expect("no panic"), 6 * 20 * 5);
    joined[0].event("/room", "close-all", json!({})).await;
    for peer in &mut joined {
        assert_eq!(peer.closed().await.expect("a close frame").code, 1000.into());
    }
    eventually("every leave handler has run", || left.load(Ordering::SeqCst) == 6 * 21).await;
    assert_eq!(endpoint.channel("/room").expect("ours").member_count(), 0);
}
