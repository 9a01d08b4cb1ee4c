//! What happens when the server has no file descriptor left: those who are in notice nothing, others wait.
#![cfg(target_os = "linux")]

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::{DEADLINE, Peer, eventually};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: u32 = 64;

#[tokio::test]
async fn clients_that_are_in_go_on_and_newcomers_get_in_when_there_is_room_again() {
    let server = ContractServer::start_with_descriptors(LIMIT).await;
    let address = server.address;
    let mut ann = Peer::connect(address, "/api/socket?token=t").await;
    let mut bob = Peer::connect(address, "/api/socket?token=t").await;
    for peer in [&mut ann, &mut bob] {
        peer.join("/plain/1", json!({ "username": "x" })).await;
    }

    let mut hogs = Vec::new();
    for _ in 0..2 * LIMIT {
        hogs.push(TcpStream::connect(address).await.expect("the operating system accepts"));
    }
    eventually("it has no descriptor left", || server.has_used_up(LIMIT)).await;
    let newcomer = tokio::spawn(async move { Peer::connect(address, "/api/socket?token=t").await });
    for n in 0..10 {
        ann.event("/plain/1", "message", json!({ "n": n })).await;
        for peer in [&mut ann, &mut bob] {
            assert_eq!(peer.next().await["payload"], json!({ "n": n }));
        }
    }
    assert!(!newcomer.is_finished(), "there was no room");

    drop(hogs);
    let mut newcomer = timeout(DEADLINE, newcomer).await.expect("there is room again").expect("no panic");
    newcomer.join("/plain/1", json!({ "username": "x" })).await;
    ann.event("/plain/1", "message", json!({ "n": "all" })).await;
    assert_eq!(newcomer.next().await["payload"], json!({ "n": "all" }));
}
