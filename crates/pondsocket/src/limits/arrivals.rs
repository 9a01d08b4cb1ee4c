//! The connects and joins of an endpoint that wait for their turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::sync::Mutex;
use crate::limits::gauge::{Gauge, Permit};
use crate::limits::turns;
use crate::metrics::{Observer, Queue};
use crate::options::Options;

/// The shortest wait that is logged.
const LONG: Duration = Duration::from_secs(1);

/// The shortest interval between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The connects and joins that wait.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    connects: Arc<Gauge>,
    joins: Arc<Gauge>,
    /// The time of the last log line.
    logged: Mutex<Option<Instant>>,
}

/// A connect or a join that waits. It is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct WaitingArrival {
    _permit: Permit,
    per_round: usize,
    since: Instant,
}

impl Arrivals {
    /// The number of connects and joins that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.connects.count() + self.joins.count()
    }

    /// Lets a connect wait, if there is no turn for it now. Fails if `max_waiting_connects` wait.
    pub(crate) fn connect(&self, options: &Options, observer: &Observer) -> Result<Option<WaitingArrival>, TooMany> {
        if turns::take(options.arrivals_per_round) {
            return Ok(None);
        }
        let permit = self.connects.permit_below(options.max_waiting_connects).ok_or(TooMany)?;
        Ok(Some(self.begin(permit, options, observer)))
    }

    /// Lets a join wait, if there is no turn for it now.
    pub(crate) fn join(&self, options: &Options, observer: &Observer) -> Option<WaitingArrival> {
        (!turns::take(options.arrivals_per_round)).then(|| self.begin(self.joins.permit(), options, observer))
    }

    fn begin(&self, permit: Permit, options: &Options, observer: &Observer) -> WaitingArrival {
        let waiting = self.waiting();
        observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Arrivals, waiting));
        WaitingArrival { _permit: permit, per_round: options.arrivals_per_round, since: Instant::now() }
    }

    /// Logs a long wait, unless another one was logged lately.
    fn note(&self, waited: Duration, observer: &Observer) {
        if waited < LONG {
            return;
        }
        let mut logged = self.logged.lock();
        if logged.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            return;
        }
        *logged = Some(Instant::now());
        drop(logged);
        let (endpoint, connects, joins) = (&*observer.endpoint, self.connects.count(), self.joins.count());
        tracing::warn!(target: "pondsocket::limit", endpoint, connects, joins, ?waited, "connects and joins wait for their turn");
    }
}

impl WaitingArrival {
    /// Waits for the turn. Cancel-safe: who goes away is passed over.
    pub(crate) async fn turn(self, arrivals: &Arrivals, observer: &Observer) {
        turns::wait(self.per_round).await;
        arrivals.note(self.since.elapsed(), observer);
    }
}

/// `max_waiting_connects` wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TooMany;
