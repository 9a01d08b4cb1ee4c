//! Measures what a delivery, a message between nodes and a connection cost, each against a yardstick of the same run.
//! See `bench/README.md`.

mod cluster;
mod delivery;
mod load;
mod memory;
mod plan;
mod plot;
mod process;
mod report;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use delivery::Scenario;
use plan::{Plan, Programs};
use report::Report;

/// Programs under measurement run on this core, the load on the other.
const SERVER_CORE: usize = 0;

#[derive(Parser)]
#[command(
    about = "CPU per delivery and per message between nodes, and memory per connection, beside the least possible"
)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Print one JSON value.
    #[arg(long, global = true)]
    json: bool,
    /// Use the programs as they are, without building them first.
    #[arg(long, global = true)]
    no_build: bool,
}

#[derive(Subcommand)]
enum What {
    /// One publisher, 1,000 receivers, 50 messages a second.
    Paced(Runs),
    /// Ten publishers, 1,000 receivers, as fast as it goes.
    Saturated(Runs),
    /// From node to node over Redis, and within a node that has a bus. Needs `redis-server`.
    Cluster(Runs),
    /// All of these.
    All(Runs),
    /// Resident memory of the server for an idle joined connection.
    Memory {
        /// Fail above this many bytes.
        #[arg(long, default_value_t = 2200)]
        limit: u64,
    },
}

#[derive(clap::Args)]
struct Runs {
    /// Runs of each side, interleaved.
    #[arg(long, default_value_t = 8)]
    repeats: usize,
    /// Length of a run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Draw the runs into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Fail if a ratio is above its bar. Without it only loss and disorder fail.
    #[arg(long)]
    enforce: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let programs = programs(args.no_build)?;
    match args.what {
        What::Paced(runs) => compare(programs, &[Scenario::Paced], &[], &runs, args.json),
        What::Saturated(runs) => compare(programs, &[Scenario::Saturated], &[], &runs, args.json),
        What::Cluster(runs) => compare(programs, &[], cluster::Load::value_variants(), &runs, args.json),
        What::All(runs) => {
            compare(programs, Scenario::value_variants(), cluster::Load::value_variants(), &runs, args.json)
        }
        What::Memory { limit } => weigh(limit, &programs, args.json),
    }
}

fn programs(no_build: bool) -> Result<Programs> {
    if !no_build {
        let built =
            Command::new("cargo").args(["build", "--release", "--quiet", "-p", "contract", "-p", "bench"]).status()?;
        ensure!(built.success(), "the programs do not build");
    }
    let me = std::env::current_exe()?;
    let folder = me.parent().context("the runner is in some folder")?;
    let [contract, limit, bare] = ["contract", "limit", "bare"].map(|name| folder.join(name));
    Ok(Programs { contract, limit, bare })
}

/// Runs these scenarios and these loads, and says what came of them.
fn compare(programs: Programs, scenarios: &[Scenario], loads: &[cluster::Load], runs: &Runs, json: bool) -> Result<()> {
    let lasting = Duration::from_secs_f64(runs.seconds);
    let steps = (scenarios.len() + loads.len()) * runs.repeats * 2;
    let progress =
        ProgressBar::new(steps as u64).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    let plan = Plan { programs, core: pin_load(), repeats: runs.repeats, lasting, progress };
    let mut reports: Vec<Box<dyn Report>> = Vec::new();
    for &scenario in scenarios {
        reports.push(Box::new(delivery::measure(scenario, &plan)?));
    }
    for &load in loads {
        reports.push(Box::new(cluster::measure(load, &plan)?));
    }
    plan.progress.finish_and_clear();
    if let Some(file) = &runs.plot {
        let rows: Vec<_> = reports.iter().flat_map(|report| report.rows()).collect();
        std::fs::write(file, plot::svg(&rows)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if json {
        println!("{}", serde_json::Value::from_iter(reports.iter().map(|report| report.json())));
    } else {
        reports.iter().for_each(|report| println!("{}", report.text()));
    }
    ensure!(reports.iter().all(|report| report.faults() == 0), "messages were lost or out of order");
    if runs.enforce {
        let excesses: Vec<_> = reports.iter().filter_map(|report| report.excess()).collect();
        ensure!(excesses.is_empty(), "{}", excesses.join("; "));
    }
    Ok(())
}

/// Puts this process on another core than the servers, where there is one.
fn pin_load() -> Option<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mine = cores.iter().find(|core| core.id != SERVER_CORE)?;
    core_affinity::set_for_current(*mine).then_some(SERVER_CORE)
}

fn weigh(limit: u64, programs: &Programs, json: bool) -> Result<()> {
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    let bytes = memory::measure(&programs.contract, &progress)?;
    progress.finish_and_clear();
    if json {
        println!("{}", serde_json::json!({ "bytes_per_connection": bytes, "limit": limit }));
    } else {
        println!("{bytes} bytes of resident memory for an idle joined connection (limit {limit})");
    }
    ensure!(bytes <= limit, "{bytes} bytes are more than {limit}");
    Ok(())
}
