//! The adapter for nodes of other languages, called foreign (docs/cluster.md, Nodes of other languages). Incoming
//! messages are translated into commands and changes of the core, and the state of this node into messages that foreign
//! nodes understand. Foreign nodes have no versions, no inboxes and no acknowledgements; so their users are kept here,
//! apart from the replicated state, whose merging depends on versions.

mod foreign_members;
mod foreign_nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::{Context, ForeignUpdate};
use super::io::Excess;
use super::membership::NodeMembership;
use super::message::{Body, UserState};
use super::replication::{Channels, Entry, Record, chunks, users};
use super::timers::Timer;
use super::{ChannelKey, Command, Settings};
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::{Json, Object};

pub(super) use foreign_members::ForeignMember;
use foreign_members::{ForeignMembers, tracked};
use foreign_nodes::ForeignNodes;

/// The foreign nodes and their users.
#[derive(Debug)]
pub(super) struct Interop {
    nodes: ForeignNodes,
    channels: BTreeMap<ChannelKey, ForeignMembers>,
}

/// The meaning of a foreign node's message for the rest of the core.
#[derive(Debug)]
pub(super) enum Translated {
    /// These users of foreign nodes have changed.
    Changed(Vec<UserId>),
    /// The user has left its node.
    Left(UserId),
    /// A request to change a user of this node.
    Command(UserId, Command),
    /// A request to remove a user from the channel, on all nodes.
    Removal(UserId, Command),
    /// A query for a user.
    Lookup { user: Arc<str>, request: String },
    /// The answer to a query of this node.
    Found { user: Arc<str>, request: String, entry: Entry },
}

/// The kind of node that a user is on.
enum Owner {
    Foreign,
    ThisNode,
    OtherNode,
}

impl Interop {
    pub(super) fn new(settings: &Settings) -> Interop {
        let nodes = ForeignNodes::new(settings.foreign_lifetime, settings.max_foreign_nodes);
        Interop { nodes, channels: BTreeMap::new() }
    }

    /// Starts the timers, if there may be foreign nodes.
    pub(super) fn start(cx: &mut Context) {
        if cx.settings.interop {
            cx.timers.set(Timer::ForeignScan, cx.now + cx.settings.foreign_scan);
            cx.timers.set(Timer::Announce, cx.now + cx.settings.announce);
        }
    }

    /// Returns whether there are live foreign nodes.
    pub(super) fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// A user of a foreign node in a channel.
    pub(super) fn get(&self, key: &ChannelKey, user: &UserId) -> Option<&ForeignMember> {
        self.channels.get(key)?.get(user)
    }

    /// The users of foreign nodes in a channel.
    pub(super) fn users(&self, key: &ChannelKey) -> impl Iterator<Item = &UserId> {
        self.channels.get(key).into_iter().flat_map(ForeignMembers::users)
    }

    /// Drops the foreign users of a channel whose topic is no longer subscribed.
    pub(super) fn leave(&mut self, key: &ChannelKey) {
        self.channels.remove(key);
    }

    /// Publishes a heartbeat, and schedules the next.
    pub(super) fn heartbeat(cx: &mut Context) {
        if cx.settings.interop {
            cx.heartbeat();
            cx.timers.set(Timer::Heartbeat, cx.now + cx.settings.heartbeat);
        }
    }

    /// Restarts the measurement of the silence of foreign nodes: their messages could not arrive before.
    pub(super) fn suspend_detection(&mut self, now: u64) {
        self.nodes.suspend_detection(now);
    }

    /// Notes a message of a foreign node. If this makes too many nodes, the one that has been silent for longest counts
    /// as dead, and its users are returned.
    pub(super) fn heard(&mut self, source: &Arc<str>, now: u64) -> Vec<(ChannelKey, Vec<UserId>)> {
        let dead = self.nodes.heard(source, now);
        self.remove_nodes(&dead.into_iter().collect())
    }

    /// Removes foreign nodes that have been silent for too long, and returns their users. While the bus is down none is
    /// removed.
    pub(super) fn scan(&mut self, cx: &mut Context) -> Vec<(ChannelKey, Vec<UserId>)> {
        cx.timers.set(Timer::ForeignScan, cx.now + cx.settings.foreign_scan);
        // The silence during an outage is that of the bus. It is excused when the bus is back.
        if !cx.is_connected() {
            return Vec::new();
        }
        let dead = self.nodes.expire(cx.now);
        self.remove_nodes(&dead)
    }

    fn remove_nodes(&mut self, dead: &BTreeSet<Arc<str>>) -> Vec<(ChannelKey, Vec<UserId>)> {
        if dead.is_empty() {
            return Vec::new();
        }
        self.channels.iter_mut().map(|(key, members)| (key.clone(), members.remove_nodes(dead))).collect()
    }

    /// Notes that a foreign node has published a message in a channel. Returns whether it is the first: then the node's
    /// own request for the state may have been sent before this node was subscribed, and is answered now.
    pub(super) fn note(&mut self, cx: &Context, key: &ChannelKey, source: &Arc<str>) -> bool {
        self.members(cx, key).note(source)
    }

    /// Translates a message that a foreign node has published in a channel, and applies it to the users of foreign
    /// nodes.
    pub(super) fn translate(
        &mut self,
        cx: &mut Context,
        (channels, membership): (&Channels, &NodeMembership),
        key: &ChannelKey,
        source: &Arc<str>,
        body: Body,
    ) -> Option<Translated> {
        let owner = |members: &ForeignMembers, user: &UserId| {
            let living = |(name, record): (&Arc<str>, &Record)| {
                membership.is_up(name, record.at().incarnation) && record.get(user).is_some()
            };
            match channels.get(key) {
                // The same user can be on the sender and on nodes of our kind: the sender then means its own entry.
                _ if members.is_at(user, source) => Owner::Foreign,
                Some(channel) if channel.local().users().contains_key(user) => Owner::ThisNode,
                Some(channel) if channel.records().any(living) => Owner::OtherNode,
                _ => Owner::Foreign,
            }
        };
        let local = |user: &UserId| channels.get(key)?.local().users().get(user);
        if let Some((user, command)) = Command::removal(&body) {
            return Some(Translated::Removal(UserId::new(user).ok()?, command));
        }
        match body {
            Body::UserGetRequest { user, request, .. } => Some(Translated::Lookup { user, request }),
            Body::UserGetResponse { user, request, assigns, presence } => {
                let entry = Entry { assigns, presence: tracked(presence), joined: 0 };
                Some(Translated::Found { user, request, entry })
            }
            Body::StateResponse { users } => Some(self.take_list(cx, channels, key, source, users)),
            Body::UserJoined { user, presence, assigns } => {
                let user = UserId::new(&user).ok()?;
                self.has_room_for(cx, key, &user).then_some(())?;
                let (assigns, presence) = (cx.limits.assigns(assigns), cx.limits.presence(presence));
                self.members(cx, key).join(source, user.clone(), assigns, presence);
                Some(Translated::Changed(vec![user]))
            }
            // From any node: some nodes publish nothing when they have executed a command.
            Body::UserLeft { user } => Some(Translated::Left(UserId::new(&user).ok()?)),
            Body::PresenceUpdate { .. } | Body::PresenceRemoved { .. } => {
                let (user, presence) = match body {
                    Body::PresenceUpdate { user, presence, .. } => (user, Some(presence)),
                    Body::PresenceRemoved { user } => (user, None),
                    _ => return None,
                };
                let user = UserId::new(&user).ok()?;
                match owner(self.members(cx, key), &user) {
                    Owner::Foreign => self.show(cx, key, source, user, presence),
                    // A request to this node as the owner, unless it changes nothing.
                    Owner::ThisNode => (local(&user)?.presence != presence)
                        .then(|| Translated::Command(user, presence.map_or(Command::Untrack, Command::Presence))),
                    // That node receives the request itself.
                    Owner::OtherNode => None,
                }
            }
            Body::AssignsUpdate { user, assigns, delta } => {
                let user = UserId::new(&user).ok()?;
                match owner(self.members(cx, key), &user) {
                    Owner::Foreign => {
                        let all = self.members(cx, key).assigned(&user, assigns, delta)?;
                        let all = cx.limits.assigns(all);
                        self.members(cx, key).assign(&user, Some(all), None);
                        Some(Translated::Changed(vec![user]))
                    }
                    Owner::ThisNode => change_of(&local(&user)?.assigns, assigns, delta)
                        .map(|command| Translated::Command(user, command)),
                    Owner::OtherNode => None,
                }
            }
            _ => None,
        }
    }

    fn show(
        &mut self,
        cx: &mut Context,
        key: &ChannelKey,
        source: &Arc<str>,
        user: UserId,
        presence: Option<Object>,
    ) -> Option<Translated> {
        // Taken before the limit, which turns an oversized presence into none.
        let is_shown = presence.is_some();
        let presence = cx.limits.presence(presence);
        if is_shown && !self.has_room_for(cx, key, &user) {
            return None;
        }
        self.members(cx, key).show(source, user.clone(), presence);
        Some(Translated::Changed(vec![user]))
    }

    /// Applies a list of users. Users of nodes of our kind are ignored, also those of nodes that seem dead: the sender
    /// may have received them from these nodes, and does not know that they are dead.
    fn take_list(
        &mut self,
        cx: &mut Context,
        channels: &Channels,
        key: &ChannelKey,
        source: &Arc<str>,
        users: Vec<UserState>,
    ) -> Translated {
        // Lists have no digest to compare with, so it does not matter whether this one was reduced.
        let (mut users, _) = cx.limits.users(users::from_list(users));
        users.retain(|user, _| {
            let is_ours =
                channels.is_local(key, user) || channels.get(key).is_some_and(|channel| channel.is_remote(user));
            !is_ours
        });
        let (now, most) = (cx.now, cx.limits.users);
        let members = self.members(cx, key);
        let (mut room, mut excess) = (most.saturating_sub(members.users().len()), 0);
        users.retain(|user, _| {
            let is_known = members.get(user).is_some();
            let fits = is_known || room > 0;
            room -= usize::from(fits && !is_known);
            excess += u64::from(!fits);
            fits
        });
        let changed = members.list(source, users, now);
        cx.limits.count(Excess::Users, excess);
        Translated::Changed(changed)
    }

    /// Returns whether the user is known in the channel, or there is room for one more foreign user. The excess is
    /// counted.
    fn has_room_for(&mut self, cx: &mut Context, key: &ChannelKey, user: &UserId) -> bool {
        let most = cx.limits.users;
        let members = self.members(cx, key);
        let fits = members.get(user).is_some() || members.users().len() < most;
        cx.limits.count(Excess::Users, u64::from(!fits));
        fits
    }

    /// Applies a command of a node of our kind to a user of a foreign node, which may not publish the result itself.
    pub(super) fn update(&mut self, cx: &Context, key: &ChannelKey, user: &UserId, update: ForeignUpdate) {
        if !cx.settings.interop {
            return;
        }
        match update {
            ForeignUpdate::Left => self.members(cx, key).leave(user, cx.now),
            ForeignUpdate::Presence(presence) => self.members(cx, key).show_known(user, presence),
            ForeignUpdate::Assigns(assigns, delta) => self.members(cx, key).assign(user, assigns, delta),
        }
    }

    /// Notes that a node of our kind has gained or lost a user.
    pub(super) fn note_owner(&mut self, cx: &Context, key: &ChannelKey, user: &UserId, has_user: bool) {
        if has_user {
            self.claim(key, user);
        } else if cx.settings.interop {
            self.members(cx, key).note_leaving(user, cx.now);
        }
    }

    /// Notes that a node of our kind owns a user. Returns whether there was a foreign entry of it. An entry that
    /// foreign nodes have only listed is dropped: they meant this user.
    pub(super) fn claim(&mut self, key: &ChannelKey, user: &UserId) -> bool {
        let Some(members) = self.channels.get_mut(key).filter(|members| members.get(user).is_some()) else {
            return false;
        };
        members.unlist(user);
        true
    }

    /// Publishes the users of this node in a channel for foreign nodes, if any foreign node has published there.
    pub(super) fn announce(&self, cx: &mut Context, channels: &Channels, key: &ChannelKey) {
        let (Some(members), Some(channel)) = (self.channels.get(key), channels.get(key)) else { return };
        if !members.has_nodes() {
            return;
        }
        // Foreign nodes add the listed users to those that they know, so a long list can be sent in several messages.
        for users in chunks::groups(channel.local().list(), cx.settings.state_bytes) {
            cx.publish(key, Body::StateResponse { users });
        }
    }

    /// Publishes the users of this node in all channels for foreign nodes, and schedules the next time.
    pub(super) fn announce_all(&self, cx: &mut Context, channels: &Channels) {
        channels.keys().for_each(|key| self.announce(cx, channels, key));
        cx.timers.set(Timer::Announce, cx.now + cx.settings.announce);
    }

    /// Answers a foreign node's request for the users, and once more a moment later: some nodes send the request before
    /// they are subscribed themselves, and would miss the only answer until the next `announce_all`.
    pub(super) fn answer(&self, cx: &mut Context, channels: &Channels, key: &ChannelKey, source: &Arc<str>) {
        self.announce(cx, channels, key);
        let again = cx.now + cx.settings.answer_again;
        cx.timers.start(Timer::AnnounceAgain(key.clone(), source.clone()), again);
    }

    fn members(&mut self, cx: &Context, key: &ChannelKey) -> &mut ForeignMembers {
        self.channels.entry(key.clone()).or_insert_with(|| ForeignMembers::new(&cx.settings))
    }
}

/// The command that gives a user of this node these assigns; `None` if it has them already.
fn change_of(present: &Assigns, assigns: Option<Assigns>, delta: Option<(String, Json)>) -> Option<Command> {
    let is_so = |key: &str, value: &str| present.get(key).is_some_and(|known| known.as_str() == value);
    match (delta, assigns) {
        (Some((key, value)), _) => (!is_so(&key, value.as_str())).then_some(Command::Assign { key, value }),
        (None, Some(assigns)) => {
            let changes = !assigns.iter().all(|(key, value)| is_so(&key, value));
            changes.then_some(Command::MergeAssigns(assigns))
        }
        (None, None) => None,
    }
}
