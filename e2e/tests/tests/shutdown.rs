//! SIGTERM, as in a deployment.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The status of the response to a probe.
async fn probe(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer[9..12].to_owned()
}

/// The steps of an orchestrator (docs/operations.md, Kubernetes): it probes, sends SIGTERM, probes again, still routes a client to
/// the server, and waits for its end.
#[tokio::test]
async fn with_a_delay_the_server_is_unready_first_and_accepts_clients_until_it_drains() {
    const DELAY: Duration = Duration::from_secs(8);
    let mut server = ContractServer::start_with(&[("DRAIN_DELAY_MS", "8000")]).await;
    let address = server.address;
    assert_eq!((probe(address, "/ready").await.as_str(), probe(address, "/health").await.as_str()), ("200", "200"));
    let mut early = Peer::connect(address, "/api/socket?token=t").await;
    early.join("/presence/1", json!({ "username": "ann" })).await;

    let signalled = Instant::now();
    server.terminate();
    while probe(address, "/ready").await == "200" {}
    assert_eq!(probe(address, "/health").await, "200", "still alive");
    let mut late = Peer::connect(address, "/api/socket?token=t").await;
    late.join("/presence/1", json!({ "username": "bob" })).await;
    assert!(signalled.elapsed() < DELAY, "the machine is too busy for this test: {:?}", signalled.elapsed());
    for peer in [&mut early, &mut late] {
        let close = peer.closed().await.expect("a close frame");
        assert_eq!(u16::from(close.code), 1001, "going away");
        assert!(signalled.elapsed() >= DELAY, "{:?}", signalled.elapsed());
    }
    drop((early, late));
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn the_delay_is_kept_without_connections() {
    const DELAY: Duration = Duration::from_secs(2);
    let mut server = ContractServer::start_with(&[("DRAIN_DELAY_MS", "2000")]).await;
    let signalled = Instant::now();
    server.terminate();
    assert!(server.ended().await.success());
    assert!(signalled.elapsed() >= DELAY, "{:?}", signalled.elapsed());
}

#[tokio::test]
async fn clients_receive_a_close_and_the_server_exits_successfully() {
    let mut server = ContractServer::start().await;
    let mut peers = Vec::new();
    for room in ["/chat/1", "/chat/1", "/plain/1"] {
        let mut peer = Peer::connect(server.address, "/api/socket?token=t").await;
        peer.join(room, json!({ "username": "ann" })).await;
        peers.push(peer);
    }
    server.terminate();
    for peer in &mut peers {
        let close = peer.closed().await.expect("a close frame");
        assert_eq!(u16::from(close.code), 1001, "going away");
    }
    drop(peers);
    assert!(server.ended().await.success());
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_client_that_does_not_answer_does_not_block_the_shutdown() {
    let mut server = ContractServer::start().await;
    // It reads nothing more, so it never answers the close frame.
    let _mute = Peer::connect(server.address, "/api/socket?token=t").await;
    server.terminate();
    assert!(server.ended().await.success());
}
