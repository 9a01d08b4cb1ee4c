use std::sync::Arc;

use super::context::{Context, Effect, ForeignUpdate, Phase};
use super::dedup::Recent;
use super::directory::{Directory, Holder};
use super::interop::{Interop, Translated};
use super::io::{Bus, Excess};
use super::membership::{NodeMembership, NodeTransition};
use super::message::{Body, ChannelState, Envelope, Ext, NodeEvent, ReceivedMessage};
use super::random::Random;
use super::remote_view::RemoteView;
use super::replication::sync::{held, publish_digest};
use super::replication::{Changed, Channels, Entry, Sync};
use super::requests::{Commands, Requests, lookup};
use super::sender::Sender;
use super::time::Time;
use super::timers::Timer;
use super::{Admission, Answer, ChannelKey, Input, Lease, NodeId, NodeOutput, Output, Settings, Topic};
use crate::id::{UserId, is_reserved_event};
use crate::model::{MemberChange, UserMessage};

/// A directory of the users of other nodes. It is a macro because a method would borrow the whole core, and the callers
/// need `context` and a component mutably at the same time.
macro_rules! directory {
    ($core:expr) => {
        Directory::new(&$core.channels, &$core.membership, &$core.interop)
    };
}

/// One node of a cluster, without I/O.
///
/// The core is passive: its driver calls [`handle`](Core::handle), one call at a time, and executes the outputs in
/// their order. There is no start call: the first input of any kind leads to subscriptions of the topics that every
/// node needs. Until [`Bus::Up`](super::Bus::Up) the core publishes nothing. It requests no state of a channel before
/// [`Bus::Subscribed`](super::Bus::Subscribed) has named both its inbox and the channel's topic, because the answers
/// would be lost.
///
/// The core itself only routes: inputs to the components that they concern, results of one component to the others, and
/// effects to the outputs.
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
    /// The time since which no message of a foreign node has come or can have been lost; `None` while heartbeats are not
    /// received.
    foreign_silence: Option<u64>,
}

impl Core {
    /// Creates a node that knows no other. Jitter and message ids are drawn from `seed`, so it has to differ between
    /// nodes.
    pub fn new(settings: Settings, seed: u64) -> Core {
        let mut random = Random::new(seed);
        // The ids of messages have a sequence of their own: the number of messages sent must not change jitter and the
        // ids of requests, or a simulated schedule would change with every added message.
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
            foreign_silence: None,
            context: Context::new(settings, of_context),
        }
    }

    /// Handles one input and appends the resulting outputs to `out`. `now` is in milliseconds since 1970. If it goes
    /// back, no time has passed, and time continues from there. The clocks of other nodes are never compared with it.
    ///
    /// [`NodeOutput::RemoteMembers`] follows [`Input::Tick`] only, so [`Input::Opened`], [`Input::Local`] and
    /// [`Input::Closed`] may be given under a channel's lock. The calls for one channel have to be in the order in
    /// which its members changed, since each change gets the next version.
    pub fn handle(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        if self.context.phase == Phase::Stopped {
            // The caller still waits for an answer, and no timer would give one any more.
            if let Input::Request { id, .. } = input {
                out.push(Output::Node(NodeOutput::Answered { id, answer: Answer::Unavailable }));
            }
            return;
        }
        self.context.now = self.time.read(now);
        if self.context.phase == Phase::NotStarted {
            self.wake();
        }
        // These inputs come under a channel's lock, where only outputs for the bus are executed at once. A report of
        // excess waits for the next other input.
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

    /// Handles a message for users that was read without copies. There are no outputs: the caller delivers the message
    /// to the channel, if that is open.
    pub fn admit(&mut self, topic: &Topic, message: &ReceivedMessage<'_>, now: u64) -> Admission {
        let is_running = matches!(self.context.phase, Phase::Connected | Phase::Disconnected);
        let is_own = message.source == &**self.sender.source();
        let fits = self.context.settings.topics.is_of_channel(topic, message.endpoint, message.channel);
        if !is_running || is_own || !fits {
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

    /// The time by which the core needs an [`Input::Tick`], by the clock of the last input. A time in the past means at
    /// once.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.time.by_clock(self.context.timers.earliest()?))
    }

    /// Returns whether the bus delivers the topic of a channel to this node.
    pub fn is_subscribed(&self, channel: &ChannelKey) -> bool {
        self.channels.is_subscribed(channel)
    }

    /// Returns whether messages for users may have the short form, which foreign nodes do not read: there are none, or
    /// none that is alive would have been silent for so long.
    pub fn may_shorten(&self) -> bool {
        let is_quiet = |since: u64| self.context.now.saturating_sub(since) >= self.context.settings.foreign_lifetime;
        !self.context.settings.interop || self.foreign_silence.is_some_and(is_quiet)
    }

    fn me(&self) -> &NodeId {
        self.context.me()
    }

    /// Subscribes to the topics that every node needs, and starts the timers.
    fn wake(&mut self) {
        self.context.phase = Phase::NeverConnected;
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

    /// Sets the incarnation that the table of leases has assigned to this node, unless the node has already published
    /// under another one.
    fn adopt(&mut self, incarnation: u64) {
        // After the first `Up` other nodes may know the number; a second one would be another node to them.
        if !matches!(self.context.phase, Phase::NotStarted | Phase::NeverConnected)
            || incarnation == self.me().incarnation
        {
            return;
        }
        let cx = &mut self.context;
        let before = cx.settings.topics.inbox(cx.me());
        cx.settings.node.incarnation = incarnation;
        self.sender.adopt(cx.me());
        let inbox = cx.settings.topics.inbox(cx.me());
        cx.output(Output::UpdateSubscriptions { add: vec![inbox], remove: vec![before] });
    }

    /// Announces the end of this node. Nodes of our kind hide all its users at its `Bye`. Foreign nodes do not know
    /// that message and need one for each user that leaves.
    fn stop(&mut self) {
        self.requests.give_up_all(&mut self.context, &directory!(self));
        self.channels.leave_all(&mut self.context);
        // Last, because a node that stops publishes nothing after its `Bye`.
        self.context.announce(NodeEvent::Bye);
        self.carry_out();
        self.context.timers.clear();
        self.context.phase = Phase::Stopped;
    }

    fn tick(&mut self) {
        self.carry_out();
        // A timer that is set to `now` meanwhile expires in the same tick.
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
                    // The node may have died or been replaced since the timer was set.
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
        let heartbeats = self.context.settings.topics.heartbeat();
        match &event {
            Bus::Up | Bus::Down => self.foreign_silence = None,
            Bus::Subscribed(topics) if topics.contains(&heartbeats) => self.foreign_silence = Some(self.context.now),
            // A heartbeat may be among the lost messages.
            Bus::Gap(_) | Bus::GapAll => self.foreign_silence = self.foreign_silence.map(|_| self.context.now),
            Bus::Subscribed(_) => {}
        }
        let cx = &mut self.context;
        match event {
            Bus::Up => {
                let again = cx.phase == Phase::Disconnected;
                // The silence of all nodes during the outage was that of the bus.
                if again {
                    self.interop.suspend_detection(cx.now);
                }
                cx.phase = Phase::Connected;
                // A session begins without subscriptions (docs/cluster-bus.md): `Subscribed` follows for each topic.
                self.sync.unsubscribe(&mut self.channels);
                self.membership.link(cx, again);
                Interop::heartbeat(cx);
            }
            Bus::Down => {
                // A bus that was never up stays `NeverConnected`: its first `Up` is then no recovery.
                if cx.phase == Phase::Connected {
                    cx.phase = Phase::Disconnected;
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
                // A message lost from the inbox may have concerned any channel.
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
        // The table and the bus may fail apart. While no messages arrive, an old answer must not hide or show nodes.
        if !self.context.is_connected() {
            return;
        }
        let transitions = self.membership.lease(&mut self.context, lease);
        self.apply_transitions(transitions);
        if lease.was_expired {
            self.come_back();
        }
    }

    /// Publishes `Hello`, since other nodes may have hidden this one, and requests all states, since it may have missed
    /// messages. The requests contain the users of this node.
    fn come_back(&mut self) {
        self.context.announce(NodeEvent::Hello);
        self.sync.want_all_states(&mut self.context, &self.channels);
    }

    fn beat(&mut self, due: u64) {
        let beat = self.membership.beat(&mut self.context, due);
        if beat.was_asleep {
            self.interop.suspend_detection(self.context.now);
            self.sync.want_all_states(&mut self.context, &self.channels);
        }
        self.apply_transitions(beat.transitions);
        self.channels.expire_tombstones(self.context.now);
    }

    /// Shows, hides or drops the users of nodes whose state has changed.
    fn apply_transitions(&mut self, transitions: Vec<NodeTransition>) {
        for transition in transitions {
            match transition {
                NodeTransition::Up(node) => {
                    self.context.output(NodeOutput::NodeUp(node.name.clone()));
                    self.catch_up(&node);
                    self.touch_all(self.channels.users_of(&node.name));
                    // Repairs stop while the owner is down; what is still missing is requested now.
                    self.sync.check_repairs_of(&mut self.context, &self.channels, &node.name);
                }
                NodeTransition::Down(node) => {
                    self.context.output(NodeOutput::NodeDown(node.name.clone()));
                    self.touch_all(self.channels.users_of(&node.name));
                }
                NodeTransition::Replaced(node) => {
                    let changed = self.channels.replace_incarnation(&node);
                    self.all_changed(changed)
                }
                // The records become doubtful, so the users are requested if the node comes back.
                NodeTransition::Expired(name) => {
                    let changed = self.channels.expire_users(&name);
                    self.all_changed(changed)
                }
                NodeTransition::Dropped(name) => self.channels.drop_node(&name),
                // Handled by `NodeMembership`; it concerns no users.
                NodeTransition::Contested(_) => {}
            }
        }
    }

    /// Requests the users of a node that is valid from now on, in the channels in which its earlier messages were not
    /// applied.
    fn catch_up(&mut self, node: &NodeId) {
        let Some(missed) = self.membership.take_missed(&node.name) else { return };
        let all = missed.more.then(|| self.channels.keys().cloned().collect());
        for key in all.unwrap_or(missed.channels) {
            if self.channels.get(&key).is_some() {
                // Version 0 claims nothing: it only makes the unknown record doubtful, so that its owner is queried.
                self.expect(&key, node, 0);
            }
        }
    }

    fn open(&mut self, key: &ChannelKey, instance: u64) {
        let left = self.channels.open(&mut self.context, key, instance);
        // They have left this node: for a while no list of a foreign node restores them.
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
        // The shown member is united from all entries of the user, this node's included, so a local change can alter
        // it.
        let is_remote = self.channels.get(key).is_some_and(|channel| channel.is_remote(&user));
        if is_remote || self.interop.get(key, &user).is_some() {
            self.view.touch(&mut self.context, key, [user]);
        }
    }

    fn receive(&mut self, topic: &Topic, message: Envelope) {
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

    /// Delivers a message to the users here. Reserved events are dropped: some foreign nodes also publish
    /// acknowledgements, answers and evictions, and clients here would take them for those of this server.
    fn deliver(&mut self, channel: ChannelKey, message: UserMessage) {
        if !is_reserved_event(&message.event) && self.channels.is_open(&channel) {
            self.context.output(NodeOutput::Deliver { channel, message });
        }
    }

    fn node_event(&mut self, from: &NodeId, event: NodeEvent) {
        let transitions = match event {
            // The caller has passed it to the membership before, as the sign of liveness that it is.
            NodeEvent::Hello => return,
            NodeEvent::Bye => self.membership.leave(&mut self.context, from),
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
    }

    /// Notes that a node has this version of a channel, and requests its users if another version is known here.
    fn expect(&mut self, key: &ChannelKey, node: &NodeId, version: u64) {
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
            Translated::Changed(users) => self.view.touch(cx, key, users),
            Translated::Left(user) => {
                cx.effects.push(Effect::Foreign(key.clone(), user.clone(), ForeignUpdate::Left));
                self.requests.left(&mut self.context, &directory!(self), key, &user);
            }
            Translated::Command(user, command) => {
                self.commands.execute(cx, &self.channels, key, user, command, None);
            }
            Translated::Removal(user, command) => {
                self.commands.remove_user(cx, &self.channels, key, user, command, None);
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

    /// Marks users for the next refresh of the remote view, after a node of our kind has gained or lost them.
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

    /// Executes the effects of components, in their order. Effects of one component on another can cause further
    /// effects. The recursion executes these before the next effect of the list, so that outputs stay in causal order.
    /// It ends because only `Listen`, `Announce` and `Foreign` cause others, and those are `Output` and `Send`, which
    /// cause none.
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
        // The liveness counts by itself, because it has no context.
        limits.count(Excess::Nodes, self.membership.take_refused());
        let counted = limits.take_counted();
        self.outputs.extend(counted.into_iter().map(|(what, times)| Output::Node(NodeOutput::Excess { what, times })));
    }
}
