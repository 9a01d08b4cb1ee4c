use std::sync::Arc;

use super::local_state::Delta;
use super::message::{Body, Envelope, Ext, NodeEvent};
use super::random::Random;
use super::{ChannelKey, NodeId, Output, Settings, Topics};
use crate::id::RequestId;

/// How a node talks: it signs its messages, and collects what is to be done. While the bus is down it says nothing;
/// what others miss then they are told when it is back.
#[derive(Debug)]
pub(super) struct Voice {
    node: NodeId,
    source: Arc<str>,
    topics: Topics,
    pub(super) random: Random,
    pub(super) now: u64,
    pub(super) is_up: bool,
    outputs: Vec<Output>,
}

impl Voice {
    pub(super) fn new(settings: &Settings, seed: u64) -> Voice {
        Voice {
            node: settings.node.clone(),
            source: settings.node.source().into(),
            topics: settings.topics.clone(),
            random: Random::new(seed),
            now: 0,
            is_up: false,
            outputs: Vec::new(),
        }
    }

    /// It signs with this life from now on.
    pub(super) fn adopt(&mut self, node: &NodeId) {
        self.node = node.clone();
        self.source = node.source().into();
    }

    pub(super) fn node(&self) -> &NodeId {
        &self.node
    }

    pub(super) fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// What is to be done besides saying something.
    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push(output);
    }

    pub(super) fn take_outputs(&mut self, out: &mut Vec<Output>) {
        out.append(&mut self.outputs);
    }

    /// A name for a question.
    pub(super) fn fresh_id(&mut self) -> String {
        RequestId::from_u128(self.random.draw_id()).as_str().to_owned()
    }

    /// What goes beside each of its messages.
    pub(super) fn ext(&self) -> Ext {
        Ext { node: self.node.clone(), change: None, joined: None, request: None, have: Vec::new(), own: None }
    }

    /// Says a change of a user here.
    pub(super) fn tell(&mut self, channel: &ChannelKey, told: Delta) {
        let ext = Ext { change: Some(told.versions), joined: told.joined, ..self.ext() };
        self.say_with(channel, told.body, ext);
    }

    /// Says something on a channel's topic.
    pub(super) fn say(&mut self, channel: &ChannelKey, body: Body) {
        let ext = self.ext();
        self.say_with(channel, body, ext);
    }

    pub(super) fn say_with(&mut self, channel: &ChannelKey, body: Body, ext: Ext) {
        let message = self.message(Some(channel.clone()), body, ext);
        self.publish(self.topics.channel(channel), message);
    }

    /// Says something to one node.
    pub(super) fn whisper(&mut self, to: &NodeId, body: Body) {
        let ext = self.ext();
        let message = self.message(None, body, ext);
        self.publish(self.topics.inbox(to), message);
    }

    /// Says something about a channel to one node.
    pub(super) fn whisper_about(&mut self, to: &NodeId, channel: &ChannelKey, body: Body, ext: Ext) {
        self.whisper_to_all(std::slice::from_ref(to), channel, body, ext);
    }

    /// Says something about a channel to each of these nodes.
    pub(super) fn whisper_to_all(&mut self, to: &[NodeId], channel: &ChannelKey, body: Body, ext: Ext) {
        let message = self.message(Some(channel.clone()), body, ext);
        for node in to {
            self.publish(self.topics.inbox(node), message.clone());
        }
    }

    /// Says the same on a channel's topic and to each of these nodes, which may not listen there. Who hears it twice
    /// knows it by its id.
    pub(super) fn say_to_all(&mut self, channel: &ChannelKey, to: &[NodeId], body: Body, ext: Ext) {
        let message = self.message(Some(channel.clone()), body, ext);
        self.publish(self.topics.channel(channel), message.clone());
        for node in to {
            self.publish(self.topics.inbox(node), message.clone());
        }
    }

    /// Says something about a node to all nodes of ours.
    pub(super) fn announce(&mut self, event: NodeEvent) {
        let ext = self.ext();
        let message = self.message(None, Body::Node(event), ext);
        self.publish(self.topics.cluster(), message);
    }

    /// Says to nodes of other languages that it lives.
    pub(super) fn heartbeat(&mut self) {
        let ext = self.ext();
        let message = self.message(None, Body::NodeHeartbeat { node: self.source.clone() }, ext);
        self.publish(self.topics.heartbeat(), message);
    }

    fn message(&mut self, channel: Option<ChannelKey>, body: Body, ext: Ext) -> Envelope {
        let id = RequestId::from_u128(self.random.draw_id()).as_str().into();
        Envelope { id, source: self.source.clone(), channel, timestamp: self.now, body, ext: Some(ext) }
    }

    fn publish(&mut self, topic: String, message: Envelope) {
        if self.is_up {
            self.outputs.push(Output::Publish { topic, message: Box::new(message) });
        }
    }
}
