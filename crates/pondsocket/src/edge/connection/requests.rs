//! The requests of a client, and how many of them wait.

use std::sync::Arc;

use pondsocket_proto::wire::client::MalformedMessage;

use crate::context::EventMessage;
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
