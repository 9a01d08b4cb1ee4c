use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use bench::wire::dialect::Dialect;
use serde::Serialize;

use super::frame::{self, BusFrame};
use crate::process::{Cpu, Redis, ServerProcess};

/// The processes under a load: those that carry messages, and the Redis between them.
pub(crate) struct Fixture {
    pub(crate) redis: Option<Redis>,
    pub(crate) dialect: Dialect,
    nodes: Vec<ServerProcess>,
    /// The number of nodes that subscribe to the topic of a channel.
    subscribers: usize,
    /// The time from the subscriptions to the first message.
    settling: Duration,
}

/// The form of messages on the bus (docs/cluster.md, Short form).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BusForm {
    /// The form that servers in other languages read. Our nodes use it for the first 90 s.
    Common,
    /// The form that our nodes use when no other servers listen.
    Short,
}

impl Fixture {
    /// Two nodes of our server.
    pub(crate) fn ours(contract: &Path, core: Option<usize>, form: BusForm) -> Result<Fixture> {
        // A timeout at which the nodes soon know that no other server listens. They check it each second.
        let (timeout, settling) = match form {
            BusForm::Common => (None, Duration::ZERO),
            BusForm::Short => (Some(("HEARTBEAT_TIMEOUT_MS", "100")), Duration::from_millis(1500)),
        };
        let mut fixture = Fixture::nodes(Dialect::Pond, core, |url, name| {
            let variables = [Some(("REDIS_URL", url)), Some(("NODE_NAME", name)), timeout];
            ServerProcess::start(contract, core, &variables.into_iter().flatten().collect::<Vec<_>>())
        })?;
        fixture.settling = settling;
        Ok(fixture)
    }

    /// Two nodes of any server. `start` gets the URL of Redis and the name of a node.
    pub(crate) fn nodes(
        dialect: Dialect,
        core: Option<usize>,
        start: impl Fn(&str, &str) -> Result<ServerProcess>,
    ) -> Result<Fixture> {
        Fixture::joined(&frame::NAMES, dialect, core, start)
    }

    /// Two processes that use the client library of Redis and nothing else. Their messages on the bus are those of our nodes.
    pub(crate) fn bare(contract: &Path, bare: &Path, core: Option<usize>) -> Result<Fixture> {
        Fixture::bare_with(bare, core, &BusFrame::of_nodes(contract, BusForm::Common)?)
    }

    /// The same, with a frame that is known.
    pub(super) fn bare_with(bare: &Path, core: Option<usize>, frame: &BusFrame) -> Result<Fixture> {
        Fixture::nodes(Dialect::Pond, core, |url, name| {
            let BusFrame { head, tail } = frame.with_name(name);
            let payload = frame::PAYLOAD.to_string();
            let variables = [("REDIS_URL", url), ("HEAD", &head), ("PAYLOAD", &payload), ("TAIL", &tail)];
            ServerProcess::start(bare, core, &variables)
        })
    }

    /// A node of our server that has a bus, without other nodes.
    pub(super) fn single(contract: &Path, core: Option<usize>) -> Result<Fixture> {
        Fixture::node(core, |url, name| {
            ServerProcess::start(contract, core, &[("REDIS_URL", url), ("NODE_NAME", name)])
        })
    }

    /// Our server without a bus.
    pub(super) fn without_bus(contract: &Path, core: Option<usize>) -> Result<Fixture> {
        let nodes = vec![ServerProcess::start(contract, core, &[])?];
        Ok(Fixture { redis: None, dialect: Dialect::Pond, nodes, subscribers: 0, settling: Duration::ZERO })
    }

    /// A node of any server, without others.
    pub(crate) fn node(core: Option<usize>, start: impl Fn(&str, &str) -> Result<ServerProcess>) -> Result<Fixture> {
        Fixture::joined(&frame::NAMES[..1], Dialect::Pond, core, start)
    }

    fn joined(
        names: &[&str],
        dialect: Dialect,
        core: Option<usize>,
        start: impl Fn(&str, &str) -> Result<ServerProcess>,
    ) -> Result<Fixture> {
        let redis = Redis::start(core)?;
        let nodes = names.iter().map(|name| start(&redis.url, name)).collect::<Result<Vec<_>>>()?;
        // With Centrifuge only receivers join the channel.
        let subscribers = if dialect == Dialect::Centrifuge { 1 } else { nodes.len() };
        Ok(Fixture { redis: Some(redis), dialect, nodes, subscribers, settling: Duration::ZERO })
    }

    /// The address at which clients publish.
    pub(crate) fn publisher(&self) -> SocketAddr {
        self.nodes[0].address
    }

    /// The address at which clients receive.
    pub(crate) fn receiver(&self) -> SocketAddr {
        self.nodes[self.nodes.len() - 1].address
    }

    /// Waits until all nodes subscribe to these channels, which clients have joined on each.
    pub(crate) fn wait_until_joined(&mut self, channels: &[String]) -> Result<()> {
        let topics: Vec<_> = channels.iter().map(|channel| self.dialect.topic(channel)).collect();
        if let Some(redis) = &mut self.redis {
            redis.wait_for_subscribers(&topics, self.subscribers)?;
        }
        sleep(self.settling);
        Ok(())
    }

    /// The CPU time of each process so far: the nodes in their order, then Redis.
    pub(crate) fn cpu(&self) -> Result<Vec<Cpu>> {
        self.nodes.iter().map(ServerProcess::cpu).chain(self.redis.iter().map(Redis::cpu)).collect()
    }

    /// The resident memory of all processes, in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        self.nodes.iter().map(ServerProcess::rss).chain(self.redis.iter().map(Redis::rss)).sum()
    }
}
