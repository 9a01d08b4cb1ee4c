//! The suite: every scenario with every server that supports it, in rounds of shuffled order.

mod bars;
mod chart;
mod driver;
pub(crate) mod format;
mod histories;
mod machine;
mod page;
mod result;
mod run;
mod sample;
mod scenario;
mod server;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;

use machine::Machine;
use result::Outcome;
pub(crate) use result::Results;
use run::Run;
use scenario::{SCENARIOS, Scenario};
use server::{Environment, HISTORIES, RUNTIMES, SERVERS, SYSTEM_CALLS, Server};

use crate::plan::Programs;

/// The list from which servers are selected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Compared {
    /// Our server, the limit server and those of others.
    Servers,
    /// Our server on different runtimes. Neither the server nor the load is pinned to a core.
    Runtimes,
    /// Our server with and without a history of its channels.
    Histories,
    /// The limit server with different system calls.
    SystemCalls,
}

impl Compared {
    fn servers(self) -> &'static [Server] {
        match self {
            Compared::Servers => SERVERS,
            Compared::Runtimes => RUNTIMES,
            Compared::Histories => HISTORIES,
            Compared::SystemCalls => SYSTEM_CALLS,
        }
    }
}

/// The scenarios, the servers and the number of rounds of one run of the suite.
pub(crate) struct Selection {
    /// Names of scenarios; all if there are none.
    pub(crate) scenarios: Vec<String>,
    /// Names of servers; all if there are none.
    pub(crate) servers: Vec<String>,
    /// Includes the other servers, if none are named.
    pub(crate) peers: bool,
    pub(crate) compare: Compared,
    pub(crate) repeats: usize,
    /// The number of rounds in which the other servers take part.
    pub(crate) peer_repeats: usize,
    pub(crate) lasting: Duration,
    /// The seed of the order.
    pub(crate) seed: u64,
    /// A remark for the page.
    pub(crate) note: Option<String>,
}

/// The names of all scenarios and servers, each with a description.
pub(crate) fn list() -> String {
    let scenarios = SCENARIOS.iter().map(|scenario| format!("  {:<20} {}", scenario.name, scenario.about));
    let servers = SERVERS
        .iter()
        .chain(&RUNTIMES[1..])
        .chain(&SYSTEM_CALLS[1..])
        .map(|server| format!("  {:<20} {}", server.name, server.about));
    let lines = ["scenarios:".to_owned()].into_iter().chain(scenarios).chain(["servers:".to_owned()]).chain(servers);
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs the selection. `save` gets the results so far after each scenario, so that an interrupted run is not lost.
pub(crate) fn run(
    selection: &Selection,
    programs: Programs,
    core: Option<usize>,
    progress: impl FnOnce(u64) -> Result<ProgressBar>,
    save: impl Fn(&Results) -> Result<()>,
) -> Result<Results> {
    let scenarios = chosen(SCENARIOS, &selection.scenarios, |scenario| scenario.name)?;
    let mut servers = chosen(selection.compare.servers(), &selection.servers, |server| server.name)?;
    let all = selection.peers || selection.compare != Compared::Servers;
    servers.retain(|server| all || !selection.servers.is_empty() || !server.is_peer());
    let folder = tempfile::tempdir()?;
    let identity = tls::Identity::new(folder.path())?;
    let environment = Environment {
        programs,
        peers: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers"),
        core,
        certificate: identity.certificate,
        key: identity.key,
        mimalloc: machine::mimalloc(),
        has_redis: machine::has_redis(),
    };
    let mut results = Results::new(Machine::detect()?, selection.repeats, selection.lasting, selection.seed);
    results.note.clone_from(&selection.note);
    results.outcomes = scenarios.iter().map(|scenario| Outcome::new(scenario, &servers, &environment)).collect();
    let rounds = |scenario: &Scenario, server: &Server| {
        scenario.load.rounds(if server.is_peer() { selection.peer_repeats } else { selection.repeats })
    };
    let runs = scenarios.iter().zip(&results.outcomes).map(|(scenario, outcome)| {
        let runs = servers.iter().zip(&outcome.entries).filter(|(_, entry)| entry.blank.is_none());
        runs.map(|(server, _)| rounds(scenario, server)).sum::<usize>()
    });
    let progress = progress(runs.sum::<usize>() as u64)?;
    let mut random = fastrand::Rng::with_seed(selection.seed);
    for round in 0..selection.repeats {
        let mut order: Vec<usize> = (0..scenarios.len()).collect();
        random.shuffle(&mut order);
        for index in order {
            // The servers of a scenario run directly after each other, so that other work on the machine affects all of them.
            let mut turn: Vec<usize> = (0..servers.len()).collect();
            random.shuffle(&mut turn);
            for which in turn {
                let (scenario, server) = (scenarios[index], servers[which]);
                let entry = &mut results.outcomes[index].entries[which];
                if entry.blank.is_some() || round >= rounds(scenario, server) {
                    continue;
                }
                let step = format!("{}, {}, round {} of {}", scenario.name, server.name, round + 1, selection.repeats);
                // Without a terminal, a line for each step takes the place of the bar.
                if progress.is_hidden() {
                    eprintln!("{step}");
                }
                progress.set_message(step);
                let run = Run {
                    scenario,
                    server,
                    environment: &environment,
                    lasting: selection.lasting,
                    seed: random.u64(..),
                    tls: identity.client.clone(),
                };
                entry.add(round, run.sample());
                progress.inc(1);
            }
            results.machine.load_after = machine::load()?;
            save(&results)?;
        }
    }
    progress.finish_and_clear();
    Ok(results)
}

/// The items of these names, in their own order; all if there are no names. A name that no item has means all whose names
/// begin with it and a hyphen.
fn chosen<T>(all: &'static [T], names: &[String], name: impl Fn(&T) -> &'static str) -> Result<Vec<&'static T>> {
    let is_known = |wanted: &String| all.iter().any(|item| name(item) == wanted);
    let is_meant = |item: &T, wanted: &String| match is_known(wanted) {
        true => name(item) == wanted,
        false => name(item).strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('-')),
    };
    for wanted in names {
        ensure!(all.iter().any(|item| is_meant(item, wanted)), "there is no {wanted}: see `bench list`");
    }
    Ok(all.iter().filter(|item| names.is_empty() || names.iter().any(|wanted| is_meant(item, wanted))).collect())
}

impl Results {
    /// Reads the files of earlier runs. Scenarios and servers of later files are added to the first.
    pub(crate) fn read_all(files: &[PathBuf]) -> Result<Results> {
        let (first, others) = files.split_first().context("no file of results")?;
        let mut results = Results::read(first)?;
        for file in others {
            results.add(Results::read(file)?);
        }
        Ok(results)
    }

    fn read(file: &Path) -> Result<Results> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Writes the page, its charts and all samples into a folder. The names of the files begin with the date.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let file = |suffix: &str| folder.join(format!("{}{suffix}", self.machine.date));
        std::fs::write(file(".json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(file("-cost.svg"), chart::costs(self))?;
        std::fs::write(file("-latency.svg"), chart::latencies(self))?;
        std::fs::write(file(".md"), page::page(self))?;
        Ok(())
    }
}
