//! The end of a membership: it is counted, and the leave handler runs.

use std::sync::{Arc, OnceLock, Weak};

use pondsocket_proto::channel::Departure;
use pondsocket_proto::id::ChannelName;
use tracing::{Instrument, debug_span};

use super::inner::EndpointInner;
use crate::context::{LeaveContext, LeaveReason};
use crate::engine::live::GhostEnds;
use crate::error::Result;
use crate::handler::{BoxFuture, guard};
use crate::lobby::LobbyInner;
use crate::metrics::GraceEvent;
use crate::user::User;

/// A user that has left a channel.
pub(crate) struct Leave {
    pub(crate) endpoint: Arc<EndpointInner>,
    pub(crate) channel: ChannelName,
    pub(crate) lobby: Arc<LobbyInner>,
    pub(crate) user: User,
    pub(crate) reason: LeaveReason,
}

impl Leave {
    /// Logs and counts the leave, and calls the leave handler; `None` if there is none.
    pub(crate) fn handle(self) -> Option<BoxFuture<'static, Result<()>>> {
        let Leave { endpoint, channel: name, lobby, user, reason } = self;
        let (path, channel) = (&*endpoint.observer.endpoint, name.as_str());
        tracing::debug!(target: "pondsocket::channel", endpoint = path, channel, user = user.id(), %reason, "left");
        // The membership of an orphan was counted by its own node.
        if reason != LeaveReason::Expired {
            endpoint.observer.count(|metrics, path| metrics.channel_left(path, user.id(), channel, reason.kind()));
        }
        let route = OnceLock::new();
        Arc::clone(&lobby).left(LeaveContext { endpoint, name, user, reason, lobby, route })
    }

    /// Runs the leave handler on a task of its own, where no connection's task waits for it.
    pub(crate) fn spawn(self) {
        let (endpoint, lobby) = (Arc::clone(&self.endpoint), Arc::clone(&self.lobby));
        let (name, user, reason) = (self.channel.clone(), self.user.id.clone(), &self.reason);
        let (path, channel) = (&*endpoint.observer.endpoint, name.as_str());
        // A span without a parent: the code that has removed the member does not wait, and may be the handler of another user.
        let span =
            debug_span!(target: "pondsocket::handler", parent: None, "leave", endpoint = path, channel, %user, %reason);
        let Some(handler) = span.in_scope(|| self.handle()) else { return };
        let deadline = endpoint.settings().handler_timeout;
        let permit = endpoint.common.drain.handlers.permit();
        let hub = Arc::clone(&endpoint.hub);
        let leaving = async move {
            let started = endpoint.observer.start();
            let outcome = guard::run(handler, deadline).await.unwrap_or_else(|late| Err(late.into()));
            endpoint.finish_leave((name.as_str(), user.as_str()), &lobby, started, &outcome);
            drop(permit);
        };
        hub.spawn(leaving.instrument(span));
    }
}

impl EndpointInner {
    /// Logs and counts an event of the presence grace of a member.
    pub(crate) fn note_grace(&self, channel: &str, user: &str, event: GraceEvent) {
        let endpoint = &*self.observer.endpoint;
        tracing::debug!(target: "pondsocket::channel", endpoint, channel, user, %event, "presence grace");
        self.observer.count(|metrics, endpoint| metrics.presence_grace(endpoint, channel, user, event));
    }

    /// Notes that the membership of a ghost goes on at another node or in the next server. No leave handler runs here: the user
    /// has not left.
    pub(crate) fn note_gone_on(&self, channel: &str, ghost: &Departure, event: GraceEvent) {
        let user = ghost.user.as_str();
        self.note_grace(channel, user, event);
        // The membership of this server has ended nevertheless: `channel_joined` was counted for it.
        self.observer.count(|metrics, endpoint| metrics.channel_left(endpoint, user, channel, event.as_str()));
    }
}

/// The leave handlers of the ghosts of an endpoint. The reference is weak, because the endpoint holds the hub.
pub(crate) struct GhostLeaves(Weak<EndpointInner>);

impl GhostLeaves {
    /// Has the leave handlers of the ghosts of a new endpoint run.
    pub(crate) fn serve(endpoint: &Arc<EndpointInner>) {
        endpoint.hub.set_ghost_ends(GhostLeaves(Arc::downgrade(endpoint)));
    }
}

impl GhostEnds<LobbyInner> for GhostLeaves {
    fn expired(&self, channel: &ChannelName, lobby: &Arc<LobbyInner>, departure: Departure) {
        let Some(endpoint) = self.0.upgrade() else { return };
        endpoint.note_grace(channel.as_str(), departure.user.as_str(), GraceEvent::Expired);
        let (channel, lobby) = (channel.clone(), Arc::clone(lobby));
        Leave { endpoint, channel, lobby, user: User::departed(departure), reason: LeaveReason::Closed }.spawn();
    }

    fn saved(&self, channel: &ChannelName, ghost: &Departure) {
        if let Some(endpoint) = self.0.upgrade() {
            endpoint.note_gone_on(channel.as_str(), ghost, GraceEvent::Saved);
        }
    }
}
