//! The clients of one server, in a process of their own.
//!
//! The process writes a report as one line of JSON when all clients have joined. For each line `ROUND DUE` on its standard input
//! the first client sends one message at the time `DUE`, in microseconds since 1970, and the next report has the latencies of
//! all clients. The process ends with its standard input.

use std::io::{BufRead, stdin};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use bench::wire::client as wire;
use serde::{Deserialize, Serialize};

use crate::load::{ClientPool, ClientSpec};

/// The time between the request for a message and its due time, so that all processes know it before.
pub(super) const LEAD: Duration = Duration::from_millis(500);

/// The first port of clients. They use the ports below those that the system gives to other programs (32768 and more), which
/// would be short of ports otherwise.
const FIRST_PORT: u16 = 12_000;

/// The channel of all clients.
const CHANNEL: &str = "/plain/all";

/// The waits of some seconds without any message after which a broadcast is given up.
const WAITS: usize = 8;

/// The payload of a message, in bytes.
const SIZE: usize = 100;

/// A message of the process to the runner.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Report {
    /// All clients have joined.
    Joined,
    /// The latencies of a message in microseconds, with the number of clients that have each.
    Received(Vec<(u64, u64)>),
}

/// The arguments of the process.
#[derive(clap::Args)]
pub(crate) struct Clients {
    server: SocketAddr,
    source: Ipv4Addr,
    count: usize,
}

impl Clients {
    /// Connects all clients and handles requests until the standard input ends.
    pub(crate) fn run(&self) -> Result<()> {
        let spec = ClientSpec::plain(self.server, CHANNEL);
        let mut pool = ClientPool::join((0..self.count).map(|number| {
            let source = Some(SocketAddrV4::new(self.source, FIRST_PORT + number as u16));
            ClientSpec { source, ..spec.clone() }
        }))?;
        report(&Report::Joined)?;
        let requests = lines();
        let mut sent = 0;
        loop {
            // Pings are answered meanwhile.
            pool.poll(Duration::from_millis(20))?;
            match requests.try_recv() {
                Ok(line) => {
                    let (_round, due) = line.split_once(' ').context("a request has two numbers")?;
                    broadcast(&mut pool, sent, due.parse()?)?;
                    sent += 1;
                    let histogram = pool.recorder().histogram();
                    let counts =
                        histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()));
                    report(&Report::Received(counts.collect()))?;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// Sends a message at its due time, and waits until all clients have received it, or none has for about a minute.
fn broadcast(pool: &mut ClientPool, n: u64, due: u64) -> Result<()> {
    let until_due = Duration::from_micros(due.saturating_sub(now_micros()));
    let due = Instant::now() + until_due;
    while Instant::now() < due {
        pool.poll(Duration::ZERO)?;
    }
    pool.recorder().begin(due);
    pool.recorder().due(0, due);
    let text = pool.dialect(0).publish(CHANNEL, n, &wire::payload(0, n, SIZE));
    pool.send(0, &wire::text(&text))?;
    // With many servers on few cores a server may not be scheduled for longer than one wait.
    for _ in 0..WAITS {
        if pool.settle(|_| n + 1)? == 0 {
            break;
        }
    }
    Ok(())
}

/// The time in microseconds since 1970.
pub(super) fn now_micros() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as u64
}

fn report(report: &Report) -> Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

/// The lines of the standard input.
fn lines() -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}
