use std::collections::BTreeMap;

use super::Followers;
use crate::channel::DeliveryPolicy;
use crate::model::Target;
use crate::position::{Epoch, Position};
use crate::wire::Object;

/// The most messages that wait for their turn. The store has those that do not fit.
const MAX_EARLY: usize = 1024;

/// The order of a history that the nodes of a cluster share: the store of the bus gives the positions.
///
/// Messages of other nodes come over the bus, the positions of this node's own messages as answers of the store. The two come
/// in any order. A message whose predecessors have not come waits here, and what other nodes have sent behind it without a position
/// waits with it.
#[derive(Debug)]
pub(in crate::channel) struct SharedOrder {
    pub(in crate::channel) stage: SharedStage,
    early: BTreeMap<(Epoch, u64), EarlyMessage>,
    /// The messages without a position, and the presence, that came behind early messages of other nodes.
    pub(in crate::channel) followers: Followers,
    /// `true` if a message did not fit.
    has_dropped: bool,
    /// The number of the last message of this node.
    pub(in crate::channel) last_number: u64,
    /// `true` if the store has given a message of this node a position that other nodes may not have seen.
    pub(in crate::channel) has_unshared_positions: bool,
    /// The last position of the history that the nodes share, when this node began to give positions by itself.
    pub(in crate::channel) left_at: Option<Position>,
}

/// The relation of a shared history to that of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::channel) enum SharedStage {
    /// It is yet to be read from the store.
    Loading,
    /// It goes on from where it was read.
    Loaded,
    /// The store is away: this node gives the positions by itself, in an epoch of its own.
    Detached,
    /// The same, but the store is back: messages wait for its positions until the history is read.
    Returning,
}

/// A message whose turn has not come.
#[derive(Debug)]
pub(in crate::channel) enum EarlyMessage {
    /// One of this node, by its number.
    Own(u64),
    /// One of another node.
    Other(Box<OtherMessage>),
}

/// A message of another node.
#[derive(Debug)]
pub(in crate::channel) struct OtherMessage {
    /// All, or all but one user.
    pub(in crate::channel) to: Target,
    /// The sender, which a replay leaves out, unless the message goes to all.
    pub(in crate::channel) from: Option<String>,
    pub(in crate::channel) event: String,
    pub(in crate::channel) payload: Object,
    pub(in crate::channel) policy: DeliveryPolicy,
    /// The time since it was appended, in milliseconds.
    pub(in crate::channel) age: u64,
    /// `true` if it was early already when the history was last read.
    pub(in crate::channel) is_overdue: bool,
}

impl SharedOrder {
    pub(in crate::channel) fn new() -> SharedOrder {
        let (stage, early) = (SharedStage::Loading, BTreeMap::new());
        let followers = Followers::default();
        SharedOrder {
            stage,
            early,
            followers,
            has_dropped: false,
            last_number: 0,
            has_unshared_positions: false,
            left_at: None,
        }
    }

    /// Adds a message that has come.
    pub(in crate::channel) fn add(&mut self, position: Position, message: EarlyMessage) {
        let Position { epoch, offset } = position;
        // Answers about own messages are bounded by the queue, and come only once.
        if matches!(message, EarlyMessage::Other(_)) && self.early.len() >= MAX_EARLY {
            self.has_dropped = true;
        } else {
            self.early.entry((epoch, offset)).or_insert(message);
        }
    }

    /// Takes the message at a position, if it has come.
    pub(in crate::channel) fn take(&mut self, Position { epoch, offset }: Position) -> Option<EarlyMessage> {
        self.early.remove(&(epoch, offset))
    }

    /// The position of the last message of another node that has come ahead of its turn, in this epoch.
    pub(in crate::channel) fn last_early(&self, epoch: Epoch) -> Option<Position> {
        let mut early = self.early.range((epoch, 0)..=(epoch, u64::MAX)).rev();
        let (&(epoch, offset), _) = early.find(|(_, message)| matches!(message, EarlyMessage::Other(_)))?;
        Some(Position { epoch, offset })
    }

    /// Returns `true` if messages wait for others that have not come.
    pub(in crate::channel) fn is_behind(&self) -> bool {
        self.has_dropped || !self.early.is_empty()
    }

    /// The history was read up to this position, and was in the epoch `last` before. Returns the numbers of the own messages that
    /// have no place in it: they were appended in another epoch. If it is neither of the two, other nodes may have passed it
    /// by: this node had reached a store that the others had left, or had not used yet. Messages of other nodes from an earlier epoch are dropped, because the members are told of
    /// the gap, and a late message would be out of order. Those of other epochs that have come since the last read may be of a
    /// later one, and stay.
    pub(in crate::channel) fn read_up_to(&mut self, top: Position, last: Epoch) -> Vec<u64> {
        self.has_dropped = false;
        self.has_unshared_positions &= top.epoch == last;
        let mut misplaced = Vec::new();
        let early = std::mem::take(&mut self.early);
        for ((epoch, offset), mut message) in early {
            match &mut message {
                _ if epoch == top.epoch && offset > top.offset => {}
                EarlyMessage::Other(other) if epoch != top.epoch && !other.is_overdue => other.is_overdue = true,
                // Of the same epoch: it was delivered with what was read.
                EarlyMessage::Other(_) => continue,
                EarlyMessage::Own(number) => {
                    misplaced.push(*number);
                    self.has_unshared_positions |= epoch != top.epoch && epoch != last;
                    continue;
                }
            }
            self.early.insert((epoch, offset), message);
        }
        misplaced
    }

    /// Takes all messages that wait, with their positions, and what waits behind them.
    pub(in crate::channel) fn take_all(&mut self) -> (Vec<(Position, EarlyMessage)>, Followers) {
        self.has_dropped = false;
        let early = std::mem::take(&mut self.early).into_iter();
        let early = early.map(|((epoch, offset), message)| (Position { epoch, offset }, message)).collect();
        (early, std::mem::take(&mut self.followers))
    }
}
