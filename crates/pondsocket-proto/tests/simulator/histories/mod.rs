//! Histories that the nodes share: channels of the real protocol core, with a store in Redis, the server around them, and
//! clients that lose their connections, come back to any node, and know their positions or not.
//!
//! | file | what it is |
//! |---|---|
//! | `store` | the histories in Redis |
//! | `channel` | a channel on one node, and the delivery to its connections |
//! | `appends`, `reads` | the messages of a node on their way into the store and to other nodes; what a node reads from it |
//! | `connection`, `client` | what is on its way to a client; a client, and the rules for what it receives |
//! | `ledger` | all messages, and the positions that they were given |
//! | `actions` | actions of clients and servers |
//! | `evictions` | users that are put out of a channel, and come back |
//! | `settling` | the end: everything arrives |
//!
//! The rules, each with the name under which the checker reports it:
//!
//! * H1: a client that knows its position receives every message once and in order, or is told of a gap where one is missing.
//!   Without a fault nobody is told of one, unless the messages are too many or too old to be kept.
//! * H2: a client with a session receives every message, or its join handler is told that it does not; messages that come twice
//!   are those that were announced; without a fault their number is known. What a join handler answers is taken for received.
//! * H3: a position is that of one message, on all nodes, and the store has given it.
//! * H4: a message that is appended again keeps its offset.
//! * H5: nobody receives what it would not have received when it was sent: messages that leave it out or are blocked for it,
//!   and those from before its first join.
//! * H8: in the end no message waits for its position, no node lacks messages, and all clients have the last one. Clients that have
//!   missed what a node has sent without the store were told.
//! * H10: a user that was evicted joins as a new one where it was evicted, and from then on resumes like any other. Where a user was
//!   accepted it is not taken for a new one. Among nodes this is checked without faults, once all have learned of the eviction.
//! * H9: the messages of one node come to each client in the order in which the node has sent them, kept or not. This is checked
//!   without faults, and if all messages come to a node in the order of the store, as over a bus that has one. A read brings
//!   kept messages ahead of what is still on its way, and so does the replay of a join.
//!
//! H6, the presence grace, is checked by `grace`. H7, that a session is resumed once, is a rule of the server above the core:
//! `crates/pondsocket/tests` has its tests.

mod actions;
mod appends;
mod channel;
mod client;
mod connection;
mod evictions;
mod ledger;
mod reads;
mod settling;
pub(crate) mod store;

use std::collections::BTreeMap;

use pondsocket_proto::cluster::message::{Body, Envelope};
use pondsocket_proto::cluster::{Bus, ChannelKey};
use pondsocket_proto::position::Epoch;
use testkit::Rng;

use appends::SendQueue;
use channel::OpenHistory;
use client::HistoryClient;
use connection::Connection;
use ledger::Ledger;

use super::checker::Violation;
use super::node::RunState;
use super::redis::Peer;
use super::schedule::HistoryPlan;
use super::world::{Event, World};

/// The time for which messages and joins wait for a store that does not answer, and that of one request to it.
const STORE_TIMEOUT: u64 = 2000;

/// The histories of a schedule.
pub(crate) struct Histories {
    pub(crate) plan: HistoryPlan,
    /// Draws what concerns histories alone.
    rng: Rng,
    /// Draws evictions, so that schedules without them are those that they were.
    eviction_rng: Rng,
    channels: Vec<ChannelKey>,
    nodes: BTreeMap<Peer, HistoryNode>,
    clients: Vec<HistoryClient>,
    connections: Vec<Connection>,
    ledger: Ledger,
    /// Counts epochs: no two are equal.
    epochs: u32,
    is_over: bool,
}

/// The histories of one node.
#[derive(Default)]
struct HistoryNode {
    appends: SendQueue,
    open: BTreeMap<ChannelKey, OpenHistory>,
    /// The number of the last request to the store.
    requests: u64,
    down_since: Option<u64>,
    /// The time of the next work.
    wakes_at: Option<u64>,
}

impl Histories {
    pub(crate) fn new(plan: HistoryPlan, mut rng: Rng) -> Histories {
        let key = |number| super::server_channel::key(&format!("/history/{number}"));
        let channels: Vec<_> = (0..plan.channels).map(key).collect();
        let of_channel = |key: &ChannelKey| {
            let key = key.clone();
            (0..plan.clients).map(move |number| HistoryClient::new(key.clone(), number))
        };
        Histories {
            clients: channels.iter().flat_map(of_channel).collect(),
            rng: Rng::new(rng.next_u64()),
            eviction_rng: Rng::new(rng.next_u64()),
            channels,
            plan,
            nodes: BTreeMap::new(),
            connections: Vec::new(),
            ledger: Ledger::default(),
            epochs: 0,
            is_over: false,
        }
    }

    /// Half of the outages of Redis are so short that no node gives up the store: else each history would begin anew after them.
    pub(crate) fn shorten(&mut self, outage: u64) -> u64 {
        if self.rng.coin() { outage.min(self.rng.range((100, 1500))) } else { outage }
    }

    fn fresh_epoch(&mut self) -> Epoch {
        self.epochs += 1;
        Epoch::new(self.epochs)
    }
}

impl HistoryNode {
    /// Returns whether the store has not answered for so long that nothing waits for it any more.
    fn is_given_up(&self, since: u64, now: u64) -> bool {
        now.saturating_sub(since) >= STORE_TIMEOUT
            || self.down_since.is_some_and(|down| now.saturating_sub(down) >= STORE_TIMEOUT)
    }

    /// The time at which there is work, if nothing happens before.
    fn deadline(&self, now: u64) -> Option<u64> {
        let of_open = self.open.values().flat_map(OpenHistory::deadlines);
        of_open.chain(self.appends.deadline(now)).min()
    }
}

impl World {
    /// The histories of a node, and those of all.
    fn histories(&mut self) -> &mut Histories {
        self.histories.as_mut().expect("only called if there are histories")
    }

    fn is_history_idle(&self) -> bool {
        self.histories.as_ref().is_none_or(|histories| histories.is_over)
    }

    /// Plans the next work of a node.
    fn plan_work(&mut self, peer: Peer) {
        let now = self.now;
        let Some(node) = self.histories().nodes.get_mut(&peer) else { return };
        let Some(at) = node.deadline(now).map(|at| at.max(now)) else { return };
        if node.wakes_at.is_none_or(|planned| at < planned) {
            node.wakes_at = Some(at);
            self.at(at, Event::HistoryWork(peer, at));
        }
    }

    /// Does what is due on a node.
    pub(crate) fn history_work(&mut self, peer: Peer, at: u64) {
        if self.is_history_idle() {
            return;
        }
        let run_state = self.node(peer).map(|node| node.run_state);
        let Some(node) = self.histories().nodes.get_mut(&peer) else { return };
        if node.wakes_at != Some(at) {
            return;
        }
        node.wakes_at = None;
        match run_state {
            Some(RunState::Running) => {
                self.send_next(peer);
                self.read_due(peer);
                for key in self.histories().channels.clone() {
                    self.admit_joins(peer, &key);
                }
                self.plan_work(peer);
            }
            Some(RunState::Paused) => {
                let later = self.now + 50;
                self.histories().nodes.get_mut(&peer).expect("looked at").wakes_at = Some(later);
                self.at(later, Event::HistoryWork(peer, later));
            }
            _ => {}
        }
    }

    /// Applies an event of a node's bus, behind its core.
    pub(crate) fn history_bus(&mut self, peer: Peer, bus: &Bus) {
        let now = self.now;
        if self.is_history_idle() {
            return;
        }
        let topics: Vec<_> =
            self.histories().channels.clone().into_iter().map(|key| (self.topics.channel(&key), key)).collect();
        let node = self.histories().nodes.entry(peer).or_default();
        match bus {
            Bus::Up => node.down_since = None,
            Bus::Down => {
                node.down_since = node.down_since.or(Some(now));
                self.fail_requests(peer);
            }
            Bus::GapAll => node.open.values_mut().for_each(|open| open.plan_read(now)),
            Bus::Subscribed(lost) | Bus::Gap(lost) => {
                for (topic, key) in topics {
                    if let (true, Some(open)) = (lost.contains(&topic), node.open.get_mut(&key)) {
                        open.plan_read(now);
                    }
                }
            }
        }
        self.plan_work(peer);
    }

    /// Notes the positions that the store has given.
    pub(crate) fn note_given(&mut self) {
        let Some(histories) = &mut self.histories else { return };
        for (position, message) in self.redis.histories.take_given() {
            let Some(number) = number_of(&message) else { continue };
            if let Err(Violation { rule, what }) = histories.ledger.give(position, number, histories.plan.kept) {
                self.checker.violated(rule, what);
            }
        }
    }

    /// A node has ended. `is_orderly` is whether it has written the positions of its clients.
    pub(crate) fn history_node_ends(&mut self, peer: Peer, is_orderly: bool) {
        if self.histories.is_none() {
            return;
        }
        for connection in 0..self.histories().connections.len() {
            if self.histories().connections[connection].is_served_by(peer) {
                self.lose_connection(connection, is_orderly);
            }
        }
        self.histories().nodes.remove(&peer);
    }
}

/// The number of a message, which its payload has.
fn number_of(message: &Envelope) -> Option<usize> {
    let Body::UserMessage(message) = &message.body else { return None };
    let payload: serde_json::Value = serde_json::from_str(message.payload.as_str()).ok()?;
    payload["n"].as_u64().map(|number| number as usize)
}
