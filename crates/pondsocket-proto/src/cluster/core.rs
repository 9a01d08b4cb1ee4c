use std::collections::BTreeMap;

use super::asks::Asks;
use super::channel::Channel;
use super::commands::Commands;
use super::contested::Contested;
use super::dedup::Recent;
use super::excess::{Excess, Limits};
use super::legacy::LegacyNodes;
use super::liveness::Nodes;
use super::memory::Memory;
use super::message::{Envelope, NodeEvent};
use super::sync::Syncs;
use super::timers::{Timer, Timers};
use super::twins::Twins;
use super::voice::Voice;
use super::{Answer, Bus, ChannelKey, Input, NodeId, Output, Settings};

/// One node of a cluster, without I/O.
///
/// Nothing happens by itself: whoever drives it calls [`handle`](Core::handle), one call at a time, and carries out what
/// it says in that order. There is no call to begin with: the first input, whatever it is, is answered by interest in
/// the topics that every node needs. Until [`Bus::Up`](super::Bus::Up) it publishes nothing, and it asks for nothing
/// before [`Bus::Subscribed`](super::Bus::Subscribed) has named both its inbox and the topic that is asked on.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: Settings,
    pub(super) voice: Voice,
    pub(super) timers: Timers,
    pub(super) nodes: Nodes,
    pub(super) legacy: LegacyNodes,
    pub(super) channels: BTreeMap<ChannelKey, Channel>,
    /// What is remembered of channels that are not in `channels`.
    pub(super) memory: Memory,
    /// Not below any version that was said of a channel that is not in `channels`.
    pub(super) clock: u64,
    pub(super) recent: Recent,
    pub(super) syncs: Syncs,
    pub(super) asks: Asks,
    pub(super) commands: Commands,
    pub(super) twins: Twins,
    pub(super) contested: Contested,
    pub(super) limits: Limits,
    time: Time,
    pub(super) phase: Phase,
}

/// The time that has passed, by a clock that may be set back.
#[derive(Debug, Default)]
struct Time {
    /// What the clock said last.
    clock: u64,
    /// By how much it has been set back in all.
    behind: u64,
}

impl Time {
    /// Reads the clock. What this returns never goes back, and goes on at once behind a step back of the clock.
    fn read(&mut self, clock: u64) -> u64 {
        self.behind = self.behind.saturating_add(self.clock.saturating_sub(clock));
        self.clock = clock;
        clock.saturating_add(self.behind)
    }

    /// When that is, by the clock.
    fn by_clock(&self, at: u64) -> u64 {
        at.saturating_sub(self.behind)
    }
}

/// ```text
///          first input          Bus::Up            Bus::Down
///  ASLEEP ------------> ALONE ---------> LINKED <------------> CUT OFF      and STOPPED from each of them
///                                                   Bus::Up
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
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
            twins: Twins::default(),
            contested: Contested::default(),
            limits: Limits::new(&settings),
            time: Time::default(),
            phase: Phase::Asleep,
            settings,
        }
    }

    /// Takes one input; appends what is to be done to `out`. `now` is in milliseconds since 1970; if it goes back, no time
    /// has passed, and time goes on from there. What is said is ordered by nobody's clock.
    ///
    /// [`Output::RemoteMembers`] comes upon [`Input::Tick`] only, so [`Input::Opened`], [`Input::Local`] and [`Input::Closed`] may
    /// be given under a channel's lock. Each of these three is one call per channel, in the order in which it happened
    /// there.
    pub fn handle(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        if self.phase == Phase::Stopped {
            if let Input::Request { id, .. } = input {
                out.push(Output::Answered { id, answer: Answer::Unavailable });
            }
            return;
        }
        self.voice.now = self.time.read(now);
        if self.phase == Phase::Asleep {
            self.wake();
        }
        // What is told under a channel's lock leads to publishing alone.
        let may_count = !matches!(
            input,
            Input::Opened { .. } | Input::Expected { .. } | Input::Local { .. } | Input::Closed { .. }
        );
        match input {
            Input::Incarnation(incarnation) => self.adopt(incarnation),
            Input::Opened { channel, instance } => self.open(channel, instance),
            Input::Expected { channel } => drop(self.visit(&channel)),
            Input::Closed { channel, instance } => self.close(&channel, instance),
            Input::Local { channel, change } => self.local(&channel, change),
            Input::Received { topic, message } => self.receive(&topic, *message),
            Input::Bus(event) => self.bus(event),
            Input::Lease(lease) => self.lease(&lease),
            Input::Request { id, request } => self.ask(id, request),
            Input::Done { id, verdict } => self.done(id, verdict),
            Input::Tick => self.tick(),
            Input::Stop => self.stop(),
        }
        if may_count {
            self.say_excess();
        }
        self.voice.take_outputs(out);
    }

    fn say_excess(&mut self) {
        let nodes = std::mem::take(&mut self.nodes.refused);
        self.limits.count(Excess::Nodes, nodes);
        for (what, times) in self.limits.take_counted() {
            self.voice.output(Output::Excess { what, times });
        }
    }

    /// When it wants an [`Input::Tick`], at the latest, by the clock that it was told last. It may be in the past: then at
    /// once.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.time.by_clock(self.timers.earliest()?))
    }

    /// Whether what others say in a channel arrives.
    pub fn hears(&self, channel: &ChannelKey) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.subscribed)
    }

    pub(super) fn now(&self) -> u64 {
        self.voice.now
    }

    pub(super) fn me(&self) -> &NodeId {
        self.voice.node()
    }

    fn wake(&mut self) {
        self.phase = Phase::Alone;
        self.twins.born(self.now(), self.settings.lifetime);
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

    /// Takes the incarnation that the table of leases has given it, if nobody has heard of another one yet.
    fn adopt(&mut self, incarnation: u64) {
        if !matches!(self.phase, Phase::Asleep | Phase::Alone) || incarnation == self.me().incarnation {
            return;
        }
        let before = self.settings.topics.inbox(self.me());
        self.settings.node.incarnation = incarnation;
        self.voice.adopt(&self.settings.node);
        let inbox = self.settings.topics.inbox(self.me());
        self.voice.output(Output::Interest { add: vec![inbox], remove: vec![before] });
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
                Timer::AnnounceAgain(channel, _) => self.announce(&channel),
                Timer::Sync => self.ask_for_states(),
                Timer::Answer => self.answer_states(),
                Timer::Repair(owner) => self.ask_for_repair(&owner),
                Timer::View(channel) => self.show(channel),
                Timer::Digest(channel, _) => self.say_digest(&channel),
                Timer::Sweep => self.sweep(),
                Timer::Linger(channel) => self.leave(&channel),
                Timer::Request(id) => self.give_up(id),
            }
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

    fn receive(&mut self, topic: &str, message: Envelope) {
        let me = self.voice.source();
        let is_own = message.source == *me;
        let fits = self.settings.topics.fits(topic, &message, me);
        if is_own || !fits || !self.recent.is_new(&message.source, &message.id) {
            return;
        }
        match &message.ext {
            Some(ext) if ext.node.name == self.me().name => self.receive_twin(message),
            Some(_) => self.receive_ours(message),
            None if self.settings.interop => self.receive_legacy(message),
            None => {}
        }
    }

    /// The channels whose topics these are, and whether our inbox is among them.
    pub(super) fn channels_of(&self, topics: &[String]) -> (Vec<ChannelKey>, bool) {
        let named = &self.settings.topics;
        let keys = topics.iter().flat_map(|topic| named.readings(topic)).filter(|key| self.channels.contains_key(key));
        (keys.collect(), topics.contains(&named.inbox(self.me())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_a_clock_is_set_back() {
        let mut time = Time::default();
        assert_eq!(
            [1_000_000, 1_000_500, 400_500, 400_600].map(|clock| time.read(clock)),
            [1_000_000, 1_000_500, 1_000_500, 1_000_600]
        );
        assert_eq!(time.by_clock(1_000_700), 400_700);
        assert_eq!([900_000, 100_000, 100_001].map(|clock| time.read(clock)), [1_500_000, 1_500_000, 1_500_001]);
    }
}
