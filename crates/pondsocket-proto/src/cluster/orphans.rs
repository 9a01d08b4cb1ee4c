//! The users of nodes that have gone. Channels show them for the presence grace, because they may join another node
//! (docs/cluster.md, Presence grace).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::Context;
use super::replication::{Entry, digest};
use super::timers::Timer;
use super::{ChannelKey, NodeId};
use crate::id::UserId;
use crate::model::RemoteMember;

/// The orphans of the channels here: users whose node has gone, in the presence grace of their channel.
///
/// They are copies of what the node has published, apart from its record: another incarnation of its name may replace
/// that in the meantime.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// The open channels with a presence grace.
    channels: BTreeMap<ChannelKey, OrphanChannel>,
}

#[derive(Debug)]
struct OrphanChannel {
    grace: u64,
    /// The time since which the channel is open here.
    opened: u64,
    users: BTreeMap<UserId, Orphan>,
}

/// A user of a node that has gone.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) node: NodeId,
    pub(super) entry: Entry,
    until: u64,
    /// The nodes of which one runs the leave handler if the user does not come back; `None` if its own node has run it.
    heirs: Option<Arc<BTreeSet<Arc<str>>>>,
}

impl Orphans {
    /// Notes that a channel has been opened, with its presence grace. Another instance of it starts without orphans.
    pub(super) fn open(&mut self, cx: &mut Context, key: &ChannelKey, grace: u64) {
        self.close(cx, key);
        if grace > 0 {
            let opened = OrphanChannel { grace, opened: cx.now, users: BTreeMap::new() };
            self.channels.insert(key.clone(), opened);
        }
    }

    pub(super) fn close(&mut self, cx: &mut Context, key: &ChannelKey) {
        if self.channels.remove(key).is_some() {
            cx.timers.stop(&Timer::Orphans(key.clone()));
        }
    }

    /// Returns whether a channel here has a presence grace.
    pub(super) fn has_grace(&self, key: &ChannelKey) -> bool {
        self.channels.contains_key(key)
    }

    /// Takes over users of a node that has gone. `heirs` are the nodes that may run their leave handlers, this one apart;
    /// `None` if the node has run them itself. Above `max_users` further users are not taken over: they leave at once.
    pub(super) fn adopt(
        &mut self,
        cx: &mut Context,
        key: &ChannelKey,
        node: &NodeId,
        users: impl IntoIterator<Item = (UserId, Entry)>,
        heirs: Option<BTreeSet<Arc<str>>>,
    ) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let until = cx.now + channel.grace;
        // A node that has just opened the channel may not be known to the others yet, which could then choose another
        // heir. So it does not choose itself.
        let may_inherit = cx.now >= channel.opened + 2 * cx.settings.beat;
        let heirs = heirs.map(|mut heirs| {
            heirs.extend(may_inherit.then(|| cx.me().name.clone()));
            Arc::new(heirs)
        });
        for (user, entry) in users {
            if channel.users.len() < cx.settings.max_users || channel.users.contains_key(&user) {
                channel.users.insert(user, Orphan { node: node.clone(), entry, until, heirs: heirs.clone() });
            }
        }
        if !channel.users.is_empty() {
            cx.timers.start(Timer::Orphans(key.clone()), until);
        }
    }

    /// An orphan of a channel.
    pub(super) fn get(&self, key: &ChannelKey, user: &UserId) -> Option<&Orphan> {
        self.channels.get(key)?.users.get(user)
    }

    /// The orphans of a channel.
    pub(super) fn users(&self, key: &ChannelKey) -> impl Iterator<Item = &UserId> {
        self.channels.get(key).into_iter().flat_map(|channel| channel.users.keys())
    }

    /// Takes a user whose grace ends early, because a command removes it from the channel.
    pub(super) fn take(&mut self, key: &ChannelKey, user: &UserId) -> Option<Orphan> {
        self.channels.get_mut(key)?.users.remove(user)
    }

    /// Notes that a user is none any more: it has joined another node, or its node is known to have lost it. Returns
    /// `true` if it was one.
    pub(super) fn remove(&mut self, key: &ChannelKey, user: &UserId) -> bool {
        self.channels.get_mut(key).is_some_and(|channel| channel.users.remove(user).is_some())
    }

    /// Notes that a node is back: its users are its own again. Returns them.
    pub(super) fn give_back(&mut self, node: &NodeId) -> Vec<(ChannelKey, Vec<UserId>)> {
        let give_back = |(key, channel): (&ChannelKey, &mut OrphanChannel)| {
            let own = |(_, orphan): &(&UserId, &Orphan)| orphan.node == *node;
            let users: Vec<_> = channel.users.iter().filter(own).map(|(user, _)| user.clone()).collect();
            users.iter().for_each(|user| drop(channel.users.remove(user)));
            (key.clone(), users)
        };
        self.channels.iter_mut().map(give_back).filter(|(_, users)| !users.is_empty()).collect()
    }

    /// Notes that a node which was taken for dead has stopped in order: it has run the leave handlers itself.
    pub(super) fn disinherit(&mut self, node: &NodeId) {
        let users = self.channels.values_mut().flat_map(|channel| channel.users.values_mut());
        users.filter(|orphan| orphan.node == *node).for_each(|orphan| orphan.heirs = None);
    }

    /// Takes the users whose grace has ended.
    pub(super) fn take_due(&mut self, cx: &mut Context, key: &ChannelKey) -> Vec<(UserId, Orphan)> {
        let Some(channel) = self.channels.get_mut(key) else { return Vec::new() };
        let due = channel.users.iter().filter(|(_, orphan)| orphan.until <= cx.now).map(|(user, _)| user.clone());
        let due: Vec<_> = due.collect();
        let taken = due.into_iter().filter_map(|user| channel.users.remove_entry(&user)).collect();
        if let Some(next) = channel.users.values().map(|orphan| orphan.until).min() {
            cx.timers.set(Timer::Orphans(key.clone()), next);
        }
        taken
    }
}

impl Orphan {
    /// The user as a member on another node.
    pub(super) fn into_member(self) -> RemoteMember {
        let Entry { assigns, presence, joined } = self.entry;
        RemoteMember { assigns, presence, over_local: false, joined }
    }

    /// Returns whether a node runs the leave handler of this user. Among the nodes that had the channel when the user's
    /// node died, and those that have it now (`present`), one is chosen by a hash, so that all choose the same without a
    /// message. A node that has died since may be chosen: then nobody runs it, and never two.
    pub(super) fn is_inherited_by(
        &self,
        me: &Arc<str>,
        key: &ChannelKey,
        user: &UserId,
        present: &BTreeSet<Arc<str>>,
    ) -> bool {
        let Some(heirs) = &self.heirs else { return false };
        let weight = |node: &Arc<str>| {
            // A line break is in no name of an endpoint, a channel or a user.
            let text = format!("{}\n{}\n{}\n{node}", key.endpoint, key.channel, user);
            (digest::of_text(&text), node.clone())
        };
        heirs.contains(me) && heirs.union(present).map(weight).max().is_some_and(|(_, heir)| heir == *me)
    }
}
