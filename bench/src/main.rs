//! Measures the cost of deliveries, connections and messages between nodes, beside reference programs in the same run and
//! beside other servers. See `bench/README.md`.

mod cluster;
mod load;
mod memory;
mod million;
mod plan;
mod plot;
mod process;
mod statistics;
mod suite;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use cluster::{BusForm, Comparison};
use plan::{Plan, Programs};
use statistics::median;
use suite::{Results, Selection};

/// Programs under measurement run on this core, the load on the other.
const SERVER_CORE: usize = 0;

#[derive(Parser)]
#[command(about = "CPU, latency and memory of a PondSocket server, beside the minimum and beside other servers")]
struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print one JSON value.
    #[arg(long, global = true)]
    json: bool,
    /// Use the programs as they are, without building them first.
    #[arg(long, global = true)]
    no_build: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Lists all scenarios and servers.
    List,
    /// Runs the named scenarios, or all.
    Run(SuiteArgs),
    /// Writes the page and the charts of earlier runs anew.
    Render {
        /// The JSON files of these runs. Scenarios of later files are added to the first.
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// The folder of the page and the charts.
        #[arg(long)]
        out: PathBuf,
    },
    /// Measures messages from node to node over Redis, and within a node that has a bus. Needs `redis-server`.
    Cluster(ClusterArgs),
    /// Holds as many joined connections as the machine allows, and broadcasts to all of them.
    Million(million::MillionOptions),
    /// The clients of one server of `million`.
    #[command(hide = true)]
    MillionClients(million::Clients),
    /// Measures the resident memory of the server for an idle joined connection.
    Memory {
        /// Fail above this many bytes.
        #[arg(long, default_value_t = 1700)]
        limit: u64,
    },
}

#[derive(clap::Args)]
struct SuiteArgs {
    /// Names of scenarios.
    scenarios: Vec<String>,
    /// Names of servers, separated by semicolons; the limit server and ours without it.
    #[arg(long, value_delimiter = ';')]
    servers: Vec<String>,
    /// Include the other servers, which `bench/peers/build` has built.
    #[arg(long)]
    peers: bool,
    /// Compare something else than servers.
    #[arg(long, value_enum, default_value_t = suite::Compared::Servers)]
    compare: suite::Compared,
    /// The number of rounds. In each, every server runs once in every scenario.
    #[arg(long, default_value_t = 6)]
    repeats: usize,
    /// The number of rounds in which the other servers take part; all without it.
    #[arg(long)]
    peer_repeats: Option<usize>,
    /// The duration of a run.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The seed of the order of runs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A remark for the page, such as other work on the machine.
    #[arg(long)]
    note: Option<String>,
    /// Write the page, the charts and all samples into this folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fail if our server needs clearly more than before. Without it only loss, wrong order and failed runs are failures.
    #[arg(long)]
    enforce: bool,
}

#[derive(clap::Args)]
struct ClusterArgs {
    /// The loads; all without it.
    #[arg(value_enum)]
    loads: Vec<cluster::ClusterLoad>,
    /// The number of runs of each side, interleaved.
    #[arg(long, default_value_t = 6)]
    repeats: usize,
    /// The duration of a run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Let the nodes use the short form of messages, as they do when no servers in other languages listen.
    #[arg(long)]
    short: bool,
    /// Write a chart of the runs into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Fail if a ratio is above its bar. Without it only loss and wrong order are failures.
    #[arg(long)]
    enforce: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.action {
        Action::List => println!("{}", suite::list()),
        Action::Render { results, out } => Results::read_all(&results)?.write(&out)?,
        Action::Run(suite) => run(&suite, programs(args.no_build)?, args.json)?,
        Action::Million(options) => hold(&options, &programs(args.no_build)?, args.json)?,
        Action::MillionClients(clients) => clients.run()?,
        Action::Cluster(cluster) => compare(programs(args.no_build)?, &cluster, args.json)?,
        Action::Memory { limit } => measure_memory(limit, &programs(args.no_build)?, args.json)?,
    }
    Ok(())
}

/// The measured programs, which are built before unless `no_build` is set.
fn programs(no_build: bool) -> Result<Programs> {
    if !no_build {
        let built =
            Command::new("cargo").args(["build", "--release", "--quiet", "-p", "contract", "-p", "bench"]).status()?;
        ensure!(built.success(), "the programs do not build");
    }
    let runner = std::env::current_exe()?;
    let folder = runner.parent().context("the runner is in a folder")?;
    let [contract, bare] = ["contract", "bare"].map(|name| folder.join(name));
    Ok(Programs { folder: folder.to_owned(), contract, bare, runner })
}

/// Runs the suite and prints the results.
fn run(suite: &SuiteArgs, programs: Programs, json: bool) -> Result<()> {
    let selection = Selection {
        scenarios: suite.scenarios.clone(),
        servers: suite.servers.clone(),
        peers: suite.peers,
        compare: suite.compare,
        repeats: suite.repeats,
        peer_repeats: suite.peer_repeats.unwrap_or(suite.repeats),
        lasting: Duration::from_secs_f64(suite.seconds),
        seed: suite.seed,
        note: suite.note.clone(),
    };
    let core = if suite.compare == suite::Compared::Runtimes { None } else { pin_load() };
    let save = |results: &Results| suite.out.as_ref().map_or(Ok(()), |folder| results.write(folder));
    let results = suite::run(&selection, programs, core, progress_bar, save)?;
    if json {
        println!("{}", serde_json::to_string(&results)?);
    } else {
        print!("{}", results.text());
    }
    let faults = results.faults();
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    if suite.enforce {
        let bars = results.bars();
        let worse: Vec<_> = bars.iter().filter(|bar| bar.is_worse_than_before()).map(|bar| bar.scenario).collect();
        ensure!(worse.is_empty(), "worse than before: {}", worse.join(", "));
    }
    Ok(())
}

fn progress_bar(steps: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left: {msg}")?;
    Ok(ProgressBar::new(steps).with_style(style))
}

/// Measures messages between nodes and prints the results.
fn compare(programs: Programs, cluster: &ClusterArgs, json: bool) -> Result<()> {
    let lasting = Duration::from_secs_f64(cluster.seconds);
    let loads = if cluster.loads.is_empty() { cluster::ClusterLoad::value_variants() } else { &cluster.loads };
    let form = if cluster.short { BusForm::Short } else { BusForm::Common };
    let progress = progress_bar((loads.len() * cluster.repeats * 2) as u64)?;
    let plan = Plan { programs, core: pin_load(), repeats: cluster.repeats, lasting, progress };
    let reports = loads.iter().map(|&load| cluster::measure(load, form, &plan)).collect::<Result<Vec<_>>>()?;
    plan.progress.finish_and_clear();
    if let Some(file) = &cluster.plot {
        let rows: Vec<_> = reports.iter().flat_map(Comparison::rows).collect();
        write(file, &plot::svg(&rows))?;
    }
    if json {
        println!("{}", serde_json::to_string(&reports)?);
    } else {
        reports.iter().for_each(|report| println!("{}", report.text()));
    }
    ensure!(reports.iter().all(|report| report.faults() == 0), "messages were lost or out of order");
    if cluster.enforce {
        let excesses: Vec<_> = reports.iter().filter_map(Comparison::excess).collect();
        ensure!(excesses.is_empty(), "{}", excesses.join("; "));
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Pins this process to another core than that of the servers, if there are two.
fn pin_load() -> Option<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mine = cores.iter().find(|core| core.id != SERVER_CORE)?;
    core_affinity::set_for_current(*mine).then_some(SERVER_CORE)
}

/// Holds as many connections as possible and prints the results.
fn hold(options: &million::MillionOptions, programs: &Programs, json: bool) -> Result<()> {
    let progress = progress_bar(options.connections as u64)?;
    let held = million::run(options, programs, &progress)?;
    progress.finish_and_clear();
    if json {
        println!("{}", serde_json::to_string(&held)?);
    } else {
        print!("{}", held.text());
    }
    Ok(())
}

/// Measures the memory of a connection in several runs and compares the median with the limit.
fn measure_memory(limit: u64, programs: &Programs, json: bool) -> Result<()> {
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    let runs = memory::measure(&programs.contract, &progress)?;
    let bytes = median(runs.iter().map(|&bytes| bytes as f64)).round() as u64;
    progress.finish_and_clear();
    if json {
        println!("{}", serde_json::json!({ "bytes_per_connection": bytes, "runs": runs, "limit": limit }));
    } else {
        println!(
            "{bytes} bytes of resident memory for an idle joined connection (limit {limit}): the median of {runs:?}"
        );
    }
    ensure!(bytes <= limit, "{bytes} bytes are more than {limit}");
    Ok(())
}
