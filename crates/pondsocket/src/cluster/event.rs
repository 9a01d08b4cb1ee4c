use bytes::Bytes;

use super::error::BusError;
use pondsocket_proto::cluster::Topic;

/// The number of a session: the time from `Up` to `Down`. A bus never uses a number twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct BusSession(pub u64);

/// An event that a bus reports to the node, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BusEvent {
    /// The bus is connected. No topic is subscribed yet; the wanted ones follow as `Subscribed`.
    Up {
        /// The new session.
        session: BusSession,
    },
    /// The engine has confirmed these topics: messages that are published on them from now on arrive. A topic may be
    /// reported more than once.
    Subscribed {
        /// The session of the subscriptions. Those of an older session are void.
        session: BusSession,
        /// The topics, in no particular order.
        topics: Vec<Topic>,
    },
    /// The connection is lost, and all subscriptions with it. Messages published since may be lost. The event may come
    /// more than once, and without an `Up` before it.
    Down {
        /// The reason for which the connection was lost, or could not be made.
        reason: BusError,
    },
    /// Messages may have been lost before this event.
    Gap {
        /// The topics of these messages.
        lost: Lost,
        /// The place of the loss.
        cause: GapCause,
    },
    /// A message.
    Message {
        /// The topic of the message.
        topic: Topic,
        /// The data exactly as it was published.
        data: Bytes,
    },
}

/// The topics on which messages may have been lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lost {
    /// These topics, each once.
    Topics(Vec<Topic>),
    /// Any topic.
    All,
}

/// The place where messages may have been lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
#[non_exhaustive]
pub enum GapCause {
    /// The sink was full, because the node did not keep up.
    Overflow,
    /// The engine was connected but delivered nothing, not even a message of the bus to itself.
    Probe,
    /// The engine or the bus has dropped messages, and has reported it.
    Engine,
}

impl GapCause {
    /// A short label, as for a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            GapCause::Overflow => "overflow",
            GapCause::Probe => "probe",
            GapCause::Engine => "engine",
        }
    }
}
