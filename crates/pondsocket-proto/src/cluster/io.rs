//! The inputs and outputs of a node's core.

use std::sync::Arc;

use super::message::{Body, Envelope, Verdict};
use super::{ChannelKey, NodeId, Topic};
use crate::id::UserId;
use crate::model::{Assigns, MemberChange, RemoteChange, RemoteMember, UserMessage};
use crate::wire::{Json, Object};

/// An event for a node's core.
#[derive(Clone, Debug)]
pub enum Input {
    /// The table of leases has assigned a number to this incarnation of the node. The input has no effect after the
    /// first [`Bus::Up`].
    Incarnation(u64),
    /// The first user has joined a channel here. `instance` distinguishes this opening of the channel from earlier
    /// ones.
    Opened {
        /// The channel.
        channel: ChannelKey,
        /// The instance of the channel.
        instance: u64,
        /// The time for which the channel shows users of a node that has gone, in milliseconds: its presence grace.
        /// At most [`expire_after`](super::Settings::expire_after).
        grace: u64,
        /// `true` if changes of the members of another node are to be shown ahead of the messages that it sends behind them, as
        /// in a channel with a shared history. Otherwise they are shown up to [`coalesce`](super::Settings::coalesce) later.
        in_order: bool,
    },
    /// A user is about to join a channel here. The core subscribes to the channel's topic, and unsubscribes after a
    /// while if no user joins.
    Expected {
        /// The channel.
        channel: ChannelKey,
    },
    /// The last user of a channel here has left.
    Closed {
        /// The channel.
        channel: ChannelKey,
        /// The instance of the channel. The input is ignored unless it is the present one.
        instance: u64,
    },
    /// A user has changed here, in an open channel.
    Local {
        /// The channel.
        channel: ChannelKey,
        /// The change.
        change: MemberChange,
    },
    /// A user that was here without a connection has joined on another node.
    Moved {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
    },
    /// The bus has delivered a message. A message on a topic that does not fit its channel is dropped.
    Received {
        /// The topic of the delivery.
        topic: Topic,
        /// The message.
        message: Box<Envelope>,
    },
    /// An event of the bus.
    Bus(Bus),
    /// The table of leases has answered a renewal. Without such an input silence decides which nodes are alive.
    Lease(Lease),
    /// A request to other nodes. [`NodeOutput::Answered`] follows under the same id, at the latest after the timeout of
    /// the request.
    Request {
        /// The id of the answer.
        id: u64,
        /// The request.
        request: ClusterRequest,
    },
    /// A [`NodeOutput::Command`] was executed, or failed.
    Done {
        /// The command's id.
        id: u64,
        /// The outcome.
        verdict: Verdict,
    },
    /// Time has passed. Timers expire upon this input and no other, so it has to follow as soon as the
    /// [deadline](super::Core::deadline) has passed.
    Tick,
    /// The node is about to stop. Users of channels with a presence grace that leave because their channel closes stay
    /// for other nodes, until these have ended their grace.
    Stopping,
    /// The node stops: it announces this to all others, and publishes nothing afterwards.
    Stop,
}

/// The decision about a message for users.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// The message is for the users here.
    Deliver,
    /// The message is repeated, or not for clients.
    Drop,
    /// The sender, the topic or the state of this node has to be looked at: the whole message is an
    /// [`Input::Received`].
    Unclear,
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
    /// All nodes that hold a lease.
    pub alive: Vec<NodeId>,
    /// Nodes whose lease has expired since the last renewal by any node.
    pub expired: Vec<NodeId>,
    /// True if the lease of this node had expired: other nodes may have hidden it.
    pub was_expired: bool,
}

/// A query to other nodes, or a change of users there.
#[derive(Clone, Debug)]
pub enum ClusterRequest {
    /// Notify and remove a user, on all nodes that have it.
    Evict {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
        /// The reason, for the user.
        reason: String,
    },
    /// Remove a user without a notification, on all nodes that have it.
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
    /// Find all users of a channel that has none here. A channel with users here shows those of other nodes anyway.
    Users {
        /// The channel.
        channel: ChannelKey,
    },
}

/// The answer to a [`ClusterRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Every node that had to act has confirmed the change.
    Confirmed,
    /// All nodes that may have the user have answered, and none has it.
    NotFound,
    /// Some node did not answer in time: the change may have been made, or the user may exist.
    Unconfirmed,
    /// A node that had to act has refused, because of one of its limits.
    Refused,
    /// The bus is down, or too many requests wait: nothing was sent.
    Unavailable,
    /// The user, united from the entries of the nodes that have it.
    Found(RemoteMember),
    /// The users of a channel.
    Users {
        /// The users.
        users: Vec<(UserId, RemoteMember)>,
        /// True if all live nodes have answered.
        complete: bool,
    },
}

/// A command of another node for a user of this one.
#[derive(Clone, Debug)]
pub enum Command {
    /// Notify and remove the user.
    Evict {
        /// The reason, for the user.
        reason: String,
    },
    /// Remove the user.
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

impl Command {
    /// The removal that a message asks for, with the id of the user as it was received. `None` if it asks for something else.
    pub(super) fn removal(body: &Body) -> Option<(&str, Command)> {
        match body {
            Body::EvictUser { user, reason } => Some((user, Command::Evict { reason: reason.clone() })),
            Body::UserRemove { user } => Some((user, Command::Remove)),
            _ => None,
        }
    }
}

/// An output of the core, for the bus or for this node. Outputs are executed in the order of the list.
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
    /// An output for this node.
    Node(NodeOutput),
}

/// An output that this node executes itself.
#[derive(Clone, Debug)]
pub enum NodeOutput {
    /// Change the members on other nodes that a channel here shows. Void if this instance of the channel is closed.
    RemoteMembers {
        /// The channel.
        channel: ChannelKey,
        /// The instance of the channel.
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
    /// Execute a command of another node on a user of this one. [`Input::Done`] reports the outcome.
    Command {
        /// The id of the report.
        id: u64,
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
        /// The command.
        command: Command,
    },
    /// A user whose node has died has not come back, or was removed: run its leave handler. Each such user is given to one
    /// node at most.
    Orphaned {
        /// The channel.
        channel: ChannelKey,
        /// The user.
        user: UserId,
        /// The user as its node has published it.
        member: RemoteMember,
        /// The command that has removed it; `None` if its presence grace has ended.
        removed_by: Option<Command>,
    },
    /// The answer to a [`ClusterRequest`].
    Answered {
        /// The id of the request.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// Renew the lease of this node soon, to read the table of leases: a message claims that a node which holds a lease
    /// has been replaced or is down.
    RenewLease,
    /// Other nodes have exceeded a limit.
    Excess {
        /// The limit.
        what: Excess,
        /// The number of times since the last such output.
        times: u64,
    },
    /// A node is alive, in the judgement of this one.
    NodeUp(Arc<str>),
    /// A node is dead, has stopped, or was replaced by another incarnation.
    NodeDown(Arc<str>),
    /// Another incarnation of this node's name runs at the same time. Each such incarnation is reported once.
    NameConflict(NodeId),
    /// Another node has begun the history of a channel anew.
    HistoryRestarted(ChannelKey),
    /// A client has come to another node with the key of a session of this one. The text is the name of the session's record.
    SessionClaimed(Arc<str>),
    /// The users of a node differ from its digest at the same version. That indicates a bug, or another process that
    /// publishes under the node's name. They are repaired.
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
    /// More nodes than [`max_nodes`](super::Settings::max_nodes): one was refused or evicted.
    Nodes,
    /// A user of another node has more presence than [`max_presence`](super::Settings::max_presence): the user is shown
    /// without presence.
    Presence,
    /// A user of another node has more assigns than [`max_assigns`](super::Settings::max_assigns): the user has none
    /// here.
    Assigns,
    /// A node has more users in a channel than [`max_users`](super::Settings::max_users): those that joined last are
    /// left out.
    Users,
    /// The users of other nodes in a channel have more presence than [`max_shown`](super::Settings::max_shown): some of
    /// them are shown without presence.
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
