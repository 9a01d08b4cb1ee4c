use super::context::{Context, Effect, Phase};
use super::dedup::Recent;
use super::directory::Directory;
use super::interop::Interop;
use super::io::{Bus, Excess};
use super::membership::{NodeMembership, NodeTransition};
use super::message::NodeEvent;
use super::orphans::{Orphan, Orphans};
use super::random::Random;
use super::remote_view::RemoteView;
use super::removals::Removals;
use super::replication::sync::publish_digest;
use super::replication::{Changed, Channels, Entry, Sync};
use super::requests::{Commands, Requests};
use super::sender::Sender;
use super::time::Time;
use super::timers::Timer;
use super::{Answer, ChannelKey, Command, Input, Lease, NodeId, NodeOutput, Output, Settings, Topic};
use crate::id::UserId;
use crate::model::MemberChange;

/// A directory of the users of other nodes. It is a macro because a method would borrow the whole core, and the callers
/// need `context` and a component mutably at the same time.
macro_rules! directory {
    ($core:expr) => {
        Directory::new(&$core.channels, &$core.membership, &$core.interop, &$core.orphans)
    };
}

// Behind the macro, which it uses.
mod received;

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
    orphans: Orphans,
    removals: Removals,
    recent: Recent,
    sender: Sender,
    outputs: Vec<Output>,
    time: Time,
    /// The time since which no message of a foreign node has come or can have been lost; `None` while heartbeats are not
    /// received.
    foreign_silence: Option<u64>,
    /// True if the node is about to stop.
    is_stopping: bool,
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
            is_stopping: false,
            orphans: Orphans::default(),
            removals: Removals::default(),
            context: Context::new(settings, of_context),
        }
    }

    /// Handles one input and appends the resulting outputs to `out`. `now` is in milliseconds since 1970. If it goes
    /// back, no time has passed, and time continues from there. The clocks of other nodes are never compared with it.
    ///
    /// No [`NodeOutput::RemoteMembers`] follows [`Input::Opened`], [`Input::Local`] and [`Input::Closed`], so these may be
    /// given under a channel's lock. The calls for one channel have to be in the order in
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
            Input::Opened { .. }
                | Input::Expected { .. }
                | Input::Local { .. }
                | Input::Moved { .. }
                | Input::Closed { .. }
        );
        match input {
            Input::Incarnation(incarnation) => self.adopt(incarnation),
            Input::Opened { channel, instance, grace, in_order } => self.open(&channel, (instance, in_order), grace),
            Input::Expected { channel } => self.channels.listen(&mut self.context, &channel),
            Input::Closed { channel, instance } => self.close(&channel, instance),
            Input::Local { channel, change } => self.change_local(&channel, change),
            Input::Moved { channel, user } => {
                let cx = &mut self.context;
                cx.timers.set(Timer::Moved(channel, user), cx.now + cx.settings.handover);
            }
            Input::Received { topic, message } => self.receive(&topic, *message),
            Input::Bus(event) => self.bus(event),
            Input::Lease(lease) => self.lease(&lease),
            Input::Request { id, request } => {
                self.requests.start(&mut self.context, &directory!(self), id, request);
            }
            Input::Done { id, verdict } => self.commands.done(&mut self.context, id, verdict),
            Input::Tick => self.tick(),
            Input::Stopping => self.is_stopping = true,
            Input::Stop => self.stop(),
        }
        self.carry_out();
        if may_report {
            self.report_excess();
        }
        out.append(&mut self.outputs);
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
        self.channels.leave_all(&mut self.context, |key| self.orphans.has_grace(key));
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
                Timer::Losses => self.sync.repair_losses(cx, &self.channels),
                Timer::Sync => self.sync.ask_for_states(cx, &mut self.channels),
                Timer::Answer => self.sync.answer_states(cx, &self.channels),
                Timer::Repair(owner) => {
                    // The node may have died or been replaced since the timer was set.
                    let living = self.membership.living(&owner);
                    self.sync.ask_for_repair(cx, &self.channels, &owner, living);
                }
                Timer::View(channel) => {
                    self.view.refresh_due(&mut self.context, &directory!(self), channel);
                }
                Timer::Views => {
                    self.view.refresh_waiting(&mut self.context, &directory!(self));
                }
                Timer::Moved(channel, user) => self.publish_local(&channel, MemberChange::Left { user }),
                Timer::Orphans(channel) => {
                    let due = self.orphans.take_due(cx, &channel);
                    if !due.is_empty() {
                        self.end_orphans(&channel, due, None);
                    }
                }
                Timer::Digest(channel, _) => publish_digest(cx, &self.channels, &channel),
                Timer::Sweep => self.sync.sweep(cx, &mut self.channels),
                Timer::Linger(channel) => {
                    if self.channels.leave(cx, &channel) {
                        self.interop.leave(&channel);
                    }
                }
                Timer::Request(id) => {
                    self.requests.timed_out(&mut self.context, &directory!(self), id);
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
                let keys = if inbox { self.channels.all().cloned().collect() } else { keys };
                self.sync.note_losses(&mut self.context, &mut self.channels, keys);
            }
            Bus::GapAll => {
                let keys = self.channels.all().cloned().collect();
                self.sync.note_losses(&mut self.context, &mut self.channels, keys);
            }
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
        self.removals.expire(self.context.now.saturating_sub(self.context.settings.remember));
    }

    /// Shows, hides or drops the users of nodes whose state has changed.
    fn apply_transitions(&mut self, transitions: Vec<NodeTransition>) {
        for transition in transitions {
            match transition {
                NodeTransition::Up(node) => {
                    self.context.output(NodeOutput::NodeUp(node.name.clone()));
                    self.catch_up(&node);
                    let given_back = self.orphans.give_back(&node);
                    self.touch_all(given_back);
                    let users = self.channels.users_of(&node.name);
                    users.iter().for_each(|(key, users)| self.settle_orphans(key, users));
                    self.touch_all(users);
                    // Repairs stop while the owner is down; what is still missing is requested now.
                    self.sync.check_repairs_of(&mut self.context, &self.channels, &node.name);
                }
                NodeTransition::Down(node) => {
                    self.context.output(NodeOutput::NodeDown(node.name.clone()));
                    self.adopt_users(&node);
                    for key in self.channels.channels_of(&node.name) {
                        self.view.touch_node(&mut self.context, key, &node.name);
                    }
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
            // Behind the adoption of the users of a node that has gone, among which are those that are to be removed.
            self.requests.nodes_changed(&mut self.context, &directory!(self));
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

    /// Takes over the users of a node that has gone, in the channels with a presence grace. Users that are on other nodes,
    /// too, are shown as members of those.
    fn adopt_users(&mut self, node: &NodeId) {
        let has_died = !self.membership.has_left(node);
        for (key, users) in self.channels.entries_of(node, |key| self.orphans.has_grace(key)) {
            let directory = directory!(self);
            let users: Vec<_> = users.into_iter().filter(|(user, _)| !directory.is_present(&key, user)).collect();
            let heirs = has_died.then(|| directory.nodes_in(&key));
            let removal = |(user, entry): &(UserId, Entry)| {
                let command = self.removals.command(&key, user, node, entry)?;
                Some((user.clone(), command.clone()))
            };
            let removed: Vec<_> = users.iter().filter_map(removal).collect();
            self.orphans.adopt(&mut self.context, &key, node, users, heirs);
            removed.into_iter().for_each(|(user, command)| self.remove_orphan(&key, user, command));
        }
    }

    /// Removes a user whose node has gone, or may have gone, by a command that this node cannot execute any more. The others
    /// are not told: each gets the command itself.
    fn remove_orphan(&mut self, key: &ChannelKey, user: UserId, command: Command) {
        if !self.orphans.has_grace(key) {
            return;
        }
        let known = self.channels.joins_of(key, &user);
        let orphan = self.orphans.take(key, &user);
        let of_orphan = orphan.iter().map(|orphan| (orphan.node.clone(), orphan.entry.joined));
        for join in known.into_iter().chain(of_orphan) {
            self.removals.note(&self.context, key, &user, join, &command);
        }
        let Some(orphan) = orphan else { return };
        if let Command::Evict { reason } = &command {
            // Ahead of the leave, as members see the eviction of a user of this node.
            let message = self.context.eviction(&user, reason);
            self.context.output(NodeOutput::Deliver { channel: key.clone(), message });
        }
        self.end_orphans(key, vec![(user, orphan)], Some(&command));
    }

    /// Ends the grace of orphans: they have not come back, or a command has removed them.
    fn end_orphans(&mut self, key: &ChannelKey, ended: Vec<(UserId, Orphan)>, removed_by: Option<&Command>) {
        self.view.touch(&mut self.context, key, ended.iter().map(|(user, _)| user.clone()));
        // At once, so that their leave handlers find the channel without them.
        self.view.refresh(&mut self.context, &directory!(self), key.clone());
        let present = directory!(self).nodes_in(key);
        for (user, orphan) in ended {
            if orphan.is_inherited_by(&self.me().name, key, &user, &present) {
                let (channel, member, removed_by) = (key.clone(), orphan.into_member(), removed_by.cloned());
                self.context.output(NodeOutput::Orphaned { channel, user, member, removed_by });
            }
        }
    }

    /// Notes a change of users: an orphan that a live node has is none any more, and neither is one that its own node had
    /// lost before it went.
    fn settle_orphans<'a>(&mut self, key: &ChannelKey, users: impl IntoIterator<Item = &'a UserId>) {
        for user in users {
            let Some(orphan) = self.orphans.get(key, user) else { continue };
            if directory!(self).is_present(key, user) || self.channels.has_lost(key, &orphan.node, user) {
                self.orphans.remove(key, user);
            }
        }
    }

    fn open(&mut self, key: &ChannelKey, (instance, in_order): (u64, bool), grace: u64) {
        let left = self.channels.open(&mut self.context, key, instance);
        // They have left this node: for a while no list of a foreign node restores them.
        left.iter().for_each(|user| self.interop.note_owner(&self.context, key, user, false));
        self.orphans.open(&mut self.context, key, grace);
        self.view.open(&mut self.context, key, (instance, in_order));
        if self.channels.is_subscribed(key) {
            self.sync.want_state(&mut self.context, &self.channels, key);
        }
    }

    fn close(&mut self, key: &ChannelKey, instance: u64) {
        if self.is_stopping && self.orphans.has_grace(key) {
            // Its users are published until the `Bye`.
            return;
        }
        if let Some(left) = self.channels.close(&mut self.context, key, instance) {
            left.iter().for_each(|user| self.interop.note_owner(&self.context, key, user, false));
            self.view.close(&self.context, key);
            self.orphans.close(&mut self.context, key);
        }
    }

    fn change_local(&mut self, key: &ChannelKey, change: MemberChange) {
        if !self.channels.is_open(key) {
            return;
        }
        // A user that has moved, and is back already, or is evicted nevertheless.
        self.context.timers.stop(&Timer::Moved(key.clone(), change.user().clone()));
        self.publish_local(key, change);
    }

    fn publish_local(&mut self, key: &ChannelKey, change: MemberChange) {
        let user = change.user().clone();
        match change {
            MemberChange::Joined { .. } => self.interop.note_owner(&self.context, key, &user, true),
            MemberChange::Left { .. } => self.interop.note_owner(&self.context, key, &user, false),
            MemberChange::Presence { .. } | MemberChange::Assigns { .. } => {}
        }
        self.channels.change_local(&mut self.context, key, change);
        // The shown member is united from all entries of the user, this node's included, so a local change can alter
        // it.
        let was_orphan = self.channels.is_local(key, &user) && self.orphans.remove(key, &user);
        let is_remote = was_orphan || self.channels.get(key).is_some_and(|channel| channel.is_remote(&user));
        if is_remote || self.interop.get(key, &user).is_some() {
            self.view.touch(&mut self.context, key, [user]);
        }
    }

    /// Handles a change of users that their own node has published.
    fn members_changed(&mut self, key: &ChannelKey, changed: Changed) {
        self.settle_orphans(key, changed.iter().map(|(user, _)| user));
        self.note_changed(key, changed);
    }

    /// Marks users for the next refresh of the remote view, after a node of our kind has gained or lost them.
    fn note_changed(&mut self, key: &ChannelKey, changed: Changed) {
        for (user, has_user) in &changed {
            self.interop.note_owner(&self.context, key, user, *has_user);
        }
        self.view.touch(&mut self.context, key, changed.into_iter().map(|(user, _)| user));
    }

    fn all_changed(&mut self, changed: Vec<(ChannelKey, Changed)>) {
        changed.into_iter().for_each(|(key, changed)| self.note_changed(&key, changed));
    }

    fn touch_all(&mut self, changed: Vec<(ChannelKey, Vec<UserId>)>) {
        changed.into_iter().for_each(|(key, users)| self.view.touch(&mut self.context, &key, users));
    }

    /// Executes the effects of components, in their order. Effects of one component on another can cause further
    /// effects. The recursion executes these before the next effect of the list, so that outputs stay in causal order.
    /// It ends because only `Listen`, `Announce`, `Foreign` and `RemoveOrphan` cause others, and those are `Output` and
    /// `Send`, which cause none.
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
                Effect::RemoveOrphan(key, user, command) => self.remove_orphan(&key, user, command),
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
