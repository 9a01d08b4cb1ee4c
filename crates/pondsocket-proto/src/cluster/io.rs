//! What a node's core is told, and what it wants to be done.

use std::sync::Arc;

use super::excess::Excess;
use super::message::Envelope;
use crate::id::{ChannelName, UserId};
use crate::model::{Assigns, MemberChange, RemoteChange, RemoteMember, UserMessage};
use crate::wire::{Json, Object};

/// A channel, wherever it is served: its name within the endpoint's registered pattern without leading slashes.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ChannelKey {
    /// The endpoint, as in topics.
    pub endpoint: Arc<str>,
    /// The exact name.
    pub channel: ChannelName,
}

/// One life of a node: a name that stays, and the number of the life. Where there is a table of leases it gives the
/// numbers, so that a later life has the larger one whatever the clocks of nodes say; elsewhere it is the time of the start
/// in milliseconds since 1970 (docs/cluster.md, Lives of one name).
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct NodeId {
    /// Stays the same when the node is started again.
    pub name: Arc<str>,
    /// The larger, the later. Below 2^53.
    pub incarnation: u64,
}

impl NodeId {
    /// How it signs its messages: nodes of other languages see another node after each start.
    pub fn source(&self) -> String {
        let (mut digits, mut rest) = (Vec::new(), self.incarnation);
        while rest > 0 || digits.is_empty() {
            digits.push(char::from_digit((rest % 36) as u32, 36).expect("a digit below 36"));
            rest /= 36;
        }
        format!("{}~{}", self.name, digits.iter().rev().collect::<String>())
    }
}

/// Something that a node's core has to know.
#[derive(Clone, Debug)]
pub enum Input {
    /// The table of leases has given this life its number. It comes before the first [`Bus::Up`], or has no effect.
    Incarnation(u64),
    /// Users have come here, in a channel that had none here. `instance` tells this life of the channel from earlier ones.
    Opened {
        /// Which channel.
        channel: ChannelKey,
        /// Which life of it.
        instance: u64,
    },
    /// A user is about to come into a channel here: it is listened to from now on, and left again after a while if nobody
    /// does.
    Expected {
        /// Which channel.
        channel: ChannelKey,
    },
    /// Its last user here has gone.
    Closed {
        /// Which channel.
        channel: ChannelKey,
        /// Which life of it: an older one than the present one is ignored.
        instance: u64,
    },
    /// Something has changed here, in an open channel.
    Local {
        /// Which channel.
        channel: ChannelKey,
        /// What.
        change: MemberChange,
    },
    /// The bus has delivered a message. One that came on a topic which does not fit its channel is dropped.
    Received {
        /// The topic it came on.
        topic: String,
        /// The message.
        message: Box<Envelope>,
    },
    /// The bus is, or is not, what it was.
    Bus(Bus),
    /// What the table of leases says. A bus without one never says it: then heartbeats decide.
    Lease(Lease),
    /// Somebody here wants to know or to change something that concerns other nodes. It is answered by
    /// [`Output::Answered`] under the same id, in time.
    Request {
        /// Comes back with the answer.
        id: u64,
        /// What.
        request: ClusterRequest,
    },
    /// What became of an [`Output::Command`].
    Done {
        /// The command's id.
        id: u64,
        /// What became of it.
        verdict: Verdict,
    },
    /// Nothing but that time has passed. Whatever waits for a time ([`Core::deadline`](super::Core::deadline)) is done
    /// upon this input and no other, so whoever drives a core gives it as soon as the deadline has passed.
    Tick,
    /// The node stops: everybody is told, and nothing is said afterwards.
    Stop,
}

/// What the bus reports (docs/cluster-bus.md, The bus).
#[derive(Clone, Debug)]
pub enum Bus {
    /// It is connected; subscriptions follow.
    Up,
    /// These topics are delivered from now on.
    Subscribed(Vec<String>),
    /// All subscriptions are void.
    Down,
    /// Messages of these topics may have been lost.
    Gap(Vec<String>),
    /// Messages of any topic may have been lost.
    GapAll,
}

/// The answer of the table of leases to a beat.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// All nodes whose lease runs.
    pub alive: Vec<NodeId>,
    /// Nodes whose lease has run out since somebody last looked.
    pub expired: Vec<NodeId>,
    /// Our own lease had run out: others may have taken us for dead.
    pub was_expired: bool,
}

/// A question to, or a change on, other nodes.
#[derive(Clone, Debug)]
pub enum ClusterRequest {
    /// Tell a user and take it out, wherever it is.
    Evict {
        /// Where.
        channel: ChannelKey,
        /// Whom.
        user: UserId,
        /// Told to it.
        reason: String,
    },
    /// Take a user out without a word, wherever it is.
    Remove {
        /// Where.
        channel: ChannelKey,
        /// Whom.
        user: UserId,
    },
    /// Find a user.
    Get {
        /// Where.
        channel: ChannelKey,
        /// Whom.
        user: UserId,
    },
    /// Set one assign of a user that is elsewhere.
    Assign {
        /// Where.
        channel: ChannelKey,
        /// Whose.
        user: UserId,
        /// Which.
        key: String,
        /// To what.
        value: Json,
    },
    /// Replace what a user that is elsewhere shows of itself.
    Presence {
        /// Where.
        channel: ChannelKey,
        /// Whose.
        user: UserId,
        /// By what.
        presence: Object,
    },
    /// All users of a channel that nobody here is in; with somebody here the view knows them.
    Users {
        /// Where.
        channel: ChannelKey,
    },
}

/// What has come of an [`ClusterRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Every node that had to act has confirmed it.
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
        /// Who they are.
        users: Vec<(UserId, RemoteMember)>,
        /// Whether all nodes that live have answered.
        complete: bool,
    },
}

/// A command of another node for a user of this one.
#[derive(Clone, Debug)]
pub enum Command {
    /// It is told, and taken out.
    Evict {
        /// Told to it.
        reason: String,
    },
    /// It is taken out.
    Remove,
    /// One of its assigns is set.
    Assign {
        /// Which.
        key: String,
        /// To what.
        value: Json,
    },
    /// Its assigns are overwritten key by key.
    MergeAssigns(Assigns),
    /// What it shows of itself is replaced.
    Presence(Object),
    /// It is hidden.
    Untrack,
}

/// What became of a [`Command`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It was carried out.
    Done,
    /// There is no such user here.
    NotFound,
    /// A limit of this node forbids it.
    Refused,
}

/// Something to be done, in the order of the list.
#[derive(Clone, Debug)]
pub enum Output {
    /// Say this to others.
    Publish {
        /// On which topic.
        topic: String,
        /// What.
        message: Box<Envelope>,
    },
    /// What the bus has to deliver from now on.
    Interest {
        /// More topics.
        add: Vec<String>,
        /// Topics that are not needed any more.
        remove: Vec<String>,
    },
    /// The members that a channel here shows of other nodes change. Void if this life of the channel is over.
    RemoteMembers {
        /// Which channel.
        channel: ChannelKey,
        /// Which life of it.
        instance: u64,
        /// What changes.
        changes: Vec<RemoteChange>,
    },
    /// A message of another node for the users of a channel here.
    Deliver {
        /// Which channel.
        channel: ChannelKey,
        /// What.
        message: UserMessage,
    },
    /// A command of another node is to be executed on a user of this one. The result comes back by [`Input::Done`].
    Command {
        /// Comes back with the report.
        id: u64,
        /// Which channel.
        channel: ChannelKey,
        /// Who.
        user: UserId,
        /// What.
        command: Command,
    },
    /// What has come of an [`ClusterRequest`].
    Answered {
        /// The id it came with.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// A life of a node that holds a lease is said to be replaced: the table of leases is to be asked soon, by a beat.
    Look,
    /// Others have brought more than a limit allows.
    Excess {
        /// What.
        what: Excess,
        /// How often since this was said last.
        times: u64,
    },
    /// A node lives, as far as we know.
    NodeUp(Arc<str>),
    /// A node does not.
    NodeDown(Arc<str>),
    /// Another life of this node's name runs, too: somebody has started it twice. Each is told of once.
    Twin(NodeId),
    /// A state that should have been equal was not, and is mended. A bug somewhere, or a lost message that nobody noticed.
    Diverged(ChannelKey),
}
