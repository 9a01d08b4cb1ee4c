use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{ChildProcess, Cpu, pinned};

/// A running server; it is killed when this is dropped.
pub(crate) struct ServerProcess {
    child: ChildProcess,
    /// The address at which it listens.
    pub(crate) address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server program, pinned to `core`. It gets `PORT=0` beside `variables`, and must print `listening PORT`.
    pub(crate) fn start(program: &Path, core: Option<usize>, variables: &[(&str, &str)]) -> Result<ServerProcess> {
        let variables = variables.iter().map(|(name, value)| (OsStr::new(*name), OsStr::new(*value)));
        ServerProcess::start_with(program, &[], core, variables)
    }

    /// The same of a program that takes arguments.
    pub(crate) fn start_with<'a>(
        program: &Path,
        arguments: &[&OsStr],
        core: Option<usize>,
        variables: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> Result<ServerProcess> {
        let mut command = pinned(program, core);
        let child = command.args(arguments).env("PORT", "0").envs(variables).stdout(Stdio::piped()).spawn();
        let mut child = ChildProcess(child.with_context(|| format!("cannot start {}", program.display()))?);
        let stdout = child.0.stdout.take().context("stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().strip_prefix("listening ").and_then(|port| port.parse().ok());
        let port: u16 = port.with_context(|| format!("{} printed {line:?}", program.display()))?;
        Ok(ServerProcess { child, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// The CPU time that it has spent so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Cpu::of(self.child.0.id())
    }

    /// Its resident memory in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        rss_of(self.child.0.id())
    }

    /// The most resident memory that it has had, in bytes.
    pub(crate) fn peak_rss(&self) -> Result<u64> {
        status(self.child.0.id(), "VmHWM:")
    }

    /// Its resident memory, once it has not changed for a second, or after five: a runtime with a collector may never stop.
    pub(crate) fn settled_rss(&self) -> Result<u64> {
        let start = Instant::now();
        let mut last = (self.rss()?, start);
        loop {
            sleep(Duration::from_millis(50));
            let rss = self.rss()?;
            if rss != last.0 {
                last = (rss, Instant::now());
            }
            if last.1.elapsed() > Duration::from_secs(1) || start.elapsed() > Duration::from_secs(5) {
                return Ok(rss);
            }
        }
    }
}

/// The resident memory of a process, in bytes.
pub(crate) fn rss_of(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

/// A quantity of memory of a process, in bytes.
fn status(pid: u32, key: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
