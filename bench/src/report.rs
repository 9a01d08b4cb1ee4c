//! What the runs say together.

use std::fmt::Write;

use serde::Serialize;

use crate::scenario::{Run, Scenario};

/// The outcome of one scenario: medians of interleaved runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What load it was.
    pub(crate) scenario: Scenario,
    /// CPU µs per delivery of our server: median, and all runs.
    pub(crate) ours: f64,
    /// The same of the limit server.
    pub(crate) limit: f64,
    /// Our cost as a ratio to the limit's.
    pub(crate) ratio: f64,
    /// What the ratio may be.
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
        let of = |runs: &[Run], value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
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

    /// A few lines for people.
    pub(crate) fn text(&self) -> String {
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
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// All runs as a picture: one row a scenario and server, a dot a run, a line at the median.
pub(crate) fn svg(reports: &[Report]) -> String {
    let most = reports.iter().flat_map(|report| report.runs.iter().flatten()).copied().fold(0.0, f64::max);
    let x = |micros: f64| 180.0 + micros / most * 560.0;
    let height = 60 + reports.len() * 80;
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {height}" font-family="sans-serif" font-size="13">
<rect width="800" height="{height}" fill="white"/>
<text x="20" y="28" font-size="16">CPU µs per delivery, each run and the median</text>
"#
    );
    for (row, report) in reports.iter().enumerate() {
        for (which, (name, colour)) in [("ours", "#0a7"), ("limit", "#888")].into_iter().enumerate() {
            let y = 64 + row * 80 + which * 28;
            let middle = x(if which == 0 { report.ours } else { report.limit });
            let _ = writeln!(out, r#"<text x="20" y="{}">{:?}, {name}</text>"#, y + 4, report.scenario);
            let _ = writeln!(out, r##"<line x1="180" y1="{y}" x2="740" y2="{y}" stroke="#ddd"/>"##);
            for micros in &report.runs[which] {
                let _ =
                    writeln!(out, r#"<circle cx="{:.1}" cy="{y}" r="4" fill="{colour}" opacity="0.6"/>"#, x(*micros));
            }
            let _ = writeln!(
                out,
                r#"<line x1="{middle:.1}" y1="{}" x2="{middle:.1}" y2="{}" stroke="{colour}" stroke-width="2"/><text x="{:.1}" y="{}">{:.2}</text>"#,
                y - 9,
                y + 9,
                middle + 6.0,
                y - 6,
                if which == 0 { report.ours } else { report.limit },
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_few_runs() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
