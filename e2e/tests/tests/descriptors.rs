//! A server without free file descriptors: connected clients are not affected, new ones wait.
#![cfg(target_os = "linux")]

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::{DEADLINE, Peer, eventually};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: u32 = 64;

#[tokio::test]
async fn connected_clients_are_served_and_new_ones_are_accepted_when_descriptors_are_free_again() {
    let server = ContractServer::start_with_descriptors(LIMIT).await;
    let address = server.address;
    let mut ann = Peer::connect(address, "/api/socket?token=t").await;
    let mut bob = Peer::connect(address, "/api/socket?token=t").await;
    for peer in [&mut ann, &mut bob] {
        peer.join("/plain/1", json!({ "username": "x" })).await;
    }

    let mut idle_sockets = Vec::new();
    for _ in 0..2 * LIMIT {
        idle_sockets.push(TcpStream::connect(address).await.expect("the operating system accepts"));
    }
    eventually("it has no descriptor left", || server.has_used_up(LIMIT)).await;
    let waiting = tokio::spawn(async move { Peer::connect(address, "/api/socket?token=t").await });
    for n in 0..10 {
        ann.event("/plain/1", "message", json!({ "n": n })).await;
        for peer in [&mut ann, &mut bob] {
            assert_eq!(peer.next().await["payload"], json!({ "n": n }));
        }
    }
    assert!(!waiting.is_finished(), "no descriptor is free");

    drop(idle_sockets);
    let mut waiting = timeout(DEADLINE, waiting).await.expect("descriptors are free again").expect("no panic");
    waiting.join("/plain/1", json!({ "username": "x" })).await;
    ann.event("/plain/1", "message", json!({ "n": "all" })).await;
    assert_eq!(waiting.next().await["payload"], json!({ "n": "all" }));
}
