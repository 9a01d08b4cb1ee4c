//! The counters of the bus.

use std::sync::atomic::{AtomicU64, Ordering};

/// Independent counters: a snapshot of several need not be of one moment.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sessions: Counter,
    pub(crate) failed_connects: Counter,
    pub(crate) sent: Counter,
    pub(crate) not_sent: Counter,
    pub(crate) unknown: Counter,
    pub(crate) received: Counter,
    pub(crate) failed_probes: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Adds one, and returns the new count.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
