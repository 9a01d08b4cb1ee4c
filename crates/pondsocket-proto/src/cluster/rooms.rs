//! Channels as they open, change and close here, and what they are shown.

use super::channel::{Channel, Life};
use super::core::Core;
use super::excess::Excess;
use super::local_state::Delta;
use super::timers::{Echo, Timer};
use super::{ChannelKey, MemberChange, Output};
use crate::id::UserId;

impl Core {
    pub(super) fn open(&mut self, key: ChannelKey, instance: u64) {
        let now = self.now();
        let channel = self.visit(&key);
        let told = channel.leave_all(now);
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

    pub(super) fn close(&mut self, key: &ChannelKey, instance: u64) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        if channel.life != (Life::Open { instance }) {
            return;
        }
        let told = channel.leave_all(self.voice.now);
        channel.life = Life::Lingering;
        self.tell(key, told);
        self.timers.set(Timer::Linger(key.clone()), self.now() + self.settings.linger);
    }

    pub(super) fn local(&mut self, key: &ChannelKey, change: MemberChange) {
        let now = self.now();
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.is_open()) else { return };
        let user = change.user().clone();
        match change {
            MemberChange::Joined { .. } => channel.guests.unlist(&user),
            MemberChange::Left { .. } => channel.guests.note_leaving(&user, now),
            _ => {}
        }
        let told = channel.own.change(change, now);
        if channel.is_elsewhere(&user) {
            self.changed(key, [user]);
        }
        self.tell(key, told);
    }

    /// Says what has changed here.
    fn tell(&mut self, key: &ChannelKey, told: Vec<Delta>) {
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
            let channel = Channel::new(self.clock, self.memory.recall(key), &self.settings);
            self.channels.insert(key.clone(), channel);
            self.voice.output(Output::Interest { add: vec![self.settings.topics.channel(key)], remove: Vec::new() });
        }
        let channel = self.channels.get_mut(key).expect("just put there, if it was not");
        if !channel.is_open() {
            self.timers.set(Timer::Linger(key.clone()), self.voice.now + self.settings.linger);
        }
        channel
    }

    pub(super) fn leave(&mut self, key: &ChannelKey) {
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

    pub(super) fn show(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let Life::Open { instance } = channel.life else { return };
        let changes = channel.refresh(&self.nodes, &self.settings.node.name, self.settings.max_shown);
        let excess = std::mem::take(&mut channel.display.excess);
        self.limits.count(Excess::Shown, excess);
        if !changes.is_empty() {
            self.voice.output(Output::RemoteMembers { channel: key, instance, changes });
        }
    }
}
