//! The places in a channel's queue at which delivery waits, because the store of the cluster has not given a message its
//! position yet.

use std::collections::VecDeque;

use super::history::Exclusion;
use super::{Audience, Batch, DeliveryPolicy, Slot};
use crate::id::UserId;
use crate::position::Position;
use crate::wire::Object;

/// A place in a queue, and the portions that wait behind it.
#[derive(Debug)]
pub(super) struct Barrier<R> {
    pub(super) place: Place<R>,
    pub(super) behind: VecDeque<Batch<R>>,
    /// The number of connections that join or leave in these portions.
    pub(super) moves: usize,
}

/// A place at which delivery waits.
#[derive(Debug)]
pub(super) enum Place<R> {
    /// The place of a message.
    Message(PendingMessage<R>),
    /// The place of a message that was delivered ahead of it, in its order among the messages of other nodes.
    Empty,
    /// The end of the replay to a connection that joins: it gets what was kept behind a position until here.
    Join { slot: Slot, user: UserId, after: Position },
}

/// A message that waits for its position.
#[derive(Debug)]
pub(super) struct PendingMessage<R> {
    /// Its number in the channel.
    pub(super) number: u64,
    /// `true` if the store has answered that it is not kept.
    pub(super) is_refused: bool,
    pub(super) to: Audience<R>,
    pub(super) event: String,
    pub(super) payload: Object,
    pub(super) policy: DeliveryPolicy,
    pub(super) excluded: Option<Exclusion>,
}

/// The size of a message without its event and payload, roughly, in bytes.
const ENVELOPE: usize = 128;

impl<R> Place<R> {
    /// The bytes that one recipient gets with the message, roughly.
    pub(super) fn weight(&self) -> usize {
        match self {
            Place::Message(message) => message.event.len() + message.payload.as_str().len() + ENVELOPE,
            Place::Empty | Place::Join { .. } => 0,
        }
    }
}
