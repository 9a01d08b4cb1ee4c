//! This server among others.

use std::time::Duration;

use crate::pond::PondSocket;

impl PondSocket {
    /// The name of this node among others; `None` without a bus.
    pub fn node_name(&self) -> Option<String> {
        Some(self.common.node()?.name().to_string())
    }

    /// The names of the other nodes that live, as far as is known here, in order: those that speak our extension of the
    /// protocol. PondSocket nodes of other languages have no names.
    pub fn nodes(&self) -> Vec<String> {
        self.common.node().map(|node| node.peers()).unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    /// Returns `true` if new clients should be sent here: it is not shutting down or about to, and its bus, if it has
    /// one, has not been down for longer than [`unready_without_bus`](crate::Options::unready_without_bus) allows.
    pub fn is_ready(&self) -> bool {
        !self.is_leaving() && !self.lacks_bus()
    }

    /// Returns whether it is shutting down, or will after a [delay](crate::Shutdown::delay).
    pub(crate) fn is_leaving(&self) -> bool {
        self.common.drain.is_announced()
    }

    fn lacks_bus(&self) -> bool {
        let Some(most) = self.common.options.unready_without_bus else { return false };
        self.common.node().is_some_and(|node| node.down_for() > most)
    }

    /// Starts the node, where there is a runtime: a server that listens is a node before its first client comes.
    pub(crate) fn join_cluster(&self) {
        let _ = self.common.node();
    }
}

/// The time for which a node that stops waits for what it has said to be sent, at the least.
pub(crate) const GOODBYE: Duration = Duration::from_millis(500);
