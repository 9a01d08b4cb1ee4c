//! The load on a cluster, and the measurements of one run.

use std::time::{Duration, Instant};

use anyhow::Result;
use bench::wire::client as wire;
use clap::ValueEnum;
use serde::Serialize;

use super::fixture::Fixture;
use super::frame::{self, EVENT, PAYLOAD};
use crate::load::{Crowd, Seat};
use crate::process::Cpu;

/// 10,000 messages a second.
const PACE: Duration = Duration::from_micros(100);

/// The most messages on their way in a channel that is alone.
const WINDOW: usize = 256;

/// A kind of load. Each channel has one publisher and one receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Load {
    /// From node to node in one channel, 10,000 messages a second, one at a time.
    Steady,
    /// From node to node in one channel, as fast as it goes with 256 messages on their way.
    Flood,
    /// From node to node in 100 channels, as fast as it goes with 4 messages on their way in each.
    Channels,
    /// Within one node, 10,000 messages a second, one at a time.
    Local,
}

impl Load {
    /// Puts the load on a fixture for a while.
    pub(crate) fn run(self, mut fixture: Fixture, lasting: Duration) -> Result<Run> {
        let count = if self == Load::Channels { 100 } else { 1 };
        let channels: Vec<_> = (0..count).map(frame::channel).collect();
        let seat = |address| move |channel: &String| Seat::plain(address, channel);
        let publishers = channels.iter().map(seat(fixture.publisher()));
        let mut crowd = Crowd::join(publishers.chain(channels.iter().map(seat(fixture.receiver()))))?;
        fixture.wait_until_joined(&channels)?;
        let (before, start) = (fixture.cpu()?, Instant::now());
        let (sent, mut took) = match self {
            Load::Steady | Load::Local => steady(&mut crowd, &channels[0], start + lasting)?,
            Load::Flood => saturated(&mut crowd, &channels, WINDOW as u64, start + lasting)?,
            Load::Channels => saturated(&mut crowd, &channels, 4, start + lasting)?,
        };
        let lost = crowd.settle(|client| client.checked_sub(count).map_or(0, |channel| sent[channel]))?;
        let (after, seconds) = (fixture.cpu()?, start.elapsed().as_secs_f64());
        let cpu = after.iter().zip(before).map(|(after, before)| after.since(before)).collect();
        let disorder = crowd.clients().iter().map(|client| client.ledger.disorder).sum();
        took.sort_unstable();
        Ok(Run { messages: sent.iter().sum::<u64>() - lost, lost, disorder, cpu, seconds, took })
    }
}

/// The measurements of one run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Messages received.
    pub(crate) messages: u64,
    /// Messages that did not arrive.
    pub(crate) lost: u64,
    /// Messages that arrived out of order.
    pub(crate) disorder: u64,
    /// The CPU time that each program has spent on the run, in the order of the fixture's programs.
    pub(crate) cpu: Vec<Cpu>,
    /// The duration of the run.
    pub(crate) seconds: f64,
    /// The way of each message from client to client, the shortest first. Known of a steady load only.
    pub(crate) took: Vec<Duration>,
}

impl Run {
    /// CPU time of one program for one message, in microseconds.
    pub(crate) fn micros(&self, program: usize) -> f64 {
        self.cpu[program].total * 1e6 / self.messages as f64
    }

    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// The latency within which `of_thousand` of a thousand messages arrived, in milliseconds.
    pub(crate) fn took(&self, of_thousand: usize) -> f64 {
        let at = self.took.len() * of_thousand / 1000;
        self.took.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }
}

/// The number of messages that each channel has received, and their latencies, if known.
type Sent = (Vec<u64>, Vec<Duration>);

/// Sends one message at a time, at a pace, as long as its window has room: a machine that is busy with something else
/// makes it slower.
fn steady(crowd: &mut Crowd, channel: &str, end: Instant) -> Result<Sent> {
    let (mut sent, mut took) = (Vec::new(), Vec::new());
    let mut next = Instant::now();
    while Instant::now() < end {
        let now = Instant::now();
        if now >= next && sent.len() < took.len() + WINDOW {
            crowd.send(0, &wire::publish(channel, EVENT, 0, sent.len() as u64, PAYLOAD))?;
            sent.push(now);
            next += PACE;
        }
        // Without a pause: the shortest one that it knows is ten messages long.
        crowd.poll(Duration::ZERO)?;
        let (received, now) = (crowd.clients()[1].ledger.received as usize, Instant::now());
        took.extend(sent[took.len()..received].iter().map(|sent| now - *sent));
    }
    Ok((vec![sent.len() as u64], took))
}

/// Sends into each channel whenever its window has room.
fn saturated(crowd: &mut Crowd, channels: &[String], window: u64, end: Instant) -> Result<Sent> {
    let mut sent = vec![0; channels.len()];
    while Instant::now() < end {
        for (index, channel) in channels.iter().enumerate() {
            let full = crowd.clients()[channels.len() + index].ledger.of(index) + window;
            let frames = (sent[index]..full).map(|n| wire::publish(channel, EVENT, index, n, PAYLOAD));
            let frames = frames.collect::<Vec<_>>().concat();
            sent[index] = full;
            if !frames.is_empty() {
                crowd.send(index, &frames)?;
            }
        }
        crowd.poll(Duration::from_millis(10))?;
    }
    Ok((sent, Vec::new()))
}
