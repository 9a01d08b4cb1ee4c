//! The form of a message on the bus.

use std::path::Path;

use anyhow::{Context, Result};
use bench::wire::client as wire;

use super::fixture::Fixture;
use crate::load::{Crowd, Seat};

/// It goes to all but its publisher, so that nothing is delivered where it comes from.
pub(crate) const EVENT: &str = "typing";

/// The size of a payload: what a client sends, and what another gets, are some 300 bytes.
pub(crate) const PAYLOAD: usize = 200;

/// The names of a publisher and a receiver, equally long.
pub(crate) const NAMES: [&str; 2] = ["a", "b"];

/// The bytes that a node puts around a payload.
pub(crate) struct Frame {
    /// The bytes before the payload: sender, channel and event.
    pub(crate) head: String,
    /// The bytes behind the payload.
    pub(crate) tail: String,
}

impl Frame {
    /// As nodes of ours put it, taken from Redis.
    pub(crate) fn of_nodes(contract: &Path) -> Result<Frame> {
        let mut fixture = Fixture::ours(contract, None)?;
        let channel = channel(0);
        let seat = |address| Seat::plain(address, &channel);
        let mut crowd = Crowd::join([seat(fixture.publisher()), seat(fixture.receiver())])?;
        fixture.wait_until_joined(std::slice::from_ref(&channel))?;
        let publish = || crowd.send(0, &wire::publish(&channel, EVENT, 0, 0, PAYLOAD));
        let redis = fixture.redis.as_mut().context("nodes have a Redis")?;
        let (head, tail) = redis.around(&wire::payload(0, 0, PAYLOAD), &topic(&channel), publish)?;
        Ok(Frame { head, tail })
    }

    /// The same of another node than the first.
    pub(crate) fn said_by(&self, name: &str) -> Frame {
        let said = |text: &str| text.replace(&format!("\"{}~", NAMES[0]), &format!("\"{name}~"));
        Frame { head: said(&self.head), tail: said(&self.tail) }
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

/// The topic on which nodes publish the messages of a channel.
pub(crate) fn topic(channel: &str) -> String {
    format!("pondsocket:v1:default:api/socket:{channel}")
}
