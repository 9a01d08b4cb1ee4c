//! What a deployment does to the server: SIGTERM.

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::Peer;
use tokio::net::TcpStream;

#[tokio::test]
async fn clients_are_told_and_the_server_ends_well() {
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
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_client_that_does_not_answer_does_not_hold_the_server_up_for_ever() {
    let mut server = ContractServer::start().await;
    // It reads nothing more, so it never answers the close frame.
    let _mute = Peer::connect(server.address, "/api/socket?token=t").await;
    server.terminate();
    assert!(server.ended().await.success());
}
