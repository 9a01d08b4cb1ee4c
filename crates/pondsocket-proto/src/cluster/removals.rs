//! The removals of users whose node may not hear of them: it is dead, or only seems so (docs/cluster.md, Presence grace).

use std::collections::{BTreeMap, VecDeque};

use super::context::Context;
use super::message::{Body, Ext};
use super::replication::Entry;
use super::{ChannelKey, Command, NodeId};
use crate::id::UserId;

/// The commands that have removed users of other nodes from channels with a presence grace.
///
/// A node that is cut off executes a command when it is back, and until then no other node adopts the user. Each removal is that
/// of one membership: a later join of the user is not concerned.
#[derive(Debug, Default)]
pub(super) struct Removals {
    channels: BTreeMap<ChannelKey, BTreeMap<UserId, Vec<Removal>>>,
    /// The earliest first.
    order: VecDeque<(u64, ChannelKey, UserId)>,
}

#[derive(Debug)]
struct Removal {
    node: NodeId,
    /// The time of the join, by the clock of the user's node.
    joined: u64,
    command: Command,
    at: u64,
}

impl Removals {
    /// Notes that a command has removed a user, which the node has. Over `max_commands` the earliest is forgotten.
    pub(super) fn note(
        &mut self,
        cx: &Context,
        key: &ChannelKey,
        user: &UserId,
        (node, joined): (NodeId, u64),
        command: &Command,
    ) {
        let removals = self.channels.entry(key.clone()).or_default().entry(user.clone()).or_default();
        removals.retain(|removal| removal.node != node);
        removals.push(Removal { node, joined, command: command.clone(), at: cx.now });
        self.order.push_back((cx.now, key.clone(), user.clone()));
        if self.order.len() > cx.settings.max_commands {
            self.forget_first();
        }
    }

    /// The command that has removed a user of a node, if there is one for the membership of this entry.
    pub(super) fn command(&self, key: &ChannelKey, user: &UserId, node: &NodeId, entry: &Entry) -> Option<&Command> {
        let removals = self.channels.get(key)?.get(user)?;
        let found = removals.iter().find(|removal| removal.node == *node && entry.joined <= removal.joined);
        found.map(|removal| &removal.command)
    }

    /// Sends a node the commands that it may not have heard: those for users of a channel that it may still have.
    pub(super) fn repeat(&self, cx: &mut Context, key: &ChannelKey, node: &NodeId, may_have: impl Fn(&UserId) -> bool) {
        for (user, removals) in self.channels.get(key).into_iter().flatten() {
            let removal = removals.iter().find(|removal| removal.node == *node);
            if let Some(Removal { joined, command, .. }) = removal.filter(|_| may_have(user)) {
                let user = user.into();
                let body = match command {
                    Command::Evict { reason } => Body::EvictUser { user, reason: reason.clone() },
                    _ => Body::UserRemove { user },
                };
                let ext = Ext { joined: Some(*joined), ..cx.ext() };
                cx.send_to_all(std::slice::from_ref(node), key, body, ext);
            }
        }
    }

    /// Forgets removals from before this time.
    pub(super) fn expire(&mut self, before: u64) {
        while self.order.front().is_some_and(|(at, ..)| *at < before) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((at, key, user)) = self.order.pop_front() else { return };
        let Some(users) = self.channels.get_mut(&key) else { return };
        if let Some(removals) = users.get_mut(&user) {
            // One that was noted again since stays.
            removals.retain(|removal| removal.at > at);
            if removals.is_empty() {
                users.remove(&user);
            }
        }
        if users.is_empty() {
            self.channels.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::random::Random;
    use crate::cluster::replication::users::tests::user;
    use crate::cluster::{Settings, Topics};
    use crate::id::ChannelName;
    use crate::model::Assigns;

    fn context(most: usize) -> Context {
        let me = NodeId { name: "me".into(), incarnation: 1 };
        let settings = Settings { max_commands: most, ..Settings::new(me, Topics::new("p", "n")) };
        Context::new(settings, Random::new(1))
    }

    fn entry(joined: u64) -> Entry {
        Entry { assigns: Assigns::default(), presence: None, joined }
    }

    #[test]
    fn a_removal_is_that_of_the_membership_that_it_was_made_for() {
        let key = ChannelKey { endpoint: "e".into(), channel: ChannelName::new("/x", 9).expect("valid") };
        let (node, next) = (NodeId { name: "a".into(), incarnation: 1 }, NodeId { name: "a".into(), incarnation: 2 });
        let mut removals = Removals::default();
        removals.note(&context(9), &key, &user("ada"), (node.clone(), 5), &Command::Remove);
        assert!(removals.command(&key, &user("ada"), &node, &entry(5)).is_some());
        assert!(removals.command(&key, &user("ada"), &node, &entry(6)).is_none(), "it has joined again");
        assert!(removals.command(&key, &user("ada"), &next, &entry(5)).is_none());
        assert!(removals.command(&key, &user("bob"), &node, &entry(5)).is_none());
    }

    #[test]
    fn the_earliest_removals_are_forgotten_first() {
        let key = ChannelKey { endpoint: "e".into(), channel: ChannelName::new("/x", 9).expect("valid") };
        let node = NodeId { name: "a".into(), incarnation: 1 };
        let (mut removals, mut cx) = (Removals::default(), context(3));
        for (at, name) in [(1, "ada"), (2, "bob"), (3, "cleo"), (4, "dan"), (5, "cleo")] {
            cx.now = at;
            removals.note(&cx, &key, &user(name), (node.clone(), 0), &Command::Remove);
        }
        let known = |removals: &Removals| {
            ["ada", "bob", "cleo", "dan"]
                .into_iter()
                .filter(|name| removals.command(&key, &user(name), &node, &entry(0)).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(known(&removals), ["cleo", "dan"]);
        removals.expire(5);
        assert_eq!(known(&removals), ["cleo"], "the later of its two removals");
        removals.expire(6);
        assert!(known(&removals).is_empty() && removals.channels.is_empty() && removals.order.is_empty());
    }
}
