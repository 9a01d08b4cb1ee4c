use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunks::Chunks;
use super::local_state::{Delta, LocalState};
use super::record::{At, Record};
use crate::cluster::message::ChannelState;
use crate::cluster::{ChannelKey, NodeId};
use crate::id::UserId;

/// The users of one channel at all nodes of ours.
#[derive(Debug)]
pub(in crate::cluster) struct ReplicatedChannel {
    life: Life,
    /// True while the bus delivers the channel's topic.
    pub(super) subscribed: bool,
    /// The time when the state was last asked for: soon after it nothing is missing.
    pub(super) asked: Option<u64>,
    /// The users of this node.
    pub(super) local: LocalState,
    /// The users of each other node, by its name.
    pub(super) records: BTreeMap<Arc<str>, Record>,
    /// The incomplete lists of other nodes.
    pub(super) chunks: BTreeMap<Arc<str>, Chunks>,
}

/// Users of another node that have changed, each with whether that node has it now.
pub(in crate::cluster) type Changed = Vec<(UserId, bool)>;

/// The presence of users of this node in a channel.
///
/// ```text
///            Opened             Closed               10 s
///  absent ---------> OPEN <-------------> LINGERING -------> absent
///                           Opened         ^
///  absent --- somebody asks who is there --+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Life {
    /// There are users here.
    Open { instance: u64 },
    /// There are none, but messages of others still count.
    Lingering,
}

impl ReplicatedChannel {
    /// A channel without users here. `records` is what is remembered of it, and `version` not below any version of it that
    /// was published.
    pub(super) fn new(version: u64, records: BTreeMap<Arc<str>, Record>) -> ReplicatedChannel {
        ReplicatedChannel {
            life: Life::Lingering,
            subscribed: false,
            asked: None,
            local: LocalState::new(version),
            records,
            chunks: BTreeMap::new(),
        }
    }

    pub(in crate::cluster) fn is_open(&self) -> bool {
        matches!(self.life, Life::Open { .. })
    }

    /// Begins another life of the channel. Returns the messages about users that an earlier life has left behind.
    pub(super) fn open(&mut self, instance: u64) -> Vec<Delta> {
        self.life = Life::Open { instance };
        self.local.leave_all()
    }

    /// Ends this life of the channel, if it is the present one. Returns the messages about users that it has left behind.
    pub(super) fn close(&mut self, instance: u64) -> Option<Vec<Delta>> {
        if self.life != (Life::Open { instance }) {
            return None;
        }
        self.life = Life::Lingering;
        Some(self.local.leave_all())
    }

    /// Changes the record of the owner's present life.
    pub(super) fn merge(&mut self, owner: &NodeId, change: impl FnOnce(&mut Record) -> Vec<UserId>) -> Changed {
        let life = owner.incarnation;
        self.alter(&owner.name, |record| {
            // The life that counts need not have the larger number.
            let mut changed = if record.at().incarnation > life { record.begin(life) } else { Vec::new() };
            changed.extend(change(record));
            changed
        })
    }

    /// Changes the record of an owner, whatever life of it is known.
    pub(super) fn alter(&mut self, owner: &Arc<str>, change: impl FnOnce(&mut Record) -> Vec<UserId>) -> Changed {
        let record = self.records.entry(owner.clone()).or_default();
        let changed = change(record);
        let is_there = |user: UserId| {
            let is_there = record.get(&user).is_some();
            (user, is_there)
        };
        changed.into_iter().map(is_there).collect()
    }

    /// The users of this node, for another one.
    pub(super) fn state(&self, channel: ChannelKey) -> ChannelState {
        ChannelState { channel, version: self.local.version(), users: self.local.list(), part: None }
    }

    /// The versions of all nodes that are known for certain, this node's first.
    pub(super) fn have(&self, me: &NodeId) -> Vec<(NodeId, u64)> {
        let known = |(name, record): (&Arc<str>, &Record)| {
            let At { incarnation, version } = record.known_at()?;
            Some((NodeId { name: name.clone(), incarnation }, version))
        };
        let own = (me.clone(), self.local.version());
        std::iter::once(own).chain(self.records.iter().filter_map(known)).collect()
    }

    /// The nodes of ours that have users, also those that seem dead.
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

    /// Returns whether another node was heard to have this user, living or not.
    pub(in crate::cluster) fn is_remote(&self, user: &UserId) -> bool {
        self.records.values().any(|record| record.get(user).is_some())
    }

    /// The time when the channel's state was last asked for.
    pub(in crate::cluster) fn asked(&self) -> Option<u64> {
        self.asked
    }

    /// Returns whether something is missing of what this node has published.
    pub(super) fn is_behind(&self, owner: &Arc<str>) -> bool {
        self.records.get(owner).is_some_and(Record::is_behind)
    }
}
