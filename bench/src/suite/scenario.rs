//! The description of a scenario: its clients, its load, what it measures, and the most that we allow ourselves.

use std::time::Duration;

use crate::load::Transport;

/// One scenario of the suite.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One sentence for people.
    pub(crate) about: &'static str,
    pub(crate) transport: Transport,
    pub(crate) load: Load,
    pub(crate) bars: &'static [Bar],
}

/// The clients, and what they do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// One publisher in a room, at a pace that does not wait.
    Paced { members: usize, size: usize, every: Duration },
    /// Rooms whose publishers wait for nothing but their own messages.
    Saturated { rooms: usize, members: usize, publishers: usize, size: usize },
    /// Clients that send a message, and the next when it has come back.
    Echo { clients: usize, size: usize },
    /// A small room at a pace; first alone, then beside a saturated room.
    Beside { small: usize, large: usize, every: Duration },
    /// Connections that do nothing.
    Idle { connections: usize, channels: usize, presence: bool },
    /// Connections that have had one large message sent back, and do nothing.
    Large { connections: usize, size: usize },
    /// Connections that come and join.
    Join { connections: usize },
    /// Connections that are there, and join one room with presence at the same time.
    Storm { connections: usize },
    /// A room at a pace; first with its readers alone, then with others that do not read.
    Stalled { readers: usize, stalled: usize, size: usize, every: Duration },
    /// Connections that all go, and all come back.
    Reconnect { connections: usize },
}

/// The quantity that a scenario is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Measure {
    /// µs of the server's CPU time for each message that a client got.
    Delivery,
    /// µs of the server's CPU time for each connection that came.
    Connection,
    /// Bytes of the server's resident memory for each connection.
    Memory,
    /// A latency as a multiple of another one.
    Slowdown,
}

/// The most that our server is meant to need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) of: Quantity,
    pub(crate) most: f64,
    /// The most with which `--enforce` passes: what was reached once is not given up.
    pub(crate) enforced: Option<f64>,
}

impl Bar {
    const fn enforced(self, most: f64) -> Bar {
        Bar { enforced: Some(most), ..self }
    }
}

/// A quantity that has a bar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Quantity {
    /// The ratio to `limit` in the same round.
    Ratio,
    /// The measure itself.
    Figure,
    /// A further quantity of the scenario, by its name.
    Further(&'static str),
}

impl Measure {
    /// The unit, as it stands in tables.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Measure::Delivery => "µs CPU per delivery",
            Measure::Connection => "µs CPU per connection",
            Measure::Memory => "bytes per connection",
            Measure::Slowdown => "times the p99 without",
        }
    }
}

impl Load {
    /// The quantity that it is about.
    pub(crate) fn measure(self) -> Measure {
        match self {
            Load::Paced { .. } | Load::Saturated { .. } | Load::Echo { .. } | Load::Stalled { .. } => Measure::Delivery,
            Load::Join { .. } | Load::Storm { .. } | Load::Reconnect { .. } => Measure::Connection,
            Load::Idle { .. } | Load::Large { .. } => Measure::Memory,
            Load::Beside { .. } => Measure::Slowdown,
        }
    }

    /// Returns `true` if it needs a server that knows who is in a room.
    pub(crate) fn needs_presence(self) -> bool {
        matches!(self, Load::Idle { presence: true, .. } | Load::Storm { .. })
    }
}

const fn ratio(most: f64) -> Bar {
    Bar { of: Quantity::Ratio, most, enforced: None }
}

const fn figure(most: f64) -> Bar {
    Bar { of: Quantity::Figure, most, enforced: None }
}

const fn further(name: &'static str, most: f64) -> Bar {
    Bar { of: Quantity::Further(name), most, enforced: None }
}

const FIFTY_A_SECOND: Duration = Duration::from_millis(20);

/// A payload of small messages, in bytes: about 200 with the envelope.
const SMALL: usize = 100;

/// Connections that do nothing; enough that what a process needs anyway does not show.
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
    plain("fanout-1k", "The same with payloads of 1 kB", paced(1000), &[]),
    plain("fanout-1", "One publisher, 1,000 receivers, as fast as it goes", saturated(1, 1000, 1), &[]),
    plain(
        "fanout-10",
        "Ten publishers, 1,000 receivers, as fast as it goes",
        saturated(1, 1000, 10),
        &[ratio(0.04).enforced(0.1)],
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
        &[further("cpu, times that without", 1.1), further("p99, times that without", 1.5)],
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
        "500 connections after one message of 256 KiB there and back: what they keep of it",
        Load::Large { connections: 500, size: 256 * 1024 },
        &[figure(2000.0)],
    ),
];

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
