//! The recovery of lost messages: requests of this node, and answers to those of others (docs/cluster.md, State that
//! converges).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::channel::ReplicatedChannel;
use super::channels::{Channels, digest_of};
use super::chunks;
use crate::cluster::context::{Context, Effect};
use crate::cluster::message::{Body, Ext, NodeEvent};
use crate::cluster::timers::Timer;
use crate::cluster::{ChannelKey, NodeId};

/// The shortest time between two steps of the sweep, in milliseconds. A node with many channels publishes several
/// digests in each step instead of more steps.
const SWEEP_STEP: u64 = 1000;

/// The number of channels whose states are requested at once, and the pause before further ones, in milliseconds: a
/// node that comes back with many channels must not flood the bus.
const SYNCS_AT_ONCE: usize = 256;
const SYNC_STEP: u64 = 5;

/// The shortest time between two repairs of losses that the bus has reported, in milliseconds. The requests can be lost as
/// well, and one is sent to several topics: repaired at once, losses would multiply.
const LOSSES_STEP: u64 = 1000;

/// The pending requests for states: those to be sent, and those to be answered.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Sync {
    /// True while the bus delivers the inbox of this node: answers to requests arrive there.
    inbox: bool,
    /// Channels whose state is to be requested, or whose digest is to be published if they have no user here any more.
    wanted: BTreeSet<ChannelKey>,
    /// Channels about which messages were lost since the last repair.
    lost: BTreeSet<ChannelKey>,
    /// The nodes that have requested the users of this one, with the channels. A set: several requests for a channel
    /// get one answer.
    askers: BTreeMap<NodeId, BTreeSet<ChannelKey>>,
    /// The nodes whose records are incomplete, by name: a repair is sent to the incarnation that is valid by then.
    repairs: BTreeMap<Arc<str>, Repair>,
    /// The last channel whose digest was published by the sweep.
    swept: Option<ChannelKey>,
}

#[derive(Debug, Default)]
struct Repair {
    channels: BTreeSet<ChannelKey>,
    attempts: u32,
}

impl Sync {
    pub(in crate::cluster) fn start(cx: &mut Context) {
        cx.timers.set(Timer::Sweep, cx.now + SWEEP_STEP);
    }

    /// Notes that no topic is subscribed: the bus is down, or a session has just begun.
    pub(in crate::cluster) fn unsubscribe(&mut self, channels: &mut Channels) {
        self.inbox = false;
        // All states are requested in the next session.
        self.lost.clear();
        channels.unsubscribe_all();
    }

    /// Notes that the bus delivers the topics of these channels.
    pub(in crate::cluster) fn subscribe(&mut self, cx: &mut Context, channels: &mut Channels, keys: &[ChannelKey]) {
        for key in keys {
            if let Some(channel) = channels.get_mut(key) {
                channel.subscribed = true;
            }
            self.want_state(cx, channels, key);
        }
    }

    /// Notes that the bus delivers the inbox of this node.
    pub(in crate::cluster) fn subscribe_inbox(&mut self, cx: &mut Context, channels: &Channels) {
        // A bus may report a topic as subscribed more than once in a session.
        if self.inbox {
            return;
        }
        self.inbox = true;
        cx.announce(NodeEvent::Hello);
        self.want_all_states(cx, channels);
        // The messages about the last users of a closed channel may have been lost before the failure of the bus was
        // detected. This node requests no state of such a channel, so only its digest shows other nodes the loss.
        self.wanted.extend(channels.closed().cloned());
        cx.timers.start(Timer::Sync, cx.now);
    }

    pub(in crate::cluster) fn want_all_states(&mut self, cx: &mut Context, channels: &Channels) {
        channels.keys().for_each(|key| self.want_state(cx, channels, key));
    }

    /// Schedules a request for a channel's state, if the answers can arrive. Otherwise it follows when the channel's
    /// topic or the inbox is subscribed.
    pub(in crate::cluster) fn want_state(&mut self, cx: &mut Context, channels: &Channels, key: &ChannelKey) {
        let can_ask = |channel: &ReplicatedChannel| channel.subscribed && channel.is_open();
        if self.inbox && channels.get(key).is_some_and(can_ask) {
            self.wanted.insert(key.clone());
            cx.timers.start(Timer::Sync, cx.now);
        }
    }

    /// Notes that messages about these channels were lost. The repair begins at once, or some time after the last one.
    pub(in crate::cluster) fn note_losses(&mut self, cx: &mut Context, channels: &mut Channels, keys: Vec<ChannelKey>) {
        // With the subscription of the inbox everything is requested in any case.
        if !self.inbox {
            return;
        }
        for key in &keys {
            if let Some(channel) = channels.get_mut(key) {
                channel.asked = None;
            }
        }
        self.lost.extend(keys);
        if !cx.timers.is_running(&Timer::Losses) {
            self.repair_losses(cx, channels);
        }
    }

    /// Schedules requests for the states of the channels about which messages were lost, and digests of those that have no
    /// users here any more: a request for the last leaves may have been lost, and nothing else would tell of them soon.
    pub(in crate::cluster) fn repair_losses(&mut self, cx: &mut Context, channels: &Channels) {
        if self.lost.is_empty() {
            return;
        }
        for key in std::mem::take(&mut self.lost) {
            if channels.is_open(&key) {
                self.want_state(cx, channels, &key);
            } else {
                self.wanted.insert(key);
            }
        }
        cx.timers.start(Timer::Sync, cx.now);
        cx.timers.set(Timer::Losses, cx.now + LOSSES_STEP);
    }

    /// Requests the states that are wanted, a limited number at once.
    pub(in crate::cluster) fn ask_for_states(&mut self, cx: &mut Context, channels: &mut Channels) {
        for _ in 0..SYNCS_AT_ONCE {
            let Some(key) = self.wanted.pop_first() else { return };
            // The channel may have closed since it was wanted: then it needs no state, but its leaves may have been
            // lost.
            if channels.is_open(&key) {
                ask_for_state(cx, channels, &key);
            } else {
                publish_digest(cx, channels, &key);
            }
        }
        cx.timers.start(Timer::Sync, cx.now + SYNC_STEP);
    }

    /// Schedules a snapshot for a node that holds another version of this node's users.
    pub(in crate::cluster) fn owe_if_behind(
        &mut self,
        cx: &mut Context,
        channels: &Channels,
        key: &ChannelKey,
        ext: &Ext,
    ) {
        let held = held(&ext.have, cx.me());
        let is_behind = match channels.local(key) {
            // A node that holds no version is not behind an empty channel: it shows no users of it.
            (version, Some(users)) => held != Some(version) && (held.is_some() || !users.is_empty()),
            // Without the channel only the node's highest version is known. A node that holds that version or a larger
            // one has received the last leave; with a lower one it may have missed it.
            (last, None) => held.is_some_and(|version| version < last),
        };
        if is_behind {
            self.owe(cx, &ext.node, [key.clone()]);
        }
    }

    /// Schedules snapshots of this node's users in these channels for a node. Requests that arrive shortly after one
    /// another are answered together.
    pub(in crate::cluster) fn owe(
        &mut self,
        cx: &mut Context,
        to: &NodeId,
        channels: impl IntoIterator<Item = ChannelKey>,
    ) {
        self.askers.entry(to.clone()).or_default().extend(channels);
        cx.timers.start(Timer::Answer, cx.now + cx.settings.coalesce);
    }

    /// Sends the snapshots that nodes have requested, in as few messages as their bounds allow.
    pub(in crate::cluster) fn answer_states(&mut self, cx: &mut Context, channels: &Channels) {
        let (most_bytes, most_channels) = (cx.settings.state_bytes, cx.settings.state_channels);
        for (to, keys) in std::mem::take(&mut self.askers) {
            let (mut states, mut size) = (Vec::new(), 0);
            for state in keys.into_iter().flat_map(|key| chunks::split(channels.state(key), most_bytes)) {
                let more = chunks::size_of(&state);
                if !states.is_empty() && (size + more > most_bytes || states.len() >= most_channels) {
                    cx.send_to(&to, Body::State(std::mem::take(&mut states)));
                    size = 0;
                }
                states.push(state);
                size += more;
            }
            cx.send_to(&to, Body::State(states));
        }
    }

    /// Schedules a query of a node for the missing changes in a channel. Until then a change that was only overtaken by
    /// another one can still arrive.
    pub(in crate::cluster) fn check_repair(
        &mut self,
        cx: &mut Context,
        channels: &Channels,
        key: &ChannelKey,
        owner: &Arc<str>,
    ) {
        if channels.get(key).is_some_and(|channel| channel.is_behind(owner)) {
            self.repairs.entry(owner.clone()).or_default().channels.insert(key.clone());
            cx.timers.start(Timer::Repair(owner.clone()), cx.now + cx.settings.repair_after);
        }
    }

    /// Schedules a query of a node that has come back for what is still missing in any channel.
    pub(in crate::cluster) fn check_repairs_of(&mut self, cx: &mut Context, channels: &Channels, owner: &Arc<str>) {
        channels.keys().for_each(|key| self.check_repair(cx, channels, key, owner));
    }

    /// Queries a node for what is missing, repeatedly with growing pauses, until nothing is missing or the node is
    /// down.
    pub(in crate::cluster) fn ask_for_repair(
        &mut self,
        cx: &mut Context,
        channels: &Channels,
        owner: &Arc<str>,
        living: Option<NodeId>,
    ) {
        let Some(mut repair) = self.repairs.remove(owner) else { return };
        // A dead owner is not queried. `check_repairs_of` starts anew when it is up again.
        let Some(node) = living else { return };
        repair.channels.retain(|key| channels.get(key).is_some_and(|channel| channel.is_behind(owner)));
        if repair.channels.is_empty() {
            return;
        }
        let missing: Vec<_> = repair.channels.iter().cloned().collect();
        for some in missing.chunks(cx.settings.state_channels.max(1)) {
            cx.send_to(&node, Body::Repair(some.to_vec()));
        }
        // Up to 16 times the first pause. With jitter, since after an outage many nodes query the same owner.
        let wait = cx.random.about(cx.settings.repair_again << repair.attempts.min(4));
        repair.attempts += 1;
        self.repairs.insert(owner.clone(), repair);
        cx.timers.set(Timer::Repair(owner.clone()), cx.now + wait);
    }

    /// Publishes the next digest, or the next few, so that all are published within one sweep.
    pub(in crate::cluster) fn sweep(&mut self, cx: &mut Context, channels: &mut Channels) {
        let (sweep, count) = (cx.settings.sweep, channels.len() as u64);
        let pause = (sweep / count.max(1)).max(SWEEP_STEP);
        let some = (count * pause).div_ceil(sweep.max(1)) as usize;
        // By key and not by index: channels open and close between two steps, and none may be skipped for that.
        let last = self.swept.take();
        let keys: Vec<_> = channels.keys_behind(last.as_ref()).take(some).cloned().collect();
        for key in keys {
            self.sweep_channel(cx, channels, &key);
            self.swept = Some(key);
        }
        cx.timers.set(Timer::Sweep, cx.now + pause);
    }

    fn sweep_channel(&mut self, cx: &mut Context, channels: &mut Channels, key: &ChannelKey) {
        let Some(channel) = channels.get_mut(key) else { return };
        channel.records.values_mut().for_each(|record| record.doubt_if_silent());
        // A list that is still incomplete has lost a chunk. Its owner is queried for the whole list again.
        channel.chunks.clear();
        let owners: Vec<_> = channel.records.keys().cloned().collect();
        if !channel.local.users().is_empty() {
            publish_digest(cx, channels, key);
        }
        owners.iter().for_each(|owner| self.check_repair(cx, channels, key, owner));
    }
}

/// Requests the users of other nodes in a channel, and sends those of this node.
fn ask_for_state(cx: &mut Context, channels: &mut Channels, key: &ChannelKey) {
    let Some(channel) = channels.get_mut(key).filter(|channel| channel.subscribed) else { return };
    channel.asked = Some(cx.now);
    let few = channel.local.users().len() <= cx.settings.inline_users;
    let own = few.then(|| channel.state(key.clone()));
    let own = own.filter(|own| chunks::size_of(own) <= cx.settings.state_bytes);
    let ext = Ext { have: channel.have(cx.me()), own, ..cx.ext() };
    // The inboxes as well: an owner whose last user has left is no longer subscribed to the channel. Owners that seem
    // dead are included, because they may only be disconnected, and would be shown again with outdated users.
    let owners: Vec<_> = channel.owners().collect();
    let from_node = cx.me().source();
    cx.publish_and_send(key, &owners, Body::StateRequest { from_node }, ext);
    cx.effects.push(Effect::Announce(key.clone()));
}

/// Publishes the digest of this node's users, with the versions that it holds of other nodes, so that losses in both
/// directions are detected.
pub(in crate::cluster) fn publish_digest(cx: &mut Context, channels: &Channels, key: &ChannelKey) {
    let (version, users) = channels.local(key);
    let (count, hash) = digest_of(users);
    let open = channels.get(key).filter(|channel| channel.is_open());
    let have = open.map_or_else(Vec::new, |channel| channel.have(cx.me()));
    cx.publish_with(key, Body::Digest { version, count, hash }, Ext { have, ..cx.ext() });
}

/// The version of a node's users that the sender of `have` holds.
pub(in crate::cluster) fn held(have: &[(NodeId, u64)], node: &NodeId) -> Option<u64> {
    have.iter().find(|(id, _)| id == node).map(|(_, version)| *version)
}
