//! What a connection has to do with one channel.

use std::collections::VecDeque;
use std::sync::Arc;

use pondsocket_proto::channel::{Departure, Membership, Slot};
use pondsocket_proto::wire::client::MalformedMessage;

use crate::endpoint::Live;
use crate::error::Error;

/// A place in a live channel.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) live: Arc<Live>,
    pub(crate) slot: Slot,
    /// The membership of the connection's user, which it may share with other connections.
    pub(crate) membership: Membership,
}

/// Something that a client asked for in a channel.
#[derive(Debug)]
pub(super) enum Work {
    Join {
        request_id: Arc<str>,
        payload: Arc<str>,
    },
    /// A join that cannot be read, and so is declined, unless the connection is in the channel at its turn.
    MalformedJoin {
        malformed: Box<MalformedMessage>,
        error: Error,
    },
    Event {
        event: Box<str>,
        request_id: Box<str>,
        payload: Box<str>,
    },
    Leave {
        request_id: Box<str>,
    },
}

impl Work {
    /// The bytes of what the client has sent.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Work::Join { request_id, payload } => request_id.len() + payload.len(),
            Work::MalformedJoin { malformed, .. } => malformed.bytes(),
            Work::Event { event, request_id, payload } => event.len() + request_id.len() + payload.len(),
            Work::Leave { request_id } => request_id.len(),
        }
    }

    pub(super) fn is_join(&self) -> bool {
        matches!(self, Work::Join { .. } | Work::MalformedJoin { .. })
    }
}

/// The messages of a connection that wait for their turn, in all its channels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// Those of the messages that are joins.
    pub(super) joins: usize,
}

impl Waiting {
    pub(super) fn add(&mut self, work: &Work) {
        self.messages += 1;
        self.bytes += work.bytes();
        self.joins += usize::from(work.is_join());
    }

    pub(super) fn remove(&mut self, work: &Work) {
        self.messages -= 1;
        self.bytes -= work.bytes();
        self.joins -= usize::from(work.is_join());
    }
}

/// A limit that a connection has reached, so that it is not read until there is room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pause {
    /// `receive_channel_buffer` messages wait.
    Messages,
    /// `receive_bytes` wait.
    Bytes,
    /// `max_pending_joins` are undecided.
    Joins,
}

/// One channel of one connection: its place there, and the queue of what is to be done, one at a time.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Where it sits. It may have been taken out since: the channel knows.
    pub(super) seat: Option<Seat>,
    /// Only while there is something to do.
    pub(super) busy: Option<Box<Busy>>,
}

#[derive(Debug, Default)]
pub(super) struct Busy {
    /// In the order of arrival.
    pub(super) queue: VecDeque<Work>,
    /// The connection has gone; what it had sent as a member is still handled.
    pub(super) gone: Option<Gone>,
}

/// The end of a membership by the end of its connection.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    pub(super) seat: Seat,
    /// There if the user has left the channel with it.
    pub(super) departure: Option<Arc<Departure>>,
    /// Whether the leave handler has been started.
    pub(super) told: bool,
}

impl Room {
    /// Keeps only what was received while the connection was a member: a join that was not decided, and everything
    /// behind it or behind a leave, is dropped. Answers what is left.
    pub(super) fn keep_accepted(&mut self, member: bool) -> Waiting {
        let Some(busy) = &mut self.busy else { return Waiting::default() };
        let accepted = busy.queue.iter().take_while(|work| matches!(work, Work::Event { .. })).count();
        busy.queue.truncate(if member { accepted } else { 0 });
        // A queue of many may have become one of few.
        busy.queue.shrink_to_fit();
        let bytes = busy.queue.iter().map(Work::bytes).sum();
        Waiting { messages: busy.queue.len(), bytes, joins: 0 }
    }
}
