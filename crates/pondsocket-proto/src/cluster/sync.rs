//! How a node gets to know what it has missed, and helps others to (docs/cluster.md, State that converges).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::channel::Channel;
use super::core::Core;
use super::message::{Body, ChannelState, Ext, NodeEvent};
use super::record::{At, Check, Users};
use super::timers::Timer;
use super::{ChannelKey, NodeId, Output, digest, hear, parts};

/// How often some of all digests are said at most, in milliseconds.
pub(super) const SWEEP_STEP: u64 = 1000;

/// How many channels' states are asked for at once, and how soon further ones are.
const SYNCS_AT_ONCE: usize = 256;
const SYNC_STEP: u64 = 5;

/// What is to be asked and answered.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// Whether the bus delivers our inbox: what is asked before is not answered.
    inbox: bool,
    /// Channels whose state is to be asked for, or said if nobody is here any more.
    wanted: BTreeSet<ChannelKey>,
    /// Who has asked for our users in which channels.
    askers: BTreeMap<NodeId, BTreeSet<ChannelKey>>,
    /// Of whom something is missing.
    repairs: BTreeMap<Arc<str>, Repair>,
    /// The last channel whose digest was said in turn.
    swept: Option<ChannelKey>,
}

#[derive(Debug, Default)]
struct Repair {
    channels: BTreeSet<ChannelKey>,
    attempts: u32,
}

impl Core {
    pub(super) fn unsubscribe_all(&mut self) {
        self.syncs.inbox = false;
        for channel in self.channels.values_mut() {
            (channel.subscribed, channel.asked) = (false, None);
        }
    }

    pub(super) fn subscribed(&mut self, topics: &[String]) {
        let (channels, inbox) = self.channels_of(topics);
        for key in &channels {
            if let Some(channel) = self.channels.get_mut(key) {
                channel.subscribed = true;
            }
            self.want_state(key.clone());
        }
        self.ask_strangers_in(&channels);
        if inbox && !self.syncs.inbox {
            self.syncs.inbox = true;
            self.voice.announce(NodeEvent::Hello);
            self.want_all_states();
            self.want_to_say_who_left();
        }
    }

    /// Messages may have been lost.
    pub(super) fn missed(&mut self, topics: &[String]) {
        let (channels, inbox) = self.channels_of(topics);
        if inbox {
            self.want_all_states();
        } else {
            channels.into_iter().for_each(|key| self.want_state(key));
        }
    }

    pub(super) fn want_all_states(&mut self) {
        let keys: Vec<_> = self.channels.keys().cloned().collect();
        keys.into_iter().for_each(|key| self.want_state(key));
    }

    /// A channel's state has to be asked for, as soon as the answers can be heard.
    pub(super) fn want_state(&mut self, key: ChannelKey) {
        let can_ask = |channel: &Channel| channel.subscribed && channel.is_open();
        if self.syncs.inbox && self.channels.get(&key).is_some_and(can_ask) {
            self.syncs.wanted.insert(key);
            self.timers.start(Timer::Sync, self.now());
        }
    }

    /// What was said when the last user left a channel here may have been lost with the bus, also some time before that
    /// was noticed. Nobody here asks for the state of such a channel, so nobody would be told.
    fn want_to_say_who_left(&mut self) {
        let lingering = self.channels.iter().filter(|(_, channel)| !channel.is_open()).map(|(key, _)| key);
        self.syncs.wanted.extend(lingering.chain(self.memory.channels()).cloned());
        self.timers.start(Timer::Sync, self.now());
    }

    pub(super) fn ask_for_states(&mut self) {
        for _ in 0..SYNCS_AT_ONCE {
            let Some(key) = self.syncs.wanted.pop_first() else { return };
            if self.channels.get(&key).is_some_and(Channel::is_open) {
                self.ask_for_state(&key);
            } else {
                self.say_digest(&key);
            }
        }
        self.timers.start(Timer::Sync, self.now() + SYNC_STEP);
    }

    /// Asks who is there, and says who is here.
    fn ask_for_state(&mut self, key: &ChannelKey) {
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.subscribed) else { return };
        channel.asked = Some(self.voice.now);
        let few = channel.own.users().len() <= self.settings.inline_users;
        let own =
            few.then(|| channel.state(key.clone())).filter(|own| parts::size_of(own) <= self.settings.state_bytes);
        let ext = Ext { have: channel.have(self.voice.node()), own, ..self.voice.ext() };
        // Nobody may be left at an owner, so that it does not listen there any more. One that seems dead may have been cut
        // off, as this node may have been, and be shown again with what was known before.
        let owners: Vec<_> = channel.owners().collect();
        let from_node = self.voice.source().to_string();
        self.voice.say_to_all(key, &owners, Body::StateRequest { from_node }, ext);
        self.announce(key);
    }

    /// One of ours asks who is here, and says who is there.
    pub(super) fn asked_for_state(&mut self, key: &ChannelKey, ext: Ext) {
        self.owe_what_lacks(key, &ext);
        if let Some(own) = ext.own.filter(|own| own.channel == *key) {
            self.take_state(&ext.node, own);
        } else if let (Some(version), Some(channel)) = (held(&ext.have, &ext.node), self.channels.get_mut(key)) {
            let at = At { incarnation: ext.node.incarnation, version };
            let ended = channel.merge(&ext.node, self.voice.now, |record| record.expect(at));
            self.changed(key, ended);
            self.check_repair(key, &ext.node.name);
        }
    }

    /// A node says what it holds of others. If it lacks something of us, it is to be told.
    pub(super) fn owe_what_lacks(&mut self, key: &ChannelKey, ext: &Ext) {
        let held = held(&ext.have, self.me());
        let lacks = match self.channels.get(key) {
            Some(Channel { own, .. }) => held != Some(own.version()) && (held.is_some() || !own.users().is_empty()),
            None => held.is_some_and(|version| version < self.clock),
        };
        if lacks {
            self.owe(&ext.node, [key.clone()]);
        }
    }

    /// A node is to be told who of ours is in these channels.
    pub(super) fn owe(&mut self, to: &NodeId, channels: impl IntoIterator<Item = ChannelKey>) {
        self.syncs.askers.entry(to.clone()).or_default().extend(channels);
        self.timers.start(Timer::Answer, self.now() + self.settings.coalesce);
    }

    pub(super) fn answer_states(&mut self) {
        for (to, keys) in std::mem::take(&mut self.syncs.askers) {
            let (mut states, mut size) = (Vec::new(), 0);
            for key in keys {
                for state in parts::split(self.state(key), self.settings.state_bytes) {
                    let more = parts::size_of(&state);
                    if !states.is_empty()
                        && (size + more > self.settings.state_bytes || states.len() >= self.settings.state_channels)
                    {
                        self.voice.whisper(&to, Body::State(std::mem::take(&mut states)));
                        size = 0;
                    }
                    states.push(state);
                    size += more;
                }
            }
            self.voice.whisper(&to, Body::State(states));
        }
    }

    /// Our users in a channel, also in one that is not open here.
    fn state(&self, key: ChannelKey) -> ChannelState {
        match self.channels.get(&key) {
            Some(channel) => channel.state(key),
            None => ChannelState { channel: key, version: self.clock, users: Vec::new(), part: None },
        }
    }

    /// A node says who is there.
    pub(super) fn take_state(&mut self, owner: &NodeId, state: ChannelState) {
        let Some(channel) = self.channels.get_mut(&state.channel) else { return };
        let at = At { incarnation: owner.incarnation, version: state.version };
        let (users, mut is_cut) = self.limits.users(hear::users(state.users));
        let users = match state.part {
            None => users,
            Some(part) => {
                let parts = channel.parts.entry(owner.name.clone()).or_default();
                let Some(users) = parts.add(at, part, users, self.limits.users) else { return };
                is_cut |= parts.is_cut;
                let (users, is_too_long) = self.limits.users(users);
                is_cut |= is_too_long;
                users
            }
        };
        channel.parts.remove(&owner.name);
        let changed = channel.merge(owner, self.voice.now, |record| {
            let changed = record.snapshot(at, users);
            if is_cut {
                record.cut();
            }
            changed
        });
        self.changed(&state.channel, changed);
        self.listed(owner, &state.channel);
    }

    /// If something is missing of what a node has said it is asked for, unless it comes by itself.
    pub(super) fn check_repair(&mut self, key: &ChannelKey, owner: &Arc<str>) {
        let record = self.channels.get(key).and_then(|channel| channel.records.get(owner));
        if record.is_some_and(|record| record.is_behind()) {
            self.syncs.repairs.entry(owner.clone()).or_default().channels.insert(key.clone());
            self.timers.start(Timer::Repair(owner.clone()), self.voice.now + self.settings.repair_after);
        }
    }

    /// A node has come back: what was missing before is still missing.
    pub(super) fn mend(&mut self, owner: &Arc<str>) {
        let keys: Vec<_> = self.channels.keys().cloned().collect();
        keys.iter().for_each(|key| self.check_repair(key, owner));
    }

    /// Asks again and again, ever more slowly, while something is missing and the node lives.
    pub(super) fn ask_for_repair(&mut self, owner: &Arc<str>) {
        let Some(mut repair) = self.syncs.repairs.remove(owner) else { return };
        let Some(node) = self.nodes.living(owner) else { return };
        let is_behind = |channel: &Channel| channel.records.get(owner).is_some_and(|record| record.is_behind());
        repair.channels.retain(|key| self.channels.get(key).is_some_and(is_behind));
        if repair.channels.is_empty() {
            return;
        }
        let channels: Vec<_> = repair.channels.iter().cloned().collect();
        for some in channels.chunks(self.settings.state_channels.max(1)) {
            self.voice.whisper(&node, Body::Repair(some.to_vec()));
        }
        let wait = self.voice.random.about(self.settings.repair_again << repair.attempts.min(4));
        repair.attempts += 1;
        self.syncs.repairs.insert(owner.clone(), repair);
        self.timers.set(Timer::Repair(owner.clone()), self.now() + wait);
    }

    /// Says what our users come to, and how much of others' is known here, so that both sides learn of what was lost.
    pub(super) fn say_digest(&mut self, key: &ChannelKey) {
        let (version, users, have) = match self.channels.get(key) {
            Some(channel) if channel.is_open() => (channel.own.version(), channel.own.users(), channel.have(self.me())),
            Some(channel) => (channel.own.version(), channel.own.users(), Vec::new()),
            None => (self.clock, &Users::new(), Vec::new()),
        };
        let digest = Body::Digest { version, count: users.len() as u64, hash: digest::of_users(users) };
        self.voice.say_with(key, digest, Ext { have, ..self.voice.ext() });
    }

    /// Says the next digest, or the next few, so that all are said in the time of a sweep.
    pub(super) fn sweep(&mut self) {
        let (sweep, count) = (self.settings.sweep, self.channels.len() as u64);
        let pause = (sweep / count.max(1)).max(SWEEP_STEP);
        let some = (count * pause).div_ceil(sweep.max(1)) as usize;
        let from = self.syncs.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.channels.range((from, Bound::Unbounded)).chain(&self.channels);
        let keys: Vec<_> = all.take(some).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.sweep_channel(&key);
            self.syncs.swept = Some(key);
        }
        self.timers.set(Timer::Sweep, self.now() + pause);
    }

    fn sweep_channel(&mut self, key: &ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        channel.records.values_mut().for_each(|record| record.age());
        // What is not complete by now never will be, or its owner is asked for it again.
        channel.parts.clear();
        let owners: Vec<_> = channel.records.keys().cloned().collect();
        if !channel.own.users().is_empty() {
            self.say_digest(key);
        }
        owners.iter().for_each(|owner| self.check_repair(key, owner));
    }

    /// A node says what its users come to.
    pub(super) fn compare(&mut self, key: &ChannelKey, ext: &Ext, (version, count, hash): (u64, u64, u64)) {
        if !ext.have.is_empty() {
            self.owe_what_lacks(key, ext);
        }
        let owner = &ext.node;
        let Some(channel) = self.channels.get_mut(key) else { return };
        let at = At { incarnation: owner.incarnation, version };
        let mut check = Check::Passed;
        let changed = channel.merge(owner, self.voice.now, |record| {
            check = record.check(at, hash);
            if count == 0 && check != Check::Passed { record.snapshot(at, Users::new()) } else { Vec::new() }
        });
        if check == Check::Diverged {
            self.voice.output(Output::Diverged(key.clone()));
        }
        self.changed(key, changed);
        self.check_repair(key, &owner.name);
    }
}

/// Which version of a node's users is known, as somebody says.
fn held(have: &[(NodeId, u64)], node: &NodeId) -> Option<u64> {
    have.iter().find(|(id, _)| id == node).map(|(_, version)| *version)
}
