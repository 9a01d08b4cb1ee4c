//! A handler that is running for a connection.

use std::sync::Arc;

use pondsocket_proto::id::ChannelName;
use tokio::time::Instant;
use tracing::Span;

use crate::context::{Call, EventContext, JoinContext};
use crate::endpoint::EndpointInner;
use crate::error::Result;
use crate::handler::BoxFuture;
use crate::handler::dispatch::Running;
use crate::lobby::LobbyInner;

/// A handler that has not finished at its first poll.
pub(super) struct Job {
    pub(super) room: ChannelName,
    /// Then it is cancelled.
    pub(super) deadline: Instant,
    pub(super) task: Task,
}

/// A handler, and what is told of it.
pub(super) struct Task {
    pub(super) kind: Kind,
    /// Only if somebody wants to know how long it takes.
    pub(super) started: Option<Instant>,
    pub(super) span: Span,
}

pub(super) enum Kind {
    Join { request_id: Arc<str>, future: Running<JoinContext, Arc<EndpointInner>> },
    Event { call: Arc<Call>, future: Running<EventContext, Arc<LobbyInner>> },
    Leave { lobby: usize, future: BoxFuture<Result<()>> },
}
