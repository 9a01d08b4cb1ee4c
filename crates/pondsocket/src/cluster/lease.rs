use std::time::Duration;

use pondsocket_proto::cluster::{Lease, NodeId};

use super::bus::BoxFuture;
use super::error::BusError;

/// A table, kept by the engine and judged by its clock, of the nodes that live. It makes one small write for each node
/// and beat, where nodes that tell each other would cost the square of their number.
///
/// Nodes see each other if their buses share a namespace.
pub trait Leases: Send + Sync {
    /// Says that `me` lives for another `ttl`, and answers who else does.
    ///
    /// The answer names in `alive` all nodes whose lease runs, `me` among them; in `expired` those whose lease has run out
    /// and that nobody was told of yet: one beat of one node is told, and the others notice that they are not alive; and
    /// in `was_expired` whether the lease of `me` was gone although it has beaten before, so that others may have taken it
    /// for dead. A lease is gone too if the engine has lost its data. A time to live is kept to the millisecond.
    ///
    /// # Errors
    /// The engine cannot be asked, or does not answer in time: whether the beat has counted is not known. It is no news
    /// about any other node.
    fn beat<'a>(&'a self, me: &'a NodeId, ttl: Duration) -> BoxFuture<'a, Result<Lease, BusError>>;

    /// Takes `me` off the table, so that nobody is told that it has expired. Its next beat is a first one.
    ///
    /// # Errors
    /// As for [`beat`](Self::beat): the lease then ends by itself.
    fn bye<'a>(&'a self, me: &'a NodeId) -> BoxFuture<'a, Result<(), BusError>>;
}
