use std::time::Duration;

use pondsocket_proto::cluster::{Lease, NodeId};

use super::bus::BoxFuture;
use super::error::{BusError, BusErrorKind};

/// A table of the live nodes, kept by the engine and measured by its clock. Each renewal is one small write, while
/// heartbeats between all nodes would cost the square of their number.
///
/// Nodes see each other if their buses share a namespace.
pub trait Leases: Send + Sync {
    /// Numbers the next incarnation of the node `name`, and gives it a lease for `ttl`, in one step. A node calls it
    /// before its first message, and is known by that number ([`NodeId::incarnation`]) until it ends.
    ///
    /// The number is larger than that of every incarnation of the name that was numbered, has renewed a lease, or holds
    /// one. It is not below the engine's time in milliseconds since 1970, so that incarnations after a loss of the
    /// engine's data are later than those before. It is below 2^53. Numbers are remembered for a day at least, however
    /// the incarnation ended. The clocks of nodes have no influence: a node with a wrong clock would be taken for an
    /// earlier incarnation of itself.
    ///
    /// The default returns an error. Then incarnations are numbered by the clocks of their nodes, and a node whose
    /// clock was set back is shown by others only once the lease of its earlier incarnation has been gone for the
    /// length of a lease.
    ///
    /// # Errors
    /// As for [`renew`](Self::renew): a number that was drawn is lost.
    fn acquire<'a>(&'a self, name: &'a str, ttl: Duration) -> BoxFuture<'a, Result<u64, BusError>> {
        let _ = (name, ttl);
        let error = BusError::new(BusErrorKind::Config, "this table of leases does not number incarnations");
        Box::pin(std::future::ready(Err(error)))
    }

    /// Renews the lease of `me` for `ttl`, and returns the state of the table.
    ///
    /// `alive` has all nodes that hold a lease, `me` among them. `expired` has those whose lease has expired and was
    /// not reported yet: each is reported once, to one node, and other nodes find it missing in `alive`. `was_expired`
    /// is `true` if `me` has renewed its lease before and the lease was gone, so that others may have taken the node
    /// for dead; leases are also gone if the engine has lost its data. Times are kept to the millisecond.
    ///
    /// # Errors
    /// The engine cannot be reached, or does not answer in time: the lease may have been renewed or not. The error
    /// tells nothing about other nodes.
    fn renew<'a>(&'a self, me: &'a NodeId, ttl: Duration) -> BoxFuture<'a, Result<Lease, BusError>>;

    /// Removes the lease of `me`, so that it is not reported as expired. The next renewal counts as a first one.
    ///
    /// # Errors
    /// As for [`renew`](Self::renew): the lease then expires.
    fn release<'a>(&'a self, me: &'a NodeId) -> BoxFuture<'a, Result<(), BusError>>;
}
