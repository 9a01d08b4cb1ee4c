//! The memory of messages that are kept, and of sessions whose clients are away.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::{HEADER, WINDOW};
use crate::process::ServerProcess;
use crate::suite::run::Run;
use crate::suite::sample::Sample;
use crate::suite::scenario::{BOUND_KEPT, CHANNEL_BYTES, TICKET_BYTES};

/// The channels with full histories, and the messages that each keeps.
const CHANNELS: usize = 100;
const MESSAGES: usize = 1000;

/// The messages that are sent to a channel, as a multiple of those that it keeps: later ones take the places of earlier ones.
const ROUNDS: u64 = 3;

/// The bound of all histories of a server, in the measurement of that bound.
const BOUND: usize = 32 * 1024 * 1024;

/// The sessions of a round that end, and the rounds that are measured. Memory of connections is used again in the next round, and
/// only the tickets become more.
const SESSIONS: usize = 2000;
const SESSION_ROUNDS: usize = 4;

impl Run<'_> {
    /// Measures three servers: with full histories, with more messages than fit into the bound of the process, and with tickets.
    pub(super) fn history_memory(&self) -> Result<Sample> {
        let start = Instant::now();
        let mut sample = self.kept_messages()?;
        sample.seconds = start.elapsed().as_secs_f64();
        sample.further.insert(BOUND_KEPT.into(), self.beyond_the_bound()?);
        let (one, five) = (self.tickets(1)?, self.tickets(5)?);
        let channel = (five - one) / 4.0;
        sample.further.insert(TICKET_BYTES.into(), one - channel);
        sample.further.insert(CHANNEL_BYTES.into(), channel);
        Ok(sample)
    }

    /// The memory of a message beside its text, when all histories are full.
    fn kept_messages(&self) -> Result<Sample> {
        let server = self.start_with(&[("HISTORY_MESSAGES", &MESSAGES.to_string())])?;
        let (before, cpu, start) = (server.settled_rss()?, server.cpu()?, Instant::now());
        let channels = |prefix: &'static str| (0..CHANNELS).map(move |number| format!("/{prefix}/{number}"));
        // The same without a history first: buffers that are created once, and memory that the allocator keeps for connections.
        let mut others = self.publishers(&server, channels("plain"))?;
        others.publish(WINDOW, MESSAGES as u64)?;
        let mut driver = self.publishers(&server, channels("history"))?;
        // As many as are under way at a time later, for which queues have room from then on.
        driver.publish(WINDOW, WINDOW)?;
        let (empty, received) = (server.settled_rss()?, driver.pool.bytes());
        driver.publish(WINDOW, ROUNDS * MESSAGES as u64)?;
        let sent = (ROUNDS * MESSAGES as u64 - WINDOW) as f64 * CHANNELS as f64;
        let text = (driver.pool.bytes() - received) as f64 / sent - HEADER;
        let kept = (CHANNELS * (MESSAGES - WINDOW as usize)) as f64;
        let full = server.settled_rss()?;
        let mut sample = self.costs(&server, server.cpu()?.since(cpu), sent as u64, start.elapsed())?;
        sample.figure = full.saturating_sub(empty) as f64 / kept - text;
        sample.further.insert("bytes of a text".into(), text);
        sample.further.insert("MB before".into(), before as f64 / 1e6);
        Ok(sample)
    }

    /// The resident memory of all histories, as a multiple of their bound, when three times as much has been sent.
    fn beyond_the_bound(&self) -> Result<f64> {
        let (messages, bytes) = (MESSAGES.to_string(), BOUND.to_string());
        let server = self.start_with(&[("HISTORY_MESSAGES", &messages), ("HISTORY_BYTES", &bytes)])?;
        let channels = |prefix: &'static str| (0..3 * CHANNELS).map(move |number| format!("/{prefix}/{number}"));
        // The same without a history, as above.
        self.publishers(&server, channels("plain"))?.publish(WINDOW, MESSAGES as u64)?;
        let mut driver = self.publishers(&server, channels("history"))?;
        let received = driver.pool.bytes();
        driver.publish(WINDOW, WINDOW)?;
        let (empty, texts) = (server.settled_rss()?, driver.pool.bytes() - received);
        driver.publish(WINDOW, MESSAGES as u64)?;
        let more = server.settled_rss()?.saturating_sub(empty);
        Ok(more as f64 / (BOUND as f64 - texts as f64))
    }

    /// The resident memory of a session whose client is away and was in this number of channels.
    fn tickets(&self, channels: usize) -> Result<f64> {
        let server = self.start_with(&[("SESSIONS", "on")])?;
        // Two rounds to warm up.
        (0..2).try_for_each(|_| self.come_and_go(&server, channels))?;
        let before = server.settled_rss()?;
        (0..SESSION_ROUNDS).try_for_each(|_| self.come_and_go(&server, channels))?;
        let more = server.settled_rss()?.saturating_sub(before);
        Ok(more as f64 / (SESSIONS * SESSION_ROUNDS) as f64)
    }

    /// Opens connections with sessions of their own, which join this number of channels, and closes them without a word.
    fn come_and_go(&self, server: &ServerProcess, channels: usize) -> Result<()> {
        let mut pool = self.pool()?;
        pool.add((0..SESSIONS).map(|index| {
            let names: Arc<[String]> =
                (0..channels).map(|number| format!("/history/{number}r{}", index % CHANNELS)).collect();
            self.spec(server, &names)
        }))?;
        drop(pool);
        server.settled_rss().map(drop)
    }
}
