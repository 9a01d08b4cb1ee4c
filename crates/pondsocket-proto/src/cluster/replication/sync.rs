//! The recovery of what a node has missed, and its help for others to recover (docs/cluster.md, State that converges).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::channel::ReplicatedChannel;
use super::channels::{Channels, digest_of};
use super::chunks;
use crate::cluster::context::{Context, Effect};
use crate::cluster::message::{Body, Ext, NodeEvent};
use crate::cluster::timers::Timer;
use crate::cluster::{ChannelKey, NodeId};

/// The shortest time between two rounds of the sweep, which publishes all digests over and over, in milliseconds.
const SWEEP_STEP: u64 = 1000;

/// The number of channels whose states are asked for at once, and the time until further ones are: a node that comes back
/// with many channels must not flood the bus.
const SYNCS_AT_ONCE: usize = 256;
const SYNC_STEP: u64 = 5;

/// The questions for states that are to be asked and answered.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Sync {
    /// True while the bus delivers the inbox of this node: only then are questions answered.
    inbox: bool,
    /// Channels whose state is to be asked for, or whose digest is to be published if no user is here any more.
    wanted: BTreeSet<ChannelKey>,
    /// The nodes that have asked for the users of this one, and the channels.
    askers: BTreeMap<NodeId, BTreeSet<ChannelKey>>,
    /// The nodes of which something is missing.
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

    /// Notes that the bus delivers nothing any more, or not yet.
    pub(in crate::cluster) fn unsubscribe(&mut self, channels: &mut Channels) {
        self.inbox = false;
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
        if self.inbox {
            return;
        }
        self.inbox = true;
        cx.announce(NodeEvent::Hello);
        self.want_all_states(cx, channels);
        // What was published when the last user left a channel here may have been lost with the bus, also some time before
        // that was noticed. No node asks for the state of such a channel here, so the digest has to tell.
        self.wanted.extend(channels.closed().cloned());
        cx.timers.start(Timer::Sync, cx.now);
    }

    pub(in crate::cluster) fn want_all_states(&mut self, cx: &mut Context, channels: &Channels) {
        channels.keys().for_each(|key| self.want_state(cx, channels, key));
    }

    /// Has a channel's state asked for, as soon as the answers can be heard.
    pub(in crate::cluster) fn want_state(&mut self, cx: &mut Context, channels: &Channels, key: &ChannelKey) {
        let can_ask = |channel: &ReplicatedChannel| channel.subscribed && channel.is_open();
        if self.inbox && channels.get(key).is_some_and(can_ask) {
            self.wanted.insert(key.clone());
            cx.timers.start(Timer::Sync, cx.now);
        }
    }

    /// Asks for the states that are wanted, some at once.
    pub(in crate::cluster) fn ask_for_states(&mut self, cx: &mut Context, channels: &mut Channels) {
        for _ in 0..SYNCS_AT_ONCE {
            let Some(key) = self.wanted.pop_first() else { return };
            if channels.is_open(&key) {
                ask_for_state(cx, channels, &key);
            } else {
                publish_digest(cx, channels, &key);
            }
        }
        cx.timers.start(Timer::Sync, cx.now + SYNC_STEP);
    }

    /// Has a node told of the users here, if it says that it holds another version of them.
    pub(in crate::cluster) fn owe_if_behind(
        &mut self,
        cx: &mut Context,
        channels: &Channels,
        key: &ChannelKey,
        ext: &Ext,
    ) {
        let held = held(&ext.have, cx.me());
        let is_behind = match channels.local(key) {
            (version, Some(users)) => held != Some(version) && (held.is_some() || !users.is_empty()),
            // Versions of several channels are below the last one: only an older one can miss something.
            (last, None) => held.is_some_and(|version| version < last),
        };
        if is_behind {
            self.owe(cx, &ext.node, [key.clone()]);
        }
    }

    /// Has a node told of the users here in these channels.
    pub(in crate::cluster) fn owe(
        &mut self,
        cx: &mut Context,
        to: &NodeId,
        channels: impl IntoIterator<Item = ChannelKey>,
    ) {
        self.askers.entry(to.clone()).or_default().extend(channels);
        cx.timers.start(Timer::Answer, cx.now + cx.settings.coalesce);
    }

    /// Tells all nodes that have asked of the users here, in as few messages as their bounds allow.
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

    /// Has a node asked for what is missing of its users in a channel, unless that comes by itself.
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

    /// Has a node that has come back asked for what is still missing in any channel.
    pub(in crate::cluster) fn check_repairs_of(&mut self, cx: &mut Context, channels: &Channels, owner: &Arc<str>) {
        channels.keys().for_each(|key| self.check_repair(cx, channels, key, owner));
    }

    /// Asks a node for what is missing; again and again, ever more slowly, while something is and the node lives.
    pub(in crate::cluster) fn ask_for_repair(
        &mut self,
        cx: &mut Context,
        channels: &Channels,
        owner: &Arc<str>,
        living: Option<NodeId>,
    ) {
        let Some(mut repair) = self.repairs.remove(owner) else { return };
        let Some(node) = living else { return };
        repair.channels.retain(|key| channels.get(key).is_some_and(|channel| channel.is_behind(owner)));
        if repair.channels.is_empty() {
            return;
        }
        let missing: Vec<_> = repair.channels.iter().cloned().collect();
        for some in missing.chunks(cx.settings.state_channels.max(1)) {
            cx.send_to(&node, Body::Repair(some.to_vec()));
        }
        let wait = cx.random.about(cx.settings.repair_again << repair.attempts.min(4));
        repair.attempts += 1;
        self.repairs.insert(owner.clone(), repair);
        cx.timers.set(Timer::Repair(owner.clone()), cx.now + wait);
    }

    /// Publishes the next digest, or the next few, so that all are published in the time of a sweep.
    pub(in crate::cluster) fn sweep(&mut self, cx: &mut Context, channels: &mut Channels) {
        let (sweep, count) = (cx.settings.sweep, channels.len() as u64);
        let pause = (sweep / count.max(1)).max(SWEEP_STEP);
        let some = (count * pause).div_ceil(sweep.max(1)) as usize;
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
        // A list that is not complete by now never will be, or its owner is asked for it again.
        channel.chunks.clear();
        let owners: Vec<_> = channel.records.keys().cloned().collect();
        if !channel.local.users().is_empty() {
            publish_digest(cx, channels, key);
        }
        owners.iter().for_each(|owner| self.check_repair(cx, channels, key, owner));
    }
}

/// Asks for the users of others in a channel, and tells of those here.
fn ask_for_state(cx: &mut Context, channels: &mut Channels, key: &ChannelKey) {
    let Some(channel) = channels.get_mut(key).filter(|channel| channel.subscribed) else { return };
    channel.asked = Some(cx.now);
    let few = channel.local.users().len() <= cx.settings.inline_users;
    let own = few.then(|| channel.state(key.clone()));
    let own = own.filter(|own| chunks::size_of(own) <= cx.settings.state_bytes);
    let ext = Ext { have: channel.have(cx.me()), own, ..cx.ext() };
    // The last user may have left an owner, so that it does not listen there any more. One that seems dead may have been cut
    // off, as this node may have been, and be shown again with what was known before.
    let owners: Vec<_> = channel.owners().collect();
    let from_node = cx.me().source();
    cx.publish_and_send(key, &owners, Body::StateRequest { from_node }, ext);
    cx.effects.push(Effect::Announce(key.clone()));
}

/// Publishes the digest of the users here, with the versions that are known of others, so that both sides learn of what
/// was lost.
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
