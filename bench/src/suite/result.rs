//! All samples of a run of the suite, with their medians and ratios.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::bars;
use super::machine::Machine;
use super::sample::Sample;
use super::scenario::{SCENARIOS, Scenario};
use super::server::{Environment, LIMIT, OURS, Server};
use crate::load::Latency;
use crate::statistics::median;

/// The results of a run of the suite.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) repeats: usize,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    /// A remark about the run, such as other work on the machine.
    #[serde(default)]
    pub(crate) note: Option<String>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// The results of one scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) unit: String,
    pub(crate) entries: Vec<Entry>,
}

/// The results of one server in a scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) server: String,
    /// The reason why it did not take part, if it did not.
    pub(crate) blank: Option<String>,
    pub(crate) samples: Vec<Sample>,
    /// The errors of failed runs.
    pub(crate) failures: Vec<String>,
}

impl Results {
    pub(super) fn new(machine: Machine, repeats: usize, lasting: Duration, seed: u64) -> Results {
        Results { machine, repeats, seconds: lasting.as_secs_f64(), seed, note: None, outcomes: Vec::new() }
    }

    /// Adds the samples of another run for servers that have none here.
    pub(super) fn add(&mut self, other: Results) {
        for outcome in other.outcomes {
            let Some(known) = self.outcomes.iter_mut().find(|known| known.scenario == outcome.scenario) else {
                self.outcomes.push(outcome);
                continue;
            };
            for entry in outcome.entries {
                match known.entries.iter_mut().find(|known| known.server == entry.server) {
                    Some(known) if known.samples.is_empty() => *known = entry,
                    Some(_) => {}
                    None => known.entries.push(entry),
                }
            }
        }
        let place = |outcome: &Outcome| SCENARIOS.iter().position(|scenario| scenario.name == outcome.scenario);
        self.outcomes.sort_by_key(place);
    }

    /// The faults of our server and the limit server: messages lost or out of order, and failed runs.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for outcome in &self.outcomes {
            let ours = |entry: &&Entry| entry.server.starts_with(OURS) || entry.server.starts_with(LIMIT);
            for entry in outcome.entries.iter().filter(ours) {
                let (lost, out_of_order) = entry.faults();
                let name = format!("{}, {}", outcome.scenario, entry.server);
                if lost + out_of_order > 0 {
                    faults.push(format!("{name}: {lost} messages lost, {out_of_order} out of order"));
                }
                faults.extend(entry.failures.iter().map(|failure| format!("{name}: {failure}")));
            }
        }
        faults
    }

    /// The results as text, a few lines for each scenario.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for outcome in &self.outcomes {
            let _ = writeln!(text, "{}: {} ({})", outcome.scenario, outcome.about, outcome.unit);
            for entry in outcome.shown() {
                if entry.samples.is_empty() {
                    let why = entry.blank.as_deref().or(entry.failures.first().map(String::as_str));
                    let _ = writeln!(text, "  {:<18} -  {}", entry.server, why.unwrap_or("not run"));
                    continue;
                }
                let _ = write!(text, "  {:<18} {:>10.2}", entry.server, entry.median(|sample| sample.figure));
                if let Some(ratio) = outcome.ratio(entry) {
                    let _ = write!(text, " {:>7.2}x ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most);
                }
                if let Some(latency) = entry.latency() {
                    let _ =
                        write!(text, "  p50 {:.2} p99 {:.2} p99.9 {:.2} ms", latency.p50, latency.p99, latency.p999);
                }
                let (lost, out_of_order) = entry.faults();
                let _ = write!(text, "  {:.0}/s, RSS {:.1} MB", entry.rate(), entry.rss() / 1e6);
                if lost + out_of_order > 0 {
                    let _ = write!(text, ", {lost} lost, {out_of_order} out of order");
                }
                if !entry.failures.is_empty() {
                    let _ = write!(text, ", {} runs failed: {}", entry.failures.len(), entry.failures[0]);
                }
                for (name, value) in entry.further() {
                    let _ = write!(text, "; {name}: {value:.2}");
                }
                let _ = writeln!(text);
            }
        }
        text + &bars::text(&self.bars())
    }
}

/// The ratios of single rounds: their median, the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Outcome {
    pub(super) fn new(scenario: &Scenario, servers: &[&'static Server], environment: &Environment) -> Outcome {
        let entry = |server: &&'static Server| Entry {
            server: server.name.to_owned(),
            blank: server.blank(scenario, environment),
            samples: Vec::new(),
            failures: Vec::new(),
        };
        Outcome {
            scenario: scenario.name.to_owned(),
            about: scenario.about.to_owned(),
            unit: scenario.load.measure().unit().to_owned(),
            entries: servers.iter().map(entry).collect(),
        }
    }

    /// The servers that reports show: those that cannot take part with the reason, unless only our server can.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Entry> {
        let takes_part = |entry: &&Entry| entry.blank.is_none();
        let alone = self.entries.iter().filter(takes_part).all(|entry| entry.server.starts_with(OURS));
        self.entries.iter().filter(move |entry| !alone || takes_part(entry))
    }

    /// The server of this name.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.server == name)
    }

    /// Returns `true` if the quantity is a cost. Ratios of memory and latencies to the limit server mean nothing.
    pub(crate) fn has_ratios(&self) -> bool {
        self.unit.contains("CPU")
    }

    /// The cost of a server as a ratio to that of the limit server, in the rounds that have both.
    pub(crate) fn ratio(&self, entry: &Entry) -> Option<Ratio> {
        if self.has_ratios() { self.ratio_of(entry, |sample| Some(sample.figure)) } else { None }
    }

    /// The same ratio of another quantity.
    pub(crate) fn ratio_of(&self, entry: &Entry, quantity: impl Fn(&Sample) -> Option<f64>) -> Option<Ratio> {
        let limit = self.entry(LIMIT)?;
        let of = |sample: &Sample| {
            let other = limit.samples.iter().find(|other| other.round == sample.round)?;
            Some(quantity(sample)? / quantity(other)?)
        };
        let ratios: Vec<f64> = entry.samples.iter().filter_map(of).collect();
        (!ratios.is_empty()).then(|| Ratio {
            median: median(ratios.iter().copied()),
            least: ratios.iter().copied().fold(f64::MAX, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
        })
    }
}

impl Entry {
    /// Adds the outcome of a run.
    pub(super) fn add(&mut self, round: usize, sample: Result<Sample>) {
        match sample {
            Ok(sample) => self.samples.push(Sample { round, ..sample }),
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    /// The median over its runs.
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        if self.samples.is_empty() { f64::NAN } else { median(self.samples.iter().map(of)) }
    }

    /// Medians of the percentiles of its runs.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let known: Vec<Latency> = self.samples.iter().filter_map(|sample| sample.latency).collect();
        let of = |of: fn(&Latency) -> f64| median(known.iter().map(of));
        (!known.is_empty()).then(|| Latency {
            p50: of(|latency| latency.p50),
            p90: of(|latency| latency.p90),
            p99: of(|latency| latency.p99),
            p999: of(|latency| latency.p999),
            max: of(|latency| latency.max),
        })
    }

    /// Messages or connections a second.
    pub(crate) fn rate(&self) -> f64 {
        self.median(|sample| sample.count as f64 / sample.seconds)
    }

    /// The part of CPU time that was spent in user mode, in hundredths.
    pub(crate) fn user_share(&self) -> f64 {
        self.median(|sample| sample.user / sample.cpu * 100.0)
    }

    /// The most resident memory, in bytes.
    pub(crate) fn rss(&self) -> f64 {
        self.median(|sample| sample.peak_rss as f64)
    }

    /// Messages lost, and messages out of order, in all runs.
    pub(crate) fn faults(&self) -> (u64, u64) {
        self.samples
            .iter()
            .fold((0, 0), |(lost, out_of_order), sample| (lost + sample.lost, out_of_order + sample.out_of_order))
    }

    /// Medians of further quantities.
    pub(crate) fn further(&self) -> BTreeMap<String, f64> {
        let Some(first) = self.samples.first() else { return BTreeMap::new() };
        let of = |name: &String| median(self.samples.iter().filter_map(|sample| sample.further.get(name).copied()));
        first.further.keys().map(|name| (name.clone(), of(name))).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::server::OURS_MIMALLOC;
    use super::*;

    pub(crate) fn entry(server: &str, figures: &[(usize, f64)]) -> Entry {
        let sample = |&(round, figure): &(usize, f64)| Sample { round, figure, lost: 1, ..Sample::default() };
        let samples = figures.iter().map(sample).collect();
        Entry { server: server.into(), blank: None, samples, failures: Vec::new() }
    }

    pub(crate) fn outcome(scenario: &str, entries: Vec<Entry>) -> Outcome {
        let unit = "µs CPU per delivery".to_owned();
        Outcome { scenario: scenario.into(), about: String::new(), unit, entries }
    }

    pub(crate) fn results(outcomes: Vec<Outcome>) -> Results {
        Results { outcomes, ..Results::new(Machine::default(), 1, Duration::from_secs(1), 1) }
    }

    #[test]
    fn a_later_run_fills_gaps_of_an_earlier_one() {
        let mut all = results(vec![outcome("rooms", vec![entry(OURS, &[(0, 1.0)]), entry("ws", &[])])]);
        all.add(results(vec![
            outcome("fanout-paced", vec![entry(OURS, &[(0, 3.0)])]),
            outcome("rooms", vec![entry(OURS, &[(0, 9.0)]), entry("ws", &[(0, 2.0)])]),
        ]));
        let figure =
            |at: usize, server| all.outcomes[at].entry(server).map(|entry| entry.median(|sample| sample.figure));
        assert_eq!(
            all.outcomes.iter().map(|outcome| outcome.scenario.as_str()).collect::<Vec<_>>(),
            ["fanout-paced", "rooms"]
        );
        assert_eq!((figure(0, OURS), figure(1, OURS), figure(1, "ws")), (Some(3.0), Some(1.0), Some(2.0)));
    }

    #[test]
    fn servers_that_cannot_take_part_are_shown_beside_several_that_can() {
        let blank = |server| Entry { blank: Some("it cannot".into()), ..entry(server, &[]) };
        let shown = |entries| outcome("x", entries).shown().map(|entry| entry.server.clone()).collect::<Vec<_>>();
        assert_eq!(shown(vec![entry(LIMIT, &[(0, 1.0)]), entry(OURS, &[(0, 1.0)]), blank("ws")]), [LIMIT, OURS, "ws"]);
        assert_eq!(shown(vec![blank(LIMIT), entry(OURS, &[(0, 1.0)]), blank("ws")]), [OURS]);
        assert_eq!(
            shown(vec![blank(LIMIT), entry(OURS, &[(0, 1.0)]), entry(OURS_MIMALLOC, &[])]),
            [OURS, OURS_MIMALLOC]
        );
    }

    #[test]
    fn ratios_are_those_of_one_round() {
        let ours = entry(OURS, &[(0, 2.0), (1, 30.0), (2, 4.0), (3, 9.0)]);
        let outcome = outcome("x", vec![entry(LIMIT, &[(0, 1.0), (1, 20.0), (2, 1.0)]), ours.clone()]);
        assert_eq!(outcome.ratio(&ours), Some(Ratio { median: 2.0, least: 1.5, most: 4.0 }));
    }

    #[test]
    fn losses_of_peers_are_shown_and_losses_of_our_server_are_faults() {
        let mut results = results(vec![outcome("x", vec![entry("ws", &[(0, 1.0)])])]);
        assert_eq!(results.faults(), Vec::<String>::new());
        results.outcomes.push(outcome("y", vec![entry(OURS, &[(0, 1.0)])]));
        assert_eq!(results.faults(), ["y, ours: 1 messages lost, 0 out of order"]);
    }
}
