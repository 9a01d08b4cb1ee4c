use std::sync::Arc;

use super::context::{Context, Effect, ForeignUpdate, Phase};
use super::dedup::Recent;
use super::directory::{Directory, Holder};
use super::interop::{Interop, Translated};
use super::io::{Bus, Excess};
use super::membership::{NodeMembership, NodeTransition};
use super::message::{Body, ChannelState, Envelope, Ext, NodeEvent};
use super::random::Random;
use super::remote_view::RemoteView;
use super::replication::sync::{held, publish_digest};
use super::replication::{Changed, Channels, Entry, Sync};
use super::requests::{Commands, Requests, lookup};
use super::sender::Sender;
use super::time::Time;
use super::timers::Timer;
use super::{Answer, ChannelKey, Input, Lease, NodeId, NodeOutput, Output, Settings, Topic};
use crate::id::{UserId, is_reserved_event};
use crate::model::{MemberChange, UserMessage};

/// A directory of what the core knows, without a borrow of the rest of it.
macro_rules! directory {
    ($core:expr) => {
        Directory::new(&$core.channels, &$core.membership, &$core.interop)
    };
}

/// One node of a cluster, without I/O.
///
/// Nothing happens by itself: whatever drives the core calls [`handle`](Core::handle), one call at a time, and carries out
/// the outputs in their order. There is no call to begin with: the first input, whatever it is, leads to subscriptions of
/// the topics that every node needs. Until [`Bus::Up`](super::Bus::Up) the core publishes nothing, and it asks for nothing
/// before [`Bus::Subscribed`](super::Bus::Subscribed) has named both its inbox and the topic that is asked on.
///
/// The core itself only routes: inputs to the components that they concern, what one of these returns to the others, and
/// their effects to the outputs.
#[derive(Debug)]
pub struct Core {
    context: Context,
    membership: NodeMembership,
    channels: Channels,
    sync: Sync,
    view: RemoteView,
    requests: Requests,
    commands: Commands,
    interop: Interop,
    recent: Recent,
    sender: Sender,
    outputs: Vec<Output>,
    time: Time,
}

impl Core {
    /// A node that knows no other. `seed` draws jitter and message ids, so it has to differ between nodes.
    pub fn new(settings: Settings, seed: u64) -> Core {
        let mut random = Random::new(seed);
        // The ids of messages have a sequence of their own, so that requests do not depend on how many were sent.
        let of_context = Random::new(random.draw());
        Core {
            sender: Sender::new(&settings, random),
            membership: NodeMembership::new(&settings),
            channels: Channels::new(&settings),
            sync: Sync::default(),
            view: RemoteView::default(),
            requests: Requests::default(),
            commands: Commands::default(),
            interop: Interop::new(&settings),
            recent: Recent::new(settings.max_recent_messages, settings.max_recent_sources),
            outputs: Vec::new(),
            time: Time::default(),
            context: Context::new(settings, of_context),
        }
    }

    /// Takes one input and appends what is to be done to `out`. `now` is in milliseconds since 1970; if it goes back, no time
    /// has passed, and time goes on from there. The clocks of other nodes order nothing.
    ///
    /// [`NodeOutput::RemoteMembers`] comes upon [`Input::Tick`] only, so [`Input::Opened`], [`Input::Local`] and
    /// [`Input::Closed`] may be given under a channel's lock. Each of these three is one call per channel, in the order in
    /// which it happened there.
    pub fn handle(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        if self.context.phase == Phase::Stopped {
            if let Input::Request { id, .. } = input {
                out.push(Output::Node(NodeOutput::Answered { id, answer: Answer::Unavailable }));
            }
            return;
        }
        self.context.now = self.time.read(now);
        if self.context.phase == Phase::Asleep {
            self.wake();
        }
        // Inputs under a channel's lock lead to publishing alone.
        let may_report = !matches!(
            input,
            Input::Opened { .. } | Input::Expected { .. } | Input::Local { .. } | Input::Closed { .. }
        );
        match input {
            Input::Incarnation(incarnation) => self.adopt(incarnation),
            Input::Opened { channel, instance } => self.open(&channel, instance),
            Input::Expected { channel } => self.channels.listen(&mut self.context, &channel),
            Input::Closed { channel, instance } => self.close(&channel, instance),
            Input::Local { channel, change } => self.change_local(&channel, change),
            Input::Received { topic, message } => self.receive(&topic, *message),
            Input::Bus(event) => self.bus(event),
            Input::Lease(lease) => self.lease(&lease),
            Input::Request { id, request } => {
                self.requests.start(&mut self.context, &directory!(self), id, request);
            }
            Input::Done { id, verdict } => self.commands.done(&mut self.context, id, verdict),
            Input::Tick => self.tick(),
            Input::Stop => self.stop(),
        }
        self.carry_out();
        if may_report {
            self.report_excess();
        }
        out.append(&mut self.outputs);
    }

    /// The time, by the clock of the last input, at which the core wants an [`Input::Tick`] at the latest. It may be in the
    /// past: then at once.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.time.by_clock(self.context.timers.earliest()?))
    }

    /// Returns whether the bus delivers what others publish in a channel.
    pub fn hears(&self, channel: &ChannelKey) -> bool {
        self.channels.is_subscribed(channel)
    }

    fn me(&self) -> &NodeId {
        self.context.me()
    }

    fn wake(&mut self) {
        self.context.phase = Phase::Alone;
        let topics = &self.context.settings.topics;
        let mut add = vec![topics.inbox(self.me()), topics.cluster()];
        if self.context.settings.interop {
            add.push(topics.heartbeat());
        }
        let cx = &mut self.context;
        cx.output(Output::UpdateSubscriptions { add, remove: Vec::new() });
        Interop::start(cx);
        self.membership.start(cx);
        Sync::start(cx);
    }

    /// Takes the incarnation that the table of leases has given this node, if no other one was published yet.
    fn adopt(&mut self, incarnation: u64) {
        if !matches!(self.context.phase, Phase::Asleep | Phase::Alone) || incarnation == self.me().incarnation {
            return;
        }
        let cx = &mut self.context;
        let before = cx.settings.topics.inbox(cx.me());
        cx.settings.node.incarnation = incarnation;
        self.sender.adopt(cx.me());
        let inbox = cx.settings.topics.inbox(cx.me());
        cx.output(Output::UpdateSubscriptions { add: vec![inbox], remove: vec![before] });
    }

    /// Says goodbye. Foreign nodes have to be told of each user that goes; ours need the goodbye only.
    fn stop(&mut self) {
        self.requests.give_up_all(&mut self.context, &directory!(self));
        self.channels.leave_all(&mut self.context);
        self.context.announce(NodeEvent::Bye);
        self.carry_out();
        self.context.timers.clear();
        self.context.phase = Phase::Stopped;
    }

    fn tick(&mut self) {
        self.carry_out();
        while let Some((due, timer)) = self.context.timers.take(self.context.now) {
            let cx = &mut self.context;
            match timer {
                Timer::Beat => self.beat(due),
                Timer::Heartbeat => Interop::heartbeat(cx),
                Timer::ForeignScan => {
                    let gone = self.interop.scan(cx);
                    self.touch_all(gone);
                }
                Timer::Announce => self.interop.announce_all(cx, &self.channels),
                Timer::AnnounceAgain(channel, _) => self.interop.announce(cx, &self.channels, &channel),
                Timer::Sync => self.sync.ask_for_states(cx, &mut self.channels),
                Timer::Answer => self.sync.answer_states(cx, &self.channels),
                Timer::Repair(owner) => {
                    let living = self.membership.living(&owner);
                    self.sync.ask_for_repair(cx, &self.channels, &owner, living);
                }
                Timer::View(channel) => {
                    self.view.refresh(&mut self.context, &directory!(self), channel);
                }
                Timer::Digest(channel, _) => publish_digest(cx, &self.channels, &channel),
                Timer::Sweep => self.sync.sweep(cx, &mut self.channels),
                Timer::Linger(channel) => {
                    if self.channels.leave(cx, &channel) {
                        self.interop.leave(&channel);
                    }
                }
                Timer::Request(id) => {
                    self.requests.give_up(&mut self.context, &directory!(self), id);
                }
            }
            self.carry_out();
        }
    }

    fn bus(&mut self, event: Bus) {
        let cx = &mut self.context;
        match event {
            Bus::Up => {
                let again = cx.phase == Phase::CutOff;
                if again {
                    self.interop.excuse_silence(cx.now);
                }
                cx.phase = Phase::Linked;
                self.sync.unsubscribe(&mut self.channels);
                self.membership.link(cx, again);
                Interop::heartbeat(cx);
            }
            Bus::Down => {
                if cx.phase == Phase::Linked {
                    cx.phase = Phase::CutOff;
                }
                self.sync.unsubscribe(&mut self.channels);
            }
            Bus::Subscribed(topics) => {
                let (keys, inbox) = self.of_topics(&topics);
                self.sync.subscribe(&mut self.context, &mut self.channels, &keys);
                self.requests.subscribed(&mut self.context, &directory!(self), &keys);
                if inbox {
                    self.sync.subscribe_inbox(&mut self.context, &self.channels);
                }
            }
            Bus::Gap(topics) => {
                let (keys, inbox) = self.of_topics(&topics);
                // What is missing of an inbox may concern any channel.
                let keys = if inbox { self.channels.keys().cloned().collect() } else { keys };
                keys.iter().for_each(|key| self.sync.want_state(&mut self.context, &self.channels, key));
            }
            Bus::GapAll => self.sync.want_all_states(cx, &self.channels),
        }
    }

    /// The channels whose topics these are, and whether the inbox of this node is among them.
    fn of_topics(&self, topics: &[Topic]) -> (Vec<ChannelKey>, bool) {
        let named = &self.context.settings.topics;
        (self.channels.of_topics(named, topics), topics.contains(&named.inbox(self.me())))
    }

    fn lease(&mut self, lease: &Lease) {
        if !self.context.is_linked() {
            return;
        }
        let transitions = self.membership.lease(&mut self.context, lease);
        self.apply_transitions(transitions);
        if lease.was_expired {
            self.come_back();
        }
    }

    /// Tells others that this node lives, since they may have taken it for dead, and asks for what it may have missed.
    fn come_back(&mut self) {
        self.context.announce(NodeEvent::Hello);
        self.sync.want_all_states(&mut self.context, &self.channels);
    }

    fn beat(&mut self, due: u64) {
        let beat = self.membership.beat(&mut self.context, due);
        if beat.was_asleep {
            self.interop.excuse_silence(self.context.now);
            self.sync.want_all_states(&mut self.context, &self.channels);
        }
        self.apply_transitions(beat.transitions);
        self.channels.expire_tombstones(self.context.now);
    }

    /// Has the users of nodes follow a change of what is thought of these.
    fn apply_transitions(&mut self, transitions: Vec<NodeTransition>) {
        for transition in transitions {
            match transition {
                NodeTransition::Up(node) => {
                    self.context.output(NodeOutput::NodeUp(node.name.clone()));
                    self.catch_up(&node);
                    self.touch_all(self.channels.users_of(&node.name));
                    self.sync.check_repairs_of(&mut self.context, &self.channels, &node.name);
                }
                NodeTransition::Down(node) => {
                    self.context.output(NodeOutput::NodeDown(node.name.clone()));
                    self.touch_all(self.channels.users_of(&node.name));
                }
                NodeTransition::Replaced(node) => {
                    let changed = self.channels.begin_life(&node);
                    self.all_changed(changed)
                }
                // Should the node come back it is asked for them.
                NodeTransition::Expired(name) => {
                    let changed = self.channels.expire_users(&name);
                    self.all_changed(changed)
                }
                NodeTransition::Dropped(name) => self.channels.drop_node(&name),
                // The membership deals with these by itself.
                NodeTransition::Contested(_) => {}
            }
        }
    }

    /// Asks a node that counts from now on for what it said before, where that was not taken in.
    fn catch_up(&mut self, node: &NodeId) {
        let Some(missed) = self.membership.take_missed(&node.name) else { return };
        let all = missed.more.then(|| self.channels.keys().cloned().collect());
        for key in all.unwrap_or(missed.channels) {
            if self.channels.get(&key).is_some() {
                self.expect(&key, node, 0);
            }
        }
    }

    fn open(&mut self, key: &ChannelKey, instance: u64) {
        let left = self.channels.open(&mut self.context, key, instance);
        left.iter().for_each(|user| self.interop.note_owner(&self.context, key, user, false));
        self.view.open(&mut self.context, key, instance);
        if self.channels.is_subscribed(key) {
            self.sync.want_state(&mut self.context, &self.channels, key);
        }
    }

    fn close(&mut self, key: &ChannelKey, instance: u64) {
        if let Some(left) = self.channels.close(&mut self.context, key, instance) {
            left.iter().for_each(|user| self.interop.note_owner(&self.context, key, user, false));
            self.view.close(key);
        }
    }

    fn change_local(&mut self, key: &ChannelKey, change: MemberChange) {
        if !self.channels.is_open(key) {
            return;
        }
        let user = change.user().clone();
        match change {
            MemberChange::Joined { .. } => self.interop.note_owner(&self.context, key, &user, true),
            MemberChange::Left { .. } => self.interop.note_owner(&self.context, key, &user, false),
            MemberChange::Presence { .. } | MemberChange::Assigns { .. } => {}
        }
        self.channels.change_local(&mut self.context, key, change);
        // The entry here takes part in what is shown of the user's entries elsewhere.
        let is_remote = self.channels.get(key).is_some_and(|channel| channel.is_remote(&user));
        if is_remote || self.interop.get(key, &user).is_some() {
            self.view.touch(&mut self.context, key, [user]);
        }
    }

    fn receive(&mut self, topic: &Topic, message: Envelope) {
        let source = self.sender.source();
        let is_own = message.source == *source;
        let fits = self.context.settings.topics.fits(topic, &message, source);
        if is_own || !fits || !self.recent.is_new(&message.source, &message.id) {
            return;
        }
        match &message.ext {
            Some(ext) if ext.node.name == self.me().name => {
                self.membership.check_name(&mut self.context, &ext.node);
                // As everywhere, messages for users count, whatever life of a name lives.
                if let (Some(channel), Body::UserMessage(message)) = (message.channel, message.body) {
                    self.deliver(channel, message);
                }
            }
            Some(_) => self.receive_of_peer(message),
            None if self.context.settings.interop => self.receive_foreign(message),
            None => {}
        }
    }

    /// A node of ours has said something. Of a life that is over, only messages for users still count.
    fn receive_of_peer(&mut self, message: Envelope) {
        let Some(ext) = message.ext else { return };
        let transitions = match &message.body {
            Body::Node(NodeEvent::Hello) => self.membership.hello(&mut self.context, &ext.node),
            _ => self.membership.heard(&mut self.context, &ext.node),
        };
        let is_new = transitions.contains(&NodeTransition::Up(ext.node.clone()));
        self.apply_transitions(transitions);
        if is_new {
            self.membership.greet(&mut self.context, &ext.node);
        }
        match (message.channel, message.body) {
            (Some(channel), Body::UserMessage(message)) => self.deliver(channel, message),
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
            (Some(channel), body) => self.commands.requested(&mut self.context, &self.channels, channel, ext, body),
            (None, _) => {}
        }
    }

    /// Delivers a message to the users here. Some foreign nodes also publish acknowledgements, answers and evictions: clients
    /// would act upon them as if this server had said them.
    fn deliver(&mut self, channel: ChannelKey, message: UserMessage) {
        if !is_reserved_event(&message.event) && self.channels.is_open(&channel) {
            self.context.output(NodeOutput::Deliver { channel, message });
        }
    }

    fn node_event(&mut self, from: &NodeId, event: NodeEvent) {
        let transitions = match event {
            NodeEvent::Hello => return,
            NodeEvent::Bye => self.membership.leave(&mut self.context, from),
            NodeEvent::Down(node) if node == *self.me() => return self.come_back(),
            NodeEvent::Down(node) => self.membership.down(&mut self.context, &node),
        };
        self.apply_transitions(transitions);
    }

    /// A life that does not count has said something. If it may be the node soon, it is told what it asks for, and the
    /// channels that it speaks about are remembered.
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

    /// A node says who is there.
    fn take_state(&mut self, owner: &NodeId, state: ChannelState) {
        let key = state.channel.clone();
        let Some(changed) = self.channels.replace(&mut self.context, owner, state) else { return };
        self.members_changed(&key, changed);
        self.requests.listed(&mut self.context, &directory!(self), owner, &key);
    }

    /// A node asks who is here, and says who is there.
    fn state_request(&mut self, key: &ChannelKey, ext: Ext) {
        self.sync.owe_if_behind(&mut self.context, &self.channels, key, &ext);
        if let Some(own) = ext.own.filter(|own| own.channel == *key) {
            self.take_state(&ext.node, own);
        } else if let Some(version) = held(&ext.have, &ext.node)
            && self.channels.get(key).is_some()
        {
            self.expect(key, &ext.node, version);
        }
    }

    /// A node has this version of a channel, and is asked for it if another one is known here.
    fn expect(&mut self, key: &ChannelKey, node: &NodeId, version: u64) {
        let changed = self.channels.expect(key, node, version);
        self.members_changed(key, changed);
        self.sync.check_repair(&mut self.context, &self.channels, key, &node.name);
    }

    /// A node says what its users come to.
    fn compare(&mut self, key: &ChannelKey, ext: &Ext, digest: (u64, u64, u64)) {
        if !ext.have.is_empty() {
            self.sync.owe_if_behind(&mut self.context, &self.channels, key, ext);
        }
        let changed = self.channels.compare(&mut self.context, key, &ext.node, digest);
        self.members_changed(key, changed);
        self.sync.check_repair(&mut self.context, &self.channels, key, &ext.node.name);
    }

    /// A node tells of a change of one of its users.
    fn owner_change(&mut self, key: &ChannelKey, ext: &Ext, body: &Body) {
        let (Some(_), Some(versions)) = (self.channels.get(key), ext.change) else { return };
        let Some(change) = body.member_change() else { return };
        let user = change.user().clone();
        if matches!(change, MemberChange::Left { .. }) {
            self.interop.note_owner(&self.context, key, &user, false);
        }
        let changed = self.channels.apply(&mut self.context, key, ext, versions, change);
        self.members_changed(key, changed);
        // If changes before it are missing it changes nothing here, but the node has the user nevertheless.
        if self.interop.claim(key, &user) {
            self.view.touch(&mut self.context, key, [user]);
        }
        self.sync.check_repair(&mut self.context, &self.channels, key, &ext.node.name);
    }

    fn receive_foreign(&mut self, message: Envelope) {
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
            self.carry_out();
            self.interop.answer(&mut self.context, &self.channels, &key, &source);
        }
    }

    fn apply_foreign(&mut self, key: &ChannelKey, source: Arc<str>, translated: Translated) {
        let cx = &mut self.context;
        match translated {
            Translated::Changed(users) => self.view.touch(cx, key, users),
            Translated::Left(user) => {
                cx.effects.push(Effect::Foreign(key.clone(), user.clone(), ForeignUpdate::Left));
                self.requests.left(&mut self.context, &directory!(self), key, &user);
            }
            Translated::Command(user, command) => {
                self.commands.execute(cx, &self.channels, key, user, command, None);
            }
            Translated::Removal(user, command) => {
                self.commands.take_out(cx, &self.channels, key, user, command, None);
            }
            Translated::Lookup { user, request } => lookup(cx, &self.channels, key, &user, request, None),
            Translated::Found { user, request, entry } => {
                let holder = Holder { name: source, inbox: None };
                self.found(holder, &request, (&user, entry));
            }
        }
    }

    fn found(&mut self, holder: Holder, request: &str, user: (&str, Entry)) {
        self.requests.found(&mut self.context, &directory!(self), holder, request, user);
    }

    /// Has users looked at again that a node of ours has now, or not any more.
    fn members_changed(&mut self, key: &ChannelKey, changed: Changed) {
        for (user, has_user) in &changed {
            self.interop.note_owner(&self.context, key, user, *has_user);
        }
        self.view.touch(&mut self.context, key, changed.into_iter().map(|(user, _)| user));
    }

    fn all_changed(&mut self, changed: Vec<(ChannelKey, Changed)>) {
        changed.into_iter().for_each(|(key, changed)| self.members_changed(&key, changed));
    }

    fn touch_all(&mut self, changed: Vec<(ChannelKey, Vec<UserId>)>) {
        changed.into_iter().for_each(|(key, users)| self.view.touch(&mut self.context, &key, users));
    }

    /// Carries out the effects that components want, in their order. Those that concern another component lead to effects of
    /// that one, which come in their place.
    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.context.effects) {
            let cx = &mut self.context;
            match effect {
                Effect::Output(output) => self.outputs.push(output),
                Effect::Send(draft) => self.sender.send(*draft, cx, &mut self.outputs),
                Effect::Listen(key) => self.channels.listen(cx, &key),
                Effect::Announce(key) => self.interop.announce(cx, &self.channels, &key),
                Effect::Foreign(key, user, update) => {
                    if self.channels.get(&key).is_some() {
                        self.interop.update(cx, &key, &user, update);
                        self.view.touch(cx, &key, [user]);
                    }
                }
            }
            self.carry_out();
        }
    }

    fn report_excess(&mut self) {
        let limits = &mut self.context.limits;
        limits.count(Excess::Nodes, self.membership.take_refused());
        let counted = limits.take_counted();
        self.outputs.extend(counted.into_iter().map(|(what, times)| Output::Node(NodeOutput::Excess { what, times })));
    }
}
