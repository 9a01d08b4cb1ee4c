//! The orderly shutdown of a server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::engine::closing::{Close, Closure};
use crate::engine::handle::ConnectionHandle;
use crate::engine::ids;
use crate::engine::live::GraceEnd;
use crate::metrics::CloseReason;
use crate::pond::PondSocket;

/// The time for which a node that stops waits until its queued messages are published, at the least.
const MIN_NODE_STOP: Duration = Duration::from_millis(500);

/// The time that the history file has to be written, at the least: also after the deadline.
const MIN_WRITE: Duration = Duration::from_secs(5);

/// The most connections that are closed in a second, if their number determines the time: as many clients come back to another
/// server a moment later, and each of them is accepted, authenticated and joins.
const CLOSES_PER_SECOND: u32 = 5000;

/// The shortest time over which connections are closed, if their number determines it.
const MIN_SPREAD: Duration = Duration::from_secs(2);

/// The shortest step of a spread shutdown, so that many connections are closed in batches and not by a timer for each.
const STEP: Duration = Duration::from_millis(20);

/// The longest timeout and delay. A larger value could overflow the clock when a deadline is computed from it.
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The terms of a shutdown: its time limit, and the close code that clients get. A [`Duration`] is one, too.
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
    spread: Spread,
    delay: Duration,
    code: u16,
}

/// The time over which clients are closed.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Over(Duration),
    /// By the number of clients.
    ByCount,
}

impl Spread {
    fn of(self, clients: usize) -> Duration {
        match self {
            Spread::Over(spread) => spread,
            Spread::ByCount => {
                let clients = u32::try_from(clients).unwrap_or(u32::MAX);
                MIN_SPREAD.max(Duration::from_secs(1) * clients / CLOSES_PER_SECOND)
            }
        }
    }
}

impl Shutdown {
    /// A shutdown within this time. All clients are closed at once, with close code 1001 (RFC 6455 section 7.4.1).
    pub fn within(timeout: Duration) -> Shutdown {
        let spread = Spread::Over(Duration::ZERO);
        Shutdown { timeout: timeout.min(MAX_TIMEOUT), spread, delay: Duration::ZERO, code: 1001 }
    }

    /// Closes clients one after the other over this time, in random order, so that they do not all reconnect to another
    /// server at once. At most half of the timeout is used for it. Raw WebSockets are closed at once.
    #[must_use]
    pub fn spread(self, spread: Duration) -> Shutdown {
        Shutdown { spread: Spread::Over(spread), ..self }
    }

    /// Closes clients one after the other as [`spread`](Self::spread) does, over a time that follows from their number: 5,000
    /// in a second, and over 2 s at least.
    #[must_use]
    pub fn spread_by_count(self) -> Shutdown {
        Shutdown { spread: Spread::ByCount, ..self }
    }

    /// Begins after this time, which does not count towards the timeout. Until then [`PondSocket::is_ready`] is false,
    /// so that load balancers send new clients elsewhere, and clients that still connect are accepted as before.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Shutdown {
        Shutdown { delay: delay.min(MAX_TIMEOUT), ..self }
    }

    /// Closes with code 1012, for a server that will be back soon.
    #[must_use]
    pub fn for_restart(self) -> Shutdown {
        Shutdown { code: 1012, ..self }
    }

    /// The longest time that the shutdown may take, from now on.
    #[cfg(feature = "server")]
    pub(crate) fn longest(self) -> Duration {
        self.delay.saturating_add(self.timeout)
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

/// The outcome of a server's shutdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Clients that were closed in time: they received everything that was sent to them, and the close frame, unless
    /// they disconnected by themselves, and everything that they had sent was handled.
    pub closed: usize,
    /// Clients that were cut off at the deadline, or whose handlers were cancelled then.
    pub cut: usize,
    /// Handlers without a connection that were still running at the deadline: connection handlers, whose clients will
    /// be refused, and leave handlers of members that were removed. They continue until `handler_timeout`.
    pub abandoned: usize,
}

impl PondSocket {
    /// Shuts the server down: from now on no client is accepted (503 with `Retry-After`), clients are closed, each
    /// after everything that was sent to it, and running handlers and leave handlers are finished. The connections that
    /// are left at the deadline are cut off. With a [delay](Shutdown::delay) all of this begins later.
    ///
    /// A server that is mounted in another shuts down like this too: hosts do not wait for WebSockets. See
    /// [`service`](Self::service).
    ///
    /// With a [`history_file`](crate::Options#structfield.history_file) the histories, sessions and members are written at the end. That
    /// may take until the deadline, or 5 s after it.
    ///
    /// Cancel-safe: a further call continues the shutdown, and its report counts the clients that were left. The close
    /// code is that of the first call, and the delay ends at the earliest time of all calls. A shutdown cannot be
    /// undone.
    pub async fn shutdown(&self, how: impl Into<Shutdown>) -> ShutdownReport {
        let how = how.into();
        let drain = &self.common.drain;
        if !how.delay.is_zero()
            && let Some(begin) = drain.announce(Instant::now() + how.delay)
        {
            tracing::info!(target: "pondsocket::server", delay = ?how.delay, "about to shut down");
            // Another call may begin the shutdown earlier.
            let _ = timeout_at(begin, drain.begun()).await;
        }
        let start = Instant::now();
        let deadline = start + how.timeout;
        let closure = drain.begin(how.closure());
        // After `begin`: from here on the count only falls.
        let all = drain.connections.count();
        tracing::info!(target: "pondsocket::server", connections = all, timeout = ?how.timeout, "shutting down");
        let finished = timeout_at(deadline, async {
            self.close_all(&closure, how.spread.of(all).min(how.timeout / 2)).await;
            // Connections first: their last handlers can still remove members, whose leave handlers count below.
            drain.connections.empty().await;
            // Nobody comes back to this server. Their leave handlers count below. With a file they go on in the next server.
            if self.common.restart.is_none() {
                self.end_ghosts();
            }
            drain.handlers.empty().await;
        });
        let (mut cut, mut abandoned) = (0, 0);
        if finished.await.is_err() {
            // Counted before anything is cut, since a connection that is cut ends its count.
            (cut, abandoned) = (drain.connections.count(), drain.handlers.count());
            drain.give_up();
            self.handles().iter().for_each(|handle| handle.close(Close::Abort));
            // Connections that are cut only need their tasks to be polled once more. The bound is for tasks that
            // application code blocks.
            let _ = timeout_at(deadline + Duration::from_secs(1), drain.connections.empty()).await;
            // Nothing waits for these handlers any more; they run until `handler_timeout`.
            if self.common.restart.is_none() {
                self.end_ghosts();
            }
        }
        // Behind the last connection, which leaves its session then, and the last handler.
        if let Some(restart) = &self.common.restart {
            restart.write(deadline.max(Instant::now() + MIN_WRITE)).await;
            // The leave handlers of members that do not go on, where the file could not be written.
            let _ = timeout_at(deadline, drain.handlers.empty()).await;
        }
        // Last, so that other nodes receive the leaves of this server's users. The node gets a minimum of time also
        // after the deadline: without its last messages other nodes keep this one's users until its lease has expired.
        if let Some(node) = self.common.node() {
            node.stop(deadline.saturating_duration_since(Instant::now()).clamp(MIN_NODE_STOP, MIN_NODE_STOP * 4)).await;
        }
        let report = ShutdownReport { closed: all.saturating_sub(cut), cut, abandoned };
        tracing::info!(target: "pondsocket::server", closed = report.closed, cut, abandoned, took = ?start.elapsed(), "shut down");
        report
    }

    /// Returns `true` if the server is shutting down and accepts no client any more.
    pub fn is_draining(&self) -> bool {
        self.common.drain.has_begun()
    }

    /// Closes all clients: the first part of them now, the others in even steps over this time.
    async fn close_all(&self, closure: &Closure, spread: Duration) {
        let (start, mut handles) = (Instant::now(), self.handles());
        // Else the clients of one endpoint would come back together, and ask for the same data.
        shuffle(&mut handles);
        let most = usize::try_from(spread.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX).max(1);
        let parts: Vec<_> = handles.chunks(handles.len().div_ceil(most).max(1)).collect();
        let step = spread.div_f64(parts.len().max(1) as f64);
        for (part, number) in parts.into_iter().zip(0..) {
            // Waits for the turn of this part, but not longer than there are connections. The times are absolute, so
            // that steps that are late do not add up.
            if number > 0 && timeout_at(start + step * number, self.common.drain.connections.empty()).await.is_ok() {
                return;
            }
            part.iter().for_each(|handle| handle.close(Close::Graceful(closure.clone())));
        }
    }

    /// Ends the presence grace of all members that are left. Their leave handlers run here; other nodes show them until
    /// their own grace has ended, because they may join there.
    fn end_ghosts(&self) {
        if let Some(node) = self.common.node() {
            node.prepare_stop();
        }
        self.endpoints().iter().for_each(|endpoint| endpoint.0.hub.end_ghosts(GraceEnd::Shutdown));
    }

    fn handles(&self) -> Vec<Arc<ConnectionHandle>> {
        self.endpoints().iter().flat_map(|endpoint| endpoint.0.handles()).collect()
    }
}

/// Puts elements into random order (Fisher and Yates).
fn shuffle<T>(elements: &mut [T]) {
    for last in (1..elements.len()).rev() {
        elements.swap(last, ids::fresh() as usize % (last + 1));
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_time_by_count_is_two_seconds_or_that_of_five_thousand_in_a_second() {
        let seconds =
            [0, 1, 10_000, 10_001, 100_000, usize::MAX].map(|clients| Spread::ByCount.of(clients).as_secs_f64());
        assert_eq!(seconds[..3], [2.0, 2.0, 2.0]);
        assert!(seconds[3] > 2.0 && seconds[4] == 20.0 && seconds[5] > 800_000.0, "{seconds:?}");
        assert_eq!(Spread::Over(Duration::ZERO).of(100_000), Duration::ZERO);
    }

    #[test]
    fn a_shuffle_keeps_the_elements_and_not_their_order() {
        let ordered: Vec<_> = (0..100).collect();
        let mut shuffled = ordered.clone();
        shuffle(&mut shuffled);
        assert_ne!(shuffled, ordered);
        shuffled.sort_unstable();
        assert_eq!(shuffled, ordered);
        shuffle::<u8>(&mut []);
    }
}
