//! The limits of the state that other nodes can make this one keep and show (docs/cluster.md, Extension).

use std::collections::BTreeMap;

use super::Settings;
use super::io::Excess;
use super::replication::{Entry, Users};
use crate::model::{Assigns, MemberChange};
use crate::wire::Object;

/// The limits for each user and each list, and the number of times that each was exceeded.
#[derive(Debug)]
pub(super) struct RemoteLimits {
    presence: usize,
    assigns: usize,
    pub(super) users: usize,
    counted: BTreeMap<Excess, u64>,
}

impl RemoteLimits {
    pub(super) fn new(settings: &Settings) -> RemoteLimits {
        let Settings { max_presence, max_assigns, max_users, .. } = *settings;
        RemoteLimits { presence: max_presence, assigns: max_assigns, users: max_users, counted: BTreeMap::new() }
    }

    pub(super) fn count(&mut self, what: Excess, times: u64) {
        if times > 0 {
            *self.counted.entry(what).or_default() += times;
        }
    }

    pub(super) fn take_counted(&mut self) -> BTreeMap<Excess, u64> {
        std::mem::take(&mut self.counted)
    }

    /// Returns the presence of a user, or `None` if it is too large: a part of a JSON value is no value.
    pub(super) fn presence(&mut self, presence: Option<Object>) -> Option<Object> {
        let fits = presence.as_ref().is_none_or(|presence| presence.as_str().len() <= self.presence);
        self.count(Excess::Presence, u64::from(!fits));
        presence.filter(|_| fits)
    }

    /// Returns the assigns of a user, or empty ones if they are too large.
    pub(super) fn assigns(&mut self, assigns: Assigns) -> Assigns {
        // 4: the quotes, the colon and the comma of each entry.
        let size: usize = assigns.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
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

    /// Reduces a change to the limits. Returns it, and whether it was reduced: then the owner's digest cannot match.
    /// `known` is whether the user of the change is known, and the number of users that its node has.
    pub(super) fn change(&mut self, change: MemberChange, known: (bool, usize)) -> (MemberChange, bool) {
        let before: u64 = self.counted.values().sum();
        let change = match change {
            MemberChange::Joined { user, .. } if !known.0 && known.1 >= self.users => {
                self.count(Excess::Users, 1);
                // The leave of an unknown user changes nothing, but moves the record to the owner's version. Without
                // that each such change would look like a lost one, and the owner would be queried.
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

    /// Reduces a list to the limits. Returns it, and whether it was reduced.
    pub(super) fn users(&mut self, users: Users) -> (Users, bool) {
        let before: u64 = self.counted.values().sum();
        let mut users: Users = users.into_iter().map(|(user, entry)| (user, self.entry(entry))).collect();
        let excess = users.len().saturating_sub(self.users);
        if excess > 0 {
            self.count(Excess::Users, excess as u64);
            // The users that joined last are left out, as they would be if each had come in a message of its own.
            let mut order: Vec<_> = users.iter().map(|(user, entry)| (entry.joined, user.clone())).collect();
            order.sort();
            order[self.users..].iter().for_each(|(_, user)| drop(users.remove(user)));
        }
        (users, self.counted.values().sum::<u64>() > before)
    }
}
