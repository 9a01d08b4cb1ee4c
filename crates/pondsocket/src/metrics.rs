//! Metrics for operators: the server calls a [`Metrics`] at every event that is worth counting.
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

use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::id::{ConnectionId, UserId};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::cluster::{Excess, GapCause};
use crate::engine::sync::Mutex;
use crate::error::{Error, Result};
use crate::json::decode;

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
    /// The pattern of its endpoint: one of few, fit for a label.
    pub fn endpoint(&self) -> &str {
        self.endpoint
    }

    /// Its id. There are as many as there are connections: not fit for a label.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// The id of its user: not fit for a label either.
    pub fn user_id(&self) -> &str {
        self.user.as_str()
    }

    /// The address of the client, where it is known: see
    /// [`ConnectionContext::client_ip`](crate::ConnectionContext::client_ip).
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// One assign of the connection.
    ///
    /// # Errors
    /// 404 if it is not set, 500 if it is of another type.
    pub fn assign<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let value = self.assigns.lock().get(key).cloned();
        decode::assign(key, value.as_ref())
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
            /// A short name in snake case, fit for a label.
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
        /// The stream ended or failed without one.
        Lost = "lost",
        /// The application disconnected it, or closed its channel.
        Server = "server",
        /// The server shut down.
        Shutdown = "shutdown",
        /// More waited for it than its bounds for `send_timeout`, or far more.
        TooSlow = "too_slow",
        /// It sent more than its handlers could take for `write_wait`.
        TooManyMessages = "too_many_messages",
        /// It made the server hold too much for `write_wait` while `memory_limit` was nearly reached.
        Memory = "memory",
        /// Nothing was received from it for `pong_wait`.
        Silent = "silent",
        /// It took no byte of what waited for it, or of a close, for `write_wait`.
        Stalled = "stalled",
        /// It broke the WebSocket protocol, or sent too large a message.
        Protocol = "protocol",
        /// It went on after having been refused too often.
        RateLimit = "rate_limit",
    }
}

reasons! {
    /// The reason for which the standalone server closed a socket that was no WebSocket or event stream yet, or answered 503.
    SocketCloseReason {
        /// `read_timeout`: no whole head came.
        ReadTimeout = "read_timeout",
        /// `write_timeout`: the answer was not taken.
        WriteTimeout = "write_timeout",
        /// `idle_timeout`: no other request came.
        IdleTimeout = "idle_timeout",
        /// No valid PROXY header of a trusted proxy came in time.
        ProxyHeader = "proxy_header",
        /// The handshake of TLS failed, or was not done in time.
        Handshake = "handshake",
        /// There were `max_pending` others, and it was idle after an answer.
        EvictedIdle = "evicted_idle",
        /// There were `max_pending` others, and the server waited for its request.
        EvictedWaiting = "evicted_waiting",
        /// `max_pending` requests were being answered, and `pending_reserve` was used up: 503.
        Overloaded = "overloaded",
    }
}

reasons! {
    /// The reason for which a client was not let in.
    DeclineReason {
        /// The connection handler, a layer or an extractor declined.
        Handler = "handler",
        /// [`Hooks::on_connect`](crate::Hooks::on_connect) declined.
        Hook = "hook",
        /// The handler took too long.
        Timeout = "timeout",
        /// The request is no valid WebSocket handshake.
        Handshake = "handshake",
        /// The request's origin is not allowed.
        Origin = "origin",
        /// `max_connections` of the endpoint are there.
        ConnectionLimit = "connection_limit",
        /// `memory_limit` is reached.
        MemoryLimit = "memory_limit",
        /// `max_connections_per_ip` of its address are there.
        AddressLimit = "address_limit",
        /// The server is shutting down.
        Draining = "draining",
        /// It was let in with 101, and the connection was lost before it was a WebSocket.
        Upgrade = "upgrade",
    }
}

reasons! {
    /// The reason for which a message that waited for a slow client was dropped.
    DropReason {
        /// A newer presence list of the same channel waits behind it.
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
        /// `receive_bytes`: it is not read for a while. Nothing was refused.
        ReceiveBytes = "receive_bytes",
        /// `max_pending_joins`: likewise.
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
        /// `channel_queue` or `channel_queue_bytes`, four times over: a broadcast, a reply or a change of presence was
        /// refused.
        ChannelQueue = "channel_queue",
        /// `memory_limit`: a connection is not read for a while, since it holds much. Nothing was refused.
        Memory = "memory",
        /// `memory_limit`, all of it: a broadcast was refused.
        MemoryFull = "memory_full",
        /// `pacing_wait` or `pacing_budget`: a channel goes on without waiting for a client any longer.
        Pacing = "pacing",
        /// A [`RateLimit`](crate::RateLimit).
        RateLimit = "rate_limit",
    }
}

reasons! {
    /// The kind of a queue.
    Queue {
        /// Operations of a channel that wait for delivery. The depth is the number that one delivery took.
        Channel = "channel",
        /// Frames for a client that did not take them at once.
        Outbox = "outbox",
        /// Messages of a connection for their handlers.
        Receive = "receive",
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
    }
}

reasons! {
    /// The component in which an unexpected error arose.
    Component {
        /// A connection handler: an internal error or a panic.
        ConnectionHandler = "connection_handler",
        /// A join handler: an internal error or a panic.
        JoinHandler = "join_handler",
        /// An event handler: an internal error or a panic.
        EventHandler = "event_handler",
        /// A leave handler: any error, because no client gets it.
        LeaveHandler = "leave_handler",
        /// An outgoing handler: a panic, or a replacement that does not serialise.
        OutgoingHandler = "outgoing_handler",
        /// A hook panicked.
        Hook = "hook",
        /// The `Server`: it could not accept a connection, or what came over one was no HTTP.
        HttpServer = "http_server",
    }
}

reasons! {
    /// The reason for which a message for other nodes was dropped.
    BusDrop {
        /// Too much waited already.
        Full = "full",
        /// It waited too long for the bus to come back.
        Expired = "expired",
        /// The bus can never carry it.
        Refused = "refused",
        /// The bus was lost before it said whether it has it.
        Unknown = "unknown",
    }
}

/// Something that happened between this node and the others.
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
    /// Messages of other nodes may be lost. The state of their users is requested again.
    Gap(GapCause),
    /// A message of another node, for users here.
    Received,
    /// A message on the bus was not understood: the fault, in a word.
    Malformed(&'static str),
    /// Other nodes have brought more than a limit allows.
    Excess {
        /// The exceeded limit.
        what: Excess,
        /// The number of times.
        times: u64,
    },
    /// The number of other nodes that live has changed.
    Nodes(usize),
    /// Another node runs under this node's name: users of the one that began first are not seen by others.
    NameTaken,
    /// Two nodes disagreed about a channel, which has been repaired: a message was lost unnoticed, or there is a bug.
    Diverged,
}

/// Receives the events of the server, to count them. Every method does nothing by default.
///
/// The methods are called at the event itself, on the server's own tasks and never under a lock. They must not wait. A panic
/// in one is logged and has no other effect.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Metrics: Send + Sync + 'static {
    /// A client has come in: the upgrade is done.
    fn connection_opened(&self, connection: &ConnectionInfo<'_>) {}

    /// A client has gone, after this time, with this close code: the one that was sent first, by either side; 1005 for
    /// a close frame without a code, 1006 if there was none (RFC 6455 section 7.4.1).
    fn connection_closed(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {}

    /// A client was not let in, with this HTTP status.
    fn connection_declined(&self, endpoint: &str, status: u16, reason: DeclineReason) {}

    /// The peer broke the WebSocket protocol, or its stream failed.
    fn connection_error(&self, connection: &ConnectionInfo<'_>, error: &str) {}

    /// A message of this many bytes was received for a channel's event handler.
    fn message_received(&self, connection: &ConnectionInfo<'_>, channel: &str, event: &str, bytes: usize) {}

    /// Frames of this many messages and bytes were sent to a client, or queued for it. They may be of several events.
    fn message_sent(&self, connection: &ConnectionInfo<'_>, messages: usize, bytes: usize) {}

    /// A broadcast was accepted for this many members. Broadcasts in the chain of an accepted join count, too.
    fn message_broadcast(&self, endpoint: &str, channel: &str, event: &str, recipients: usize) {}

    /// Messages that waited for a slow client were dropped by its policy.
    fn message_dropped(&self, connection: &ConnectionInfo<'_>, reason: DropReason, messages: usize) {}

    /// A message to one recipient was held back by an outgoing handler.
    fn message_blocked(&self, endpoint: &str, event: &str) {}

    /// A user has become a member, with its first connection.
    fn channel_joined(&self, connection: &ConnectionInfo<'_>, channel: &str) {}

    /// A user is no member any more; `reason` is displayed as [`LeaveReason`](crate::LeaveReason) is, without the text
    /// of an eviction.
    fn channel_left(&self, endpoint: &str, user: &str, channel: &str, reason: &str) {}

    /// A join was declined with this code.
    fn join_declined(&self, connection: &ConnectionInfo<'_>, channel: &str, code: u16) {}

    /// A channel has got its first member.
    fn channel_created(&self, endpoint: &str, channel: &str) {}

    /// A channel's last member has gone, and everything has been delivered.
    fn channel_destroyed(&self, endpoint: &str, channel: &str) {}

    /// A handler with its layers has ended after this time: `None` if it succeeded, else with this code. `pattern` is
    /// that of the endpoint or of the lobby.
    fn handler_finished(&self, kind: HandlerKind, pattern: &str, took: Duration, code: Option<u16>) {}

    /// The depth of a queue that is not empty.
    fn queue_depth(&self, endpoint: &str, queue: Queue, depth: usize) {}

    /// A client has reached a limit, and its request was refused unless the limit is documented otherwise.
    fn limit_reached(&self, endpoint: &str, limit: Limit) {}

    /// The standalone server has closed a socket that was no WebSocket or event stream yet.
    fn socket_closed(&self, reason: SocketCloseReason) {}

    /// An event between this node and the others. Without a bus there are none.
    fn cluster(&self, event: ClusterEvent) {}

    /// Something failed that should not.
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

    fn message_blocked(&self, endpoint: &str, event: &str) {
        (**self).message_blocked(endpoint, event);
    }

    fn channel_joined(&self, connection: &ConnectionInfo<'_>, channel: &str) {
        (**self).channel_joined(connection, channel);
    }

    fn channel_left(&self, endpoint: &str, user: &str, channel: &str, reason: &str) {
        (**self).channel_left(endpoint, user, channel, reason);
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

/// The application's metrics, if there are any.
#[derive(Clone, Default)]
pub(crate) struct Meter(Option<Arc<dyn Metrics>>);

impl Meter {
    pub(crate) fn new(metrics: impl Metrics) -> Meter {
        Meter(Some(Arc::new(metrics)))
    }

    /// Returns `true` if there are metrics.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells the application's metrics. Never under a lock: they are its code.
    pub(crate) fn count(&self, tell: impl FnOnce(&dyn Metrics)) {
        let Some(metrics) = &self.0 else { return };
        if catch_unwind(AssertUnwindSafe(|| tell(&**metrics))).is_err() {
            tracing::error!(target: "pondsocket::metrics", "the application's metrics panicked");
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Meter(on)" } else { "Meter(off)" })
    }
}

/// The metrics of one endpoint, with its pattern as a label.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) endpoint: Box<str>,
    pub(crate) meter: Meter,
}

impl Observer {
    /// The start of a duration that will be reported; `None` without metrics.
    pub(crate) fn start(&self) -> Option<Instant> {
        self.meter.is_on().then(Instant::now)
    }

    /// Tells the application's metrics, with the endpoint's pattern.
    pub(crate) fn count(&self, tell: impl FnOnce(&dyn Metrics, &str)) {
        self.meter.count(|metrics| tell(metrics, &self.endpoint));
    }
}
