//! A load that checks that all members of a channel receive the same messages in the same order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Peer, Rng};

/// Channels with members that publish, members that only receive, and members that join and leave, all at once.
///
/// The server broadcasts the payload of the event `later` after `ms` milliseconds and that of `message` at once, and
/// announces joins and leaves to the channel.
#[derive(Clone, Copy, Debug)]
pub struct OrderLoad {
    /// Channels that are used at once.
    pub channels: usize,
    /// Members of each channel that publish and receive.
    pub publishers: u64,
    /// Members of each channel that receive, from before the first message until after the last.
    pub receivers: usize,
    /// Members of each channel that join and leave again and again.
    pub joiners: u64,
    /// Messages of each publisher.
    pub messages: u64,
    /// The seed of all pauses and of the actions of the members that join and leave.
    pub seed: u64,
}

/// The origin and the number of a published message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Number {
    sender: u64,
    number: u64,
}

/// A message that a member received. Its id is the same for all recipients.
#[derive(Clone, Debug, Eq, PartialEq)]
struct ReceivedMessage {
    id: String,
    published: Option<Number>,
}

impl ReceivedMessage {
    fn of(message: &Value) -> ReceivedMessage {
        let number = |name: &str| message["payload"][name].as_u64().expect("as it was published");
        let published = message["event"] == "later";
        ReceivedMessage {
            id: message["requestId"].as_str().expect("every message has an id").to_owned(),
            published: published.then(|| Number { sender: number("sender"), number: number("number") }),
        }
    }
}

/// The messages of one membership, from its ACKNOWLEDGE to its leave.
type Part = Vec<ReceivedMessage>;

/// The longest time between two messages. A server and all its clients on one busy machine take longer than
/// [`DEADLINE`](crate::DEADLINE) allows.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Messages of a publisher that are on their way at once.
const WINDOW: u64 = 32;

/// A channel of the server under test.
#[derive(Clone)]
struct Room {
    load: OrderLoad,
    address: SocketAddr,
    path: String,
    channel: String,
    seed: u64,
}

impl OrderLoad {
    /// Runs the load at a server: clients connect to `path`, and the names of the channels begin with `prefix`. Returns
    /// the number of deliveries; fails the test if two members got messages in different orders, or one a gap.
    pub async fn run(self, address: SocketAddr, path: &str, prefix: &str) -> usize {
        let rooms = (0..self.channels).map(|n| {
            let (path, channel) = (path.to_owned(), format!("{prefix}/{n}"));
            let room = Room { load: self, address, path, channel, seed: self.seed ^ n as u64 };
            tokio::spawn(async move { room.run().await })
        });
        let mut deliveries = 0;
        for room in rooms.collect::<Vec<_>>() {
            deliveries += room.await.expect("the room is in order");
        }
        deliveries
    }
}

impl Room {
    async fn run(&self) -> usize {
        let mut receivers = Vec::new();
        for _ in 0..self.load.receivers {
            receivers.push(tokio::spawn(receive(self.member().await)));
        }
        let publishers = (0..self.load.publishers).map(|sender| {
            let (room, rng) = (self.clone(), Rng::new(self.seed << 8 | sender));
            tokio::spawn(async move { room.publish(sender, rng).await })
        });
        let publishers: Vec<_> = publishers.collect();
        let busy = Arc::new(AtomicBool::new(true));
        let joiners = (0..self.load.joiners).map(|n| {
            let (room, busy, rng) = (self.clone(), Arc::clone(&busy), Rng::new(self.seed << 8 | 0x80 | n));
            tokio::spawn(async move { room.join_and_leave(&busy, rng).await })
        });
        let joiners: Vec<_> = joiners.collect();

        let mut parts = Vec::new();
        for publisher in publishers {
            parts.push(publisher.await.expect("a publisher gets everything"));
        }
        busy.store(false, Ordering::SeqCst);
        // The announcement of this member's join wakes the members that join and leave and now wait for a message: the
        // last message of others may have arrived before they saw that the load has ended.
        let mut last = self.member().await;
        for joiner in joiners {
            parts.extend(joiner.await.expect("a joiner gets its parts"));
        }
        last.event(&self.channel, "message", json!({})).await;
        let mut whole = Vec::new();
        for receiver in receivers {
            whole.push(receiver.await.expect("a receiver gets everything"));
        }
        self.check(whole, parts)
    }

    async fn member(&self) -> Peer {
        let mut peer = Peer::connect(self.address, &self.path).await;
        self.join(&mut peer).await;
        peer
    }

    async fn join(&self, peer: &mut Peer) {
        let payload = json!({ "username": "member" });
        let id = peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", &self.channel, payload).await;
        let answer = next(peer).await;
        assert_eq!((&answer["event"], &answer["requestId"]), (&json!("ACKNOWLEDGE"), &json!(id)), "{answer}");
    }

    /// Publishes, and receives all that is published meanwhile.
    async fn publish(&self, sender: u64, mut rng: Rng) -> Part {
        let mut peer = self.member().await;
        let (mut part, mut sent, mut own) = (Part::new(), 0, 0);
        while own < self.load.messages {
            // A bounded window keeps the server busy without filling its queues, whose limits are not under test here.
            while sent < self.load.messages && sent - own < WINDOW {
                let later = json!({ "ms": rng.below(21), "payload": { "sender": sender, "number": sent } });
                peer.event(&self.channel, "later", later).await;
                sent += 1;
            }
            let message = ReceivedMessage::of(&next(&mut peer).await);
            own += u64::from(message.published.is_some_and(|published| published.sender == sender));
            part.push(message);
        }
        part
    }

    /// Joins and leaves while publishers are busy: sometimes with a leave message, sometimes by closing the connection.
    async fn join_and_leave(&self, busy: &AtomicBool, mut rng: Rng) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut peer = Peer::connect(self.address, &self.path).await;
        while busy.load(Ordering::SeqCst) {
            // Fails if a message of the previous membership arrives before this acknowledgement.
            self.join(&mut peer).await;
            let mut part = Part::new();
            for _ in 0..=rng.below(30) {
                if !busy.load(Ordering::SeqCst) {
                    break;
                }
                part.push(ReceivedMessage::of(&next(&mut peer).await));
            }
            if rng.below(4) == 0 {
                peer = Peer::connect(self.address, &self.path).await;
            } else {
                peer.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", &self.channel, json!({})).await;
                loop {
                    let message = next(&mut peer).await;
                    if message["event"] == "EXIT_ACKNOWLEDGE" {
                        break;
                    }
                    part.push(ReceivedMessage::of(&message));
                }
            }
            parts.push(part);
        }
        parts
    }

    /// Compares the messages of each membership with those of one receiver. Returns the number of deliveries.
    fn check(&self, mut whole: Vec<Part>, parts: Vec<Part>) -> usize {
        // Each part must be a contiguous piece of this one: then all members agree on one order.
        let reference = whole.remove(0);
        self.check_reference(&reference);
        let at: HashMap<&str, usize> = reference.iter().enumerate().map(|(at, message)| (&*message.id, at)).collect();
        // The map has one entry for each id.
        assert_eq!(at.len(), reference.len(), "something was delivered twice");
        for part in &whole {
            assert_eq!(part.last(), reference.last(), "a member that stays gets the last message");
        }
        let all: Vec<&Part> = whole.iter().chain(&parts).collect();
        for part in &all {
            let Some(first) = part.first() else { continue };
            let from = at[&*first.id];
            let expected = reference.get(from..from + part.len()).expect("no member gets more messages than there are");
            assert!(*part == expected, "an inversion or a gap: {}", first_difference(part, expected));
        }
        reference.len() + all.iter().map(|part| part.len()).sum::<usize>()
    }

    /// A member that was there from the beginning has every message of every sender, in the sender's order.
    fn check_reference(&self, reference: &[ReceivedMessage]) {
        let mut next = HashMap::new();
        for published in reference.iter().filter_map(|message| message.published) {
            let number = next.entry(published.sender).or_insert(0);
            assert_eq!(published.number, *number, "sender {} out of order", published.sender);
            *number += 1;
        }
        assert_eq!(next.len() as u64, self.load.publishers);
        assert!(next.values().all(|count| *count == self.load.messages), "messages are missing: {next:?}");
    }
}

/// The next message of a client.
async fn next(peer: &mut Peer) -> Value {
    let message = timeout(TIMEOUT, peer.message()).await.expect("a message in time");
    message.unwrap_or_else(|other| panic!("no text message but {other:?}"))
}

/// Receives up to the last message.
async fn receive(mut peer: Peer) -> Part {
    let mut part = Part::new();
    loop {
        let message = next(&mut peer).await;
        part.push(ReceivedMessage::of(&message));
        if message["event"] == "message" {
            return part;
        }
    }
}

fn first_difference(part: &[ReceivedMessage], expected: &[ReceivedMessage]) -> String {
    let at = part.iter().zip(expected).position(|(is, should)| is != should).unwrap_or(part.len());
    format!("at {at} of {}: {:?} in place of {:?}", part.len(), part.get(at), expected.get(at))
}
