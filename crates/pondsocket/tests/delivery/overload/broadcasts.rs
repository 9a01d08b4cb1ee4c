//! Broadcasts faster than members read.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use testkit::{EventPeer, Message, Peer, serve};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;

use super::{ReadSummary, TIMEOUT, member, patient, reader, said, served, stop, text};

/// Publishes this many messages as fast as the server takes them, and reads at the same time.
fn publisher(peer: Peer, count: usize, size: usize) -> JoinHandle<ReadSummary> {
    tokio::spawn(async move {
        let (mut sink, mut stream) = peer.socket.split();
        let filler = "x".repeat(size);
        let write = async {
            for number in 0..count {
                let message = json!({
                    "action": "BROADCAST", "event": "say", "channelName": "/room/1",
                    "requestId": format!("r{number}"), "payload": said(number, &filler),
                });
                sink.feed(Message::text(message.to_string())).await.expect("the server reads");
            }
            sink.flush().await.expect("the server reads");
        };
        let mut heard = ReadSummary::default();
        let read = async {
            while heard.said.len() < count {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => heard.note(&serde_json::from_str(&text).expect("JSON")),
                    Some(Ok(Message::Ping(_))) => {}
                    other => panic!("the publisher was thrown out: {other:?}"),
                }
            }
        };
        timeout(TIMEOUT, async { tokio::join!(write, read) }).await.expect("everything is published in time");
        heard
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_client_receives_10_000_broadcasts_sent_at_once() {
    const COUNT: usize = 10_000;
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut readers = Vec::new();
    for number in 1..4 {
        readers.push(reader(member(address, &format!("m{number}"), None).await));
    }
    let mut stream = EventPeer::connect(address, "/?name=stream").await;
    stream.join("/room/1", json!({})).await;
    let stream = tokio::spawn(async move {
        let mut heard = ReadSummary::default();
        while heard.said.len() < COUNT {
            heard.note(&stream.next().await);
        }
        heard
    });
    let publisher = publisher(member(address, "m0", None).await, COUNT, 1024);
    let publisher = publisher.await.expect("it was not thrown out");
    stop(&served.endpoint).await;
    let mut all = vec![publisher, stream.await.expect("it was not thrown out")];
    for reader in readers {
        all.push(reader.await.expect("it was not thrown out").0);
    }
    for heard in all {
        assert!(heard.said.iter().copied().eq(0..COUNT), "all of them, in order: {}", heard.said.len());
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
    assert_eq!(served.counted.of("limit_reached"), Vec::<String>::new());
}

/// A member that takes `bytes` each `pause`, with small buffers in its kernel.
async fn throttled(address: SocketAddr, bytes: usize, pause: Duration) -> JoinHandle<Vec<usize>> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("any size is possible");
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let stream = socket.connect(address).await.expect("it listens");
    let (mut from_server, mut to_server) = stream.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(theirs);
    tokio::spawn(async move {
        // One side has closed, which the other side notices.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; bytes];
        while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut from_server, &mut buffer).await {
            if tokio::io::AsyncWriteExt::write_all(&mut to_client, &buffer[..read]).await.is_err() {
                return;
            }
            sleep(pause.mul_f64(read as f64 / bytes as f64)).await;
        }
    });
    let url = format!("ws://{address}/?name=throttled");
    let mut socket = client_async(url, ours).await.expect("let in").0;
    let message = json!({
        "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": "/room/1", "requestId": "join", "payload": {},
    });
    socket.send(Message::text(message.to_string())).await.expect("the server reads");
    while !text(&mut socket).await.expect("open").contains("ACKNOWLEDGE") {}
    tokio::spawn(async move {
        let mut heard = ReadSummary::default();
        while let Some(text) = text(&mut socket).await {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["event"] == "stop" {
                return heard.said;
            }
            heard.note(&message);
        }
        panic!("it was thrown out");
    })
}

/// A publisher at full speed is slowed down to the speed of a reading member, which loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_paced_by_a_member_that_reads() {
    const COUNT: usize = 800;
    let served = served(patient().write_buffer_size(16 * 1024));
    let (_server, address) = serve(&served.pond).await;
    let quick = reader(member(address, "quick", None).await);
    // 2 MB in a second, 8 KiB at a time.
    let slow = throttled(address, 8 * 1024, Duration::from_millis(4)).await;
    let publisher = publisher(member(address, "publisher", None).await, COUNT, 8 * 1024);
    assert!(publisher.await.expect("it was not thrown out").said.iter().copied().eq(0..COUNT));
    stop(&served.endpoint).await;
    assert!(slow.await.expect("it was not thrown out").iter().copied().eq(0..COUNT), "all of them, in order");
    assert!(quick.await.expect("it was not thrown out").0.said.iter().copied().eq(0..COUNT));
    assert_eq!(served.given_up(), Vec::<String>::new());
    assert_eq!(served.counted.of("limit_reached"), Vec::<String>::new(), "no client was disconnected");
}
