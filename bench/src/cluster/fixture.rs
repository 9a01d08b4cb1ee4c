use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::frame::{self, Frame};
use crate::process::{Cpu, Redis, Server};

/// The programs under a load: the processes that carry messages, and the Redis between them.
pub(crate) struct Fixture {
    pub(crate) redis: Option<Redis>,
    nodes: Vec<Server>,
}

impl Fixture {
    /// Two nodes of ours.
    pub(crate) fn ours(contract: &Path, core: Option<usize>) -> Result<Fixture> {
        Fixture::joined(&frame::NAMES, core, |url, name| ours(contract, core, url, name))
    }

    /// Two processes that use the client library of Redis, and nothing else. Their messages are in a node's frame.
    pub(crate) fn bare(bare: &Path, core: Option<usize>, frame: &Frame) -> Result<Fixture> {
        Fixture::joined(&frame::NAMES, core, |url, name| {
            let Frame { head, tail } = frame.said_by(name);
            let payload = frame::PAYLOAD.to_string();
            Server::start(bare, core, &[("REDIS_URL", url), ("HEAD", &head), ("PAYLOAD", &payload), ("TAIL", &tail)])
        })
    }

    /// A node of ours that has a bus, without other nodes.
    pub(crate) fn lonely(contract: &Path, core: Option<usize>) -> Result<Fixture> {
        Fixture::joined(&frame::NAMES[..1], core, |url, name| ours(contract, core, url, name))
    }

    /// The same server without a bus.
    pub(crate) fn without_bus(contract: &Path, core: Option<usize>) -> Result<Fixture> {
        Ok(Fixture { redis: None, nodes: vec![Server::start(contract, core, &[])?] })
    }

    fn joined(names: &[&str], core: Option<usize>, node: impl Fn(&str, &str) -> Result<Server>) -> Result<Fixture> {
        let redis = Redis::start(core)?;
        let nodes = names.iter().map(|name| node(&redis.url, name)).collect::<Result<_>>()?;
        Ok(Fixture { redis: Some(redis), nodes })
    }

    /// The address at which clients publish.
    pub(crate) fn publisher(&self) -> SocketAddr {
        self.nodes[0].address
    }

    /// The address at which clients receive.
    pub(crate) fn receiver(&self) -> SocketAddr {
        self.nodes[self.nodes.len() - 1].address
    }

    /// Waits until all hear each other in these channels, which clients have joined everywhere.
    pub(crate) fn wait_until_joined(&mut self, channels: &[String]) -> Result<()> {
        let topics: Vec<_> = channels.iter().map(|channel| frame::topic(channel)).collect();
        self.redis.as_mut().map_or(Ok(()), |redis| redis.wait_for_subscribers(&topics, self.nodes.len()))
    }

    /// The CPU time that each has spent so far: those who carry messages, in their order, and Redis.
    pub(crate) fn cpu(&self) -> Result<Vec<Cpu>> {
        self.nodes.iter().map(Server::cpu).chain(self.redis.iter().map(Redis::cpu)).collect()
    }
}

fn ours(contract: &Path, core: Option<usize>, url: &str, name: &str) -> Result<Server> {
    Server::start(contract, core, &[("REDIS_URL", url), ("NODE_NAME", name)])
}
