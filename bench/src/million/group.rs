//! A server and the process of its clients.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use super::clients::Report;
use crate::load::histogram;
use crate::plan::Programs;
use crate::process::{ChildProcess, Cpu, ServerProcess, rss_of};

/// The server sends pings once an hour: the memory of idle connections is measured.
const PINGS: &[(&str, &str)] = &[("PING_INTERVAL_MS", "3600000"), ("PONG_WAIT_MS", "7200000")];

/// A server with its clients. Both end when this is dropped.
pub(super) struct Group {
    clients: ChildProcess,
    requests: ChildStdin,
    reports: BufReader<ChildStdout>,
    server: ServerProcess,
    /// The resident memory of the server without connections, in bytes.
    empty: u64,
}

impl Group {
    /// Starts the server and connects `count` clients, which all join one channel. `number` determines their address.
    pub(super) fn start(programs: &Programs, number: usize, count: usize) -> Result<Group> {
        let server = ServerProcess::start(&programs.contract, None, PINGS)?;
        let empty = server.rss()?;
        let source = Ipv4Addr::new(127, 1, (number / 250) as u8, 1 + (number % 250) as u8);
        let mut command = Command::new(&programs.runner);
        command.args(["million-clients", &server.address.to_string(), &source.to_string(), &count.to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start clients")?;
        let mut clients = ChildProcess(child);
        let requests = clients.0.stdin.take().context("stdin is piped")?;
        let reports = BufReader::new(clients.0.stdout.take().context("stdout is piped")?);
        let mut group = Group { clients, requests, reports, server, empty };
        match group.report()? {
            Report::Joined => Ok(group),
            other => bail!("expected that clients join, got {other:?}"),
        }
    }

    /// Asks the first client to send a message when it is due, in microseconds since 1970.
    pub(super) fn send(&mut self, round: usize, due: u64) -> Result<()> {
        writeln!(self.requests, "{round} {due}").context("the clients have ended")
    }

    /// Waits for the message that was sent last. Returns the latency of each delivery in microseconds.
    pub(super) fn received(&mut self) -> Result<Histogram<u64>> {
        let Report::Received(latencies) = self.report()? else { bail!("expected latencies") };
        let mut all = histogram()?;
        latencies.iter().try_for_each(|(latency, count)| all.record_n(*latency, *count))?;
        Ok(all)
    }

    fn report(&mut self) -> Result<Report> {
        let mut line = String::new();
        self.reports.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the clients have failed: {line:?}"))
    }

    /// The CPU time of the server so far.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        self.server.cpu()
    }

    /// The resident memory of the server without connections and at present, and that of the clients, in bytes.
    pub(super) fn memory(&self) -> Result<(u64, u64, u64)> {
        Ok((self.empty, self.server.rss()?, rss_of(self.clients.0.id())?))
    }
}
