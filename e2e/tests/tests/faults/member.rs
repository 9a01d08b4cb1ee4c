//! A member of a room, with a connection to one node, that reads all the time.

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

/// A member. Its connection lasts until a command ends it, even if this is dropped.
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) room: usize,
    /// The number of its node.
    pub(crate) node: usize,
    /// `true` if it stays until its node ends.
    pub(crate) resides: bool,
    /// The status that it has set as its presence.
    pub(crate) status: String,
    commands: UnboundedSender<Command>,
    seen: Arc<Mutex<Seen>>,
    connection: JoinHandle<()>,
}

/// The state that follows from all messages that it has received.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) view: View,
    /// The number of the last message from each node.
    pub(crate) heard: [u64; NODES],
    /// The number of times that its node was asked for the state of the room, and of the answers.
    asked: usize,
    answered: usize,
    state: RoomState,
    /// An unexpected event: a message of another kind than those above, or the end of the connection.
    trouble: Option<String>,
}

/// The state of a room at a node: the presence of its users, and the ids of the users whose assigns it has.
#[derive(Debug, Default)]
struct RoomState {
    shown: People,
    known: BTreeSet<String>,
}

enum Command {
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
        let (commands, received) = unbounded_channel();
        let seen = Arc::default();
        let connection = tokio::spawn(live(peer, name, received, Arc::clone(&seen)));
        Member { id, room, node, resides, status: "online".into(), commands, seen, connection }
    }

    /// Changes its presence.
    pub(crate) fn update_presence(&mut self, status: String) {
        self.command(Command::Say("status", json!({ "status": status })));
        self.status = status;
    }

    /// Sends a message to all members of the room.
    pub(crate) fn send(&self, number: u64, ballast: usize) {
        let message = json!({ "node": self.node, "number": number, "ballast": "x".repeat(ballast) });
        self.command(Command::Say("message", message));
    }

    /// Requests the state of the room from its node.
    pub(crate) fn request_state(&self) {
        self.seen().asked += 1;
        self.command(Command::Say("state", json!({})));
    }

    /// Returns `true` if an answer is outstanding.
    pub(crate) fn has_open_request(&self) -> bool {
        let seen = self.seen();
        seen.asked != seen.answered
    }

    pub(crate) fn leave(self) {
        self.command(Command::Leave);
    }

    /// Resets its connection.
    pub(crate) fn reset(self) {
        self.command(Command::Cut);
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// The unexpected event that the member has received, if any, such as the end of its membership.
    pub(crate) fn unexpected(&self) -> Option<String> {
        let trouble = self.seen().trouble.clone();
        trouble.or_else(|| self.connection.is_finished().then(|| "its connection has failed".into()))
    }

    fn command(&self, command: Command) {
        // The checker finds members whose connections have ended.
        let _ = self.commands.send(command);
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
                self.state = RoomState::of(payload);
            }
            // An eviction or an error.
            _ => drop(self.trouble.get_or_insert(message.to_string())),
        }
    }

    /// The difference to the present users, if any. There is none when all requests have been answered and all sources agree.
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
        (self.asked != self.answered).then(|| "a request is not answered".into())
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

impl RoomState {
    fn of(payload: &Value) -> RoomState {
        let object = |field: &str| payload[field].as_object().expect("an object").clone();
        let shown = object("presence").into_iter().map(|(id, shown)| (id, text(&shown["status"])));
        RoomState { shown: shown.collect(), known: object("assigns").into_iter().map(|(id, _)| id).collect() }
    }
}

/// Reads until the end of the connection, and executes commands.
async fn live(mut peer: Peer, room: String, mut commands: UnboundedReceiver<Command>, seen: Arc<Mutex<Seen>>) {
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
            Some(order) = commands.recv() => match order {
                Command::Say(event, payload) => drop(peer.event(&room, event, payload).await),
                Command::Leave => {
                    peer.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", &room, json!({})).await;
                    // The member has left: the way in which its connection ends does not matter.
                    while peer.message().await.is_ok_and(|message| message["event"] != "EXIT_ACKNOWLEDGE") {}
                    return;
                }
                Command::Cut => return peer.reset(),
            },
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
