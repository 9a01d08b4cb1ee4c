/// The result of a broadcast.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// The number of members on this node for which it was enqueued. A member with several connections counts once.
    pub local: usize,
    /// The part for members on other nodes.
    pub remote: Remote,
}

/// The part of a broadcast that concerns other nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Remote {
    /// There are no other nodes, or nobody there is concerned.
    None,
    /// Handed to the bus.
    Queued,
    /// The bus could not take it.
    Dropped,
}
