use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::legacy::Guests;
use super::liveness::Nodes;
use super::local_state::{Delta, LocalState};
use super::message::ChannelState;
use super::parts::Parts;
use super::record::{At, Record};
use super::view::{Claim, Display, unite};
use super::{ChannelKey, NodeId, RemoteChange, RemoteMember, Settings};
use crate::id::UserId;

/// Everything that is known of one channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) life: Life,
    /// Whether the bus delivers its topic.
    pub(super) subscribed: bool,
    /// Since when nothing should be missing: its state was asked for then.
    pub(super) asked: Option<u64>,
    /// The users of this node.
    pub(super) own: LocalState,
    /// Those of each other node of ours, by its name.
    pub(super) records: BTreeMap<Arc<str>, Record>,
    /// What has come of lists of theirs that come in parts.
    pub(super) parts: BTreeMap<Arc<str>, Parts>,
    /// Those of nodes of other languages.
    pub(super) guests: Guests,
    pub(super) display: Display,
}

/// Whether users are here.
///
/// ```text
///            Opened             Closed               10 s
///  absent ---------> OPEN <-------------> LINGERING -------> absent
///                           Opened         ^
///  absent --- somebody asks who is there --+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    /// There are.
    Open { instance: u64 },
    /// There are none, but what others say is still heard.
    Lingering,
}

impl Channel {
    /// Nobody is here yet. `records` is what is remembered of it, and `version` not below any that was said of it.
    pub(super) fn new(version: u64, records: BTreeMap<Arc<str>, Record>, settings: &Settings) -> Channel {
        Channel {
            life: Life::Lingering,
            subscribed: false,
            asked: None,
            own: LocalState::new(version),
            records,
            parts: BTreeMap::new(),
            guests: Guests::new(settings),
            display: Display::default(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.life, Life::Open { .. })
    }

    /// Changes what a node of ours has said. Whom that takes away no list of a node of another language brings back for a
    /// while, and whoever comes is nobody who was only listed. Answers with the users that it changes.
    pub(super) fn merge(
        &mut self,
        owner: &NodeId,
        now: u64,
        change: impl FnOnce(&mut Record) -> Vec<UserId>,
    ) -> Vec<UserId> {
        // Whoever gets here is the life that counts. Another one may have had a larger number.
        let life = owner.incarnation;
        self.alter(&owner.name, now, |record| {
            let mut changed = if record.at().incarnation > life { record.begin(life) } else { Vec::new() };
            changed.extend(change(record));
            changed
        })
    }

    /// The same, for whatever life of the owner is known.
    pub(super) fn alter(
        &mut self,
        owner: &Arc<str>,
        now: u64,
        change: impl FnOnce(&mut Record) -> Vec<UserId>,
    ) -> Vec<UserId> {
        let record = self.records.entry(owner.clone()).or_default();
        let changed = change(record);
        for user in &changed {
            match record.get(user) {
                Some(_) => self.guests.unlist(user),
                None => self.guests.note_leaving(user, now),
            }
        }
        changed
    }

    /// Everybody here goes.
    pub(super) fn leave_all(&mut self, now: u64) -> Vec<Delta> {
        self.own.users().keys().for_each(|user| self.guests.note_leaving(user, now));
        self.own.leave_all()
    }

    /// The users of this node, for another one.
    pub(super) fn state(&self, channel: ChannelKey) -> ChannelState {
        ChannelState { channel, version: self.own.version(), users: self.own.list(), part: None }
    }

    /// How far each node has got, this one first, as far as nothing is missing of it.
    pub(super) fn have(&self, me: &NodeId) -> Vec<(NodeId, u64)> {
        let known = |(name, record): (&Arc<str>, &Record)| {
            let At { incarnation, version } = record.known_at()?;
            Some((NodeId { name: name.clone(), incarnation }, version))
        };
        let own = (me.clone(), self.own.version());
        std::iter::once(own).chain(self.records.iter().filter_map(known)).collect()
    }

    /// The nodes of ours that have users, also those that seem dead.
    pub(super) fn owners(&self) -> impl Iterator<Item = NodeId> {
        self.records.iter().filter(|(_, record)| record.iter().next().is_some()).map(life)
    }

    /// The nodes of ours that live and have this user.
    pub(super) fn owners_of<'a>(&'a self, user: &'a UserId, nodes: &'a Nodes) -> impl Iterator<Item = NodeId> {
        self.living(nodes).filter(|(_, record)| record.get(user).is_some()).map(life)
    }

    /// Whether a node of ours was heard to have this user, living or not, or this one has it.
    pub(super) fn is_ours(&self, user: &UserId) -> bool {
        self.own.users().contains_key(user) || self.is_at_others(user)
    }

    /// Whether anybody else was heard to have this user, living or not.
    pub(super) fn is_elsewhere(&self, user: &UserId) -> bool {
        self.guests.get(user).is_some() || self.is_at_others(user)
    }

    fn is_at_others(&self, user: &UserId) -> bool {
        self.records.values().any(|record| record.get(user).is_some())
    }

    /// How this user is to be shown, if another node has it.
    pub(super) fn look<'a>(&'a self, user: &UserId, nodes: &'a Nodes, me: &'a str) -> Option<RemoteMember> {
        let claim = |(name, record): (&'a Arc<str>, &'a Record)| Some(Claim::of(name, record.get(user)?));
        let ours = self.living(nodes).filter_map(claim);
        let guest = self.guests.get(user).map(|guest| Claim {
            // When it joined is not told, so one of ours always speaks for the user.
            rank: (0, guest.home()),
            assigns: &guest.assigns,
            presence: guest.presence.as_ref(),
        });
        let others: Vec<_> = ours.chain(guest).collect();
        unite(self.own.users().get(user).map(|entry| Claim::of(me, entry)), &others)
    }

    /// All users of nodes that live, but for those that only this node has.
    pub(super) fn others(&self, nodes: &Nodes) -> BTreeSet<UserId> {
        let ours = self.living(nodes).flat_map(|(_, record)| record.iter().map(|(user, _)| user));
        ours.chain(self.guests.users()).cloned().collect()
    }

    /// What is to be shown otherwise than before.
    pub(super) fn refresh(&mut self, nodes: &Nodes, me: &str, most: usize) -> Vec<RemoteChange> {
        let mut display = std::mem::take(&mut self.display);
        let changes = display.refresh(|| self.others(nodes), |user| self.look(user, nodes, me), most);
        self.display = display;
        changes
    }

    fn living<'a>(&'a self, nodes: &'a Nodes) -> impl Iterator<Item = (&'a Arc<str>, &'a Record)> {
        self.records.iter().filter(|(name, record)| nodes.is_up(name, record.at().incarnation))
    }
}

/// The life of a node that its record is of.
fn life((name, record): (&Arc<str>, &Record)) -> NodeId {
    NodeId { name: name.clone(), incarnation: record.at().incarnation }
}
