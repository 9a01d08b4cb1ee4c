//! Whether the server is shutting down, and what it still waits for.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::gauge::Gauge;
use crate::outbox::Closure;

/// Shared by all who let somebody in, or have something to finish.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// How connections are closed, once it has begun.
    closure: OnceLock<Closure>,
    beginning: Notify,
    /// Connections, from before they are let in until everything received has been handled.
    pub(crate) connections: Arc<Gauge>,
    /// Handlers that run by themselves: of raw WebSockets, and of the leaves of members who were taken out.
    pub(crate) handlers: Arc<Gauge>,
}

impl Drain {
    /// Begins, if it has not: nobody is let in any more, and connections will be closed like this.
    pub(crate) fn begin(&self, closure: Closure) {
        // Only the first one says how.
        let _ = self.closure.set(closure);
        self.beginning.notify_waiters();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.closure.get().is_some()
    }

    /// How connections are closed, once it has begun.
    pub(crate) fn closure(&self) -> Option<Closure> {
        self.closure.get().cloned()
    }

    /// Completes when it begins.
    pub(crate) async fn begun(&self) -> Closure {
        loop {
            let beginning = self.beginning.notified();
            if let Some(closure) = self.closure() {
                return closure;
            }
            beginning.await;
        }
    }
}
