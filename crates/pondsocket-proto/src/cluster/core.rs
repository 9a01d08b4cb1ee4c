use std::collections::BTreeMap;
use std::sync::Arc;

use super::asks::Asks;
use super::channel::{Channel, Life};
use super::commands::Commands;
use super::dedup::Recent;
use super::legacy::LegacyNodes;
use super::liveness::{Nodes, Turn};
use super::memory::Memory;
use super::message::{Envelope, NodeEvent};
use super::sync::Syncs;
use super::timers::{Echo, Timer, Timers};
use super::voice::Voice;
use super::{Answer, Bus, ChannelKey, Input, Lease, Local, NodeId, Output, Settings};
use crate::id::UserId;

/// One node of a cluster, without I/O.
///
/// Nothing happens by itself: whoever drives it calls [`handle`](Core::handle), one call at a time, and carries out what
/// it says in that order. There is no call to begin with: the first input, whatever it is, is answered by interest in
/// the topics that every node needs. Until [`Bus::Up`](super::Bus::Up) it publishes nothing.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: Settings,
    pub(super) voice: Voice,
    pub(super) timers: Timers,
    pub(super) nodes: Nodes,
    pub(super) legacy: LegacyNodes,
    pub(super) channels: BTreeMap<ChannelKey, Channel>,
    /// What is remembered of channels that are not in `channels`.
    memory: Memory,
    /// Not below any version that was said of a channel that is not in `channels`.
    pub(super) clock: u64,
    pub(super) recent: Recent,
    pub(super) syncs: Syncs,
    pub(super) asks: Asks,
    pub(super) commands: Commands,
    phase: Phase,
}

/// ```text
///          first input          Bus::Up            Bus::Down
///  ASLEEP ------------> ALONE ---------> LINKED <------------> CUT OFF      and STOPPED from each of them
///                                                   Bus::Up
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing has been said to it.
    Asleep,
    /// The bus was never there.
    Alone,
    /// The bus is there.
    Linked,
    /// The bus was there.
    CutOff,
    /// It has said goodbye.
    Stopped,
}

impl Core {
    /// A node that knows nobody. `seed` draws jitter and message ids, so it differs between nodes.
    pub fn new(settings: Settings, seed: u64) -> Core {
        Core {
            voice: Voice::new(&settings, seed),
            timers: Timers::default(),
            nodes: Nodes::new(&settings),
            legacy: LegacyNodes::new(settings.legacy_lifetime, settings.max_legacy_nodes),
            channels: BTreeMap::new(),
            memory: Memory::new(settings.remember, settings.max_memories),
            clock: 0,
            recent: Recent::new(settings.max_recent_messages, settings.max_recent_sources),
            syncs: Syncs::default(),
            asks: Asks::default(),
            commands: Commands::default(),
            phase: Phase::Asleep,
            settings,
        }
    }

    /// Takes one input; appends what is to be done to `out`. `now` is in milliseconds since 1970; if it goes back, it
    /// counts as not having moved.
    ///
    /// [`Output::View`] comes upon [`Input::Tick`] only, so [`Input::Opened`], [`Input::Local`] and [`Input::Closed`] may
    /// be given under a channel's lock. Each of these three is one call per channel, in the order in which it happened
    /// there.
    pub fn handle(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        if self.phase == Phase::Stopped {
            if let Input::Ask { id, .. } = input {
                out.push(Output::Answered { id, answer: Answer::Unavailable });
            }
            return;
        }
        self.voice.now = now.max(self.voice.now);
        if self.phase == Phase::Asleep {
            self.wake();
        }
        match input {
            Input::Opened { channel, instance } => self.open(channel, instance),
            Input::Closed { channel, instance } => self.close(&channel, instance),
            Input::Local { channel, change } => self.local(&channel, change),
            Input::Received { topic, message } => self.receive(&topic, *message),
            Input::Bus(event) => self.bus(event),
            Input::Lease(lease) => self.lease(&lease),
            Input::Ask { id, ask } => self.ask(id, ask),
            Input::Done { id, verdict } => self.done(id, verdict),
            Input::Tick => self.tick(),
            Input::Stop => self.stop(),
        }
        self.voice.take_outputs(out);
    }

    /// When it wants an [`Input::Tick`], at the latest. It may be in the past: then at once.
    pub fn deadline(&self) -> Option<u64> {
        self.timers.earliest()
    }

    pub(super) fn now(&self) -> u64 {
        self.voice.now
    }

    pub(super) fn me(&self) -> &NodeId {
        self.voice.node()
    }

    fn wake(&mut self) {
        self.phase = Phase::Alone;
        let topics = &self.settings.topics;
        let mut add = vec![topics.inbox(self.me()), topics.cluster()];
        if self.settings.interop {
            add.push(topics.heartbeat());
            self.timers.set(Timer::LegacyScan, self.now() + self.settings.legacy_scan);
            self.timers.set(Timer::Announce, self.now() + self.settings.announce);
        }
        self.voice.output(Output::Interest { add, remove: Vec::new() });
        self.timers.set(Timer::Beat, self.now() + self.settings.beat);
        self.timers.set(Timer::Sweep, self.now() + super::sync::SWEEP_STEP);
    }

    /// Everybody is told of everybody who goes, for nodes of other languages; ours need the goodbye only.
    fn stop(&mut self) {
        self.give_up_all();
        for (key, channel) in &mut self.channels {
            for told in channel.own.leave_all() {
                self.voice.tell(key, told);
            }
        }
        self.voice.announce(NodeEvent::Bye);
        self.timers.clear();
        self.phase = Phase::Stopped;
    }

    fn tick(&mut self) {
        while let Some((due, timer)) = self.timers.take(self.now()) {
            match timer {
                Timer::Beat => self.beat(due),
                Timer::Heartbeat => self.heartbeat(),
                Timer::LegacyScan => self.scan_legacy(),
                Timer::Announce => self.announce_all(),
                Timer::Sync => self.ask_for_states(),
                Timer::Answer => self.answer_states(),
                Timer::Repair(owner) => self.ask_for_repair(&owner),
                Timer::View(channel) => self.show(channel),
                Timer::Digest(channel, _) => self.say_digest(&channel),
                Timer::Sweep => self.sweep(),
                Timer::Linger(channel) => self.leave(&channel),
                Timer::Ask(id) => self.give_up(id),
            }
        }
    }

    fn open(&mut self, key: ChannelKey, instance: u64) {
        let channel = self.visit(&key);
        let told = channel.own.leave_all();
        channel.life = Life::Open { instance };
        channel.display.clear();
        let subscribed = channel.subscribed;
        self.tell(&key, told);
        self.timers.stop(&Timer::Linger(key.clone()));
        self.look_again(&key);
        if subscribed {
            self.want_state(key);
        }
    }

    fn close(&mut self, key: &ChannelKey, instance: u64) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        if channel.life != (Life::Open { instance }) {
            return;
        }
        let told = channel.own.leave_all();
        channel.life = Life::Lingering;
        self.tell(key, told);
        self.timers.set(Timer::Linger(key.clone()), self.now() + self.settings.linger);
    }

    fn local(&mut self, key: &ChannelKey, change: Local) {
        let now = self.now();
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.is_open()) else { return };
        let user = change.user().clone();
        match change {
            Local::Joined { .. } => channel.guests.unlist(&user),
            Local::Left { .. } => {
                channel.guests.note_leaving(&user, now + self.settings.leaver_memory, self.settings.max_leavers)
            }
            _ => {}
        }
        let told = channel.own.change(change, now);
        if channel.is_elsewhere(&user) {
            self.changed(key, [user]);
        }
        self.tell(key, told);
    }

    /// Says what has changed here.
    fn tell(&mut self, key: &ChannelKey, told: Vec<super::own::Told>) {
        if told.is_empty() {
            return;
        }
        for told in told {
            self.voice.tell(key, told);
        }
        for (echo, after) in [Echo::Soon, Echo::Late].into_iter().zip(self.settings.digests) {
            self.timers.set(Timer::Digest(key.clone(), echo), self.now() + after);
        }
    }

    /// A channel, listened to from now on if it was not. With nobody here it is left again after a while.
    pub(super) fn visit(&mut self, key: &ChannelKey) -> &mut Channel {
        if !self.channels.contains_key(key) {
            let channel = Channel::new(self.clock, self.memory.recall(key));
            self.channels.insert(key.clone(), channel);
            self.voice.output(Output::Interest { add: vec![self.settings.topics.channel(key)], remove: Vec::new() });
        }
        let channel = self.channels.get_mut(key).expect("just put there, if it was not");
        if !channel.is_open() {
            self.timers.set(Timer::Linger(key.clone()), self.voice.now + self.settings.linger);
        }
        channel
    }

    fn leave(&mut self, key: &ChannelKey) {
        if self.channels.get(key).is_none_or(Channel::is_open) {
            return;
        }
        if let Some(channel) = self.channels.remove(key) {
            self.clock = self.clock.max(channel.own.version());
            self.memory.keep(key.clone(), channel.records, self.voice.now);
            let topic = self.settings.topics.channel(key);
            self.voice.output(Output::Interest { add: Vec::new(), remove: vec![topic] });
        }
    }

    /// These users have to be looked at again.
    pub(super) fn changed(&mut self, key: &ChannelKey, users: impl IntoIterator<Item = UserId>) {
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.is_open()) else { return };
        let mut users = users.into_iter().peekable();
        if users.peek().is_some() {
            channel.display.touch(users);
            self.look_again(key);
        }
    }

    fn look_again(&mut self, key: &ChannelKey) {
        self.timers.start(Timer::View(key.clone()), self.now() + self.settings.coalesce);
    }

    fn show(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let Life::Open { instance } = channel.life else { return };
        let changes = channel.refresh(&self.nodes, &self.settings.node.name);
        if !changes.is_empty() {
            self.voice.output(Output::View { channel: key, instance, changes });
        }
    }

    fn bus(&mut self, event: Bus) {
        match event {
            Bus::Up => self.link(),
            Bus::Down => self.cut_off(),
            Bus::Subscribed(topics) => self.subscribed(&topics),
            Bus::Gap(topics) => self.missed(&topics),
            Bus::GapAll => self.want_all_states(),
        }
    }

    fn link(&mut self) {
        if self.phase == Phase::CutOff {
            self.nodes.doubt(self.now());
            self.legacy.excuse(self.now());
        }
        self.phase = Phase::Linked;
        self.voice.is_up = true;
        self.unsubscribe_all();
        self.nodes.linked(self.voice.now);
        self.heartbeat();
    }

    fn cut_off(&mut self) {
        if self.phase == Phase::Linked {
            self.phase = Phase::CutOff;
        }
        self.voice.is_up = false;
        self.unsubscribe_all();
    }

    /// Whether the others can be heard, so that their silence says something.
    fn is_linked(&self) -> bool {
        self.phase == Phase::Linked
    }

    fn lease(&mut self, lease: &Lease) {
        if !self.is_linked() {
            return;
        }
        let turns = self.nodes.lease(lease, self.now());
        for turn in &turns {
            if let Turn::Down(id) = turn
                && lease.expired.contains(id)
            {
                self.voice.announce(NodeEvent::Down(id.clone()));
            }
        }
        self.turn(turns);
        if lease.was_expired {
            self.come_back();
        }
    }

    /// Others may have taken this node for dead.
    pub(super) fn come_back(&mut self) {
        self.voice.announce(NodeEvent::Hello);
        self.want_all_states();
    }

    fn beat(&mut self, due: u64) {
        let now = self.now();
        if now > due + self.settings.lifetime / 2 {
            // It was asleep: what others said meanwhile is yet to be heard.
            self.nodes.doubt(now);
        }
        if self.nodes.beats() {
            self.voice.announce(NodeEvent::Hello);
        }
        if self.is_linked() {
            let turns = self.nodes.judge(now);
            self.turn(turns);
        }
        let turns = self.nodes.age(now);
        self.turn(turns);
        self.memory.age(now);
        let next = now + self.voice.random.about(self.settings.beat);
        self.timers.set(Timer::Beat, next);
    }

    fn heartbeat(&mut self) {
        if self.settings.interop {
            self.voice.heartbeat();
            self.timers.set(Timer::Heartbeat, self.now() + self.settings.heartbeat);
        }
    }

    /// Acts upon what is thought of nodes otherwise than before.
    pub(super) fn turn(&mut self, turns: Vec<Turn>) {
        for turn in turns {
            match turn {
                Turn::Up(id) => {
                    self.voice.output(Output::NodeUp(id.name.clone()));
                    self.look_again_for(&id.name);
                    self.mend(&id.name);
                }
                Turn::Down(id) => {
                    self.voice.output(Output::NodeDown(id.name.clone()));
                    self.look_again_for(&id.name);
                }
                Turn::Reborn(id) => self.with_records(&id.name, |record| record.supersede(id.incarnation)),
                Turn::Forgotten(name) => self.forget(&name),
                Turn::Dropped(name) => {
                    for channel in self.channels.values_mut() {
                        channel.records.remove(&name);
                    }
                }
            }
        }
    }

    /// Drops the users of a node that has been gone for long.
    fn forget(&mut self, name: &Arc<str>) {
        let (until, most) = (self.now() + self.settings.leaver_memory, self.settings.max_leavers);
        for channel in self.channels.values_mut() {
            if let Some(record) = channel.records.get_mut(name) {
                record.forget().iter().for_each(|user| channel.guests.note_leaving(user, until, most));
            }
        }
    }

    /// Changes all that a node has said, and looks again at those users that it changes.
    fn with_records(&mut self, name: &Arc<str>, change: impl Fn(&mut super::record::Record) -> Vec<UserId>) {
        let mut changed = Vec::new();
        for (key, channel) in &mut self.channels {
            if let Some(record) = channel.records.get_mut(name) {
                changed.push((key.clone(), change(record)));
            }
        }
        for (key, users) in changed {
            self.changed(&key, users);
        }
    }

    /// A node lives, or does not: its users have to be looked at again.
    fn look_again_for(&mut self, name: &Arc<str>) {
        let users = |channel: &Channel| -> Option<Vec<UserId>> {
            Some(channel.records.get(name)?.iter().map(|(user, _)| user.clone()).collect())
        };
        let touched: Vec<_> =
            self.channels.iter().filter_map(|(key, channel)| Some((key.clone(), users(channel)?))).collect();
        for (key, users) in touched {
            self.changed(&key, users);
        }
    }

    fn receive(&mut self, topic: &str, message: Envelope) {
        let is_own = message.source == *self.voice.source();
        if is_own || !self.fits(topic, &message) || !self.recent.is_new(&message.source, &message.id) {
            return;
        }
        match &message.ext {
            Some(ext) if ext.node.name == self.me().name => {}
            Some(_) => self.receive_ours(message),
            None if self.settings.interop => self.receive_legacy(message),
            None => {}
        }
    }

    /// Names with colons make topics ambiguous, so what a message says counts. One of ours may also come to the inbox,
    /// whatever it is about.
    fn fits(&self, topic: &str, message: &Envelope) -> bool {
        let is_for_us = message.ext.is_some() && topic == self.settings.topics.inbox(self.me());
        is_for_us || message.channel.as_ref().is_none_or(|key| self.settings.topics.is_channel(topic, key))
    }

    /// The channels whose topics these are, and whether our inbox is among them.
    pub(super) fn channels_of(&self, topics: &[String]) -> (Vec<ChannelKey>, bool) {
        let named = &self.settings.topics;
        let keys = topics.iter().flat_map(|topic| named.readings(topic)).filter(|key| self.channels.contains_key(key));
        (keys.collect(), topics.contains(&named.inbox(self.me())))
    }
}
