//! What nodes tell each other (docs/cluster.md, Messages).
//!
//! [`Envelope::encode`] writes what every other implementation of the protocol accepts, and [`Envelope::decode`] reads
//! what any of them writes. What clients will get, and the values of users, stay text from one end to the other.

mod decode;
mod encode;
mod ext;
mod malformed;
mod read;
pub mod strict;
mod users;
mod write;

use std::sync::Arc;

pub use crate::model::{Target, UserMessage};
pub use malformed::{Fault, Malformed};

use super::{ChannelKey, NodeId, Verdict};
use crate::model::Assigns;
use crate::wire::{Json, Object};

const PROTOCOL: &str = "pondsocket.distributed";
const VERSION: u64 = 1;

/// The longest id of a message or of a node, in bytes.
pub const MAX_ID: usize = 256;

/// The longest name of an endpoint or a channel in a message, in bytes.
pub const MAX_NAME: usize = 4096;

/// A message between nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// Tells it from every other message of its source.
    pub id: Arc<str>,
    /// Who says it: [`NodeId::source`] of our nodes, any text of others.
    pub source: Arc<str>,
    /// Which channel it concerns, if it is one.
    pub channel: Option<ChannelKey>,
    /// When it was said, in milliseconds since 1970. Nobody orders by it.
    pub timestamp: u64,
    /// What is said.
    pub body: Body,
    /// What our own nodes say beside it. Nodes of other languages have none, and messages that are ours alone are nothing
    /// without it.
    pub ext: Option<Ext>,
}

/// What is said. The first thirteen are said by nodes of every language; the others are our own, and others ignore them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// For the users of a channel.
    UserMessage(UserMessage),
    /// What a user shows of itself, from now on.
    PresenceUpdate {
        /// Who.
        user: Arc<str>,
        /// What.
        presence: Object,
        /// Whether it showed something before, if that is told. Some nodes pass it on to their clients; ours look at what
        /// they show themselves.
        event: Option<PresenceEvent>,
    },
    /// A user is hidden.
    PresenceRemoved {
        /// Who.
        user: Arc<str>,
    },
    /// The assigns of a user after a change; from some nodes only what has changed.
    AssignsUpdate {
        /// Whose.
        user: Arc<str>,
        /// All of them, if they are told.
        assigns: Option<Assigns>,
        /// What has changed, if it is told.
        delta: Option<(String, Json)>,
    },
    /// A command: take a user out and tell it why.
    EvictUser {
        /// Whom.
        user: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A command: take a user out.
    UserRemove {
        /// Whom.
        user: Arc<str>,
    },
    /// Who has this user?
    UserGetRequest {
        /// Whom.
        user: Arc<str>,
        /// Comes back with the response.
        request: String,
        /// Who asks; for people.
        from_node: String,
    },
    /// I have it.
    UserGetResponse {
        /// Whom.
        user: Arc<str>,
        /// That of the request.
        request: String,
        /// Its assigns.
        assigns: Assigns,
        /// What it shows of itself; `{}` is read as nothing, which is what some nodes mean by it.
        presence: Option<Object>,
    },
    /// A user has become a member.
    UserJoined {
        /// Who.
        user: Arc<str>,
        /// Usually nothing, which is said and read as `{}`: it follows.
        presence: Option<Object>,
        /// With which assigns.
        assigns: Assigns,
    },
    /// A user is no member any more.
    UserLeft {
        /// Who.
        user: Arc<str>,
    },
    /// Who is in this channel?
    StateRequest {
        /// Who asks; for people.
        from_node: String,
    },
    /// These are.
    StateResponse {
        /// Who.
        users: Vec<UserState>,
    },
    /// I live.
    NodeHeartbeat {
        /// Who.
        node: Arc<str>,
    },

    /// To an inbox: the users of the sender in these channels, with its version of each.
    State(Vec<ChannelState>),
    /// To an inbox: tell me your users in these channels.
    Repair(Vec<ChannelKey>),
    /// On a channel's topic: what my users there come to.
    Digest {
        /// The version.
        version: u64,
        /// How many there are.
        count: u64,
        /// Of all of them.
        hash: u64,
    },
    /// To an inbox: what became of something that was asked for, see [`Ext::request`].
    Ack {
        /// Which request.
        request: String,
        /// What became of it.
        verdict: Verdict,
    },
    /// On the topic of the cluster: something about a node.
    Node(NodeEvent),
}

/// Whether a user showed something of itself before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceEvent {
    /// It did not.
    Join,
    /// It did.
    Update,
}

/// A user in a list of all users.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserState {
    /// Who.
    pub id: Arc<str>,
    /// Its assigns.
    pub assigns: Assigns,
    /// What it shows of itself. In a [`Body::StateResponse`] `{}` is read as nothing, which is what some nodes mean by it;
    /// among our own nodes it is a presence like any other.
    pub presence: Option<Object>,
    /// When it joined, in milliseconds since 1970; 0 if that is not told.
    pub joined: u64,
}

/// The users of one of our nodes in one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelState {
    /// Which.
    pub channel: ChannelKey,
    /// The owner's version of it.
    pub version: u64,
    /// All of them, or those of one part.
    pub users: Vec<UserState>,
    /// Which part of the list it is, if all would be too much for one message. They are all of one version.
    pub part: Option<Part>,
}

/// One of several parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// Which: less than `of`.
    pub index: u64,
    /// How many there are.
    pub of: u64,
}

/// Something about one of our nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeEvent {
    /// It has come.
    Hello,
    /// It goes, in good order.
    Bye,
    /// Its lease has run out.
    Down(NodeId),
}

/// What our own nodes say beside a message. Others ignore it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ext {
    /// Who says it.
    pub node: NodeId,
    /// With a change of a user by its owner: the owner's version of the channel before and after it. 0 before means that
    /// the channel was empty.
    pub change: Option<(u64, u64)>,
    /// With a join: when it was, in milliseconds since 1970.
    pub joined: Option<u64>,
    /// With a command, or a change that is no owner's: it is to be acknowledged under this name, to the sender's inbox.
    pub request: Option<String>,
    /// With a request for state, or a digest: what the sender holds of others' users there.
    pub have: Vec<(NodeId, u64)>,
    /// With a request for state: the sender's own users there, if they are few.
    pub own: Option<ChannelState>,
}

impl Ext {
    /// Nothing but who says it.
    pub fn new(node: NodeId) -> Ext {
        Ext { node, change: None, joined: None, request: None, have: Vec::new(), own: None }
    }
}
