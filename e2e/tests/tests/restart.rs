//! A deploy of a single node: a server is stopped, and the next one goes on with its histories and sessions.

use e2e_tests::ContractServer;
use serde_json::{Value, json};
use testkit::Peer;

const ROOM: &str = "/history/1";
const SESSION: &str = "9f0c7a52-session-of-a-page";

/// Joins. Returns what was replayed, which stands ahead of the reply of the join handler, and the recovery that it has seen.
async fn join(server: &ContractServer, session: &str, resume: Option<&str>) -> (Peer, Vec<u64>, Value) {
    let mut peer = Peer::connect(server.address, &format!("/api/socket?token=t&session={session}")).await;
    let payload = match resume {
        Some(position) => json!({ "username": "ann", "$resume": position }),
        None => json!({ "username": "bob" }),
    };
    peer.join(ROOM, payload).await;
    let mut replayed = Vec::new();
    loop {
        let message = peer.next().await;
        if message["event"] == json!("history") {
            return (peer, replayed, message["payload"]["recovery"].clone());
        }
        replayed.push(message["payload"]["n"].as_u64().expect("a number"));
    }
}

/// The numbers of the next messages, and the position of the last one.
async fn numbers(peer: &mut Peer, count: usize) -> (Vec<u64>, String) {
    let (mut numbers, mut position) = (Vec::new(), String::new());
    for _ in 0..count {
        let message = peer.until("message").await;
        numbers.push(message["payload"]["n"].as_u64().expect("a number"));
        position = message["requestId"].as_str().expect("a position").to_owned();
    }
    (numbers, position)
}

/// Stops a server with SIGTERM. The peers receive what is on its way, and answer the close frame.
async fn stop(mut server: ContractServer, peers: impl IntoIterator<Item = &mut Peer>) {
    server.terminate();
    for peer in peers {
        assert!(peer.closed().await.is_some());
        assert_eq!(peer.frame().await, None);
    }
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn clients_of_a_server_that_is_replaced_miss_nothing_and_get_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("histories");
    let settings = [("HISTORY_FILE", file.to_str().expect("UTF-8"))];
    let mut server = ContractServer::start_with(&settings).await;
    let (mut knowing, ..) = join(&server, "", Some("")).await;
    let (mut stock, ..) = join(&server, SESSION, None).await;
    let (mut speaker, ..) = join(&server, "", None).await;
    for round in [0, 10, 20] {
        for n in round..round + 5 {
            speaker.event(ROOM, "message", json!({ "n": n })).await;
        }
        let said: Vec<u64> = (round..round + 5).collect();
        let (received, position) = numbers(&mut knowing, 5).await;
        assert_eq!(received, said);
        // One client is cut off, and the others are there until the end.
        knowing.reset();
        for n in round + 5..round + 8 {
            speaker.event(ROOM, "message", json!({ "n": n })).await;
        }
        assert_eq!(numbers(&mut stock, 8).await.0, (round..round + 8).collect::<Vec<_>>());
        assert_eq!(numbers(&mut speaker, 8).await.0.len(), 8);
        stop(server, [&mut stock, &mut speaker]).await;
        assert!(file.exists());

        server = ContractServer::start_with(&settings).await;
        assert!(!file.exists(), "it is used once");
        (speaker, ..) = join(&server, "", None).await;
        for n in round + 8..round + 10 {
            speaker.event(ROOM, "message", json!({ "n": n })).await;
        }
        assert_eq!(numbers(&mut speaker, 2).await.0, [round + 8, round + 9]);
        let (replayed, recovery);
        (knowing, replayed, recovery) = join(&server, "", Some(&position)).await;
        assert_eq!((replayed, recovery), ((round + 5..round + 10).collect(), json!("resumed")));
        let (replayed, recovery);
        (stock, replayed, recovery) = join(&server, SESSION, None).await;
        assert_eq!((replayed, recovery), (vec![round + 8, round + 9], json!("resumed")));
    }
}
