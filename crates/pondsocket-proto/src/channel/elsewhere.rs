use std::collections::HashMap;

use super::{Assigns, State};
use crate::id::UserId;
use crate::wire::Object;

/// A user of other nodes, as it is to be shown here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// Server-side values.
    pub assigns: Assigns,
    /// What it shows of itself, if it is tracked.
    pub presence: Option<Object>,
    /// Whether this presence is shown also if the user is tracked here (docs/cluster.md, One user on several nodes).
    pub over_local: bool,
}

impl Shown {
    fn presence_bytes(&self) -> usize {
        self.presence.as_ref().map_or(0, |presence| presence.as_str().len())
    }
}

/// One change of what other nodes' users look like here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum View {
    /// This user is shown so from now on.
    Shown(UserId, Shown),
    /// This user is on no other node any more.
    Gone(UserId),
}

/// The users that other nodes have in a channel.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    users: HashMap<UserId, Shown>,
    /// The size of their presence, in bytes of JSON.
    presence_bytes: usize,
}

impl Elsewhere {
    pub(super) fn apply(&mut self, change: View) {
        let before = match change {
            View::Shown(user, shown) => {
                self.presence_bytes += shown.presence_bytes();
                self.users.insert(user, shown)
            }
            View::Gone(user) => self.users.remove(&user),
        };
        self.presence_bytes -= before.map_or(0, |before| before.presence_bytes());
    }

    /// The size of their presence, in bytes of JSON.
    pub(super) fn presence_bytes(&self) -> usize {
        self.presence_bytes
    }

    pub(super) fn get(&self, user: &str) -> Option<&Shown> {
        self.users.get(user)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&UserId, &Shown)> {
        self.users.iter()
    }

    /// What a user shows of itself, here or elsewhere; `own` is what it shows here. It is one user, and shows one thing.
    pub(super) fn presence<'a>(&'a self, user: &str, own: Option<&'a Object>) -> Option<&'a Object> {
        let Some(shown) = self.users.get(user) else { return own };
        match (&shown.presence, own) {
            (Some(other), Some(_)) if shown.over_local => Some(other),
            (other, own) => own.or(other.as_ref()),
        }
    }

    /// What all tracked users show of themselves, as the text of one JSON array.
    pub(super) fn presence_list(&self, here: &State) -> String {
        let members =
            here.members().filter_map(|(user, member)| self.presence(user.as_str(), member.presence.as_ref()));
        let others = self.users.iter().filter(|(user, _)| here.member(user.as_str()).is_none());
        let mut list = String::from("[");
        for presence in members.chain(others.filter_map(|(_, shown)| shown.presence.as_ref())) {
            if list.len() > 1 {
                list.push(',');
            }
            list.push_str(presence.as_str());
        }
        list.push(']');
        list
    }
}
