//! Messages that come before the close frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::SinkExt;
use pondsocket::{EventContext, Options, Outgoing, OutgoingContext};
use serde_json::{Value, json};
use testkit::{Message, Peer, serve};
use tokio::time::sleep;

use super::{SECOND, counts, message, narrow, next, pond, pond_with, send};

/// A way in which the server ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Disconnect,
    Close,
    Evict,
    Shutdown,
}

/// Others publish all the time, also into the same channel. Each client must receive all earlier broadcasts
/// in order, and then the close frame.
async fn ends_behind_what_was_sent(end: End) {
    const CLIENTS: usize = 20;
    let (pond, endpoint, lobby) = pond_with(Options::default().send_channel_buffer(1 << 16).outbox_bytes(64 << 20));
    // Filtered messages take another way.
    lobby.on_outgoing("filtered", |_: &OutgoingContext| Outgoing::Pass);
    let (_server, address) = serve(&pond).await;
    let mut peers = Vec::new();
    for client in 0..CLIENTS {
        let mut peer = Peer::connect(address, "/").await;
        peer.join("/room/all", json!({})).await;
        peer.join(&format!("/room/{client}"), json!({})).await;
        peers.push(peer);
    }
    let stop = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (stop, channel) = (Arc::clone(&stop), endpoint.channel("/room/all").expect("ours"));
            tokio::spawn(async move {
                while stop.load(Ordering::Relaxed) == 0 {
                    channel.ready().await;
                    // `ready` waits while the channel is full.
                    let _ = channel.broadcast("load", &json!({}));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    let readers: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                loop {
                    match peer.frame().await {
                        Some(Message::Text(text)) => {
                            let message: Value = serde_json::from_str(&text).expect("JSON");
                            match message["event"].as_str() {
                                Some("load") => {}
                                _ => heard.push(message),
                            }
                        }
                        Some(Message::Close(frame)) => return (frame.map(|frame| u16::from(frame.code)), heard),
                        Some(_) => {}
                        None => panic!("no close frame behind {heard:?}"),
                    }
                }
            })
        })
        .collect();
    for (client, id) in ids.iter().enumerate() {
        let channel = endpoint.channel(&format!("/room/{client}")).expect("ours");
        for number in 0..100 {
            let event = if number % 10 == 9 { "filtered" } else { "plain" };
            channel.broadcast(event, &json!({ "number": number })).expect("there is room");
        }
        match end {
            End::Disconnect => endpoint.disconnect(id).expect("connected"),
            End::Close => channel.close(),
            End::Evict => {
                channel.evict(id, "go").await.expect("a member");
                endpoint.disconnect(id).expect("connected");
            }
            End::Shutdown => {}
        }
    }
    let code = match end {
        End::Shutdown => {
            assert_eq!(counts(pond.shutdown(10 * SECOND).await), (CLIENTS, 0, 0));
            1001
        }
        _ => 1000,
    };
    for reader in readers {
        let (closed, heard) = reader.await.expect("no panic");
        assert_eq!(closed, Some(code), "{end:?}");
        let (numbered, rest) = heard.split_at(heard.len().min(100));
        for (message, number) in numbered.iter().zip(0..) {
            assert_eq!(message["payload"]["number"], json!(number), "{end:?}");
        }
        let rest: Vec<_> = rest.iter().filter_map(|message| message["event"].as_str()).collect();
        let expected: &[&str] = if matches!(end, End::Evict) { &["evicted", "EVICTED"] } else { &[] };
        assert_eq!((numbered.len(), &rest[..]), (100, expected), "{end:?}");
    }
    stop.store(1, Ordering::Relaxed);
    for load in load {
        load.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_right_before_a_disconnect_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Disconnect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_right_before_a_channel_is_closed_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_right_before_a_disconnect_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Evict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_right_before_a_shutdown_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Shutdown).await;
}

/// A client that is in two channels, and a server which ends it while the first of them still has something for it. On
/// one thread all of this is handled before anything is delivered. Either may be the first to deliver.
async fn what_comes_before_the_close(last: &[Message], other_is_first: bool) -> Vec<String> {
    let (pond, _, lobby) = pond();
    lobby.on_event("say", async |ctx: EventContext| ctx.broadcast("said", &json!({})));
    lobby.on_event("evict-me", async |ctx: EventContext| {
        let user = ctx.user_id().to_owned();
        ctx.evict(&user, "go").await
    });
    lobby.on_event("end", async |ctx: EventContext| ctx.connection().disconnect());
    let mut client = narrow(&pond, 64 * 1024).await;
    send(&mut client, "/room/2", "JOIN_CHANNEL", "JOIN_CHANNEL").await;
    while next(&mut client).await.expect("open")["event"] != "ACKNOWLEDGE" {}
    // Both channels have delivered, and nothing is in flight.
    sleep(SECOND).await;
    if other_is_first {
        client.feed(message("/room/2", "BROADCAST", "say")).await.expect("open");
    }
    for message in last {
        client.feed(message.clone()).await.expect("open");
    }
    client.feed(message("/room/2", "BROADCAST", "end")).await.expect("open");
    client.flush().await.expect("open");
    let mut heard = Vec::new();
    loop {
        match next(&mut client).await {
            Ok(message) if message["channelName"] == "/room/1" => {
                heard.push(message["event"].as_str().expect("checked").to_owned())
            }
            Ok(_) => {}
            Err(code) => {
                assert_eq!(code, Some(1000));
                return heard;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn queued_messages_of_a_left_channel_come_before_the_close_frame() {
    let room = |action, event| message("/room/1", action, event);
    let last = [room("BROADCAST", "say"), room("LEAVE_CHANNEL", "LEAVE_CHANNEL")];
    for other_is_first in [false, true] {
        let heard = what_comes_before_the_close(&last, other_is_first).await;
        assert_eq!(heard, ["said", "EXIT_ACKNOWLEDGE"], "{other_is_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn queued_messages_of_an_evicting_channel_come_before_the_close_frame() {
    let last = ["say", "evict-me", "say"].map(|event| message("/room/1", "BROADCAST", event));
    for other_is_first in [false, true] {
        let heard = what_comes_before_the_close(&last, other_is_first).await;
        assert_eq!(heard, ["said", "evicted", "EVICTED", "NOT_FOUND"], "{other_is_first}");
    }
}
