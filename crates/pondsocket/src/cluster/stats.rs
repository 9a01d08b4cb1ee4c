use std::time::Duration;

use super::event::GapCause;

/// What an operator wants to know of a bus: a snapshot. Counters count since the bus was made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BusStats {
    /// Whether it is connected.
    pub up: bool,
    /// How long it has not been, if it is not; zero if it is.
    pub down_for: Duration,
    /// How often it was connected.
    pub sessions: u64,
    /// How many attempts to connect have failed.
    pub failed_connects: u64,
    /// How many topics are wanted.
    pub wanted_topics: usize,
    /// How many of them the engine has confirmed.
    pub active_topics: usize,
    /// Messages that wait to be sent or for their outcome.
    pub queued_messages: usize,
    /// The same in bytes.
    pub queued_bytes: usize,
    /// Messages that were published.
    pub sent: u64,
    /// Messages that certainly were not.
    pub not_sent: u64,
    /// Messages that may have been.
    pub unknown: u64,
    /// Messages that were handed to the sink.
    pub received: u64,
    /// How often the bus has not received what it sent to itself.
    pub failed_probes: u64,
    /// How often it has reported a gap, by cause. Overflows are counted by
    /// [`SinkStats`](super::SinkStats).
    pub gaps: Vec<(GapCause, u64)>,
}
