//! A handler that is running for a connection.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::subscription::{JoinRequest, SubscriptionId};
use crate::context::{Call, ChannelMembership, EventContext, EventMessage, GapMessages, JoinContext, Joined};
use crate::endpoint::{EndpointInner, Live};
use crate::engine::answers::Answers;
use crate::engine::outbox::Hole;
use crate::error::Result;
use crate::handler::BoxFuture;
use crate::handler::dispatch::HandlerFuture;
use crate::lobby::LobbyInner;

/// The longest time for which a join waits for the subscription of its channel's topic. Afterwards it proceeds without.
const SUBSCRIBE_WAIT: Duration = Duration::from_millis(250);

/// The longest time for which a join waits for the history of its channel. Long before that a channel goes on without the store.
const LOAD_WAIT: Duration = Duration::from_secs(5);

/// The handlers of a connection that were pending after their first poll.
///
/// Boxed, because every connection has room for this list: 8 bytes in place of 24.
#[derive(Default)]
pub(super) struct RunningHandlers(
    #[expect(clippy::box_collection, reason = "see above")] Option<Box<Vec<RunningHandler>>>,
);

impl RunningHandlers {
    pub(super) fn push(&mut self, handler: RunningHandler) {
        self.0.get_or_insert_default().push(handler);
    }

    /// Puts a handler back into its place, from which it was taken.
    pub(super) fn put_back(&mut self, at: usize, handler: RunningHandler) {
        let handlers = self.0.get_or_insert_default();
        handlers.push(handler);
        let last = handlers.len() - 1;
        handlers.swap(at, last);
    }

    /// Takes a handler out; the last one takes its place.
    pub(super) fn take(&mut self, at: usize) -> Option<RunningHandler> {
        let handlers = self.0.as_mut().filter(|handlers| at < handlers.len())?;
        Some(handlers.swap_remove(at))
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&RunningHandler) -> bool) {
        if let Some(handlers) = &mut self.0 {
            handlers.retain(keep);
        }
    }

    /// Takes all handlers out.
    pub(super) fn take_all(&mut self) -> Vec<RunningHandler> {
        self.0.take().map(|handlers| *handlers).unwrap_or_default()
    }

    /// Frees the memory of the list if it is empty. Not done for each handler that ends, because the next one may be about to
    /// start.
    pub(super) fn free_if_empty(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }
}

impl Deref for RunningHandlers {
    type Target = [RunningHandler];

    fn deref(&self) -> &[RunningHandler] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

/// A handler that was pending after its first poll.
pub(super) struct RunningHandler {
    pub(super) subscription: SubscriptionId,
    /// The time at which it is cancelled. `None` for a join that waits for its turn.
    pub(super) deadline: Option<Instant>,
    /// The size of the message.
    pub(super) bytes: usize,
    pub(super) task: HandlerTask,
}

/// A handler, and the data for its metrics and logs.
pub(super) struct HandlerTask {
    pub(super) kind: TaskKind,
    /// `None` if its duration is not measured.
    pub(super) started: Option<Instant>,
    pub(super) span: Span,
}

pub(super) enum TaskKind {
    /// A join that waits for its turn among the clients that arrive.
    Arriving {
        request: JoinRequest,
        turn: BoxFuture<'static, ()>,
    },
    /// A join whose handler starts when the history of the channel was read. `since` is the begin of the wait for that.
    Loading {
        request: JoinRequest,
        history: BoxFuture<'static, bool>,
        since: Instant,
    },
    Join {
        request_id: Arc<str>,
        future: HandlerFuture<JoinContext, Arc<EndpointInner>>,
    },
    /// An accepted join, which is acknowledged when the messages of other nodes for the channel are received. `since` is the
    /// begin of the wait for that.
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
    /// A message that was handled before, or is being handled.
    Repeat {
        repeat: Box<Repeat>,
        finished: BoxFuture<'static, ()>,
    },
    Leave {
        lobby: Arc<LobbyInner>,
        future: BoxFuture<'static, Result<()>>,
    },
}

impl TaskKind {
    /// Returns whether this decides about a join.
    pub(super) fn is_join(&self) -> bool {
        matches!(
            self,
            TaskKind::Arriving { .. } | TaskKind::Join { .. } | TaskKind::Opening { .. } | TaskKind::Loading { .. }
        )
    }

    /// Returns whether this runs code of the application.
    pub(super) fn is_handler(&self) -> bool {
        matches!(self, TaskKind::Join { .. } | TaskKind::Event { .. } | TaskKind::Leave { .. })
    }

    /// The deadline of what has begun now. `timeout` is that of handlers.
    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        match self {
            TaskKind::Arriving { .. } => None,
            TaskKind::Opening { since, .. } => Some(*since + SUBSCRIBE_WAIT),
            TaskKind::Loading { since, .. } => Some(*since + LOAD_WAIT),
            _ => Some(Instant::now() + timeout),
        }
    }
}

/// A message that the client has sent again.
pub(super) struct Repeat {
    pub(super) membership: ChannelMembership,
    pub(super) message: EventMessage,
    pub(super) answers: Arc<Answers>,
}

/// A gap that is not settled: the hole stays at the front of the outbox.
pub(super) struct PendingGap {
    pub(super) hole: Hole,
    pub(super) live: Arc<Live>,
    pub(super) stage: GapStage,
    /// The time at which the handler is cancelled, or the connection ends.
    pub(super) until: Instant,
}

pub(super) enum GapStage {
    /// The gap handler runs.
    Handling { future: BoxFuture<'static, Result<()>>, sent: Arc<GapMessages>, started: Option<Instant> },
    /// The connection ends, at a time of its own if many have a gap.
    Ending,
}
