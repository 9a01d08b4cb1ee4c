//! A connection's membership of one channel, and its requests there.

use std::collections::VecDeque;
use std::sync::Arc;

use pondsocket_proto::channel::Departure;
use pondsocket_proto::wire::client::MalformedMessage;

use crate::context::{ChannelMembership, EventMessage};
use crate::error::Error;

/// A client's request in a channel.
#[derive(Debug)]
pub(super) enum Request {
    Join {
        request_id: Arc<str>,
        payload: Arc<str>,
    },
    /// A join that cannot be parsed, and so is declined, unless the connection is in the channel at its turn.
    MalformedJoin {
        malformed: Box<MalformedMessage>,
        error: Error,
    },
    Event(EventMessage),
    Leave {
        request_id: Box<str>,
    },
}

impl Request {
    /// The bytes of what the client has sent.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Request::Join { request_id, payload } => request_id.len() + payload.len(),
            Request::MalformedJoin { malformed, .. } => malformed.bytes(),
            Request::Event(message) => message.bytes(),
            Request::Leave { request_id } => request_id.len(),
        }
    }

    pub(super) fn is_join(&self) -> bool {
        matches!(self, Request::Join { .. } | Request::MalformedJoin { .. })
    }
}

/// The messages of a connection that wait for their turn, in all its channels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueuedRequests {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// Those of the messages that are joins.
    pub(super) joins: usize,
}

impl QueuedRequests {
    pub(super) fn add(&mut self, request: &Request) {
        self.messages += 1;
        self.bytes += request.bytes();
        self.joins += usize::from(request.is_join());
    }

    pub(super) fn remove(&mut self, request: &Request) {
        self.messages -= 1;
        self.bytes -= request.bytes();
        self.joins -= usize::from(request.is_join());
    }
}

/// A limit that a connection has reached, so that it is not read until there is room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReadPause {
    /// `receive_channel_buffer` messages wait.
    Messages,
    /// `receive_bytes` wait.
    Bytes,
    /// `max_pending_joins` are undecided.
    Joins,
}

/// One channel of one connection: its slot there, and the queue of its requests, which are handled one at a time.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Its slot. It may have been taken out since: the channel knows.
    pub(super) membership: Option<ChannelMembership>,
    /// Only while there is something to do.
    pub(super) backlog: Option<Box<Backlog>>,
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// In the order of arrival.
    pub(super) queue: VecDeque<Request>,
    /// The connection has gone; what it had sent as a member is still handled.
    pub(super) ended: Option<EndedMembership>,
}

/// The end of a membership by the end of its connection.
#[derive(Clone, Debug)]
pub(super) struct EndedMembership {
    pub(super) membership: ChannelMembership,
    /// There if the user has left the channel with it.
    pub(super) departure: Option<Arc<Departure>>,
    /// Whether the leave handler has been started.
    pub(super) leave_started: bool,
}

impl Subscription {
    /// Keeps only what was received while the connection was a member: a join that was not decided, and everything
    /// behind it or behind a leave, is dropped. Answers what is left.
    pub(super) fn keep_accepted(&mut self, member: bool) -> QueuedRequests {
        let Some(backlog) = &mut self.backlog else { return QueuedRequests::default() };
        let accepted = backlog.queue.iter().take_while(|request| matches!(request, Request::Event(_))).count();
        backlog.queue.truncate(if member { accepted } else { 0 });
        // A queue of many may have become one of few.
        backlog.queue.shrink_to_fit();
        let bytes = backlog.queue.iter().map(Request::bytes).sum();
        QueuedRequests { messages: backlog.queue.len(), bytes, joins: 0 }
    }
}
