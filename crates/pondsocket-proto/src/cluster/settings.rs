use super::{NodeId, Topics};

/// The settings of a node's core. All times are in milliseconds.
///
/// The whole state of a core is bounded: by the channels here and the users that nodes have in them, or by one of the
/// `max_` settings, each of which states the consequence of exceeding it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The node.
    pub node: NodeId,
    /// The topics of the cluster.
    pub topics: Topics,
    /// True if there may be nodes of other languages (foreign nodes). Otherwise heartbeats and lists for them are not
    /// sent, and their messages are ignored. Default: true.
    pub interop: bool,

    /// The time after which a node without a sign of life counts as dead: the time to live of its lease or, without
    /// leases, the longest silence. Default: 4 s.
    pub lifetime: u64,
    /// The interval of `Hello` where there are no leases, plus or minus a tenth. Default: 1 s.
    pub beat: u64,
    /// The time for which the users of a hidden node are kept, in case it comes back. Default: 60 s.
    pub expire_after: u64,
    /// The time for which the last known version of a node, or of a channel that closed here, is remembered, so that no
    /// older message restores users. Default: 10 min.
    pub remember: u64,

    /// The interval of heartbeats for foreign nodes. Default: 30 s.
    pub heartbeat: u64,
    /// The silence after which a foreign node counts as dead. Default: 90 s.
    pub foreign_lifetime: u64,
    /// The interval at which foreign nodes are checked for silence. Default: 5 s.
    pub foreign_scan: u64,
    /// The interval at which the users of this node are sent to foreign nodes again. Default: 60 s.
    pub announce: u64,
    /// The time between the two answers to a foreign node that requests the users of this node: some nodes send the
    /// request before they are subscribed. Default: 100 ms.
    pub answer_again: u64,
    /// The time for which the list of a foreign node does not restore a user that has left: the list may be older than
    /// the leave. Default: 120 s.
    pub leaver_memory: u64,

    /// The time for which changes of remote members, and answers to requests for state, are collected. Default: 20 ms. In channels
    /// that show changes [in order](super::Input::Opened::in_order) a message of another node ends it.
    pub coalesce: u64,
    /// The time between the join of a user on another node and the leave that this node publishes of it. Messages of two
    /// nodes can overtake each other, and a leave ahead of the join would be seen. Default: 1 s.
    pub handover: u64,
    /// The time for which a channel's topic stays subscribed after its last user here has left, so that the reload of a
    /// page does not lead to a new subscription. Default: 10 s.
    pub linger: u64,
    /// The time for which a gap in a node's changes waits for the missing one, before the node is queried. Default: 30
    /// ms.
    pub repair_after: u64,
    /// The time after which the node is queried again; doubled with each attempt, up to 16 times. Default: 500 ms.
    pub repair_again: u64,
    /// The two times after the last change of a channel here at which its digest is published. Default: 5 s and 60 s.
    pub digests: [u64; 2],
    /// The period in which the digest of every channel here is published once. Default: 10 min.
    pub sweep: u64,

    /// The time for which commands and changes wait for their acknowledgements. The removal of a user waits on for a node that does
    /// not answer, for a lifetime and two beats, because it may be dead. Default: 2 s.
    pub command_timeout: u64,
    /// The time for which queries wait for their answers. Default: 500 ms.
    pub question_timeout: u64,

    /// The most users of this node that are included in its request for a channel's state, if they fit into one
    /// message. If there are more, other nodes request them. Default: 32.
    pub inline_users: usize,
    /// The approximate size limit of one message with states, or with a list of users, in bytes. A longer list is sent
    /// in parts; a larger single user goes alone. Default: 256 KiB.
    pub state_bytes: usize,
    /// The most channels that one message with states or repairs concerns; further ones go in further messages.
    /// Default: 512.
    pub state_channels: usize,

    /// The most live nodes of our kind. A further one that holds a lease replaces the node without a lease that has
    /// been silent for longest. A further one without a lease replaces only a node that has been silent for two beats;
    /// otherwise it is ignored. As many dead nodes are remembered; beyond that the longest dead are dropped. Default:
    /// 1024.
    pub max_nodes: usize,
    /// The size limit of the presence of one user of another node, in bytes. A larger one is not shown. Default: 16
    /// KiB.
    pub max_presence: usize,
    /// The size limit of the assigns of one user of another node, in bytes. Larger ones are dropped. Default: 64 KiB.
    pub max_assigns: usize,
    /// The most users of each other node in one channel, and of all foreign nodes together. Further ones are left out.
    /// Default: 10 000.
    pub max_users: usize,
    /// The size limit of the presence of all users of other nodes in one channel, in bytes. A user beyond it is a
    /// member without presence until there is room. Default: 512 KiB.
    pub max_shown: usize,
    /// The most foreign nodes that are known; some have an id for each channel. For a further one, the node that has
    /// been silent for longest counts as dead. Default: 16 384.
    pub max_foreign_nodes: usize,
    /// The most users that have left which are remembered for each channel. A further one replaces the one that left
    /// first. Default: 1024.
    pub max_leavers: usize,
    /// The most closed channels that are remembered. A further one replaces the one that closed first. Very late
    /// messages may then restore users in that channel for a while; and if the bus was down when its last users left,
    /// other nodes show them until the next digest. Default: 16 384.
    pub max_tombstones: usize,
    /// The most messages of one source that are remembered, to detect repeated ones. A further one replaces the oldest.
    /// Default: 1024.
    pub max_recent_messages: usize,
    /// The least number of sources whose messages are remembered; those that have been silent for longest are dropped.
    /// Default: 4096.
    pub max_recent_sources: usize,
    /// The most requests of this node that wait for answers. A further one is unavailable. Default: 1024.
    pub max_requests: usize,
    /// The most commands of other nodes that are remembered, to execute each once. A further one replaces the oldest.
    /// Default: 4096.
    pub max_commands: usize,
}

impl Settings {
    /// The defaults, for this node and these topics.
    pub fn new(node: NodeId, topics: Topics) -> Settings {
        const SECOND: u64 = 1000;
        const MINUTE: u64 = 60 * SECOND;
        Settings {
            node,
            topics,
            interop: true,
            lifetime: 4 * SECOND,
            beat: SECOND,
            expire_after: MINUTE,
            remember: 10 * MINUTE,
            heartbeat: 30 * SECOND,
            foreign_lifetime: 90 * SECOND,
            foreign_scan: 5 * SECOND,
            announce: MINUTE,
            answer_again: 100,
            leaver_memory: 2 * MINUTE,
            coalesce: 20,
            handover: SECOND,
            linger: 10 * SECOND,
            repair_after: 30,
            repair_again: 500,
            digests: [5 * SECOND, MINUTE],
            sweep: 10 * MINUTE,
            command_timeout: 2 * SECOND,
            question_timeout: 500,
            inline_users: 32,
            state_bytes: 256 << 10,
            state_channels: 512,
            max_nodes: 1024,
            max_presence: 16 << 10,
            max_assigns: 64 << 10,
            max_users: 10_000,
            max_shown: 512 << 10,
            max_foreign_nodes: 16_384,
            max_leavers: 1024,
            max_tombstones: 16_384,
            max_recent_messages: 1024,
            max_recent_sources: 4096,
            max_requests: 1024,
            max_commands: 4096,
        }
    }
}
