//! The messages between nodes (docs/cluster.md, Messages).
//!
//! [`Envelope::encode`] writes what every other implementation of the protocol accepts, and [`Envelope::decode`] reads
//! what any of them writes. Payloads, presence and assigns stay text from one end to the other.

mod decode;
mod encode;
mod ext;
pub mod kept;
mod malformed;
mod read;
mod received;
pub mod short;
pub mod strict;
mod users;
mod write;

use std::sync::Arc;

pub use crate::model::{Target, UserMessage, UserMessageRef};
pub use malformed::{Fault, Malformed};
pub use received::ReceivedMessage;

use super::{ChannelKey, NodeId};
use crate::id::UserId;
use crate::model::{Assigns, MemberChange};
use crate::wire::{Json, Object};

const PROTOCOL: &str = "pondsocket.distributed";
const VERSION: u64 = 1;

/// The sender of messages of the server itself.
pub(super) const SERVER: &str = "CHANNEL";

/// The longest id of a message or of a node, in bytes. Ids are kept as keys, so their senders must not choose the size.
pub const MAX_ID: usize = 256;

/// The longest name of an endpoint or a channel in a message, in bytes.
pub const MAX_NAME: usize = 4096;

/// A message between nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// The id, unique among the messages of its source. Repeated messages are detected by it.
    pub id: Arc<str>,
    /// The signature of the sender: [`NodeId::source`] of our nodes, any text of others.
    pub source: Arc<str>,
    /// The channel that the message concerns, if it is one.
    pub channel: Option<ChannelKey>,
    /// The time of sending, in milliseconds since 1970. Other implementations require it; our nodes never read it,
    /// because clocks of nodes differ.
    pub timestamp: u64,
    /// The content.
    pub body: Body,
    /// The additions of our own nodes. Foreign nodes have none, and the types that are ours alone consist of them.
    pub ext: Option<Ext>,
}

impl Envelope {
    /// Returns `true` if a program that is no node has appended the message to a history that nodes share. It has the position
    /// that the store has given it, and shows nothing about foreign nodes.
    pub fn is_of_publisher(&self) -> bool {
        self.ext.is_none() && self.body.is_kept()
    }
}

/// The content of a message. The first thirteen are known to nodes of every language; foreign nodes ignore the others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// A message for the users of a channel.
    UserMessage(UserMessage),
    /// The presence of a user, from now on.
    PresenceUpdate {
        /// The user.
        user: Arc<str>,
        /// The presence.
        presence: Object,
        /// The kind of the change, if the sender has set it. Some foreign nodes forward it to their clients; our nodes
        /// determine it themselves.
        event: Option<PresenceEvent>,
    },
    /// A user is hidden.
    PresenceRemoved {
        /// The user.
        user: Arc<str>,
    },
    /// The assigns of a user after a change; from some nodes only what has changed.
    AssignsUpdate {
        /// The user.
        user: Arc<str>,
        /// All assigns, if the sender has included them.
        assigns: Option<Assigns>,
        /// The assign that has changed, if the sender has included it.
        delta: Option<(String, Json)>,
    },
    /// A command: notify and remove a user.
    EvictUser {
        /// The user.
        user: Arc<str>,
        /// The reason.
        reason: String,
    },
    /// A command: remove a user without a notification.
    UserRemove {
        /// The user.
        user: Arc<str>,
    },
    /// A query to the node that has a user.
    UserGetRequest {
        /// The user.
        user: Arc<str>,
        /// The id of the response.
        request: String,
        /// The requesting node. Our nodes answer the signer of the message instead.
        from_node: String,
    },
    /// The answer of a node that has the user.
    UserGetResponse {
        /// The user.
        user: Arc<str>,
        /// The id of the request.
        request: String,
        /// The user's assigns.
        assigns: Assigns,
        /// The user's presence; `{}` is read as none, which is what some foreign nodes mean by it.
        presence: Option<Object>,
    },
    /// A user has become a member.
    UserJoined {
        /// The user.
        user: Arc<str>,
        /// The presence, usually none, which is written and read as `{}`: it follows in a message of its own.
        presence: Option<Object>,
        /// The user's assigns.
        assigns: Assigns,
    },
    /// A user is no member any more.
    UserLeft {
        /// The user.
        user: Arc<str>,
    },
    /// A question for the users of a channel.
    StateRequest {
        /// The requesting node. Our nodes use the signature of the message instead.
        from_node: String,
    },
    /// The users that a node has in a channel.
    StateResponse {
        /// The users.
        users: Vec<UserState>,
    },
    /// A heartbeat, for foreign nodes.
    NodeHeartbeat {
        /// The node.
        node: Arc<str>,
    },

    /// To an inbox: the users of the sender in these channels, with its version of each.
    State(Vec<ChannelState>),
    /// To an inbox: a query for the users of its owner in these channels.
    Repair(Vec<ChannelKey>),
    /// On a channel's topic: the digest of the sender's users there.
    Digest {
        /// The sender's version of the channel.
        version: u64,
        /// The number of users.
        count: u64,
        /// The hash of all users.
        hash: u64,
    },
    /// To an inbox: the outcome of a request, see [`Ext::request`].
    Ack {
        /// The request.
        request: String,
        /// The outcome.
        verdict: Verdict,
    },
    /// On the topic of the cluster: an event of a node.
    Node(NodeEvent),
}

/// The kind of a change of presence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceEvent {
    /// The user was not shown before.
    Join,
    /// The user was shown before.
    Update,
}

/// A user in a list of all users.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserState {
    /// The user's id.
    pub id: Arc<str>,
    /// The user's assigns.
    pub assigns: Assigns,
    /// The user's presence. In a [`Body::StateResponse`] `{}` is read as none, which is what some foreign nodes mean by
    /// it; among our own nodes it is a presence like any other.
    pub presence: Option<Object>,
    /// The time of the join, in milliseconds since 1970; 0 if it is not known.
    pub joined: u64,
}

/// The users of one of our nodes in one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelState {
    /// The channel.
    pub channel: ChannelKey,
    /// The owner's version of it.
    pub version: u64,
    /// All users, or those of one part.
    pub users: Vec<UserState>,
    /// The part of the list, if the whole is too large for one message. All parts are of one version.
    pub part: Option<Part>,
}

/// One of several parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// The number of the part: less than `of`.
    pub index: u64,
    /// The number of parts.
    pub of: u64,
}

/// The outcome of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The command was executed.
    Done,
    /// There is no such user on the node.
    NotFound,
    /// A limit of the node forbids it.
    Refused,
}

/// An event of one of our nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeEvent {
    /// The sender has started, is back, or (without leases) is still alive.
    Hello,
    /// The sender stops.
    Bye,
    /// The lease of this node has expired.
    Down(NodeId),
    /// The sender has begun the history of the channel anew.
    HistoryRestarted,
    /// A client has come to the sender with the key of a session, whose connection this node has. The text is the name of the
    /// session's record.
    SessionClaimed(Arc<str>),
}

/// The additions of our own nodes to a message. Foreign nodes ignore them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ext {
    /// The sender.
    pub node: NodeId,
    /// With a change of a user by its owner: the owner's version of the channel before and after it. 0 before means
    /// that the channel was empty.
    pub change: Option<(u64, u64)>,
    /// With a join: its time, in milliseconds since 1970. With a command that is sent again: the time of the join of the user
    /// whom it concerns, who may have joined anew since.
    pub joined: Option<u64>,
    /// With a command, or a change that is not made by the user's node: the name of the request. The receiver
    /// acknowledges it under that name in the sender's inbox.
    pub request: Option<String>,
    /// With a request for state, or a digest: the versions of other nodes that the sender holds.
    pub have: Vec<(NodeId, u64)>,
    /// With a request for state: the sender's own users there, if they are few.
    pub own: Option<ChannelState>,
}

impl Ext {
    /// The sender, and no other addition.
    pub fn new(node: NodeId) -> Ext {
        Ext { node, change: None, joined: None, request: None, have: Vec::new(), own: None }
    }
}

impl Body {
    /// The change that the owner of a user has made, if the message is one.
    pub(crate) fn member_change(&self) -> Option<MemberChange> {
        let id = |user: &str| UserId::new(user).ok();
        Some(match self {
            Body::UserJoined { user, assigns, .. } => {
                MemberChange::Joined { user: id(user)?, assigns: assigns.clone() }
            }
            Body::UserLeft { user } => MemberChange::Left { user: id(user)? },
            Body::PresenceUpdate { user, presence, .. } => {
                MemberChange::Presence { user: id(user)?, presence: Some(presence.clone()) }
            }
            Body::PresenceRemoved { user } => MemberChange::Presence { user: id(user)?, presence: None },
            // Some foreign nodes publish the changed value only. An owner always publishes all assigns.
            Body::AssignsUpdate { user, assigns: Some(assigns), .. } => {
                MemberChange::Assigns { user: id(user)?, assigns: assigns.clone(), key: None }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_by_an_owner_has_a_valid_user_id_and_all_assigns() {
        assert_eq!(Body::UserLeft { user: "".into() }.member_change(), None);
        let ada = UserId::new("ada").expect("valid");
        assert_eq!(Body::UserLeft { user: "ada".into() }.member_change(), Some(MemberChange::Left { user: ada }));
        let partial = Body::AssignsUpdate { user: "ada".into(), assigns: None, delta: None };
        assert_eq!(partial.member_change(), None);
    }
}
