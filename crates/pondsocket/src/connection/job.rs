//! A handler that is running for a connection.

use std::sync::Arc;

use pondsocket_proto::id::ChannelName;
use tokio::time::Instant;

use crate::context::{Call, Joined};
use crate::error::Result;
use crate::handler::BoxFuture;

/// A handler that has not finished at its first poll.
pub(super) struct Job {
    pub(super) room: ChannelName,
    /// Then it is cancelled.
    pub(super) deadline: Instant,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Join { request_id: Arc<str>, payload: Arc<str>, lobby: usize, future: BoxFuture<Result<Joined>> },
    Event { call: Arc<Call>, route: usize, future: BoxFuture<Result<()>> },
    Leave { future: BoxFuture<Result<()>> },
}
