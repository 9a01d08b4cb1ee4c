//! The requests of a client, and the counts of those that are queued.

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
    /// A malformed join. It is declined, unless the connection is a member at its turn.
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
    /// The size of the message in bytes.
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

/// The counts of the queued messages of a connection, in all its channels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueuedRequests {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// The number of joins among the messages.
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
    /// `receive_channel_buffer` messages are queued.
    Messages,
    /// `receive_bytes` are queued.
    Bytes,
    /// `max_pending_joins` joins are undecided.
    Joins,
}
