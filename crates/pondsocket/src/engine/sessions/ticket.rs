//! Tickets: what is known of the client of a session when its connection has ended.

use std::sync::Arc;

use pondsocket_proto::channel::Progress;
use pondsocket_proto::id::{ChannelName, UserId};
use tokio::time::Instant;

use crate::engine::answers::Answers;

/// The most channels of a ticket. A client could otherwise collect any number of them, with one connection after the other.
pub(super) const MAX_CHANNELS: usize = 1024;

/// The positions of a client when its connection ended, those of the last connection first.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    /// The version of the connection, in the records for other nodes; 0 without these.
    pub(super) version: u64,
    pub(crate) user: UserId,
    pub(crate) channels: Vec<(ChannelName, Progress)>,
    /// The messages that were handled. A handler may still add its answer.
    pub(crate) answers: Option<Arc<Answers>>,
}

/// A channel in which the client of an ended connection has received all that the connection was sent.
#[derive(Debug)]
pub(super) struct ReceivedAll {
    pub(super) channel: ChannelName,
    pub(super) progress: Progress,
    /// True if that includes all that earlier connections were sent.
    pub(super) with_earlier: bool,
}

/// A copy of a ticket, and the time until which the table keeps it; `None` if it was not in the table.
#[derive(Debug)]
pub(crate) struct KeptTicket {
    pub(super) ticket: Ticket,
    pub(super) until: Option<Instant>,
}
