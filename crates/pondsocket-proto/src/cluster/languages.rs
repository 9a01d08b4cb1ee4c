//! What nodes of other languages say, and what they are told (docs/cluster.md, Nodes of other languages).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::asks::Holder;
use super::core::Core;
use super::excess::Excess;
use super::legacy::Guests;
use super::message::{Body, Envelope, UserState};
use super::timers::Timer;
use super::{ChannelKey, Command, hear, parts};
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::{Json, Object};

impl Core {
    pub(super) fn receive_legacy(&mut self, message: Envelope) {
        let (key, body) = match (message.channel, message.body) {
            (Some(key), Body::UserMessage(message)) => return self.deliver(key, message),
            (key, body) => (key, body),
        };
        if let Some(dead) = self.legacy.heard(&message.source, self.now()) {
            self.bury(&[dead].into());
        }
        let Some(key) = key else { return };
        let Some(channel) = self.channels.get_mut(&key) else { return };
        // Who comes while this node begins to listen has asked too early to be heard.
        let wants_list = channel.guests.note(&message.source) || matches!(body, Body::StateRequest { .. });
        self.stranger_says(&key, &message.source, body);
        if wants_list {
            self.announce(&key);
            // Some ask before they listen, and would know nobody until the next minute.
            let again = self.now() + self.settings.answer_again;
            self.timers.start(Timer::AnnounceAgain(key, message.source), again);
        }
    }

    fn stranger_says(&mut self, key: &ChannelKey, source: &Arc<str>, body: Body) {
        match body {
            Body::EvictUser { user, reason } => self.take_out(key, &user, Command::Evict { reason }, None),
            Body::UserRemove { user } => self.take_out(key, &user, Command::Remove, None),
            Body::UserGetRequest { user, request, .. } => self.tell_user(key, &user, request, None),
            Body::UserGetResponse { user, request, assigns, presence } => {
                self.found(Holder::Stranger(source.clone()), &request, &user, (assigns, presence, 0));
            }
            Body::StateResponse { users } => self.stranger_lists(key, source, users),
            Body::UserJoined { user, presence, assigns } => {
                let Some(user) = hear::user_id(&user) else { return };
                if !self.has_room_for(key, &user) {
                    return;
                }
                let (assigns, presence) = (self.limits.assigns(assigns), self.limits.presence(presence));
                self.with_guests(key, &user, |guests| guests.join(source, user.clone(), assigns, presence));
            }
            Body::UserLeft { user } => {
                let Some(user) = hear::user_id(&user) else { return };
                self.dismiss(key, &user);
                self.left(key, &user);
            }
            Body::PresenceUpdate { user, presence, .. } => self.stranger_shows(key, source, &user, Some(presence)),
            Body::PresenceRemoved { user } => self.stranger_shows(key, source, &user, None),
            Body::AssignsUpdate { user, assigns, delta } => self.stranger_assigns(key, source, &user, assigns, delta),
            _ => {}
        }
    }

    /// What a user shows of itself is changed by somebody: it is its own, or a wish that concerns one of ours.
    fn stranger_shows(&mut self, key: &ChannelKey, source: &Arc<str>, user: &str, presence: Option<Object>) {
        let Some(user) = hear::user_id(user) else { return };
        match self.whose(key, source, &user) {
            Whose::Theirs => {
                let is_shown = presence.is_some();
                let presence = self.limits.presence(presence);
                if is_shown && !self.has_room_for(key, &user) {
                    return;
                }
                self.with_guests(key, &user, |guests| guests.show(source, user.clone(), presence));
            }
            Whose::Mine => {
                let own = self.channels.get(key).and_then(|channel| channel.own.users().get(&user));
                if own.is_none_or(|entry| entry.presence == presence) {
                    return;
                }
                let command = presence.map_or(Command::Untrack, Command::Presence);
                self.command(key, user, command, None);
            }
            Whose::Ours => {}
        }
    }

    fn stranger_assigns(
        &mut self,
        key: &ChannelKey,
        source: &Arc<str>,
        user: &str,
        assigns: Option<Assigns>,
        delta: Option<(String, Json)>,
    ) {
        let Some(user) = hear::user_id(user) else { return };
        match self.whose(key, source, &user) {
            Whose::Theirs => {
                let Some(channel) = self.channels.get_mut(key) else { return };
                if let Some(all) = channel.guests.assigned(&user, assigns, delta) {
                    let all = self.limits.assigns(all);
                    self.with_guests(key, &user, |guests| guests.assign(&user, Some(all), None));
                }
            }
            Whose::Mine => {
                let Some(own) = self.channels.get(key).and_then(|channel| channel.own.users().get(&user)) else {
                    return;
                };
                let is_so = |(key, value): (&str, &Json)| own.assigns.get(key) == Some(value);
                let changes = match (&delta, &assigns) {
                    (Some((key, value)), _) => !is_so((key, value)),
                    (None, assigns) => assigns.iter().flat_map(Assigns::iter).any(|entry| !is_so(entry)),
                };
                if changes {
                    self.assign(key, user, assigns, delta, None);
                }
            }
            Whose::Ours => {}
        }
    }

    /// Returns whether one more user of nodes of other languages may be in the channel, or it is there already.
    fn has_room_for(&mut self, key: &ChannelKey, user: &UserId) -> bool {
        let Some(channel) = self.channels.get(key) else { return false };
        let fits = channel.guests.get(user).is_some() || channel.guests.users().len() < self.limits.users;
        self.limits.count(Excess::Users, u64::from(!fits));
        fits
    }

    /// Whom a change by a node of another language concerns.
    fn whose(&self, key: &ChannelKey, source: &str, user: &UserId) -> Whose {
        match self.channels.get(key) {
            Some(channel) if channel.guests.is_at(user, source) => Whose::Theirs,
            Some(channel) if channel.own.users().contains_key(user) => Whose::Mine,
            Some(channel) if channel.owners_of(user, &self.nodes).next().is_some() => Whose::Ours,
            _ => Whose::Theirs,
        }
    }

    /// A list is not believed about users of ours, also of nodes that seem dead: who makes it may have them from them.
    fn stranger_lists(&mut self, key: &ChannelKey, source: &Arc<str>, users: Vec<UserState>) {
        let now = self.now();
        let Some(channel) = self.channels.get_mut(key) else { return };
        let mut users = self.limits.list(users);
        users.retain(|user, _| !channel.is_ours(user));
        let (mut room, mut excess) = (self.limits.users.saturating_sub(channel.guests.users().len()), 0);
        users.retain(|user, _| {
            let is_known = channel.guests.get(user).is_some();
            let fits = is_known || room > 0;
            room -= usize::from(fits && !is_known);
            excess += u64::from(!fits);
            fits
        });
        self.limits.count(Excess::Users, excess);
        let changed = channel.guests.list(source, users, now);
        self.changed(key, changed);
    }

    /// Tells nodes of other languages who is here, if there are any in the channel.
    pub(super) fn announce(&mut self, key: &ChannelKey) {
        let Some(channel) = self.channels.get(key) else { return };
        if !channel.guests.has_nodes() {
            return;
        }
        // They add whoever is listed to those they know, so a long list may come in parts.
        for users in parts::groups(channel.own.list(), self.settings.state_bytes) {
            self.voice.say(key, Body::StateResponse { users });
        }
    }

    pub(super) fn announce_all(&mut self) {
        let keys: Vec<_> = self.channels.keys().cloned().collect();
        keys.iter().for_each(|key| self.announce(key));
        self.timers.set(Timer::Announce, self.now() + self.settings.announce);
    }

    /// While they cannot be heard they are not judged.
    pub(super) fn scan_legacy(&mut self) {
        if self.voice.is_up {
            let dead = self.legacy.bury(self.now());
            self.bury(&dead);
        }
        self.timers.set(Timer::LegacyScan, self.now() + self.settings.legacy_scan);
    }

    fn bury(&mut self, dead: &BTreeSet<Arc<str>>) {
        if dead.is_empty() {
            return;
        }
        let bury =
            |(key, channel): (&ChannelKey, &mut super::channel::Channel)| (key.clone(), channel.guests.bury(dead));
        let gone: Vec<_> = self.channels.iter_mut().map(bury).collect();
        gone.into_iter().for_each(|(key, users)| self.changed(&key, users));
    }

    /// A user of nodes of other languages is gone, and nobody's list brings it back for a while.
    pub(super) fn dismiss(&mut self, key: &ChannelKey, user: &UserId) {
        let now = self.now();
        self.with_guests(key, user, |guests| guests.leave(user, now));
    }

    /// Changes what is known of users of nodes of other languages, and looks again at this one.
    pub(super) fn with_guests(&mut self, key: &ChannelKey, user: &UserId, change: impl FnOnce(&mut Guests)) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        change(&mut channel.guests);
        self.changed(key, [user.clone()]);
    }
}

/// At whose node a user is.
enum Whose {
    /// At this one.
    Mine,
    /// At another one of ours.
    Ours,
    /// At one of another language, or nobody knows.
    Theirs,
}
