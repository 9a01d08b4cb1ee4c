use std::time::Duration;

use super::event::GapCause;

/// A snapshot of the state and the counters of a bus. Counters count from its creation.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BusStats {
    /// `true` while it is connected.
    pub up: bool,
    /// The time since the connection was lost; zero while it is connected.
    pub down_for: Duration,
    /// The number of sessions.
    pub sessions: u64,
    /// The number of failed attempts to connect.
    pub failed_connects: u64,
    /// The number of wanted topics.
    pub wanted_topics: usize,
    /// The number of wanted topics that the engine has confirmed.
    pub active_topics: usize,
    /// Messages that wait to be sent or for their outcome.
    pub queued_messages: usize,
    /// The same in bytes.
    pub queued_bytes: usize,
    /// Messages with the outcome `Sent`.
    pub sent: u64,
    /// Messages with the outcome `NotSent`.
    pub not_sent: u64,
    /// Messages with the outcome `Unknown`.
    pub unknown: u64,
    /// Messages that were handed to the sink.
    pub received: u64,
    /// The number of times that the bus has not received a message which it sent to itself.
    pub failed_probes: u64,
    /// The number of gaps by cause. [`SinkStats`](super::SinkStats) counts overflows.
    pub gaps: Vec<(GapCause, u64)>,
}
