//! The form of a message on the bus.

use std::path::Path;

use anyhow::{Context, Result};
use bench::wire::client as wire;
use bench::wire::dialect::Dialect;

use super::fixture::{BusForm, Fixture};
use crate::load::{ClientPool, ClientSpec};

/// The size of a payload. With its envelope a client's message has some 300 bytes.
pub(crate) const PAYLOAD: usize = 200;

/// The names of the publishing and the receiving node, of the same length.
pub(crate) const NAMES: [&str; 2] = ["a", "b"];

/// The bytes around a payload on the bus.
pub(crate) struct BusFrame {
    /// The bytes before the payload: sender, channel and event.
    pub(crate) head: String,
    /// The bytes behind the payload.
    pub(crate) tail: String,
}

impl BusFrame {
    /// The frame of our nodes, taken from Redis.
    pub(crate) fn of_nodes(contract: &Path, form: BusForm) -> Result<BusFrame> {
        let mut fixture = Fixture::ours(contract, None, form)?;
        let channel = channel(0);
        let spec = |address| ClientSpec::plain(address, &channel);
        let mut pool = ClientPool::join([spec(fixture.publisher()), spec(fixture.receiver())])?;
        fixture.wait_until_joined(std::slice::from_ref(&channel))?;
        let payload = wire::payload(0, 0, PAYLOAD);
        let text = Dialect::Pond.publish_to_others(&channel, 0, &payload);
        let publish = || pool.send(0, &wire::text(&text));
        let redis = fixture.redis.as_mut().context("nodes have a Redis")?;
        let (head, tail) = redis.around(&payload, &Dialect::Pond.topic(&channel), publish)?;
        Ok(BusFrame { head, tail })
    }

    /// The frame of the node of this name.
    pub(crate) fn with_name(&self, name: &str) -> BusFrame {
        let renamed = |text: &str| text.replace(&format!("\"{}~", NAMES[0]), &format!("\"{name}~"));
        BusFrame { head: renamed(&self.head), tail: renamed(&self.tail) }
    }

    /// The size of a message with its payload.
    pub(crate) fn size(&self) -> usize {
        self.head.len() + PAYLOAD + self.tail.len()
    }
}

/// The name of a channel.
pub(crate) fn channel(number: usize) -> String {
    format!("/plain/{number:02}")
}
