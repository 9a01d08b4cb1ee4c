//! The memory of the server under clients that make it hold as much as possible: it stays below the bounds in docs/operations.md.
#![cfg(target_os = "linux")]

use std::time::Duration;

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::Peer;
use tokio::time::timeout;

const PATH: &str = "/api/socket?token=t";

/// The `max_message_size` of the contract server, in bytes.
const MESSAGE: u64 = 1 << 20;

/// The most that one connection holds with the defaults of all other options (docs/operations.md, Memory).
const CONNECTION: u64 = (1 << 20) + MESSAGE + 10 * MESSAGE + 2 * MESSAGE + (64 << 10);

/// The most that waits for one client: four times `outbox_bytes`, and one portion of a channel's queue with its list.
const OUTBOX: u64 = 4 * (1 << 20) + (256 << 10) + MESSAGE;

/// The most that one channel holds: four times `channel_queue_bytes`, and one portion with its list.
const CHANNEL: u64 = 4 * (4 << 20) + (256 << 10) + MESSAGE;

/// The number of messages that a client tries to send: far more than the server may hold.
const COUNT: usize = 300;

/// The time without progress after which a client considers itself not read any more.
const NOT_READ: Duration = Duration::from_secs(1);

#[tokio::test]
#[ignore = "it measures the memory of a server that is compiled with optimizations: ./test held"]
async fn the_memory_held_for_clients_stays_below_the_stated_bounds() {
    let server = ContractServer::start().await;
    let (idle, text) = (server.memory(), "x".repeat(900 << 10));

    // Received messages: behind a handler that waits, on one connection after the other, each of which is reset.
    const RESETS: u64 = 5;
    for round in 0..RESETS {
        let mut peer = Peer::connect(server.address, PATH).await;
        peer.join("/chat/held", json!({ "username": format!("held {round}") })).await;
        peer.event("/chat/held", "slow", json!({ "ms": 20_000 })).await;
        let mut sent = 0;
        while sent < COUNT
            && timeout(NOT_READ, peer.event("/chat/held", "message", json!({ "text": text }))).await.is_ok()
        {
            sent += 1;
        }
        assert!(sent < COUNT, "the server reads without a limit");
        peer.reset();
    }
    let held = server.peak_memory() - idle;

    // Messages to be sent: for a member that reads nothing, beside one that reads everything.
    let mut stalled = Peer::connect_narrow(server.address, PATH, 4096).await;
    stalled.join("/chat/hall", json!({ "username": "stalled" })).await;
    let mut reader = Peer::connect(server.address, PATH).await;
    reader.join("/chat/hall", json!({ "username": "reader" })).await;
    let mut writer = Peer::connect(server.address, PATH).await;
    writer.join("/chat/hall", json!({ "username": "writer" })).await;
    let writing = tokio::spawn(async move {
        for _ in 0..COUNT {
            writer.event("/chat/hall", "message", json!({ "text": text })).await;
            writer.until("message").await;
        }
    });
    for _ in 0..COUNT {
        reader.until("message").await;
    }
    writing.await.expect("it sends and reads");
    let peak = server.peak_memory() - idle;

    println!("{} MiB behind handlers, {} MiB with a stalled member", held >> 20, peak >> 20);
    assert!(held <= RESETS * CONNECTION, "{held} bytes");
    assert!(peak <= RESETS * CONNECTION + 3 * (CONNECTION + OUTBOX) + CHANNEL, "{peak} bytes");
}
