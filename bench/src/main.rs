//! Measures what a delivery and a connection cost, against the least that the protocol allows.
//! See `bench/README.md`.

mod crowd;
mod ledger;
mod memory;
mod report;
mod scenario;
mod server;
mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use report::Report;
use scenario::Scenario;

/// Servers run on this core, the load on the other.
const SERVER_CORE: usize = 0;

#[derive(Parser)]
#[command(about = "CPU per delivery and memory per connection, against the least that the protocol allows")]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
    /// Use the servers as they are, without building them first.
    #[arg(long, global = true)]
    no_build: bool,
}

#[derive(Subcommand)]
enum What {
    /// One publisher, 1,000 receivers, 50 messages a second.
    Paced(Load),
    /// Ten publishers, 1,000 receivers, as fast as it goes.
    Saturated(Load),
    /// Both.
    All(Load),
    /// Resident memory of the server for an idle joined connection.
    Memory {
        /// Fail above this many bytes.
        #[arg(long, default_value_t = 2200)]
        limit: u64,
    },
}

#[derive(clap::Args)]
struct Load {
    /// Runs of each server, interleaved.
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
    let servers = servers(args.no_build)?;
    match args.what {
        What::Paced(load) => measure(&[Scenario::Paced], &load, &servers, args.json),
        What::Saturated(load) => measure(&[Scenario::Saturated], &load, &servers, args.json),
        What::All(load) => measure(Scenario::value_variants(), &load, &servers, args.json),
        What::Memory { limit } => weigh(limit, &servers, args.json),
    }
}

/// The contract server and the limit server.
fn servers(no_build: bool) -> Result<[PathBuf; 2]> {
    if !no_build {
        let built =
            Command::new("cargo").args(["build", "--release", "--quiet", "-p", "contract", "-p", "bench"]).status()?;
        ensure!(built.success(), "the servers do not build");
    }
    let me = std::env::current_exe()?;
    let folder = me.parent().context("the runner is in some folder")?;
    Ok(["contract", "limit"].map(|name| folder.join(name)))
}

fn measure(scenarios: &[Scenario], load: &Load, servers: &[PathBuf; 2], json: bool) -> Result<()> {
    let core = pin_load();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?;
    let progress = ProgressBar::new((scenarios.len() * load.repeats * 2) as u64).with_style(style);
    let mut reports = Vec::new();
    for &scenario in scenarios {
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..load.repeats {
            for (program, runs) in servers.iter().zip(&mut runs) {
                progress.set_message(format!("{scenario:?}, {}", name(program)));
                runs.push(scenario.run(program, core, Duration::from_secs_f64(load.seconds))?);
                progress.inc(1);
            }
        }
        reports.push(Report::new(scenario, &runs[0], &runs[1]));
    }
    progress.finish_and_clear();
    if let Some(file) = &load.plot {
        std::fs::write(file, report::svg(&reports)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if json {
        println!("{}", serde_json::to_string(&reports)?);
    } else {
        reports.iter().for_each(|report| println!("{}", report.text()));
    }
    ensure!(reports.iter().all(|report| report.faults == 0), "messages were lost or out of order");
    if load.enforce
        && let Some(report) = reports.iter().find(|report| report.ratio > report.bar)
    {
        bail!("{:?} costs {:.2}x, more than {}x", report.scenario, report.ratio, report.bar);
    }
    Ok(())
}

/// Puts this process on another core than the servers, where there is one.
fn pin_load() -> Option<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mine = cores.iter().find(|core| core.id != SERVER_CORE)?;
    core_affinity::set_for_current(*mine).then_some(SERVER_CORE)
}

fn name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn weigh(limit: u64, servers: &[PathBuf; 2], json: bool) -> Result<()> {
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    let bytes = memory::measure(&servers[0], &progress)?;
    progress.finish_and_clear();
    if json {
        println!("{}", serde_json::json!({ "bytes_per_connection": bytes, "limit": limit }));
    } else {
        println!("{bytes} bytes of resident memory for an idle joined connection (limit {limit})");
    }
    ensure!(bytes <= limit, "{bytes} bytes are more than {limit}");
    Ok(())
}
