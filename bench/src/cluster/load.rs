//! The loads on two nodes, and the measured values of one run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bench::wire::client as wire;
use bench::wire::dialect::Dialect;
use clap::ValueEnum;
use serde::Serialize;

use super::fixture::Fixture;
use super::frame::{self, PAYLOAD};
use crate::load::{ClientPool, ClientSpec, Latency, histogram};
use crate::process::Cpu;

/// 10,000 messages a second.
const INTERVAL: Duration = Duration::from_micros(100);

/// The most messages in flight, if there is one channel.
const WINDOW: usize = 256;

/// A kind of load. Each channel has one publisher and one receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClusterLoad {
    /// From node to node in one channel, 10,000 messages a second, one at a time.
    Steady,
    /// From node to node in one channel, as fast as it goes with 256 messages in flight.
    Flood,
    /// From node to node in 100 channels, as fast as it goes with 4 messages in flight in each.
    Channels,
    /// Within one node, 10,000 messages a second, one at a time.
    Local,
}

impl ClusterLoad {
    /// Applies the load to a fixture for this long.
    pub(crate) fn run(self, mut fixture: Fixture, lasting: Duration) -> Result<Measurement> {
        let count = if self == ClusterLoad::Channels { 100 } else { 1 };
        let channels: Vec<_> = (0..count).map(frame::channel).collect();
        let dialect = fixture.dialect;
        let spec = |address| move |channel: &String| ClientSpec { dialect, ..ClientSpec::plain(address, channel) };
        let mut publishers: Vec<_> = channels.iter().map(spec(fixture.publisher())).collect();
        if dialect == Dialect::Centrifuge {
            // Clients may publish into channels that they have not joined, and would receive their own messages otherwise.
            publishers.iter_mut().for_each(|publisher| publisher.channels = Arc::new([]));
        }
        let mut pool = ClientPool::join(publishers.into_iter().chain(channels.iter().map(spec(fixture.receiver()))))?;
        fixture.wait_until_joined(&channels)?;
        let (before, start) = (fixture.cpu()?, Instant::now());
        let (sent, mut took) = match self {
            ClusterLoad::Steady | ClusterLoad::Local => steady(&mut pool, &channels[0], start + lasting)?,
            ClusterLoad::Flood => saturated(&mut pool, &channels, WINDOW as u64, start + lasting)?,
            ClusterLoad::Channels => saturated(&mut pool, &channels, 4, start + lasting)?,
        };
        let lost = pool.settle(|client| client.checked_sub(count).map_or(0, |channel| sent[channel]))?;
        let (after, seconds) = (fixture.cpu()?, start.elapsed().as_secs_f64());
        let cpu = after.iter().zip(before).map(|(after, before)| after.since(before)).collect();
        let out_of_order = pool.clients().iter().map(|client| client.deliveries.out_of_order).sum();
        took.sort_unstable();
        let rss = fixture.rss()?;
        Ok(Measurement { messages: sent.iter().sum::<u64>() - lost, lost, out_of_order, cpu, seconds, took, rss })
    }
}

/// The measured values of one run.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    /// Messages received.
    pub(crate) messages: u64,
    /// Messages that did not arrive.
    pub(crate) lost: u64,
    /// Messages that arrived out of order.
    pub(crate) out_of_order: u64,
    /// The CPU time that each program has spent on the run, in the order of the fixture's programs.
    pub(crate) cpu: Vec<Cpu>,
    /// The duration of the run.
    pub(crate) seconds: f64,
    /// The latency of each message from client to client, in ascending order. Known of a steady load only.
    pub(crate) took: Vec<Duration>,
    /// The resident memory of all processes at the end, in bytes.
    pub(crate) rss: u64,
}

impl Measurement {
    /// CPU time of one program for one message, in microseconds.
    pub(crate) fn micros(&self, program: usize) -> f64 {
        self.cpu[program].total * 1e6 / self.messages as f64
    }

    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// The percentiles of latency, if it is known.
    pub(crate) fn latency(&self) -> Result<Option<Latency>> {
        let mut all = histogram()?;
        self.took.iter().for_each(|took| all.saturating_record((took.as_micros() as u64).max(1)));
        Ok(Latency::of(&all))
    }

    /// The latency within which `of_thousand` of a thousand messages arrived, in milliseconds.
    pub(crate) fn took(&self, of_thousand: usize) -> f64 {
        let at = self.took.len() * of_thousand / 1000;
        self.took.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }
}

/// The number of messages that each channel has received, and their latencies, if known.
type Sent = (Vec<u64>, Vec<Duration>);

/// Sends one message at a time on a schedule, as long as the window has room. On a busy machine it is slower.
fn steady(pool: &mut ClientPool, channel: &str, end: Instant) -> Result<Sent> {
    let (mut sent, mut took) = (Vec::new(), Vec::new());
    let mut next = Instant::now();
    let dialect = pool.dialect(0);
    while Instant::now() < end {
        let now = Instant::now();
        if now >= next && sent.len() < took.len() + WINDOW {
            pool.send(0, &message(dialect, channel, 0, sent.len() as u64))?;
            sent.push(now);
            next += INTERVAL;
        }
        // Without a pause: the shortest one that it knows is ten messages long.
        pool.poll(Duration::ZERO)?;
        let (received, now) = (pool.clients()[1].deliveries.received as usize, Instant::now());
        took.extend(sent[took.len()..received].iter().map(|sent| now - *sent));
    }
    Ok((vec![sent.len() as u64], took))
}

/// The n-th message of a publisher, as a frame. It is delivered to the other members of the channel only, so the publishing node
/// delivers nothing.
fn message(dialect: Dialect, channel: &str, publisher: usize, n: u64) -> Vec<u8> {
    wire::text(&dialect.publish_to_others(channel, n, &wire::payload(publisher, n, PAYLOAD)))
}

/// Sends into each channel whenever its window has room.
fn saturated(pool: &mut ClientPool, channels: &[String], window: u64, end: Instant) -> Result<Sent> {
    let (dialect, mut sent) = (pool.dialect(0), vec![0; channels.len()]);
    while Instant::now() < end {
        for (index, channel) in channels.iter().enumerate() {
            let full = pool.clients()[channels.len() + index].deliveries.of(index) + window;
            let frames = (sent[index]..full).map(|n| message(dialect, channel, index, n));
            let frames = frames.collect::<Vec<_>>().concat();
            sent[index] = full;
            if !frames.is_empty() {
                pool.send(index, &frames)?;
            }
        }
        pool.poll(Duration::from_millis(10))?;
    }
    Ok((sent, Vec::new()))
}
