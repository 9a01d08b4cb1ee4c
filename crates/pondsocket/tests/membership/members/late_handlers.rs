//! Handlers that outlive the membership in which they began.

use std::sync::Arc;

use pondsocket::{Error, EventContext, LeaveContext, Lobby, Result};
use serde_json::{Value, json};
use testkit::{Peer, serve};

use super::{change, pond};

#[tokio::test]
async fn a_member_that_is_removed_while_its_handler_runs_is_a_member_no_longer() {
    let (pond, endpoint, lobby) = pond();
    let (begun, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let signals = (Arc::clone(&begun), Arc::clone(&go));
    lobby.on_event("wait", move |ctx: EventContext| {
        let ((begun, go), sender) = (signals.clone(), sender.clone());
        async move {
            begun.notify_one();
            go.notified().await;
            let code = |result: Result<()>| result.map_err(|error| error.code());
            let codes = [code(ctx.user().map(drop)), code(ctx.set_assign("x", &1)), code(ctx.track(&()))];
            sender.send(codes).expect("the test listens");
            ctx.reply("wait", &())?;
            ctx.broadcast("still", &())
        }
    });
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({})).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({})).await;
    bob.event("/c/1", "wait", json!({})).await;
    begun.notified().await;
    endpoint.channel("/c/1").expect("a pattern").remove("bob", "test").await.expect("a member");
    go.notify_one();
    assert_eq!(seen.recv().await, Some([Err(403), Err(404), Err(404)]));
    assert_eq!(ada.next().await["event"], "still", "what it says to others is still said");
    bob.event("/c/1", "echo", json!({})).await;
    assert_eq!(bob.next().await["payload"]["code"], 403, "and it hears nothing of it");
}

/// A handler of "wait" that reports its begin, waits for the test, and then tries every operation that would change its
/// member. It sends the results over the channel.
struct Late {
    begun: Arc<tokio::sync::Notify>,
    go: Arc<tokio::sync::Notify>,
    codes: tokio::sync::mpsc::UnboundedReceiver<Vec<std::result::Result<(), u16>>>,
}

impl Late {
    fn on(lobby: &Lobby) -> Late {
        let (begun, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let (sender, codes) = tokio::sync::mpsc::unbounded_channel();
        let signals = (Arc::clone(&begun), Arc::clone(&go));
        lobby.on_event("wait", move |ctx: EventContext| {
            let ((begun, go), sender) = (signals.clone(), sender.clone());
            async move {
                begun.notify_one();
                go.notified().await;
                let code = |result: Result<()>| result.map_err(|error| error.code());
                let (me, old, channel) = (ctx.user_id(), json!({ "mood": "old" }), ctx.channel());
                let codes = vec![
                    code(ctx.set_assign("mark", &"old")),
                    code(ctx.update_presence(&old)),
                    code(ctx.track(&old)),
                    code(ctx.track_for([me], &old)),
                    code(ctx.update_presence_for([me], &old).await),
                    code(ctx.untrack()),
                    code(ctx.untrack_for([me])),
                    code(channel.update_assigns(me, "mark", &"old").await),
                    code(channel.update_presence(me, &old).await),
                    code(channel.untrack(me)),
                    code(channel.remove(me, "old").await),
                    code(ctx.evict(me, "old").await),
                    code(ctx.remove(me, "old").await),
                ];
                ctx.reply("wait", &())?;
                ctx.broadcast(
                    "still",
                    &json!({ "user": code(ctx.user().map(drop)).err(), "mark": ctx.assign::<String>("mark").ok() }),
                )?;
                sender.send(codes).expect("the test listens");
                Ok::<_, Error>(())
            }
        });
        Late { begun, go, codes }
    }

    /// Counts the operations that succeed; all others must fail with 404, or with 409 for what is tracked already.
    async fn done(&mut self) -> usize {
        self.go.notify_one();
        let codes = self.codes.recv().await.expect("the handler ends");
        assert!(codes.iter().all(|code| matches!(code, Ok(()) | Err(404 | 409))), "{codes:?}");
        codes.iter().filter(|code| code.is_ok()).count()
    }
}

#[tokio::test]
async fn a_handler_of_a_lost_connection_does_nothing_to_the_user_who_is_back() {
    let (pond, endpoint, lobby) = pond();
    let mut late = Late::on(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    assert_eq!(change(&ada.next().await), ("JOIN", "ada", "calm"));
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "first" })).await;
    assert_eq!(change(&ada.next().await), ("JOIN", "bob", "first"));
    bob.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;

    bob.reset();
    assert_eq!(change(&ada.next().await), ("LEAVE", "bob", "first"));
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "second" })).await;
    assert_eq!(change(&bob.next().await), ("JOIN", "bob", "second"));
    assert_eq!(change(&ada.next().await), ("JOIN", "bob", "second"));
    endpoint.channel("/c/1").expect("a pattern").update_assigns("bob", "mark", &"new").await.expect("by name");

    assert_eq!(late.done().await, 0, "the old membership has ended");
    for peer in [&mut ada, &mut bob] {
        let still = peer.next().await;
        assert_eq!(still["event"], "still", "nothing has changed, and what it says to all is said");
        assert_eq!(still["payload"], json!({ "user": null, "mark": null }), "it sees the member as it was");
    }
    let user = endpoint.channel("/c/1").expect("a pattern").user("bob").await.expect("a member");
    assert_eq!(user.assign::<String>("mark").expect("set"), "new");
    assert_eq!(user.presence::<Value>().expect("tracked")["mood"], "second");
    bob.nothing_before_reply("/c/1", "echo").await;
}

#[tokio::test]
async fn a_handler_of_a_lost_connection_continues_while_its_user_has_another_connection() {
    let (pond, _, lobby) = pond();
    let mut late = Late::on(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "first" })).await;
    let mut other = Peer::connect(address, "/?user=bob").await;
    other.join("/c/1", json!({ "mood": "first" })).await;
    assert_eq!(change(&other.next().await), ("JOIN", "bob", "first"));
    bob.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;
    bob.reset();
    // All of these belong to one membership, which the handler ends.
    assert_eq!(late.done().await, 9);
    assert_eq!(change(&other.next().await), ("UPDATE", "bob", "old"));
}

#[tokio::test]
async fn a_user_who_left_with_all_connections_and_is_back_is_another_member_for_each_handler() {
    let (pond, _, lobby) = pond();
    let mut late = Late::on(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut first = Peer::connect(address, "/?user=bob").await;
    first.join("/c/1", json!({ "mood": "calm" })).await;
    first.next().await;
    let mut second = Peer::connect(address, "/?user=bob").await;
    second.join("/c/1", json!({ "mood": "calm" })).await;
    second.next().await;
    first.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;
    // The other connection, which stays connected, leaves and joins again; the one whose handler runs is evicted with it.
    pond.endpoints()[0].channel("/c/1").expect("a pattern").remove("bob", "test").await.expect("a member");
    second.join("/c/1", json!({ "mood": "new" })).await;
    assert_eq!(change(&second.next().await), ("JOIN", "bob", "new"));
    assert_eq!(late.done().await, 0);
    assert_eq!(second.next().await["event"], "still");
    second.nothing_before_reply("/c/1", "echo").await;
}

#[tokio::test]
async fn a_leave_handler_knows_that_its_user_is_back_and_does_nothing_to_it() {
    let (pond, endpoint, lobby) = pond();
    let late = Late::on(&lobby);
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    lobby.on_leave(move |ctx: LeaveContext| {
        let sender = sender.clone();
        async move {
            let (me, channel) = (ctx.user_id(), ctx.channel());
            let code = |result: Result<()>| result.map_err(|error| error.code());
            let codes = [
                code(channel.untrack(me)),
                code(channel.update_presence(me, &json!({ "mood": "gone" })).await),
                code(channel.update_assigns(me, "mark", &"gone").await),
                code(channel.remove(me, "gone").await),
                code(channel.evict(me, "gone").await),
            ];
            sender.send((ctx.returned(), codes)).expect("the test listens");
        }
    });
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    ada.next().await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "first" })).await;
    bob.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;
    bob.reset();
    assert_eq!(change(&ada.until("LEAVE").await), ("LEAVE", "bob", "first"));
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "second" })).await;
    late.go.notify_one();
    assert_eq!(seen.recv().await, Some((true, [Err(404); 5])), "it runs behind the handler, and so behind the join");
    bob.until("still").await;
    bob.nothing_before_reply("/c/1", "echo").await;
    bob.leave("/c/1").await;
    assert_eq!(seen.recv().await, Some((false, [Err(404); 5])));
    let user = endpoint.channel("/c/1").expect("a pattern").user("bob").await;
    assert_eq!(user.expect_err("gone").code(), 404);
}
