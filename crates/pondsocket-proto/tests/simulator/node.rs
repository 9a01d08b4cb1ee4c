//! One incarnation of a node of our kind: its core, and the server around it.

use std::collections::BTreeMap;

use pondsocket_proto::cluster::{ChannelKey, ClusterRequest, Core, Input, NodeId, Output, Settings, Topics};

use super::server_channel::ServerChannel;

/// The start of the world's clock, in milliseconds since 1970.
pub(crate) const EPOCH: u64 = 1_700_000_000_000;

/// The reading of a clock that is so far ahead.
pub(crate) fn by_clock(ahead: i64, now: u64) -> u64 {
    (EPOCH + now).saturating_add_signed(ahead)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RunState {
    Running,
    /// The node does nothing, and its inputs wait.
    Paused,
    Ended,
}

/// A fault that keeps a node from Redis, although its connection is up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LinkFault {
    Mute,
    Deaf,
    Wedge,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    core: Core,
    /// The time by which its clock is ahead of the world's.
    pub(crate) ahead: i64,
    /// The time by which its clock was set back in all: the time of its core does not go back.
    pub(crate) set_back: i64,
    pub(crate) run_state: RunState,
    /// By the world's clock.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// Another incarnation of its name has started: no other node should show its users any more.
    pub(crate) is_replaced: bool,
    pub(crate) link_fault: Option<LinkFault>,
    pub(crate) rooms: BTreeMap<ChannelKey, ServerChannel>,
    /// The presence grace of its channels.
    pub(crate) grace: u64,
    instances: u64,
    /// The inputs that wait while it is paused.
    pub(crate) waiting: Vec<Input>,
    /// The time of its next tick, by the world's clock, and the number of times that it was set.
    pub(crate) looks_for: Option<u64>,
    pub(crate) looks: u64,
    pub(crate) has_renewed: bool,
    pub(crate) is_renewing: bool,
    /// The requests that wait for answers, with their times.
    pub(crate) asks: BTreeMap<u64, (u64, ClusterRequest)>,
    next_ask: u64,
}

impl Node {
    /// Messages of `small` nodes have room for few users, so that lists come in parts.
    pub(crate) fn new(id: NodeId, ahead: i64, now: u64, topics: Topics, small: bool, seed: u64) -> Node {
        let mut settings = Settings::new(id.clone(), topics);
        if small {
            settings.state_bytes = 400;
        }
        Node {
            id,
            core: Core::new(settings, seed),
            ahead,
            set_back: 0,
            run_state: RunState::Running,
            began: now,
            ended: u64::MAX,
            is_replaced: false,
            link_fault: None,
            rooms: BTreeMap::new(),
            grace: 0,
            instances: 0,
            waiting: Vec::new(),
            looks_for: None,
            looks: 0,
            has_renewed: false,
            is_renewing: false,
            asks: BTreeMap::new(),
            next_ask: 0,
        }
    }

    /// The time for its core.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        by_clock(self.ahead + self.set_back, now)
    }

    pub(crate) fn handle(&mut self, input: Input, now: u64) -> Vec<Output> {
        let mut out = Vec::new();
        self.core.handle(input, by_clock(self.ahead, now), &mut out);
        out
    }

    /// The next deadline of its core, by the world's clock.
    pub(crate) fn deadline(&self) -> Option<u64> {
        Some(self.core.deadline()?.saturating_sub(by_clock(self.ahead, 0)))
    }

    /// Returns the channel, and opens it if it has no members: then with the input for the core.
    pub(crate) fn open(&mut self, channel: &ChannelKey) -> (&mut ServerChannel, Option<Input>) {
        let mut opened = None;
        let room = self.rooms.entry(channel.clone()).or_insert_with(|| {
            self.instances += 1;
            let (instance, grace) = (self.instances, self.grace);
            opened = Some(Input::Opened { channel: channel.clone(), instance, grace, in_order: false });
            ServerChannel::new(channel.clone(), self.instances)
        });
        (room, opened)
    }

    /// The number of another instance of a channel.
    pub(crate) fn next_instance(&mut self) -> u64 {
        self.instances += 1;
        self.instances
    }

    pub(crate) fn is_subscribed(&self, channel: &ChannelKey) -> bool {
        self.core.is_subscribed(channel)
    }

    /// Closes the channel if it has no members any more. Returns the input for the core, which may be delayed.
    pub(crate) fn close_if_empty(&mut self, channel: &ChannelKey) -> Option<Input> {
        let room = self.rooms.get(channel).filter(|room| room.members.is_empty())?;
        let closed = Input::Closed { channel: channel.clone(), instance: room.instance };
        self.rooms.remove(channel);
        Some(closed)
    }

    pub(crate) fn ask(&mut self, ask: ClusterRequest, now: u64) -> Input {
        self.next_ask += 1;
        self.asks.insert(self.next_ask, (now, ask.clone()));
        Input::Request { id: self.next_ask, request: ask }
    }

    /// Returns whether it serves users, and no other node has taken its name.
    pub(crate) fn is_live(&self) -> bool {
        self.run_state != RunState::Ended && !self.is_replaced
    }
}
