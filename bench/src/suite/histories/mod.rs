//! The cost of histories: for each message that is kept, for clients that come back, in memory, and between nodes.

mod fanout;
mod memory;
mod nodes;
mod replay;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::driver::LoadDriver;
use super::run::Run;
use super::sample::Sample;
use crate::load::{ClientSpec, Resume};
use crate::process::ServerProcess;

/// The scenarios of histories.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HistoryLoad {
    /// One publisher in a room, on a schedule or as fast as it goes, in turn at three servers: without a history, with one, and
    /// with one and sessions.
    Fanout { members: usize, every: Option<Duration> },
    /// Clients that resume one after the other, and have missed `messages`.
    Replay { clients: usize, messages: usize },
    /// Clients of one channel that resume at the same time.
    Resume { clients: usize, messages: usize },
    /// Clients of a node that is killed, which resume at two others.
    Storm { clients: usize, channels: usize },
    /// Full histories, and sessions without a connection.
    Memory,
    /// Messages from node to node, and within one, with a shared history and without.
    Nodes,
}

/// The size of a payload with which the text of a message in a channel `/history/…` has about 300 bytes.
const SIZE: usize = 175;

/// The most messages of a publisher on their way while a history is filled.
const WINDOW: u64 = 16;

/// The size of a WebSocket's header for a text of 126 bytes or more.
const HEADER: f64 = 4.0;

impl Run<'_> {
    /// Runs a scenario of histories.
    pub(super) fn history(&self, load: HistoryLoad) -> Result<Sample> {
        match load {
            HistoryLoad::Fanout { members, every } => self.history_fanout(members, every),
            HistoryLoad::Replay { clients, messages } => self.history_replay(clients, messages),
            HistoryLoad::Resume { clients, messages } => self.history_resume(clients, messages),
            HistoryLoad::Storm { clients, channels } => self.history_storm(clients, channels),
            HistoryLoad::Memory => self.history_memory(),
            HistoryLoad::Nodes => self.history_nodes(),
        }
    }

    /// Starts the server with further variables.
    fn start_with(&self, variables: &[(&str, &str)]) -> Result<ServerProcess> {
        self.server.start_with(self.scenario, self.environment, variables)
    }

    /// A client of one channel.
    fn client(&self, server: &ServerProcess, channel: &str, resume: Resume) -> ClientSpec {
        let channels: Arc<[String]> = Arc::new([channel.to_owned()]);
        ClientSpec { resume, ..self.spec(server, &channels) }
    }

    /// A publisher in each of these channels, which knows its position and is there alone.
    fn publishers(&self, server: &ServerProcess, channels: impl Iterator<Item = String>) -> Result<LoadDriver> {
        let (mut driver, mut specs) = (LoadDriver::new(self.pool()?, SIZE), Vec::new());
        for channel in channels {
            driver.add_room(&mut specs, &self.client(server, &channel, Resume::From("".into())), 1, 1);
        }
        driver.pool.add(specs)?;
        Ok(driver)
    }
}
