//! The way of a received message: from its sender, whose liveness it shows, to the component that owns the state it
//! concerns.

use std::sync::Arc;

use super::Core;
use crate::cluster::context::{Effect, ForeignUpdate, Phase};
use crate::cluster::directory::{Directory, Holder};
use crate::cluster::interop::Translated;
use crate::cluster::membership::NodeTransition;
use crate::cluster::message::{Body, ChannelState, Envelope, Ext, NodeEvent, ReceivedMessage};
use crate::cluster::replication::Entry;
use crate::cluster::replication::sync::held;
use crate::cluster::requests::lookup;
use crate::cluster::{Admission, ChannelKey, NodeId, NodeOutput, Topic};
use crate::id::{UserId, is_reserved_event};
use crate::model::{MemberChange, UserMessage};

impl Core {
    /// Handles a message for users that was read without copies. There are no outputs: the caller delivers the message
    /// to the channel, if that is open.
    pub fn admit(&mut self, topic: &Topic, message: &ReceivedMessage<'_>, now: u64) -> Admission {
        let is_running = matches!(self.context.phase, Phase::Connected | Phase::Disconnected);
        let is_own = message.source == &**self.sender.source();
        let fits = self.context.settings.topics.is_of_channel(topic, message.endpoint, message.channel);
        // The changes that are to be shown ahead of it are an output.
        if !is_running || is_own || !fits || self.view.owes(topic) {
            return Admission::Unclear;
        }
        self.context.now = self.time.read(now);
        if !self.membership.heard_again(message.node, message.incarnation, self.context.now) {
            return Admission::Unclear;
        }
        let is_deliverable = !is_reserved_event(message.message().event);
        match self.recent.is_new(message.source, message.id) && is_deliverable {
            true => Admission::Deliver,
            false => Admission::Drop,
        }
    }

    pub(super) fn receive(&mut self, topic: &Topic, message: Envelope) {
        let source = self.sender.source();
        // The bus returns this node's own messages. The driver can drop them by their first bytes
        // (`Envelope::beginning`) without decoding them, but the core does not rely on that.
        let is_own = message.source == *source;
        // A message on a topic that is not its own is forged or misrouted (docs/cluster.md, Topics).
        let fits = self.context.settings.topics.fits(topic, &message, source);
        // `is_new` last, because it remembers the id: a forged message on a wrong topic must not make a genuine one
        // with the same id look repeated.
        if is_own || !fits || !self.recent.is_new(&message.source, &message.id) {
            return;
        }
        match &message.ext {
            Some(ext) if ext.node.name == self.me().name => {
                self.membership.check_name(&mut self.context, &ext.node);
                // Both nodes of a name conflict go on serving their users, so messages for users are delivered.
                if let (Some(channel), Body::UserMessage(message)) = (message.channel, message.body) {
                    self.deliver(channel, message);
                }
            }
            Some(_) => self.receive_of_peer(message),
            None if message.is_of_publisher() => {
                if let (Some(channel), Body::UserMessage(message)) = (message.channel, message.body) {
                    self.deliver(channel, message);
                }
            }
            None if self.context.settings.interop => self.receive_foreign(message),
            None => {}
        }
    }

    /// Routes a message of a node of our kind. Of an incarnation that is not valid only messages for users are
    /// delivered: they change no state, and may have been in flight when the node was restarted.
    fn receive_of_peer(&mut self, message: Envelope) {
        let Some(ext) = message.ext else { return };
        // Before the body: the message itself can make its sender known, or another incarnation valid.
        let transitions = match &message.body {
            Body::Node(NodeEvent::Hello) => self.membership.hello(&mut self.context, &ext.node),
            _ => self.membership.heard(&mut self.context, &ext.node),
        };
        let is_new = transitions.contains(&NodeTransition::Up(ext.node.clone()));
        self.apply_transitions(transitions);
        if is_new {
            self.membership.send_hello(&mut self.context, &ext.node);
        }
        match (message.channel, message.body) {
            (Some(channel), Body::UserMessage(message)) => self.deliver(channel, message),
            // Whoever has begun it anew, the store knows.
            (Some(channel), Body::Node(NodeEvent::HistoryRestarted)) => {
                self.context.output(NodeOutput::HistoryRestarted(channel));
            }
            (channel, body) if !self.membership.counts(&ext.node) => self.receive_of_contender(ext, channel, &body),
            (None, Body::Node(event)) => self.node_event(&ext.node, event),
            (None, Body::State(states)) => states.into_iter().for_each(|state| self.take_state(&ext.node, state)),
            (None, Body::Repair(channels)) => self.sync.owe(&mut self.context, &ext.node, channels),
            (None, Body::Ack { request, verdict }) => {
                self.requests.acknowledged(&mut self.context, &directory!(self), &ext.node, &request, verdict);
            }
            (Some(channel), Body::Digest { version, count, hash }) => {
                self.compare(&channel, &ext, (version, count, hash));
            }
            (Some(channel), Body::StateRequest { .. }) => self.state_request(&channel, ext),
            (Some(channel), body) if ext.change.is_some() => self.owner_change(&channel, &ext, &body),
            (Some(_), Body::UserGetResponse { user, request, assigns, presence }) => {
                let holder = Holder { name: ext.node.name.clone(), inbox: Some(ext.node) };
                let entry = Entry { assigns, presence, joined: ext.joined.unwrap_or(0) };
                self.found(holder, &request, (&user, entry));
            }
            (Some(channel), body) => {
                self.commands.requested(&mut self.context, &directory!(self), channel, ext, body);
            }
            (None, _) => {}
        }
    }

    /// Delivers a message to the users here. Reserved events are dropped: some foreign nodes also publish
    /// acknowledgements, answers and evictions, and clients here would take them for those of this server.
    fn deliver(&mut self, channel: ChannelKey, message: UserMessage) {
        if !is_reserved_event(&message.event) && self.channels.is_open(&channel) {
            self.view.show_first(&mut self.context, &directory!(self), &channel);
            self.context.output(NodeOutput::Deliver { channel, message });
        }
    }

    fn node_event(&mut self, from: &NodeId, event: NodeEvent) {
        let transitions = match event {
            // The caller has passed it to the membership before, as the sign of liveness that it is.
            NodeEvent::Hello | NodeEvent::HistoryRestarted => return,
            NodeEvent::SessionClaimed(record) => {
                return self.context.output(NodeOutput::SessionClaimed(record));
            }
            NodeEvent::Bye => {
                self.orphans.disinherit(from);
                self.membership.leave(&mut self.context, from)
            }
            NodeEvent::Down(node) if node == *self.me() => return self.come_back(),
            NodeEvent::Down(node) => self.membership.down(&mut self.context, &node),
        };
        self.apply_transitions(transitions);
    }

    /// Handles a message of an incarnation that is not valid. If it may be valid soon, its queries are answered, and
    /// the channels of its messages are remembered: once it is valid, its users there are requested. Otherwise a node
    /// that is restarted would wait for the next digest.
    fn receive_of_contender(&mut self, ext: Ext, channel: Option<ChannelKey>, body: &Body) {
        if !self.membership.is_contender(&ext.node) {
            return;
        }
        let cx = &mut self.context;
        match (&channel, body) {
            (None, Body::Repair(channels)) => self.sync.owe(cx, &ext.node, channels.iter().cloned()),
            (Some(key), Body::StateRequest { .. } | Body::Digest { .. }) => {
                self.sync.owe_if_behind(cx, &self.channels, key, &ext);
            }
            _ => {}
        }
        let states = match body {
            Body::State(states) => states.iter().map(|state| state.channel.clone()).collect(),
            _ => Vec::new(),
        };
        let known = channel.into_iter().chain(states).filter(|key| self.channels.get(key).is_some());
        self.membership.note_missed(&ext.node.name, known);
    }

    /// Applies a snapshot of another node's users.
    fn take_state(&mut self, owner: &NodeId, state: ChannelState) {
        let key = state.channel.clone();
        let Some(changed) = self.channels.replace(&mut self.context, owner, state) else { return };
        self.members_changed(&key, changed);
        self.requests.listed(&mut self.context, &directory!(self), owner, &key);
    }

    /// Handles a request for the state of a channel, which also contains the sender's own users, or at least its
    /// version.
    fn state_request(&mut self, key: &ChannelKey, ext: Ext) {
        self.sync.owe_if_behind(&mut self.context, &self.channels, key, &ext);
        if let Some(own) = ext.own.filter(|own| own.channel == *key) {
            self.take_state(&ext.node, own);
        } else if let Some(version) = held(&ext.have, &ext.node)
            && self.channels.get(key).is_some()
        {
            self.expect(key, &ext.node, version);
        }
        // It may have been cut off, and is subscribed to its inbox when it asks.
        let may_have = |user: &UserId| self.channels.may_have(key, &ext.node, user);
        self.removals.repeat(&mut self.context, key, &ext.node, may_have);
    }

    /// Notes that a node has this version of a channel, and requests its users if another version is known here.
    pub(super) fn expect(&mut self, key: &ChannelKey, node: &NodeId, version: u64) {
        let changed = self.channels.expect(key, node, version);
        self.members_changed(key, changed);
        self.sync.check_repair(&mut self.context, &self.channels, key, &node.name);
    }

    /// Compares the digest of a node with its record. The versions that come with it also show what the node is
    /// missing.
    fn compare(&mut self, key: &ChannelKey, ext: &Ext, digest: (u64, u64, u64)) {
        if !ext.have.is_empty() {
            self.sync.owe_if_behind(&mut self.context, &self.channels, key, ext);
        }
        let changed = self.channels.compare(&mut self.context, key, &ext.node, digest);
        self.members_changed(key, changed);
        self.sync.check_repair(&mut self.context, &self.channels, key, &ext.node.name);
    }

    /// Applies a change that a node has made to one of its users.
    fn owner_change(&mut self, key: &ChannelKey, ext: &Ext, body: &Body) {
        let (Some(_), Some(versions)) = (self.channels.get(key), ext.change) else { return };
        let Some(change) = body.member_change() else { return };
        let user = change.user().clone();
        if matches!(change, MemberChange::Left { .. }) {
            self.interop.note_owner(&self.context, key, &user, false);
        }
        let changed = self.channels.apply(&mut self.context, key, ext, versions, change);
        self.members_changed(key, changed);
        // Behind a gap the change is not applied yet. The user is known to be on that node nevertheless, so an entry
        // that was only listed by foreign nodes is void.
        if self.interop.claim(key, &user) {
            self.view.touch(&mut self.context, key, [user]);
        }
        self.sync.check_repair(&mut self.context, &self.channels, key, &ext.node.name);
    }

    fn receive_foreign(&mut self, message: Envelope) {
        self.foreign_silence = self.foreign_silence.map(|_| self.context.now);
        let Envelope { channel, body, source, .. } = message;
        let (channel, body) = match (channel, body) {
            (Some(key), Body::UserMessage(message)) => return self.deliver(key, message),
            other => other,
        };
        let gone = self.interop.heard(&source, self.context.now);
        self.touch_all(gone);
        let Some(key) = channel.filter(|key| self.channels.get(key).is_some()) else { return };
        let is_first = self.interop.note(&self.context, &key, &source);
        let asks = is_first || matches!(body, Body::StateRequest { .. });
        let known = (&self.channels, &self.membership);
        if let Some(translated) = self.interop.translate(&mut self.context, known, &key, &source, body) {
            self.apply_foreign(&key, source.clone(), translated);
        }
        if asks {
            // The effects of the message first: the answer lists the users as they are after it.
            self.carry_out();
            self.interop.answer(&mut self.context, &self.channels, &key, &source);
        }
    }

    fn apply_foreign(&mut self, key: &ChannelKey, source: Arc<str>, translated: Translated) {
        let cx = &mut self.context;
        match translated {
            Translated::Changed(users) => {
                self.view.touch(cx, key, users.iter().cloned());
                self.settle_orphans(key, &users);
            }
            Translated::Left(user) => {
                cx.effects.push(Effect::Foreign(key.clone(), user.clone(), ForeignUpdate::Left));
                self.requests.left(&mut self.context, &directory!(self), key, &user);
            }
            Translated::Command(user, command) => {
                self.commands.execute(cx, &directory!(self), key, user, command, None);
            }
            Translated::Removal(user, command) => {
                self.commands.remove_user(cx, &directory!(self), key, user, command, None);
            }
            Translated::Lookup { user, request } => lookup(cx, &self.channels, key, &user, request, None),
            Translated::Found { user, request, entry } => {
                let holder = Holder { name: source, inbox: None };
                self.found(holder, &request, (&user, entry));
            }
        }
    }

    /// Passes the answer to a query on, with the directory that the request may need for its next step.
    fn found(&mut self, holder: Holder, request: &str, user: (&str, Entry)) {
        self.requests.found(&mut self.context, &directory!(self), holder, request, user);
    }
}
