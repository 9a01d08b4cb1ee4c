//! Clients that do not read.

use std::net::SocketAddr;
use std::time::Duration;

use pondsocket::{Endpoint, Options};
use serde_json::{Value, json};
use testkit::{DEADLINE, Message, Peer, eventually, serve};
use tokio::time::{Instant, sleep};

use super::{LARGE, SECOND, ask, pond};

/// A member that has joined and never reads from then on, and one that does.
async fn stalled_and_healthy(address: SocketAddr) -> (Peer, Peer) {
    let mut stalled = Peer::connect_narrow(address, "/", 4096).await;
    stalled.join("/room/1", json!({})).await;
    let mut healthy = Peer::connect(address, "/").await;
    healthy.join("/room/1", json!({})).await;
    (stalled, healthy)
}

/// Sends `count` large messages; each must reach the healthy member before the next is sent.
async fn fill(endpoint: &Endpoint, healthy: &mut Peer, from: usize, count: usize) {
    let channel = endpoint.channel("/room/1").expect("ours");
    let filler = "x".repeat(LARGE);
    for number in from..from + count {
        channel.broadcast("large", &json!({ "number": number, "filler": filler })).expect("there is room");
        let message = healthy.next().await;
        assert_eq!(message["payload"]["number"], json!(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_delays_no_other_and_misses_nothing_within_its_bounds() {
    let (pond, endpoint, _) = pond(Options::default().outbox_bytes(64 << 20).send_channel_buffer(4096));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    fill(&endpoint, &mut healthy, 0, 400).await;
    assert_eq!(endpoint.channel("/room/1").expect("ours").member_count(), 2, "it was still there all the time");
    for number in 0..400 {
        assert_eq!(stalled.next().await["payload"]["number"], json!(number));
    }
    ask(&mut stalled, "/room/1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_bounds_for_too_long_is_closed() {
    let bounds = Options::default().outbox_bytes(16 << 20).send_channel_buffer(32);
    let (pond, endpoint, _) = pond(bounds.send_timeout(Duration::from_millis(200)));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    // The kernel takes some messages. Then more than 32 wait, and far fewer than four times as many.
    let mut sent = 0;
    let channel = endpoint.channel("/room/1").expect("ours");
    let start = Instant::now();
    while channel.member_count() == 2 {
        assert!(start.elapsed() < DEADLINE, "it was never given up");
        if sent < 400 {
            fill(&endpoint, &mut healthy, sent, 1).await;
            sent += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    fill(&endpoint, &mut healthy, sent, 10).await;
    // The frame that was begun is complete, and the close frame with the reason follows.
    let mut number = 0;
    let close = loop {
        match stalled.frame().await {
            Some(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).expect("whole messages only");
                assert_eq!(message["payload"]["number"], json!(number));
                number += 1;
            }
            Some(Message::Close(frame)) => break frame.expect("with a code"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((u16::from(close.code), &*close.reason), (1013, "too slow"));
    assert!(number < sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_far_over_its_bounds_is_closed_at_once() {
    // The connection was not closed by a timeout.
    let patient = Options::default().send_timeout(3600 * SECOND).write_wait(3600 * SECOND);
    let (pond, endpoint, _) = pond(patient.outbox_bytes(LARGE));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    let channel = endpoint.channel("/room/1").expect("ours");
    let mut sent = 0;
    while channel.member_count() == 2 {
        fill(&endpoint, &mut healthy, sent, 1).await;
        sent += 1;
    }
    let close = stalled.closed().await.expect("a close frame");
    assert_eq!((u16::from(close.code), &*close.reason), (1013, "too slow"));
    ask(&mut healthy, "/room/1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_dropped_after_write_wait() {
    let bounds = Options::default().outbox_bytes(64 << 20).send_channel_buffer(4096);
    let (pond, endpoint, _) = pond(bounds.write_wait(Duration::from_millis(200)));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    let start = Instant::now();
    fill(&endpoint, &mut healthy, 0, 400).await;
    eventually("it is dropped", || endpoint.connections().len() == 1).await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    fill(&endpoint, &mut healthy, 400, 10).await;
    assert_eq!(stalled.closed().await, None, "there was no way to tell it");
}
