//! The shutdown of the server, and what it still waits for.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::closing::Closure;
use crate::limits::gauge::{Gauge, Permit};

/// The shutdown, as the parts of the server see it that let clients in or have work to finish.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    stage: watch::Sender<DrainStage>,
    /// Clients that have been let in, until everything received from them has been handled.
    pub(crate) connections: Arc<Gauge>,
    /// Handlers that run by themselves: connection handlers, and leave handlers of members who were taken out.
    pub(crate) handlers: Arc<Gauge>,
}

/// The stage of the shutdown. There is no way back.
#[derive(Debug, Default)]
enum DrainStage {
    #[default]
    Serving,
    /// Load balancers are asked to send no clients, until this time. Clients that still come are let in.
    Leaving(Instant),
    /// No client is let in any more, and connections are closed like this.
    Draining(Closure),
    /// The time for that is over.
    Over(Closure),
}

impl DrainStage {
    fn closure(&self) -> Option<&Closure> {
        match self {
            DrainStage::Serving | DrainStage::Leaving(_) => None,
            DrainStage::Draining(closure) | DrainStage::Over(closure) => Some(closure),
        }
    }
}

impl Drain {
    /// Lets a client in, unless the shutdown has begun. The stage stays borrowed until the client is counted, so that the
    /// shutdown cannot begin in between and miss it.
    pub(crate) fn admit(&self) -> Option<Permit> {
        let stage = self.stage.borrow();
        stage.closure().is_none().then(|| self.connections.permit())
    }

    /// Announces that the shutdown begins at that time, or earlier if it was announced before. Returns the time; `None` if
    /// it has begun.
    pub(crate) fn announce(&self, at: Instant) -> Option<Instant> {
        let mut answer = None;
        self.stage.send_if_modified(|stage| {
            let at = match stage {
                DrainStage::Serving => at,
                DrainStage::Leaving(earlier) => at.min(*earlier),
                DrainStage::Draining(_) | DrainStage::Over(_) => return false,
            };
            answer = Some(at);
            *stage = DrainStage::Leaving(at);
            true
        });
        answer
    }

    /// Returns whether it has begun, or will.
    pub(crate) fn is_announced(&self) -> bool {
        !matches!(*self.stage.borrow(), DrainStage::Serving)
    }

    /// Begins, if it has not: no client is let in any more. Returns the close of connections, which is that of the first
    /// call.
    pub(crate) fn begin(&self, closure: Closure) -> Closure {
        self.stage.send_if_modified(|stage| {
            let begins = stage.closure().is_none();
            if begins {
                *stage = DrainStage::Draining(closure.clone());
            }
            begins
        });
        self.closure().unwrap_or(closure)
    }

    /// Ends the wait for connections and handlers.
    pub(crate) fn give_up(&self) {
        self.stage.send_if_modified(|stage| {
            let DrainStage::Draining(closure) = stage else { return false };
            *stage = DrainStage::Over(closure.clone());
            true
        });
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.stage.borrow().closure().is_some()
    }

    /// The close of connections, once it has begun.
    pub(crate) fn closure(&self) -> Option<Closure> {
        self.stage.borrow().closure().cloned()
    }

    /// Completes when it begins.
    pub(crate) async fn begun(&self) -> Closure {
        self.wait(|stage| stage.closure().cloned()).await
    }

    /// Completes when connections and handlers are not waited for any longer.
    pub(crate) async fn over(&self) {
        self.wait(|stage| matches!(stage, DrainStage::Over(_)).then_some(())).await;
    }

    async fn wait<T>(&self, reached: impl Fn(&DrainStage) -> Option<T>) -> T {
        let mut stage = self.stage.subscribe();
        loop {
            if let Some(answer) = reached(&stage.borrow_and_update()) {
                return answer;
            }
            // The sender is ours: it cannot have gone.
            let _ = stage.changed().await;
        }
    }
}
