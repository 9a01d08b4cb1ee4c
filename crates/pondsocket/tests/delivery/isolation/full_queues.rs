//! Receive queues and channel queues that are full.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use pondsocket::{EventContext, Options};
use serde_json::{Value, json};
use testkit::{DEADLINE, Message, Peer, serve};
use tokio::time::timeout;

use super::{Gate, LARGE, SECOND, pond};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_receive_queue_pauses_reading_until_there_is_room() {
    const COUNT: usize = 400;
    let (pond, _, lobby) = pond(Options::default().receive_channel_buffer(4));
    let gate = Gate::new();
    gate.guard(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/room/1", json!({})).await;
    let (mut sink, mut stream) = peer.socket.split();
    let filler = "x".repeat(2 * LARGE);
    let mut sending = tokio::spawn(async move {
        for number in 0..COUNT {
            let message = json!({
                "action": "BROADCAST", "event": "wait", "channelName": "/room/1",
                "requestId": number.to_string(), "payload": { "filler": filler },
            });
            sink.send(Message::text(message.to_string())).await.expect("the server has not gone");
        }
        sink
    });
    // 25 MB exceed all buffers between the two, so this cannot end while the server does not read.
    assert!(timeout(SECOND / 2, &mut sending).await.is_err(), "the server went on reading");
    assert_eq!(gate.reached(), 1);
    gate.let_through(COUNT);
    for number in 0..COUNT {
        let frame = timeout(DEADLINE, stream.next()).await.expect("in time").expect("open").expect("a frame");
        let answer: Value = serde_json::from_str(frame.to_text().expect("text")).expect("JSON");
        assert_eq!(answer["requestId"], json!(number.to_string()));
    }
    drop(sending.await.expect("everything was taken"));
}

// On one thread: on several, a delivery for the joins could take a portion of the messages that the handler queues.
#[tokio::test]
async fn broadcasts_fail_at_the_hard_limit_of_a_channel_and_ready_waits_for_room() {
    let (pond, _, lobby) = pond(Options::default().channel_queue(10));
    let refused = Arc::new(Mutex::new(Vec::new()));
    let refusals = Arc::clone(&refused);
    lobby.on_event("flood", move |ctx: EventContext| {
        let refusals = Arc::clone(&refusals);
        async move {
            // Nothing is delivered while this handler runs without a wait, so the limit is reached at once.
            for number in 0..100 {
                if let Err(error) = ctx.broadcast("flood", &json!({ "number": number })) {
                    refusals.lock().expect("no panic").push((number, error.code()));
                    ctx.channel().ready().await;
                    ctx.broadcast("flood", &json!({ "number": number }))?;
                }
            }
            ctx.reply("done", &json!({}))
        }
    });
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    peer.join("/room/1", json!({})).await;
    other.join("/room/1", json!({})).await;
    peer.event("/room/1", "flood", json!({})).await;
    for number in 0..100 {
        assert_eq!(peer.next().await["payload"]["number"], json!(number));
        assert_eq!(other.next().await["payload"]["number"], json!(number));
    }
    assert_eq!(peer.next().await["event"], "done");
    let refused = refused.lock().expect("no panic").clone();
    assert_eq!(refused.first(), Some(&(40, 503)), "four times the soft limit: {refused:?}");
}
