//! A deployment at full load: SIGTERM, while everybody talks.

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

/// How many messages of each room are on their way.
const AHEAD: u64 = 32;

/// How many messages each room has heard before the signal comes.
const BEFORE: u64 = 100;

/// How long the contract server lets its clients take.
const DRAIN: Duration = Duration::from_secs(10);

/// What a client has to say in the end.
struct Account {
    id: String,
    room: usize,
    /// The code of the close frame; `None` if the connection just ended.
    code: Option<u16>,
    /// The number of the last message. It has got all before it.
    last: u64,
    /// Who has left before it, and behind which message.
    left: Vec<(String, u64)>,
}

/// Reads to the end. Whoever publishes says the next number whenever it has heard one, which tells how many have been
/// enqueued.
async fn follow(mut peer: Peer, room: usize, enqueued: Option<Arc<AtomicU64>>) -> Account {
    let mut account = Account { id: peer.id.clone(), room, code: None, last: 0, left: Vec::new() };
    let say = |number: u64| json!({ "number": number });
    if enqueued.is_some() {
        for number in 1..=AHEAD {
            peer.event(&name(room), "message", say(number)).await;
        }
    }
    loop {
        let text = match peer.frame().await {
            Some(Message::Text(text)) => text,
            // Reading on sends the answer.
            Some(Message::Close(frame)) => {
                account.code = frame.map(|frame| frame.code.into());
                continue;
            }
            Some(_) => continue,
            None => return account,
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let payload = &message["payload"];
        match message["event"].as_str() {
            Some("message") => {
                account.last += 1;
                assert_eq!(*payload, say(account.last), "lost or out of order in room {room}");
                if let Some(enqueued) = &enqueued {
                    enqueued.store(account.last, Ordering::SeqCst);
                    peer.event(&name(room), "message", say(account.last + AHEAD)).await;
                }
            }
            Some("LEAVE") => account.left.push((payload["userId"].as_str().expect("an id").to_owned(), account.last)),
            Some("JOIN") => {}
            _ => panic!("not expected: {message}"),
        }
    }
}

/// Of a room whose members see each other.
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
async fn a_thousand_clients_under_load_are_all_told_and_nothing_is_lost() {
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
    eventually("every room is at work", || enqueued().iter().all(|count| *count >= BEFORE)).await;

    let (before, start) = (enqueued(), Instant::now());
    server.terminate();
    let accounts = clients.join_all().await;
    assert!(server.ended().await.success());
    assert!(start.elapsed() < DRAIN, "{:?}", start.elapsed());
    assert_eq!(accounts.len(), ROOMS * MEMBERS);
    let others: Vec<_> = accounts.iter().map(|account| account.code).filter(|code| *code != Some(1001)).collect();
    assert!(others.is_empty(), "{} of {} were not told: {others:?}", others.len(), accounts.len());

    // Each has heard all that had been enqueued when the signal came, and all that others heard before they heard it go.
    let heard: HashMap<_, _> = accounts.iter().map(|account| (&account.id, account.last)).collect();
    for Account { room, last, .. } in &accounts {
        assert!(*last >= before[*room], "in room {room} {last} of {} messages", before[*room]);
    }
    let left: Vec<_> = accounts.iter().flat_map(|account| &account.left).collect();
    assert_eq!(left.len(), ROOMS * MEMBERS * (MEMBERS - 1) / 2, "of every two, one has seen the other go");
    for (id, last) in left {
        assert_eq!(heard[id], *last, "of {id}, which left behind message {last}");
    }
}
