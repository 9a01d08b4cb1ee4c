//! Those who behave: a few rooms in which everybody talks and everybody hears everything, in one order.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use testkit::{Message, Peer};
use tokio::sync::watch;
use tokio::task::JoinSet;

const ROOMS: usize = 4;
const MEMBERS: usize = 5;

/// All of them, connected and joined.
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

    /// The name of one of the rooms.
    pub(crate) fn room(&self, number: usize) -> String {
        self.rooms[number % ROOMS].0.clone()
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress(self.progress.subscribe())
    }

    /// Everybody talks until it is time to stop, and then waits until all others have stopped. Answers how many messages
    /// were heard, of which none was lost, doubled or out of order for anybody.
    pub(crate) async fn talk_until(self, stop: watch::Receiver<bool>) -> usize {
        let mut talking = JoinSet::new();
        for (room, (name, peers)) in self.rooms.into_iter().enumerate() {
            for (member, peer) in peers.into_iter().enumerate() {
                let (name, stop, progress) = (name.clone(), stop.clone(), Arc::clone(&self.progress));
                let told = move |number| progress.send_modify(|all| all[room * MEMBERS + member] = number);
                talking.spawn(async move { (room, talk(peer, &name, member, &stop, told).await) });
            }
        }
        let mut logs: Vec<Option<Log>> = vec![None; ROOMS];
        let mut heard = 0;
        while let Some(done) = talking.join_next().await {
            let (room, log) = done.expect("a healthy client has noticed something");
            heard += log.len();
            let first = logs[room].get_or_insert_with(|| log.clone());
            assert!(*first == log, "the members of room {room} have heard different things");
        }
        heard
    }
}

impl Progress {
    /// Waits until everybody has heard so many messages of its own.
    pub(crate) async fn reach(mut self, number: u64) {
        self.0
            .wait_for(|all| all.iter().all(|heard| *heard >= number))
            .await
            .expect("they talk until they are stopped");
    }
}

/// Says one number after the other, the next one when the last is heard; and when it is time, which one is the last.
async fn talk(mut peer: Peer, room: &str, me: usize, stop: &watch::Receiver<bool>, told: impl Fn(u64)) -> Log {
    let mut log = Log::new();
    let mut next = [1; MEMBERS];
    let mut ended = 0;
    say(&mut peer, room, me, 1, false).await;
    while ended < MEMBERS {
        let message = peer.next().await;
        assert_eq!((&message["event"], &message["channelName"]), (&json!("message"), &json!(room)), "{message}");
        let (from, number, is_last) = read(&message["payload"]);
        assert_eq!(number, next[from], "lost or out of order, from {from}");
        next[from] += 1;
        log.push((from, number));
        ended += usize::from(is_last);
        if from == me {
            told(number);
            if !is_last {
                let is_time = *stop.borrow();
                say(&mut peer, room, me, number + 1, is_time).await;
            }
        }
    }
    peer.socket.close(None).await.expect("open");
    while let Some(frame) = peer.frame().await {
        assert!(matches!(frame, Message::Close(_)), "behind the last message: {frame:?}");
    }
    log
}

async fn say(peer: &mut Peer, room: &str, me: usize, number: u64, is_last: bool) {
    peer.event(room, "message", json!({ "from": me, "number": number, "last": is_last })).await;
}

fn read(payload: &Value) -> (usize, u64, bool) {
    let number = |field: &str| payload[field].as_u64().expect("a number");
    (number("from") as usize, number("number"), payload["last"] == true)
}
