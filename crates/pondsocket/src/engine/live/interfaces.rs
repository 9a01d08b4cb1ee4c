//! The interfaces that a live channel uses: its recipients, its lobby, and the replication to other nodes.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use pondsocket_proto::channel::{DeliveryPolicy, Departure, HistoryGap, HistoryRules, Listener, Outbound, Run};
use pondsocket_proto::id::{ChannelName, ConnectionId};
use pondsocket_proto::position::Position;
use tokio::time::Instant;

use crate::engine::framing::Framing;
use crate::engine::outbox::{RoomWait, Source};

/// A connection, for the deliveries of its channels.
pub(crate) trait Recipient: Clone + Send + Sync + 'static {
    /// Returns the framing of its messages.
    fn framing(&self) -> Framing;
    /// Returns the connection's id.
    fn connection(&self) -> ConnectionId;
    /// Delivers framed messages of a channel at once, unless the recipient is behind and the channel has to wait for it. It
    /// must not block. With them the recipient has all messages that are kept up to `position`.
    fn deliver(&self, source: Source<'_>, position: Option<Position>, runs: &[Run<Bytes>]) -> Reached;
    /// Notes that the recipient misses kept messages of a channel, behind what was delivered.
    fn lose(&self, source: Source<'_>, gap: HistoryGap);
    /// Notes that the recipient has all messages that are kept up to a position.
    fn reach(&self, position: Position);
    /// Waits until a recipient that is behind has room, until `until` at most.
    fn wait(&self, waker: &Waker, until: Instant) -> RoomWait;
    /// Sends one message that is not framed yet. It may be called under the channel's lock, so it returns the work that must
    /// not run there: wakers and metrics.
    fn send(&self, text: &[u8]) -> impl FnOnce();
    /// Notes that a channel which the recipient has left still has messages for it, and will send a flush marker.
    fn expect_flush_marker(&self);
    /// Notes a flush marker of a channel which the recipient has left.
    fn receive_flush_marker(&self);
}

/// The outcome of a delivery to one recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reached {
    /// The messages are delivered, or dropped for good.
    Done,
    /// The recipient is behind, and has got none of them.
    Behind,
}

/// The lobby of a channel, as far as delivery needs it. It is a type parameter of the channel: the engine cannot name the
/// application's lobby, which stands on a higher floor, and application code gets its own type back from the channel.
pub(crate) trait Rules: Send + Sync + 'static {
    /// The recipients of its channels.
    type Recipient: Recipient;

    /// Returns the rules of the history that its channels keep, if they keep one.
    fn history(&self) -> Option<Arc<HistoryRules>>;
    /// Returns the time for which a member without connections stays, in milliseconds; 0 if it leaves at once.
    fn presence_grace(&self) -> u64;
    /// Returns the policy of messages of this event.
    fn delivery_policy(&self, event: &str) -> DeliveryPolicy;
    /// Starts the decisions about one filtered message, given as its text.
    fn filter<'a>(&'a self, text: &'a [u8]) -> Box<dyn OutgoingFilter<Self::Recipient> + 'a>;
    /// Notes that a channel has got its first member.
    fn opened(&self, name: &str);
    /// Notes that a channel has lost its last member, and that everything has been delivered.
    fn closed(&self, name: &str);
    /// Notes that the history of a channel was emptied to save memory.
    fn history_emptied(&self, name: &str, messages: usize);
    /// Notes that a delivery has taken a batch of `operations` operations.
    fn took(&self, operations: usize);
}

/// The endpoint of channels, which runs the leave handlers of ghosts. On a higher floor, as the lobby is.
pub(crate) trait GhostEnds<L: Rules>: Send + Sync {
    /// Notes that the presence grace of a member has ended, and it has left the channel.
    fn expired(&self, channel: &ChannelName, lobby: &Arc<L>, departure: Departure);
    /// Notes that a ghost goes on in the next server.
    fn saved(&self, channel: &ChannelName, ghost: &Departure);
}

/// The decisions about one filtered message, for each recipient.
pub(crate) trait OutgoingFilter<R>: Send {
    fn decide(&mut self, to: &R, listener: &Listener) -> FilterDecision;
}

/// An outgoing handler's decision.
pub(crate) enum FilterDecision {
    Pass,
    Block,
    /// The message is replaced by this text.
    Replace(Vec<u8>),
}

/// The replication of the changes of channels to other nodes. All methods are called under the channel's lock, whose order is
/// the one that other nodes see, so they neither wait nor call back.
pub(crate) trait Replication: Send + Sync {
    /// Notes that a channel has got its first member. `instance` is the number of the channel's current instance, `grace` its
    /// presence grace in milliseconds.
    fn opened(&self, channel: &ChannelName, instance: u64, grace: u64);
    /// Opens the history of a channel that is about to be created. Returns `true` if other nodes share it: then the channel
    /// counts as opened.
    fn open_history(&self, channel: &ChannelName, instance: u64, grace: u64, rules: &Arc<HistoryRules>) -> bool;
    /// Passes its changes on to other nodes, in order.
    fn replicate(&self, channel: &ChannelName, instance: u64, what: Vec<Outbound>);
    /// Notes that this instance of the channel has ended.
    fn closed(&self, channel: &ChannelName, instance: u64);
}
