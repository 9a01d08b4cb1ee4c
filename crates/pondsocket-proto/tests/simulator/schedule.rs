//! The plan of a seed: the nodes, the quality of the connections, and the faults. It is drawn before the first event.

use testkit::Rng;

/// A fault, which lasts for a while or for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The node is paused for a while, and then handles all its inputs at once.
    Pause,
    /// The node is killed.
    Crash,
    /// The node is killed and restarted.
    Restart,
    /// A paused node is replaced by another incarnation, and then resumes.
    Zombie,
    /// The node stops gracefully.
    Stop,
    /// Another node starts.
    Newcomer,
    /// The connections of a node are lost and come back.
    Flap,
    /// Messages of a node do not reach Redis.
    Mute,
    /// Messages of Redis do not reach a node, answers to its renewals included.
    Deaf,
    /// The same for publications only: the connection looks healthy.
    Wedge,
    /// The bus of a node reports a gap, whether there was one or not.
    Gap,
    /// Redis answers no node for a while.
    Stall,
    /// Beats are answered late.
    SlowStore,
    /// The table of leases is empty.
    Flush,
    /// Redis is down for a while, and comes back with or without its data.
    RedisRestart,
    /// A replica takes over, with data that is some seconds old.
    Failover,
    /// A node's clock is set.
    Leap,
}

const FAULTS: [(u64, Fault); 17] = [
    (6, Fault::Pause),
    (4, Fault::Crash),
    (6, Fault::Restart),
    (3, Fault::Zombie),
    (3, Fault::Stop),
    (5, Fault::Newcomer),
    (8, Fault::Flap),
    (4, Fault::Mute),
    (4, Fault::Deaf),
    (4, Fault::Wedge),
    (4, Fault::Gap),
    (3, Fault::Stall),
    (3, Fault::SlowStore),
    (2, Fault::Flush),
    (2, Fault::RedisRestart),
    (2, Fault::Failover),
    (2, Fault::Leap),
];

/// The schedule of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Nodes of ours in the beginning.
    pub(crate) nodes: usize,
    /// True if there is a JavaScript server.
    pub(crate) js: bool,
    /// True if there is a Go server.
    pub(crate) go: bool,
    pub(crate) channels: usize,
    /// The number of users for each channel.
    pub(crate) people: usize,
    /// True if a user may be on several nodes at once.
    pub(crate) shared: bool,
    /// True if Redis keeps leases. Otherwise nodes publish `Hello`.
    pub(crate) leases: bool,
    /// The time that a message takes between a node and Redis.
    pub(crate) delay: (u64, u64),
    /// True if one connection receives everything in the order in which Redis had it.
    pub(crate) ordered: bool,
    /// The largest delay of a tick.
    pub(crate) tick_late: u64,
    /// The greatest difference of two clocks.
    pub(crate) skew: u64,
    /// True if a clock may be set while its node is down.
    pub(crate) sets_clocks: bool,
    /// The numbers of messages in a thousand that come twice, that are lost and reported, and that are lost unnoticed.
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    pub(crate) silent: u64,
    /// The number of commands in a thousand that are refused by the user's node.
    pub(crate) refusals: u64,
    /// The time between two actions of users.
    pub(crate) pace: u64,
    /// The time between two faults; `None` if there are none.
    pub(crate) faults: Option<u64>,
    pub(crate) kinds: Vec<(u64, Fault)>,
    /// True if messages are encoded and decoded.
    pub(crate) encoded: bool,
    /// The presence grace of all channels.
    pub(crate) grace: u64,
    /// The channels with a history; `None` if there are none.
    pub(crate) histories: Option<HistoryPlan>,
}

/// The histories of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryPlan {
    pub(crate) channels: usize,
    /// The number of clients for each channel.
    pub(crate) clients: usize,
    /// The time between two actions of clients.
    pub(crate) pace: u64,
    /// The most messages that a history keeps, and the time for which a node keeps them.
    pub(crate) kept: usize,
    pub(crate) ttl: u64,
    /// The number of answers of the store in a thousand that are lost.
    pub(crate) unanswered: u64,
    /// The number of actions in a thousand that are evictions.
    pub(crate) evictions: u64,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Plan {
        let well = rng.per_mille(150);
        let foreign = rng.per_mille(250);
        let (js, go) =
            if foreign { [(true, false), (false, true), (true, true)][rng.index(3)] } else { (false, false) };
        let delay = [(0, 2), (0, 20), (1, 60), (5, 40)][rng.index(4)];
        // Most schedules have only some kinds of faults, so that their effects are not hidden by those of others.
        let mut kinds = FAULTS.to_vec();
        if rng.coin() {
            kinds.retain(|_| rng.per_mille(350));
        }
        if kinds.is_empty() {
            kinds.push((1, Fault::Restart));
        }
        // Of a copy, so that schedules without histories are those that they were before there were any.
        let histories = HistoryPlan::new(&mut rng.clone(), well);
        let some = |rng: &mut Rng, most: u64| if !well && rng.coin() { rng.range((1, most)) } else { 0 };
        Plan {
            nodes: rng.range((2, if foreign { 4 } else { 8 })) as usize,
            js,
            go,
            channels: rng.range((1, 4)) as usize,
            people: rng.range((3, 14)) as usize,
            shared: !foreign && rng.per_mille(700),
            leases: rng.per_mille(850),
            delay,
            ordered: rng.per_mille(300),
            tick_late: [0, 0, 5, 100, 400][rng.index(5)],
            skew: [0, 50, 3000, 600_000][rng.index(4)],
            sets_clocks: rng.coin(),
            // Foreign servers do not detect a repeated message.
            duplicates: if !foreign && rng.coin() { rng.range((1, 60)) } else { 0 },
            gaps: some(rng, 60),
            silent: some(rng, 40),
            refusals: if !foreign && rng.per_mille(300) { 100 } else { 0 },
            pace: rng.range((20, if foreign { 400 } else { 250 })),
            faults: (!well).then(|| rng.range((800, 9000))),
            kinds,
            encoded: rng.per_mille(100),
            // Of a copy, so that earlier seeds are still the schedules that they were. Servers in other languages know no
            // grace.
            grace: if foreign { 0 } else { [0, 0, 3000, 12_000, 60_000][rng.clone().index(5)] },
            histories,
        }
    }

    /// Returns whether the schedule has no losses and no faults.
    pub(crate) fn is_well(&self) -> bool {
        self.faults.is_none() && self.gaps == 0 && self.silent == 0
    }

    pub(crate) fn has_foreign(&self) -> bool {
        self.js || self.go
    }

    /// The longest time of a message from node to node, with the delay of the tick.
    pub(crate) fn hop(&self) -> u64 {
        2 * self.delay.1 + self.tick_late
    }
}

impl HistoryPlan {
    fn new(rng: &mut Rng, well: bool) -> Option<HistoryPlan> {
        rng.per_mille(500).then(|| HistoryPlan {
            channels: rng.range((1, 2)) as usize,
            clients: rng.range((3, 6)) as usize,
            pace: rng.range((60, 300)),
            kept: [10, 40, 1000][rng.index(3)],
            ttl: [20_000, 120_000][rng.index(2)],
            unanswered: if !well && rng.coin() { rng.range((1, 60)) } else { 0 },
            evictions: [0, 0, 30, 100][rng.index(4)],
        })
    }
}
