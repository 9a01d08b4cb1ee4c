//! The inputs and outputs of a node's core.

use std::sync::Arc;

use super::message::{Envelope, Verdict};
use super::{ChannelKey, NodeId, Topic};
use crate::id::UserId;
use crate::model::{Assigns, MemberChange, RemoteChange, RemoteMember, UserMessage};
use crate::wire::{Json, Object};

/// An event that a node's core has to know of.
#[derive(Clone, Debug)]
pub enum Input {
    /// The table of leases has given this life its number. It comes before the first [`Bus::Up`], or has no effect.
    Incarnation(u64),
    /// The first user has come into a channel here. `instance` tells this life of the channel from earlier ones.
    Opened {
        /// The channel.
        channel: ChannelKey,
        /// The life of the channel.
        instance: u64,
    },
    /// A user is about to come into a channel here: the core listens to the channel from now on, and leaves it again after a
    /// while if no user comes.
    Expected {
        /// The channel.
        channel: ChannelKey,
    },
    /// The last user of a channel here has gone.
    Closed {
        /// The channel.
        channel: ChannelKey,
        /// The life of the channel: an older one than the present one is ignored.
        instance: u64,
    },
    /// A user has changed here, in an open channel.
    Local {
        /// The channel.
        channel: ChannelKey,
        /// The change.
        change: MemberChange,
    },
    /// The bus has delivered a message. A message that came on a topic which does not fit its channel is dropped.
    Received {
        /// The topic it came on.
        topic: Topic,
        /// The message.
        message: Box<Envelope>,
    },
    /// The bus has changed.
    Bus(Bus),
    /// The table of leases has answered. A bus without such a table never does: then silence decides which nodes live.
    Lease(Lease),
    /// The server asks other nodes for users, or wants users there changed. [`NodeOutput::Answered`] follows under the same
    /// id, in time.
    Request {
        /// Comes back with the answer.
        id: u64,
        /// The request.
        request: ClusterRequest,
    },
    /// A [`NodeOutput::Command`] was executed, or was not.
    Done {
        /// The command's id.
        id: u64,
        /// The outcome.
        verdict: Verdict,
    },
    /// Time has passed. Everything that waits for a time ([`Core::deadline`](super::Core::deadline)) is done upon this input
    /// and no other, so it has to follow as soon as the deadline has passed.
    Tick,
    /// The node stops: all others are told, and nothing is published afterwards.
    Stop,
}

/// A report of the bus (docs/cluster-bus.md, The bus).
#[derive(Clone, Debug)]
pub enum Bus {
    /// The bus is connected; subscriptions follow.
    Up,
    /// The bus delivers these topics from now on.
    Subscribed(Vec<Topic>),
    /// All subscriptions are void.
    Down,
    /// Messages of these topics may have been lost.
    Gap(Vec<Topic>),
    /// Messages of any topic may have been lost.
    GapAll,
}

/// The answer of the table of leases to a renewal.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// All nodes whose lease runs.
    pub alive: Vec<NodeId>,
    /// Nodes whose lease has run out since the last renewal by any node.
    pub expired: Vec<NodeId>,
    /// True if the lease of this node had run out: others may have taken it for dead.
    pub was_expired: bool,
}

/// A question to other nodes, or a change of users there.
#[derive(Clone, Debug)]
pub enum ClusterRequest {
    /// Tell a user and take it out, wherever it is.
    Evict {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
        /// The reason, as the user is told.
        reason: String,
    },
    /// Take a user out without a word, wherever it is.
    Remove {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
    },
    /// Find a user.
    Get {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
    },
    /// Set one assign of a user on another node.
    Assign {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
        /// The key of the assign.
        key: String,
        /// The new value.
        value: Json,
    },
    /// Replace the presence of a user on another node.
    Presence {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
        /// The new presence.
        presence: Object,
    },
    /// All users of a channel that has none here; with users here the channel shows them.
    Users {
        /// The channel.
        channel: ChannelKey,
    },
}

/// The answer to a [`ClusterRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Every node that had to act has confirmed that it did.
    Confirmed,
    /// All nodes that could know were heard, and none has such a user.
    NotFound,
    /// Some node did not answer in time: it may have been done, or the user may be there.
    Unconfirmed,
    /// A limit of a node that had to act forbids it.
    Refused,
    /// The bus is down, or too much is asked at once: nothing was sent.
    Unavailable,
    /// The user, as the nodes that have it show it.
    Found(RemoteMember),
    /// The users of a channel.
    Users {
        /// The users.
        users: Vec<(UserId, RemoteMember)>,
        /// True if all nodes that live have answered.
        complete: bool,
    },
}

/// A command of another node for a user of this one.
#[derive(Clone, Debug)]
pub enum Command {
    /// Tell the user, and take it out.
    Evict {
        /// The reason, as the user is told.
        reason: String,
    },
    /// Take the user out.
    Remove,
    /// Set one assign of the user.
    Assign {
        /// The key of the assign.
        key: String,
        /// The new value.
        value: Json,
    },
    /// Overwrite the user's assigns key by key.
    MergeAssigns(Assigns),
    /// Replace the user's presence.
    Presence(Object),
    /// Hide the user.
    Untrack,
}

/// An output of the core, to be carried out in the order of the list: for the bus, or for this node.
#[derive(Clone, Debug)]
pub enum Output {
    /// Publish a message.
    Publish {
        /// The topic.
        topic: Topic,
        /// The message.
        message: Box<Envelope>,
    },
    /// Change the topics that the bus delivers.
    UpdateSubscriptions {
        /// The topics to subscribe to.
        add: Vec<Topic>,
        /// The topics that are not needed any more.
        remove: Vec<Topic>,
    },
    /// To be carried out on this node.
    Node(NodeOutput),
}

/// An output that this node carries out itself.
#[derive(Clone, Debug)]
pub enum NodeOutput {
    /// Change the members that a channel here shows of other nodes. Void if this life of the channel is over.
    RemoteMembers {
        /// The channel.
        channel: ChannelKey,
        /// The life of the channel.
        instance: u64,
        /// The changes, in order.
        changes: Vec<RemoteChange>,
    },
    /// Deliver a message of another node to the users of a channel here.
    Deliver {
        /// The channel.
        channel: ChannelKey,
        /// The message.
        message: UserMessage,
    },
    /// Execute a command of another node on a user of this one. The outcome comes back by [`Input::Done`].
    Command {
        /// Comes back with the report.
        id: u64,
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
        /// The command.
        command: Command,
    },
    /// The answer to a [`ClusterRequest`].
    Answered {
        /// The id it came with.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// Renew the lease of this node soon, to read the table of leases: a life of a node that holds a lease is said to be
    /// replaced.
    RenewLease,
    /// Others have brought more than a limit allows.
    Excess {
        /// The limit.
        what: Excess,
        /// The number of times since the last such output.
        times: u64,
    },
    /// A node is up, as far as this one knows.
    NodeUp(Arc<str>),
    /// A node is down.
    NodeDown(Arc<str>),
    /// Another life of this node's name runs, too: it was started twice. Each such life is reported once.
    NameConflict(NodeId),
    /// A state that should have been equal was not, and is repaired: a bug, or a lost message that was not noticed.
    Diverged(ChannelKey),
}

impl From<NodeOutput> for Output {
    fn from(output: NodeOutput) -> Output {
        Output::Node(output)
    }
}

/// A limit for other nodes, and the consequence of exceeding it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
#[non_exhaustive]
pub enum Excess {
    /// More nodes than [`max_nodes`](super::Settings::max_nodes): one was not heard, or made room.
    Nodes,
    /// The presence of a user of another node is larger than [`max_presence`](super::Settings::max_presence): it is there, and shows nothing.
    Presence,
    /// The assigns of a user of another node are larger than [`max_assigns`](super::Settings::max_assigns): it has none here.
    Assigns,
    /// A node has more users in a channel than [`max_users`](super::Settings::max_users): those that came last are not there.
    Users,
    /// The users of other nodes show more in a channel than [`max_shown`](super::Settings::max_shown): some of them show nothing.
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
