//! What a connection has to do with one channel.

use std::collections::VecDeque;
use std::sync::Arc;

use pondsocket_proto::channel::{Departure, Membership, Slot};

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
        request_id: Arc<str>,
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
    /// behind it or behind a leave, is dropped. Answers how many are left.
    pub(super) fn keep_accepted(&mut self, member: bool) -> usize {
        let Some(busy) = &mut self.busy else { return 0 };
        let accepted = busy.queue.iter().take_while(|work| matches!(work, Work::Event { .. })).count();
        busy.queue.truncate(if member { accepted } else { 0 });
        busy.queue.len()
    }
}
