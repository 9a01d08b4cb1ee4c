use std::collections::BTreeMap;

use super::limits::RemoteLimits;
use super::message::{Body, Ext, NodeEvent, SERVER};
use super::random::Random;
use super::timers::Timers;
use super::{ChannelKey, Command, NodeId, Output, Settings};
use crate::id::{RequestId, UserId};
use crate::model::{Assigns, Target, UserMessage};
use crate::wire::{Json, Object};

/// The context of every component of the core: the time and the settings, which it reads, and the effects that it
/// requests. The core executes these in their order, so no component calls another one.
#[derive(Debug)]
pub(super) struct Context {
    /// The time that has passed, in milliseconds; it never goes back.
    pub(super) now: u64,
    pub(super) phase: Phase,
    pub(super) settings: Settings,
    pub(super) timers: Timers,
    pub(super) limits: RemoteLimits,
    pub(super) random: Random,
    pub(super) effects: Vec<Effect>,
}

/// The connection of a core to the bus.
///
/// ```text
///              first input                   Bus::Up             Bus::Down
///  NOT STARTED ------------> NEVER CONNECTED ---------> CONNECTED <---------> DISCONNECTED
///                                                                  Bus::Up
///  and STOPPED from each of them
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// There was no input yet.
    NotStarted,
    /// The bus was never up.
    NeverConnected,
    /// The bus is up.
    Connected,
    /// The bus was up.
    Disconnected,
    /// The node has published its `Bye`. This is final.
    Stopped,
}

/// An action that a component requests.
#[derive(Debug)]
pub(super) enum Effect {
    /// Boxed, because a draft is far larger than the other effects.
    Send(Box<Draft>),
    Output(Output),
    /// Subscribes to a channel's topic, or keeps the subscription for a while longer.
    Listen(ChannelKey),
    /// Sends the users of this node in a channel to foreign nodes.
    Announce(ChannelKey),
    /// Applies a command to the entry of a user of a foreign node. Its node does not acknowledge commands, so the
    /// change is assumed.
    Foreign(ChannelKey, UserId, ForeignUpdate),
    /// Removes a user whose node has gone, in place of that node.
    RemoveOrphan(ChannelKey, UserId, Command),
}

/// A message that is not signed yet.
#[derive(Debug)]
pub(super) struct Draft {
    /// The topics on which it is published: under one id, so that a node which receives it twice detects the
    /// repetition.
    pub(super) to: Vec<Destination>,
    pub(super) channel: Option<ChannelKey>,
    pub(super) body: Body,
    pub(super) ext: Ext,
}

/// The topic of a message.
#[derive(Debug)]
pub(super) enum Destination {
    /// The topic of this channel.
    Channel(ChannelKey),
    Inbox(NodeId),
    Cluster,
    Heartbeat,
}

/// The change of a user of a foreign node that a command of ours makes.
#[derive(Debug)]
pub(super) enum ForeignUpdate {
    Left,
    Presence(Object),
    /// All assigns, or one of them.
    Assigns(Option<Assigns>, Option<(String, Json)>),
}

impl Context {
    pub(super) fn new(settings: Settings, random: Random) -> Context {
        Context {
            now: 0,
            phase: Phase::NotStarted,
            timers: Timers::default(),
            limits: RemoteLimits::new(&settings),
            random,
            effects: Vec::new(),
            settings,
        }
    }

    /// Returns whether the bus is up. Only then are messages published, and only then does the silence of a node mean
    /// anything.
    pub(super) fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// The incarnation of this node.
    pub(super) fn me(&self) -> &NodeId {
        &self.settings.node
    }

    /// A fresh id for a request.
    pub(super) fn fresh_id(&mut self) -> String {
        RequestId::from_u128(self.random.draw_id()).as_str().to_owned()
    }

    /// The `ext` of every message of this node.
    pub(super) fn ext(&self) -> Ext {
        Ext::new(self.me().clone())
    }

    pub(super) fn output(&mut self, output: impl Into<Output>) {
        self.effects.push(Effect::Output(output.into()));
    }

    /// Publishes a message on a channel's topic.
    pub(super) fn publish(&mut self, channel: &ChannelKey, body: Body) {
        let ext = self.ext();
        self.publish_with(channel, body, ext);
    }

    /// Publishes a message on a channel's topic, with this `ext`.
    pub(super) fn publish_with(&mut self, channel: &ChannelKey, body: Body, ext: Ext) {
        self.publish_and_send(channel, &[], body, ext);
    }

    /// Publishes a message on a channel's topic and sends it to these nodes, which may not be subscribed to the topic.
    pub(super) fn publish_and_send(&mut self, channel: &ChannelKey, nodes: &[NodeId], body: Body, ext: Ext) {
        let inboxes = nodes.iter().cloned().map(Destination::Inbox);
        let to = std::iter::once(Destination::Channel(channel.clone())).chain(inboxes).collect();
        self.send(to, Some(channel.clone()), body, ext);
    }

    /// Sends a message that concerns no single channel to one node.
    pub(super) fn send_to(&mut self, node: &NodeId, body: Body) {
        let ext = self.ext();
        self.send(vec![Destination::Inbox(node.clone())], None, body, ext);
    }

    /// Sends a message about a channel to each of these nodes.
    pub(super) fn send_to_all(&mut self, nodes: &[NodeId], channel: &ChannelKey, body: Body, ext: Ext) {
        let to = nodes.iter().cloned().map(Destination::Inbox).collect();
        self.send(to, Some(channel.clone()), body, ext);
    }

    /// Publishes an event of a node to all nodes of our kind.
    pub(super) fn announce(&mut self, event: NodeEvent) {
        let ext = self.ext();
        self.send(vec![Destination::Cluster], None, Body::Node(event), ext);
    }

    /// Publishes a heartbeat for foreign nodes.
    pub(super) fn heartbeat(&mut self) {
        let (node, ext) = (self.me().source().into(), self.ext());
        self.send(vec![Destination::Heartbeat], None, Body::NodeHeartbeat { node }, ext);
    }

    /// The notice of the eviction of a user, for the other members.
    pub(super) fn eviction(&mut self, user: &UserId, reason: &str) -> UserMessage {
        let payload = Object::encode(&BTreeMap::from([("reason", reason), ("userId", user.as_str())]));
        UserMessage {
            from: SERVER.into(),
            event: "user_evicted".to_owned(),
            payload: payload.expect("texts are JSON"),
            request_id: self.fresh_id(),
            to: Target::All,
            position: None,
        }
    }

    fn send(&mut self, to: Vec<Destination>, channel: Option<ChannelKey>, body: Body, ext: Ext) {
        self.effects.push(Effect::Send(Box::new(Draft { to, channel, body, ext })));
    }
}
