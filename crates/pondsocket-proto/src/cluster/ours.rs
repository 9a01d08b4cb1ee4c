//! What nodes of ours say to each other.

use super::core::Core;
use super::liveness::Turn;
use super::message::{Body, Envelope, Ext, NodeEvent};
use super::record::Record;
use super::{ChannelKey, NodeId, Output, hear};
use crate::id::is_reserved_event;
use crate::model::{MemberChange, UserMessage};

impl Core {
    /// One of ours has said something. Of a life that is over, only messages for users still count.
    pub(super) fn receive_ours(&mut self, message: Envelope) {
        let Some(ext) = message.ext else { return };
        let turns = match &message.body {
            Body::Node(NodeEvent::Hello) => self.nodes.hello(&ext.node, self.now()),
            _ => self.nodes.heard(&ext.node, self.now()),
        };
        let is_new = turns.contains(&Turn::Up(ext.node.clone()));
        self.turn(turns);
        if is_new && self.nodes.beats() {
            // It need not wait for our next beat to know us.
            self.voice.whisper(&ext.node, Body::Node(NodeEvent::Hello));
        }
        match (message.channel, message.body) {
            (Some(channel), Body::UserMessage(message)) => self.deliver(channel, message),
            (channel, body) if !self.nodes.counts(&ext.node) => self.pretender_says(ext, channel, &body),
            (None, Body::Node(event)) => self.node_event(&ext.node, event),
            (None, Body::State(states)) => states.into_iter().for_each(|state| self.take_state(&ext.node, state)),
            (None, Body::Repair(channels)) => self.owe(&ext.node, channels),
            (None, Body::Ack { request, verdict }) => self.acknowledged(&ext.node, &request, verdict),
            (Some(channel), Body::Digest { version, count, hash }) => {
                self.compare(&channel, &ext, (version, count, hash));
            }
            (Some(channel), Body::StateRequest { .. }) => self.asked_for_state(&channel, ext),
            (Some(channel), body) if ext.change.is_some() => self.owner_says(&channel, &ext, &body),
            (Some(channel), body) => self.asked(channel, ext, body),
            (None, _) => {}
        }
    }

    /// A message for users here. Nodes of some languages also publish acknowledgements, answers and evictions; clients would
    /// act upon them as if this server had said them.
    pub(super) fn deliver(&mut self, channel: ChannelKey, message: UserMessage) {
        let is_for_users = !is_reserved_event(&message.event);
        if is_for_users && self.channels.get(&channel).is_some_and(|channel| channel.is_open()) {
            self.voice.output(Output::Deliver { channel, message });
        }
    }

    fn node_event(&mut self, from: &NodeId, event: NodeEvent) {
        let turns = match event {
            NodeEvent::Hello => Vec::new(),
            NodeEvent::Bye => self.nodes.bye(from, self.now()),
            NodeEvent::Down(id) if id == *self.me() => {
                self.come_back();
                Vec::new()
            }
            NodeEvent::Down(id) if self.nodes.beats() => self.nodes.down(&id, self.now()),
            // Anybody may say so: the table of leases knows.
            NodeEvent::Down(id) => {
                if self.nodes.living(&id.name) == Some(id) {
                    self.look_at_leases();
                }
                Vec::new()
            }
        };
        self.turn(turns);
    }

    /// An owner tells of a change of one of its users.
    fn owner_says(&mut self, key: &ChannelKey, ext: &Ext, body: &Body) {
        let (Some(channel), Some(span)) = (self.channels.get_mut(key), ext.change) else { return };
        let Some(change) = hear::change(body) else { return };
        let user = change.user().clone();
        if let MemberChange::Left { user } = &change {
            channel.guests.note_leaving(user, self.voice.now);
        }
        let record = channel.records.get(&ext.node.name);
        let known = record.map_or((false, 0), |record| (record.get(&user).is_some(), record.len()));
        let (change, is_cut) = self.limits.change(change, known);
        // If changes before it are missing it changes nothing, but it is true nevertheless.
        let delta = |record: &mut Record| {
            let changed = record.delta(ext.node.incarnation, span, change, ext.joined.unwrap_or(0));
            if is_cut {
                record.cut();
            }
            changed
        };
        let mut changed = channel.merge(&ext.node, self.voice.now, delta);
        if channel.guests.get(&user).is_some() {
            channel.guests.unlist(&user);
            changed.push(user);
        }
        self.changed(key, changed);
        self.check_repair(key, &ext.node.name);
    }
}
