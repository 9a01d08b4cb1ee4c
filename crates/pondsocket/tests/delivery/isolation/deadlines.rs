//! Deadlines in seconds, over in-memory streams with the clock paused.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::{Endpoint, Error, EventContext, JoinContext, Joined, Options, PondSocket};
use serde_json::{Value, json};
use testkit::{Message, connect_in_memory};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;

use super::{Gate, LARGE, SECOND, pond};

/// A client over a stream in memory.
struct PausedClient {
    socket: WebSocketStream<DuplexStream>,
    start: Instant,
}

impl PausedClient {
    /// Connects and joins `/room/1`; the stream holds `capacity` bytes each way.
    async fn join(pond: &PondSocket, capacity: usize) -> PausedClient {
        let socket = connect_in_memory(pond, "/", capacity).await;
        let mut local = PausedClient { socket, start: Instant::now() };
        local.send("JOIN_CHANNEL", "JOIN_CHANNEL", json!({})).await;
        local.until("ACKNOWLEDGE").await;
        local.start = Instant::now();
        local
    }

    async fn send(&mut self, action: &str, event: &str, payload: Value) {
        self.send_to("/room/1", action, event, payload).await;
    }

    async fn send_to(&mut self, channel: &str, action: &str, event: &str, payload: Value) {
        let message = json!({
            "action": action, "event": event, "channelName": channel, "requestId": event, "payload": payload,
        });
        self.socket.send(Message::text(message.to_string())).await.expect("open");
    }

    async fn until(&mut self, event: &str) -> Value {
        loop {
            let frame = self.socket.next().await.expect("open").expect("a frame");
            let Message::Text(text) = frame else { continue };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["event"] == event {
                return message;
            }
        }
    }

    /// The code of the close frame, or `None` if the stream just ended.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Checks that this time has passed, with a small tolerance.
    fn assert_elapsed(&self, expected: Duration) {
        let elapsed = self.start.elapsed();
        assert!(elapsed >= expected && elapsed < expected + SECOND / 10, "{elapsed:?} in place of {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_kept_while_it_answers_pings() {
    let (pond, endpoint, _) = pond(Options::default());
    let mut answering = PausedClient::join(&pond, 64 * 1024).await;
    let silent = PausedClient::join(&pond, 64 * 1024).await;
    let mut pings = 0;
    while answering.start.elapsed() < 300 * SECOND {
        // Reading answers pings. The other client is not read meanwhile.
        let Ok(frame) = timeout(SECOND, answering.socket.next()).await else { continue };
        pings += usize::from(matches!(frame, Some(Ok(Message::Ping(_)))));
        let (elapsed, connections) = (silent.start.elapsed(), endpoint.connections().len());
        assert!(elapsed >= 60 * SECOND || connections == 2, "{connections} after {elapsed:?}");
        assert!(elapsed <= 60 * SECOND + SECOND / 10 || connections == 1, "{connections} after {elapsed:?}");
    }
    assert!((9..=10).contains(&pings), "{pings} pings in five minutes");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dropped_after_pong_wait() {
    let (pond, endpoint, _) = pond(Options::default());
    let mut silent = PausedClient::join(&pond, 64 * 1024).await;
    eventually_paused(|| endpoint.connections().is_empty()).await;
    silent.assert_elapsed(60 * SECOND);
    assert_eq!(silent.closed().await, None);
}

/// Waits in short steps of the paused clock.
async fn eventually_paused(mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < 600 * SECOND, "it never becomes so");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_cancelled_at_its_deadline_and_the_client_is_answered() {
    let (pond, endpoint, lobby) = pond(Options::default());
    Gate::new().guard(&lobby);
    endpoint.create_channel("/slow", async |ctx: JoinContext| {
        std::future::pending::<()>().await;
        Ok::<Joined, Error>(ctx.accept())
    });
    let mut peer = PausedClient::join(&pond, 64 * 1024).await;
    peer.send("BROADCAST", "wait", json!({})).await;
    peer.send("BROADCAST", "echo", json!({ "behind": true })).await;
    let failure = peer.until("INTERNAL_ERROR").await;
    assert_eq!((&failure["requestId"], &failure["payload"]["code"]), (&json!("wait"), &json!(504)));
    peer.assert_elapsed(30 * SECOND);
    assert_eq!(peer.until("echo").await["payload"], json!({ "behind": true }));

    peer.start = Instant::now();
    peer.send_to("/slow", "JOIN_CHANNEL", "JOIN_CHANNEL", json!({})).await;
    let decline = peer.until("UNAUTHORIZED").await;
    assert_eq!((&decline["action"], &decline["payload"]["code"]), (&json!("SYSTEM"), &json!(504)));
    peer.assert_elapsed(30 * SECOND);
    assert_eq!(endpoint.channel("/slow").expect("ours").member_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_receive_queue_without_progress_for_write_wait_closes_the_connection() {
    let (pond, endpoint, lobby) = pond(Options::default().receive_channel_buffer(4));
    Gate::new().guard(&lobby);
    let mut peer = PausedClient::join(&pond, 64 * 1024).await;
    for _ in 0..20 {
        peer.send("BROADCAST", "wait", json!({})).await;
    }
    assert_eq!(peer.closed().await, Some(1013));
    peer.assert_elapsed(10 * SECOND);
    eventually_paused(|| endpoint.connections().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_receive_queue_with_progress_closes_nothing() {
    let (pond, _, lobby) = pond(Options::default().receive_channel_buffer(4));
    lobby.on_event("slow", async |ctx: EventContext| {
        sleep(3 * SECOND).await;
        ctx.reply("slow", &json!({}))
    });
    let mut peer = PausedClient::join(&pond, 64 * 1024).await;
    for _ in 0..20 {
        peer.send("BROADCAST", "slow", json!({})).await;
    }
    for _ in 0..20 {
        peer.until("slow").await;
    }
    peer.assert_elapsed(60 * SECOND);
}

/// Broadcasts `count` large messages.
fn flood(endpoint: &Endpoint, count: usize) {
    let channel = endpoint.channel("/room/1").expect("ours");
    let payload = json!({ "filler": "x".repeat(LARGE) });
    for _ in 0..count {
        channel.broadcast("large", &payload).expect("there is room");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_is_dropped_after_write_wait() {
    let (pond, endpoint, _) = pond(Options::default());
    let mut stalled = PausedClient::join(&pond, 4096).await;
    let mut other = PausedClient::join(&pond, 4 << 20).await;
    flood(&endpoint, 3);
    other.until("large").await;
    eventually_paused(|| endpoint.connections().len() == 1).await;
    stalled.assert_elapsed(10 * SECOND);
    assert_eq!(stalled.closed().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_its_bounds_for_send_timeout_is_closed() {
    let (pond, endpoint, _) = pond(Options::default().outbox_bytes(3 * LARGE));
    let mut stalled = PausedClient::join(&pond, 4096).await;
    flood(&endpoint, 8);
    eventually_paused(|| endpoint.connections().is_empty()).await;
    stalled.assert_elapsed(5 * SECOND);
    assert_eq!(stalled.closed().await, Some(1013));
}

#[tokio::test]
async fn an_in_memory_stream_is_served() {
    let (pond, ..) = pond(Options::default());
    let mut peer = PausedClient::join(&pond, 1024).await;
    peer.send("BROADCAST", "echo", json!({ "long": "x".repeat(8 * 1024) })).await;
    assert_eq!(peer.until("echo").await["payload"]["long"].as_str().map(str::len), Some(8 * 1024));
}
