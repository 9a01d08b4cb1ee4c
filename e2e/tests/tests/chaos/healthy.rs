//! Healthy clients: in a few rooms each publishes, and each receives all messages in one order.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use testkit::{Message, Peer};
use tokio::sync::watch;
use tokio::task::JoinSet;

const ROOMS: usize = 4;
const MEMBERS: usize = 5;

/// All healthy clients, connected and joined.
pub(crate) struct HealthyClients {
    rooms: Vec<(String, Vec<Peer>)>,
    progress: Arc<watch::Sender<Vec<u64>>>,
}

/// The number of messages that each healthy client has sent and received back.
pub(crate) struct Progress(watch::Receiver<Vec<u64>>);

/// Received messages: the sender, and the message's number there.
type Log = Vec<(usize, u64)>;

impl HealthyClients {
    pub(crate) async fn join(address: SocketAddr, name: &str) -> HealthyClients {
        let mut rooms = Vec::new();
        for room in 0..ROOMS {
            let room = format!("/plain/{name}-{room}");
            let mut members = Vec::new();
            for _ in 0..MEMBERS {
                let mut peer = Peer::connect(address, "/api/socket?token=t").await;
                peer.join(&room, json!({ "username": "member" })).await;
                members.push(peer);
            }
            rooms.push((room, members));
        }
        let progress = Arc::new(watch::Sender::new(vec![0; ROOMS * MEMBERS]));
        HealthyClients { rooms, progress }
    }

    /// The name of a room.
    pub(crate) fn room(&self, number: usize) -> String {
        self.rooms[number % ROOMS].0.clone()
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress(self.progress.subscribe())
    }

    /// Publishes with all clients until `stop`, and waits until each has received the last message of all others. Returns the number
    /// of received messages, of which none was lost, duplicated or out of order.
    pub(crate) async fn publish_until(self, stop: watch::Receiver<bool>) -> usize {
        let mut running = JoinSet::new();
        for (room, (name, peers)) in self.rooms.into_iter().enumerate() {
            for (member, peer) in peers.into_iter().enumerate() {
                let (name, stop, progress) = (name.clone(), stop.clone(), Arc::clone(&self.progress));
                let report = move |number| progress.send_modify(|all| all[room * MEMBERS + member] = number);
                running.spawn(async move { (room, run(peer, &name, member, &stop, report).await) });
            }
        }
        let mut logs: Vec<Option<Log>> = vec![None; ROOMS];
        let mut received = 0;
        while let Some(done) = running.join_next().await {
            let (room, log) = done.expect("a healthy client was affected");
            received += log.len();
            let first = logs[room].get_or_insert_with(|| log.clone());
            assert!(*first == log, "the members of room {room} have received different messages");
        }
        received
    }
}

impl Progress {
    /// Waits until each client has received this many messages of its own.
    pub(crate) async fn reach(mut self, number: u64) {
        self.0
            .wait_for(|all| all.iter().all(|received| *received >= number))
            .await
            .expect("the clients publish until they are stopped");
    }
}

/// Publishes numbers, the next one when the last has been received, and marks the last one after `stop`.
async fn run(mut peer: Peer, room: &str, me: usize, stop: &watch::Receiver<bool>, report: impl Fn(u64)) -> Log {
    let mut log = Log::new();
    let mut next = [1; MEMBERS];
    let mut ended = 0;
    publish(&mut peer, room, me, 1, false).await;
    while ended < MEMBERS {
        let message = peer.next().await;
        assert_eq!((&message["event"], &message["channelName"]), (&json!("message"), &json!(room)), "{message}");
        let (from, number, is_last) = read(&message["payload"]);
        assert_eq!(number, next[from], "lost or out of order, from {from}");
        next[from] += 1;
        log.push((from, number));
        ended += usize::from(is_last);
        if from == me {
            report(number);
            if !is_last {
                let is_time = *stop.borrow();
                publish(&mut peer, room, me, number + 1, is_time).await;
            }
        }
    }
    peer.socket.close(None).await.expect("open");
    while let Some(frame) = peer.frame().await {
        assert!(matches!(frame, Message::Close(_)), "behind the last message: {frame:?}");
    }
    log
}

async fn publish(peer: &mut Peer, room: &str, me: usize, number: u64, is_last: bool) {
    peer.event(room, "message", json!({ "from": me, "number": number, "last": is_last })).await;
}

fn read(payload: &Value) -> (usize, u64, bool) {
    let number = |field: &str| payload[field].as_u64().expect("a number");
    (number("from") as usize, number("number"), payload["last"] == true)
}
