//! The end of a server, in good order.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::link::Link;
use crate::metrics::CloseReason;
use crate::outbox::Closure;
use crate::pond::PondSocket;

/// How many steps a spread shutdown takes at the most.
const STEP: Duration = Duration::from_millis(20);

/// How a server shuts down: how long it may take, and what clients are told. A [`Duration`] is one, too.
///
/// ```
/// # use pondsocket::{PondSocket, Shutdown};
/// # use std::time::Duration;
/// # async fn stop(pond: PondSocket) {
/// let how = Shutdown::within(Duration::from_secs(30)).spread(Duration::from_secs(10)).for_restart();
/// let report = pond.shutdown(how).await;
/// println!("{} clients were cut off", report.cut);
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    timeout: Duration,
    spread: Duration,
    code: u16,
}

impl Shutdown {
    /// Everything within this time; all clients are told at once, with close code 1001 (RFC 6455 section 7.4.1).
    pub fn within(timeout: Duration) -> Shutdown {
        Shutdown { timeout, spread: Duration::ZERO, code: 1001 }
    }

    /// Tells clients one after the other over this time, so that they do not all come back at once somewhere else. At
    /// most half of the timeout is used for it.
    #[must_use]
    pub fn spread(self, spread: Duration) -> Shutdown {
        Shutdown { spread, ..self }
    }

    /// Closes with 1012, which says that the server will be back soon.
    #[must_use]
    pub fn for_restart(self) -> Shutdown {
        Shutdown { code: 1012, ..self }
    }

    /// How long it may take.
    #[cfg(feature = "server")]
    pub(crate) fn timeout(self) -> Duration {
        self.timeout
    }

    fn closure(self) -> Closure {
        let text = if self.code == 1012 { "the server restarts" } else { "the server is shutting down" };
        Closure { code: self.code, text: text.into(), reason: CloseReason::Shutdown }
    }
}

impl From<Duration> for Shutdown {
    fn from(timeout: Duration) -> Shutdown {
        Shutdown::within(timeout)
    }
}

/// What has become of whom when a server shut down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Clients that were told, and got all that was sent to them before.
    pub closed: usize,
    /// Clients that were cut off at the deadline, those included whose connection handler had not decided.
    pub cut: usize,
    /// Handlers without a connection (of raw WebSockets, and of the leaves of members who were taken out) that were still
    /// running at the deadline.
    pub abandoned: usize,
}

impl PondSocket {
    /// Shuts down: from now on nobody is let in (503 with `Retry-After`), clients are closed, each after everything that
    /// was sent to it, and running handlers and leave handlers are finished. What is left at the deadline is cut off.
    ///
    /// A server that is mounted in another shuts down like this too: hosts do not wait for WebSockets. See
    /// [`service`](Self::service).
    ///
    /// Cancel-safe: when it is called again it goes on. It can't be taken back.
    pub async fn shutdown(&self, how: impl Into<Shutdown>) -> ShutdownReport {
        let how = how.into();
        let (start, drain) = (Instant::now(), &self.common.drain);
        let deadline = start + how.timeout;
        drain.begin(how.closure());
        let all = drain.connections.count();
        tracing::info!(target: "pondsocket::server", connections = all, timeout = ?how.timeout, "shutting down");
        self.close_all(how, deadline).await;
        let finished = timeout_at(deadline, async {
            drain.connections.empty().await;
            drain.handlers.empty().await;
        });
        let (mut cut, mut abandoned) = (0, 0);
        if finished.await.is_err() {
            let left = self.links();
            (cut, abandoned) = (drain.connections.count(), drain.handlers.count());
            left.iter().for_each(|link| link.cut());
            // Those who are cut need no more than their turn.
            let _ = timeout_at(deadline + Duration::from_secs(1), drain.connections.empty()).await;
        }
        let report = ShutdownReport { closed: all.saturating_sub(cut), cut, abandoned };
        tracing::info!(target: "pondsocket::server", closed = report.closed, cut, abandoned, took = ?start.elapsed(), "shut down");
        report
    }

    /// Whether it is shutting down: it lets nobody in any more.
    pub fn is_draining(&self) -> bool {
        self.common.drain.has_begun()
    }

    /// Tells all clients, a part of them in each step.
    async fn close_all(&self, how: Shutdown, deadline: Instant) {
        let links = self.links();
        let spread = how.spread.min(how.timeout / 2);
        let steps = (spread.as_millis() / STEP.as_millis()).max(1) as usize;
        for part in links.chunks(links.len().div_ceil(steps).max(1)) {
            part.iter().for_each(|link| link.end(how.closure()));
            if !spread.is_zero() && Instant::now() < deadline {
                sleep(STEP).await;
            }
        }
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.endpoints().iter().flat_map(|endpoint| endpoint.0.links()).collect()
    }
}
