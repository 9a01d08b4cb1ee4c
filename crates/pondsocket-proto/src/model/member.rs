use super::Assigns;
use crate::id::UserId;
use crate::wire::Object;

/// One change of the users that a node has in a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MemberChange {
    /// A user has become a member.
    Joined {
        /// The new member.
        user: UserId,
        /// Its assigns at that moment.
        assigns: Assigns,
    },
    /// A user is no member any more.
    Left {
        /// The former member.
        user: UserId,
    },
    /// The presence of a member has changed; `None` hides the member.
    Presence {
        /// The member.
        user: UserId,
        /// The presence shown from now on.
        presence: Option<Object>,
    },
    /// The assigns of a member have changed.
    Assigns {
        /// The member.
        user: UserId,
        /// All assigns after the change.
        assigns: Assigns,
        /// The key that was set, if it was exactly one.
        key: Option<String>,
    },
}

impl MemberChange {
    /// The user whose membership changes.
    pub fn user(&self) -> &UserId {
        match self {
            MemberChange::Joined { user, .. }
            | MemberChange::Left { user }
            | MemberChange::Presence { user, .. }
            | MemberChange::Assigns { user, .. } => user,
        }
    }
}

/// A user of other nodes, united from their entries into one member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteMember {
    /// Server-side values.
    pub assigns: Assigns,
    /// The presence, if the user is tracked anywhere else.
    pub presence: Option<Object>,
    /// True if this presence takes precedence over the one that the user has on this node
    /// (docs/cluster.md, One user on several nodes).
    pub over_local: bool,
    /// The time of the user's latest join on the other nodes, by the clock of the node that it joined; 0 if it is not known.
    pub joined: u64,
}

impl RemoteMember {
    /// The size of the presence, in bytes of JSON.
    pub(crate) fn presence_bytes(&self) -> usize {
        self.presence.as_ref().map_or(0, |presence| presence.as_str().len())
    }
}

/// One change of the users on other nodes that a channel shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RemoteChange {
    /// The user is shown as this member from now on.
    Shown(UserId, RemoteMember),
    /// The user is on no other node any more.
    Gone(UserId),
}
