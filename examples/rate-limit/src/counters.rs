//! Counters, which the page shows. For Prometheus take the crate `pondsocket-metrics`, as the chat does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pondsocket::Endpoint;
use pondsocket::metrics::{CloseReason, ConnectionInfo, Limit, Metrics};
use serde::Serialize;
use tokio::time::interval;

/// The number of events whose times are kept.
const REMEMBERED: usize = 500;

/// The time between two reports to the page.
const INTERVAL: Duration = Duration::from_millis(250);

/// The counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    done: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    incidents: AtomicU64,
    limits: AtomicU64,
    closed: AtomicU64,
    /// The times of the last events, in microseconds.
    times: Mutex<VecDeque<u64>>,
}

/// A report to the page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    done: u64,
    refused: u64,
    failed: u64,
    incidents: u64,
    limits: u64,
    closed: u64,
    median_us: u64,
    p99_us: u64,
}

impl Counters {
    /// Counts an event that has ended, with the code of its error.
    pub(crate) fn finished(&self, took: Duration, code: Option<u16>) {
        let counter = match code {
            None => &self.done,
            Some(429) => &self.refused,
            Some(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == REMEMBERED {
            times.pop_front();
        }
        times.push_back(took.as_micros().try_into().unwrap_or(u64::MAX));
    }

    /// Counts an unexpected failure, and returns its number.
    pub(crate) fn incident(&self) -> u64 {
        self.incidents.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn stats(&self) -> Stats {
        let mut times: Vec<u64> = self.times.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        times.sort_unstable();
        let at = |part: usize| {
            times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            done: of(&self.done),
            refused: of(&self.refused),
            failed: of(&self.failed),
            incidents: of(&self.incidents),
            limits: of(&self.limits),
            closed: of(&self.closed),
            median_us: at(50),
            p99_us: at(99),
        }
    }
}

/// The counters of the server itself.
impl Metrics for Counters {
    fn limit_reached(&self, _: &str, _: Limit) {
        self.limits.fetch_add(1, Ordering::Relaxed);
    }

    fn connection_closed(&self, _: &ConnectionInfo<'_>, _: Duration, _: u16, reason: CloseReason) {
        if reason == CloseReason::RateLimit {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Broadcasts the counters in each interval. Never completes.
pub(crate) async fn show(endpoint: Endpoint, counters: std::sync::Arc<Counters>) {
    let mut times = interval(INTERVAL);
    loop {
        times.tick().await;
        // An error means that the queue is full. The next report is complete as well.
        let _ = endpoint.channel("/lab").and_then(|lab| lab.broadcast("stats", &counters.stats()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_times_are_counted() {
        let counters = Counters::default();
        for (millis, code) in [(1, None), (2, None), (3, Some(429)), (4, Some(409)), (5, Some(500))] {
            counters.finished(Duration::from_millis(millis), code);
        }
        let stats = counters.stats();
        assert_eq!((stats.done, stats.refused, stats.failed), (2, 1, 2));
        assert_eq!((stats.median_us, stats.p99_us), (3000, 5000));
        assert_eq!((counters.incident(), counters.incident()), (1, 2));
    }

    #[test]
    fn without_any_event_there_are_no_times() {
        assert_eq!(Counters::default().stats().p99_us, 0);
    }
}
