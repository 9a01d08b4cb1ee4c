use super::{NodeId, Topics};

/// How a node's core behaves. All times are in milliseconds.
///
/// What a core keeps is bounded: by the channels here and the users that nodes have in them, or by one of the `max_`
/// settings, each of which says what becomes of what is too much.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Who it is.
    pub node: NodeId,
    /// Where it talks.
    pub topics: Topics,
    /// Whether there may be nodes of other languages. Without them their heartbeats and lists are neither sent nor
    /// heard. Default: true.
    pub interop: bool,

    /// How long a node lives without a sign: the time to live of its lease, or where there are no leases, the longest
    /// silence. Default: 4 s.
    pub lifetime: u64,
    /// How often it says that it lives where there are no leases, give or take a tenth. Default: 1 s.
    pub beat: u64,
    /// How long the users of a node that was hidden are kept, in case it comes back. Default: 60 s.
    pub forget_after: u64,
    /// How long it is remembered how new the last thing was that was heard of a node, or of a channel that closed here,
    /// so that nothing older comes back. Default: 10 min.
    pub remember: u64,

    /// How often nodes of other languages are told that this one lives. Default: 30 s.
    pub heartbeat: u64,
    /// The silence after which a node of another language is dead. Default: 90 s.
    pub legacy_lifetime: u64,
    /// How often they are looked over. Default: 5 s.
    pub legacy_scan: u64,
    /// How often they are told again who is here. Default: 60 s.
    pub announce: u64,
    /// How long after the first answer one that asks who is here is answered again: some ask before they listen.
    /// Default: 100 ms.
    pub answer_again: u64,
    /// How long one that left is not taken from another's list. Default: 120 s.
    pub leaver_memory: u64,

    /// How long changes of what is shown, and answers to questions for state, wait for others to go with. Default: 20 ms.
    pub coalesce: u64,
    /// How long a channel's topic is kept when its last user here has gone: a reload is not a new subscription.
    /// Default: 10 s.
    pub linger: u64,
    /// How long a gap in a node's changes waits for the missing one before they are asked for. Default: 30 ms.
    pub repair_after: u64,
    /// How long the answer to that is waited for; doubled with each attempt, up to 16 times. Default: 500 ms.
    pub repair_again: u64,
    /// How long after the last change of a channel here its digest is said, twice. Default: 5 s and 60 s.
    pub digests: [u64; 2],
    /// How long it takes to say the digests of all channels here, over and over. Default: 10 min.
    pub sweep: u64,

    /// How long commands and changes wait for their acknowledgements. Default: 2 s.
    pub command_timeout: u64,
    /// How long questions wait for their answers. Default: 500 ms.
    pub question_timeout: u64,

    /// How many users of this node go along with its question for a channel's state, if they fit into one message. With
    /// more, others ask for them. Default: 32.
    pub inline_users: usize,
    /// About how many bytes one message with states, or with a list of users, has at the most. A list with more is told in
    /// parts; a single user with more goes alone. Default: 256 KiB.
    pub state_bytes: usize,
    /// How many channels one message with states or repairs concerns; further ones go in further messages.
    /// Default: 512.
    pub state_channels: usize,

    /// How many nodes of ours live, as far as is known. For a further one that holds a lease, one that holds none makes room:
    /// the one that was silent longest. One without a lease takes the place of none that has spoken within two beats, and is
    /// not heard. Of those that do not live as many are remembered; those gone longest are forgotten. Default: 1024.
    pub max_nodes: usize,
    /// How many bytes one user of another node may show of itself. One that shows more shows nothing. Default: 16 KiB.
    pub max_presence: usize,
    /// How many bytes the assigns of one user of another node may have. One with more has none. Default: 64 KiB.
    pub max_assigns: usize,
    /// How many users each other node has in one channel, and all those of other languages together. Further ones are not
    /// there. Default: 10 000.
    pub max_users: usize,
    /// How many bytes the users of all other nodes may show of themselves in one channel. Who would be over it is there, and
    /// shows nothing until there is room. Default: 512 KiB.
    pub max_shown: usize,
    /// How many nodes of other languages are known; some have an id for each channel. When a further one comes, the one
    /// that has been silent longest is taken for dead. Default: 16 384.
    pub max_legacy_nodes: usize,
    /// How many users that left are remembered for each channel. A further one takes the place of the one who left
    /// first. Default: 1024.
    pub max_leavers: usize,
    /// How many channels that closed here are remembered. A further one takes the place of the one that closed first,
    /// and very old messages may then show in it for a while; and if the bus was down when its last users left, they are
    /// shown elsewhere until that is noticed otherwise. Default: 16 384.
    pub max_memories: usize,
    /// How many messages of one source are remembered, to know them when they come twice. A further one takes the place
    /// of the oldest. Default: 1024.
    pub max_recent_messages: usize,
    /// How many sources messages are remembered of, at least; those silent longest are dropped. Default: 4096.
    pub max_recent_sources: usize,
    /// How many questions and commands of this node may wait for answers. A further one is unavailable. Default: 1024.
    pub max_requests: usize,
    /// How many commands of others are remembered, to carry each out once. A further one takes the place of the oldest.
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
            forget_after: MINUTE,
            remember: 10 * MINUTE,
            heartbeat: 30 * SECOND,
            legacy_lifetime: 90 * SECOND,
            legacy_scan: 5 * SECOND,
            announce: MINUTE,
            answer_again: 100,
            leaver_memory: 2 * MINUTE,
            coalesce: 20,
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
            max_legacy_nodes: 16_384,
            max_leavers: 1024,
            max_memories: 16_384,
            max_recent_messages: 1024,
            max_recent_sources: 4096,
            max_requests: 1024,
            max_commands: 4096,
        }
    }
}
