use bytes::Bytes;

use super::error::BusError;
use super::topic::Topic;

/// One time that a bus was connected, from `Up` to `Down`. A bus numbers them, and never uses a number again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Session(pub u64);

/// What a bus tells the node, in the order in which it is to be understood.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BusEvent {
    /// It is connected. Nothing is subscribed yet; what is wanted follows as `Subscribed`.
    Up {
        /// A new session.
        session: Session,
    },
    /// The engine has confirmed these topics: what is published on them from now on arrives. A topic may be named again.
    Subscribed {
        /// Those of an older session are void.
        session: Session,
        /// Any number of them, in no order.
        topics: Vec<Topic>,
    },
    /// The connection is gone, and all subscriptions with it. What was published since may be lost. It may be said more
    /// than once, also where no `Up` came before it.
    Down {
        /// Why, or why it could not be made.
        reason: BusError,
    },
    /// Messages may have been lost, before this.
    Gap {
        /// On which topics.
        lost: Lost,
        /// Where.
        cause: GapCause,
    },
    /// A message.
    Message {
        /// The topic it was published on.
        topic: Topic,
        /// Exactly what was published.
        data: Bytes,
    },
}

/// The topics on which messages may have been lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lost {
    /// On these, each named once.
    Topics(Vec<Topic>),
    /// On any.
    All,
}

/// Where messages may have been lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
#[non_exhaustive]
pub enum GapCause {
    /// The node did not take them as fast as they came, and the sink was full.
    Overflow,
    /// The engine was connected but delivered nothing, not even what the bus sent to itself.
    Probe,
    /// The engine, or the bus, has dropped them and knows it.
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
