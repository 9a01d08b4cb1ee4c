use std::collections::HashMap;

use super::{LocalMembers, RemoteChange, RemoteMember};
use crate::id::UserId;
use crate::wire::Object;

/// The users that other nodes have in a channel.
#[derive(Debug, Default)]
pub(super) struct RemoteMembers {
    users: HashMap<UserId, RemoteMember>,
    /// The size of their presence, in bytes of JSON: kept, because it is read at every check of the queue's limits.
    presence_bytes: usize,
}

impl RemoteMembers {
    pub(super) fn apply(&mut self, change: RemoteChange) {
        let before = match change {
            RemoteChange::Shown(user, shown) => {
                self.presence_bytes += shown.presence_bytes();
                self.users.insert(user, shown)
            }
            RemoteChange::Gone(user) => self.users.remove(&user),
        };
        self.presence_bytes -= before.map_or(0, |before| before.presence_bytes());
    }

    /// The size of their presence, in bytes of JSON.
    pub(super) fn presence_bytes(&self) -> usize {
        self.presence_bytes
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn get(&self, user: &str) -> Option<&RemoteMember> {
        self.users.get(user)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&UserId, &RemoteMember)> {
        self.users.iter()
    }

    /// The presence of a user over all nodes; `own` is that on this node. A user has one presence, however many nodes
    /// it is connected to.
    pub(super) fn presence<'a>(&'a self, user: &str, own: Option<&'a Object>) -> Option<&'a Object> {
        let Some(shown) = self.users.get(user) else { return own };
        match (&shown.presence, own) {
            // docs/cluster.md, One user on several nodes: the presence of the entry that joined last is shown.
            (Some(other), Some(_)) if shown.over_local => Some(other),
            (other, own) => own.or(other.as_ref()),
        }
    }

    /// The presence of all tracked users of all nodes, as the text of one JSON array.
    pub(super) fn presence_list(&self, here: &LocalMembers) -> String {
        let members =
            here.members().filter_map(|(user, member)| self.presence(user.as_str(), member.presence.as_ref()));
        // A user of this node that others have, too, is already among `members`, with the presence that is shown of it.
        let others = self.users.iter().filter(|(user, _)| here.member(user.as_str()).is_none());
        // With the commas and brackets: a list of thousands is not moved while it grows.
        let bytes = here.presence_bytes() + self.presence_bytes + here.member_count() + self.users.len() + 2;
        let mut list = String::with_capacity(bytes);
        list.push('[');
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
