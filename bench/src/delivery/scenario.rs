//! The load on a server, and the measurements of one run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use bench::wire::client as wire;
use clap::ValueEnum;
use serde::Serialize;

use crate::load::{Crowd, Seat};
use crate::process::{Cpu, Server};

/// Everybody is in one channel.
const CHANNEL: &str = "/plain/bench";
/// It goes to all of them, the publisher included.
const EVENT: &str = "message";
/// The size of a payload.
const PAYLOAD: usize = 100;
const RECEIVERS: usize = 1000;
const PUBLISHERS: usize = 10;
/// The most of its own messages that a publisher may wait for.
const WINDOW: u64 = 4;
const PACE: Duration = Duration::from_millis(20);

/// A kind of load.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// One publisher, 1,000 receivers, 50 messages a second.
    Paced,
    /// 1,000 receivers, ten of which publish; each waits for at most 4 of its own messages.
    Saturated,
}

impl Scenario {
    /// The most that our server may cost, as a ratio to the limit server.
    pub(crate) fn bar(self) -> f64 {
        match self {
            Scenario::Paced => 1.2,
            Scenario::Saturated => 0.1,
        }
    }

    /// Puts the load on a fresh server for a while.
    pub(crate) fn run(self, program: &Path, core: Option<usize>, lasting: Duration) -> Result<Run> {
        let server = Server::start(program, core, &[])?;
        let mut crowd = Crowd::join(vec![Seat { address: server.address, channel: CHANNEL.to_owned() }; RECEIVERS])?;
        let before = server.cpu()?;
        let start = Instant::now();
        let sent = match self {
            Scenario::Paced => pace(&mut crowd, start + lasting)?,
            Scenario::Saturated => saturate(&mut crowd, start + lasting)?,
        };
        let expected = sent.iter().sum::<u64>();
        let lost = crowd.settle(|_| expected)?;
        let cpu = server.cpu()?.since(before);
        let deliveries = expected * RECEIVERS as u64 - lost;
        let disorder = crowd.clients().iter().map(|client| client.ledger.disorder).sum();
        Ok(Run { deliveries, lost, disorder, cpu, seconds: start.elapsed().as_secs_f64() })
    }
}

/// The measurements of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Messages received, by all receivers together.
    pub(crate) deliveries: u64,
    /// Messages that did not arrive.
    pub(crate) lost: u64,
    /// Messages that arrived out of order.
    pub(crate) disorder: u64,
    /// The CPU time that the server spent on the run.
    pub(crate) cpu: Cpu,
    /// The duration of the run.
    pub(crate) seconds: f64,
}

impl Run {
    /// CPU time of the server for one delivery, in microseconds.
    pub(crate) fn micros(&self) -> f64 {
        self.cpu.total * 1e6 / self.deliveries as f64
    }

    /// The part of it that was spent in the program itself.
    pub(crate) fn user_share(&self) -> f64 {
        self.cpu.user / self.cpu.total
    }
}

/// Sends at a steady pace; answers how many messages each publisher has sent.
fn pace(crowd: &mut Crowd, end: Instant) -> Result<Vec<u64>> {
    let mut sent = 0;
    let mut next = Instant::now();
    while Instant::now() < end {
        let now = Instant::now();
        if now >= next {
            crowd.send(0, &wire::publish(CHANNEL, EVENT, 0, sent, PAYLOAD))?;
            sent += 1;
            next += PACE;
        }
        crowd.poll(next.saturating_duration_since(now))?;
    }
    Ok(vec![sent])
}

/// Sends whenever a publisher has got enough of its own messages back.
fn saturate(crowd: &mut Crowd, end: Instant) -> Result<Vec<u64>> {
    let mut sent = vec![0; PUBLISHERS];
    while Instant::now() < end {
        for (publisher, sent) in sent.iter_mut().enumerate() {
            while *sent - crowd.clients()[publisher].ledger.of(publisher) < WINDOW {
                crowd.send(publisher, &wire::publish(CHANNEL, EVENT, publisher, *sent, PAYLOAD))?;
                *sent += 1;
            }
        }
        crowd.poll(Duration::from_millis(10))?;
    }
    Ok(sent)
}
