//! A handler that is running for a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::subscription::SubscriptionId;
use crate::context::{Call, EventContext, JoinContext, Joined};
use crate::endpoint::EndpointInner;
use crate::error::Result;
use crate::handler::BoxFuture;
use crate::handler::dispatch::HandlerFuture;
use crate::lobby::LobbyInner;

/// The time for which a join waits for the subscription of its channel's topic. Then it goes on without.
const SUBSCRIBE_WAIT: Duration = Duration::from_millis(250);

/// A handler that has not finished at its first poll.
pub(super) struct RunningHandler {
    pub(super) subscription: SubscriptionId,
    /// Then it is cancelled.
    pub(super) deadline: Instant,
    /// The size of the message.
    pub(super) bytes: usize,
    pub(super) task: HandlerTask,
}

/// A handler, and the data for its metrics and logs.
pub(super) struct HandlerTask {
    pub(super) kind: TaskKind,
    /// Only if its duration is measured.
    pub(super) started: Option<Instant>,
    pub(super) span: Span,
}

pub(super) enum TaskKind {
    Join {
        request_id: Arc<str>,
        future: HandlerFuture<JoinContext, Arc<EndpointInner>>,
    },
    /// The join is accepted. It is acknowledged when what others say in the channel is heard, which is waited for since
    /// then.
    Opening {
        request_id: Arc<str>,
        joined: Joined,
        topic: BoxFuture<'static, ()>,
        since: Instant,
    },
    Event {
        call: Arc<Call>,
        future: HandlerFuture<EventContext, Arc<LobbyInner>>,
    },
    Leave {
        lobby: Arc<LobbyInner>,
        future: BoxFuture<'static, Result<()>>,
    },
}

impl TaskKind {
    /// Returns `true` if a client's join waits for it.
    pub(super) fn is_join(&self) -> bool {
        matches!(self, TaskKind::Join { .. } | TaskKind::Opening { .. })
    }

    /// Returns `true` if application code runs.
    pub(super) fn is_handler(&self) -> bool {
        !matches!(self, TaskKind::Opening { .. })
    }

    /// The moment at which it is to end, if not when the time of a handler is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            TaskKind::Opening { since, .. } => Some(*since + SUBSCRIBE_WAIT),
            _ => None,
        }
    }
}
