use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::error::BusError;
use super::lease::Leases;
use super::sink::BusSink;
use super::stats::BusStats;
use super::stop::Stop;
use super::topic::Topic;

/// A future behind a pointer, so that a bus can be one too.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries messages between nodes. Three methods are required; the [contract](super#the-contract) says what they owe.
///
/// All of them may be called from many tasks at once, before and while [`run`](Self::run) runs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a bus",
    label = "a bus implements `pondsocket::cluster::Bus`: `run`, `update_subscriptions` and `publish`"
)]
pub trait Bus: Send + Sync + 'static {
    /// Connects, stays connected for ever, and tells the sink what happens. It is called once, by the node.
    ///
    /// It ends, soon, when `stop` says so; and then the engine's connections are closed. Its future may also be dropped at
    /// any time, which ends it less politely. Whatever can pass by itself, such as an engine that is not there or does not
    /// accept our password, is tried again with growing pauses and reported as [`BusEvent::Down`](super::BusEvent::Down).
    ///
    /// # Errors
    /// The configuration can never work. The node goes on alone.
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<(), BusError>>;

    /// Changes what is to be delivered: first `add` joins it, then `remove` leaves it.
    ///
    /// It never waits, and only notes what is wanted; before `run` it is what the first session begins with. Adding twice
    /// is adding once, and so is removing. But every call that adds a topic is answered by a
    /// [`Subscribed`](super::BusEvent::Subscribed) that names it, also if it was subscribed all along, unless it is removed
    /// or the session ends first. A topic that is removed may still deliver what was under way.
    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]);

    /// Sends messages, and answers what became of each, in their order.
    ///
    /// The call itself takes the batch: its place is that of the call, whether and when the future is polled, which only
    /// waits for the outcomes and may be dropped. An empty batch has no outcomes. A bus that is down, or has as much
    /// waiting as it may, answers [`Outcome::NotSent`] soon; it keeps nothing for later.
    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>>;

    /// The table of leases, if the engine can keep one. Without it nodes tell each other that they live.
    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    /// What it can, and what it was configured with.
    fn caps(&self) -> Caps {
        Caps::default()
    }

    /// How it is. It may be asked often.
    fn stats(&self) -> BusStats {
        BusStats::default()
    }
}

/// A message to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publish {
    /// On which topic.
    pub topic: Topic,
    /// What.
    pub data: Bytes,
}

impl Publish {
    /// This, on this topic.
    pub fn new(topic: impl Into<Topic>, data: impl Into<Bytes>) -> Publish {
        Publish { topic: topic.into(), data: data.into() }
    }
}

/// What became of a message that was to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The engine has it.
    Sent {
        /// How many nodes it was for, this one among them, as far as the engine says.
        receivers: Option<u64>,
    },
    /// Nobody has received it, and nobody will: it may be sent again.
    NotSent(BusError),
    /// The connection was lost before the answer: it may have been sent.
    Unknown(BusError),
}

/// What a bus can, and what of its configuration the server has to follow.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Caps {
    /// The largest message in bytes, if there is a limit. A larger one is [`Outcome::NotSent`] with
    /// [`TooBig`](super::BusErrorKind::TooBig).
    pub max_payload: Option<usize>,
    /// What all topics begin with, if the bus was told: the server follows it.
    pub prefix: Option<Arc<str>>,
    /// Which nodes see each other, if the bus was told: the server follows it.
    pub namespace: Option<Arc<str>>,
}
