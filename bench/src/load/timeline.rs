//! The times at which messages were due, and how long after that they came.

use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told from longer ones, in microseconds.
const MOST: u64 = 60_000_000;

/// The schedule of a load, and the latencies of what came of it.
///
/// The latency of a message counts from when it was **due**. A paced load has a schedule that does not wait: a
/// message that is sent late because the load or the server was held up counts from its place in the schedule, and so do all
/// those behind it. That is the correction for coordinated omission. A load that waits for its own messages has no schedule: a
/// message is due when it is sent, and its latency is that of one window.
pub(crate) struct Timeline {
    start: Instant,
    /// Microseconds since `start` at which each message of each publisher was due.
    due: Vec<Vec<u64>>,
    histogram: Histogram<u64>,
    /// Only messages that were due from then on count: what came before was to warm up.
    from: u64,
}

/// Milliseconds within which so many of the messages came.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Timeline {
    pub(crate) fn new() -> Result<Timeline> {
        let histogram = Histogram::new_with_bounds(1, MOST, 3)?;
        Ok(Timeline { start: Instant::now(), due: Vec::new(), histogram, from: 0 })
    }

    /// Notes that the next message of a publisher was due at this time.
    pub(crate) fn due(&mut self, publisher: usize, at: Instant) {
        if self.due.len() <= publisher {
            self.due.resize(publisher + 1, Vec::new());
        }
        let at = self.micros(at);
        self.due[publisher].push(at);
    }

    /// Counts only what is due from now on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.from = self.micros(now);
        self.histogram.reset();
    }

    /// Notes that a message came.
    pub(super) fn came(&mut self, publisher: usize, n: u64, now: Instant) {
        let Some(due) = self.due.get(publisher).and_then(|due| due.get(n as usize)) else { return };
        if *due >= self.from {
            let took = self.micros(now).saturating_sub(*due);
            self.histogram.saturating_record(took.max(1));
        }
    }

    /// The latencies of all that counted, if anything did.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let within = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        (!self.histogram.is_empty()).then(|| Latency {
            p50: within(0.5),
            p90: within(0.9),
            p99: within(0.99),
            p999: within(0.999),
            max: self.histogram.max() as f64 / 1000.0,
        })
    }

    fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_that_is_sent_late_counts_from_when_it_was_due() {
        let mut timeline = Timeline::new().expect("valid bounds");
        let start = timeline.start;
        // One a millisecond; the server stands still for a second, and answers all at once.
        (0..1000).for_each(|n| timeline.due(0, start + Duration::from_millis(n)));
        (0..1000).for_each(|n| timeline.came(0, n, start + Duration::from_secs(1)));
        let latency = timeline.latency().expect("messages came");
        assert!((latency.p50 - 500.0).abs() < 2.0 && (latency.p90 - 900.0).abs() < 2.0, "{latency:?}");
    }

    #[test]
    fn messages_due_during_the_warm_up_do_not_count() {
        let mut timeline = Timeline::new().expect("valid bounds");
        let start = timeline.start;
        timeline.due(0, start);
        timeline.due(0, start + Duration::from_millis(20));
        timeline.begin(start + Duration::from_millis(10));
        timeline.came(0, 0, start + Duration::from_millis(900));
        timeline.came(0, 1, start + Duration::from_millis(25));
        assert_eq!(timeline.latency().map(|latency| latency.max.round()), Some(5.0));
    }
}
