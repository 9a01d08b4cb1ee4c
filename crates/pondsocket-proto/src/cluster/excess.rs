//! Limits of what others bring: a node, or whoever speaks as one, makes the nodes that hear it keep and show what it says.

use std::collections::BTreeMap;

use super::Settings;
use super::message::UserState;
use super::record::{Entry, Users};
use crate::model::{Assigns, MemberChange};
use crate::wire::Object;

/// What there was too much of, and what became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
#[non_exhaustive]
pub enum Excess {
    /// More nodes than [`max_nodes`](Settings::max_nodes): one was not heard, or made room.
    Nodes,
    /// A user of another node shows more than [`max_presence`](Settings::max_presence): it is there, and shows nothing.
    Presence,
    /// The assigns of a user of another node are larger than [`max_assigns`](Settings::max_assigns): it has none here.
    Assigns,
    /// A node has more users in a channel than [`max_users`](Settings::max_users): those that came last are not there.
    Users,
    /// The users of other nodes show more in a channel than [`max_shown`](Settings::max_shown): some of them show nothing.
    Shown,
}

impl Excess {
    /// A short label, as for a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Excess::Nodes => "nodes",
            Excess::Presence => "presence",
            Excess::Assigns => "assigns",
            Excess::Users => "users",
            Excess::Shown => "channel_presence",
        }
    }
}

/// The limits for each user and each list, and what was over them.
#[derive(Debug)]
pub(super) struct Limits {
    presence: usize,
    assigns: usize,
    pub(super) users: usize,
    counted: BTreeMap<Excess, u64>,
}

impl Limits {
    pub(super) fn new(settings: &Settings) -> Limits {
        let Settings { max_presence, max_assigns, max_users, .. } = *settings;
        Limits { presence: max_presence, assigns: max_assigns, users: max_users, counted: BTreeMap::new() }
    }

    pub(super) fn count(&mut self, what: Excess, times: u64) {
        if times > 0 {
            *self.counted.entry(what).or_default() += times;
        }
    }

    pub(super) fn take_counted(&mut self) -> BTreeMap<Excess, u64> {
        std::mem::take(&mut self.counted)
    }

    /// What a user shows, unless that is too large.
    pub(super) fn presence(&mut self, presence: Option<Object>) -> Option<Object> {
        let fits = presence.as_ref().is_none_or(|presence| presence.as_str().len() <= self.presence);
        self.count(Excess::Presence, u64::from(!fits));
        presence.filter(|_| fits)
    }

    /// The assigns of a user, unless they are too large.
    pub(super) fn assigns(&mut self, assigns: Assigns) -> Assigns {
        // Quotes, colon and comma.
        let size: usize = assigns.iter().map(|(key, value)| key.len() + value.as_str().len() + 4).sum();
        if size <= self.assigns + 4 {
            return assigns;
        }
        self.count(Excess::Assigns, 1);
        Assigns::default()
    }

    fn entry(&mut self, entry: Entry) -> Entry {
        let Entry { assigns, presence, joined } = entry;
        Entry { assigns: self.assigns(assigns), presence: self.presence(presence), joined }
    }

    /// A change within the limits, for an owner of which `known` says whether a user is known, and how many are. The second is
    /// whether it was made smaller.
    pub(super) fn change(&mut self, change: MemberChange, known: (bool, usize)) -> (MemberChange, bool) {
        let before: u64 = self.counted.values().sum();
        let change = match change {
            MemberChange::Joined { user, .. } if !known.0 && known.1 >= self.users => {
                self.count(Excess::Users, 1);
                // That is no change of who is known, and counts as one.
                MemberChange::Left { user }
            }
            MemberChange::Joined { user, assigns } => MemberChange::Joined { user, assigns: self.assigns(assigns) },
            MemberChange::Presence { user, presence } => {
                MemberChange::Presence { user, presence: self.presence(presence) }
            }
            MemberChange::Assigns { user, assigns, key } => {
                MemberChange::Assigns { user, assigns: self.assigns(assigns), key }
            }
            MemberChange::Left { user } => MemberChange::Left { user },
        };
        (change, self.counted.values().sum::<u64>() > before)
    }

    /// A list within the limits, and whether it was made smaller.
    pub(super) fn users(&mut self, users: Users) -> (Users, bool) {
        let before: u64 = self.counted.values().sum();
        let mut users: Users = users.into_iter().map(|(user, entry)| (user, self.entry(entry))).collect();
        let excess = users.len().saturating_sub(self.users);
        if excess > 0 {
            self.count(Excess::Users, excess as u64);
            let mut order: Vec<_> = users.iter().map(|(user, entry)| (entry.joined, user.clone())).collect();
            order.sort();
            order[self.users..].iter().for_each(|(_, user)| drop(users.remove(user)));
        }
        (users, self.counted.values().sum::<u64>() > before)
    }

    /// The users of a list of a node of another language.
    pub(super) fn list(&mut self, list: Vec<UserState>) -> Users {
        let (users, _) = self.users(super::hear::users(list));
        users
    }
}
