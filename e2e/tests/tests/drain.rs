//! SIGTERM at full load, as in a deployment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e_tests::{ContractServer, allow_descriptors};
use serde_json::{Value, json};
use testkit::{Message, Peer, eventually};
use tokio::task::JoinSet;

const ROOMS: usize = 50;
const MEMBERS: usize = 20;

/// The number of messages of each room that are in flight.
const AHEAD: u64 = 32;

/// The number of messages that each room has received before the signal.
const BEFORE: u64 = 100;

/// The drain timeout of the contract server.
const DRAIN: Duration = Duration::from_secs(10);

/// The observations of a client until the end of its connection.
struct Observations {
    id: String,
    room: usize,
    /// The code of the close frame; `None` if the connection just ended.
    code: Option<u16>,
    /// The number of the last received message. All earlier ones were received, too.
    last: u64,
    /// The users that have left before, each with the number of the message before its leave.
    left: Vec<(String, u64)>,
}

/// Reads until the end of the connection. With `enqueued` it also publishes: the next number after each received one, so that the
/// number of enqueued messages is known.
async fn follow(mut peer: Peer, room: usize, enqueued: Option<Arc<AtomicU64>>) -> Observations {
    let mut observed = Observations { id: peer.id.clone(), room, code: None, last: 0, left: Vec::new() };
    let payload_of = |number: u64| json!({ "number": number });
    if enqueued.is_some() {
        for number in 1..=AHEAD {
            peer.event(&name(room), "message", payload_of(number)).await;
        }
    }
    loop {
        let text = match peer.frame().await {
            Some(Message::Text(text)) => text,
            // tungstenite sends the answer during the next read.
            Some(Message::Close(frame)) => {
                observed.code = frame.map(|frame| frame.code.into());
                continue;
            }
            Some(_) => continue,
            None => return observed,
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let payload = &message["payload"];
        match message["event"].as_str() {
            Some("message") => {
                observed.last += 1;
                assert_eq!(*payload, payload_of(observed.last), "lost or out of order in room {room}");
                if let Some(enqueued) = &enqueued {
                    enqueued.store(observed.last, Ordering::SeqCst);
                    peer.event(&name(room), "message", payload_of(observed.last + AHEAD)).await;
                }
            }
            Some("LEAVE") => observed.left.push((payload["userId"].as_str().expect("an id").to_owned(), observed.last)),
            Some("JOIN") => {}
            _ => panic!("not expected: {message}"),
        }
    }
}

/// The name of a room whose members see each other.
fn name(room: usize) -> String {
    format!("/presence/{room}")
}

async fn join(server: &ContractServer) -> Vec<Vec<Peer>> {
    let (address, mut joining) = (server.address, JoinSet::new());
    for room in 0..ROOMS {
        joining.spawn(async move {
            let mut members = Vec::new();
            for _ in 0..MEMBERS {
                let mut peer = Peer::connect(address, "/api/socket?token=t").await;
                peer.join(&name(room), json!({ "username": "ann" })).await;
                members.push(peer);
            }
            (room, members)
        });
    }
    let mut rooms = joining.join_all().await;
    rooms.sort_unstable_by_key(|(room, _)| *room);
    rooms.into_iter().map(|(_, members)| members).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_under_load_receive_a_close_and_lose_nothing() {
    allow_descriptors(4096);
    let mut server = ContractServer::start().await;
    let enqueued: Vec<_> = (0..ROOMS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let mut clients = JoinSet::new();
    for (room, members) in join(&server).await.into_iter().enumerate() {
        for (member, peer) in members.into_iter().enumerate() {
            let publishes = (member == 0).then(|| Arc::clone(&enqueued[room]));
            clients.spawn(follow(peer, room, publishes));
        }
    }
    let enqueued = || enqueued.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>();
    eventually("every room has traffic", || enqueued().iter().all(|count| *count >= BEFORE)).await;

    let (before, start) = (enqueued(), Instant::now());
    server.terminate();
    let observations = clients.join_all().await;
    assert!(server.ended().await.success());
    assert!(start.elapsed() < DRAIN, "{:?}", start.elapsed());
    assert_eq!(observations.len(), ROOMS * MEMBERS);
    let others: Vec<_> = observations.iter().map(|observed| observed.code).filter(|code| *code != Some(1001)).collect();
    assert!(others.is_empty(), "{} of {} did not receive 1001: {others:?}", others.len(), observations.len());

    // Each has received all messages that were enqueued before the signal, and all that others received before its leave.
    let last_received: HashMap<_, _> = observations.iter().map(|observed| (&observed.id, observed.last)).collect();
    for Observations { room, last, .. } in &observations {
        assert!(*last >= before[*room], "in room {room} {last} of {} messages", before[*room]);
    }
    let left: Vec<_> = observations.iter().flat_map(|observed| &observed.left).collect();
    assert_eq!(
        left.len(),
        ROOMS * MEMBERS * (MEMBERS - 1) / 2,
        "of every two, one has received the leave of the other"
    );
    for (id, last) in left {
        assert_eq!(last_received[id], *last, "the last message of {id}, whose leave follows message {last}");
    }
}
