use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::scenario::{Run, Scenario};
use crate::plot::Row;
use crate::report::{self, median};

/// The outcome of one scenario: medians of interleaved runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The load of the runs.
    pub(crate) scenario: Scenario,
    /// CPU µs per delivery of our server: median, and all runs.
    pub(crate) ours: f64,
    /// The same of the limit server.
    pub(crate) limit: f64,
    /// Our cost as a ratio to the limit's.
    pub(crate) ratio: f64,
    /// The highest ratio allowed.
    pub(crate) bar: f64,
    /// The part of CPU time that is spent in the program itself: ours, and the limit's.
    pub(crate) user_share: [f64; 2],
    /// Deliveries a second in the median run: ours, and the limit's.
    pub(crate) per_second: [f64; 2],
    /// Messages lost or out of order, in all runs of both.
    pub(crate) faults: u64,
    /// µs per delivery of each run: ours, and the limit's.
    pub(crate) runs: [Vec<f64>; 2],
}

impl Report {
    /// Sums up the runs of our server and of the limit server.
    pub(crate) fn new(scenario: Scenario, ours: &[Run], limit: &[Run]) -> Report {
        let of = |runs: &[Run], value: fn(&Run) -> f64| median(runs.iter().map(value));
        let micros = [of(ours, Run::micros), of(limit, Run::micros)];
        let rate = |run: &Run| run.deliveries as f64 / run.seconds;
        Report {
            scenario,
            ours: micros[0],
            limit: micros[1],
            ratio: micros[0] / micros[1],
            bar: scenario.bar(),
            user_share: [of(ours, Run::user_share), of(limit, Run::user_share)],
            per_second: [of(ours, rate), of(limit, rate)],
            faults: ours.iter().chain(limit).map(|run| run.lost + run.disorder).sum(),
            runs: [ours.iter().map(Run::micros).collect(), limit.iter().map(Run::micros).collect()],
        }
    }
}

impl report::Report for Report {
    fn text(&self) -> String {
        let percent = |share: f64| share * 100.0;
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:?}: {:.2}x of the limit (bar {}x)", self.scenario, self.ratio, self.bar);
        for (name, micros, which) in [("ours", self.ours, 0), ("limit", self.limit, 1)] {
            let _ = writeln!(
                text,
                "  {name:<6} {micros:>7.3} us CPU per delivery, {:>4.1} % in user mode, {:>9.0} deliveries/s",
                percent(self.user_share[which]),
                self.per_second[which],
            );
        }
        let _ = write!(text, "  lost or out of order: {}", self.faults);
        text
    }

    fn json(&self) -> Value {
        json!(self)
    }

    fn rows(&self) -> Vec<Row> {
        let row = |which: usize, name: &str| Row {
            name: format!("{:?}, {name}", self.scenario),
            ours: which == 0,
            micros: self.runs[which].clone(),
        };
        vec![row(0, "ours"), row(1, "limit")]
    }

    fn faults(&self) -> u64 {
        self.faults
    }

    fn excess(&self) -> Option<String> {
        (self.ratio > self.bar)
            .then(|| format!("{:?} costs {:.2}x, more than {}x", self.scenario, self.ratio, self.bar))
    }
}
