//! The state of a running server at one moment, for operators and tools.
//!
//! ```
//! # use pondsocket::PondSocket;
//! let pond = PondSocket::new();
//! let snapshot = pond.snapshot();
//! assert!(snapshot.endpoints.is_empty());
//! println!("{}", serde_json::to_string(&snapshot)?);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pondsocket_proto::channel::Ring;
use pondsocket_proto::position::Position;
use serde::Serialize;

use crate::cluster::node::Node;
use crate::endpoint::{EndpointInner, Live};
use crate::engine::handle::ConnectionHandle;
use crate::limits::memory::Memory;
use crate::pond::PondSocket;

/// The state of a whole server. Its parts are read one after the other, each under its own short lock: the server is
/// never stopped for it, and the numbers need not be of one and the same instant.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// `true` if the server is shutting down.
    pub draining: bool,
    /// This node among others; `None` without a bus.
    pub cluster: Option<ClusterSnapshot>,
    /// The memory that messages take.
    pub memory: MemorySnapshot,
    /// The memory that kept messages take.
    pub history: HistorySnapshot,
    /// The endpoints, in the order of their registration.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// The memory that messages take in a server: see [`Options::memory_limit`](crate::Options::memory_limit).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MemorySnapshot {
    /// Bytes held, exact to 4 KiB for each holder.
    pub used: usize,
    /// The limit in bytes.
    pub limit: usize,
    /// Connections that are not read until less is used.
    pub paused: usize,
    /// New clients that were refused since the start.
    pub refused: u64,
}

/// The memory that kept messages take in a server: see [`Options::history_bytes`](crate::Options::history_bytes).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HistorySnapshot {
    /// Bytes held by the histories of all channels.
    pub used: usize,
    /// The limit in bytes.
    pub limit: usize,
}

/// This node among others.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ClusterSnapshot {
    /// The name of this node.
    pub node: String,
    /// The names of the other nodes that are alive.
    pub others: Vec<String>,
    /// `true` if the bus is up.
    pub up: bool,
    /// The number of topics that this node has subscribed to, and the number of confirmed subscriptions among them.
    pub topics: (usize, usize),
    /// Messages that wait for the bus.
    pub queued: usize,
    /// The same in bytes.
    pub queued_bytes: usize,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// The pattern of its path.
    pub path: String,
    /// Clients that are connected.
    pub connections: usize,
    /// Connections that count towards `max_connections`: also those that are being decided about, and raw WebSockets.
    pub admitted: usize,
    /// Connects and joins that wait for their turn ([`Options::arrivals_per_round`](crate::Options#structfield.arrivals_per_round)).
    pub arriving: usize,
    /// Connections that are being closed, and those that have ended while their messages are still handled.
    pub closing: usize,
    /// Bytes that clients have sent and that are not handled yet, in whole messages and parts of them, also of
    /// connections that have ended. Exact to 4 KiB for each connection.
    pub received_bytes: usize,
    /// Sessions of clients that are connected, or may resume ([`Connected::session`](crate::Connected::session)).
    pub sessions: usize,
    /// Messages that wait for clients, in all outboxes together.
    pub waiting_messages: usize,
    /// The same in bytes.
    pub waiting_bytes: usize,
    /// The clients for which most bytes wait, at most ten, the slowest first.
    pub slowest: Vec<SlowConnection>,
    /// The live channels, in no particular order.
    pub channels: Vec<ChannelSnapshot>,
}

/// A client for which messages wait.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SlowConnection {
    /// The connection's id.
    pub id: String,
    /// The id of its user.
    pub user_id: String,
    /// Messages that wait for it.
    pub waiting_messages: usize,
    /// The same in bytes.
    pub waiting_bytes: usize,
}

/// One live channel.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ChannelSnapshot {
    /// The exact name of the channel.
    pub name: String,
    /// The number of members.
    pub members: usize,
    /// The members without connections, in their presence grace ([`Lobby::presence_grace`](crate::Lobby::presence_grace)).
    pub ghosts: usize,
    /// The connections of all members.
    pub connections: usize,
    /// Operations that wait for delivery.
    pub queued: usize,
    /// The text that waits for delivery, in bytes.
    pub queued_bytes: usize,
    /// The messages that are kept; `None` if the channel keeps no history.
    pub history: Option<ChannelHistorySnapshot>,
}

/// The messages that a channel keeps.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ChannelHistorySnapshot {
    /// The position of the last message.
    pub position: Position,
    /// The number of messages.
    pub messages: usize,
    /// The memory that they take, in bytes.
    pub bytes: usize,
}

/// The number of the slowest connections that are named.
const NAMED: usize = 10;

impl PondSocket {
    /// The state at this moment. Each lock is held only while a few numbers are copied.
    pub fn snapshot(&self) -> Snapshot {
        let endpoints = self.endpoints().iter().map(|endpoint| of_endpoint(&endpoint.0)).collect();
        let cluster = self.common.node().map(|node| of_node(node));
        let (memory, histories) = (of_memory(&self.common.memory), &self.common.histories);
        let history = HistorySnapshot { used: histories.used(), limit: histories.limit() };
        Snapshot { draining: self.is_draining(), cluster, memory, history, endpoints }
    }
}

fn of_memory(memory: &Memory) -> MemorySnapshot {
    let (used, limit) = (memory.used(), memory.limit());
    MemorySnapshot { used, limit, paused: memory.paused(), refused: memory.refused() }
}

fn of_node(node: &Node) -> ClusterSnapshot {
    let (bus, (queued, queued_bytes)) = node.stats();
    ClusterSnapshot {
        node: node.name().to_string(),
        others: node.peers().iter().map(ToString::to_string).collect(),
        up: node.is_up(),
        topics: (bus.wanted_topics, bus.active_topics),
        queued,
        queued_bytes,
    }
}

fn of_endpoint(endpoint: &EndpointInner) -> EndpointSnapshot {
    let handles = endpoint.handles();
    let closing = handles.iter().filter(|handle| !handle.is_open()).count();
    let mut slow: Vec<_> =
        handles.iter().map(|handle| (handle.depth(), handle)).filter(|((_, bytes), _)| *bytes > 0).collect();
    let waiting_messages = slow.iter().map(|((messages, _), _)| messages).sum();
    let waiting_bytes = slow.iter().map(|((_, bytes), _)| bytes).sum();
    slow.sort_unstable_by_key(|((_, bytes), _)| Reverse(*bytes));
    let named = |((messages, bytes), handle): &((usize, usize), &Arc<ConnectionHandle>)| SlowConnection {
        id: handle.id().to_string(),
        user_id: handle.user().to_string(),
        waiting_messages: *messages,
        waiting_bytes: *bytes,
    };
    EndpointSnapshot {
        path: endpoint.pattern.as_str().to_owned(),
        connections: handles.len() - closing,
        admitted: endpoint.admissions.count(),
        arriving: endpoint.arrivals.waiting(),
        closing,
        received_bytes: endpoint.received.load(Ordering::Relaxed),
        sessions: endpoint.sessions.len(),
        waiting_messages,
        waiting_bytes,
        slowest: slow.iter().take(NAMED).map(named).collect(),
        channels: endpoint.hub.channels().iter().map(|live| of_channel(live)).collect(),
    }
}

fn of_history(history: &Ring) -> ChannelHistorySnapshot {
    ChannelHistorySnapshot { position: history.position(), messages: history.len(), bytes: history.bytes() }
}

fn of_channel(live: &Live) -> ChannelSnapshot {
    live.read(|channel| {
        let (state, (queued, queued_bytes)) = (channel.local_members(), channel.queued());
        ChannelSnapshot {
            name: live.name.to_string(),
            members: state.member_count(),
            ghosts: state.ghost_count(),
            connections: state.connection_count(),
            queued,
            queued_bytes,
            history: channel.history().map(of_history),
        }
    })
}
