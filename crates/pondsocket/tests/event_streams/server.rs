//! Event streams of the standalone server.

use std::time::Duration;

use hyper::StatusCode;
use pondsocket::{Options, ServerOptions};
use serde_json::json;
use testkit::{EventPeer, eventually};
use tokio::runtime::Handle;

use super::{served, served_by, served_with};

#[tokio::test]
async fn no_time_limit_of_the_server_cuts_a_stream() {
    let short = Duration::from_millis(50);
    let server = ServerOptions::default().read_timeout(short).write_timeout(short).idle_timeout(short);
    let served = served_by(Options::default().ping_interval(2 * short), server).await;
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    ann.until("hello").await;
    for _ in 0..5 {
        ann.comment().await;
    }
    ann.join("/room/1", json!({})).await;
    assert_eq!(served.counted.of("connection_closed"), [""; 0]);
}

#[tokio::test]
async fn streams_do_not_count_as_pending_sockets() {
    let served = served_by(Options::default(), ServerOptions::default().max_pending(2).pending_reserve(0)).await;
    let mut streams = Vec::new();
    for number in 0..8 {
        streams.push(EventPeer::connect(served.address, &format!("/?name=n{number}")).await);
    }
    assert_eq!(streams[0].text(r#"{"action":"ping"}"#).await, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_server_that_stops_delivers_all_messages_and_ends_streams_properly() {
    let mut served = served().await;
    let mut ann = EventPeer::connect(served.address, "/?name=ann").await;
    ann.until("hello").await;
    ann.join("/room/1", json!({})).await;
    ann.until("JOIN").await;
    let channel = served.endpoint.channel("/room/1").expect("ours");
    for number in 0..200 {
        channel.broadcast("news", &json!({ "number": number })).expect("room");
    }
    let stopping = tokio::spawn(async move { served.server.stop(Duration::from_secs(10)).await });
    let messages = ann.ended().await;
    let numbers: Vec<_> = messages.iter().filter_map(|message| message["payload"]["number"].as_u64()).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    let report = stopping.await.expect("no panic").expect("it ran");
    assert_eq!((report.closed, report.cut), (1, 0));
    assert_eq!(served.counted.of("connection_closed"), ["/ ann 0s 1001 shutdown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_does_not_delay_the_end_of_the_server() {
    let options = Options::default().outbox_bytes(64 << 20).send_channel_buffer(4096);
    let mut served = served_with(options).await;
    let mut stalled = EventPeer::connect_narrow(served.address, "/?name=ann", 4096).await;
    stalled.until("hello").await;
    stalled.join("/room/1", json!({})).await;
    let channel = served.endpoint.channel("/room/1").expect("ours");
    for _ in 0..200 {
        channel.broadcast("news", &json!({ "filler": "x".repeat(64 * 1024) })).expect("room");
    }
    let start = tokio::time::Instant::now();
    let report = served.server.stop(Duration::from_millis(300)).await.expect("it ran");
    assert_eq!((report.closed, report.cut), (0, 1));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn ended_streams_leave_nothing_behind() {
    let served = served().await;
    // Tasks that are started once run before the measurement.
    drop(EventPeer::connect(served.address, "/?name=first").await);
    eventually("she has gone", || served.endpoint.connections().is_empty()).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    eventually("her sockets have gone, too", || tasks() <= 4).await;
    let before = tasks();
    for round in 0..20 {
        let mut peers = Vec::new();
        for number in 0..100 {
            peers.push(EventPeer::connect(served.address, &format!("/?name=n{number}")).await);
        }
        for peer in &mut peers {
            if round == 0 {
                peer.until("hello").await;
                peer.join("/room/1", json!({})).await;
            }
        }
        assert_eq!(served.endpoint.connections().len(), 100);
    }
    eventually("all have gone", || served.endpoint.connections().is_empty()).await;
    let nothing = || {
        let endpoint = served.pond.snapshot().endpoints.remove(0);
        (endpoint.connections, endpoint.closing, endpoint.admitted, endpoint.channels.len()) == (0, 0, 0, 0)
    };
    eventually("nothing is left of them", nothing).await;
    eventually("nor a task", || tasks() <= before).await;
    assert_eq!(served.counted.of("connection_closed").len(), 2001);
}
