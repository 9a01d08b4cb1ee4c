//! All samples of a run of the suite, and what follows from them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::sample::Sample;
use super::scenario::{Quantity, SCENARIOS, Scenario};
use super::server::{LIMIT, OURS, Place, Server};
use crate::load::Latency;
use crate::report::median;

/// All that a run of the suite has found out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) repeats: usize,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    pub(crate) outcomes: Vec<Outcome>,
}

/// One scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) unit: String,
    pub(crate) contenders: Vec<Contender>,
}

/// One server in it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Contender {
    pub(crate) server: String,
    /// The reason why it took no part.
    pub(crate) blank: Option<String>,
    pub(crate) samples: Vec<Sample>,
    /// Runs that failed, and why.
    pub(crate) failures: Vec<String>,
}

/// A bar, and what was measured against it.
pub(crate) struct Verdict {
    pub(crate) scenario: &'static str,
    pub(crate) about: &'static str,
    pub(crate) of: String,
    pub(crate) server: &'static str,
    pub(crate) most: f64,
    pub(crate) enforced: Option<f64>,
    pub(crate) found: f64,
}

impl Results {
    pub(super) fn new(machine: Machine, repeats: usize, lasting: Duration, seed: u64) -> Results {
        Results { machine, repeats, seconds: lasting.as_secs_f64(), seed, outcomes: Vec::new() }
    }

    /// All bars whose scenario was run against our server.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for outcome in &self.outcomes {
            let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == outcome.scenario) else { continue };
            let variants = [OURS, "ours, mimalloc"];
            for (server, bar) in variants.iter().flat_map(|server| scenario.bars.iter().map(move |bar| (server, bar))) {
                let Some(contender) = outcome.contender(server).filter(|contender| !contender.samples.is_empty())
                else {
                    continue;
                };
                let (of, found) = match bar.of {
                    Quantity::Ratio => {
                        ("ratio to limit".to_owned(), outcome.ratio(contender).map(|ratio| ratio.median))
                    }
                    Quantity::Figure => (outcome.unit.clone(), Some(contender.median(|sample| sample.figure))),
                    Quantity::Further(name) => (name.to_owned(), contender.further().get(name).copied()),
                };
                if let Some(found) = found {
                    let (scenario, about) = (scenario.name, scenario.about);
                    verdicts.push(Verdict {
                        scenario,
                        about,
                        of,
                        server,
                        most: bar.most,
                        enforced: bar.enforced,
                        found,
                    });
                }
            }
        }
        verdicts
    }

    /// Faults: messages that our server or the limit server lost or put out of order, and runs of them that failed.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for outcome in &self.outcomes {
            let ours =
                |contender: &&Contender| contender.server.starts_with(OURS) || contender.server.starts_with(LIMIT);
            for contender in outcome.contenders.iter().filter(ours) {
                let (lost, disorder) = contender.faults();
                let name = format!("{}, {}", outcome.scenario, contender.server);
                if lost + disorder > 0 {
                    faults.push(format!("{name}: {lost} messages lost, {disorder} out of order"));
                }
                faults.extend(contender.failures.iter().map(|failure| format!("{name}: {failure}")));
            }
        }
        faults
    }

    /// A few lines for each scenario.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for outcome in &self.outcomes {
            let _ = writeln!(text, "{}: {} ({})", outcome.scenario, outcome.about, outcome.unit);
            for contender in &outcome.contenders {
                if contender.samples.is_empty() {
                    let why = contender.blank.as_deref().or(contender.failures.first().map(String::as_str));
                    let _ = writeln!(text, "  {:<18} -  {}", contender.server, why.unwrap_or("not run"));
                    continue;
                }
                let _ = write!(text, "  {:<18} {:>10.2}", contender.server, contender.median(|sample| sample.figure));
                if let Some(ratio) = outcome.ratio(contender) {
                    let _ = write!(text, " {:>7.2}x ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most);
                }
                if let Some(latency) = contender.latency() {
                    let _ =
                        write!(text, "  p50 {:.2} p99 {:.2} p99.9 {:.2} ms", latency.p50, latency.p99, latency.p999);
                }
                let (lost, disorder) = contender.faults();
                let _ = write!(text, "  {:.0}/s, RSS {:.1} MB", contender.rate(), contender.rss() / 1e6);
                if lost + disorder > 0 {
                    let _ = write!(text, ", {lost} lost, {disorder} out of order");
                }
                if !contender.failures.is_empty() {
                    let _ = write!(text, ", {} runs failed: {}", contender.failures.len(), contender.failures[0]);
                }
                for (name, value) in contender.further() {
                    let _ = write!(text, "; {name}: {value:.2}");
                }
                let _ = writeln!(text);
            }
        }
        for verdict in self.verdicts() {
            let met = if verdict.found <= verdict.most { "met" } else { "MISSED" };
            let Verdict { scenario, of, server, most, found, .. } = verdict;
            let _ = writeln!(text, "bar {met}: {scenario}, {server}, {of}: {found:.3} (at most {most})");
        }
        text
    }
}

/// A ratio to the limit server: the median of the ratios of single rounds, the smallest, and the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Outcome {
    pub(super) fn new(scenario: &Scenario, servers: &[&'static Server], place: &Place) -> Outcome {
        let contender = |server: &&'static Server| Contender {
            server: server.name.to_owned(),
            blank: server.blank(scenario, place),
            samples: Vec::new(),
            failures: Vec::new(),
        };
        Outcome {
            scenario: scenario.name.to_owned(),
            about: scenario.about.to_owned(),
            unit: scenario.load.measure().unit().to_owned(),
            contenders: servers.iter().map(contender).collect(),
        }
    }

    /// The number of servers that take part.
    pub(super) fn runs(&self) -> usize {
        self.contenders.iter().filter(|contender| contender.blank.is_none()).count()
    }

    /// The server of this name.
    pub(crate) fn contender(&self, name: &str) -> Option<&Contender> {
        self.contenders.iter().find(|contender| contender.server == name)
    }

    /// Returns `true` if a ratio to the limit server makes sense: of memory and of slowdowns it does not.
    pub(crate) fn has_ratios(&self) -> bool {
        self.unit.contains("CPU")
    }

    /// The costs of a server as a ratio to the limit server's, of the rounds that both took part in.
    pub(crate) fn ratio(&self, contender: &Contender) -> Option<Ratio> {
        let limit = self.contender(LIMIT).filter(|_| self.has_ratios())?;
        let of = |sample: &Sample| {
            let other = limit.samples.iter().find(|other| other.round == sample.round)?;
            Some(sample.figure / other.figure)
        };
        let ratios: Vec<f64> = contender.samples.iter().filter_map(of).collect();
        (!ratios.is_empty()).then(|| Ratio {
            median: median(ratios.iter().copied()),
            least: ratios.iter().copied().fold(f64::MAX, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
        })
    }
}

impl Contender {
    pub(super) fn note(&mut self, round: usize, sample: Result<Sample>) {
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
        self.samples.iter().fold((0, 0), |(lost, disorder), sample| (lost + sample.lost, disorder + sample.disorder))
    }

    /// Medians of further quantities.
    pub(crate) fn further(&self) -> BTreeMap<String, f64> {
        let Some(first) = self.samples.first() else { return BTreeMap::new() };
        let of = |name: &String| median(self.samples.iter().filter_map(|sample| sample.further.get(name).copied()));
        first.further.keys().map(|name| (name.clone(), of(name))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(server: &str, figures: &[(usize, f64)]) -> Contender {
        let sample = |&(round, figure): &(usize, f64)| Sample { round, figure, lost: 1, ..Sample::default() };
        let samples = figures.iter().map(sample).collect();
        Contender { server: server.into(), blank: None, samples, failures: Vec::new() }
    }

    fn outcome(scenario: &str, contenders: Vec<Contender>) -> Outcome {
        let unit = "µs CPU per delivery".to_owned();
        Outcome { scenario: scenario.into(), about: String::new(), unit, contenders }
    }

    #[test]
    fn ratios_are_those_of_one_round() {
        let ours = contender(OURS, &[(0, 2.0), (1, 30.0), (2, 4.0), (3, 9.0)]);
        let outcome = outcome("x", vec![contender(LIMIT, &[(0, 1.0), (1, 20.0), (2, 1.0)]), ours.clone()]);
        assert_eq!(outcome.ratio(&ours), Some(Ratio { median: 2.0, least: 1.5, most: 4.0 }));
    }

    #[test]
    fn a_bar_is_held_against_our_server() {
        let mut results = Results::new(Machine::default(), 1, Duration::from_secs(1), 1);
        results.outcomes =
            vec![outcome("fanout-paced", vec![contender(LIMIT, &[(0, 1.0)]), contender(OURS, &[(0, 1.2)])])];
        let verdicts = results.verdicts();
        assert_eq!(verdicts.len(), 1);
        assert!((verdicts[0].found - 1.2).abs() < 1e-9 && (verdicts[0].most - 1.05).abs() < 1e-9);
    }

    #[test]
    fn losses_of_peers_are_shown_and_losses_of_our_server_are_faults() {
        let mut results = Results::new(Machine::default(), 1, Duration::from_secs(1), 1);
        results.outcomes = vec![outcome("x", vec![contender("ws", &[(0, 1.0)])])];
        assert_eq!(results.faults(), Vec::<String>::new());
        results.outcomes.push(outcome("y", vec![contender(OURS, &[(0, 1.0)])]));
        assert_eq!(results.faults(), ["y, ours: 1 messages lost, 0 out of order"]);
    }
}
