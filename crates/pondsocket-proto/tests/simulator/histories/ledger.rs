//! All messages that were sent into histories, and the positions that they were given.

use std::collections::{HashMap, HashSet};

use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::position::{Epoch, Position};

use super::super::checker::Violation;
use super::super::redis::Peer;

/// The event of a message that everybody gets, of one that an outgoing handler decides about, and of one that is not kept.
pub(super) const NEWS: &str = "news";
pub(super) const SECRET: &str = "secret";
pub(super) const TYPING: &str = "typing";

/// Returns whether an outgoing handler blocks secrets for a client.
pub(super) fn is_blocked(client: usize) -> bool {
    client % 2 == 1
}

/// The recipients that a message leaves out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LeftOut {
    Nobody,
    /// The user of this client, with all its connections.
    User(usize),
    /// This connection of a client. A client that comes back does not get it either, and need not on another node.
    Connection {
        client: usize,
        connection: usize,
    },
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) event: &'static str,
    pub(super) left_out: LeftOut,
    /// True if it is to have a position. Others may come again over another node.
    pub(super) is_kept: bool,
    /// The node that has sent it, if it is one of ours, and the time.
    pub(super) by: Option<(Peer, u64)>,
}

/// A node that gives positions without the store.
#[derive(Clone, Debug)]
pub(super) struct Detached {
    pub(super) peer: Peer,
    pub(super) key: ChannelKey,
    pub(super) serial: u64,
    pub(super) since: u64,
    /// True if it has given one to a message that the store has not.
    pub(super) has_sent: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    sent: Vec<Sent>,
    /// The message at each position.
    given: HashMap<Position, usize>,
    /// The last position of each message.
    places: HashMap<usize, Position>,
    /// The messages that have two positions of one epoch: the store had removed them when they were appended again.
    given_twice: HashSet<usize>,
    /// By the epoch.
    pub(super) detached: HashMap<Epoch, Detached>,
}

impl Ledger {
    /// Notes a message, and returns its number.
    pub(super) fn send(&mut self, sent: Sent) -> usize {
        self.sent.push(sent);
        self.sent.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn message(&self, number: usize) -> Sent {
        self.sent[number]
    }

    /// The store has given a position. `kept` is the most messages that it keeps: one that it has removed it does not know.
    pub(super) fn give(&mut self, position: Position, number: usize, kept: usize) -> Result<(), Violation> {
        if let Some(other) = self.given.insert(position, number) {
            let what = format!("the store gives {position} to message {number}, and has given it to {other}");
            return Err(Violation { rule: "H3", what });
        }
        let before = self.places.insert(number, position).filter(|place| place.epoch == position.epoch);
        if let Some(place) = before {
            if place.offset + kept as u64 > position.offset {
                let what = format!("the store gives {position} to message {number}, which has {place}");
                return Err(Violation { rule: "H4", what });
            }
            self.given_twice.insert(number);
        }
        Ok(())
    }

    /// Returns whether a message has two positions of one epoch, and so comes twice.
    pub(super) fn is_given_twice(&self, number: usize) -> bool {
        self.given_twice.contains(&number)
    }

    /// A client has received a message at a position.
    pub(super) fn check(&mut self, position: Position, number: usize) -> Result<(), Violation> {
        if let Some(detached) = self.detached.get_mut(&position.epoch) {
            // The members of other nodes get what has a place in the store.
            detached.has_sent |= !self.places.contains_key(&number);
            self.given.entry(position).or_insert(number);
        }
        match self.given.get(&position) {
            Some(given) if *given == number => Ok(()),
            given => Err(Violation {
                rule: "H3",
                what: format!("message {number} comes at {position}, which is that of {given:?}"),
            }),
        }
    }

    pub(super) fn is_of_one_node(&self, position: Position) -> bool {
        self.detached.contains_key(&position.epoch)
    }

    /// Returns whether a client does not get the message at a position, or need not. One that a single node has given is known
    /// once a client has received it.
    pub(super) fn leaves_out(&self, position: Position, client: usize) -> bool {
        let given = self.given.get(&position).map(|number| self.sent[*number]);
        given.map_or_else(|| self.is_of_one_node(position), |sent| sent.leaves_out(client))
    }
}

/// The position with this offset.
pub(super) fn at(epoch: Epoch, offset: u64) -> Position {
    Position { epoch, offset }
}

impl Sent {
    fn leaves_out(self, client: usize) -> bool {
        let is_left_out = match self.left_out {
            LeftOut::Nobody => false,
            LeftOut::User(sender) | LeftOut::Connection { client: sender, .. } => sender == client,
        };
        is_left_out || self.is_blocked_for(client)
    }

    /// Returns whether an outgoing handler blocks the message for a client.
    pub(super) fn is_blocked_for(self, client: usize) -> bool {
        self.event == SECRET && is_blocked(client)
    }

    /// Returns whether a client must not get the message on a connection.
    pub(super) fn is_forbidden(self, client: usize, connection: usize) -> bool {
        let is_left_out = match self.left_out {
            LeftOut::Nobody => false,
            LeftOut::User(sender) => sender == client,
            LeftOut::Connection { connection: sender, .. } => sender == connection,
        };
        is_left_out || self.is_blocked_for(client)
    }
}
