//! The outcomes of the event handlers of one connection, and the reports to hooks and metrics.

use std::sync::Arc;

use tokio::time::Instant;

use super::session::Session;
use crate::channel::Channel;
use crate::context::Call;
use crate::engine::handle::ConnectionHandle;
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::metrics::{Component, HandlerKind, Meter};

impl Session {
    /// Finishes a message that was handled, or that a hook refused before a handler was started.
    pub(super) fn finish_event(
        &mut self,
        call: &Arc<Call>,
        by: Component,
        started: Option<Instant>,
        outcome: Result<()>,
    ) {
        if let Err(error) = &outcome {
            self.fail(call, error);
            self.count_unexpected(by, error);
        }
        call.finish_answers();
        self.endpoint.finish(HandlerKind::Event, Some(&call.channel.lobby), started, outcome.as_ref().err());
        let common = &self.endpoint.common;
        let _scope = self.changed.enter(&call.channel, &call.flush);
        common.hooks.notify(&common.meter, |hooks| {
            let channel = Channel::new(&self.endpoint, call.channel.name.clone()).handling(call);
            hooks.after_message(&self.handle.info(), &channel, call.message.event(), outcome.as_ref().copied());
        });
    }

    pub(super) fn count_unexpected(&self, component: Component, error: &Error) {
        if error.is_unexpected() {
            self.endpoint.observer.count(|metrics, _| metrics.error(component, error));
        }
    }

    pub(super) fn notify_hooks(&self, notify: impl FnOnce(&dyn Hooks, &ConnectionHandle)) {
        self.endpoint.common.hooks.notify(self.meter(), |hooks| notify(hooks, &self.handle));
    }

    fn meter(&self) -> &Meter {
        &self.endpoint.common.meter
    }
}
