//! Somebody in a room, by a connection to one node, who reads all the time.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use e2e_tests::ContractServer;
use serde_json::{Value, json};
use testkit::Peer;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::view::{People, View, text};
use crate::world::NODES;

/// Its connection lasts until it is told to go, also when this is dropped.
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) room: usize,
    /// The number of its node.
    pub(crate) node: usize,
    /// `true` if it stays as long as its node does.
    pub(crate) resides: bool,
    /// The status that it has set as its presence.
    pub(crate) status: String,
    orders: UnboundedSender<Order>,
    seen: Arc<Mutex<Seen>>,
    connection: JoinHandle<()>,
}

/// All messages that it has received, as state.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) view: View,
    /// The number of the last message from each node.
    pub(crate) heard: [u64; NODES],
    /// The number of times that its node was asked for the state of the room, and of the answers.
    asked: usize,
    answered: usize,
    state: State,
    /// An unexpected event: a message of another kind than those above, or the end of the connection.
    trouble: Option<String>,
}

/// The state of a room at a node: the presence of its users, and the ids of the users whose assigns it has.
#[derive(Debug, Default)]
struct State {
    shown: People,
    known: BTreeSet<String>,
}

enum Order {
    Say(&'static str, Value),
    Leave,
    Cut,
}

pub(crate) fn room_name(room: usize) -> String {
    format!("/chat/{room}")
}

impl Member {
    pub(crate) async fn join(server: &ContractServer, node: usize, room: usize, resides: bool) -> Member {
        let mut peer = Peer::connect(server.address, "/api/socket?token=t").await;
        let (id, name) = (peer.id.clone(), room_name(room));
        peer.join(&name, json!({ "username": "somebody" })).await;
        let (orders, received) = unbounded_channel();
        let seen = Arc::default();
        let connection = tokio::spawn(live(peer, name, received, Arc::clone(&seen)));
        Member { id, room, node, resides, status: "online".into(), orders, seen, connection }
    }

    /// Changes what is shown of it.
    pub(crate) fn show(&mut self, status: String) {
        self.order(Order::Say("status", json!({ "status": status })));
        self.status = status;
    }

    /// Says something to all in the room.
    pub(crate) fn say(&self, number: u64, ballast: usize) {
        let message = json!({ "node": self.node, "number": number, "ballast": "x".repeat(ballast) });
        self.order(Order::Say("message", message));
    }

    /// Asks its node who is in the room.
    pub(crate) fn ask(&self) {
        self.seen().asked += 1;
        self.order(Order::Say("state", json!({})));
    }

    /// Returns `true` if an answer has not come yet.
    pub(crate) fn waits(&self) -> bool {
        let seen = self.seen();
        seen.asked != seen.answered
    }

    pub(crate) fn leave(self) {
        self.order(Order::Leave);
    }

    /// Is gone without a word.
    pub(crate) fn cut(self) {
        self.order(Order::Cut);
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// The unexpected event that has happened to the member, if any: above all that it is no member any more.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.seen().trouble.clone();
        trouble.or_else(|| self.connection.is_finished().then(|| "its connection has failed".into()))
    }

    fn order(&self, order: Order) {
        // Whoever has lost its connection is found by the checker.
        let _ = self.orders.send(order);
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (node {}, room {})", self.id, self.node, self.room)
    }
}

impl Seen {
    fn take(&mut self, me: &str, message: &Value) {
        let payload = &message["payload"];
        match (message["action"].as_str(), message["event"].as_str()) {
            (Some("PRESENCE"), _) => self.view.take(me, payload, Instant::now()),
            (_, Some("message")) => {
                let number = |field: &str| payload[field].as_u64().expect("a number");
                let last = &mut self.heard[number("node") as usize];
                *last = number("number").max(*last);
            }
            (Some("SYSTEM"), Some("state")) => {
                self.answered += 1;
                self.state = State::of(payload);
            }
            // Somebody was evicted, or something was refused.
            _ => drop(self.trouble.get_or_insert(message.to_string())),
        }
    }

    /// The difference to the present users, if any. There is none once all questions are answered and all sources
    /// agree.
    pub(crate) fn differs(&self, there: &People) -> Option<String> {
        let sources = [
            ("the list", &self.view.listed),
            ("what follows from the changes", &self.view.followed),
            ("the state", &self.state.shown),
        ];
        if let Some((source, people)) = sources.iter().find(|(_, people)| *people != there) {
            return Some(difference(source, people, there));
        }
        if !self.state.known.iter().eq(there.keys()) {
            return Some(format!("assigns are there of {:?}", self.state.known));
        }
        (self.asked != self.answered).then(|| "a question is not answered".into())
    }
}

fn difference(source: &str, people: &People, there: &People) -> String {
    let only = |these: &People, those: &People| -> Vec<String> {
        these.keys().filter(|id| !those.contains_key(*id)).cloned().collect()
    };
    let stale = people.iter().filter(|(id, status)| there.get(*id).is_some_and(|is| is != *status));
    let stale: Vec<_> = stale.map(|(id, status)| format!("{id} is {} and not {status}", there[id])).collect();
    format!("{source}: ghosts {:?}, missing {:?}, outdated {stale:?}", only(people, there), only(there, people))
}

impl State {
    fn of(payload: &Value) -> State {
        let object = |field: &str| payload[field].as_object().expect("an object").clone();
        let shown = object("presence").into_iter().map(|(id, shown)| (id, text(&shown["status"])));
        State { shown: shown.collect(), known: object("assigns").into_iter().map(|(id, _)| id).collect() }
    }
}

/// Reads until the end, and does what it is told.
async fn live(mut peer: Peer, room: String, mut orders: UnboundedReceiver<Order>, seen: Arc<Mutex<Seen>>) {
    let me = peer.id.clone();
    loop {
        tokio::select! {
            message = peer.message() => match message {
                Ok(message) => lock(&seen).take(&me, &message),
                Err(end) => {
                    lock(&seen).trouble.get_or_insert(format!("its connection ends with {end:?}"));
                    return;
                }
            },
            Some(order) = orders.recv() => match order {
                Order::Say(event, payload) => drop(peer.event(&room, event, payload).await),
                Order::Leave => {
                    peer.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", &room, json!({})).await;
                    // Nobody minds how it ends.
                    while peer.message().await.is_ok_and(|message| message["event"] != "EXIT_ACKNOWLEDGE") {}
                    return;
                }
                Order::Cut => return peer.reset(),
            },
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
