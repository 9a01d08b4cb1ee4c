//! As many joined connections as the machine allows, in several server processes, and a broadcast to all of them.
//!
//! Each server has a process of clients of its own, with a source address of its own: a process has a limited number of
//! descriptors, and an address a limited number of ports. Groups of a server and its clients are added until the connections
//! are complete or the memory of the machine does not suffice for one more.

mod clients;
mod group;
mod machine;
mod report;

use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use clients::Clients;
use group::Group;
use machine::Memory;
pub(crate) use report::Held;

use crate::load::histogram;
use crate::plan::Programs;
use crate::statistics::median;

/// The most connections of a server: the ports of its clients end below those that the system gives to other programs.
const MAX_PER_SERVER: usize = 20_000;

/// Descriptors of a process that are not connections.
const SPARE_DESCRIPTORS: u64 = 500;

/// The time for which the machine is left alone before memory is measured.
const SETTLE: Duration = Duration::from_secs(5);

/// The options of the command.
#[derive(clap::Args)]
pub(crate) struct MillionOptions {
    /// The number of connections.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) connections: usize,
    /// The number of connections of each server, at most what its limit of descriptors allows.
    #[arg(long, default_value_t = 19_500)]
    per_server: usize,
    /// Memory that stays available, in GiB: fewer connections are held if there would be less.
    #[arg(long, default_value_t = 2.0)]
    reserve: f64,
    /// The most memory that may be used, in GiB.
    #[arg(long)]
    memory: Option<f64>,
    /// The number of broadcasts to all connections.
    #[arg(long, default_value_t = 5)]
    broadcasts: usize,
}

/// Opens the connections, measures them, and closes them.
pub(crate) fn run(options: &MillionOptions, programs: &Programs, progress: &ProgressBar) -> Result<Held> {
    let per_server = options
        .per_server
        .min(MAX_PER_SERVER)
        .min((raise_descriptor_limit()?.saturating_sub(SPARE_DESCRIPTORS)) as usize);
    ensure!(per_server > 0, "the limit of descriptors is below {SPARE_DESCRIPTORS}");
    let before = Memory::read()?;
    let mut groups: Vec<Group> = Vec::new();
    let (mut open, mut last, mut most) = (0, before, 0.0_f64);
    while open < options.connections {
        // The next group may take as much memory as the largest so far.
        let (available, used) = (last.available - most, before.available - last.available + most);
        if available < gib(options.reserve) || options.memory.is_some_and(|memory| used > gib(memory)) {
            break;
        }
        let count = per_server.min(options.connections - open);
        show(progress, format!("server {}", groups.len() + 1));
        groups.push(Group::start(programs, groups.len(), count)?);
        open += count;
        progress.set_position(open as u64);
        let now = Memory::read()?;
        most = most.max(last.available - now.available);
        last = now;
    }
    show(progress, format!("{open} connections are idle"));
    std::thread::sleep(SETTLE);
    let after = Memory::read()?;
    let mut held = Held::new(options.connections, open, groups.len());
    held.set_memory(&groups, before, after)?;
    let (mut latencies, mut micros) = (histogram()?, Vec::new());
    for round in 0..options.broadcasts {
        show(progress, format!("broadcast {} of {}", round + 1, options.broadcasts));
        let (all, cpu) = broadcast(&mut groups, round)?;
        held.received.push(all.len());
        held.seconds.push(all.max() as f64 / 1e6);
        micros.push(cpu / all.len().max(1) as f64 * 1e6);
        latencies.add(&all)?;
    }
    held.set_latency(&latencies);
    held.micros_per_delivery = if micros.is_empty() { 0.0 } else { median(micros) };
    Ok(held)
}

/// Shows a step, also without a terminal.
fn show(progress: &ProgressBar, step: String) {
    if progress.is_hidden() {
        eprintln!("{step}");
    }
    progress.set_message(step);
}

/// Sends one message to all connections. Returns the latencies and the CPU time of all servers in seconds.
fn broadcast(groups: &mut [Group], round: usize) -> Result<(hdrhistogram::Histogram<u64>, f64)> {
    let cpu = |groups: &[Group]| groups.iter().map(|group| Ok(group.cpu()?.total)).sum::<Result<f64>>();
    let before = cpu(groups)?;
    let due = clients::now_micros() + clients::LEAD.as_micros() as u64;
    groups.iter_mut().try_for_each(|group| group.send(round, due))?;
    let mut all = histogram()?;
    for group in groups.iter_mut() {
        all.add(group.received()?)?;
    }
    Ok((all, cpu(groups)? - before))
}

/// Raises the limit of descriptors as far as this process may, and returns it. Children inherit it.
fn raise_descriptor_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

fn gib(gib: f64) -> f64 {
    gib * f64::from(1 << 30)
}
