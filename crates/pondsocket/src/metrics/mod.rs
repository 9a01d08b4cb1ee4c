//! Metrics for operators: the server calls the application's [`Metrics`] at each event that can be counted.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use pondsocket::PondSocket;
//! use pondsocket::metrics::{CloseReason, ConnectionInfo, Metrics};
//!
//! #[derive(Default)]
//! struct Slow(AtomicU64);
//!
//! impl Metrics for Slow {
//!     fn connection_closed(&self, _: &ConnectionInfo<'_>, _: std::time::Duration, _: u16, reason: CloseReason) {
//!         if reason == CloseReason::TooSlow {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let slow = Arc::new(Slow::default());
//! let pond = PondSocket::new().metrics(Arc::clone(&slow));
//! ```

mod meter;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::channel::{Assigns, GapReason, Recovery};
use pondsocket_proto::id::{ConnectionId, UserId};
use serde::de::DeserializeOwned;

use crate::cluster::{Excess, GapCause};
use crate::engine::sync::Mutex;
use crate::error::{Error, Result};
use crate::json::decode;

pub(crate) use meter::{Meter, Observer};

/// The connection that an event concerns.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionInfo<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) id: ConnectionId,
    pub(crate) user: &'a UserId,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) assigns: &'a Mutex<Assigns>,
}

impl ConnectionInfo<'_> {
    /// The pattern of the endpoint. It is suitable as a label, since there are few endpoints.
    pub fn endpoint(&self) -> &str {
        self.endpoint
    }

    /// The connection's id. Each connection has another one: not suitable as a label.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// The user's id. Not suitable as a label.
    pub fn user_id(&self) -> &str {
        self.user.as_str()
    }

    /// The address of the client, if it is known: see
    /// [`ConnectionContext::client_ip`](crate::ConnectionContext::client_ip).
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// One assign of the connection.
    ///
    /// # Errors
    /// 404 if it is not set, 500 if it cannot be decoded as `T`.
    pub fn assign<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let value = self.assigns.lock().get(key);
        decode::assign(key, value)
    }
}

macro_rules! reasons {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// The name in snake case, suitable as a label.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// The reason for which a connection ended.
    CloseReason {
        /// The client sent a close frame.
        Client = "client",
        /// The stream ended or failed without a close frame.
        Lost = "lost",
        /// The application disconnected it, or closed its channel.
        Server = "server",
        /// The server shut down.
        Shutdown = "shutdown",
        /// More than `send_channel_buffer` messages or `outbox_bytes` waited for the client for `send_timeout`, or four times as
        /// much at any time.
        TooSlow = "too_slow",
        /// The client's receive queue was full for `write_wait`: it sent messages faster than they were handled.
        TooManyMessages = "too_many_messages",
        /// The connection held too much memory for `write_wait` while `memory_limit` was nearly reached.
        Memory = "memory",
        /// Nothing was received from the client for `pong_wait`.
        Silent = "silent",
        /// The client accepted no byte of waiting messages, or did not complete a close, for `write_wait`.
        Stalled = "stalled",
        /// The client broke the WebSocket protocol, or sent a message over `max_message_size`.
        Protocol = "protocol",
        /// The client has connected again with the key of the same session, and did not answer a ping on the older connection.
        Superseded = "superseded",
        /// The client was too slow for the history of a channel, and there is no gap handler: it is to join again.
        Gap = "gap",
        /// The client had `max_refusals` requests in a row refused, or as many as a `RateLimit` allows.
        RateLimit = "rate_limit",
    }
}

reasons! {
    /// The reason for which the standalone server closed a socket that was not a WebSocket or an event stream yet, or answered
    /// 503.
    SocketCloseReason {
        /// `read_timeout`: no complete head of a request was received.
        ReadTimeout = "read_timeout",
        /// `write_timeout`: the client did not receive the response.
        WriteTimeout = "write_timeout",
        /// `idle_timeout`: no further request was received.
        IdleTimeout = "idle_timeout",
        /// No valid PROXY header of a trusted proxy was received in time.
        ProxyHeader = "proxy_header",
        /// The TLS handshake failed, or was not completed in time.
        Handshake = "handshake",
        /// `max_pending` was reached, and the socket was idle after a response.
        EvictedIdle = "evicted_idle",
        /// `max_pending` was reached, and the client had not sent its request or received its response.
        EvictedWaiting = "evicted_waiting",
        /// `max_pending` requests were being handled, and `pending_reserve` was used up: 503.
        Overloaded = "overloaded",
    }
}

reasons! {
    /// The reason for which a client was not accepted.
    DeclineReason {
        /// The connection handler, a layer or an extractor declined.
        Handler = "handler",
        /// [`Hooks::on_connect`](crate::Hooks::on_connect) declined.
        Hook = "hook",
        /// The connection handler exceeded `handler_timeout`.
        Timeout = "timeout",
        /// The request is not a valid WebSocket handshake.
        Handshake = "handshake",
        /// The request's origin is not allowed.
        Origin = "origin",
        /// The endpoint has `max_connections`.
        ConnectionLimit = "connection_limit",
        /// `memory_limit` is reached.
        MemoryLimit = "memory_limit",
        /// `max_waiting_connects` wait for their turn.
        Overloaded = "overloaded",
        /// The client's address has `max_connections_per_ip`.
        AddressLimit = "address_limit",
        /// The server is shutting down.
        Draining = "draining",
        /// The client was accepted with 101, and the connection was lost before the upgrade was complete.
        Upgrade = "upgrade",
    }
}

reasons! {
    /// The reason for which a message that waited for a slow client was dropped.
    DropReason {
        /// A newer presence list of the same channel follows it in the queue.
        Outdated = "outdated",
        /// [`SlowClient::DropOldest`](crate::SlowClient::DropOldest).
        Oldest = "oldest",
        /// [`SlowClient::DropNewest`](crate::SlowClient::DropNewest).
        Newest = "newest",
    }
}

reasons! {
    /// A limit that a connected client has reached. Its request was refused with an error, unless stated otherwise.
    Limit {
        /// `max_channels_per_connection`.
        Channels = "channels",
        /// `receive_bytes`: the connection is not read until messages have been handled. Nothing was refused.
        ReceiveBytes = "receive_bytes",
        /// `max_pending_joins`: the connection is not read until joins have been decided. Nothing was refused.
        PendingJoins = "pending_joins",
        /// `messages_per_second`.
        Messages = "messages",
        /// `bytes_per_second`.
        Bytes = "bytes",
        /// `max_channel_name`.
        ChannelName = "channel_name",
        /// `max_assigns_size`.
        Assigns = "assigns",
        /// `max_presence_size`.
        Presence = "presence",
        /// `max_channel_presence`.
        ChannelPresence = "channel_presence",
        /// `max_message_size`.
        MessageSize = "message_size",
        /// Four times `channel_queue` or `channel_queue_bytes`: a broadcast, a reply or a change of presence was refused.
        ChannelQueue = "channel_queue",
        /// `memory_limit` is nearly reached: a connection that holds much memory is not read. Nothing was refused.
        Memory = "memory",
        /// `memory_limit` is reached: a broadcast was refused.
        MemoryFull = "memory_full",
        /// `history_bytes`: the history of a channel was emptied. Nothing was refused.
        History = "history",
        /// `max_sessions`: the client has no session. Nothing was refused.
        Sessions = "sessions",
        /// `max_ghosts`: a member that has lost its last connection has left at once. Nothing was refused.
        Ghosts = "ghosts",
        /// `pacing_wait` or `pacing_budget`: a channel stops waiting for a slow client. Nothing was refused.
        Pacing = "pacing",
        /// A [`RateLimit`](crate::RateLimit).
        RateLimit = "rate_limit",
    }
}

reasons! {
    /// An event of the presence grace of a member.
    GraceEvent {
        /// The last connection of a member was lost: it is a ghost now.
        Began = "began",
        /// The user has joined again.
        Returned = "returned",
        /// The grace has ended, or the server has shut down: the user has left.
        Expired = "expired",
        /// A join of the user was declined: it has left.
        Declined = "declined",
        /// The user was evicted or removed.
        Removed = "removed",
        /// The user has joined on another node, where its membership goes on.
        Moved = "moved",
        /// The server has shut down: the membership goes on in the next one, by the
        /// [`history_file`](crate::Options#structfield.history_file).
        Saved = "saved",
        /// The user was a member in an earlier server, and is a ghost of this one since its start. There was no `channel_joined`.
        Restored = "restored",
    }
}

reasons! {
    /// The kind of a queue.
    Queue {
        /// Operations of a channel that wait for delivery. The depth is the number of operations in one batch.
        Channel = "channel",
        /// Frames for a client whose socket did not accept them at once.
        Outbox = "outbox",
        /// Messages of a connection that wait for their handlers.
        Receive = "receive",
        /// Connects and joins of an endpoint that wait for their turn
        /// ([`Options::arrivals_per_round`](crate::Options#structfield.arrivals_per_round)).
        Arrivals = "arrivals",
    }
}

reasons! {
    /// The kind of a handler of the application.
    HandlerKind {
        /// A connection handler.
        Connection = "connection",
        /// A join handler.
        Join = "join",
        /// An event handler.
        Event = "event",
        /// A leave handler.
        Leave = "leave",
        /// A gap handler.
        Gap = "gap",
    }
}

reasons! {
    /// The component in which an unexpected error occurred.
    Component {
        /// A connection handler: an internal error or a panic.
        ConnectionHandler = "connection_handler",
        /// A join handler: an internal error or a panic.
        JoinHandler = "join_handler",
        /// An event handler: an internal error or a panic.
        EventHandler = "event_handler",
        /// A leave handler: any error, since none can be sent to a client.
        LeaveHandler = "leave_handler",
        /// A gap handler: any error, since none can be sent to a client.
        GapHandler = "gap_handler",
        /// An outgoing handler: a panic, or a replacement payload that cannot be serialised.
        OutgoingHandler = "outgoing_handler",
        /// A hook panicked.
        Hook = "hook",
        /// The `Server`: a failure to accept connections, or a connection that broke HTTP.
        HttpServer = "http_server",
    }
}

reasons! {
    /// The reason for which a message for other nodes was dropped.
    BusDrop {
        /// The queue of the bus was full.
        Full = "full",
        /// The bus was down for longer than messages are kept.
        Expired = "expired",
        /// The bus can never send it, for example because it is too large.
        Refused = "refused",
        /// The connection to the bus was lost before the message was confirmed.
        Unknown = "unknown",
    }
}

/// An event between this node and the other nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// The bus is connected.
    BusUp,
    /// The bus is no longer connected.
    BusDown,
    /// Messages for other nodes were dropped.
    Dropped {
        /// The reason.
        reason: BusDrop,
        /// The number of messages.
        messages: u64,
    },
    /// Messages of other nodes may have been lost. The state of their users is requested again.
    Gap(GapCause),
    /// A message of another node, for users of this node.
    Received,
    /// A message on the bus could not be decoded; the text names the fault and is suitable as a label.
    Malformed(&'static str),
    /// Other nodes have exceeded a limit for remote users.
    Excess {
        /// The exceeded limit.
        what: Excess,
        /// The number of times.
        times: u64,
    },
    /// The number of other nodes that are alive has changed.
    Nodes(usize),
    /// Another node has this node's name. Other nodes ignore the users of the one that started first.
    NameTaken,
    /// Messages of this node were appended to histories that nodes share.
    HistoryAppended(u64),
    /// A history that nodes share was read: its channel was opened here, or messages may have been lost.
    HistoryRead,
    /// The store of the bus does not answer: a channel goes on without it, in an epoch of its own.
    HistoryDetached,
    /// Two nodes had different states of a channel, which has been repaired. A message was lost without notice, or there is a
    /// bug.
    Diverged,
}

/// The application's metrics. Each method does nothing by default.
///
/// A method is called immediately at its event, on a task of the server and never under a lock. It must not block. A panic in it
/// is logged and has no other effect.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Metrics: Send + Sync + 'static {
    /// A client has connected: the upgrade is complete.
    fn connection_opened(&self, connection: &ConnectionInfo<'_>) {}

    /// A connection has ended, with its duration. The code is that of the first close frame, of either side; 1005 for a frame
    /// without a code, 1006 if there was no frame (RFC 6455 section 7.4.1).
    fn connection_closed(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {}

    /// A client was not accepted. The status is that of the HTTP response.
    fn connection_declined(&self, endpoint: &str, status: u16, reason: DeclineReason) {}

    /// A client broke the WebSocket protocol, or its stream failed.
    fn connection_error(&self, connection: &ConnectionInfo<'_>, error: &str) {}

    /// A message for the event handlers of a channel was received.
    fn message_received(&self, connection: &ConnectionInfo<'_>, channel: &str, event: &str, bytes: usize) {}

    /// Messages were sent to a client, or queued for it: several with one call, possibly of different events. Bytes are those of
    /// the frames.
    fn message_sent(&self, connection: &ConnectionInfo<'_>, messages: usize, bytes: usize) {}

    /// A broadcast was enqueued for this many members on this node. Broadcasts that follow an accepted join count, too.
    fn message_broadcast(&self, endpoint: &str, channel: &str, event: &str, recipients: usize) {}

    /// Messages that waited for a slow client were dropped.
    fn message_dropped(&self, connection: &ConnectionInfo<'_>, reason: DropReason, messages: usize) {}

    /// A client has sent a message again that was handled before. It is answered, and not handled again.
    fn message_repeated(&self, connection: &ConnectionInfo<'_>, channel: &str, event: &str) {}

    /// An outgoing handler has blocked a message for one recipient.
    fn message_blocked(&self, endpoint: &str, event: &str) {}

    /// A client has joined a channel that keeps a history, and asked to resume or had messages replayed.
    fn channel_resumed(&self, connection: &ConnectionInfo<'_>, channel: &str, recovery: Recovery, replayed: usize) {}

    /// A slow client has got messages later, from the history of a channel, for which its outbox had no room when they were
    /// sent.
    fn channel_caught_up(&self, connection: &ConnectionInfo<'_>, channel: &str, messages: usize) {}

    /// Such messages were not kept any more when a slow client had room for them. It is told, or ends.
    fn channel_gap(&self, connection: &ConnectionInfo<'_>, channel: &str, reason: GapReason) {}

    /// A user has become a member, with its first connection.
    fn channel_joined(&self, connection: &ConnectionInfo<'_>, channel: &str) {}

    /// A user has ceased to be a member. `reason` is the name of the [`LeaveReason`](crate::LeaveReason), without the text of an
    /// eviction.
    fn channel_left(&self, endpoint: &str, user: &str, channel: &str, reason: &str) {}

    /// An event of the presence grace of a member. Each grace begins once and ends once.
    fn presence_grace(&self, endpoint: &str, channel: &str, user: &str, event: GraceEvent) {}

    /// A join was declined with this code.
    fn join_declined(&self, connection: &ConnectionInfo<'_>, channel: &str, code: u16) {}

    /// A channel was created by its first member.
    fn channel_created(&self, endpoint: &str, channel: &str) {}

    /// A channel was closed: the last member has left, and everything has been delivered.
    fn channel_destroyed(&self, endpoint: &str, channel: &str) {}

    /// A handler with its layers has finished, after this time; `code` is that of its error, `None` if it succeeded. `pattern` is
    /// that of the endpoint or of the lobby.
    fn handler_finished(&self, kind: HandlerKind, pattern: &str, took: Duration, code: Option<u16>) {}

    /// The depth of a queue, after something was added to it; of a channel, at a delivery.
    fn queue_depth(&self, endpoint: &str, queue: Queue, depth: usize) {}

    /// A limit was reached, and a request refused unless the [`Limit`] states otherwise.
    fn limit_reached(&self, endpoint: &str, limit: Limit) {}

    /// The standalone server has closed a socket that was not a WebSocket or an event stream yet, or answered 503.
    fn socket_closed(&self, reason: SocketCloseReason) {}

    /// An event between this node and other nodes. There are none without a bus.
    fn cluster(&self, event: ClusterEvent) {}

    /// An unexpected error.
    fn error(&self, component: Component, error: &Error) {}
}

impl<M: Metrics + ?Sized> Metrics for Arc<M> {
    fn connection_opened(&self, connection: &ConnectionInfo<'_>) {
        (**self).connection_opened(connection);
    }

    fn connection_closed(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {
        (**self).connection_closed(connection, lasted, code, reason);
    }

    fn connection_declined(&self, endpoint: &str, status: u16, reason: DeclineReason) {
        (**self).connection_declined(endpoint, status, reason);
    }

    fn connection_error(&self, connection: &ConnectionInfo<'_>, error: &str) {
        (**self).connection_error(connection, error);
    }

    fn message_received(&self, connection: &ConnectionInfo<'_>, channel: &str, event: &str, bytes: usize) {
        (**self).message_received(connection, channel, event, bytes);
    }

    fn message_sent(&self, connection: &ConnectionInfo<'_>, messages: usize, bytes: usize) {
        (**self).message_sent(connection, messages, bytes);
    }

    fn message_broadcast(&self, endpoint: &str, channel: &str, event: &str, recipients: usize) {
        (**self).message_broadcast(endpoint, channel, event, recipients);
    }

    fn message_dropped(&self, connection: &ConnectionInfo<'_>, reason: DropReason, messages: usize) {
        (**self).message_dropped(connection, reason, messages);
    }

    fn message_repeated(&self, connection: &ConnectionInfo<'_>, channel: &str, event: &str) {
        (**self).message_repeated(connection, channel, event);
    }

    fn message_blocked(&self, endpoint: &str, event: &str) {
        (**self).message_blocked(endpoint, event);
    }

    fn channel_resumed(&self, connection: &ConnectionInfo<'_>, channel: &str, recovery: Recovery, replayed: usize) {
        (**self).channel_resumed(connection, channel, recovery, replayed);
    }

    fn channel_caught_up(&self, connection: &ConnectionInfo<'_>, channel: &str, messages: usize) {
        (**self).channel_caught_up(connection, channel, messages);
    }

    fn channel_gap(&self, connection: &ConnectionInfo<'_>, channel: &str, reason: GapReason) {
        (**self).channel_gap(connection, channel, reason);
    }

    fn channel_joined(&self, connection: &ConnectionInfo<'_>, channel: &str) {
        (**self).channel_joined(connection, channel);
    }

    fn channel_left(&self, endpoint: &str, user: &str, channel: &str, reason: &str) {
        (**self).channel_left(endpoint, user, channel, reason);
    }

    fn presence_grace(&self, endpoint: &str, channel: &str, user: &str, event: GraceEvent) {
        (**self).presence_grace(endpoint, channel, user, event);
    }

    fn join_declined(&self, connection: &ConnectionInfo<'_>, channel: &str, code: u16) {
        (**self).join_declined(connection, channel, code);
    }

    fn channel_created(&self, endpoint: &str, channel: &str) {
        (**self).channel_created(endpoint, channel);
    }

    fn channel_destroyed(&self, endpoint: &str, channel: &str) {
        (**self).channel_destroyed(endpoint, channel);
    }

    fn handler_finished(&self, kind: HandlerKind, pattern: &str, took: Duration, code: Option<u16>) {
        (**self).handler_finished(kind, pattern, took, code);
    }

    fn queue_depth(&self, endpoint: &str, queue: Queue, depth: usize) {
        (**self).queue_depth(endpoint, queue, depth);
    }

    fn limit_reached(&self, endpoint: &str, limit: Limit) {
        (**self).limit_reached(endpoint, limit);
    }

    fn socket_closed(&self, reason: SocketCloseReason) {
        (**self).socket_closed(reason);
    }

    fn cluster(&self, event: ClusterEvent) {
        (**self).cluster(event);
    }

    fn error(&self, component: Component, error: &Error) {
        (**self).error(component, error);
    }
}
