//! The order of the messages of one handler.

use pondsocket::{EventContext, Payload};
use serde_json::{Value, json};
use testkit::{Peer, serve};

use super::{Noise, open_pond, tracked};

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_handler_arrive_in_the_order_of_its_calls() {
    let (pond, endpoint) = open_pond();
    let lobby = endpoint.create_channel("/room", tracked);
    lobby.on_event("reply-first", async |ctx: EventContext, Payload(value): Payload<Value>| {
        ctx.reply("1", &json!({}))?;
        ctx.broadcast("2", &json!({}))?;
        ctx.update_presence(&json!({ "user": ctx.user_id(), "a": value }))?;
        ctx.broadcast_to([ctx.user_id()], "4", &json!({}))
    });
    lobby.on_event("reply-last", async |ctx: EventContext, Payload(value): Payload<Value>| {
        ctx.update_presence(&json!({ "user": ctx.user_id(), "b": value }))?;
        ctx.broadcast("2", &json!({}))?;
        ctx.broadcast_to([ctx.user_id()], "3", &json!({}))?;
        ctx.reply("4", &json!({}))
    });
    lobby.on_event("reply-between", async |ctx: EventContext, Payload(value): Payload<Value>| {
        ctx.broadcast("1", &json!({}))?;
        tokio::task::yield_now().await;
        ctx.reply("2", &json!({}))?;
        ctx.untrack()?;
        ctx.broadcast("3", &json!({}))?;
        ctx.track(&json!({ "user": ctx.user_id(), "c": value }))
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    peer.join("/room", json!({})).await;
    peer.until("JOIN").await;
    let noise = Noise::make(&endpoint, "/room");
    for round in 0..100 {
        // The sender is untracked by then, so it does not receive its own LEAVE.
        for (event, expected) in [
            ("reply-first", ["1", "2", "UPDATE", "4"]),
            ("reply-last", ["UPDATE", "2", "3", "4"]),
            ("reply-between", ["1", "2", "3", "JOIN"]),
        ] {
            peer.event("/room", event, json!({ "round": round })).await;
            for event in expected {
                assert_eq!(next_but_noise(&mut peer).await["event"], event);
            }
        }
    }
    noise.end().await;
}

async fn next_but_noise(peer: &mut Peer) -> Value {
    loop {
        let message = peer.next().await;
        if message["event"] != "noise" {
            return message;
        }
    }
}
