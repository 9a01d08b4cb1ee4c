//! The end of a membership: it is counted, and the leave handler runs.

use std::sync::{Arc, OnceLock};

use pondsocket_proto::channel::Departure;
use pondsocket_proto::id::ChannelName;
use tracing::{Instrument, debug_span};

use super::inner::EndpointInner;
use crate::context::{LeaveContext, LeaveReason};
use crate::error::Result;
use crate::handler::{BoxFuture, guard};
use crate::lobby::LobbyInner;
use crate::user::User;

/// A user that has left a channel.
pub(crate) struct Leave {
    pub(crate) endpoint: Arc<EndpointInner>,
    pub(crate) channel: ChannelName,
    pub(crate) lobby: Arc<LobbyInner>,
    pub(crate) departure: Departure,
    pub(crate) reason: LeaveReason,
}

impl Leave {
    /// Logs and counts the leave, and calls the leave handler; `None` if there is none.
    pub(crate) fn handle(self) -> Option<BoxFuture<'static, Result<()>>> {
        let Leave { endpoint, channel: name, lobby, departure, reason } = self;
        let user = User::of(departure.user, departure.member);
        let (path, channel) = (&*endpoint.observer.endpoint, name.as_str());
        tracing::debug!(target: "pondsocket::channel", endpoint = path, channel, user = user.id(), %reason, "left");
        endpoint.observer.count(|metrics, path| metrics.channel_left(path, user.id(), channel, reason.kind()));
        let route = OnceLock::new();
        Arc::clone(&lobby).left(LeaveContext { endpoint, name, user, reason, lobby, route })
    }

    /// Runs the leave handler on a task of its own, where no connection's task waits for it.
    pub(crate) fn spawn(self) {
        let (endpoint, lobby) = (Arc::clone(&self.endpoint), Arc::clone(&self.lobby));
        let (name, user, reason) = (self.channel.clone(), self.departure.user.clone(), &self.reason);
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
