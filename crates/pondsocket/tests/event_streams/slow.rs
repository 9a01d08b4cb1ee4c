//! Clients that do not read: event streams have the limits of WebSockets.

use std::time::Duration;

use pondsocket::{EndpointOptions, History, Options, SlowClient};
use serde_json::json;
use testkit::{EventPeer, Peer, eventually};
use tokio::time::Instant;

use super::{StreamServer, served_with};

/// A size that exceeds the buffers of a socket.
const LARGE: usize = 64 * 1024;

/// A stream that is not read, and a member that reads everything.
async fn stalled_and_healthy(served: &StreamServer) -> (EventPeer, Peer) {
    let mut stalled = EventPeer::connect_narrow(served.address, "/?name=stalled", 4096).await;
    stalled.until("hello").await;
    stalled.join("/room/1", json!({})).await;
    stalled.until("JOIN").await;
    let mut healthy = Peer::connect(served.address, "/?name=healthy").await;
    healthy.until("hello").await;
    healthy.join("/room/1", json!({})).await;
    healthy.until("JOIN").await;
    (stalled, healthy)
}

/// Broadcasts large messages; each must reach the member that reads before the next is sent.
async fn fill(served: &StreamServer, healthy: &mut Peer, numbers: std::ops::Range<usize>) {
    let channel = served.endpoint.channel("/room/1").expect("ours");
    for number in numbers {
        channel.broadcast("filler", &json!({ "number": number, "filler": "x".repeat(LARGE) })).expect("room");
        assert_eq!(healthy.until("filler").await["payload"]["number"], number);
    }
}

fn closed(served: &StreamServer) -> Vec<String> {
    served.counted.of("connection_closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_is_dropped_together_with_its_socket() {
    let bounds = Options::default().outbox_bytes(64 << 20).send_channel_buffer(4096);
    let served = served_with(bounds.write_wait(Duration::from_millis(300))).await;
    let (_stalled, mut healthy) = stalled_and_healthy(&served).await;
    let start = Instant::now();
    fill(&served, &mut healthy, 0..100).await;
    eventually("it is dropped", || served.endpoint.connections().len() == 1).await;
    assert!(start.elapsed() >= Duration::from_millis(300));
    let reason = closed(&served).remove(0);
    assert!(reason.starts_with("/ stalled ") && reason.ends_with(" 1006 stalled"), "{reason}");
    assert_eq!(served.log.next().await, ["stalled left"]);
    fill(&served, &mut healthy, 100..110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_bounds_for_too_long_is_closed() {
    let bounds = Options::default().outbox_bytes(64 << 20).send_channel_buffer(32);
    let served = served_with(bounds.send_timeout(Duration::from_millis(200))).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(&served).await;
    let mut sent = 0;
    while closed(&served).is_empty() {
        fill(&served, &mut healthy, sent..sent + 1).await;
        sent += 1;
    }
    let reason = closed(&served).remove(0);
    assert!(reason.starts_with("/ stalled ") && reason.ends_with(" 1013 too_slow"), "{reason}");
    // The received events are whole and in order, and then the stream ends.
    let numbers: Vec<_> =
        stalled.ended().await.iter().filter_map(|message| message["payload"]["number"].as_u64()).collect();
    assert!(numbers.len() < sent && numbers.iter().copied().eq(0..numbers.len() as u64), "{numbers:?} of {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_broadcasts_are_dropped_if_the_policy_says_so() {
    let served = served_with(Options::default().outbox_bytes(64 << 20).send_channel_buffer(8)).await;
    let own = EndpointOptions { slow_client: Some(SlowClient::DropOldest), ..Default::default() };
    let served = StreamServer { endpoint: served.endpoint.clone().options(own), ..served };
    let (mut stalled, mut healthy) = stalled_and_healthy(&served).await;
    fill(&served, &mut healthy, 0..200).await;
    let dropped = served.counted.of("message_dropped");
    assert!(!dropped.is_empty() && dropped.iter().all(|line| line.starts_with("/ stalled oldest")), "{dropped:?}");
    let mut numbers = Vec::new();
    while numbers.last() != Some(&199) {
        numbers.push(stalled.until("filler").await["payload"]["number"].as_u64().expect("a number"));
    }
    assert!(numbers.len() < 200 && numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_kept_come_later_and_in_order() {
    let served = served_with(Options::default().outbox_bytes(64 << 20).send_channel_buffer(8)).await;
    served.lobby.history(History::new().bytes(64 << 20));
    let own = EndpointOptions { slow_client: Some(SlowClient::DropNewest), ..Default::default() };
    let served = StreamServer { endpoint: served.endpoint.clone().options(own), ..served };
    let (mut stalled, mut healthy) = stalled_and_healthy(&served).await;
    fill(&served, &mut healthy, 0..200).await;
    assert!(served.pond.snapshot().endpoints[0].waiting_messages <= 9);
    for number in 0..200 {
        assert_eq!(stalled.until("filler").await["payload"]["number"], number);
    }
    assert_eq!(served.counted.of("message_dropped"), Vec::<String>::new());
    assert!(!served.counted.of("channel_caught_up").is_empty());
}
