//! The scenarios: their clients, their load, their measure, and the bars of our server.

use std::time::Duration;

use super::histories::HistoryLoad;
use crate::cluster::ClusterLoad;
use crate::load::Transport;

/// One scenario of the suite.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// A description of one sentence.
    pub(crate) about: &'static str,
    pub(crate) transport: Transport,
    pub(crate) load: Load,
    pub(crate) bars: &'static [Bar],
}

/// The clients of a scenario and their actions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// One publisher in a room, which sends on a fixed schedule.
    Paced { members: usize, size: usize, every: Duration },
    /// Rooms whose publishers send as fast as their own messages come back.
    Saturated { rooms: usize, members: usize, publishers: usize, size: usize },
    /// Clients that send one message at a time, which the server sends back.
    Echo { clients: usize, size: usize },
    /// A small room with a fixed schedule, first alone, then beside a saturated room.
    Beside { small: usize, large: usize, every: Duration },
    /// Idle connections.
    Idle { connections: usize, channels: usize, presence: bool },
    /// Idle connections, after one large message has been sent back to each.
    Large { connections: usize, size: usize },
    /// Connections that are opened and join, some at a time.
    Join { connections: usize },
    /// Open connections that join one room with presence at the same time.
    Storm { connections: usize },
    /// A room with a fixed schedule, first without members that do not read, then with them.
    Stalled { readers: usize, stalled: usize, size: usize, every: Duration },
    /// Connections that are all closed, and all opened anew.
    Reconnect { connections: usize },
    /// Rounds of connections that are opened, join and are closed.
    Churn { connections: usize, rounds: usize },
    /// Two nodes, and messages from a client of one to a client of the other.
    Nodes(ClusterLoad),
    /// The cost of histories.
    History(HistoryLoad),
}

/// The main quantity of a scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Measure {
    /// µs of the server's CPU time for each message that a client received.
    Delivery,
    /// µs of the server's CPU time for each connection that was opened.
    Connection,
    /// Bytes of the server's resident memory for each connection.
    Memory,
    /// The p99 latency as a multiple of that in the undisturbed case.
    Slowdown,
    /// Resident memory as a multiple of that after the first round.
    Growth,
    /// ms of the server's CPU time for each client that resumes.
    Replay,
    /// Seconds of the server's CPU time for all clients together.
    Total,
    /// Seconds until all clients are back.
    Return,
    /// Bytes of the server's resident memory for each message that is kept, beside its text.
    Kept,
    /// The additional p99 latency of a message that is kept, in milliseconds.
    Added,
}

/// A goal for our server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) quantity: Quantity,
    pub(crate) at_most: f64,
    /// The value above which `--enforce` fails: a value that was reached once, with a margin for other machines.
    pub(crate) enforced: Option<f64>,
}

impl Bar {
    const fn enforced(self, at_most: f64) -> Bar {
        Bar { enforced: Some(at_most), ..self }
    }
}

/// A quantity that has a bar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Quantity {
    /// The ratio to `limit` in the same round.
    Ratio,
    /// The main quantity itself.
    Figure,
    /// A further quantity of the scenario, by its name.
    Further(&'static str),
    /// The ratio of a further quantity to that of `limit` in the same round.
    FurtherRatio(&'static str),
    /// Messages lost or out of order, in all rounds.
    Faults,
}

impl Measure {
    /// The unit, as it stands in tables.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Measure::Delivery => "µs CPU per delivery",
            Measure::Connection => "µs CPU per connection",
            Measure::Memory => "bytes per connection",
            Measure::Slowdown => "p99, times that alone",
            Measure::Growth => "memory, times that after round 1",
            Measure::Replay => "ms CPU per replay",
            Measure::Total => "s CPU for all clients",
            Measure::Return => "s from the first retry until all are back",
            Measure::Kept => "bytes per message beside its text",
            Measure::Added => "p99, ms more than without a history",
        }
    }
}

impl Load {
    /// The main quantity.
    pub(crate) fn measure(self) -> Measure {
        match self {
            Load::Paced { .. } | Load::Saturated { .. } | Load::Echo { .. } | Load::Stalled { .. } | Load::Nodes(_) => {
                Measure::Delivery
            }
            Load::Join { .. } | Load::Storm { .. } | Load::Reconnect { .. } => Measure::Connection,
            Load::Idle { .. } | Load::Large { .. } => Measure::Memory,
            Load::Beside { .. } => Measure::Slowdown,
            Load::Churn { .. } => Measure::Growth,
            Load::History(load) => match load {
                HistoryLoad::Fanout { .. } => Measure::Delivery,
                HistoryLoad::Replay { .. } => Measure::Replay,
                HistoryLoad::Resume { .. } => Measure::Total,
                HistoryLoad::Storm { .. } => Measure::Return,
                HistoryLoad::Memory => Measure::Kept,
                HistoryLoad::Nodes => Measure::Added,
            },
        }
    }

    /// The number of rounds in which it is run. A long scenario that consists of rounds itself is run once.
    pub(crate) fn rounds(self, repeats: usize) -> usize {
        match self {
            Load::Churn { .. } | Load::History(HistoryLoad::Memory) => repeats.min(1),
            _ => repeats,
        }
    }

    /// Returns `true` if it consists of nodes that need a Redis.
    pub(crate) fn needs_redis(self) -> bool {
        matches!(self, Load::Nodes(_) | Load::History(HistoryLoad::Storm { .. } | HistoryLoad::Nodes))
    }

    /// Returns `true` if the server has to know the members of a room.
    pub(crate) fn needs_presence(self) -> bool {
        matches!(self, Load::Idle { presence: true, .. } | Load::Storm { .. })
    }
}

const fn bar(quantity: Quantity, at_most: f64) -> Bar {
    Bar { quantity, at_most, enforced: None }
}

const fn ratio(at_most: f64) -> Bar {
    bar(Quantity::Ratio, at_most)
}

const fn figure(at_most: f64) -> Bar {
    bar(Quantity::Figure, at_most)
}

const fn further(name: &'static str, at_most: f64) -> Bar {
    bar(Quantity::Further(name), at_most)
}

const fn further_ratio(name: &'static str, at_most: f64) -> Bar {
    bar(Quantity::FurtherRatio(name), at_most)
}

const NO_FAULTS: Bar = bar(Quantity::Faults, 0.0);

const FIFTY_A_SECOND: Duration = Duration::from_millis(20);

/// The payload of a small message, in bytes. With its envelope it has about 200.
const SMALL: usize = 100;

/// Idle connections; so many that the memory of the empty process does not matter.
const IDLE: usize = 5000;

const fn paced(size: usize) -> Load {
    Load::Paced { members: 1000, size, every: FIFTY_A_SECOND }
}

const fn saturated(rooms: usize, members: usize, publishers: usize) -> Load {
    Load::Saturated { rooms, members, publishers, size: SMALL }
}

const fn plain(name: &'static str, about: &'static str, load: Load, bars: &'static [Bar]) -> Scenario {
    Scenario { name, about, transport: Transport::Plain, load, bars }
}

/// All scenarios, in the order of reports.
pub(crate) const SCENARIOS: &[Scenario] = &[
    plain(
        "fanout-paced",
        "One publisher, 1,000 receivers, 50 messages a second",
        paced(SMALL),
        &[ratio(1.05).enforced(1.2)],
    ),
    plain("fanout-1k", "The same as fanout-paced with payloads of 1 kB", paced(1000), &[]),
    plain("fanout-1", "One publisher, 1,000 receivers, as fast as it goes", saturated(1, 1000, 1), &[]),
    plain(
        "fanout-10",
        "Ten publishers, 1,000 receivers, as fast as it goes",
        saturated(1, 1000, 10),
        &[ratio(0.04).enforced(0.1), NO_FAULTS],
    ),
    plain("rooms", "1,000 rooms of ten, one publisher in each, as fast as it goes", saturated(1000, 10, 1), &[]),
    plain(
        "rooms-all",
        "1,000 rooms of ten, all of which publish, as fast as it goes",
        saturated(1000, 10, 10),
        &[ratio(0.17)],
    ),
    plain(
        "echo-1",
        "One client, a message at a time, there and back",
        Load::Echo { clients: 1, size: SMALL },
        &[ratio(1.25)],
    ),
    plain(
        "echo-100",
        "100 clients, a message at a time each, there and back",
        Load::Echo { clients: 100, size: SMALL },
        &[ratio(1.2)],
    ),
    plain(
        "beside",
        "A room of five at 50 messages a second, beside a saturated room of 2,000",
        Load::Beside { small: 5, large: 2000, every: FIFTY_A_SECOND },
        &[figure(5.0)],
    ),
    plain(
        "stalled",
        "80 readers of 4 KiB, 500 times a second, beside 20 that do not read",
        Load::Stalled { readers: 80, stalled: 20, size: 4096, every: Duration::from_millis(2) },
        &[
            further(STALLED_CPU, 1.1),
            further(STALLED_P99, 1.5),
            // Each of the 20 may have four times `outbox_bytes` of its own before it is disconnected.
            further(STALLED_MEMORY, 80.0),
            NO_FAULTS,
        ],
    ),
    Scenario {
        name: "compressed",
        about: "One publisher, 1,000 receivers, 50 compressed messages of 1.2 kB a second",
        transport: Transport::Compressed,
        load: paced(1200),
        bars: &[],
    },
    Scenario {
        name: "tls",
        about: "One publisher, 1,000 receivers, 50 messages a second, over TLS",
        transport: Transport::Tls,
        load: paced(SMALL),
        bars: &[],
    },
    Scenario {
        name: "event-streams",
        about: "One publisher, 1,000 receivers on event streams, 50 messages a second",
        transport: Transport::EventStream,
        load: paced(SMALL),
        bars: &[],
    },
    plain("join", "Connecting and joining, 500 rooms", Load::Join { connections: 2000 }, &[ratio(1.6)]),
    plain(
        "join-storm",
        "500 clients join one room with presence at the same time",
        Load::Storm { connections: 500 },
        &[],
    ),
    plain("reconnect", "1,000 clients go, come back and join", Load::Reconnect { connections: 1000 }, &[]),
    plain("idle", "5,000 connections in no channel", idle(0, false), &[]),
    plain("idle-joined", "5,000 connections, each in one of 500 channels", idle(1, false), &[figure(1500.0)]),
    plain("idle-presence", "5,000 connections, each present in one of 500 channels", idle(1, true), &[figure(1900.0)]),
    plain("idle-channels", "5,000 connections, each in five of 2,500 channels", idle(5, false), &[]),
    plain(
        "large-message",
        "500 connections, memory kept after one message of 256 KiB there and back",
        Load::Large { connections: 500, size: 256 * 1024 },
        &[figure(2000.0)],
    ),
    plain(
        "churn",
        "Ten times 15,000 connections are opened, join and are closed",
        Load::Churn { connections: 15_000, rounds: 10 },
        &[figure(1.1), further(CHURN_CONNECTED, 1.1)],
    ),
    plain(
        "nodes-steady",
        "From node to node over Redis, 10,000 messages a second",
        Load::Nodes(ClusterLoad::Steady),
        &[further_ratio(RECEIVER, 1.5), further_ratio(PUBLISHER, 1.2), further_ratio(REDIS, 1.0), NO_FAULTS],
    ),
    plain(
        "nodes-flood",
        "From node to node over Redis, as fast as it goes with 256 messages in flight",
        Load::Nodes(ClusterLoad::Flood),
        &[further_ratio(RECEIVER, 2.0), further_ratio(PUBLISHER, 2.0), NO_FAULTS],
    ),
    plain(
        "history-paced",
        "One publisher, 1,000 receivers, 50 messages a second, which are kept",
        Load::History(HistoryLoad::Fanout { members: 1000, every: Some(FIFTY_A_SECOND) }),
        &[further(POSITIONS_CPU, 1.03), further(SESSIONS_CPU, 1.05), NO_FAULTS],
    ),
    plain(
        "history-saturated",
        "One publisher, 1,000 receivers, as fast as it goes, with all messages kept",
        Load::History(HistoryLoad::Fanout { members: 1000, every: None }),
        &[further(POSITIONS_CPU, 1.03), further(SESSIONS_CPU, 1.05), NO_FAULTS],
    ),
    plain(
        "history-replay",
        "A client resumes and has missed 1,000 messages",
        Load::History(HistoryLoad::Replay { clients: 200, messages: 1000 }),
        &[figure(1.0)],
    ),
    plain(
        "history-resume",
        "10,000 clients of one channel resume at the same time, and have missed 100 messages",
        Load::History(HistoryLoad::Resume { clients: 10_000, messages: 100 }),
        &[figure(1.5), NO_FAULTS],
    ),
    plain(
        "history-storm",
        "The 10,000 clients of a node that is killed resume at two others",
        Load::History(HistoryLoad::Storm { clients: 10_000, channels: 100 }),
        &[figure(10.0), further(STORM_P99, 2.0), further(STORM_GAPS, 0.0), NO_FAULTS],
    ),
    plain(
        "history-memory",
        "100 channels that keep 1,000 messages each, and sessions whose clients are away",
        Load::History(HistoryLoad::Memory),
        &[figure(40.0), further(TICKET_BYTES, 400.0), further(CHANNEL_BYTES, 40.0), further(BOUND_KEPT, 1.05)],
    ),
    plain(
        "history-nodes",
        "From node to node over Redis, 10,000 messages a second, which are kept",
        Load::History(HistoryLoad::Nodes),
        &[figure(1.0), further(LOCAL_ADDED, 1.0), further(APPEND_INTERVAL, 50.0), NO_FAULTS],
    ),
];

/// Further quantities that have bars.
pub(crate) const STALLED_CPU: &str = "CPU per healthy delivery, times that without";
pub(crate) const STALLED_P99: &str = "healthy p99, times that without";
pub(crate) const STALLED_MEMORY: &str = "peak RSS, MiB more than without";
pub(crate) const CHURN_CONNECTED: &str = "memory while connected, times that of round 1";
pub(crate) const PUBLISHER: &str = "publishing node, µs CPU per message";
pub(crate) const RECEIVER: &str = "receiving node, µs CPU per message";
pub(crate) const REDIS: &str = "Redis, µs CPU per message";
pub(crate) const POSITIONS_CPU: &str = "CPU with positions, times that without history";
pub(crate) const SESSIONS_CPU: &str = "CPU with sessions, times that without history";
pub(crate) const STORM_P99: &str = "healthy p99, times that before";
pub(crate) const STORM_GAPS: &str = "clients that were told of a gap";
pub(crate) const TICKET_BYTES: &str = "bytes of a session whose client is away";
pub(crate) const CHANNEL_BYTES: &str = "bytes of each of its channels";
pub(crate) const BOUND_KEPT: &str = "memory of full histories, times their bound";
pub(crate) const LOCAL_ADDED: &str = "p99 within a node, ms more than without history";
pub(crate) const APPEND_INTERVAL: &str = "µs between messages, as fast as it goes";

const fn idle(channels: usize, presence: bool) -> Load {
    Load::Idle { connections: IDLE, channels, presence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
