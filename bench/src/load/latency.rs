//! Latencies, counted from the time at which a message was due.

use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The highest latency that is recorded exactly, in microseconds.
const HIGHEST: u64 = 60_000_000;

/// The schedule of a load, and the latencies of its messages.
///
/// The latency of a message counts from when it was **due**. A paced load has a schedule that does not wait: a
/// message that is sent late because the load or the server was held up counts from its place in the schedule, and so do all
/// those behind it. That is the correction for coordinated omission. A load that waits for its own messages has no schedule: a
/// message is due when it is sent, and its latency is that of one window.
pub(crate) struct LatencyRecorder {
    start: Instant,
    /// Microseconds since `start` at which each message of each publisher was due.
    due: Vec<Vec<u64>>,
    histogram: Histogram<u64>,
    /// Only messages that were due from then on count: what came before was to warm up.
    from: u64,
}

/// Percentiles of latency, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// An empty histogram of latencies in microseconds.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, HIGHEST, 3)?)
}

impl Latency {
    /// The percentiles of a histogram of microseconds, unless it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let within = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Latency {
            p50: within(0.5),
            p90: within(0.9),
            p99: within(0.99),
            p999: within(0.999),
            max: histogram.max() as f64 / 1000.0,
        })
    }
}

impl LatencyRecorder {
    pub(crate) fn new() -> Result<LatencyRecorder> {
        Ok(LatencyRecorder { start: Instant::now(), due: Vec::new(), histogram: histogram()?, from: 0 })
    }

    /// Records that the next message of a publisher was due at this time.
    pub(crate) fn due(&mut self, publisher: usize, at: Instant) {
        if self.due.len() <= publisher {
            self.due.resize(publisher + 1, Vec::new());
        }
        let at = self.micros(at);
        self.due[publisher].push(at);
    }

    /// Counts only messages that are due from now on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.from = self.micros(now);
        self.histogram.reset();
    }

    /// Records the arrival of a message.
    pub(super) fn delivered(&mut self, publisher: usize, n: u64, now: Instant) {
        let Some(due) = self.due.get(publisher).and_then(|due| due.get(n as usize)) else { return };
        if *due >= self.from {
            let took = self.micros(now).saturating_sub(*due);
            self.histogram.saturating_record(took.max(1));
        }
    }

    /// The latencies of all messages that counted, if there were any.
    pub(crate) fn latency(&self) -> Option<Latency> {
        Latency::of(&self.histogram)
    }

    /// The same as a histogram of microseconds.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
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
        let mut recorder = LatencyRecorder::new().expect("valid bounds");
        let start = recorder.start;
        // One a millisecond; the server stands still for a second, and answers all at once.
        (0..1000).for_each(|n| recorder.due(0, start + Duration::from_millis(n)));
        (0..1000).for_each(|n| recorder.delivered(0, n, start + Duration::from_secs(1)));
        let latency = recorder.latency().expect("messages came");
        assert!((latency.p50 - 500.0).abs() < 2.0 && (latency.p90 - 900.0).abs() < 2.0, "{latency:?}");
    }

    #[test]
    fn messages_due_during_the_warm_up_do_not_count() {
        let mut recorder = LatencyRecorder::new().expect("valid bounds");
        let start = recorder.start;
        recorder.due(0, start);
        recorder.due(0, start + Duration::from_millis(20));
        recorder.begin(start + Duration::from_millis(10));
        recorder.delivered(0, 0, start + Duration::from_millis(900));
        recorder.delivered(0, 1, start + Duration::from_millis(25));
        assert_eq!(recorder.latency().map(|latency| latency.max.round()), Some(5.0));
    }
}
