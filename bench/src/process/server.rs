use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::{Cpu, Killed, pinned};

/// A running server; it is killed when this is dropped.
pub(crate) struct Server {
    child: Killed,
    /// The address at which it listens.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server program, pinned to `core`. It gets `PORT=0` beside `variables`, and must print `listening PORT`.
    pub(crate) fn start(program: &Path, core: Option<usize>, variables: &[(&str, &str)]) -> Result<Server> {
        let mut command = pinned(program, core);
        let child = command.env("PORT", "0").envs(variables.iter().copied()).stdout(Stdio::piped()).spawn();
        let mut child = Killed(child.with_context(|| format!("cannot start {}", program.display()))?);
        let stdout = child.0.stdout.take().context("stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().strip_prefix("listening ").and_then(|port| port.parse().ok());
        let port: u16 = port.with_context(|| format!("{} printed {line:?}", program.display()))?;
        Ok(Server { child, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// The CPU time that it has spent so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Cpu::of(self.child.0.id())
    }

    /// Its resident memory in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }
}
