use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunks::Chunks;
use super::local_state::{Delta, LocalState};
use super::record::{At, Record};
use crate::cluster::message::ChannelState;
use crate::cluster::{ChannelKey, NodeId};
use crate::id::UserId;

/// The users of one channel on all nodes of our kind.
#[derive(Debug)]
pub(in crate::cluster) struct ReplicatedChannel {
    lifecycle: Lifecycle,
    /// True while the bus delivers the channel's topic.
    pub(super) subscribed: bool,
    /// The time at which the state was last requested. After the time of a query the record of every node that answers
    /// is complete.
    pub(super) asked: Option<u64>,
    /// The users of this node.
    pub(super) local: LocalState,
    /// The users of each other node, by its name.
    pub(super) records: BTreeMap<Arc<str>, Record>,
    /// The incomplete lists of other nodes.
    pub(super) chunks: BTreeMap<Arc<str>, Chunks>,
}

/// The changed users of another node, each with `true` if that node has the user now.
pub(in crate::cluster) type Changed = Vec<(UserId, bool)>;

/// The presence of users of this node in a channel.
///
/// ```text
///            Opened             Closed               10 s
///  absent ---------> OPEN <-------------> LINGERING -------> absent
///                           Opened         ^
///  absent --- expected join, query --------+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lifecycle {
    /// The channel has users here. `instance` distinguishes this opening from earlier ones.
    Open { instance: u64 },
    /// The channel has no users here. Its topic is still subscribed, and messages of other nodes are applied.
    Lingering,
}

impl ReplicatedChannel {
    /// Creates a channel without users here. `records` are the remembered records of other nodes. `version` is not
    /// below any version of the channel that this node has published: a version never decreases.
    pub(super) fn new(version: u64, records: BTreeMap<Arc<str>, Record>) -> ReplicatedChannel {
        ReplicatedChannel {
            lifecycle: Lifecycle::Lingering,
            subscribed: false,
            asked: None,
            local: LocalState::new(version),
            records,
            chunks: BTreeMap::new(),
        }
    }

    pub(in crate::cluster) fn is_open(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Open { .. })
    }

    /// Opens the channel. Returns the messages about users that an earlier instance has left behind. Usually there are
    /// none, because users leave before their channel closes; but other nodes would show them as long as this node is
    /// alive.
    pub(super) fn open(&mut self, instance: u64, stays: impl Fn(&UserId) -> bool) -> Vec<Delta> {
        self.lifecycle = Lifecycle::Open { instance };
        self.local.leave_all(stays)
    }

    /// Closes the channel, if this is its present instance. Returns the messages about users that it has left behind,
    /// except for those that stay for a moment.
    pub(super) fn close(&mut self, instance: u64, stays: impl Fn(&UserId) -> bool) -> Option<Vec<Delta>> {
        // An instance that was replaced must not close its successor.
        if self.lifecycle != (Lifecycle::Open { instance }) {
            return None;
        }
        self.lifecycle = Lifecycle::Lingering;
        Some(self.local.leave_all(stays))
    }

    /// Changes the record of the owner's valid incarnation.
    pub(super) fn merge(&mut self, owner: &NodeId, change: impl FnOnce(&mut Record) -> Vec<UserId>) -> Changed {
        let incarnation = owner.incarnation;
        self.alter(&owner.name, |record| {
            // The caller has checked that the owner's incarnation is valid. It may have a smaller number than the known
            // one (docs/cluster.md, Incarnations of one name), which the merge rule alone would take for outdated.
            let mut changed =
                if record.at().incarnation > incarnation { record.begin(incarnation) } else { Vec::new() };
            changed.extend(change(record));
            changed
        })
    }

    /// Changes the record of an owner, whichever incarnation of it is known.
    pub(super) fn alter(&mut self, owner: &Arc<str>, change: impl FnOnce(&mut Record) -> Vec<UserId>) -> Changed {
        let record = self.records.entry(owner.clone()).or_default();
        let changed = change(record);
        let is_there = |user: UserId| {
            let is_there = record.get(&user).is_some();
            (user, is_there)
        };
        changed.into_iter().map(is_there).collect()
    }

    /// The snapshot of this node's users, for another node.
    pub(super) fn state(&self, channel: ChannelKey) -> ChannelState {
        ChannelState { channel, version: self.local.version(), users: self.local.list(), part: None }
    }

    /// The version of each node whose users are known for certain, this node's first. A doubtful version is left out,
    /// so that its owner sends the users again.
    pub(super) fn have(&self, me: &NodeId) -> Vec<(NodeId, u64)> {
        let known = |(name, record): (&Arc<str>, &Record)| {
            let At { incarnation, version } = record.known_at()?;
            Some((NodeId { name: name.clone(), incarnation }, version))
        };
        let own = (me.clone(), self.local.version());
        std::iter::once(own).chain(self.records.iter().filter_map(known)).collect()
    }

    /// The nodes of our kind that have users, also those that seem dead.
    pub(super) fn owners(&self) -> impl Iterator<Item = NodeId> {
        let has_users = self.records.iter().filter(|(_, record)| !record.is_empty());
        has_users.map(|(name, record)| NodeId { name: name.clone(), incarnation: record.at().incarnation })
    }

    pub(in crate::cluster) fn local(&self) -> &LocalState {
        &self.local
    }

    /// The records of other nodes, by their names.
    pub(in crate::cluster) fn records(&self) -> impl Iterator<Item = (&Arc<str>, &Record)> {
        self.records.iter()
    }

    /// Returns whether another node has this user, also if that node seems dead.
    pub(in crate::cluster) fn is_remote(&self, user: &UserId) -> bool {
        self.records.values().any(|record| record.get(user).is_some())
    }

    /// The time at which the channel's state was last requested.
    pub(in crate::cluster) fn asked(&self) -> Option<u64> {
        self.asked
    }

    /// Returns whether changes are missing that the owner has published.
    pub(super) fn is_behind(&self, owner: &Arc<str>) -> bool {
        self.records.get(owner).is_some_and(Record::is_behind)
    }
}
