//! The interfaces that a live channel needs: the connections that it delivers to, its lobby, and the way to other nodes.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use pondsocket_proto::channel::{DeliveryPolicy, HistoryRules, Listener, Outbound, Run};
use pondsocket_proto::id::{ChannelName, ConnectionId};
use tokio::time::Instant;

use crate::engine::framing::Framing;
use crate::engine::outbox::RoomWait;

/// A connection, as its channels deliver to it.
pub(crate) trait Recipient: Clone + Send + Sync + 'static {
    /// Returns the framing of its messages.
    fn framing(&self) -> Framing;
    /// Returns the connection's id.
    fn connection(&self) -> ConnectionId;
    /// Takes framed messages of a channel, now, unless it is behind and will catch up. It must not wait.
    fn deliver(&self, channel: u64, runs: &[Run<Bytes>]) -> Reached;
    /// Waits until a recipient that is behind has room, but no longer than this.
    fn wait(&self, waker: &Waker, until: Instant) -> RoomWait;
    /// Takes one message that is not framed yet. It may be called under the channel's lock: what must not be done there, such
    /// as waking tasks and counting, is what it returns.
    fn send(&self, text: &[u8]) -> impl FnOnce();
    /// Notes that a channel which it is not in has something for it: a flush marker will follow.
    fn expect_flush_marker(&self);
    /// Notes that it has had everything of a channel that it is not in.
    fn receive_flush_marker(&self);
}

/// A recipient's answer to messages for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reached {
    /// It has them, or never will.
    Done,
    /// It is behind, and has taken none.
    Behind,
}

/// The lobby of a channel, as far as delivery needs it. It is a type parameter of the channel: the engine cannot name the
/// application's lobby, which stands on a higher floor, and application code gets its own type back from the channel.
pub(crate) trait Rules: Send + Sync + 'static {
    /// The connections that its channels deliver to.
    type Recipient: Recipient;

    /// Returns the rules of the history that its channels keep, if they keep one.
    fn history(&self) -> Option<Arc<HistoryRules>>;
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
    /// Notes that a delivery has taken so many operations.
    fn took(&self, operations: usize);
}

/// The decisions about one filtered message, for each recipient.
pub(crate) trait OutgoingFilter<R>: Send {
    fn decide(&mut self, to: &R, listener: &Listener) -> FilterDecision;
}

/// An outgoing handler's decision.
pub(crate) enum FilterDecision {
    Pass,
    Block,
    /// Another text in its place.
    Replace(Vec<u8>),
}

/// The way to other nodes for the changes of channels here. All of it is called under the channel's lock, whose order is the
/// order that other nodes are to see: it neither waits nor calls back.
pub(crate) trait Replication: Send + Sync {
    /// Notes that a channel has got its first member. `instance` is the number of the channel's current instance.
    fn opened(&self, channel: &ChannelName, instance: u64);
    /// Passes its changes on to other nodes, in order.
    fn replicate(&self, channel: &ChannelName, what: Vec<Outbound>);
    /// Notes that this instance of the channel has ended.
    fn closed(&self, channel: &ChannelName, instance: u64);
}
