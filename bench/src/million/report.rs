//! The result of the command.

use std::fmt::Write;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::group::Group;
use super::machine::Memory;
use crate::load::Latency;
use crate::suite::format::{grouped, number};

/// The connections that were held, their memory, and the broadcasts to them. Memory is in bytes for each connection.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    wanted: usize,
    connections: usize,
    servers: usize,
    /// Resident memory of all server processes, without and with that of the empty processes.
    server: f64,
    server_with_processes: f64,
    /// Resident memory of all client processes.
    clients: f64,
    /// Memory of the kernel for both ends of a connection: objects, and buffers of sockets.
    kernel: f64,
    kernel_buffers: f64,
    /// The decrease of the available memory of the machine.
    machine: f64,
    /// The number of clients that have received each broadcast.
    pub(super) received: Vec<u64>,
    /// Seconds until the last client had received each broadcast.
    pub(super) seconds: Vec<f64>,
    latency: Option<Latency>,
    /// CPU time of the servers for each delivery, in microseconds.
    pub(super) micros_per_delivery: f64,
}

impl Held {
    pub(super) fn new(wanted: usize, connections: usize, servers: usize) -> Held {
        Held {
            wanted,
            connections,
            servers,
            server: 0.0,
            server_with_processes: 0.0,
            clients: 0.0,
            kernel: 0.0,
            kernel_buffers: 0.0,
            machine: 0.0,
            received: Vec::new(),
            seconds: Vec::new(),
            latency: None,
            micros_per_delivery: 0.0,
        }
    }

    /// Sets the memory of each connection.
    pub(super) fn set_memory(&mut self, groups: &[Group], before: Memory, after: Memory) -> Result<()> {
        let each = |bytes: f64| bytes / self.connections.max(1) as f64;
        let (mut empty, mut server, mut clients) = (0, 0, 0);
        for group in groups {
            let memory = group.memory()?;
            (empty, server, clients) = (empty + memory.0, server + memory.1, clients + memory.2);
        }
        (self.server, self.server_with_processes) = (each(server as f64 - empty as f64), each(server as f64));
        self.clients = each(clients as f64);
        self.kernel = each(after.kernel - before.kernel);
        self.kernel_buffers = each(after.buffers - before.buffers);
        self.machine = each(before.available - after.available);
        Ok(())
    }

    /// Sets the latencies of all broadcasts, which are in microseconds.
    pub(super) fn set_latency(&mut self, latencies: &Histogram<u64>) {
        self.latency = Latency::of(latencies);
    }

    /// The result as a few lines of text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let [wanted, connections] = [self.wanted, self.connections].map(|count| grouped(count as f64));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{connections} joined connections of {wanted}, in {} server processes", self.servers);
        let kernel = self.kernel + self.kernel_buffers;
        for (name, bytes) in [
            ("server, user memory", self.server),
            ("server, with that of the empty processes", self.server_with_processes),
            ("clients, user memory", self.clients),
            ("kernel, both ends", kernel),
            ("kernel, each end", kernel / 2.0),
            ("machine, decrease of available memory", self.machine),
        ] {
            let _ = writeln!(text, "  {name:<42} {:>8} bytes per connection", grouped(bytes));
        }
        for (received, seconds) in self.received.iter().zip(&self.seconds) {
            let received = grouped(*received as f64);
            let _ = writeln!(text, "  broadcast: received by {received}, by the last after {} s", number(*seconds));
        }
        if let Some(Latency { p50, p99, .. }) = self.latency {
            let (p50, p99, micros) = (number(p50), number(p99), number(self.micros_per_delivery));
            let _ =
                writeln!(text, "  latency p50 {p50} ms, p99 {p99} ms; {micros} µs of CPU of the servers per delivery");
        }
        text
    }
}
