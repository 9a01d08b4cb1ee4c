use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::error::BusError;
use super::history::HistoryStore;
use super::lease::Leases;
use super::sink::BusSink;
use super::stats::BusStats;
use super::stop::Stop;
use pondsocket_proto::cluster::Topic;

/// A boxed future, so that [`Bus`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries messages between nodes. Three methods are required; they keep the [contract](super#the-contract).
///
/// All of them may be called from many tasks at once, before and while [`run`](Self::run) runs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a bus",
    label = "a bus implements `pondsocket::cluster::Bus`: `run`, `update_subscriptions` and `publish`"
)]
pub trait Bus: Send + Sync + 'static {
    /// Connects, stays connected for ever, and reports all events to the sink. The node calls it once.
    ///
    /// It returns soon after `stop` is set, with the connections to the engine closed. Its future may also be dropped
    /// at any time, without that. A failure that may pass, such as an engine that is not there or that does not accept
    /// the password, is reported as [`BusEvent::Down`](super::BusEvent::Down), and tried again with growing pauses.
    ///
    /// # Errors
    /// The configuration can never work. The node goes on without the bus.
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<(), BusError>>;

    /// Changes the wanted topics: first adds those of `add`, then removes those of `remove`.
    ///
    /// It never waits. Before `run` it sets the topics with which the first session begins. Adding a topic twice is the
    /// same as adding it once, and so is removing it. But every call that adds a topic is answered by a
    /// [`Subscribed`](super::BusEvent::Subscribed) that names it, even if it was subscribed all along, unless it is
    /// removed or the session ends first. Messages under way on a removed topic may still be delivered.
    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]);

    /// Sends messages, and returns the outcome of each, in their order.
    ///
    /// The call itself takes the batch, so that batches are sent in the order of the calls. The future only waits for
    /// the outcomes, and may be dropped. An empty batch has no outcomes. A bus that is down, or whose queue is full,
    /// answers [`Outcome::NotSent`] soon; it keeps nothing for later.
    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>>;

    /// The table of leases, if the engine can keep one. Without it the nodes send each other heartbeats.
    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    /// The store of histories, if the engine can keep them. Without it each node keeps the histories of its own channels.
    fn history(&self) -> Option<&dyn HistoryStore> {
        None
    }

    /// The capabilities of the bus, and its configuration as far as the server follows it.
    fn caps(&self) -> Caps {
        Caps::default()
    }

    /// A snapshot of the state and the counters. Calls are cheap.
    fn stats(&self) -> BusStats {
        BusStats::default()
    }
}

/// A message for one topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publish {
    /// The topic.
    pub topic: Topic,
    /// The message.
    pub data: Bytes,
}

impl Publish {
    /// Creates a message with this topic and data.
    pub fn new(topic: impl Into<Topic>, data: impl Into<Bytes>) -> Publish {
        Publish { topic: topic.into(), data: data.into() }
    }
}

/// The outcome of one message of [`Bus::publish`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The engine has accepted the message.
    Sent {
        /// The number of nodes that receive it, including this one if it is subscribed; `None` if the engine does not
        /// report it.
        receivers: Option<u64>,
    },
    /// No node has received the message or will: it may be sent again.
    NotSent(BusError),
    /// The connection was lost before the answer: the message may have been sent.
    Unknown(BusError),
}

/// The capabilities of a bus, and its configuration as far as the server follows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Caps {
    /// The largest message in bytes, if there is a limit. A larger one is [`Outcome::NotSent`] with
    /// [`TooBig`](super::BusErrorKind::TooBig).
    pub max_payload: Option<usize>,
    /// The prefix of all topics, if the bus is configured with one: the server uses it.
    pub prefix: Option<Arc<str>>,
    /// The namespace, within which nodes see each other, if the bus is configured with one: the server uses it.
    pub namespace: Option<Arc<str>>,
}
