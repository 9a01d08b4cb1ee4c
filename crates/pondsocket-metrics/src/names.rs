//! The names of all metrics, with their labels and descriptions.
//!
//! | metric | labels |
//! |---|---|
//! | [`CONNECTIONS`], [`OPENED`], [`CONNECTION_SECONDS`], [`CONNECTION_ERRORS`] | `endpoint` |
//! | [`CLOSED`] | `endpoint`, `reason`, `code` |
//! | [`DECLINED`] | `endpoint`, `reason`, `status` |
//! | [`RECEIVED`], [`RECEIVED_BYTES`], [`SENT`], [`SENT_BYTES`], [`BROADCAST_RECIPIENTS`], [`BLOCKED`] | `endpoint` |
//! | [`DROPPED`] | `endpoint`, `reason` |
//! | [`CHANNELS`], [`MEMBERS`], [`GHOSTS`], [`JOINS`] | `endpoint` |
//! | [`GRACE`] | `endpoint`, `event` |
//! | [`LEAVES`] | `endpoint`, `reason` |
//! | [`RESUMES`] | `endpoint`, `outcome` |
//! | [`REPLAYED`], [`CAUGHT_UP`], [`REPEATS`] | `endpoint` |
//! | [`GAPS`] | `endpoint`, `reason` |
//! | [`HISTORY_BYTES`] | |
//! | [`JOINS_DECLINED`] | `endpoint`, `code` |
//! | [`HANDLER_SECONDS`] | `kind`, `pattern` |
//! | [`HANDLER_FAILURES`] | `kind`, `pattern`, `code` |
//! | [`QUEUE_DEPTH`] | `endpoint`, `queue` |
//! | [`LIMITS`] | `endpoint`, `limit` |
//! | [`SOCKETS_CLOSED`] | `reason` |
//! | [`WAITING`], [`WAITING_BYTES`] | `endpoint` |
//! | [`BUS_UP`], [`BUS_CONNECTIONS`], [`BUS_RECEIVED`], [`BUS_QUEUED`], [`BUS_QUEUED_BYTES`], [`NODES`], [`DIVERGENCES`], [`NAMES_TAKEN`] | |
//! | [`HISTORY_APPENDED`], [`HISTORY_READS`], [`HISTORY_DETACHED`] | |
//! | [`BUS_DROPPED`] | `reason` |
//! | [`BUS_GAPS`] | `cause` |
//! | [`BUS_MALFORMED`], [`CLUSTER_EXCESS`] | `what` |
//! | [`ERRORS`] | `component` |

use metrics::Unit;

macro_rules! names {
    ($($describe:ident $name:ident = $text:literal, $unit:ident, $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $name: &str = $text;
        )*

        /// Describes each metric to the installed recorder. [`Exported::new`](crate::Exported::new) calls this.
        pub fn describe() {
            $(metrics::$describe!($name, Unit::$unit, $about);)*
        }

        /// The names of all metrics.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

names! {
    describe_gauge CONNECTIONS = "pondsocket_connections", Count, "Clients that are connected.";
    describe_counter OPENED = "pondsocket_connections_opened_total", Count, "Clients that were accepted.";
    describe_counter CLOSED = "pondsocket_connections_closed_total", Count, "Connections that were closed, by reason.";
    describe_histogram CONNECTION_SECONDS = "pondsocket_connection_seconds", Seconds, "Duration of connections.";
    describe_counter DECLINED = "pondsocket_connections_declined_total", Count, "Clients that were declined.";
    describe_counter CONNECTION_ERRORS = "pondsocket_connection_errors_total", Count,
        "Connections that broke the protocol or failed.";
    describe_counter RECEIVED = "pondsocket_messages_received_total", Count, "Messages of clients for event handlers.";
    describe_counter RECEIVED_BYTES = "pondsocket_received_bytes_total", Bytes, "Bytes of these messages.";
    describe_counter SENT = "pondsocket_messages_sent_total", Count, "Messages sent to clients, or queued for them.";
    describe_counter SENT_BYTES = "pondsocket_sent_bytes_total", Bytes, "Bytes of these messages.";
    describe_histogram BROADCAST_RECIPIENTS = "pondsocket_broadcast_recipients", Count,
        "Recipients of a broadcast.";
    describe_counter DROPPED = "pondsocket_messages_dropped_total", Count, "Messages that were dropped for slow clients.";
    describe_counter BLOCKED = "pondsocket_messages_blocked_total", Count,
        "Messages that an outgoing handler blocked for a recipient.";
    describe_gauge CHANNELS = "pondsocket_channels", Count, "Channels that have members.";
    describe_gauge MEMBERS = "pondsocket_members", Count, "Memberships of users in channels.";
    describe_gauge GHOSTS = "pondsocket_ghosts", Count, "Members without connections, in their presence grace.";
    describe_counter GRACE = "pondsocket_grace_total", Count,
        "Presence graces that began, and that ended, by the way in which they did.";
    describe_counter JOINS = "pondsocket_joins_total", Count, "Joins of users, first connections only.";
    describe_counter LEAVES = "pondsocket_leaves_total", Count, "Ends of memberships, by reason.";
    describe_counter RESUMES = "pondsocket_resumes_total", Count,
        "Clients that asked to resume a channel: `new`, `resumed`, or the reason for a gap.";
    describe_counter REPLAYED = "pondsocket_replayed_total", Count, "Kept messages that joins replayed.";
    describe_counter CAUGHT_UP = "pondsocket_caught_up_total", Count,
        "Kept messages that slow clients got later, for which their outboxes had no room.";
    describe_counter REPEATS = "pondsocket_repeats_total", Count,
        "Messages that clients sent again, and that were answered without being handled again.";
    describe_counter GAPS = "pondsocket_gaps_total", Count,
        "Gaps of clients that stayed connected, and read too slowly for the history of a channel.";
    describe_gauge HISTORY_BYTES = "pondsocket_history_bytes", Bytes, "Memory of the messages that all channels keep.";
    describe_counter JOINS_DECLINED = "pondsocket_joins_declined_total", Count, "Joins that were declined.";
    describe_histogram HANDLER_SECONDS = "pondsocket_handler_seconds", Seconds,
        "Duration of handlers with their layers.";
    describe_counter HANDLER_FAILURES = "pondsocket_handler_failures_total", Count, "Handlers that ended in an error.";
    describe_histogram QUEUE_DEPTH = "pondsocket_queue_depth", Count, "Length of a queue after an insertion.";
    describe_counter LIMITS = "pondsocket_limits_reached_total", Count, "Times when a limit was reached.";
    describe_counter SOCKETS_CLOSED = "pondsocket_sockets_closed_total", Count,
        "Sockets that the standalone server closed before they were connections, by reason.";
    describe_gauge WAITING = "pondsocket_waiting_messages", Count,
        "Messages that are queued for slow clients.";
    describe_gauge WAITING_BYTES = "pondsocket_waiting_bytes", Bytes, "Bytes of these messages.";
    describe_gauge BUS_UP = "pondsocket_bus_up", Count, "1 while the bus to other nodes is connected.";
    describe_counter BUS_CONNECTIONS = "pondsocket_bus_connections_total", Count, "Connections of the bus.";
    describe_counter BUS_RECEIVED = "pondsocket_bus_received_total", Count, "Messages received from other nodes.";
    describe_counter BUS_DROPPED = "pondsocket_bus_dropped_total", Count, "Messages for other nodes that were dropped.";
    describe_counter BUS_GAPS = "pondsocket_bus_gaps_total", Count, "Times when messages of other nodes may have been lost.";
    describe_counter BUS_MALFORMED = "pondsocket_bus_malformed_total", Count, "Invalid messages of other nodes.";
    describe_gauge BUS_QUEUED = "pondsocket_bus_queued_messages", Count, "Messages that are queued for the bus.";
    describe_gauge BUS_QUEUED_BYTES = "pondsocket_bus_queued_bytes", Bytes, "Bytes of these messages.";
    describe_counter CLUSTER_EXCESS = "pondsocket_cluster_excess_total", Count,
        "State of other nodes that was over a limit.";
    describe_gauge NODES = "pondsocket_nodes", Count, "Other nodes that are alive.";
    describe_counter DIVERGENCES = "pondsocket_divergences_total", Count,
        "Times when two nodes disagreed about a channel and were repaired.";
    describe_counter HISTORY_APPENDED = "pondsocket_history_appended_total", Count,
        "Messages of this node that were appended to histories which nodes share.";
    describe_counter HISTORY_READS = "pondsocket_history_reads_total", Count,
        "Reads of shared histories: of channels that were opened, and after messages may have been lost.";
    describe_counter HISTORY_DETACHED = "pondsocket_history_detached_total", Count,
        "Times when a channel went on without the store of histories.";
    describe_counter NAMES_TAKEN = "pondsocket_node_names_taken_total", Count,
        "Times when another node ran under the name of this one.";
    describe_counter ERRORS = "pondsocket_errors_total", Count, "Unexpected failures.";
}
