//! The state of the server's shutdown, and the counts that it waits for.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::closing::Closure;
use crate::limits::gauge::{Gauge, Permit};

/// The shutdown, for the parts of the server that admit clients or have work to finish.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    stage: watch::Sender<DrainStage>,
    /// Admitted clients, until everything received from them has been handled.
    pub(crate) connections: Arc<Gauge>,
    /// Handlers that run without a connection's task: connection handlers, and leave handlers of members that were
    /// removed.
    pub(crate) handlers: Arc<Gauge>,
}

/// The stage of the shutdown. Stages only advance.
#[derive(Debug, Default)]
enum DrainStage {
    #[default]
    Serving,
    /// The server reports that it is not ready, until this time. Clients are still admitted.
    Leaving(Instant),
    /// No client is admitted any more, and connections are closed with this code and reason.
    Draining(Closure),
    /// The deadline has passed.
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
    /// Admits a client, unless the shutdown has begun. The stage stays borrowed until the client is counted, so that
    /// the shutdown cannot begin in between and not wait for it.
    pub(crate) fn admit(&self) -> Option<Permit> {
        let stage = self.stage.borrow();
        stage.closure().is_none().then(|| self.connections.permit())
    }

    /// Announces that the shutdown begins at that time, or earlier if it was announced before. Returns the time; `None`
    /// if it has begun.
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

    /// Returns `true` if the shutdown was announced or has begun.
    pub(crate) fn is_announced(&self) -> bool {
        !matches!(*self.stage.borrow(), DrainStage::Serving)
    }

    /// Begins the shutdown, unless it has begun: no client is admitted any more. Returns the closure for connections,
    /// which is that of the first call.
    pub(crate) fn begin(&self, closure: Closure) -> Closure {
        // Checked and changed in one step: of several calls only one begins, and all get its closure.
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

    /// The closure for connections, once the shutdown has begun.
    pub(crate) fn closure(&self) -> Option<Closure> {
        self.stage.borrow().closure().cloned()
    }

    /// Completes when the shutdown begins.
    pub(crate) async fn begun(&self) -> Closure {
        self.wait(|stage| stage.closure().cloned()).await
    }

    /// Completes when the wait for connections and handlers has ended.
    pub(crate) async fn over(&self) {
        self.wait(|stage| matches!(stage, DrainStage::Over(_)).then_some(())).await;
    }

    async fn wait<T>(&self, reached: impl Fn(&DrainStage) -> Option<T>) -> T {
        let mut stage = self.stage.subscribe();
        loop {
            // Marks the stage as seen before it is checked, so that a change after the check wakes `changed`.
            if let Some(answer) = reached(&stage.borrow_and_update()) {
                return answer;
            }
            // An error would mean that the sender was dropped, but `self` owns it.
            let _ = stage.changed().await;
        }
    }
}
