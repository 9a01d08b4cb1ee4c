//! Read access to the users of other nodes, whether they are replicated or foreign.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::interop::Interop;
use super::membership::NodeMembership;
use super::orphans::Orphans;
use super::replication::{Channels, Entry, Record, ReplicatedChannel};
use super::{ChannelKey, NodeId};
use crate::id::UserId;
use crate::model::{Assigns, RemoteMember};
use crate::wire::Object;

/// The users of other live nodes, and those of nodes that have gone which are still shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory<'a> {
    channels: &'a Channels,
    membership: &'a NodeMembership,
    interop: &'a Interop,
    orphans: &'a Orphans,
}

/// A node that has a user.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) name: Arc<str>,
    /// The node, if it acknowledges commands in its inbox. Foreign nodes do not.
    pub(super) inbox: Option<NodeId>,
}

impl<'a> Directory<'a> {
    pub(super) fn new(
        channels: &'a Channels,
        membership: &'a NodeMembership,
        interop: &'a Interop,
        orphans: &'a Orphans,
    ) -> Directory<'a> {
        Directory { channels, membership, interop, orphans }
    }

    /// A user in a channel, if another node has it. The entries of all nodes are united into one member.
    pub(super) fn member(&self, key: &ChannelKey, user: &UserId) -> Option<RemoteMember> {
        let channel = self.channels.get(key)?;
        let of_record = |(name, record): (&'a Arc<str>, &'a Record)| Some(Claim::of(name, record.get(user)?));
        let others = self.living(channel).filter_map(of_record);
        let foreign = self.interop.get(key, user).map(|member| Claim {
            // Foreign nodes do not publish the time of a join, so it counts as the oldest (docs/cluster.md, One user on
            // several nodes).
            rank: (0, member.home()),
            assigns: &member.assigns,
            presence: member.presence.as_ref(),
        });
        let orphan = self.orphans.get(key, user).map(|orphan| Claim::of(&orphan.node.name, &orphan.entry));
        let own = channel.local().users().get(user).map(|entry| Claim::of(self.membership.me(), entry));
        unite(own, &others.chain(foreign).chain(orphan).collect::<Vec<_>>())
    }

    /// A user of other nodes, as [`member`](Self::member) returns it, if the channel is open here.
    pub(super) fn member_of_open(&self, key: &ChannelKey, user: &UserId) -> Option<RemoteMember> {
        self.channels.is_open(key).then(|| self.member(key, user)).flatten()
    }

    /// The users in a channel, but for those that only this node has.
    pub(super) fn members(&self, key: &ChannelKey) -> BTreeSet<UserId> {
        let Some(channel) = self.channels.get(key) else { return BTreeSet::new() };
        let others = self.living(channel).flat_map(|(_, record)| record.iter().map(|(user, _)| user));
        others.chain(self.interop.users(key)).chain(self.orphans.users(key)).cloned().collect()
    }

    /// The users of a node in a channel, also of one that has died.
    pub(super) fn users_of(&self, key: &ChannelKey, node: &str) -> BTreeSet<UserId> {
        let records = self.channels.get(key).into_iter().flat_map(ReplicatedChannel::records);
        let of_node = records.filter(|(name, _)| &***name == node);
        of_node.flat_map(|(_, record)| record.iter().map(|(user, _)| user.clone())).collect()
    }

    /// Returns whether a live node has a user: this one, another one, or a foreign one.
    pub(super) fn is_present(&self, key: &ChannelKey, user: &UserId) -> bool {
        self.channels.is_local(key, user) || !self.holders(key, user).is_empty()
    }

    /// Returns whether this node has a user.
    pub(super) fn is_local(&self, key: &ChannelKey, user: &UserId) -> bool {
        self.channels.is_local(key, user)
    }

    /// Returns whether the node of a user has gone, and the user is shown here for its presence grace.
    pub(super) fn is_orphan(&self, key: &ChannelKey, user: &UserId) -> bool {
        self.orphans.get(key, user).is_some()
    }

    /// The channels of this node.
    pub(super) fn channels(&self) -> &'a Channels {
        self.channels
    }

    /// The names of the other live nodes of our kind that have users in a channel.
    pub(super) fn nodes_in(&self, key: &ChannelKey) -> BTreeSet<Arc<str>> {
        let Some(channel) = self.channels.get(key) else { return BTreeSet::new() };
        let with_users = self.living(channel).filter(|(_, record)| !record.is_empty());
        with_users.map(|(name, _)| name.clone()).collect()
    }

    /// The nodes that are known to have a user.
    pub(super) fn holders(&self, key: &ChannelKey, user: &UserId) -> Vec<Holder> {
        let Some(channel) = self.channels.get(key) else { return Vec::new() };
        let has_user = self.living(channel).filter(|(_, record)| record.get(user).is_some());
        let ours = has_user.map(|(name, record)| Holder {
            name: name.clone(),
            inbox: Some(NodeId { name: name.clone(), incarnation: record.at().incarnation }),
        });
        let foreign = self.interop.get(key, user).map(|member| Holder { name: member.home().into(), inbox: None });
        ours.chain(foreign).collect()
    }

    /// The live nodes of our kind.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.membership.up().collect()
    }

    /// Returns whether this incarnation of a node is alive.
    pub(super) fn is_up(&self, node: &NodeId) -> bool {
        self.membership.is_up(&node.name, node.incarnation)
    }

    /// Returns whether there may be nodes whose silence is no answer: foreign nodes answer only if they have the user,
    /// and some nodes of our kind may not be known yet.
    pub(super) fn may_have_silent_nodes(&self, now: u64) -> bool {
        self.interop.has_nodes() || !self.membership.are_all_known(now)
    }

    /// The time at which the state of a channel that is open here was requested.
    pub(super) fn asked(&self, key: &ChannelKey) -> Option<u64> {
        self.channels.get(key).filter(|channel| channel.is_open())?.asked()
    }

    pub(super) fn is_subscribed(&self, key: &ChannelKey) -> bool {
        self.channels.is_subscribed(key)
    }

    fn living(&self, channel: &'a ReplicatedChannel) -> impl Iterator<Item = (&'a Arc<str>, &'a Record)> + use<'a> {
        let membership = self.membership;
        channel.records().filter(|(name, record)| membership.is_up(name, record.at().incarnation))
    }
}

/// The entry of a user on one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    /// The time of the join there, then the node's name, which makes the order total: every node chooses the same
    /// entry.
    rank: (u64, &'a str),
    assigns: &'a Assigns,
    presence: Option<&'a Object>,
}

impl<'a> Claim<'a> {
    pub(super) fn of(node: &'a str, entry: &'a Entry) -> Claim<'a> {
        Claim { rank: (entry.joined, node), assigns: &entry.assigns, presence: entry.presence.as_ref() }
    }
}

/// Unites the entries of one user. Returns `None` for a user that only this node has: it is a local member, not a
/// remote one.
pub(super) fn unite(own: Option<Claim<'_>>, others: &[Claim<'_>]) -> Option<RemoteMember> {
    let first = others.iter().max_by_key(|claim| claim.rank)?;
    let speaker = own.filter(|own| own.rank > first.rank).unwrap_or(*first);
    let tracked = others.iter().filter(|claim| claim.presence.is_some()).max_by_key(|claim| claim.rank);
    let over_local = tracked.zip(own).is_some_and(|(tracked, own)| tracked.rank > own.rank);
    let presence = tracked.and_then(|claim| claim.presence).cloned();
    let joined = first.rank.0;
    Some(RemoteMember { assigns: speaker.assigns.clone(), presence, over_local, joined })
}

#[cfg(test)]
mod tests {
    use super::super::replication::users::tests::object;
    use super::*;
    use crate::wire::Json;

    fn assigns(text: &str) -> Assigns {
        let mut assigns = Assigns::default();
        assigns.set("of", &Json::encode(text).expect("JSON"));
        assigns
    }

    #[test]
    fn assigns_are_those_of_the_latest_join_and_presence_that_of_the_latest_tracked_one() {
        let (of_a, of_b, of_me, there) = (assigns("a"), assigns("b"), assigns("me"), object("{}"));
        let a = Claim { rank: (1, "a"), assigns: &of_a, presence: Some(&there) };
        let b = Claim { rank: (1, "b"), assigns: &of_b, presence: None };
        let me = |joined| Claim { rank: (joined, "me"), assigns: &of_me, presence: None };
        let shown = |assigns: &Assigns, presence, over_local| {
            Some(RemoteMember { assigns: assigns.clone(), presence, over_local, joined: 1 })
        };
        assert_eq!(unite(None, &[a, b]), shown(&of_b, Some(there.clone()), false));
        assert_eq!(unite(None, &[b, a]), shown(&of_b, Some(there.clone()), false));
        assert_eq!(unite(None, &[b]), shown(&of_b, None, false));
        assert_eq!(unite(Some(me(0)), &[a, b]), shown(&of_b, Some(there.clone()), true));
        assert_eq!(unite(Some(me(2)), &[a, b]), shown(&of_me, Some(there.clone()), false));
        assert_eq!(unite(Some(me(0)), &[b]), shown(&of_b, None, false));
        assert_eq!(unite(Some(me(2)), &[]), None);
    }
}
