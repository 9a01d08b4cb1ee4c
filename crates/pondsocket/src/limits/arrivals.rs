//! The clients of an endpoint that wait for their turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::sync::Mutex;
use crate::limits::gauge::{Gauge, Permit};
use crate::limits::turns::{self, Place};
use crate::metrics::{Observer, Queue};
use crate::options::Options;

/// The shortest wait that is logged.
const LONG: Duration = Duration::from_secs(1);

/// The shortest interval between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The clients that wait: those whose connects have not begun, and those whose connects and joins go on.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    connects: Arc<Gauge>,
    joins: Arc<Gauge>,
    /// The time of the last log line.
    logged: Mutex<Option<Instant>>,
}

/// A client that waits. It is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct WaitingArrival {
    _permit: Permit,
    place: Place,
    since: Instant,
}

/// The turns of a client on its way to its first channel. A pointer, because every connection has one.
#[derive(Debug, Default)]
pub(crate) struct Steps(Option<Box<WaitingArrival>>);

impl Arrivals {
    /// The number of clients that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.connects.count() + self.joins.count()
    }

    /// Lets a connect wait, if there is no turn for it now. Fails if `max_waiting_connects` wait.
    pub(crate) fn connect(&self, options: &Options, observer: &Observer) -> Result<Option<WaitingArrival>, TooMany> {
        if turns::take(options.arrivals_per_round) {
            return Ok(None);
        }
        // First, because one that does not wait has no place in the queue.
        let permit = self.connects.permit_below(options.max_waiting_connects).ok_or(TooMany)?;
        Ok(Some(self.begin(permit, turns::queue(options.arrivals_per_round), observer)))
    }

    /// Lets a step of a connect or a join wait, if there is no turn for it now.
    pub(crate) fn step(&self, options: &Options, observer: &Observer) -> Option<WaitingArrival> {
        let place = turns::take_or_queue(options.arrivals_per_round)?;
        Some(self.begin(self.joins.permit(), place, observer))
    }

    /// Polls a future in turns, but for the first time, which is part of the step of the caller.
    pub(crate) async fn in_steps<F: Future>(
        &self,
        options: &Options,
        observer: &Observer,
        mut future: Pin<&mut F>,
    ) -> F::Output {
        let (mut steps, mut has_begun) = (Steps::default(), false);
        poll_fn(|cx| {
            if std::mem::replace(&mut has_begun, true) {
                ready!(steps.poll_turn(cx, self, options, observer));
            }
            future.as_mut().poll(cx)
        })
        .await
    }

    fn begin(&self, permit: Permit, place: Place, observer: &Observer) -> WaitingArrival {
        let waiting = self.waiting();
        observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Arrivals, waiting));
        WaitingArrival { _permit: permit, place, since: Instant::now() }
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
    pub(crate) async fn turn(mut self, arrivals: &Arrivals, observer: &Observer) {
        poll_fn(|cx| self.poll_turn(cx, arrivals, observer)).await;
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, arrivals: &Arrivals, observer: &Observer) -> Poll<()> {
        ready!(self.place.poll_turn(cx));
        arrivals.note(self.since.elapsed(), observer);
        Poll::Ready(())
    }
}

impl Steps {
    /// Completes when the next step may run. The task is woken for it.
    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        arrivals: &Arrivals,
        options: &Options,
        observer: &Observer,
    ) -> Poll<()> {
        if self.0.is_none() {
            self.0 = arrivals.step(options, observer).map(Box::new);
        }
        if let Some(waiting) = &mut self.0 {
            ready!(waiting.poll_turn(cx, arrivals, observer));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// `max_waiting_connects` wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TooMany;
