//! The result of a broadcast.

use pondsocket_proto::position::Position;

/// The number of recipients of a broadcast on this node, and the outcome for other nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// The number of members on this node for which the message was enqueued. A member with several connections counts once.
    pub local: usize,
    /// The part for members on other nodes.
    pub remote: Remote,
    /// The position of the message in the channel's history, if it is kept there. `None` in a history that nodes share, whose
    /// store gives the position later.
    pub position: Option<Position>,
}

/// The outcome of a broadcast for other nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Remote {
    /// There are no other nodes, or none of them has a recipient.
    None,
    /// The message was queued for the bus.
    Queued,
    /// The message could not be queued for the bus: no other node receives it.
    Dropped,
}
