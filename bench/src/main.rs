//! Measures what deliveries, connections and messages between nodes cost, each against a yardstick of the same run, and
//! beside other servers. See `bench/README.md`.

mod cluster;
mod load;
mod memory;
mod plan;
mod plot;
mod process;
mod report;
mod suite;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use plan::{Plan, Programs};
use report::Report;
use suite::{Results, Selection};

/// Programs under measurement run on this core, the load on the other.
const SERVER_CORE: usize = 0;

#[derive(Parser)]
#[command(about = "CPU, latency and memory of a PondSocket server, beside the least possible and beside other servers")]
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
    /// Names all scenarios and servers.
    List,
    /// Runs scenarios: those that are named, or all.
    Run(Suite),
    /// Makes the page and the pictures of an earlier run anew.
    Render {
        /// The JSON that it has written.
        results: PathBuf,
        /// The folder for them.
        #[arg(long)]
        out: PathBuf,
    },
    /// From node to node over Redis, and within a node that has a bus. Needs `redis-server`.
    Cluster(Cluster),
    /// Resident memory of the server for an idle joined connection.
    Memory {
        /// Fail above this many bytes.
        #[arg(long, default_value_t = 2200)]
        limit: u64,
    },
}

#[derive(clap::Args)]
struct Suite {
    /// Names of scenarios.
    scenarios: Vec<String>,
    /// Names of servers; without it the limit server and ours.
    #[arg(long, value_delimiter = ';')]
    servers: Vec<String>,
    /// Compare other servers, too, which `bench/peers/build` has built.
    #[arg(long)]
    peers: bool,
    /// Rounds. In each, every server runs once in every scenario.
    #[arg(long, default_value_t = 6)]
    repeats: usize,
    /// Length of a run.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The order of the runs follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the page, the pictures and all samples into this folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fail if our server needs more than what it once needed. Without it only loss, disorder and runs that break off fail.
    #[arg(long)]
    enforce: bool,
}

#[derive(clap::Args)]
struct Cluster {
    /// Loads; all without it.
    #[arg(value_enum)]
    loads: Vec<cluster::Load>,
    /// Runs of each side, interleaved.
    #[arg(long, default_value_t = 6)]
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
    match args.what {
        What::List => println!("{}", suite::list()),
        What::Render { results, out } => Results::read(&results)?.write(&out)?,
        What::Run(suite) => run(&suite, &programs(args.no_build)?, args.json)?,
        What::Cluster(cluster) => compare(programs(args.no_build)?, &cluster, args.json)?,
        What::Memory { limit } => weigh(limit, &programs(args.no_build)?, args.json)?,
    }
    Ok(())
}

fn programs(no_build: bool) -> Result<Programs> {
    if !no_build {
        let built =
            Command::new("cargo").args(["build", "--release", "--quiet", "-p", "contract", "-p", "bench"]).status()?;
        ensure!(built.success(), "the programs do not build");
    }
    let me = std::env::current_exe()?;
    let folder = me.parent().context("the runner is in some folder")?;
    let [contract, bare] = ["contract", "bare"].map(|name| folder.join(name));
    Ok(Programs { folder: folder.to_owned(), contract, bare })
}

/// Runs the suite, and says what came of it.
fn run(suite: &Suite, programs: &Programs, json: bool) -> Result<()> {
    let selection = Selection {
        scenarios: suite.scenarios.clone(),
        servers: suite.servers.clone(),
        peers: suite.peers,
        repeats: suite.repeats,
        lasting: Duration::from_secs_f64(suite.seconds),
        seed: suite.seed,
    };
    let core = pin_load();
    let keep = |results: &Results| suite.out.as_ref().map_or(Ok(()), |folder| results.write(folder));
    let results = suite::run(&selection, &programs.folder, core, progress_bar, keep)?;
    if json {
        println!("{}", serde_json::to_string(&results)?);
    } else {
        print!("{}", results.text());
    }
    let faults = results.faults();
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    if suite.enforce {
        let excess = |verdict: &suite::Verdict| verdict.enforced.is_some_and(|most| verdict.found > most);
        let missed: Vec<_> = results.verdicts().into_iter().filter(excess).map(|verdict| verdict.scenario).collect();
        ensure!(missed.is_empty(), "above what was reached once: {}", missed.join(", "));
    }
    Ok(())
}

fn progress_bar(steps: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left: {msg}")?;
    Ok(ProgressBar::new(steps).with_style(style))
}

/// Compares nodes, and says what came of it.
fn compare(programs: Programs, cluster: &Cluster, json: bool) -> Result<()> {
    let lasting = Duration::from_secs_f64(cluster.seconds);
    let loads = if cluster.loads.is_empty() { cluster::Load::value_variants() } else { &cluster.loads };
    let progress = progress_bar((loads.len() * cluster.repeats * 2) as u64)?;
    let plan = Plan { programs, core: pin_load(), repeats: cluster.repeats, lasting, progress };
    let reports = loads.iter().map(|&load| cluster::measure(load, &plan)).collect::<Result<Vec<_>>>()?;
    plan.progress.finish_and_clear();
    if let Some(file) = &cluster.plot {
        let rows: Vec<_> = reports.iter().flat_map(Report::rows).collect();
        write(file, &plot::svg(&rows))?;
    }
    if json {
        println!("{}", serde_json::Value::from_iter(reports.iter().map(Report::json)));
    } else {
        reports.iter().for_each(|report| println!("{}", report.text()));
    }
    ensure!(reports.iter().all(|report| report.faults() == 0), "messages were lost or out of order");
    if cluster.enforce {
        let excesses: Vec<_> = reports.iter().filter_map(Report::excess).collect();
        ensure!(excesses.is_empty(), "{}", excesses.join("; "));
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
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
