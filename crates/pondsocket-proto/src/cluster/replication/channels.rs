use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::channel::{Changed, ReplicatedChannel};
use super::digest;
use super::local_state::Delta;
use super::record::{At, Check, Record};
use super::tombstones::Tombstones;
use super::users::{self, Entry, Users};
use crate::cluster::context::Context;
use crate::cluster::message::{ChannelState, Ext};
use crate::cluster::timers::{DigestRound, Timer};
use crate::cluster::{ChannelKey, NodeId, NodeOutput, Output, Settings, Topic, Topics};
use crate::id::UserId;
use crate::model::MemberChange;

/// The channels whose topics this node subscribes to, with the users of all nodes of our kind in each.
#[derive(Debug)]
pub(in crate::cluster) struct Channels {
    channels: BTreeMap<ChannelKey, ReplicatedChannel>,
    tombstones: Tombstones,
    /// A bound on the published versions of all channels that are not in `channels`. A channel that opens again
    /// continues from it, so no version needs to be kept for each closed channel.
    last_version: u64,
}

impl Channels {
    pub(in crate::cluster) fn new(settings: &Settings) -> Channels {
        Channels {
            channels: BTreeMap::new(),
            tombstones: Tombstones::new(settings.remember, settings.max_tombstones),
            last_version: 0,
        }
    }

    pub(in crate::cluster) fn get(&self, key: &ChannelKey) -> Option<&ReplicatedChannel> {
        self.channels.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &ChannelKey) -> Option<&mut ReplicatedChannel> {
        self.channels.get_mut(key)
    }

    pub(in crate::cluster) fn keys(&self) -> impl Iterator<Item = &ChannelKey> {
        self.channels.keys()
    }

    /// All channels in the order of their keys, beginning behind the given one and continuing from the first one.
    pub(super) fn keys_behind(&self, last: Option<&ChannelKey>) -> impl Iterator<Item = &ChannelKey> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.channels.range((from, Bound::Unbounded)).chain(&self.channels).map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    pub(in crate::cluster) fn is_open(&self, key: &ChannelKey) -> bool {
        self.get(key).is_some_and(ReplicatedChannel::is_open)
    }

    /// Returns whether the bus delivers the channel's topic.
    pub(in crate::cluster) fn is_subscribed(&self, key: &ChannelKey) -> bool {
        self.get(key).is_some_and(|channel| channel.subscribed)
    }

    /// Returns whether this node has the user.
    pub(in crate::cluster) fn is_local(&self, key: &ChannelKey, user: &UserId) -> bool {
        self.get(key).is_some_and(|channel| channel.local.users().contains_key(user))
    }

    /// All channels in which this node may have users of others, or other nodes users of this one.
    pub(in crate::cluster) fn all(&self) -> impl Iterator<Item = &ChannelKey> {
        self.channels.keys().chain(self.tombstones.channels())
    }

    /// The channels that have no users here any more. Other nodes may have missed their last leaves.
    pub(super) fn closed(&self) -> impl Iterator<Item = &ChannelKey> {
        let lingering = self.channels.iter().filter(|(_, channel)| !channel.is_open()).map(|(key, _)| key);
        lingering.chain(self.tombstones.channels())
    }

    /// The channels whose topics are among these. Names may contain colons, so a topic can be that of several channels.
    pub(in crate::cluster) fn of_topics(&self, named: &Topics, topics: &[Topic]) -> Vec<ChannelKey> {
        let keys = topics.iter().flat_map(|topic| named.readings(topic));
        keys.filter(|key| self.channels.contains_key(key)).collect()
    }

    /// Subscribes to a channel's topic, unless it is subscribed. Without users here the subscription ends after a
    /// while.
    pub(in crate::cluster) fn listen(&mut self, cx: &mut Context, key: &ChannelKey) {
        if !self.channels.contains_key(key) {
            let channel = ReplicatedChannel::new(self.last_version, self.tombstones.recall(key));
            self.channels.insert(key.clone(), channel);
            let add = vec![cx.settings.topics.channel(key)];
            cx.output(Output::UpdateSubscriptions { add, remove: Vec::new() });
        }
        if !self.is_open(key) {
            cx.timers.set(Timer::Linger(key.clone()), cx.now + cx.settings.linger);
        }
    }

    /// Opens a channel. Returns the users that an earlier instance has left behind; they are gone.
    pub(in crate::cluster) fn open(&mut self, cx: &mut Context, key: &ChannelKey, instance: u64) -> Vec<UserId> {
        self.listen(cx, key);
        cx.timers.stop(&Timer::Linger(key.clone()));
        let Some(channel) = self.channels.get_mut(key) else { return Vec::new() };
        let left = channel.local.users().keys().cloned().collect();
        let deltas = channel.open(instance, |user| is_moving(cx, key, user));
        publish(cx, key, deltas);
        left
    }

    /// Closes a channel, if this is its present instance. Returns the users that it has left behind; they are gone.
    pub(in crate::cluster) fn close(
        &mut self,
        cx: &mut Context,
        key: &ChannelKey,
        instance: u64,
    ) -> Option<Vec<UserId>> {
        let channel = self.channels.get_mut(key)?;
        let left = channel.local.users().keys().cloned().collect();
        let deltas = channel.close(instance, |user| is_moving(cx, key, user))?;
        publish(cx, key, deltas);
        cx.timers.set(Timer::Linger(key.clone()), cx.now + cx.settings.linger);
        Some(left)
    }

    /// Unsubscribes from a channel that has no users here. Returns `false` if it has some.
    pub(in crate::cluster) fn leave(&mut self, cx: &mut Context, key: &ChannelKey) -> bool {
        if self.is_open(key) {
            return false;
        }
        let Some(channel) = self.channels.remove(key) else { return false };
        self.last_version = self.last_version.max(channel.local.version());
        // Late messages must not restore users when the channel opens again.
        self.tombstones.keep(key.clone(), channel.records, cx.now);
        let remove = vec![cx.settings.topics.channel(key)];
        cx.output(Output::UpdateSubscriptions { add: Vec::new(), remove });
        true
    }

    /// Removes all users of this node. Nodes of our kind are not told of those in a channel for which `is_quiet` is true:
    /// they take them over when this node says `Bye`.
    pub(in crate::cluster) fn leave_all(&mut self, cx: &mut Context, is_quiet: impl Fn(&ChannelKey) -> bool) {
        for (key, channel) in &mut self.channels {
            let deltas = channel.local.leave_all(|_| false);
            if is_quiet(key) {
                // Without versions they are no changes of this node's own: our nodes ignore them.
                deltas.into_iter().for_each(|delta| cx.publish(key, delta.body));
            } else {
                publish(cx, key, deltas);
            }
        }
    }

    /// Applies and publishes a change of a user of this node.
    pub(in crate::cluster) fn change_local(&mut self, cx: &mut Context, key: &ChannelKey, change: MemberChange) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let deltas = channel.local.change(change, cx.now);
        publish(cx, key, deltas);
    }

    /// Drops the tombstones of channels that closed long ago.
    pub(in crate::cluster) fn expire_tombstones(&mut self, now: u64) {
        self.tombstones.expire(now);
    }

    /// Notes that all subscriptions are void.
    pub(super) fn unsubscribe_all(&mut self) {
        for channel in self.channels.values_mut() {
            // Messages may be lost from now on, so an earlier request no longer means that the records are complete.
            (channel.subscribed, channel.asked) = (false, None);
        }
    }

    /// The snapshot of this node's users in a channel, empty for one that is not subscribed.
    pub(super) fn state(&self, key: ChannelKey) -> ChannelState {
        match self.channels.get(&key) {
            Some(channel) => channel.state(key),
            None => ChannelState { channel: key, version: self.last_version, users: Vec::new(), part: None },
        }
    }

    /// This node's version of a channel, and its users there.
    pub(super) fn local(&self, key: &ChannelKey) -> (u64, Option<&Users>) {
        match self.channels.get(key) {
            Some(channel) => (channel.local.version(), Some(channel.local.users())),
            None => (self.last_version, None),
        }
    }

    /// Applies a change that another node has made to one of its users.
    pub(in crate::cluster) fn apply(
        &mut self,
        cx: &mut Context,
        key: &ChannelKey,
        ext: &Ext,
        versions: (u64, u64),
        change: MemberChange,
    ) -> Changed {
        let Some(channel) = self.channels.get_mut(key) else { return Changed::new() };
        let record = channel.records.get(&ext.node.name);
        let known = record.map_or((false, 0), |record| (record.get(change.user()).is_some(), record.len()));
        let (change, is_cut) = cx.limits.change(change, known);
        channel.merge(&ext.node, |record| {
            let changed = record.delta(ext.node.incarnation, versions, change, ext.joined.unwrap_or(0));
            if is_cut {
                record.cut();
            }
            changed
        })
    }

    /// Applies a snapshot of another node's users in a channel, or adds a chunk of one. Returns the users that it
    /// changes, or `None` while chunks are missing.
    pub(in crate::cluster) fn replace(
        &mut self,
        cx: &mut Context,
        owner: &NodeId,
        state: ChannelState,
    ) -> Option<Changed> {
        let channel = self.channels.get_mut(&state.channel)?;
        let at = At { incarnation: owner.incarnation, version: state.version };
        // Each chunk first and then the whole list, so that neither of them exceeds the limit in memory.
        let (users, mut is_cut) = cx.limits.users(users::from_list(state.users));
        let users = match state.part {
            None => users,
            Some(part) => {
                let chunks = channel.chunks.entry(owner.name.clone()).or_default();
                let users = chunks.add(at, part, users, cx.limits.users)?;
                is_cut |= chunks.is_cut;
                let (users, is_too_long) = cx.limits.users(users);
                is_cut |= is_too_long;
                users
            }
        };
        // Chunks of an older list, if this one came in one message. They would hold memory for nothing.
        channel.chunks.remove(&owner.name);
        Some(channel.merge(owner, |record| {
            let changed = record.snapshot(at, users);
            if is_cut {
                record.cut();
            }
            changed
        }))
    }

    /// Notes the version that a node reports of its users in a channel.
    pub(in crate::cluster) fn expect(&mut self, key: &ChannelKey, owner: &NodeId, version: u64) -> Changed {
        let Some(channel) = self.channels.get_mut(key) else { return Changed::new() };
        channel.merge(owner, |record| record.expect(At { incarnation: owner.incarnation, version }))
    }

    /// Compares the record of another node with the digest of its users in a channel.
    pub(in crate::cluster) fn compare(
        &mut self,
        cx: &mut Context,
        key: &ChannelKey,
        owner: &NodeId,
        (version, count, hash): (u64, u64, u64),
    ) -> Changed {
        let Some(channel) = self.channels.get_mut(key) else { return Changed::new() };
        let at = At { incarnation: owner.incarnation, version };
        let mut check = Check::Passed;
        let changed = channel.merge(owner, |record| {
            check = record.check(at, hash);
            // The digest of no users is the whole snapshot, so the owner need not be queried.
            if count == 0 && check != Check::Passed { record.snapshot(at, Users::new()) } else { Vec::new() }
        });
        if check == Check::Diverged {
            cx.output(NodeOutput::Diverged(key.clone()));
        }
        changed
    }

    /// Drops the users of all other incarnations of a node, in all channels.
    pub(in crate::cluster) fn replace_incarnation(&mut self, node: &NodeId) -> Vec<(ChannelKey, Changed)> {
        self.alter_all(&node.name, |record| record.begin(node.incarnation))
    }

    /// Drops the users of a node that has been dead for long, and keeps its versions.
    pub(in crate::cluster) fn expire_users(&mut self, node: &Arc<str>) -> Vec<(ChannelKey, Changed)> {
        self.alter_all(node, Record::expire)
    }

    /// Drops the records of a node, with its versions.
    pub(in crate::cluster) fn drop_node(&mut self, node: &str) {
        self.channels.values_mut().for_each(|channel| drop(channel.records.remove(node)));
    }

    /// The users of a node in each channel.
    pub(in crate::cluster) fn users_of(&self, node: &str) -> Vec<(ChannelKey, Vec<UserId>)> {
        let users = |(key, channel): (&ChannelKey, &ReplicatedChannel)| {
            let users = channel.records.get(node)?.iter().map(|(user, _)| user.clone()).collect();
            Some((key.clone(), users))
        };
        self.channels.iter().filter_map(users).collect()
    }

    /// The channels in which a node has had users.
    pub(in crate::cluster) fn channels_of(&self, node: &str) -> impl Iterator<Item = &ChannelKey> {
        self.channels.iter().filter(move |(_, channel)| channel.records.contains_key(node)).map(|(key, _)| key)
    }

    /// The users that an incarnation of a node has in each of these channels.
    pub(in crate::cluster) fn entries_of(
        &self,
        node: &NodeId,
        is_wanted: impl Fn(&ChannelKey) -> bool,
    ) -> Vec<(ChannelKey, Vec<(UserId, Entry)>)> {
        let entries = |(key, channel): (&ChannelKey, &ReplicatedChannel)| {
            let record = channel.records.get(&node.name).filter(|_| is_wanted(key))?;
            let is_it = record.at().incarnation == node.incarnation && !record.is_empty();
            is_it.then(|| (key.clone(), record.iter().map(|(user, entry)| (user.clone(), entry.clone())).collect()))
        };
        self.channels.iter().filter_map(entries).collect()
    }

    /// Returns whether the record of an incarnation of a node is known here, and has no such user.
    pub(in crate::cluster) fn has_lost(&self, key: &ChannelKey, node: &NodeId, user: &UserId) -> bool {
        let record = self.get(key).and_then(|channel| channel.records.get(&node.name));
        record.is_some_and(|record| record.at().incarnation == node.incarnation && record.get(user).is_none())
    }

    /// The entries of a user in a channel: for each other node that has it, the incarnation and the time of the join.
    pub(in crate::cluster) fn joins_of(&self, key: &ChannelKey, user: &UserId) -> Vec<(NodeId, u64)> {
        let records = self.get(key).into_iter().flat_map(|channel| &channel.records);
        let join = |(name, record): (&Arc<str>, &Record)| {
            let joined = record.get(user)?.joined;
            Some((NodeId { name: name.clone(), incarnation: record.at().incarnation }, joined))
        };
        records.filter_map(join).collect()
    }

    /// Returns whether an incarnation of a node may have a user, for all that is known here.
    pub(in crate::cluster) fn may_have(&self, key: &ChannelKey, node: &NodeId, user: &UserId) -> bool {
        let is_behind = self.get(key).is_some_and(|channel| channel.is_behind(&node.name));
        is_behind || !self.has_lost(key, node, user)
    }

    fn alter_all(
        &mut self,
        node: &Arc<str>,
        change: impl Fn(&mut Record) -> Vec<UserId>,
    ) -> Vec<(ChannelKey, Changed)> {
        let known = self.channels.iter_mut().filter(|(_, channel)| channel.records.contains_key(node));
        known.map(|(key, channel)| (key.clone(), channel.alter(node, &change))).collect()
    }
}

/// Returns whether a user has joined on another node, and its leave here is published in a moment.
fn is_moving(cx: &Context, key: &ChannelKey, user: &UserId) -> bool {
    cx.timers.is_running(&Timer::Moved(key.clone(), user.clone()))
}

/// The count and the hash of users.
pub(super) fn digest_of(users: Option<&Users>) -> (u64, u64) {
    users.map_or_else(|| (0, digest::of_users(&Users::new())), |users| (users.len() as u64, digest::of_users(users)))
}

/// Publishes changes of this node's users, and schedules digests, by which other nodes detect a lost message.
fn publish(cx: &mut Context, key: &ChannelKey, deltas: Vec<Delta>) {
    if deltas.is_empty() {
        return;
    }
    for delta in deltas {
        let ext = Ext { change: Some(delta.versions), joined: delta.joined, ..cx.ext() };
        cx.publish_with(key, delta.body, ext);
    }
    for (round, after) in [DigestRound::First, DigestRound::Second].into_iter().zip(cx.settings.digests) {
        cx.timers.set(Timer::Digest(key.clone(), round), cx.now + after);
    }
}
