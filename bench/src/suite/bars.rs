//! The bars of our server, each beside the measured value.

use std::fmt::Write;

use super::format::{number, percent};
use super::result::{Entry, Outcome, Results};
use super::scenario::{Bar, Quantity, SCENARIOS, Scenario};
use super::server::{OURS, OURS_MIMALLOC, OURS_NO_METRICS};

/// A bar and the value that was measured for one variant of our server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BarResult {
    pub(crate) scenario: &'static str,
    pub(crate) about: &'static str,
    pub(crate) quantity: String,
    pub(crate) server: &'static str,
    pub(crate) at_most: f64,
    pub(crate) measured: f64,
    enforced: Option<f64>,
}

impl BarResult {
    fn new(
        scenario: &'static Scenario,
        bar: &Bar,
        server: &'static str,
        outcome: &Outcome,
        entry: &Entry,
    ) -> Option<BarResult> {
        let (quantity, measured) = match bar.quantity {
            Quantity::Ratio => ("CPU, times limit".to_owned(), outcome.ratio(entry)?.median),
            Quantity::Figure => (outcome.unit.clone(), entry.median(|sample| sample.figure)),
            Quantity::Further(name) => (name.to_owned(), *entry.further().get(name)?),
            Quantity::FurtherRatio(name) => {
                let ratio = outcome.ratio_of(entry, |sample| sample.further.get(name).copied())?;
                (format!("{name}, times limit"), ratio.median)
            }
            Quantity::Faults => {
                let (lost, out_of_order) = entry.faults();
                ("messages lost or out of order".to_owned(), (lost + out_of_order) as f64)
            }
        };
        let (at_most, enforced) = (bar.at_most, bar.enforced);
        let Scenario { name, about, .. } = scenario;
        Some(BarResult { scenario: name, about, quantity, server, at_most, measured, enforced })
    }

    /// Returns `true` if the value is at most the bar.
    pub(crate) fn is_met(&self) -> bool {
        self.measured <= self.at_most
    }

    /// Returns `true` if the value is above the one that was reached once.
    pub(crate) fn is_worse_than_before(&self) -> bool {
        self.enforced.is_some_and(|at_most| self.measured > at_most)
    }

    /// Returns the outcome as text: met, or by how much it is missed.
    pub(crate) fn verdict(&self) -> String {
        match self.is_met() {
            true => "met".to_owned(),
            false if self.at_most == 0.0 => format!("missed by {}", number(self.measured)),
            false => format!("missed by {}", percent(self.measured / self.at_most - 1.0)),
        }
    }
}

impl Results {
    /// The bars of all scenarios that were run against our server, in the order of the scenarios.
    pub(crate) fn bars(&self) -> Vec<BarResult> {
        let mut bars = Vec::new();
        for scenario in SCENARIOS {
            let Some(outcome) = self.outcomes.iter().find(|outcome| outcome.scenario == scenario.name) else {
                continue;
            };
            for bar in scenario.bars {
                for server in [OURS, OURS_NO_METRICS, OURS_MIMALLOC] {
                    let entry = outcome.entry(server).filter(|entry| !entry.samples.is_empty());
                    bars.extend(entry.and_then(|entry| BarResult::new(scenario, bar, server, outcome, entry)));
                }
            }
        }
        bars
    }
}

/// The bars as lines of text.
pub(super) fn text(bars: &[BarResult]) -> String {
    let mut text = String::new();
    if bars.is_empty() {
        return text;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:<17} {:<52} {:<17} {:>8} {:>9}", "bars", "", "", "at most", "measured");
    for bar in bars {
        let BarResult { scenario, quantity, server, at_most, measured, .. } = bar;
        let (at_most, measured) = (number(*at_most), number(*measured));
        let verdict = bar.verdict();
        let _ = writeln!(text, "{scenario:<17} {quantity:<52} {server:<17} {at_most:>8} {measured:>9}  {verdict}");
    }
    text
}

/// The bars as a table of Markdown.
pub(super) fn markdown(bars: &[BarResult]) -> String {
    let mut table = "| scenario | quantity | server | at most | measured | |\n|---|---|---|---|---|---|\n".to_owned();
    for bar in bars {
        let BarResult { scenario, about, quantity, server, .. } = bar;
        let verdict = if bar.is_met() { bar.verdict() } else { format!("**{}**", bar.verdict()) };
        let (at_most, measured) = (number(bar.at_most), number(bar.measured));
        // Writing to a String cannot fail.
        let _ =
            writeln!(table, "| `{scenario}`: {about} | {quantity} | {server} | {at_most} | {measured} | {verdict} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::{entry, outcome, results};
    use super::super::server::LIMIT;
    use super::*;

    #[test]
    fn a_missed_bar_says_by_how_much() {
        let results = results(vec![outcome(
            "fanout-paced",
            vec![entry(LIMIT, &[(0, 1.0), (1, 1.0)]), entry(OURS, &[(0, 1.3), (1, 1.22)])],
        )]);
        let bars = results.bars();
        assert_eq!(bars.len(), 1);
        assert_eq!(
            (bars[0].scenario, bars[0].at_most, bars[0].verdict().as_str()),
            ("fanout-paced", 1.05, "missed by 20 %")
        );
        assert!(bars[0].is_worse_than_before());
        assert!(markdown(&bars).contains("| 1.05 | 1.26 | **missed by 20 %** |"), "{}", markdown(&bars));
    }

    #[test]
    fn a_bar_is_met_by_a_value_that_equals_it() {
        let results =
            results(vec![outcome("fanout-paced", vec![entry(LIMIT, &[(0, 1.0)]), entry(OURS, &[(0, 1.05)])])]);
        assert_eq!(results.bars()[0].verdict(), "met");
        assert!(!results.bars()[0].is_worse_than_before());
    }

    #[test]
    fn lost_messages_miss_a_bar_of_none() {
        // Each of these samples has lost one message.
        let results = results(vec![outcome("fanout-10", vec![entry(OURS, &[(0, 1.0), (1, 1.0)])])]);
        let verdicts: Vec<_> = results.bars().iter().map(BarResult::verdict).collect();
        assert_eq!(verdicts, ["missed by 2.00"]);
    }
}
